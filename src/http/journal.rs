//! `GET /v1/journal`: who did what, all of it, page by page.
//!
//! Records are numbered from 1 and are never changed, so a page that was read stays true, and `after` is all that a reader has to
//! remember. Numbers are missing where Redis lost records in a failover and who steers did not remember them: a later record
//! says so.

use axum::extract::{Json, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::input::Asked;
use super::problem::Problem;
use crate::migration::view::{ShownRecord, record};

/// Records of one page.
const PAGE: u16 = 200;

/// Which records.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Records after this number; 0 or nothing: from the first.
    #[serde(default)]
    after: u64,
    /// So many at most.
    #[serde(default)]
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
}

/// Part of the journal, in order.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Page {
    #[schema(value_type = Vec<Object>)]
    pub records: Vec<ShownRecord>,
    /// Records that there are.
    pub total: u64,
    /// `after` of the next page; null: these are the last.
    pub next: Option<u64>,
}

/// The journal, oldest first.
#[utoipa::path(get, path = "/v1/journal", params(Which), responses(
    (status = 200, description = "A page of it", body = Page),
    (status = 503, description = "It cannot be read now")
))]
pub async fn journal(
    State(api): State<Api>,
    Asked(which): Asked<Which>,
) -> Result<Json<Page>, Problem> {
    let limit = which.limit.unwrap_or(PAGE);
    if !(1..=PAGE).contains(&limit) {
        return Err(Problem::bad_request(&format!(
            "limit is {limit}; give 1 to {PAGE}"
        )));
    }
    let driver = &api.migration.driver;
    let (records, total) = driver
        .journal(which.after, limit.into())
        .await
        .map_err(|why| Problem::journal_unread(&why))?;
    // By number, not by the last one found: where Redis lost some, what comes behind them is there all the same.
    let end = which.after.saturating_add(u64::from(limit));
    Ok(Json(Page {
        records: records.iter().map(record).collect(),
        total,
        next: Some(end).filter(|end| *end < total),
    }))
}
