//! Which gates stand before which promotion, with the thresholds that are configured.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::evidence::{Measure, millis, names};
use super::{Gate, Op};
use crate::config::Migration;
use crate::migration::phase::{Course, Phase, Step};

/// Of what is to be quick, so many may be slow: the rest is "95 % under a limit".
pub(in crate::migration) const SLOW: f64 = 0.05;

names! {
    /// A gate's name.
    GateName {
        MirrorLag = "mirror-lag",
        Parity = "parity",
        Soak = "soak",
        AddedLatency = "added-latency",
        Incidents = "incidents",
        GroupLag = "group-lag",
        Duplicates = "duplicates",
        Throughput = "throughput",
        DeadLetters = "dead-letters",
        ProduceLatency = "produce-latency",
        ProduceErrors = "produce-errors",
        DuplicateHits = "duplicate-hits",
        EndToEnd = "end-to-end",
        Clients = "clients",
        Strays = "strays",
        Rehearsal = "rehearsal",
        Drained = "drained",
        Archive = "archive",
    }
}

/// What is promised of the order of a key whose bucket moves, by what its writers are held with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    /// All writes go through an ingress that sees them. This version has none.
    #[serde(rename = "1 ingress")]
    Ingress,
    /// A store refuses what is not to be written to it: an operator's work, which Lockgate does not see.
    #[serde(rename = "2 direct, store fence")]
    Fence,
    /// Applications ask and obey: nothing lost, nothing twice; the order of a key is not promised around its change.
    #[serde(rename = "3 flags only")]
    Flags,
}

impl Level {
    /// The one that this version keeps by itself.
    pub const KEPT: Self = Self::Flags;

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "1 ingress",
            Self::Fence => "2 direct, store fence",
            Self::Flags => "3 flags only",
        }
    }
}

/// How a gate's condition is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The value was good all through the window.
    Held,
    /// The value is good now.
    Now,
    /// Time that must pass: too little is not a failure.
    Elapsed,
    /// The share at fault is below the threshold at 95 % confidence.
    Share,
    /// There are some, and none is at fault.
    All,
}

impl GateName {
    /// What it is judged on; `None` where the driver's own state says it.
    #[must_use]
    pub const fn measure(self) -> Option<Measure> {
        Some(match self {
            Self::MirrorLag => Measure::MirrorLag,
            Self::Parity => Measure::Parity,
            Self::AddedLatency => Measure::AddedLatency,
            Self::Incidents => Measure::Incident,
            Self::GroupLag => Measure::GroupLag,
            Self::Duplicates => Measure::Duplicates,
            Self::Throughput => Measure::Throughput,
            Self::DeadLetters => Measure::DeadLetters,
            Self::ProduceLatency => Measure::ProduceLatency,
            Self::ProduceErrors => Measure::ProduceErrors,
            Self::DuplicateHits => Measure::DuplicateHits,
            Self::EndToEnd => Measure::EndToEnd,
            Self::Clients => Measure::Clients,
            Self::Strays => Measure::Strays,
            Self::Drained => Measure::Undrained,
            Self::Archive => Measure::Archive,
            Self::Soak | Self::Rehearsal => return None,
        })
    }

    /// The level of what is promised that it belongs to; see [`Level`].
    #[must_use]
    pub const fn level(self) -> Option<Level> {
        match self {
            Self::Clients | Self::Strays => Some(Level::Flags),
            _ => None,
        }
    }

    /// What to do where it does not pass, for people.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::MirrorLag => "see FORWARD in lockgate status; raise or lift the throttle",
            Self::Parity => "lockgate parity explain shows the entries that differ",
            Self::Soak => "nothing to do: it opens by itself",
            Self::AddedLatency | Self::EndToEnd => {
                "measure it: POST /v1/evidence, or a PromQL query under [prometheus]"
            }
            Self::Incidents => "nothing to do while both stores stay well: it opens by itself",
            Self::GroupLag => "add workers to the Kafka groups, or lockgate rollback",
            Self::Duplicates => {
                "let the application report duplicates it persisted; look at its idempotency keys"
            }
            Self::Throughput => {
                "add workers to the Kafka groups; a baseline is recorded in shadow alone (runbook LockgateGateWithoutEvidence)"
            }
            Self::DeadLetters => {
                "look at the reasons in the dead-letter topics; error-rate: at what the application's consumers could not do"
            }
            Self::ProduceLatency | Self::ProduceErrors => {
                "look at the brokers and at the producers' own metrics"
            }
            Self::DuplicateHits => {
                "compare the idempotent hits with the baseline, which is recorded in shadow alone; producers may be repeating writes"
            }
            Self::Clients => {
                "let every application acknowledge the flags it follows (POST /v1/flags/ack)"
            }
            Self::Strays => {
                "find who writes these streams and does not follow the flags (strays in lockgate status --output json); \
                 wait a minute after the last"
            }
            Self::Rehearsal => {
                "lockgate rollback --dry-run --to STEP proves the way back from the next step"
            }
            Self::Drained => "wait until the mirror is level",
            Self::Archive => {
                "archive the streams, read the archive again, and say what was found: lockgate evidence archive --faults N --total N --seconds N"
            }
        }
    }
}

