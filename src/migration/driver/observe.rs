//! What the driver sees at each look: what all instances see together, what others measured, and which applications follow.

use tracing::warn;

use super::{Driver, Hears, now_ms};
use crate::migration::gate::{Measure, Reading, Sample, millis};
use crate::migration::measure::{Backlog, Sight, wellness};
use crate::migration::step::{Machine, Observation};

impl Driver {
    /// What is measured now, with what was pushed.
    pub(super) fn observe(&mut self, sight: Sight) -> Observation {
        let now = now_ms();
        for sample in samples(&sight, now) {
            self.measurements.put(sample);
        }
        let stored = self.machine.as_ref().and_then(Machine::stored);
        let told = stored.map_or(0, |state| state.told.version);
        let following = self.measurements.followers.following(told, now);
        self.measurements.put(Sample {
            measure: Measure::Clients,
            reading: if following.left_out {
                Reading::Unknown("more applications acknowledge than are known apart".to_owned())
            } else {
                Reading::Counted {
                    faults: following.behind.len() as u64,
                    total: following.known,
                    since_ms: now,
                }
            },
            at_ms: now,
        });
        let settle = millis(self.parts.config.settle);
        #[expect(clippy::cast_possible_truncation, reason = "saturates")]
        let drain_ms = sight.lag_seconds.map(|seconds| (seconds * 1_000.0) as i64);
        let samples = self.measurements.all();
        let freshness = millis(self.parts.config.evidence_freshness);
        Observation {
            wellness: Some(wellness(&sight.kafka, &samples, freshness, now)),
            counts: Some(sight.counts),
            samples,
            converge_ms: following
                .period_ms
                // What they had begun to write, and as long without a stray.
                .map(|period| period.saturating_add(settle.saturating_mul(2))),
            drain_ms,
            looks_ms: millis(self.parts.looks_every),
        }
    }

    /// Takes in what applications acknowledged, in Redis or to any instance, while `told` is the newest version. Where it cannot
    /// be read, those that are known stay so for their lifetime, and nobody is said to follow.
    pub(super) async fn hear(&mut self, told: u64) {
        let heard = self.store.acknowledged().await;
        match &heard {
            Ok(all) => {
                let followers = &self.measurements.followers;
                followers.heard(all, told, now_ms());
            }
            Err(error) if self.hears != Hears::Nothing => {
                warn!(%error, "acknowledgements in Redis cannot be read");
            }
            Err(_) => {}
        }
        self.hears = if heard.is_ok() {
            Hears::All
        } else {
            Hears::Nothing
        };
    }
}

/// What all instances see of the mirror and of what differs. A lag is as old as the oldest part of it.
fn samples(sight: &Sight, now_ms: i64) -> Vec<Sample> {
    let sample = |measure, reading, at_ms| Sample {
        measure,
        reading,
        at_ms,
    };
    let (lag, at_ms) = match &sight.lag {
        #[expect(
            clippy::cast_precision_loss,
            reason = "compared with thresholds far below 2^53"
        )]
        Ok(entries) => (Reading::Value(*entries as f64), sight.at_ms),
        Err(why) => (Reading::Unknown(why.clone()), now_ms),
    };
    let mut samples = vec![
        sample(Measure::MirrorLag, lag.clone(), at_ms),
        sample(Measure::Undrained, lag, at_ms),
        sample(Measure::Strays, sight.strays.clone(), now_ms),
        sample(Measure::Inconsistency, sight.inconsistency.clone(), now_ms),
    ];
    if let Some(Backlog { lag, pending }) = sight.redis_groups {
        for (measure, entries) in [
            (Measure::RedisGroupLag, lag),
            (Measure::RedisGroupPending, pending),
        ] {
            #[expect(clippy::cast_precision_loss, reason = "for people, far below 2^53")]
            let reading = Reading::Value(entries as f64);
            samples.push(sample(measure, reading, at_ms));
        }
    }
    samples
}
