//! Are the stores level, since when, on what evidence: what the auditor found, and the view of it.
//!
//! The auditor writes a [`ParityCell`] after each round; `view` makes the snapshot's part of it. What was found is true of
//! the time up to which it was verified, so a finding that grows old without being renewed is no longer the state: it becomes
//! `unknown` by itself, even if the auditor says nothing more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::entry::{Database, EntryId};
use crate::placement::{Offset, Partition, Shard};

/// The classes of parity by name. What parity itself calls them is held against this by a test there.
pub const CLASSES: [&str; 10] = [
    "match",
    "missing",
    "extra",
    "duplicate",
    "mismatch",
    "misplaced",
    "reordered",
    "pending",
    "unverifiable",
    "dead_lettered",
];

/// Those in which the stores differ, in the design's order.
pub const FAULTS: [&str; 6] = [
    "missing",
    "extra",
    "duplicate",
    "mismatch",
    "misplaced",
    "reordered",
];

/// How a window ends.
pub const WINDOW_RESULTS: [&str; 3] = ["sealed", "unequal", "unverifiable"];

/// One of them holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParityState {
    /// Everything up to the verified time was compared, and nothing differs.
    Level,
    /// Something differs.
    Apart,
    /// It cannot be said now; the reason says why.
    Unknown,
}

impl ParityState {
    pub const ALL: [Self; 3] = [Self::Level, Self::Apart, Self::Unknown];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Level => "level",
            Self::Apart => "apart",
            Self::Unknown => "unknown",
        }
    }
}

/// The part of the status that speaks of parity, of the shards that this instance owns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParityStatus {
    pub state: ParityState,
    /// Level: from then on nothing was found that differs. Otherwise: when it came to be so.
    pub since: String,
    /// Everything older is compared.
    pub verified_through: Option<String>,
    /// Identities in a class other than `pending`.
    pub compared: u64,
    /// What each identity is as far as it is known now; together they are `compared`.
    pub classes: BTreeMap<String, u64>,
    /// What is open now: faults that stand, and what is pending.
    pub open: BTreeMap<String, u64>,
    pub unverifiable: u64,
    /// One-sided bound of the share of matches, at 95 %.
    pub lower_bound: Option<f64>,
    /// Why it is unknown, or the first difference in words.
    pub reason: Option<String>,
    /// Why not everything is compared now; where something differs, that stands beside it. Gates go by it.
    #[serde(default)]
    pub doubt: Option<String>,
    /// For how long it was level before it became unknown.
    pub was_level_seconds: Option<f64>,
    /// The first of them.
    pub open_differences: Vec<OpenDifference>,
    pub windows: BTreeMap<String, u64>,
    /// Age of `verified_through`.
    pub behind_seconds: Option<f64>,
    pub routes: BTreeMap<String, RouteParity>,
    /// The shards that all of this speaks of: those that were audited in the last round, whoever owns them now.
    #[serde(default)]
    pub shards: Vec<u32>,
    /// How many shards there are, with those of other instances; null until that is known.
    #[serde(default)]
    pub shards_in_all: Option<u32>,
}

impl ParityStatus {
    /// Whether there are shards of which this says nothing.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.shards_in_all
            .is_some_and(|all| self.shards.len() < all as usize)
    }
}

/// Parity of one route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteParity {
    pub verified_through: Option<String>,
    pub compared: u64,
    pub classes: BTreeMap<String, u64>,
    pub open: BTreeMap<String, u64>,
    pub windows: BTreeMap<String, u64>,
    pub lower_bound: Option<f64>,
    /// Entries and records that these classes speak of.
    pub read: ReadCounts,
    /// Records that applications may have written to Kafka themselves: in no class.
    #[serde(default)]
    pub kafka_born: u64,
    /// Streams that cannot be read, and so are not compared.
    #[serde(default)]
    pub unread_streams: u64,
    /// The same since this process started, where nothing is ever taken back: what the metrics count.
    pub counted: Counted,
}

/// What was judged, closed and read since the process started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub classes: BTreeMap<String, u64>,
    pub windows: BTreeMap<String, u64>,
    pub read: ReadCounts,
    #[serde(default)]
    pub kafka_born: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadCounts {
    pub redis: u64,
    pub kafka: u64,
}

