//! The HTTP API: what the daemon knows, and the few things that can be changed while it runs.
//!
//! Loopback by default. A browser cannot be led to it by another site: the Host header must name this machine, and whatever
//! changes something takes JSON, which a foreign page cannot send without asking first.

mod migration;
mod problem;
mod repair;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Json, Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use self::migration::{Migration, parts};
use self::problem::Problem;
use crate::config;
use crate::entry::{Database, StreamRef};
use crate::logging::LogLevel;
use crate::metrics::Metrics;
use crate::mirror::{Lift, Throttle};
use crate::parity::Order;
use crate::runbooks;
use crate::status::{Board, Status};

/// Handles to what the API shows and changes.
#[derive(Clone)]
pub struct Api {
    pub board: Arc<Board>,
    pub metrics: Arc<Metrics>,
    pub throttle: Arc<Throttle>,
    pub lifts: mpsc::Sender<Lift>,
    pub repairs: mpsc::Sender<Order>,
    pub log_level: LogLevel,
    pub migration: Arc<Migration>,
}

/// Serves until stopped.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    api: Api,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let local = listener.local_addr()?.ip().is_loopback();
    let router = router(api, local);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
}

fn router(api: Api, local: bool) -> Router {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/runbooks/{name}", get(runbook))
        .route("/v1/status", get(status))
        .route("/v1/throttle", put(set_throttle))
        .route("/v1/log-level", put(set_log_level))
        .route("/v1/streams/resume", post(resume))
        .merge(migration::routes())
        .route(
            "/v1/parity/repair",
            post(repair::repair).layer(DefaultBodyLimit::max(repair::BODY_BYTES)),
        )
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|| async { Problem::wrong_method() })
        .layer(DefaultBodyLimit::max(64 << 10))
        .with_state(api);
    if local {
        router.layer(middleware::from_fn(known_host))
    } else {
        router
    }
}

/// A name that another site made to point at loopback is not ours.
async fn known_host(request: Request, next: Next) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |(name, _)| name);
    let local = matches!(name, "localhost" | "[::1]" | "::1")
        || name
            .parse::<std::net::Ipv4Addr>()
            .is_ok_and(|ip| ip.is_loopback());
    if local {
        next.run(request).await
    } else {
        Problem::unknown_host(host).into_response()
    }
}

async fn readyz(State(api): State<Api>) -> (StatusCode, &'static str) {
    if api.board.ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n")
    }
}

async fn metrics(State(api): State<Api>) -> Response {
    match api.metrics.text() {
        Ok(text) => {
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => Problem::internal(&error.to_string()).into_response(),
    }
}

async fn runbook(Path(name): Path<String>) -> Result<Response, Problem> {
    let (_, text) = runbooks::find(&name).ok_or_else(|| Problem::no_such_runbook(&name))?;
    let kind = HeaderValue::from_static("text/markdown; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

async fn status(State(api): State<Api>) -> Json<Status> {
    Json(api.board.snapshot())
}

async fn set_throttle(
    State(api): State<Api>,
    body: Result<Json<config::Throttle>, axum::extract::rejection::JsonRejection>,
) -> Result<Json<config::Throttle>, Problem> {
    let Json(settings) = body.map_err(|error| Problem::bad_request(&error.body_text()))?;
    api.throttle.set(settings);
    api.board
        .throttle(settings.entries_per_second, settings.bytes_per_second);
    tracing::info!(
        entries_per_second = settings.entries_per_second,
        bytes_per_second = settings.bytes_per_second,
        "throttle changed"
    );
    Ok(Json(settings))
}

/// `{"filter": "info,lockgate::mirror=debug"}`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LogLevelBody {
    pub filter: String,
}

async fn set_log_level(
    State(api): State<Api>,
    body: Result<Json<LogLevelBody>, axum::extract::rejection::JsonRejection>,
) -> Result<Json<LogLevelBody>, Problem> {
    let Json(level) = body.map_err(|error| Problem::bad_request(&error.body_text()))?;
    api.log_level
        .set(&level.filter)
        .map_err(|error| Problem::bad_request(&error))?;
    tracing::info!(filter = level.filter, "log level changed");
    Ok(Json(level))
}

/// Lifts a stream's halt: what was lost is counted and passed.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ResumeBody {
    pub database: u32,
    pub stream: String,
    /// Where to begin again, for a stream whose checkpoint is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<config::Start>,
    /// Why; it goes into the log.
    pub reason: String,
}

async fn resume(
    State(api): State<Api>,
    body: Result<Json<ResumeBody>, axum::extract::rejection::JsonRejection>,
) -> Result<Json<ResumeBody>, Problem> {
    let Json(asked) = body.map_err(|error| Problem::bad_request(&error.body_text()))?;
    if asked.reason.trim().is_empty() {
        return Err(Problem::bad_request(
            "reason is empty; say why the halt is lifted, it goes into the log",
        ));
    }
    let stream = api
        .board
        .find(Database(asked.database), &asked.stream)
        .ok_or_else(|| Problem::no_such_stream(asked.database, &asked.stream))?;
    let mut halt = None;
    api.board.stream(&stream, |cell| halt = cell.halt());
    let Some(halt) = halt else {
        return Err(Problem::not_halted(asked.database, &asked.stream));
    };
    tracing::warn!(stream = %stream.name, database = asked.database, halt = halt.as_str(), reason = asked.reason, "an operator lifts a halt");
    lift(&api, stream, asked.from).await?;
    Ok(Json(asked))
}

async fn lift(api: &Api, stream: StreamRef, from: Option<config::Start>) -> Result<(), Problem> {
    let sent = api.lifts.send(Lift { stream, from }).await;
    sent.map_err(|_closed| Problem::internal("the mirror has stopped"))
}
