//! Kafka's own words as types: a topic, a partition, an offset; and which records are made otherwise than the mirror makes them
//! now, or by somebody else.

mod kafka_born;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::entry::EntryId;

pub use kafka_born::KafkaBorn;

/// A topic's name, cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Arc<str>);

impl Topic {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What Kafka takes as a topic's name: 1 to 249 of `[a-zA-Z0-9._-]`, and neither `.` nor `..`.
    #[must_use]
    pub fn is_valid(name: &str) -> bool {
        (1..=249).contains(&name.len())
            && name != "."
            && name != ".."
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    }
}

impl From<&str> for Topic {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for Topic {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A partition's number within its topic.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Partition(pub i32);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A record's place within its partition.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct Offset(pub i64);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a shard: a partition of the checkpoint topic, and the unit of ownership.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Shard(pub u32);

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Up to where a stream's records were made under other settings of its route. At zero: none is known of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remade {
    /// At or below it value and headers may be others than the route makes now.
    pub form: EntryId,
    /// At or below it topic, key and partition may be.
    pub place: EntryId,
}

impl Remade {
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Of what lies at or below this id alone: what comes after it is made anew.
    #[must_use]
    pub fn up_to(self, id: EntryId) -> Self {
        Self {
            form: self.form.min(id),
            place: self.place.min(id),
        }
    }
}
