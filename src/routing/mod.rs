//! From an entry to its record: which topic, key, partition, headers and value it has. Pure: no I/O, no clock, no tasks;
//! the same entry under the same route gives the same bytes in the same place, whenever and wherever it is asked. The
//! mirror writes by it, and parity judges by it.
//!
//! ```text
//! config::Route ──compile──▶ Route ──bind(stream)──▶ Binding ──encode(entry)──▶ Encoded: key, partition, headers, value
//!                   │                                              └──────────▶ Unroutable: a dead letter and its reason
//!                   └─▶ every Problem at once
//! ```
//!
//! Nothing is left out in silence: an entry either becomes the record that the route describes, whole, or a dead letter.

pub mod dead_letter;
pub mod explain;
pub mod field_pairs;

mod compare;
mod compile;
mod encoded;
mod glob;
mod hash;
mod headers;
mod json;
mod partition;
mod pattern;
mod pointer;
mod route;
mod routes;
mod source;
mod template;
mod unroutable;
mod value;

#[cfg(test)]
mod five_systems;
#[cfg(test)]
mod tests;

use crate::config::Fold;
use crate::entry::StreamRef;
use crate::placement::Shard;

pub use encoded::Encoded;
pub use glob::Glob;
pub use route::{Binding, Route};
pub use routes::Routes;
pub use unroutable::{Reason, Unroutable};

/// The shard of a stream among `count`: where Kafka's Java clients would put its checkpoint key. `count` is at least 1.
#[must_use]
pub fn shard_of(stream: &StreamRef, count: u32) -> Shard {
    let hash = hash::murmur2(&stream.checkpoint_key());
    Shard(partition::fold(hash, Fold::Mask31) % count.max(1))
}
