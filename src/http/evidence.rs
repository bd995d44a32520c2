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
    /// With counts or buckets: over how many seconds up to now they were counted; of an archive: how long ago reading it again
    /// began.
    #[serde(default)]
    #[schema(minimum = 1)]
    seconds: Option<u32>,
}

impl EvidenceBody {
    /// What was measured up to now, in the form in which its measure is judged. `limit`: what a latency is held against.
    fn reading(&self, limit: Option<Duration>, at_ms: i64) -> Result<Reading, String> {
        let shape = self.measure.shape();
        let wrong = || {
            let wanted = match limit {
                Some(limit) => format!(
                    "give buckets, so that it can be held against the threshold {}, and seconds, over how long they were counted",
                    humantime::format_duration(limit)
                ),
                None => shape.wanted().to_owned(),
            };
            format!("{} cannot be judged by that: {wanted}", self.measure)
        };
        // Of what was counted for no time nobody could say whether it is of this step.
        let seconds = self.seconds.filter(|seconds| *seconds > 0);
        let counted = |faults, total, seconds: u32| Reading::Counted {
            faults,
            total,
            since_ms: at_ms.saturating_sub(i64::from(seconds) * 1_000),
        };
        let counts = (self.faults, self.total, seconds);
        let reading = match (limit, &self.buckets, self.value, counts) {
            (Some(limit), Some(buckets), None, (None, None, Some(seconds))) => {
                let (late, total) = beyond(limit, &bounded(buckets)?)?;
                counted(late, total, seconds)
            }
            (None, None, Some(value), (None, None, None)) if self.seconds.is_none() => {
                Reading::Value(value)
            }
            (None, None, None, (Some(faults), Some(total), Some(seconds))) if faults <= total => {
                counted(faults, total, seconds)
            }
            _ => return Err(wrong()),
        };
        if shape.fits(&reading) {
            Ok(reading)
        } else {
            Err(wrong())
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
    // Answered when it is stored: what was taken survives a restart.
    ask(&api, who, Ask::Evidence(sample)).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(body: serde_json::Value) -> Result<Reading, String> {
        let body: EvidenceBody = serde_json::from_value(body).expect("it is read");
        let latency = body.measure == Measure::WriteLatency;
        body.reading(latency.then_some(Duration::from_millis(50)), 100_000)
    }

    #[test]
    fn evidence_has_the_form_in_which_its_measure_is_judged() {
        use serde_json::json;
        assert_eq!(
            reading(json!({ "measure": "throughput", "value": 812.5 })),
            Ok(Reading::Value(812.5))
        );
        let counted = Reading::Counted {
            faults: 1,
            total: 9,
            since_ms: 40_000,
        };
        assert_eq!(
            reading(json!({ "measure": "produce-errors", "faults": 1, "total": 9, "seconds": 60 })),
            Ok(counted.clone())
        );
        let buckets = json!({ "0.05": 8, "+Inf": 9 });
        assert_eq!(
            reading(json!({ "measure": "write-latency", "buckets": buckets, "seconds": 60 })),
            Ok(counted)
        );
        for wrong in [
            // Milliseconds in place of counts would be held against a share.
            json!({ "measure": "write-latency", "value": 12 }),
            // The caller would decide what is too late.
            json!({ "measure": "write-latency", "faults": 0, "total": 9, "seconds": 60 }),
            json!({ "measure": "write-latency", "buckets": buckets }),
            json!({ "measure": "produce-errors", "buckets": buckets, "seconds": 60 }),
            json!({ "measure": "throughput", "faults": 0, "total": 900, "seconds": 60 }),
            json!({ "measure": "disk", "value": 85 }),
            json!({ "measure": "archive", "value": 1 }),
            // Without its time it would count for any step.
            json!({ "measure": "produce-errors", "faults": 0, "total": 900 }),
            json!({ "measure": "produce-errors", "faults": 0, "total": 900, "seconds": 0 }),
            json!({ "measure": "produce-errors", "faults": 9, "total": 8, "seconds": 60 }),
            json!({ "measure": "throughput", "value": 812.5, "seconds": 60 }),
            json!({ "measure": "throughput" }),
        ] {
            assert!(reading(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
