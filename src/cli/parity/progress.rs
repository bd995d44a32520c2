//! How far a verification is: step, done of what there is to do, rate, time left. One line, redrawn on a terminal and
//! written every 10 s elsewhere, on standard error.
//!
//! Denominators are those of the engine, which counted before it began; a share is rounded down, so that 100 % is said
//! only when all is done.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::cli::output::grouped;
use crate::cli::status::{cut, spoken};
use crate::parity::{Progress, Step};

/// How often the line is drawn again on a terminal.
const REDRAWN_EVERY: Duration = Duration::from_millis(250);
/// How often a line is written elsewhere.
const WRITTEN_EVERY: Duration = Duration::from_secs(10);
/// The rate is that of this last stretch.
const RATE_OVER: Duration = Duration::from_secs(10);
/// Less than a terminal's line, so that it never wraps.
const COLUMNS: usize = 79;

/// What was seen of one step, and from when.
#[derive(Debug, Default)]
struct Meter {
    step: Option<Step>,
    seen: VecDeque<(Instant, u64)>,
}

impl Meter {
    fn observe(&mut self, now: Instant, progress: &Progress) {
        if self.step != Some(progress.step) {
            self.step = Some(progress.step);
            self.seen.clear();
        }
        self.seen.push_back((now, progress.done));
        while let Some((at, _)) = self.seen.front()
            && self.seen.len() > 2
            && now.duration_since(*at) > RATE_OVER
        {
            self.seen.pop_front();
        }
    }

    /// Units a second; `None` until some time has passed.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn rate(&self) -> Option<f64> {
        let (&(from, before), &(to, after)) = (self.seen.front()?, self.seen.back()?);
        let took = to.duration_since(from).as_secs_f64();
        (took > 0.0).then(|| after.saturating_sub(before) as f64 / took)
    }
}

/// Shows how far it is.
pub struct Line {
    meter: Meter,
    redraws: bool,
    shown: Option<Instant>,
}

impl Line {
    #[must_use]
    pub fn new() -> Self {
        Self {
            meter: Meter::default(),
            redraws: std::io::stderr().is_terminal(),
            shown: None,
        }
    }

    pub fn show(&mut self, progress: &Progress) {
        let now = Instant::now();
        self.meter.observe(now, progress);
        let every = if self.redraws {
            REDRAWN_EVERY
        } else {
            WRITTEN_EVERY
        };
        // The first line elsewhere comes after the first stretch: what is done at once needs none.
        let shown = *self.shown.get_or_insert(now);
        if now.duration_since(shown) < every {
            return;
        }
        self.shown = Some(now);
        let text = line(progress, self.meter.rate());
        // Where standard error is closed there is nobody to tell.
        let _ = if self.redraws {
            write!(std::io::stderr(), "\r\x1b[K{text}")
        } else {
            writeln!(std::io::stderr(), "lockgate: {text}")
        };
    }

    /// Takes the line away, so that what comes next begins at the left.
    pub fn clear(&self) {
        if self.redraws && self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// `Kafka (2 of 3)  4,120,000 of 10,000,000 · 41.2 % · 182,000/s · 0m32s left`
#[must_use]
pub fn line(progress: &Progress, rate: Option<f64>) -> String {
    let step = match progress.step {
        Step::Redis => "Redis (1 of 3)",
        Step::Kafka => "Kafka (2 of 3)",
        Step::Looking => "entry by entry (3 of 3)",
        Step::Done => "done",
    };
    let mut text = format!(
        "{step}  {} of {} · {}",
        grouped(progress.done),
        grouped(progress.total),
        share(progress.done, progress.total)
    );
    if let Some(rate) = rate.filter(|rate| *rate >= 1.0) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rate and a time for people"
        )]
        let (whole, left) = (
            rate as u64,
            progress.total.saturating_sub(progress.done) as f64 / rate,
        );
        text.push_str(&format!(" · {}/s · {} left", grouped(whole), spoken(left)));
    }
    cut(&text, COLUMNS)
}

/// A share in percent, rounded down.
fn share(done: u64, total: u64) -> String {
    let per_mille = match total {
        0 => 1_000,
        total => u128::from(done.min(total)) * 1_000 / u128::from(total),
    };
    format!("{}.{} %", per_mille / 10, per_mille % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(step: Step, done: u64, total: u64) -> Progress {
        Progress {
            step,
            done,
            total,
            redis_entries: 0,
            kafka_records: 0,
        }
    }

    #[test]
    fn a_line_says_the_step_the_share_the_rate_and_the_time_left() {
        assert_eq!(
            line(&at(Step::Kafka, 4_120_000, 10_000_000), Some(182_000.4)),
            "Kafka (2 of 3)  4,120,000 of 10,000,000 · 41.2 % · 182,000/s · 0m32s left"
        );
        assert_eq!(
            line(&at(Step::Redis, 0, 7), None),
            "Redis (1 of 3)  0 of 7 · 0.0 %"
        );
        assert_eq!(
            line(&at(Step::Looking, 7, 7), Some(0.0)),
            "entry by entry (3 of 3)  7 of 7 · 100.0 %"
        );
    }

    #[test]
    fn all_is_said_only_when_all_is_done_and_a_line_never_wraps() {
        assert_eq!(share(9_999_999, 10_000_000), "99.9 %");
        assert_eq!(share(0, 0), "100.0 %");
        assert_eq!(share(12, 10), "100.0 %");
        let long = line(&at(Step::Looking, u64::MAX / 2, u64::MAX), Some(1e9));
        assert_eq!(long.chars().count(), COLUMNS, "{long}");
    }

    #[test]
    fn the_rate_is_that_of_the_last_stretch_of_one_step() {
        let mut meter = Meter::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        meter.observe(start, &at(Step::Redis, 1_000_000, 2_000_000));
        assert_eq!(meter.rate(), None);
        meter.observe(after(1), &at(Step::Redis, 1_000_100, 2_000_000));
        assert_eq!(meter.rate(), Some(100.0), "what a resume brings is no rate");
        for second in 2..40 {
            meter.observe(after(second), &at(Step::Redis, 1_000_100, 2_000_000));
        }
        assert_eq!(meter.rate(), Some(0.0));
        meter.observe(after(40), &at(Step::Kafka, 5, 10));
        assert_eq!(meter.rate(), None, "another step");
    }
}
