//! What can be changed while the daemon runs, beside the migration: its pace, its log, a stream's halt.
//!
//! Each change is noted by the guard, with the name that a token proves.

use axum::Extension;
use axum::extract::{Json, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::access::Caller;
use super::input::{Sent, one_line};
use super::problem::{Problem, Said};
use crate::config;
use crate::entry::Database;
use crate::mirror::Lift;
use crate::status::Reason;

/// Sets how fast the mirror may go, until the daemon is started again.
#[utoipa::path(put, path = "/v1/throttle", request_body = config::Throttle,
    responses((status = 200, description = "It holds now", body = config::Throttle)))]
pub async fn set_throttle(
    State(api): State<Api>,
    Sent(settings): Sent<config::Throttle>,
) -> Result<(Extension<Said>, Json<config::Throttle>), Problem> {
    if settings.entries_per_second == Some(0) || settings.bytes_per_second == Some(0) {
        return Err(Problem::bad_request(
            "a limit is 0; give at least 1, or leave it out for no limit",
        ));
    }
    api.throttle.set(settings);
    api.board
        .throttle(settings.entries_per_second, settings.bytes_per_second);
    tracing::info!(
        entries_per_second = settings.entries_per_second,
        bytes_per_second = settings.bytes_per_second,
        "throttle changed"
    );
    let limit = |limit: Option<u32>| limit.map_or("no".to_owned(), |limit| limit.to_string());
    let said = format!(
        "{} entries/s, {} bytes/s at most",
        limit(settings.entries_per_second),
        limit(settings.bytes_per_second)
    );
    Ok((Extension(Said(said)), Json(settings)))
}

/// `{"filter": "info,lockgate::mirror=debug"}`
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogLevelBody {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter.
    pub filter: String,
}

/// Sets what is logged, until the daemon is started again.
#[utoipa::path(put, path = "/v1/log-level", request_body = LogLevelBody,
    responses((status = 200, description = "It holds now", body = LogLevelBody)))]
pub async fn set_log_level(
    State(api): State<Api>,
    Sent(level): Sent<LogLevelBody>,
) -> Result<(Extension<Said>, Json<LogLevelBody>), Problem> {
    api.log_level
        .set(&level.filter)
        .map_err(|error| Problem::bad_request(&error))?;
    tracing::info!(filter = level.filter, "log level changed");
    Ok((Extension(Said(level.filter.clone())), Json(level)))
}

/// Lifts a stream's halt: what was lost is counted and passed.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeBody {
    pub database: u32,
    pub stream: String,
    /// Where to begin again, for a stream whose checkpoint is lost: `earliest`, `latest`, or the id to begin after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^(earliest|latest|[0-9]{1,19}(-[0-9]{1,19})?)$")]
    pub from: Option<config::Start>,
    /// Why; it goes into the journal.
    #[schema(pattern = "\\S")]
    #[serde(deserialize_with = "one_line")]
    pub reason: String,
}

/// Lets a halted stream go on. What it lost stays lost, so this cannot be taken back.
#[utoipa::path(post, path = "/v1/streams/resume", request_body = ResumeBody, responses(
    (status = 200, description = "It goes on", body = ResumeBody),
    (status = 404, description = "This instance owns no such stream"),
    (status = 409, description = "It is not halted, its checkpoint is lost and `from` is missing, or is there without that")
))]
pub async fn resume(
    State(api): State<Api>,
    Caller(who): Caller,
    Sent(asked): Sent<ResumeBody>,
) -> Result<(Extension<Said>, Json<ResumeBody>), Problem> {
    if asked.reason.trim().is_empty() {
        return Err(Problem::bad_request(
            "reason is empty; say why the halt is lifted, it goes into the journal",
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
    match (halt, asked.from) {
        (Reason::CheckpointLost, None) => {
            return Err(Problem::no_beginning(asked.database, &asked.stream));
        }
        (Reason::CheckpointLost, Some(_)) | (_, None) => {}
        (_, Some(_)) => return Err(Problem::has_its_place(&asked.stream, halt)),
    }
    tracing::warn!(
        stream = %stream.name, database = asked.database, halt = halt.as_str(), who = who.name, reason = asked.reason,
        "an operator lifts a halt"
    );
    let from = asked.from;
    lift(&api, Lift { stream, halt, from }).await?;
    let said = format!(
        "{} of database {}, {}: {}",
        asked.stream,
        asked.database,
        halt.as_str(),
        asked.reason
    );
    Ok((Extension(Said(said)), Json(asked)))
}

async fn lift(api: &Api, lift: Lift) -> Result<(), Problem> {
    let sent = api.lifts.send(lift).await;
    sent.map_err(|_closed| Problem::internal("the mirror has stopped"))
}
