//! `POST /v1/parity/repair`: missing entries are produced again by the owner of their shard.

use axum::extract::{Json, State};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::Api;
use super::problem::Problem;
use crate::parity::{Order, Report, Target};

/// Entries of one order at most.
const MOST: usize = 10_000;
/// Bytes of an order: as many entries with long names fit.
pub const BODY_BYTES: usize = 4 << 20;

/// What is ordered, and why.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RepairBody {
    pub entries: Vec<Target>,
    /// It goes into the log and into the journal.
    pub reason: String,
}

pub async fn repair(
    State(api): State<Api>,
    body: Result<Json<RepairBody>, axum::extract::rejection::JsonRejection>,
) -> Result<Json<Report>, Problem> {
    let Json(asked) = body.map_err(|error| Problem::bad_request(&error.body_text()))?;
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
    let (reply, report) = oneshot::channel();
    let order = Order {
        entries: asked.entries,
        reason: asked.reason,
        reply,
    };
    let stopped = || Problem::internal("the auditor has stopped");
    // From here on the order is carried out, whoever goes away.
    api.repairs.send(order).await.map_err(|_| stopped())?;
    report.await.map(Json).map_err(|_| stopped())
}
