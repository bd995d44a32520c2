//! What the snapshot of this instance shows: a summary of its own shards, and how Kafka is.

use std::collections::{BTreeMap, BTreeSet};

use super::super::gate::{Measure, Reading, Sample};
use super::super::step::{Compared, OfRoute, Wellness};
use super::instances::{Backlog, Heard, Summary, Topics, VERSION};
use crate::status::parity::FAULTS;
use crate::status::{ParityStatus, Reason, ShardStatus, Status};

/// What this instance sees of its shards. `began`: see [`Summary`].
#[must_use]
pub fn summary(status: &Status, boot: u64, heard: Option<Heard>, at_ms: i64) -> Summary {
    let own: Vec<&ShardStatus> = status.shards.iter().filter(|shard| is_own(shard)).collect();
    let carried: Option<Vec<f64>> = own.iter().map(|shard| shard.carried_seconds).collect();
    let ages: Option<Vec<f64>> = own.iter().map(|shard| shard.lag_seconds).collect();
    let parity = &status.parity;
    Summary {
        v: VERSION,
        boot,
        at_ms,
        heard,
        began: None,
        lag_seconds: ages.map(|ages| ages.into_iter().fold(0.0, f64::max)),
        carried_seconds: carried.map(|ages| ages.into_iter().fold(0.0, f64::max)),
        shards: own
            .iter()
            .map(|shard| (shard.shard, shard.lag_entries))
            .collect(),
        stream_entries: (status.routes.iter())
            .map(|route| route.stream_entries)
            .sum(),
        entries: status
            .routes
            .iter()
            .map(|route| route.mirrored_entries)
            .sum(),
        dead: status.mirror.forward.dead_letters,
        audited: parity.shards.iter().copied().collect(),
        open: ["missing", "extra", "duplicate"]
            .iter()
            .filter_map(|class| parity.open.get(*class))
            .sum(),
        parity: compared(parity),
        topics: Some(captured(status)),
        kafka: status.edges.get("kafka").and_then(|edge| edge.up),
        tells: None,
        judges_by: None,
        strays: 0,
        stray_seconds: None,
        held: None,
        redis_groups: backlog(status),
    }
}

fn backlog(status: &Status) -> Option<Backlog> {
    let mut groups = status.groups.iter().filter(|group| group.store == "redis");
    groups.clone().next()?;
    groups.try_fold(Backlog::default(), |sum, group| {
        Some(Backlog {
            lag: sum.lag + group.lag_entries?,
            pending: sum.pending + group.pending_entries?,
        })
    })
}

/// A shard that another took, or whose owner is being found out, is spoken for by whoever has it.
fn is_own(shard: &ShardStatus) -> bool {
    !matches!(
        shard.state.reason,
        Some(Reason::Fenced | Reason::Unassigned | Reason::Resizing)
    )
}

/// The classes that tell of nothing.
const SILENT: [&str; 2] = ["pending", "unverifiable"];

/// A difference does not stand in for what is not compared: with less than all of it compared there is no evidence.
fn compared(parity: &ParityStatus) -> Result<Compared, String> {
    if let Some(doubt) = &parity.doubt {
        return Err(doubt.clone());
    }
    let of = |classes| OfRoute {
        verified: sum(classes, |class| !SILENT.contains(&class)),
        differ: sum(classes, |class| FAULTS.contains(&class)),
    };
    let OfRoute { verified, differ } = of(&parity.classes);
    let routes = parity.routes.iter();
    Ok(Compared {
        verified,
        differ,
        routes: routes
            .map(|(name, route)| (name.clone(), of(&route.classes)))
            .collect(),
    })
}

fn sum(classes: &BTreeMap<String, u64>, of: impl Fn(&str) -> bool) -> u64 {
    classes
        .iter()
        .filter(|(class, _)| of(class))
        .map(|(_, count)| count)
        .sum()
}

/// Whether a route's topics depend on its streams: a topic's name has no `$`, a capture has.
#[must_use]
pub fn is_captured(topic: &str) -> bool {
    topic.contains('$')
}

fn captured(status: &Status) -> Topics {
    let routes = status.routes.iter();
    let routes = routes.filter(|route| is_captured(&route.topic));
    let mut topics: BTreeMap<String, BTreeSet<String>> = routes
        .map(|route| (route.name.clone(), BTreeSet::new()))
        .collect();
    for stream in &status.streams {
        if let Some(topics) = topics.get_mut(&stream.route) {
            topics.insert(stream.topic.clone());
        }
    }
    topics
}

