//! Parity: whether both stores hold the same entries, found by reading both again.
//!
//! Shares with the mirror the route's pure functions and nothing else, so that a fault of the mirror is not repeated here.

mod class;

pub use class::{Class, Counts, Difference, Location, Part, Why};
