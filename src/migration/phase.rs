//! The phases and steps of a cutover, and their order.
//!
//! ```text
//!   shadow ▶ consumers 5 ▶ 25 ▶ 50 ▶ 100 ▶ ingress 10 ▶ 25 ▶ 50 ▶ 100 ▶ cleanup ▶ done
//! ```
//! A step is its phase and its percentage, not its number in the list: so a configuration with other percentages leaves a
//! migration where it is, and what comes next or before is found by the order alone.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::Migration;

/// A phase, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Shadow,
    Consumers,
    Ingress,
    Cleanup,
    Done,
}

impl Phase {
    pub const ALL: [Self; 5] = [
        Self::Shadow,
        Self::Consumers,
        Self::Ingress,
        Self::Cleanup,
        Self::Done,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shadow => "shadow",
            Self::Consumers => "consumers",
            Self::Ingress => "ingress",
            Self::Cleanup => "cleanup",
            Self::Done => "done",
        }
    }

    /// Whether its steps are percentages.
    const fn has_steps(self) -> bool {
        matches!(self, Self::Consumers | Self::Ingress)
    }
}

/// A place in the cutover. Steps order as the cutover goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step {
    phase: Phase,
    /// Above 0 in `consumers` and `ingress`, else 0.
    percent: u8,
}

/// How much of the traffic is Kafka's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Percent of the partitions whose consumers read Kafka.
    pub consumers: u8,
    /// Percent of the buckets whose producers write to Kafka.
    pub ingress: u8,
}

impl Share {
    pub const REDIS_ONLY: Self = Self {
        consumers: 0,
        ingress: 0,
    };
}

impl Step {
    pub const SHADOW: Self = Self::whole(Phase::Shadow);
    pub const CLEANUP: Self = Self::whole(Phase::Cleanup);
    pub const DONE: Self = Self::whole(Phase::Done);

    const fn whole(phase: Phase) -> Self {
        Self { phase, percent: 0 }
    }

    /// A step of a phase that goes by percentages; 1 to 100.
    #[must_use]
    pub fn consumers(percent: u8) -> Self {
        Self {
            phase: Phase::Consumers,
            percent: percent.clamp(1, 100),
        }
    }

    /// As [`Step::consumers`].
    #[must_use]
    pub fn ingress(percent: u8) -> Self {
        Self {
            phase: Phase::Ingress,
            percent: percent.clamp(1, 100),
        }
    }

    #[must_use]
    pub const fn phase(self) -> Phase {
        self.phase
    }

    /// The percentage, where the phase goes by them.
    #[must_use]
    pub const fn percent(self) -> Option<u8> {
        if self.phase.has_steps() {
            Some(self.percent)
        } else {
            None
        }
    }

    /// The traffic that is Kafka's at this step.
    #[must_use]
    pub const fn share(self) -> Share {
        match self.phase {
            Phase::Shadow => Share::REDIS_ONLY,
            Phase::Consumers => Share {
                consumers: self.percent,
                ingress: 0,
            },
            Phase::Ingress => Share {
                consumers: 100,
                ingress: self.percent,
            },
            Phase::Cleanup | Phase::Done => Share {
                consumers: 100,
                ingress: 100,
            },
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.percent() {
            Some(percent) => write!(f, "{}:{percent}", self.phase.as_str()),
            None => f.write_str(self.phase.as_str()),
        }
    }
}

/// A text that names no step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no step; write shadow, consumers:PERCENT, ingress:PERCENT, cleanup or done, as `lockgate status` shows them; \
     consumers and ingress alone are their last steps"
)]
pub struct NoStep(String);

impl FromStr for Step {
    type Err = NoStep;

