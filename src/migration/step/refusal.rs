//! Why an operator's wish is not done. A refusal is data: it says what stands in the way and what to do.

use super::{NotSaved, Trouble};
use crate::migration::gate::{Verdict, span};
use crate::migration::phase::Step;

/// Characters that a reason has at least.
pub(super) const REASON: usize = 10;

/// Why not.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    #[error("the driver has not read its state yet; try again in a moment")]
    NotReady,
    #[error("{0}")]
    Trouble(Trouble),
    #[error(
        "instance {0} steers; ask its API: `--url http://ITS-HOST:PORT`, or run the command there"
    )]
    Elsewhere(String),
    #[error("{}", match .0 {
        NotSaved::Conflict => "another instance changed the state at the same moment; look at lockgate status and ask again",
        NotSaved::Unreachable => "Redis did not say whether it stored that, and it may have: it is read again and gone on with; look at lockgate status before you ask again, and see lockgate runbook LockgateEdgeDown",
    })]
    NotStored(NotSaved),
    #[error("nobody is named; nothing is changed without a name")]
    Nameless,
    #[error("the reason is too short; say why in {REASON} characters or more")]
    NoReason,
    #[error("there is no such plan, or it was applied already; make a new one")]
    NoPlan,
    #[error("the plan is too old; make a new one")]
    Expired,
    #[error("the state moved since the plan was made (epoch {then}, now {now}); make a new one")]
    Moved { then: u64, now: u64 },
    #[error("blocked by {}", names(.0))]
    Gates(Vec<Verdict>),
    #[error("type the migration's name to complete it")]
    NotTyped,
    #[error("{step} cannot be reached from {from}: {why}")]
    NoWay {
        from: Step,
        step: Step,
        why: &'static str,
    },
    #[error("it is {state}: {what}")]
    Busy {
        state: &'static str,
        what: &'static str,
    },
    #[error(
        "it would take about {} and may take {}; let applications poll more often (and give a shorter lifetime), have \
         streams looked for more often (redis.discovery_interval), or raise migration.attempt_budget; nothing was begun",
        span(*.needs_ms), span(*.budget_ms)
    )]
    Budget { needs_ms: i64, budget_ms: i64 },
    #[error("how long it would take is not known: {0}; nothing was begun")]
    Unreckoned(&'static str),
    #[error("the throughput is not known now; a baseline needs it fresh")]
    NoThroughput,
    #[error("the streams hold {held} entries now, so an archive of {total} is not whole")]
    ArchiveShort { held: u64, total: u64 },
    #[error(
        "how many entries the streams hold is not known, and so not whether the archive is whole: {0}; try again in a moment"
    )]
    Unheld(String),
}

impl Refusal {
    /// Whether the driver puts it into the journal itself. Where it cannot steer, or could not store, whoever was asked does.
    #[must_use]
    pub const fn is_noted(&self) -> bool {
        !matches!(
            self,
            Self::NotReady
                | Self::Trouble(_)
                | Self::Elsewhere(_)
                | Self::NotStored(_)
                | Self::ArchiveShort { .. }
                | Self::Unheld(_)
        )
    }
}

fn names(verdicts: &[Verdict]) -> String {
    let blocked = verdicts.iter().filter(|verdict| !verdict.opens());
    let each: Vec<_> = blocked
        .map(|verdict| {
            format!(
                "{} ({}: {})",
                verdict.name,
                verdict.verdict.as_str(),
                verdict.reason
            )
        })
        .collect();
    each.join("; ")
}

pub(super) type Verdictless<T> = Result<T, Refusal>;

pub(super) fn reasoned(reason: &str) -> Verdictless<()> {
    if reason.trim().chars().count() < REASON {
        return Err(Refusal::NoReason);
    }
    Ok(())
}
