//! Level, apart or unknown: what the auditor knows, put into the one statement that an operator acts on. No I/O.
//!
//! * `apart`: a fault stands. It is said even while a store is out of reach: it was seen.
//! * `level`: everything up to the verified time was compared, no fault stands, and something was compared at all.
//! * `unknown`: neither can be said, and why.
//!
//! Level since T means that from T on nothing was found that differs. T outlives a restart and a takeover, because no window
//! is skipped by them: what was mirrored meanwhile is compared before the word `level` is said again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use crate::bound::lower_bound;
use crate::placement::Shard;
use crate::status::parity::{OpenDifference, RouteCell, open};
use crate::status::{ParityCell, ParityState};

use super::class::{Class, Counts, Difference};
use super::store::{Cursor, Results, StreamState};

/// Open differences that the status names.
const NAMED: usize = 20;

/// What is known of all owned shards.
#[derive(Clone, Debug, Default)]
pub struct Knowledge<'a> {
    pub shards: BTreeSet<Shard>,
    /// How many shards there are.
    pub in_all: Option<u32>,
    pub cursors: Vec<&'a Cursor>,
    pub streams: Vec<&'a StreamState>,
    /// Entries that are not mirrored yet, by route.
    pub unmirrored: BTreeMap<String, u64>,
    pub obstacle: Option<String>,
    /// How far rounds have come that have not ended: entries and offsets read, and how many there are.
    pub under_way: Option<(u64, u64)>,
    /// How old the verified time may be.
    pub limit: Duration,
}

/// Puts what is known into the cell. What was counted since the process started stays as it is.
pub fn tell(cell: &mut ParityCell, knowledge: &Knowledge<'_>, now: SystemTime) {
    cell.shards.clone_from(&knowledge.shards);
    cell.shards_in_all = knowledge.in_all;
    let mut counts = Counts::default();
    for (name, route) in &mut cell.routes {
        let of_route = Route::of(name, knowledge);
        route.verified_through = of_route.verified_ms.map(time);
        of_route.show(route);
        counts.add(&of_route.counts);
    }
    cell.lower_bound = lower_bound(counts.verified(), counts.faults());
    let verified: Option<Vec<i64>> = knowledge
        .streams
        .iter()
        .map(|one| one.verified_ms)
        .collect();
    let verified = verified.and_then(|all| all.into_iter().min()).map(time);
    cell.verified_through = verified;
    cell.open_differences = differences(knowledge).take(NAMED).map(named).collect();
    cell.ages_after = Some(knowledge.limit);
    let level = level_since(knowledge, &counts, verified, now);
    let apart = knowledge.cursors.iter().filter(|one| one.apart);
    let apart = apart.map(|cursor| time(cursor.since_ms)).min();
    match (apart, level) {
        (Some(since), level) => {
            let first = differences(knowledge).next().map(in_words);
            cell.found(ParityState::Apart, since, first, level.err());
        }
        (None, Ok(since)) => cell.found(ParityState::Level, since, None, None),
        (None, Err(reason)) => cell.becomes_unknown(reason, now),
    }
}

/// From when on nothing was found that differs, where that can be said of all; otherwise why it cannot. Faults that stand are
/// left out of it.
fn level_since(
    knowledge: &Knowledge<'_>,
    counts: &Counts,
    verified: Option<SystemTime>,
    now: SystemTime,
) -> Result<SystemTime, String> {
    if let Some(obstacle) = &knowledge.obstacle {
        return Err(obstacle.clone());
    }
    let so_far = knowledge.under_way.map(|(done, total)| {
        format!("; it goes on: {done} of about {total} entries and offsets of this round are read")
    });
    let behind = |reason: &str| reason.to_owned() + so_far.as_deref().unwrap_or_default();
    if knowledge.shards.is_empty() {
        return Err("this instance owns no shard".to_owned());
    }
    if counts.verified() == 0 {
        return Err(behind("no evidence yet: nothing was compared"));
    }
    let verified = verified.ok_or_else(|| behind("not every stream was compared yet"))?;
    let age = now.duration_since(verified).unwrap_or_default();
    if age > knowledge.limit {
        let reason = format!("compared up to {} s ago only", age.as_secs());
        return Err(behind(&reason));
    }
    // A shard whose first round has not ended has no cursor.
    let in_all = knowledge.cursors.len() >= knowledge.shards.len();
    let sinces = knowledge.cursors.iter().map(|cursor| time(cursor.since_ms));
    let since = sinces.max().filter(|_| in_all);
    since.ok_or_else(|| behind("not every shard was compared yet"))
}

/// One route over all shards.
#[derive(Default)]
struct Route {
    counts: Counts,
    open: BTreeMap<Class, u64>,
    results: Results,
    pending: u64,
    kafka_born: u64,
    unread: u64,
    verified_ms: Option<i64>,
}

