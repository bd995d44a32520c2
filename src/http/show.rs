//! What the daemon shows of itself: whether it lives, its metrics, its status, its runbooks.

use axum::extract::{Json, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Api;
use super::input::Named;
use super::problem::Problem;
use crate::runbooks;
use crate::status::Status;

/// This process lives. It asks neither Redis nor Kafka.
#[utoipa::path(get, path = "/livez", responses((status = 200, description = "It lives", body = String, content_type = "text/plain")))]
pub async fn livez() -> &'static str {
    "ok\n"
}

/// It has started.
#[utoipa::path(get, path = "/readyz", responses(
    (status = 200, description = "It has started", body = String, content_type = "text/plain"),
    (status = 503, description = "It starts", body = String, content_type = "text/plain")
))]
pub async fn readyz(State(api): State<Api>) -> (StatusCode, &'static str) {
    if api.board.ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n")
    }
}

/// Metrics in Prometheus's text form.
#[utoipa::path(get, path = "/metrics", responses((status = 200, description = "All metrics", body = String, content_type = "text/plain")))]
pub async fn metrics(State(api): State<Api>) -> Response {
    match api.metrics.text() {
        Ok(text) => {
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => Problem::internal(&error.to_string()).into_response(),
    }
}

/// A runbook, by its name.
#[utoipa::path(get, path = "/runbooks/{name}", params(("name" = String, Path, description = "As `lockgate runbook` lists it")),
    responses((status = 200, description = "The runbook", body = String, content_type = "text/markdown")))]
pub async fn runbook(Named(name): Named) -> Result<Response, Problem> {
    let (_, text) = runbooks::find(&name).ok_or_else(|| Problem::no_such_runbook(&name))?;
    let kind = HeaderValue::from_static("text/markdown; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// Everything that the daemon knows of what it mirrors and compares, at one moment: what `lockgate status` shows.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, description = "The status", body = Object)))]
pub async fn status(State(api): State<Api>) -> Json<Status> {
    Json(api.board.snapshot())
}
