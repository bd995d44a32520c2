//! Latencies as histograms tell them: held against the threshold that is configured, and counted there. Pure.
//!
//! Who measures gives the counts up to each bound and does not have to know the threshold; so a threshold that is changed in the
//! configuration counts with the next evidence. Nothing is guessed between two bounds: a threshold that is none of them shows
//! nothing, and the reason names those that there are.

use std::time::Duration;

use super::Measure;
use crate::config::Migration;

/// Bounds that a reason names.
const NAMED: usize = 12;
/// Bounds are written in decimal and are no further off than this.
const SAME: f64 = 1e-9;

/// What each latency is held against.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    added: Duration,
    produce: Duration,
    write: Duration,
    end_to_end: Duration,
}

/// So many took at most so many seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// The last of a histogram is infinite, and counts all.
    pub bound: f64,
    pub count: f64,
}

impl Limits {
    #[must_use]
    pub const fn of(config: &Migration) -> Self {
        Self {
            added: config.gates.added_latency,
            produce: config.gates.produce_latency,
            write: config.tripwires.write_latency.beyond,
            end_to_end: config.gates.end_to_end,
        }
    }

    /// `None`: it is no latency.
    #[must_use]
    pub const fn on(&self, measure: Measure) -> Option<Duration> {
        match measure {
            Measure::AddedLatency => Some(self.added),
            Measure::ProduceLatency => Some(self.produce),
            Measure::WriteLatency => Some(self.write),
            Measure::EndToEnd => Some(self.end_to_end),
            _ => None,
        }
    }
}

/// How many took longer than the limit, and of how many.
///
/// # Errors
/// The buckets do not tell, and why.
pub fn beyond(limit: Duration, buckets: &[Bucket]) -> Result<(u64, u64), String> {
    let sound = |bucket: &Bucket| bucket.count.is_finite() && bucket.count >= 0.0;
    if !buckets.iter().all(sound) {
        return Err("a bucket's count is no number".to_owned());
    }
    let at = |fits: &dyn Fn(f64) -> bool| {
        let found = buckets.iter().find(|bucket| fits(bucket.bound));
        found.map(|bucket| whole(bucket.count))
    };
    let total = at(&|bound| bound == f64::INFINITY)
        .ok_or("the buckets lack the last one, +Inf, which counts all")?;
    let seconds = limit.as_secs_f64();
    let within = at(&|bound| (bound - seconds).abs() < SAME).ok_or_else(|| {
        format!(
            "no bucket ends at the threshold {}; they end at {}",
            humantime::format_duration(limit),
            bounds(buckets)
        )
    })?;
    if within > total {
        return Err("a bucket counts more than the last one, +Inf, which counts all".to_owned());
    }
    Ok((total - within, total))
}

fn bounds(buckets: &[Bucket]) -> String {
    let finite = buckets.iter().filter(|bucket| bucket.bound.is_finite());
    let mut texts: Vec<String> = finite
        .take(NAMED)
        .map(|bucket| bucket.bound.to_string())
        .collect();
    if buckets.len() > NAMED + 1 {
        texts.push("…".to_owned());
    }
    if texts.is_empty() {
        "+Inf alone".to_owned()
    } else {
        format!("{} s", texts.join(", "))
    }
}

/// Prometheus extrapolates counts: down, so that less is shown and not more.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and a count is not below 0"
)]
fn whole(count: f64) -> u64 {
    count.floor() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::BUCKETS;

    fn buckets(counts: &[(f64, f64)]) -> Vec<Bucket> {
        let counts = counts.iter();
        counts
            .map(|&(bound, count)| Bucket { bound, count })
            .collect()
    }

    const LIMIT: Duration = Duration::from_millis(5);
    const ALL: f64 = f64::INFINITY;

    #[test]
    fn the_threshold_decides_what_is_too_late() {
        let told = buckets(&[(0.001, 7.0), (0.005, 90.9), (0.01, 99.0), (ALL, 100.2)]);
        assert_eq!(beyond(LIMIT, &told), Ok((10, 100)));
        assert_eq!(beyond(Duration::from_millis(10), &told), Ok((1, 100)));
        assert_eq!(
            beyond(LIMIT, &buckets(&[(0.005, 0.0), (ALL, 0.0)])),
            Ok((0, 0))
        );
    }

    #[test]
    fn what_does_not_tell_shows_nothing_and_says_why() {
        for (told, says) in [
            (vec![], "lack the last one"),
            (vec![(0.005, 1.0)], "lack the last one"),
            (
                vec![(0.01, 1.0), (ALL, 1.0)],
                "threshold 5ms; they end at 0.01 s",
            ),
            (vec![(ALL, 1.0)], "+Inf alone"),
            (vec![(0.005, 2.0), (ALL, 1.0)], "counts more than the last"),
            (vec![(0.005, f64::NAN), (ALL, 1.0)], "no number"),
            (vec![(0.005, -1.0), (ALL, 1.0)], "no number"),
        ] {
            let why = beyond(LIMIT, &buckets(&told)).expect_err("no evidence");
            assert!(why.contains(says), "{why}");
        }
    }

    #[test]
    fn every_latency_is_held_against_a_key_of_its_own() {
        let mut config = Migration::default();
        let ms = Duration::from_millis;
        config.gates.added_latency = ms(1);
        config.gates.produce_latency = ms(2);
        config.gates.end_to_end = ms(3);
        config.tripwires.write_latency.beyond = ms(4);
        let limits = Limits::of(&config);
        let held: Vec<_> = Measure::ALL
            .iter()
            .filter_map(|one| Some((*one, limits.on(*one)?)))
            .collect();
        assert_eq!(
            held,
            [
                (Measure::AddedLatency, ms(1)),
                (Measure::ProduceLatency, ms(2)),
                (Measure::WriteLatency, ms(4)),
                (Measure::EndToEnd, ms(3)),
            ]
        );
    }

    /// A Prometheus that scrapes them can be asked without another histogram.
    #[test]
    fn lockgates_own_histograms_tell_what_lies_beyond_every_default() {
        let own = BUCKETS.into_iter().chain([ALL]);
        let told: Vec<_> = own.map(|bound| Bucket { bound, count: 1.0 }).collect();
        let limits = Limits::of(&Migration::default());
        let mut held = Measure::ALL.iter().filter_map(|one| limits.on(*one));
        assert!(held.all(|limit| beyond(limit, &told) == Ok((0, 1))));
    }
}