/// One identity at which the stores differ now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenDifference {
    pub class: String,
    pub route: String,
    pub database: Option<Database>,
    pub stream: Option<String>,
    pub id: Option<EntryId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    pub topic: String,
    pub expected_partition: Option<Partition>,
    pub records: Vec<RecordPlace>,
    /// Records that it has beyond those.
    #[serde(default, skip_serializing_if = "is_none")]
    pub more: u64,
    /// Dead letters that it has beside its records.
    #[serde(default, skip_serializing_if = "is_none")]
    pub letters: u64,
    /// Found so in so many of so many looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looks: Option<(u32, u32)>,
}

const fn is_none(amount: &u64) -> bool {
    *amount == 0
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordPlace {
    pub partition: Partition,
    pub offset: Offset,
    pub generation: u32,
}

/// What the auditor found in its last round.
#[derive(Clone, Debug)]
pub struct ParityCell {
    pub state: ParityState,
    pub since: SystemTime,
    pub reason: Option<String>,
    /// Why not everything is compared now, whatever the state.
    pub doubt: Option<String>,
    pub was_level: Option<Duration>,
    /// A finding whose verified time is older than this is in doubt, and level no longer the state. `None`: it does not age.
    pub ages_after: Option<Duration>,
    pub open_differences: Vec<OpenDifference>,
    pub lower_bound: Option<f64>,
    /// Everything older is compared, of all streams.
    pub verified_through: Option<SystemTime>,
    pub routes: BTreeMap<String, RouteCell>,
    /// The shards that this speaks of.
    pub shards: BTreeSet<Shard>,
    pub shards_in_all: Option<u32>,
}

/// What the auditor found of one route.
#[derive(Clone, Debug, Default)]
pub struct RouteCell {
    pub verified_through: Option<SystemTime>,
    pub found: RouteParity,
}

impl ParityCell {
    /// Nothing is known yet, and every count is there at 0.
    pub fn starting<'a>(
        routes: impl IntoIterator<Item = &'a str>,
        now: SystemTime,
        reason: &str,
    ) -> Self {
        let routes = routes
            .into_iter()
            .map(|route| (route.to_owned(), RouteCell::empty()));
        Self {
            state: ParityState::Unknown,
            since: now,
            reason: Some(reason.to_owned()),
            doubt: Some(reason.to_owned()),
            was_level: None,
            ages_after: None,
            open_differences: Vec::new(),
            lower_bound: None,
            verified_through: None,
            routes: routes.collect(),
            shards: BTreeSet::new(),
            shards_in_all: None,
        }
    }

    /// It can be said of everything, or a difference was found whatever else is in doubt.
    pub fn found(
        &mut self,
        state: ParityState,
        since: SystemTime,
        reason: Option<String>,
        doubt: Option<String>,
    ) {
        (self.state, self.since) = (state, since);
        (self.reason, self.doubt) = (reason, doubt);
        self.was_level = None;
    }

    /// The state has become unknown; what was counted stands.
    pub fn becomes_unknown(&mut self, reason: String, now: SystemTime) {
        if self.state == ParityState::Level {
            self.was_level = now.duration_since(self.since).ok();
        }
        if self.state != ParityState::Unknown {
            self.since = now;
        }
        self.state = ParityState::Unknown;
        self.doubt = Some(reason.clone());
        self.reason = Some(reason);
    }
}

impl RouteCell {
    #[must_use]
    pub fn empty() -> Self {
        let zeros = |names: &[&str]| -> BTreeMap<String, u64> {
            names.iter().map(|name| ((*name).to_owned(), 0)).collect()
        };
        let found = RouteParity {
            classes: zeros(&settled()),
            open: zeros(&open()),
            windows: zeros(&WINDOW_RESULTS),
            counted: Counted {
                classes: zeros(&settled()),
                windows: zeros(&WINDOW_RESULTS),
                read: ReadCounts::default(),
                kafka_born: 0,
            },
            ..RouteParity::default()
        };
        Self {
            verified_through: None,
            found,
        }
    }
}

/// What an identity can be once it is judged.
#[must_use]
pub fn settled() -> Vec<&'static str> {
    CLASSES
        .into_iter()
        .filter(|class| *class != "pending")
        .collect()
}

/// What an identity can be while it is open.
#[must_use]
pub fn open() -> Vec<&'static str> {
    CLASSES
        .into_iter()
        .filter(|class| !matches!(*class, "match" | "dead_lettered"))
        .collect()
}