    fn from_str(text: &str) -> Result<Self, NoStep> {
        let wrong = || NoStep(text.chars().take(40).collect());
        let (name, percent) = match text.split_once(':') {
            Some((name, percent)) => (name, Some(percent)),
            None => (text, None),
        };
        let phase = Phase::ALL
            .into_iter()
            .find(|phase| phase.as_str() == name)
            .ok_or_else(wrong)?;
        match (phase.has_steps(), percent) {
            (false, None) => Ok(Self::whole(phase)),
            (true, None) => Ok(Self {
                phase,
                percent: 100,
            }),
            (true, Some(percent)) => match percent.parse() {
                Ok(percent @ 1..=100) => Ok(Self { phase, percent }),
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        }
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The steps of one migration, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Course(Vec<Step>);

impl Course {
    #[must_use]
    pub fn new(config: &Migration) -> Self {
        let consumers = config.consumers.iter().map(|share| Step::consumers(*share));
        let ingress = config.ingress.iter().map(|share| Step::ingress(*share));
        let mut steps: Vec<Step> = std::iter::once(Step::SHADOW)
            .chain(consumers)
            .chain(ingress)
            .chain([Step::CLEANUP, Step::DONE])
            .collect();
        steps.sort_unstable();
        steps.dedup();
        Self(steps)
    }

    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    #[must_use]
    pub fn holds(&self, step: Step) -> bool {
        self.0.binary_search(&step).is_ok()
    }

    /// The first step after this one; `None` after `done`.
    #[must_use]
    pub fn next(&self, step: Step) -> Option<Step> {
        self.0.iter().copied().find(|other| *other > step)
    }

    /// The last step before this one; `None` before `shadow`.
    #[must_use]
    pub fn previous(&self, step: Step) -> Option<Step> {
        self.0.iter().copied().rev().find(|other| *other < step)
    }

    /// The last step before a phase begins: where rolling that phase back leads.
    #[must_use]
    pub fn before(&self, phase: Phase) -> Step {
        self.0
            .iter()
            .copied()
            .rev()
            .find(|step| step.phase() < phase)
            .unwrap_or(Step::SHADOW)
    }

    /// Whether it is the last step of its phase.
    #[must_use]
    pub fn is_last(&self, step: Step) -> bool {
        self.next(step)
            .is_none_or(|next| next.phase() != step.phase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn course() -> Course {
        Course::new(&Migration::default())
    }

    #[test]
    fn the_default_course_is_the_guides() {
        let steps: Vec<_> = course().steps().iter().map(Step::to_string).collect();
        assert_eq!(
            steps.join(" "),
            "shadow consumers:5 consumers:25 consumers:50 consumers:100 ingress:10 ingress:25 ingress:50 ingress:100 \
             cleanup done"
        );
    }

    #[test]
    fn next_and_previous_lead_there_and_back() {
        let course = course();
        for pair in course.steps().windows(2) {
            assert_eq!(course.next(pair[0]), Some(pair[1]));
            assert_eq!(course.previous(pair[1]), Some(pair[0]));
        }
        assert_eq!(course.next(Step::DONE), None);
        assert_eq!(course.previous(Step::SHADOW), None);
        assert_eq!(course.before(Phase::Ingress), Step::consumers(100));
        assert_eq!(course.before(Phase::Consumers), Step::SHADOW);
        assert!(course.is_last(Step::ingress(100)) && !course.is_last(Step::ingress(50)));
    }

    #[test]
    fn a_step_that_the_configuration_no_longer_has_keeps_its_place() {
        let course = course();
        assert!(!course.holds(Step::consumers(20)));
        assert_eq!(course.next(Step::consumers(20)), Some(Step::consumers(25)));
        assert_eq!(
            course.previous(Step::consumers(20)),
            Some(Step::consumers(5))
        );
    }

    #[test]
    fn kafkas_share_only_grows_along_the_course() {
        for pair in course().steps().windows(2) {
            let (a, b) = (pair[0].share(), pair[1].share());
            assert!(a.consumers <= b.consumers && a.ingress <= b.ingress);
        }
    }

    #[test]
    fn a_phase_alone_is_its_last_step() {
        for (text, step) in [("consumers", "consumers:100"), ("ingress", "ingress:100")] {
            assert_eq!(text.parse::<Step>(), step.parse());
        }
    }

    #[test]
    fn what_is_no_step_is_refused() {
        for text in [
            "",
            "shadow:5",
            "consumers:",
            "consumers:0",
            "consumers:101",
            "ingress:x",
            "Done",
            "ingress:10 ",
        ] {
            assert!(text.parse::<Step>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_step_reads_back_as_it_is_shown(index in 0usize..11) {
            let step = course().steps()[index];
            prop_assert_eq!(step.to_string().parse(), Ok(step));
            let json = serde_json::to_string(&step).expect("serialises");
            prop_assert_eq!(serde_json::from_str::<Step>(&json).expect("reads"), step);
        }
    }
}
