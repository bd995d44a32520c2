//! What a shard's partition holds, as plain data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::entry::EntryId;
use crate::placement::{Offset, Remade};

use super::super::class::{Class, Counts, Difference};
use super::super::pass::Unnamed;

/// How far a shard's logs are read, and what belongs to no stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// By topic and partition.
    pub logs: BTreeMap<String, BTreeMap<i32, Reach>>,
    /// Records that are no entry's, by route.
    pub strays: BTreeMap<String, Strays>,
    /// Milliseconds since 1970 from which on nothing was open, or something was.
    pub since_ms: i64,
    pub apart: bool,
}

/// How far one partition is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Read from here: what stands before it is counted.
    pub next: Offset,
    /// Between the two stands what was read and was above its stream's checkpoint; of the streams' other records there, all
    /// are counted.
    pub end: Offset,
}

/// Records that are no entry's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strays {
    pub counts: Counts,
    /// The first of them.
    pub open: Vec<Difference>,
    /// The others, by topic and partition.
    #[serde(default)]
    pub beyond: BTreeMap<String, BTreeMap<i32, Unnamed>>,
    /// Records beside them that applications may have written to Kafka themselves.
    #[serde(default)]
    pub kafka_born: u64,
}

/// How far a stream is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamState {
    pub route: String,
    /// Where its mirror began: what lies before was never meant to be in Kafka.
    pub began: EntryId,
    /// Up to where its records were made under other settings of its route, as its checkpoint says.
    #[serde(default, skip_serializing_if = "Remade::is_none")]
    pub remade: Remade,
    /// A pass has read it.
    pub joined: bool,
    /// Everything at or below it is in a window that is closed or suspect.
    pub sealed: EntryId,
    pub generation: u32,
    /// Windows closed so far.
    pub windows: u64,
    pub results: Results,
    /// Of all closed windows, as far as is known now.
    pub counts: Counts,
    pub suspects: Vec<Suspect>,
    /// Faults that stand: so many in each class, and the first of them.
    pub open: BTreeMap<Class, u64>,
    pub differences: Vec<Difference>,
    /// In each partition the first record that was above the checkpoint when it was read.
    pub carried: BTreeMap<i32, Offset>,
    /// Milliseconds since 1970: everything older is compared.
    pub verified_ms: Option<i64>,
    /// More was found than can be kept: the next round begins the shard anew.
    #[serde(default)]
    pub anew: bool,
    /// Why it cannot be read now: it stands where it is, and is compared anew when it can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
}

/// How windows ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    pub sealed: u64,
    pub unequal: u64,
    pub unverifiable: u64,
}

impl StreamState {
    /// Nothing of it is compared yet.
    #[must_use]
    pub fn begin(route: &str, began: EntryId, generation: u32) -> Self {
        Self {
            route: route.to_owned(),
            began,
            sealed: began,
            generation,
            ..Self::default()
        }
    }

    /// As though nothing of it had been compared.
    #[must_use]
    pub fn begun_anew(&self) -> Self {
        Self {
            remade: self.remade,
            ..Self::begin(&self.route, self.began, self.generation)
        }
    }

    /// Its route may have another name than when it was written.
    pub fn goes_by(&mut self, route: &str) {
        if self.route == route {
            return;
        }
        route.clone_into(&mut self.route);
        for difference in &mut self.differences {
            route.clone_into(&mut difference.route);
        }
    }

    /// Faults that stand.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.open.values().sum()
    }

    /// Whether faults stand of which none is named: whether they still do can be found out only by comparing all of it.
    #[must_use]
    pub fn lost_its_faults(&self) -> bool {
        self.differences.is_empty() && self.faults() > 0
    }

    /// Nothing is said of it until it was compared anew.
    pub fn doubt(&mut self) {
        self.anew = true;
        self.verified_ms = None;
    }
}

impl Results {
    pub fn add(&mut self, result: Ending) {
        match result {
            Ending::Sealed => self.sealed += 1,
            Ending::Unequal => self.unequal += 1,
            Ending::Unverifiable => self.unverifiable += 1,
        }
    }

    pub fn join(&mut self, other: Self) {
        self.sealed += other.sealed;
        self.unequal += other.unequal;
        self.unverifiable += other.unverifiable;
    }

    /// By the names that the status has for them.
    #[must_use]
    pub fn by_name(self) -> [(&'static str, u64); 3] {
        [
            ("sealed", self.sealed),
            ("unequal", self.unequal),
            ("unverifiable", self.unverifiable),
        ]
    }
}

/// How a window ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// All of it was found on both sides.
    Sealed,
    /// It holds a fault.
    Unequal,
    /// It holds no fault, and something of which nothing can be said.
    Unverifiable,
}

/// A window whose sides were not equal, until it is judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspect {
    pub after: EntryId,
    pub through: EntryId,
    /// About how many entries and records it holds.
    pub entries: u64,
    /// Looked at once, and then too it was unequal.
    pub looked: bool,
}

/// A closed window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedWindow {
    pub route: String,
    pub number: u64,
    pub generation: u32,
    /// Not included.
    pub from: EntryId,
    pub through: EntryId,
    pub result: Ending,
    pub counts: Counts,
    /// Of both sides, keyed with the seed; absent where it was looked at entry by entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    pub closed_ms: i64,
}

/// A closed window without what the writer of it adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    pub from: EntryId,
    pub through: EntryId,
    pub result: Ending,
    pub counts: Counts,
    pub digest: Option<(String, u64)>,
}

/// What a repair did, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repaired {
    pub id: EntryId,
    pub reason: String,
    pub at_ms: i64,
    /// `asked` before it was produced; afterwards what came of it.
    pub outcome: String,
}