/// The snapshot's part.
pub(super) fn view(cell: &ParityCell, now: SystemTime) -> ParityStatus {
    let mut cell = cell.clone();
    let verified = cell.verified_through;
    let behind = verified.map(|at| now.duration_since(at).unwrap_or_default());
    if let (Some(limit), Some(behind)) = (cell.ages_after, behind)
        && behind > limit
    {
        let doubt = format!(
            "the auditor has verified nothing for {} s",
            behind.as_secs()
        );
        match cell.state {
            ParityState::Level => {
                let stale_since = verified.map_or(now, |at| at + limit);
                cell.becomes_unknown(doubt, stale_since.min(now));
            }
            ParityState::Apart => _ = cell.doubt.get_or_insert(doubt),
            ParityState::Unknown => {}
        }
    }
    let mut routes = BTreeMap::new();
    for (name, route) in &cell.routes {
        let mut found = route.found.clone();
        found.verified_through = route.verified_through.map(rfc3339);
        found.compared = found.classes.values().sum();
        routes.insert(name.clone(), found);
    }
    let classes = summed(&settled(), routes.values().map(|route| &route.classes));
    ParityStatus {
        state: cell.state,
        since: rfc3339(cell.since),
        verified_through: verified.map(rfc3339),
        compared: classes.values().sum(),
        unverifiable: classes.get("unverifiable").copied().unwrap_or(0),
        open: summed(&open(), routes.values().map(|route| &route.open)),
        windows: summed(&WINDOW_RESULTS, routes.values().map(|route| &route.windows)),
        classes,
        lower_bound: cell.lower_bound,
        reason: cell.reason,
        doubt: cell.doubt,
        was_level_seconds: cell.was_level.map(|was| was.as_secs_f64()),
        open_differences: cell.open_differences,
        behind_seconds: behind.map(|behind| behind.as_secs_f64()),
        routes,
        shards: cell.shards.iter().map(|shard| shard.0).collect(),
        shards_in_all: cell.shards_in_all,
    }
}

fn summed<'a>(
    names: &[&str],
    parts: impl Iterator<Item = &'a BTreeMap<String, u64>>,
) -> BTreeMap<String, u64> {
    let mut sums: BTreeMap<String, u64> =
        names.iter().map(|name| ((*name).to_owned(), 0)).collect();
    for (name, count) in parts.flatten() {
        *sums.entry(name.clone()).or_default() += count;
    }
    sums
}

fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn level(verified: SystemTime) -> ParityCell {
        let mut cell = ParityCell::starting(["a", "b"], verified - 60 * SECOND, "starting");
        cell.found(ParityState::Level, cell.since, None, None);
        cell.ages_after = Some(30 * SECOND);
        cell.verified_through = Some(verified);
        cell
    }

    #[test]
    fn a_finding_that_is_not_renewed_becomes_unknown_by_itself() {
        let at = SystemTime::UNIX_EPOCH + 1_000_000 * SECOND;
        let cell = level(at);
        let fresh = view(&cell, at + 29 * SECOND);
        assert_eq!((fresh.state, fresh.reason), (ParityState::Level, None));
        assert_eq!(fresh.behind_seconds, Some(29.0));
        let old = view(&cell, at + 300 * SECOND);
        assert_eq!(old.state, ParityState::Unknown);
        assert_eq!(old.since, rfc3339(at + 30 * SECOND));
        assert_eq!(old.was_level_seconds, Some(90.0));
        assert!(old.reason.unwrap().contains("300 s"));
    }

    #[test]
    fn a_fault_that_was_found_does_not_age_and_what_is_beside_it_comes_to_be_in_doubt() {
        let at = SystemTime::UNIX_EPOCH + 1_000_000 * SECOND;
        let mut cell = level(at);
        cell.state = ParityState::Apart;
        assert_eq!(view(&cell, at + 29 * SECOND).doubt, None);
        let old = view(&cell, at + 3_600 * SECOND);
        assert_eq!(old.state, ParityState::Apart);
        let doubt = old.doubt.unwrap_or_default();
        assert!(doubt.contains("3600 s"), "{doubt}");
    }

    #[test]
    fn routes_add_up_and_every_class_is_there() {
        let at = SystemTime::UNIX_EPOCH + 1_000_000 * SECOND;
        let mut cell = level(at);
        for (route, count) in [("a", 5), ("b", 7)] {
            let found = &mut cell.routes.get_mut(route).unwrap().found;
            found.classes.insert("match".to_owned(), count);
            found.classes.insert("unverifiable".to_owned(), 1);
        }
        let seen = view(&cell, at);
        assert_eq!((seen.compared, seen.unverifiable), (14, 2));
        assert_eq!(seen.classes.len(), 9);
        assert_eq!(seen.open.len(), 8);
        assert_eq!(seen.routes["a"].compared, 6);
    }
}
