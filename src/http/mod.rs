//! The HTTP API: what the daemon knows, and what can be changed while it runs.
//!
//! Loopback by default. `doors.rs` lists every way in with the least role that it needs, and `access.rs` is the one guard before
//! all of them. Whatever changes something takes JSON, which a foreign page cannot send without asking first.

mod access;
mod changes;
mod doors;
mod flags;
mod input;
mod journal;
mod openapi;
mod problem;
mod repair;
mod show;
mod steer;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use self::access::Access;
pub use self::changes::{LogLevelBody, ResumeBody};
pub use self::journal::Page;
pub use self::steer::Migration;
pub use self::tls::Tls;

use self::access::Peer;
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

/// Serves until stopped, by TLS where there is any.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    api: Api,
    stop: CancellationToken,
) -> std::io::Result<()> {
    match tls {
        Some(tls) => serve_on(tls.over(listener), api, stop).await,
        None => serve_on(listener, api, stop).await,
    }
}

async fn serve_on<L>(listener: L, api: Api, stop: CancellationToken) -> std::io::Result<()>
where
    L: Listener<Addr = SocketAddr>,
    Peer: for<'a> Connected<IncomingStream<'a, L>>,
{
    let service = router(api).into_make_service_with_connect_info::<Peer>();
    axum::serve(listener, service)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
}

fn router(api: Api) -> Router {
    doors::router(&api)
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|| async { Problem::wrong_method() })
        .layer(DefaultBodyLimit::max(64 << 10))
        .with_state(api)
}
