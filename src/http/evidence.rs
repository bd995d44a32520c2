//! Evidence that is pushed: what only applications and operators know, checked before the driver takes it.
//!
//! A latency comes by buckets and is held against the configured threshold here, so that no caller decides what is too late.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Api;
use super::access::Caller;
use super::input::Sent;
use super::problem::Problem;
use super::steer::ask;
use crate::migration::driver::now_ms;
use crate::migration::gate::{Bucket, Measure, Reading, Sample, beyond};
use crate::migration::measure::is_pushed;
use crate::migration::step::Ask;

/// `{"measure": "duplicates", "value": 0}`, or `{"measure": "produce-errors", "faults": 0, "total": 2000, "seconds": 60}`, or of a
/// latency `{"measure": "added-latency", "buckets": {"0.005": 1990, "+Inf": 2000}, "seconds": 60}`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EvidenceBody {
    #[schema(value_type = String, example = "duplicates")]
    measure: Measure,
    #[serde(default)]
    value: Option<f64>,
    #[serde(default)]
    faults: Option<u64>,
    #[serde(default)]
    total: Option<u64>,
    /// Of a latency: by a bound in seconds, how many took at most so long. One is the threshold, `+Inf` counts all.
    #[serde(default)]
    buckets: Option<BTreeMap<String, u64>>,
    /// Over how many seconds up to now they were counted; of an archive: how long ago reading it again began.
    #[serde(default)]
    seconds: Option<u32>,
}

impl EvidenceBody {
    /// `limit`: what a latency is held against.
    fn reading(&self, limit: Option<Duration>, at_ms: i64) -> Result<Reading, String> {
        let counted = |faults, total| Reading::Counted {
            faults,
            total,
            since_ms: at_ms.saturating_sub(i64::from(self.seconds.unwrap_or(0)) * 1_000),
        };
        match (limit, &self.buckets, self.value, self.faults, self.total) {
            (Some(limit), Some(buckets), None, None, None) => {
                let (late, total) = beyond(limit, &bounded(buckets)?)?;
                Ok(counted(late, total))
            }
            (Some(limit), ..) => Err(format!(
                "give buckets, so that it can be held against the threshold {}, and nothing else",
                humantime::format_duration(limit)
            )),
            (None, None, Some(value), None, None) if value.is_finite() => Ok(Reading::Value(value)),
            (None, None, None, Some(faults), Some(total)) if faults <= total => {
                Ok(counted(faults, total))
            }
            (None, ..) => Err(
                "give either value, or faults and total with faults no greater than total"
                    .to_owned(),
            ),
        }
    }
}

fn bounded(buckets: &BTreeMap<String, u64>) -> Result<Vec<Bucket>, String> {
    let buckets = buckets.iter().map(|(bound, count)| {
        let known = bound.parse().ok().filter(|bound: &f64| !bound.is_nan());
        let bound = known.ok_or_else(|| format!("`{bound}` is no bound of a bucket"))?;
        #[expect(clippy::cast_precision_loss, reason = "counts lie far below 2^53")]
        let count = *count as f64;
        Ok(Bucket { bound, count })
    });
    buckets.collect()
}

/// An archive is counted, and cannot hold fewer entries than the streams of this instance do now.
fn is_whole(archive: &Reading, api: &Api) -> Result<(), Problem> {
    let Reading::Counted { total, .. } = archive else {
        return Err(Problem::bad_request(
            "an archive is counted: give total, the entries that were read again, and faults, those of them that are not as they were",
        ));
    };
    let status = api.board.snapshot();
    let held = status
        .routes
        .iter()
        .filter_map(|route| route.stream_entries);
    let held: u64 = held.sum();
    if *total < held {
        return Err(Problem::bad_request(&format!(
            "the streams hold {held} entries now, so an archive of {total} is not whole"
        )));
    }
    Ok(())
}

/// Takes what only the application knows, measured just now.
#[utoipa::path(post, path = "/v1/evidence", operation_id = "evidence", request_body = EvidenceBody,
    responses(
        (status = 204, description = "It is stored, and counts until it is too old"),
        (status = 503, description = "The driver cannot store it now, or another instance steers")
))]
pub async fn take(
    State(api): State<Api>,
    Caller(who): Caller,
    Sent(asked): Sent<EvidenceBody>,
) -> Result<StatusCode, Problem> {
    if !is_pushed(asked.measure) {
        return Err(Problem::bad_request(&format!(
            "Lockgate measures {} by itself; it is not pushed",
            asked.measure
        )));
    }
    let at_ms = now_ms();
    let limit = api.migration.driver.limits.on(asked.measure);
    let reading = asked
        .reading(limit, at_ms)
        .map_err(|why| Problem::bad_request(&why))?;
    let sample = Sample {
        measure: asked.measure,
        reading,
        at_ms,
    };
    if asked.measure == Measure::Archive {
        is_whole(&sample.reading, &api)?;
    }
    // Answered when it is stored: what was taken survives a restart.
    ask(&api, who, Ask::Evidence(sample)).await?;
    Ok(StatusCode::NO_CONTENT)
}
