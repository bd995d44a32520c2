//! Errors of the API in the form of RFC 9457, each with what to do.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::config::Role;
use crate::migration::step::Refusal;
use crate::status::Reason;

/// What the guard notes of an answer: the change that was made, or why there was none. Never what a caller sent unread.
#[derive(Clone, Debug)]
pub struct Said(pub String);

/// Marks an answer whose refusal is in the journal already.
#[derive(Clone, Copy, Debug)]
pub struct ByDriver;

/// `application/problem+json`.
#[derive(Debug, Serialize)]
pub struct Problem {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip)]
    by_driver: bool,
    /// Whether the detail is the driver's own and nothing that a caller sent, so that it may be noted.
    #[serde(skip)]
    own_words: bool,
}

impl Problem {
    fn new(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: None,
            title,
            status: status.as_u16(),
            detail: detail.into(),
            by_driver: false,
            own_words: false,
        }
    }

    pub const fn title(&self) -> &'static str {
        self.title
    }

    pub fn bad_request(detail: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad request", detail)
    }

    /// A body that cannot be read.
    pub fn unreadable(status: StatusCode, detail: &str) -> Self {
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(
                status,
                "too large",
                "the body is larger than this call ever needs; send less",
            ),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::new(
                status,
                "not sent as JSON",
                "send JSON with the header Content-Type: application/json",
            ),
            _ => Self::bad_request(detail),
        }
    }

    pub fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not found",
            "there is nothing at this path; GET /v1/openapi.json lists what there is",
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

    /// To lift the halt of a lost checkpoint without a place would only halt the stream again.
    pub fn no_beginning(database: u32, stream: &str) -> Self {
        let detail = format!(
            "Kafka holds no checkpoint of stream `{stream}` of database {database}, so nothing says where it is to go on; give `from` \
             (--from): the id of the last entry that Kafka has, or earliest (what Kafka has comes twice), or latest (what Kafka lacks \
             stays out). See lockgate runbook checkpoint-lost"
        );
        Self::new(StatusCode::CONFLICT, "no place to begin", detail)
    }

    pub fn has_its_place(stream: &str, halt: Reason) -> Self {
        let detail = format!(
            "stream `{stream}` is halted by {halt} and goes on at its checkpoint; `from` (--from) is for a stream whose checkpoint is lost: \
             leave it out"
        );
        Self::new(StatusCode::CONFLICT, "has its place", detail)
    }

    pub fn unknown_host(local: bool) -> Self {
        let detail = if local {
            "the Host header is no loopback name; use 127.0.0.1 or localhost, or list the name in http.hosts"
        } else {
            "the Host header is none of http.hosts; use one of them, or list this name there"
        };
        Self::new(StatusCode::FORBIDDEN, "unknown host", detail)
    }

    pub fn foreign_origin() -> Self {
        let detail = "a page of another place sends this; nothing is changed for it. Ask from the command line, or from a page of this API";
        Self::new(StatusCode::FORBIDDEN, "foreign origin", detail)
    }

    pub fn too_many_requests() -> Self {
        let detail = "this address asks more often than http.requests_per_second permits; wait a second and ask again";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too many requests", detail)
    }

    pub fn too_slow() -> Self {
        let detail = "the body did not come within http.client_timeout; nothing was changed. Send it again, at once and whole";
        Self::new(StatusCode::REQUEST_TIMEOUT, "too slow", detail)
    }

    pub const fn is_timeout(&self) -> bool {
        self.status == StatusCode::REQUEST_TIMEOUT.as_u16()
    }

    /// `configured`: whether this API knows any tokens.
    pub fn no_token(configured: bool) -> Self {
        let detail = if configured {
            "show a token: the header Authorization: Bearer TOKEN, or lockgate --token-file FILE"
        } else {
            "nothing is changed without a name that a token proves, and this daemon knows no tokens: make one with lockgate token, \
             set http.tokens_file and start it again"
        };
        Self::new(StatusCode::UNAUTHORIZED, "no token", detail)
    }

    pub fn unknown_token(configured: bool) -> Self {
        if !configured {
            return Self::no_token(false);
        }
        let detail = "this token is not in http.tokens_file, or is for a few seconds only; use another, or see lockgate runbook rotate-secrets";
        Self::new(StatusCode::UNAUTHORIZED, "unknown token", detail)
    }

    pub fn wrong_role(least: &str, role: Role) -> Self {
        let detail = format!(
            "this needs the role {least}, and the token's is {role}; ask somebody who has it"
        );
        Self {
            kind: Some("urn:lockgate:role"),
            ..Self::new(StatusCode::FORBIDDEN, "wrong role", detail)
        }
    }

    pub fn journal_unread(why: &str) -> Self {
        let detail = format!(
            "the journal cannot be read now: {why}; the daemon's log has the same records. See lockgate runbook LockgateEdgeDown"
        );
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not now", detail)
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
            Refusal::Nameless
            | Refusal::NoReason
            | Refusal::NotTyped
            | Refusal::ArchiveShort { .. } => (
                StatusCode::BAD_REQUEST,
                "incomplete",
                "urn:lockgate:incomplete",
            ),
            Refusal::NotReady
            | Refusal::Trouble(_)
            | Refusal::Elsewhere(_)
            | Refusal::NotStored(_)
            | Refusal::Unheld(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "not now",
                "urn:lockgate:unavailable",
            ),
        };
        Self {
            kind: Some(kind),
            by_driver: refusal.is_noted(),
            own_words: true,
            ..Self::new(status, title, refusal.to_string())
        }
    }

    pub fn flags_unknown() -> Self {
        let detail =
            "the driver has not read its state yet; keep the last flags you had and ask again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "flags not known", detail)
    }

    pub fn acknowledgement_not_kept() -> Self {
        let detail = "Redis did not say in time that it keeps the acknowledgement, so other instances may not know of it; acknowledge again";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "acknowledgement not kept",
            detail,
        )
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
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            // What is left of the body is not waited for.
            StatusCode::REQUEST_TIMEOUT => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        let said = if self.own_words {
            self.detail
        } else {
            self.title.to_owned()
        };
        response.extensions_mut().insert(Said(said));
        if self.by_driver {
            response.extensions_mut().insert(ByDriver);
        }
        response
    }
}
