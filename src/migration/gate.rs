//! Gates: what a promotion needs, judged from evidence alone.
//!
//! ```text
//!   evidence ──▶ pass            the condition is shown
//!            ──▶ fail            its opposite is shown
//!            ──▶ inconclusive    neither is: nothing known, too old, too few, or a bound on both sides of the threshold
//! ```
//! Only `pass` opens. So every way in which evidence can be missing ends in `inconclusive`, and there is no other way to
//! open a gate: a threshold is changed in the configuration or not at all.
//!
//! A share passes on its 95 % bound, never on its ratio. A condition that must hold for a time counts only the time that was
//! looked at ([`Held`]): time in which nobody looked shows nothing.

mod evidence;
mod latency;
pub(in crate::migration) mod list;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::bound::{samples_needed, share_of_faults};

pub use evidence::{Evidence, Held, Measure, Part, Reading, Sample, Shape, millis};
pub use latency::{Bucket, Limits, beyond};
pub use list::{GateName, Kind, Level, gates};

/// On which side of the threshold the good is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    #[serde(rename = "<")]
    Below,
    #[serde(rename = "<=")]
    AtMost,
    #[serde(rename = ">")]
    Above,
    #[serde(rename = ">=")]
    AtLeast,
}

impl Op {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Above => ">",
            Self::AtLeast => ">=",
        }
    }

    /// Whether `value` is on the good side. A value that is no number is not.
    #[must_use]
    pub fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::Below => value < threshold,
            Self::AtMost => value <= threshold,
            Self::Above => value > threshold,
            Self::AtLeast => value >= threshold,
        }
    }

    /// The value that is further from the good side.
    fn worse(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Below | Self::AtMost => a.max(b),
            Self::Above | Self::AtLeast => a.min(b),
        }
    }
}

/// A year: when a gate opens that will take longer is not said.
const FORESEEN_MS: i64 = 365 * 86_400_000;

/// One condition of a promotion.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    pub name: GateName,
    pub kind: Kind,
    pub unit: Cow<'static, str>,
    pub op: Op,
    pub threshold: f64,
    /// How long it must have held, or how long there must have been; 0: now.
    pub window_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    Pass,
    Fail,
    Inconclusive,
}

impl Answer {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// What a gate says, and on what evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub name: GateName,
    pub verdict: Answer,
    pub value: Option<f64>,
    pub unit: String,
    pub op: Op,
    pub threshold: f64,
    pub window_seconds: i64,
    pub samples: u64,
    /// `None` where no number of samples is known to be enough.
    pub needed: Option<u64>,
    /// The two ends of the 95 % bounds, for shares.
    pub bound: Option<(f64, f64)>,
    pub since_ms: Option<i64>,
    /// Why it does not pass; empty where it does.
    pub reason: String,
    /// When it opens if everything stays as it is.
    pub opens_at_ms: Option<i64>,
}

impl Verdict {
    #[must_use]
    pub fn opens(&self) -> bool {
        self.verdict == Answer::Pass
    }

    /// The one of two that is further from opening; the first where neither is.
    #[must_use]
    pub fn or_worse(self, other: Self) -> Self {
        if rank(other.verdict) > rank(self.verdict) {
            other
        } else {
            self
        }
    }
}

impl Gate {
    /// The verdict at `now_ms` on what is known. Evidence older than `freshness_ms`, or from the future, is none.
    #[must_use]
    pub fn judge(&self, evidence: &Evidence, freshness_ms: i64, now_ms: i64) -> Verdict {
        let verdict = self.judged(evidence, freshness_ms, now_ms);
        let near = |at: &i64| at.saturating_sub(now_ms) <= FORESEEN_MS;
        Verdict {
            opens_at_ms: verdict.opens_at_ms.filter(near),
            ..verdict
        }
    }

