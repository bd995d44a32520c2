//! Errors of the API in the form of RFC 9457, each with what to do.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::migration::step::Refusal;

/// `application/problem+json`.
#[derive(Debug, Serialize)]
pub struct Problem {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    title: &'static str,
    status: u16,
    detail: String,
}

impl Problem {
    fn new(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: None,
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
            "there is GET /v1/status, /v1/migration, /v1/flags/flagd, /metrics, /livez, /readyz, /runbooks/NAME; PUT /v1/throttle, /v1/log-level; POST \
             /v1/streams/resume, /v1/parity/repair, /v1/plans, /v1/plans/ID/apply, /v1/hold, /v1/resume, /v1/rollback, /v1/rehearsals, /v1/baseline, \
             /v1/evidence, /v1/flags/ack, /ofrep/v1/evaluate/flags",
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

    /// A refusal of the migration driver. What a script tells apart is in `type`.
    pub fn refused(refusal: &Refusal) -> Self {
        let (status, title, kind) = match refusal {
            Refusal::Gates(_) => (
                StatusCode::CONFLICT,
                "blocked by gates",
                "urn:lockgate:gates",
            ),
            Refusal::NoPlan | Refusal::Expired | Refusal::Moved { .. } => (
                StatusCode::CONFLICT,
                "no such plan now",
                "urn:lockgate:moved",
            ),
            Refusal::NoWay { .. }
            | Refusal::Busy { .. }
            | Refusal::Budget { .. }
            | Refusal::Unreckoned(_)
            | Refusal::NoThroughput => (
                StatusCode::CONFLICT,
                "not from here",
                "urn:lockgate:refused",
            ),
            Refusal::Nameless | Refusal::NoReason | Refusal::NotTyped => (
                StatusCode::BAD_REQUEST,
                "incomplete",
                "urn:lockgate:incomplete",
            ),
            Refusal::NotReady
            | Refusal::Trouble(_)
            | Refusal::Elsewhere(_)
            | Refusal::NotStored(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not now",
                "urn:lockgate:unavailable",
            ),
        };
        Self {
            kind: Some(kind),
            ..Self::new(status, title, refusal.to_string())
        }
    }

    pub fn nameless() -> Self {
        let detail =
            "say who asks, in the header X-Lockgate-Name; nothing is changed without a name";
        Self::new(StatusCode::UNAUTHORIZED, "nobody is named", detail)
    }

    pub fn not_here() -> Self {
        let detail = "other machines can reach this API, and it cannot tell who asks; listen on loopback to steer the migration";
        Self::new(StatusCode::FORBIDDEN, "not on this address", detail)
    }

    pub fn flags_unknown() -> Self {
        let detail =
            "the driver has not read its state yet; keep the last flags you had and ask again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "flags not known", detail)
    }

    pub fn too_many_clients() -> Self {
        let detail =
            "too many applications are known already; give each a name that stays the same";
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too many applications",
            detail,
        )
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
