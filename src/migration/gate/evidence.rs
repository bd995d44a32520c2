//! Evidence: what was measured, when, and how long a condition has held.

use serde::{Deserialize, Serialize};

use super::Gate;
use crate::config::Migration;

/// Declares an enum of kebab-case names with `ALL` and `as_str`.
macro_rules! names {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$doc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The one of this name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == name)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(in crate::migration) use names;

names! {
    /// Something that is measured.
    Measure {
        /// Entries that are not in Kafka yet.
        MirrorLag = "mirror-lag",
        /// Compared entries, and those of them that differ.
        Parity = "parity",
        /// Missing, extra and repeated entries that are open now.
        Inconsistency = "inconsistency",
        /// Writes counted, and those delayed by more than the gate's threshold.
        AddedLatency = "added-latency",
        /// 1 while there is an incident, else 0.
        Incident = "incident",
        /// Entries; the greatest of the groups.
        GroupLag = "group-lag",
        /// Entries that the groups at Redis have not read.
        RedisGroupLag = "redis-group-lag",
        /// Entries that the groups at Redis were given and have not acknowledged.
        RedisGroupPending = "redis-group-pending",
        /// Entries that were persisted twice since the step began.
        Duplicates = "duplicates",
        /// Entries a second that all readers process, at both stores together: the baseline is of all of them, whatever share is Kafka's.
        Throughput = "throughput",
        /// Entries counted, and those that became dead letters.
        DeadLetters = "dead-letters",
        /// Entries that the application's consumers worked on, and those that they could not do: its own dead letters.
        ErrorRate = "error-rate",
        /// Records counted, and those acknowledged later than the gate's threshold.
        ProduceLatency = "produce-latency",
        /// Records counted, and those that could not be written.
        ProduceErrors = "produce-errors",
        /// Writes counted, and those slower than the tripwire's threshold.
        WriteLatency = "write-latency",
        /// Share of writes that an application knew already.
        DuplicateHits = "duplicate-hits",
        /// Entries counted, and those that were with their consumer later than the gate's threshold.
        EndToEnd = "end-to-end",
        /// Routed partitions that lack a replica.
        UnderReplicated = "under-replicated",
        /// Seconds.
        ReplicationLag = "replication-lag",
        /// The fullest broker's share.
        Disk = "disk",
        /// Known applications, and those of them that do not follow the flags as they are now.
        Clients = "clients",
        /// Entries of the last minute that came to Redis although their bucket is Kafka's.
        Strays = "strays",
        /// Entries that are still on their way in either direction.
        Undrained = "undrained",
        /// Archived entries, and those of them that did not read back as they were.
        Archive = "archive",
    }
}

/// The form in which a measure can be judged. A gate and a tripwire hold a value and counts against different thresholds, so
/// that the one in place of the other would be judged wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A number.
    Value,
    /// A number from 0 to 1.
    Share,
    /// How many of a total are at fault.
    Counts,
}

impl Shape {
    /// Whether a reading that says anything has this form.
    #[must_use]
    pub fn fits(self, reading: &Reading) -> bool {
        match (self, reading) {
            (Self::Value, Reading::Value(value)) => value.is_finite(),
            (Self::Share, Reading::Value(value)) => (0.0..=1.0).contains(value),
            (Self::Counts, Reading::Counted { .. }) => true,
            (Self::Value | Self::Share, Reading::Counted { .. })
            | (Self::Counts, Reading::Value(_))
            | (_, Reading::Unknown(_)) => false,
        }
    }

    /// What is to be said in this form, for who says it.
    #[must_use]
    pub const fn wanted(self) -> &'static str {
        match self {
            Self::Value => "give value, a number",
            Self::Share => "give value, a share from 0 to 1",
            Self::Counts => {
                "give total, how many were counted, faults, how many of them are at fault or beyond the limit, and seconds, \
                 over how long they were counted"
            }
        }
    }
}

