//! Parity against sabotage: both stores are written by the test's own hand, so that each fault lies exactly where it was
//! put, and `lockgate parity verify` must find every one, in its class and its place, and invent none.
//!
//! Nothing of the engine is shared. `stage` writes Redis and the checkpoints, `hand` writes Kafka, `script` places faults
//! and says what must be found, `verdict` reads what was said and holds it against that.

mod asked;
mod bad_input;
mod clocks;
mod edges;
mod faults;
mod generations;
pub mod gone;
pub mod hand;
mod interrupted;
mod live;
mod placement;
mod randomised;
mod sampling;
mod scene;
mod script;
pub mod stage;
mod verdict;