impl Route {
    fn of(name: &str, knowledge: &Knowledge<'_>) -> Self {
        let mut route = Self {
            pending: knowledge.unmirrored.get(name).copied().unwrap_or(0),
            ..Self::default()
        };
        let mut verified: Option<Vec<i64>> = Some(Vec::new());
        for state in knowledge.streams.iter().filter(|state| state.route == name) {
            route.counts.add(&state.counts);
            route.results.join(state.results);
            route.unread += u64::from(state.unread.is_some());
            for (&class, open) in &state.open {
                *route.open.entry(class).or_default() += open;
            }
            let suspects = state.suspects.iter();
            route.pending += suspects.map(|suspect| suspect.entries).sum::<u64>();
            verified = verified.zip(state.verified_ms).map(|(mut all, ms)| {
                all.push(ms);
                all
            });
        }
        for strays in knowledge
            .cursors
            .iter()
            .filter_map(|cursor| cursor.strays.get(name))
        {
            route.counts.add(&strays.counts);
            route.kafka_born += strays.kafka_born;
            let extra = strays.counts.of(Class::Extra);
            *route.open.entry(Class::Extra).or_default() += extra;
        }
        route.verified_ms = verified.and_then(|all| all.into_iter().min());
        route
    }

    fn show(&self, cell: &mut RouteCell) {
        let found = &mut cell.found;
        for (class, count) in self.counts.classes() {
            if let Some(shown) = found.classes.get_mut(class.as_str()) {
                *shown = count;
            }
        }
        for name in open() {
            let class = Class::ALL.into_iter().find(|class| class.as_str() == name);
            let count = match class {
                Some(Class::Pending) => self.pending,
                Some(Class::Unverifiable) => self.counts.of(Class::Unverifiable),
                Some(class) => self.open.get(&class).copied().unwrap_or(0),
                None => 0,
            };
            found.open.insert(name.to_owned(), count);
        }
        for (name, count) in self.results.by_name() {
            found.windows.insert(name.to_owned(), count);
        }
        found.read.redis = self.counts.redis_entries;
        found.read.kafka = self.counts.kafka_records;
        found.kafka_born = self.kafka_born;
        found.unread_streams = self.unread;
        found.lower_bound = lower_bound(self.counts.verified(), self.counts.faults());
    }
}

fn differences<'a>(knowledge: &'a Knowledge<'_>) -> impl Iterator<Item = &'a Difference> {
    let of_streams = knowledge
        .streams
        .iter()
        .flat_map(|state| &state.differences);
    let strays = knowledge
        .cursors
        .iter()
        .flat_map(|cursor| cursor.strays.values())
        .flat_map(|strays| &strays.open);
    of_streams.chain(strays)
}

fn named(difference: &Difference) -> OpenDifference {
    let same = serde_json::to_value(difference).and_then(serde_json::from_value);
    same.expect("the status has a difference's own names")
}

/// `msg:stream:7 1741356110123-0: missing (messages.v1/7)`
fn in_words(difference: &Difference) -> String {
    let partition = difference
        .records
        .last()
        .map(|record| record.partition)
        .or(difference.expected_partition)
        .map(|partition| format!("/{partition}"))
        .unwrap_or_default();
    let what = match (&difference.stream, difference.id) {
        (Some(stream), Some(id)) => format!("{stream} {id}"),
        _ => "a record without identity".to_owned(),
    };
    let offset = difference
        .records
        .last()
        .map(|record| format!(" at offset {}", record.offset))
        .unwrap_or_default();
    format!(
        "{what}: {} ({}{partition}{offset})",
        difference.class, difference.topic
    )
}