    fn judged(&self, evidence: &Evidence, freshness_ms: i64, now_ms: i64) -> Verdict {
        let age = now_ms.saturating_sub(evidence.at_ms);
        match &evidence.reading {
            Reading::Unknown(why) => self.inconclusive(why.clone()),
            _ if age > freshness_ms => self.inconclusive(format!(
                "the last evidence is {} old; more than {} is too old",
                span(age),
                span(freshness_ms)
            )),
            _ if age < -freshness_ms => self
                .inconclusive("the evidence is dated in the future; compare the clocks".to_owned()),
            Reading::Value(value) if !value.is_finite() => {
                self.inconclusive("the evidence is no number".to_owned())
            }
            Reading::Value(value) => self.judge_value(*value, evidence, freshness_ms, now_ms),
            Reading::Counted {
                faults,
                total,
                since_ms,
            } => {
                let whole = self.judge_counts((*faults).min(*total), *total, *since_ms, now_ms);
                self.worst(whole, &evidence.parts, *since_ms, now_ms)
            }
        }
    }

    fn judge_value(
        &self,
        value: f64,
        evidence: &Evidence,
        freshness_ms: i64,
        now_ms: i64,
    ) -> Verdict {
        let good = self.op.holds(value, self.threshold);
        let base = Verdict {
            value: Some(value),
            samples: 1,
            needed: Some(1),
            ..self.inconclusive(String::new())
        };
        match self.kind {
            Kind::Held => self.judge_held(base, good, evidence.held.as_ref(), freshness_ms, now_ms),
            Kind::Now if good => pass(base),
            Kind::Now => Verdict {
                verdict: Answer::Fail,
                reason: self.misses(value),
                ..base
            },
            Kind::Elapsed if good => pass(base),
            Kind::Elapsed => {
                let missing = to_ms(self.threshold - value);
                Verdict {
                    reason: format!("{} more", span(missing)),
                    opens_at_ms: Some(now_ms.saturating_add(missing)),
                    ..base
                }
            }
            Kind::Share | Kind::All => Verdict {
                reason: "the evidence is a value where counts are wanted".to_owned(),
                ..base
            },
        }
    }

    fn judge_held(
        &self,
        base: Verdict,
        good: bool,
        held: Option<&Held>,
        freshness_ms: i64,
        now_ms: i64,
    ) -> Verdict {
        let needed = self
            .window_ms
            .div_euclid(freshness_ms.max(1))
            .saturating_add(1);
        let base = Verdict {
            samples: held.map_or(0, |held| held.samples),
            needed: u64::try_from(needed).ok(),
            since_ms: held.and_then(|held| held.since_ms),
            ..base
        };
        if !good {
            let reason = base
                .value
                .map(|value| self.misses(value))
                .unwrap_or_default();
            return Verdict {
                verdict: Answer::Fail,
                reason,
                ..base
            };
        }
        // What was counted under another threshold, or not counted at all, shows nothing here.
        let covered = held
            .filter(|held| held.is_of(self) && held.since_ms.is_some())
            .map_or(0, |held| held.covered_ms);
        let missing = self.window_ms.saturating_sub(covered);
        if missing <= 0 && base.samples > 0 {
            return pass(base);
        }
        Verdict {
            reason: format!("held {} of {}", span(covered), span(self.window_ms)),
            opens_at_ms: Some(now_ms.saturating_add(missing.max(0))),
            ..base
        }
    }

    fn judge_counts(&self, faults: u64, total: u64, since_ms: i64, now_ms: i64) -> Verdict {
        let base = Verdict {
            samples: total,
            since_ms: Some(since_ms),
            ..self.inconclusive(String::new())
        };
        match self.kind {
            Kind::All => judge_all(base, faults, total),
            Kind::Share => self.judge_share(base, faults, total, now_ms),
            Kind::Held | Kind::Now | Kind::Elapsed => Verdict {
                reason: "the evidence is counts where a value is wanted".to_owned(),
                ..base
            },
        }
    }

    /// The worst of the whole and of those parts in which something is at fault, by name. A part in which nothing is can be
    /// too small for a bound of its own for ever; it hides nothing, and the whole has to show the share.
    fn worst(&self, whole: Verdict, parts: &[Part], since_ms: i64, now_ms: i64) -> Verdict {
        let at_fault = parts.iter().filter(|part| part.faults > 0);
        at_fault.fold(whole, |worst, part| {
            let judged = self.judge_counts(part.faults, part.total, since_ms, now_ms);
            if rank(judged.verdict) < rank(worst.verdict) || judged.opens() {
                return worst;
            }
            Verdict {
                reason: format!("{}: {}", part.name, judged.reason),
                ..judged
            }
        })
    }

