//! The migration driver: opens the cutover step by step, each step only on evidence, and can take back every one of them.
//!
//! ```text
//!   evidence ──▶ gate, tripwire ──▶ step ──commands──▶ driver ──▶ store (Redis, copy in Kafka) · flags
//!                (pure)             (pure)   ◀─events──┘
//! ```
//! What decides is pure and takes the time as a number; what acts is the driver. Nothing is acted on before it is stored.

pub mod driver;
pub mod evidence;
pub mod gate;
pub mod measure;
pub mod phase;
mod seen;
pub mod step;
pub mod store;
pub mod tripwire;
pub mod view;
