//! Parity: whether both stores hold the same entries, found by reading both again.
//!
//! Shares with the mirror the route's pure functions and nothing else, so that a fault of the mirror is not repeated here.

mod again;
mod audit;
mod census;
mod class;
mod compare;
mod digest;
mod edges;
mod error;
mod level;
mod look;
mod pace;
mod pass;
mod repair;
mod sides;
mod store;
mod unread;
mod verify;

pub use again::{Again, Before, Digesting};
pub use audit::{Auditor, Order, Refused, Report, topic_spec};
pub use class::{Class, Counts, Difference, Location, Part, Why};
pub use digest::Sum;
pub use edges::{Born, Edges};
pub use error::Error;
pub use look::{GROUP, Looked, Span, Strangers, View, Wanted, logs_now, look};
pub use pace::{Pace, Rest};
pub use pass::{
    Beside, Extent, Pass, Scope, Strays, StreamPass, TopicPass, WINDOW_ENTRIES, Window,
};
pub use repair::{Plan as RepairPlan, Stays, Target};
pub use sides::REPAIR;
pub use unread::Unread;
pub use verify::{
    Bound, Checkpoints, Outcome, Progress, Ran, Request, Sample, Step, Verification, WindowDigest,
    checkpoints, fingerprint,
};
