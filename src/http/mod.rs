//! The HTTP API: what the daemon knows, and what can be changed while it runs.
//!
//! Loopback by default. `doors.rs` lists every way in with the least role that it needs, and `access.rs` is the one guard before
//! all of them. Whatever changes something takes JSON, which a foreign page cannot send without asking first. `serving.rs` holds the
//! connections: so many at most, and none that a slow caller keeps for nothing.

mod access;
mod certificate;
mod changes;
mod doors;
mod evidence;
mod flags;
mod input;
mod journal;
mod openapi;
mod problem;
mod repair;
mod serving;
mod show;
mod steer;
mod tls;
mod tokens;

use std::sync::Arc;

use axum::Router;
use tokio::sync::mpsc;

pub use self::access::Access;
pub use self::certificate::keep as keep_certificate;
pub use self::changes::{LogLevelBody, ResumeBody};
pub use self::journal::Page;
pub use self::serving::serve;
pub use self::steer::Migration;
pub use self::tls::Tls;
pub use self::tokens::keep as keep_tokens;

use self::problem::Problem;
use crate::logging::LogLevel;
use crate::metrics::Metrics;
use crate::mirror::{Lift, Throttle};
use crate::parity::Order;
use crate::status::Board;

/// Handles to what the API shows and changes.
#[derive(Clone)]
pub struct Api {
    pub access: Arc<Access>,
    pub board: Arc<Board>,
    pub metrics: Arc<Metrics>,
    pub throttle: Arc<Throttle>,
    pub lifts: mpsc::Sender<Lift>,
    pub repairs: mpsc::Sender<Order>,
    pub log_level: LogLevel,
    pub migration: Arc<Migration>,
}

fn router(api: Api) -> Router {
    doors::router(&api)
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|| async { Problem::wrong_method() })
        .with_state(api)
}
