//! Errors of the API in the form of RFC 9457, each with what to do.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// `application/problem+json`.
#[derive(Debug, Serialize)]
pub struct Problem {
    title: &'static str,
    status: u16,
    detail: String,
}

impl Problem {
    fn new(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            title,
            status: status.as_u16(),
            detail: detail.into(),
        }
    }

    pub fn bad_request(detail: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad request", detail)
    }

    pub fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not found",
            "there is GET /v1/status, /metrics, /livez, /readyz, /runbooks/NAME; PUT /v1/throttle, /v1/log-level; POST /v1/streams/resume, /v1/parity/repair",
        )
    }

    pub fn no_such_runbook(name: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no such runbook",
            format!("there is no runbook `{name}`; `lockgate runbook` lists them"),
        )
    }

    pub fn wrong_method() -> Self {
        let detail = "this path takes another method; GET reads, PUT sets, POST acts";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "wrong method", detail)
    }

    pub fn no_such_stream(database: u32, stream: &str) -> Self {
        let detail = format!(
            "this instance owns no stream `{stream}` in database {database}; `lockgate status --streams` lists those it owns, \
             another instance may own it"
        );
        Self::new(StatusCode::NOT_FOUND, "no such stream here", detail)
    }

    pub fn not_halted(database: u32, stream: &str) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "not halted",
            format!(
                "stream `{stream}` of database {database} is not halted; there is nothing to lift"
            ),
        )
    }

    pub fn unknown_host(host: &str) -> Self {
        let detail =
            format!("`{host}` is not this machine's loopback name; use 127.0.0.1 or localhost");
        Self::new(StatusCode::FORBIDDEN, "unknown host", detail)
    }

    pub fn internal(detail: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        (
            status,
            [(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/problem+json"),
            )],
            body,
        )
            .into_response()
    }
}