fn time(ms: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Database, EntryId};
    use crate::parity::class::{Location, Part, Why};
    use crate::placement::{Offset, Partition};
    use crate::status::parity::{CLASSES, FAULTS};

    const LIMIT: Duration = Duration::from_secs(30);

    fn difference(class: Class) -> Difference {
        Difference {
            class,
            route: "r".to_owned(),
            database: Some(Database(1)),
            stream: Some("s".to_owned()),
            id: Some(EntryId::new(5, 1)),
            parts: vec![Part::Value],
            why: Some(Why::RedisLostHistory),
            topic: "t".to_owned(),
            expected_partition: Some(Partition(7)),
            letters: 0,
            more: 0,
            records: vec![Location {
                partition: Partition(7),
                offset: Offset(3),
                generation: 0,
            }],
        }
    }

    fn stream(identities: u64, verified_ms: i64) -> StreamState {
        StreamState {
            counts: Counts::level(identities, 0),
            verified_ms: Some(verified_ms),
            ..StreamState::begin("r", EntryId::ZERO, 0)
        }
    }

    fn cursor(since_ms: i64, apart: bool) -> Cursor {
        Cursor {
            since_ms,
            apart,
            ..Cursor::default()
        }
    }

    fn told(cursors: &[Cursor], streams: &[StreamState], obstacle: Option<&str>) -> ParityCell {
        let mut cell = ParityCell::starting(["r", "other"], time(0), "starting");
        let knowledge = Knowledge {
            shards: BTreeSet::from([Shard(2)]),
            in_all: Some(4),
            cursors: cursors.iter().collect(),
            streams: streams.iter().collect(),
            unmirrored: BTreeMap::from([("r".to_owned(), 3)]),
            obstacle: obstacle.map(str::to_owned),
            under_way: None,
            limit: LIMIT,
        };
        tell(&mut cell, &knowledge, time(100_000));
        cell
    }

    #[test]
    fn the_status_has_the_classes_of_parity() {
        assert_eq!(CLASSES, Class::ALL.map(Class::as_str));
        let at_fault: Vec<_> = Class::ALL
            .into_iter()
            .filter(|class| class.is_fault())
            .collect();
        assert_eq!(
            FAULTS.to_vec(),
            at_fault.into_iter().map(Class::as_str).collect::<Vec<_>>()
        );
        let shown = named(&difference(Class::Extra));
        assert_eq!(
            (&*shown.class, shown.why.as_deref()),
            ("extra", Some("redis-lost-history"))
        );
        assert_eq!(shown.records.len(), 1);
    }

    #[test]
    fn the_status_leaves_nothing_of_a_difference_out() {
        let mut many = difference(Class::Duplicate);
        (many.more, many.letters) = (1_000, 2);
        for one in [difference(Class::Extra), many] {
            let whole = serde_json::to_value(&one).expect("plain");
            assert_eq!(serde_json::to_value(named(&one)).expect("plain"), whole);
        }
    }

    #[test]
    fn level_is_as_old_as_the_youngest_shard_and_verified_as_far_as_the_last_stream() {
        let cell = told(
            &[cursor(10_000, false), cursor(20_000, false)],
            &[stream(5, 90_000), stream(7, 80_000)],
            None,
        );
        assert_eq!(cell.state, ParityState::Level);
        assert_eq!(cell.since, time(20_000));
        assert_eq!(cell.shards, BTreeSet::from([Shard(2)]));
        assert_eq!(cell.shards_in_all, Some(4));
        assert_eq!(cell.verified_through, Some(time(80_000)));
        let route = &cell.routes["r"].found;
        assert_eq!((route.classes["match"], route.open["pending"]), (12, 3));
        assert!(cell.lower_bound.is_some_and(|bound| bound < 1.0));
    }

    #[test]
    fn without_evidence_nothing_is_level() {
        let one = [cursor(10_000, false)];
        let unknown = |cell: ParityCell| {
            assert_eq!(cell.state, ParityState::Unknown);
            cell.reason.unwrap_or_default()
        };
        assert!(unknown(told(&one, &[stream(0, 90_000)], None)).contains("no evidence"));
        assert!(unknown(told(&[], &[stream(5, 90_000)], None)).contains("not every shard"));
        let old = unknown(told(&one, &[stream(5, 60_000)], None));
        assert!(old.contains("40 s ago"), "{old}");
        let mut never = stream(5, 0);
        never.verified_ms = None;
        assert!(
            unknown(told(&one, &[stream(5, 90_000), never], None)).contains("not every stream")
        );
        assert_eq!(
            unknown(told(
                &one,
                &[stream(5, 90_000)],
                Some("Kafka is out of reach")
            )),
            "Kafka is out of reach"
        );
    }

    #[test]
    fn a_round_that_has_not_ended_says_how_far_it_has_come() {
        let mut cell = ParityCell::starting(["r"], time(0), "starting");
        let streams = [stream(5, 60_000)];
        let cursors = [cursor(10_000, false)];
        let knowledge = Knowledge {
            shards: BTreeSet::from([Shard(2)]),
            cursors: cursors.iter().collect(),
            streams: streams.iter().collect(),
            under_way: Some((70, 200)),
            limit: LIMIT,
            ..Knowledge::default()
        };
        tell(&mut cell, &knowledge, time(80_000));
        assert_eq!(cell.state, ParityState::Level, "not older than the limit");
        tell(&mut cell, &knowledge, time(100_000));
        assert_eq!(
            cell.reason.as_deref(),
            Some(
                "compared up to 40 s ago only; it goes on: 70 of about 200 entries and offsets of this round are read"
            )
        );
    }

    #[test]
    fn a_fault_is_told_whatever_is_out_of_reach() {
        let mut faulty = stream(5, 90_000);
        faulty.open.insert(Class::Duplicate, 1);
        faulty.differences.push(difference(Class::Duplicate));
        let cell = told(
            &[cursor(10_000, false), cursor(70_000, true)],
            &[faulty],
            Some("Kafka is out of reach"),
        );
        assert_eq!((cell.state, cell.since), (ParityState::Apart, time(70_000)));
        let reason = cell.reason.unwrap_or_default();
        assert_eq!(reason, "s 5-1: duplicate (t/7 at offset 3)");
        assert_eq!(cell.doubt.as_deref(), Some("Kafka is out of reach"));
        assert_eq!(cell.routes["r"].found.open["duplicate"], 1);
    }
}
