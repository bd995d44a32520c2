//! `POST /v1/parity/repair`: missing entries are produced again by the owner of their shard.

use axum::Extension;
use axum::extract::{Json, State};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use utoipa::ToSchema;

use super::Api;
use super::input::{Sent, one_line};
use super::problem::{Problem, Said};
use crate::parity::{Order, Report, Target};

/// Entries of one order at most.
const MOST: usize = 10_000;
/// Bytes of an order: as many entries with long names fit.
pub const BODY_BYTES: usize = 4 << 20;

/// What is ordered, and why.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RepairBody {
    /// `{"database": 0, "stream": "msg:stream:7", "id": "1741356110123-0"}` each, 10 000 at most.
    #[schema(min_items = 1, max_items = 10_000)]
    pub entries: Vec<Target>,
    /// It goes into the log and into the journal.
    #[schema(pattern = "\\S")]
    #[serde(deserialize_with = "one_line")]
    pub reason: String,
}

/// Has missing entries produced again. What is in Kafka then cannot be taken out.
#[utoipa::path(post, path = "/v1/parity/repair", request_body = RepairBody,
    responses((status = 200, description = "What became of each", body = Object)))]
pub async fn repair(
    State(api): State<Api>,
    Sent(asked): Sent<RepairBody>,
) -> Result<(Extension<Said>, Json<Report>), Problem> {
    if asked.reason.trim().is_empty() {
        return Err(Problem::bad_request(
            "reason is empty; say why the entries are produced again, it goes into the log and the journal",
        ));
    }
    if asked.entries.is_empty() || asked.entries.len() > MOST {
        return Err(Problem::bad_request(&format!(
            "{} entries; give at least 1 and at most {MOST}",
            asked.entries.len()
        )));
    }
    let said = format!("{} entries: {}", asked.entries.len(), asked.reason);
    let (reply, report) = oneshot::channel();
    let order = Order {
        entries: asked.entries,
        reason: asked.reason,
        reply,
    };
    let stopped = || Problem::internal("the auditor has stopped");
    // From here on the order is carried out, whoever goes away.
    api.repairs.send(order).await.map_err(|_| stopped())?;
    let report = report.await.map_err(|_| stopped())?;
    Ok((Extension(Said(said)), Json(report)))
}