/// The gates before the promotion out of `step`; none at `done`, from which nothing leads.
#[must_use]
pub fn gates(config: &Migration, course: &Course, step: Step) -> Vec<Gate> {
    let mut gates = match step.phase() {
        Phase::Shadow => shadow(config),
        Phase::Consumers => consumers(config),
        Phase::Ingress => ingress(config),
        Phase::Cleanup => {
            let mut gates = vec![
                gate(GateName::Drained, Kind::Now, "entries", Op::AtMost, 0.0),
                gate(GateName::Archive, Kind::All, "share", Op::AtLeast, 1.0),
            ];
            gates.extend([parity(config), strays()]);
            return gates;
        }
        Phase::Done => return Vec::new(),
    };
    if step.phase() == Phase::Ingress {
        gates.push(strays());
    }
    let soak = match step.phase() {
        Phase::Shadow => config.soak.shadow,
        Phase::Consumers => config.soak.consumers,
        Phase::Ingress if course.is_last(step) => config.soak.last,
        _ => config.soak.ingress,
    };
    gates.push(gate(
        GateName::Soak,
        Kind::Elapsed,
        "s",
        Op::AtLeast,
        soak.as_secs_f64(),
    ));
    gates.push(gate(
        GateName::Rehearsal,
        Kind::Now,
        "proofs",
        Op::AtLeast,
        1.0,
    ));
    gates.push(gate(
        GateName::Clients,
        Kind::All,
        "share",
        Op::AtLeast,
        1.0,
    ));
    gates
}

fn shadow(config: &Migration) -> Vec<Gate> {
    let at = &config.gates;
    let lag = gate(
        GateName::MirrorLag,
        Kind::Held,
        "entries",
        Op::Below,
        count(at.mirror_lag),
    );
    let incidents = gate(
        GateName::Incidents,
        Kind::Held,
        "incidents",
        Op::AtMost,
        0.0,
    );
    vec![
        parity(config),
        lag.over(at.mirror_lag_window),
        quantile(GateName::AddedLatency, at.added_latency),
        incidents.over(at.incidents_window),
    ]
}

fn consumers(config: &Migration) -> Vec<Gate> {
    let at = &config.gates;
    let lag = gate(
        GateName::GroupLag,
        Kind::Held,
        "entries",
        Op::Below,
        count(at.group_lag),
    );
    let twice = gate(GateName::Duplicates, Kind::Held, "entries", Op::AtMost, 0.0);
    let pace = gate(
        GateName::Throughput,
        Kind::Held,
        "of baseline",
        Op::AtLeast,
        share(at.throughput),
    );
    vec![
        parity(config),
        lag.over(at.groups_window),
        twice.over(at.groups_window),
        pace.over(at.groups_window),
        gate(
            GateName::DeadLetters,
            Kind::Share,
            "share",
            Op::Below,
            share(at.dead_letters),
        ),
    ]
}

fn ingress(config: &Migration) -> Vec<Gate> {
    let at = &config.gates;
    let hits = gate(
        GateName::DuplicateHits,
        Kind::Held,
        "from baseline",
        Op::AtMost,
        share(at.duplicate_hits),
    );
    vec![
        parity(config),
        quantile(GateName::ProduceLatency, at.produce_latency),
        gate(
            GateName::ProduceErrors,
            Kind::Share,
            "share",
            Op::Below,
            share(at.produce_errors),
        ),
        hits.over(at.duplicate_hits_window),
        quantile(GateName::EndToEnd, at.end_to_end),
    ]
}

/// Without a gate of the store's own an application that does not follow is only seen by what it writes.
fn strays() -> Gate {
    gate(GateName::Strays, Kind::Now, "entries", Op::AtMost, 0.0)
}

fn parity(config: &Migration) -> Gate {
    let floor = 1.0 - share(config.gates.parity);
    gate(GateName::Parity, Kind::Share, "share", Op::Above, floor)
}

/// "95 % under a limit" is that fewer than 5 % are over it: counted, and not interpolated.
fn quantile(name: GateName, limit: Duration) -> Gate {
    let unit = format!("share over {}", humantime::format_duration(limit));
    gate(name, Kind::Share, unit, Op::Below, SLOW)
}

fn gate(
    name: GateName,
    kind: Kind,
    unit: impl Into<Cow<'static, str>>,
    op: Op,
    threshold: f64,
) -> Gate {
    Gate {
        name,
        kind,
        unit: unit.into(),
        op,
        threshold,
        window_ms: 0,
    }
}

impl Gate {
    fn over(mut self, window: Duration) -> Self {
        self.window_ms = millis(window);
        self
    }
}

/// Parts per million as a share.
#[must_use]
pub fn share(ppm: u32) -> f64 {
    f64::from(ppm) / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "thresholds are far below 2^53")]
pub(in crate::migration) fn count(number: u64) -> f64 {
    number as f64
}
