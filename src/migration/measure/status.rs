//! What the snapshot of this instance shows. An instance that mirrors only some of the shards does not know the whole, and
//! says so.

use std::collections::BTreeSet;

use super::super::gate::{Measure, Reading, Sample};
use super::super::step::{Compared, Counts, Wellness};
use crate::placement::Topic;
use crate::status::parity::FAULTS;
use crate::status::{ParityState, ParityStatus, Status};

/// The mirror's lag and what differs now. `shards`: how many there are in all.
#[must_use]
pub fn from_status(status: &Status, shards: u32, at_ms: i64) -> Vec<Sample> {
    let own = status.shards.len();
    let lag = match status.mirror.forward.lag_entries {
        _ if !is_whole(status, shards) => {
            Reading::Unknown(format!("this instance mirrors {own} of {shards} shards"))
        }
        None => Reading::Unknown("the mirror does not know its lag now".to_owned()),
        #[expect(
            clippy::cast_precision_loss,
            reason = "compared with thresholds far below 2^53"
        )]
        Some(entries) => Reading::Value(entries as f64),
    };
    let sample = |measure, reading| Sample {
        measure,
        reading,
        at_ms,
    };
    let inconsistent = inconsistency(&status.parity, is_whole(status, shards));
    vec![
        sample(Measure::MirrorLag, lag.clone()),
        sample(Measure::Undrained, lag),
        sample(Measure::Inconsistency, inconsistent),
    ]
}

fn is_whole(status: &Status, shards: u32) -> bool {
    u32::try_from(status.shards.len()).is_ok_and(|own| own == shards)
}

/// The counters of this instance.
#[must_use]
pub fn counts(status: &Status, shards: u32) -> Counts {
    let parity = &status.parity;
    let why = |text: Option<&str>| text.unwrap_or("parity is not known").to_owned();
    let compared = match parity.state {
        ParityState::Unknown => Err(why(parity.reason.as_deref())),
        _ if !is_whole(status, shards) => {
            Err("this instance audits only some of the shards".to_owned())
        }
        ParityState::Level | ParityState::Apart => Ok(Compared {
            verified: sum(parity, |class| !SILENT.contains(&class)),
            differ: sum(parity, |class| FAULTS.contains(&class)),
        }),
    };
    Counts {
        entries: status
            .routes
            .iter()
            .map(|route| route.mirrored_entries)
            .sum(),
        dead: status.mirror.forward.dead_letters,
        parity: compared,
    }
}

/// Whether Kafka answers and every routed partition has its replicas; `freshness_ms` as for every evidence.
#[must_use]
pub fn wellness(status: &Status, samples: &[Sample], freshness_ms: i64, now_ms: i64) -> Wellness {
    let up = status.edges.get("kafka").and_then(|edge| edge.up);
    let lacking = samples.iter().find(|sample| {
        sample.measure == Measure::UnderReplicated
            && now_ms.saturating_sub(sample.at_ms) <= freshness_ms
    });
    match (up, lacking.map(|sample| &sample.reading)) {
        (Some(false), _) => Wellness::Unwell,
        (_, Some(Reading::Value(lacking))) if *lacking > 0.0 => Wellness::Unwell,
        (Some(true), Some(Reading::Value(_))) => Wellness::Well,
        (None, _) => Wellness::Unknown("Kafka was not asked yet".to_owned()),
        (_, Some(Reading::Unknown(why))) => Wellness::Unknown(why.clone()),
        (_, Some(Reading::Counted { .. }) | None) => {
            Wellness::Unknown("the routed partitions were not looked at yet".to_owned())
        }
    }
}

/// The topics that the routes lead to; `None`: a route's topics depend on its streams, and this instance does not have all of
/// them.
#[must_use]
pub fn routed<'a>(
    status: &'a Status,
    shards: u32,
    routes: impl Fn(&str) -> bool + 'a,
) -> Option<Vec<Topic>> {
    let mut topics = BTreeSet::new();
    for route in status.routes.iter().filter(|route| routes(&route.name)) {
        // A topic's name has no `$`; a capture has.
        if !route.topic.contains('$') {
            topics.insert(route.topic.clone());
        } else if is_whole(status, shards) {
            let of_route = status.streams.iter().filter(|one| one.route == route.name);
            topics.extend(of_route.map(|stream| stream.topic.clone()));
        } else {
            return None;
        }
    }
    Some(topics.into_iter().map(Topic::from).collect())
}

/// The classes that tell of nothing.
const SILENT: [&str; 2] = ["pending", "unverifiable"];

/// What differs now. A difference that is seen counts, whoever does not see the whole; none seen counts only where all is seen.
fn inconsistency(parity: &ParityStatus, whole: bool) -> Reading {
    let open: u64 = ["missing", "extra", "duplicate"]
        .iter()
        .filter_map(|class| parity.open.get(*class))
        .sum();
    #[expect(
        clippy::cast_precision_loss,
        reason = "compared with thresholds far below 2^53"
    )]
    let found = Reading::Value(open as f64);
    match parity.state {
        _ if open > 0 => found,
        ParityState::Unknown => {
            let why = parity.reason.as_deref().unwrap_or("parity is not known");
            Reading::Unknown(why.to_owned())
        }
        ParityState::Level | ParityState::Apart if !whole => {
            Reading::Unknown("this instance audits only some of the shards".to_owned())
        }
        ParityState::Level | ParityState::Apart => found,
    }
}

fn sum(parity: &ParityStatus, of: impl Fn(&str) -> bool) -> u64 {
    parity
        .classes
        .iter()
        .filter(|(class, _)| of(class))
        .map(|(_, count)| count)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Board;

    fn board() -> Board {
        Board::new("demo", "a", [("r", "t")])
    }

    fn lacking(reading: Reading, at_ms: i64) -> [Sample; 1] {
        [Sample {
            measure: Measure::UnderReplicated,
            reading,
            at_ms,
        }]
    }

    #[test]
    fn kafka_out_of_reach_or_a_partition_without_a_replica_is_a_trouble() {
        let well = board();
        well.edge_up("kafka");
        let seen = |board: &Board, value| {
            wellness(
                &board.snapshot(),
                &lacking(Reading::Value(value), 1_000),
                15_000,
                9_000,
            )
        };
        assert_eq!(seen(&well, 0.0), Wellness::Well);
        assert_eq!(seen(&well, 1.0), Wellness::Unwell);
        let down = board();
        down.edge_error("kafka", "connect", "refused".to_owned(), true);
        assert_eq!(seen(&down, 0.0), Wellness::Unwell);
        // Whoever cannot be reached cannot be asked for its replicas either.
        assert_eq!(
            wellness(&down.snapshot(), &[], 15_000, 9_000),
            Wellness::Unwell
        );
    }

    #[test]
    fn what_was_not_looked_at_lately_is_neither_well_nor_a_trouble() {
        let up = board();
        up.edge_up("kafka");
        let of = |samples: &[Sample], board: &Board| {
            let seen = wellness(&board.snapshot(), samples, 15_000, 20_000);
            assert!(matches!(seen, Wellness::Unknown(_)), "{seen:?}");
        };
        of(&[], &up);
        of(&lacking(Reading::Value(1.0), 1_000), &up);
        of(
            &lacking(Reading::Unknown("no answer".to_owned()), 19_000),
            &up,
        );
        of(&lacking(Reading::Value(0.0), 19_000), &board());
    }
}