    fn judge_share(&self, base: Verdict, faults: u64, total: u64, now_ms: i64) -> Verdict {
        // Where the good share is given a floor, its opposite has a ceiling.
        let inverted = matches!(self.op, Op::Above | Op::AtLeast);
        let ceiling = if inverted {
            1.0 - self.threshold
        } else {
            self.threshold
        };
        let Some((least, most)) = share_of_faults(total, faults) else {
            let needed = samples_needed(ceiling, 0);
            return Verdict {
                needed,
                reason: "nothing was counted yet".to_owned(),
                ..base
            };
        };
        let shown = |share: f64| if inverted { 1.0 - share } else { share };
        let base = Verdict {
            value: Some(shown(ratio(faults, total))),
            bound: Some(if inverted {
                (shown(most), shown(least))
            } else {
                (least, most)
            }),
            ..base
        };
        if most < ceiling {
            return pass(Verdict {
                needed: Some(total),
                ..base
            });
        }
        if least > ceiling {
            let reason = format!("{faults} of {total}: shown to be too many at 95 %");
            return Verdict {
                verdict: Answer::Fail,
                reason,
                ..base
            };
        }
        let needed = samples_needed(ceiling, faults).filter(|needed| *needed > total);
        let opens_at_ms = needed.and_then(|needed| {
            let passed = u64::try_from(now_ms.saturating_sub(base.since_ms?)).ok()?;
            let wait = u128::from(needed - total) * u128::from(passed) / u128::from(total.max(1));
            now_ms.checked_add(i64::try_from(wait).ok()?)
        });
        Verdict {
            reason: match needed {
                Some(needed) => format!("{faults} of {total}, needs {needed} to show it at 95 %"),
                None => format!("{faults} of {total} does not show it at 95 %"),
            },
            needed,
            opens_at_ms,
            ..base
        }
    }

    fn misses(&self, value: f64) -> String {
        format!(
            "{value} {}, needs {} {}",
            self.unit,
            self.op.as_str(),
            self.threshold
        )
    }

    /// The verdict without evidence.
    #[must_use]
    pub fn inconclusive(&self, reason: String) -> Verdict {
        Verdict {
            name: self.name,
            verdict: Answer::Inconclusive,
            value: None,
            unit: self.unit.clone().into_owned(),
            op: self.op,
            threshold: self.threshold,
            window_seconds: self.window_ms / 1_000,
            samples: 0,
            needed: None,
            bound: None,
            since_ms: None,
            reason,
            opens_at_ms: None,
        }
    }
}

/// Worse is greater.
const fn rank(answer: Answer) -> u8 {
    match answer {
        Answer::Pass => 0,
        Answer::Inconclusive => 1,
        Answer::Fail => 2,
    }
}

fn judge_all(base: Verdict, faults: u64, total: u64) -> Verdict {
    let base = Verdict {
        value: (total > 0).then(|| ratio(total - faults, total)),
        needed: Some(total.max(1)),
        ..base
    };
    match (faults, total) {
        (_, 0) => Verdict {
            reason: "there is none yet".to_owned(),
            ..base
        },
        (0, _) => pass(base),
        _ => Verdict {
            verdict: Answer::Fail,
            reason: format!("{faults} of {total} do not"),
            ..base
        },
    }
}

fn pass(verdict: Verdict) -> Verdict {
    Verdict {
        verdict: Answer::Pass,
        reason: String::new(),
        opens_at_ms: None,
        ..verdict
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[expect(clippy::cast_possible_truncation, reason = "saturates")]
fn to_ms(seconds: f64) -> i64 {
    (seconds * 1_000.0).ceil() as i64
}

/// A length of time for people: its two greatest units.
#[must_use]
pub fn span(ms: i64) -> String {
    let ms = ms.max(0);
    let seconds = ms / 1_000;
    match seconds {
        0 => format!("{ms}ms"),
        1..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests;