impl Measure {
    /// The one table of what is a value and what is counted.
    #[must_use]
    pub const fn shape(self) -> Shape {
        match self {
            Self::Parity
            | Self::AddedLatency
            | Self::DeadLetters
            | Self::ErrorRate
            | Self::ProduceLatency
            | Self::ProduceErrors
            | Self::WriteLatency
            | Self::EndToEnd
            | Self::Clients
            | Self::Archive => Shape::Counts,
            Self::DuplicateHits | Self::Disk => Shape::Share,
            Self::MirrorLag
            | Self::Inconsistency
            | Self::Incident
            | Self::GroupLag
            | Self::RedisGroupLag
            | Self::RedisGroupPending
            | Self::Duplicates
            | Self::Throughput
            | Self::UnderReplicated
            | Self::ReplicationLag
            | Self::Strays
            | Self::Undrained => Shape::Value,
        }
    }
}

/// A measured value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reading {
    Value(f64),
    /// Of `total` counted since then, so many are at fault.
    Counted {
        faults: u64,
        total: u64,
        since_ms: i64,
    },
    /// It could not be measured, and why.
    Unknown(String),
}

/// A measurement, dated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub measure: Measure,
    pub reading: Reading,
    pub at_ms: i64,
}

/// What a gate is judged on.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    pub reading: Reading,
    pub at_ms: i64,
    pub held: Option<Held>,
    /// What the counts are made of.
    pub parts: Vec<Part>,
}

/// Part of what was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// In words.
    pub name: String,
    pub faults: u64,
    pub total: u64,
}

impl Evidence {
    #[must_use]
    pub fn unknown(why: impl Into<String>) -> Self {
        Self {
            reading: Reading::Unknown(why.into()),
            at_ms: 0,
            held: None,
            parts: Vec::new(),
        }
    }

    #[must_use]
    pub const fn value(value: f64, at_ms: i64) -> Self {
        Self {
            reading: Reading::Value(value),
            at_ms,
            held: None,
            parts: Vec::new(),
        }
    }
}

/// How long a gate's condition has held. It counts the time between two good samples that lie close together; a bad sample,
/// or too long a time without one, begins anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    threshold: f64,
    /// Since when it has held; `None`: it does not.
    pub since_ms: Option<i64>,
    pub covered_ms: i64,
    /// The worst value since then, or the value that ended it.
    pub worst: Option<f64>,
    pub samples: u64,
    pub last_ms: i64,
}

impl Held {
    #[must_use]
    pub fn new(gate: &Gate) -> Self {
        Self {
            threshold: gate.threshold,
            since_ms: None,
            covered_ms: 0,
            worst: None,
            samples: 0,
            last_ms: 0,
        }
    }

    /// Whether it was counted against the gate's present threshold.
    #[must_use]
    pub fn is_of(&self, gate: &Gate) -> bool {
        self.threshold.to_bits() == gate.threshold.to_bits()
    }

    /// Takes a sample in; answers whether a condition that held has just ceased to.
    pub fn observe(&mut self, gate: &Gate, value: f64, at_ms: i64, config: &Migration) -> bool {
        if !self.is_of(gate) {
            *self = Self::new(gate);
        }
        let passed = at_ms.saturating_sub(self.last_ms);
        if self.samples > 0 && passed <= 0 {
            // The same sample again, or a clock that went back: no time has passed.
            return false;
        }
        self.last_ms = at_ms;
        if !gate.op.holds(value, gate.threshold) {
            let held = self.since_ms.take().is_some();
            self.covered_ms = 0;
            self.samples = 0;
            self.worst = Some(value);
            return held;
        }
        match self.since_ms {
            Some(_) if passed <= millis(config.evidence_freshness) => self.covered_ms += passed,
            Some(_) if passed <= millis(config.evidence_gap) => {}
            _ => {
                self.since_ms = Some(at_ms);
                self.covered_ms = 0;
                self.samples = 0;
                self.worst = None;
            }
        }
        self.samples += 1;
        self.worst = Some(
            self.worst
                .map_or(value, |worst| gate.op.worse(worst, value)),
        );
        false
    }
}

/// A configured duration in milliseconds.
#[must_use]
pub fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