/// Whether Kafka answers and every routed partition has its replicas; `freshness_ms` as for every evidence.
#[must_use]
pub fn wellness(
    kafka: &Result<bool, String>,
    samples: &[Sample],
    freshness_ms: i64,
    now_ms: i64,
) -> Wellness {
    let lacking = samples.iter().find(|sample| {
        sample.measure == Measure::UnderReplicated
            && now_ms.saturating_sub(sample.at_ms) <= freshness_ms
    });
    match (kafka, lacking.map(|sample| &sample.reading)) {
        (Ok(false), _) => Wellness::Unwell,
        (_, Some(Reading::Value(lacking))) if *lacking > 0.0 => Wellness::Unwell,
        (Ok(true), Some(Reading::Value(_))) => Wellness::Well,
        (Err(why), _) => Wellness::Unknown(why.clone()),
        (_, Some(Reading::Unknown(why))) => Wellness::Unknown(why.clone()),
        (_, Some(Reading::Counted { .. }) | None) => {
            Wellness::Unknown("the routed partitions were not looked at yet".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Board, ParityState};

    fn lacking(reading: Reading, at_ms: i64) -> [Sample; 1] {
        [Sample {
            measure: Measure::UnderReplicated,
            reading,
            at_ms,
        }]
    }

    #[test]
    fn kafka_out_of_reach_or_a_partition_without_a_replica_is_a_trouble() {
        let seen = |up, value| {
            let lacking = lacking(Reading::Value(value), 1_000);
            wellness(&Ok(up), &lacking, 15_000, 9_000)
        };
        assert_eq!(seen(true, 0.0), Wellness::Well);
        assert_eq!(seen(true, 1.0), Wellness::Unwell);
        assert_eq!(seen(false, 0.0), Wellness::Unwell);
        // Whoever cannot be reached cannot be asked for its replicas either.
        assert_eq!(wellness(&Ok(false), &[], 15_000, 9_000), Wellness::Unwell);
    }

    #[test]
    fn what_was_not_looked_at_lately_is_neither_well_nor_a_trouble() {
        let of = |samples: &[Sample], kafka: &Result<bool, String>| {
            let seen = wellness(kafka, samples, 15_000, 20_000);
            assert!(matches!(seen, Wellness::Unknown(_)), "{seen:?}");
        };
        of(&[], &Ok(true));
        of(&lacking(Reading::Value(1.0), 1_000), &Ok(true));
        of(
            &lacking(Reading::Unknown("no answer".to_owned()), 19_000),
            &Ok(true),
        );
        let unasked = Err("Kafka was not asked yet".to_owned());
        of(&lacking(Reading::Value(0.0), 19_000), &unasked);
    }

    #[test]
    fn a_difference_is_no_evidence_of_what_is_not_compared() {
        let board = Board::new("demo", "a", [("r", "t")]);
        let said = |doubt: Option<&str>| {
            board.parity(|cell| {
                let (since, doubt) = (cell.since, doubt.map(str::to_owned));
                cell.found(ParityState::Apart, since, None, doubt);
                let found = &mut cell.routes.get_mut("r").expect("the route").found;
                found.classes.insert("match".to_owned(), 7);
                found.classes.insert("missing".to_owned(), 1);
                found.open.insert("missing".to_owned(), 1);
            });
            summary(&board.snapshot(), 1, None, 0)
        };
        let all = said(None).parity.expect("all is compared");
        assert_eq!((all.verified, all.differ), (8, 1));
        let some = said(Some("stream s is halted"));
        assert_eq!(some.parity, Err("stream s is halted".to_owned()));
        assert_eq!(some.open, 1, "it counts against the tripwire");
    }

    #[test]
    fn the_groups_at_redis_are_added_up_and_one_that_is_not_known_makes_it_unknown() {
        let board = Board::new("demo", "a", [("r", "t")]);
        let said = |groups: &[(Option<u64>, u64)]| {
            let shown = groups.iter().enumerate().map(|(n, (lag, pending))| {
                let mut group = crate::status::GroupStatus::default();
                (group.store, group.group) = ("redis".to_owned(), format!("g{n}"));
                (group.lag_entries, group.pending_entries) = (*lag, Some(*pending));
                group
            });
            board.redis_groups(shown.collect());
            summary(&board.snapshot(), 1, None, 0).redis_groups
        };
        assert_eq!(said(&[]), None, "none is watched");
        let known = said(&[(Some(3), 2), (Some(4), 0)]);
        assert_eq!(known, Some(Backlog { lag: 7, pending: 2 }));
        assert_eq!(said(&[(Some(3), 2), (None, 0)]), None);
    }

    #[test]
    fn an_instance_says_whether_kafka_answers_it() {
        let board = Board::new("demo", "a", [("r", "t")]);
        let said = |board: &Board| summary(&board.snapshot(), 1, None, 0).kafka;
        assert_eq!(said(&board), None);
        board.edge_error("kafka", "connect", "refused".to_owned(), true);
        assert_eq!(said(&board), Some(false));
        board.edge_up("kafka");
        assert_eq!(said(&board), Some(true));
    }
}
