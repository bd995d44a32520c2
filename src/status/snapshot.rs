//! The views: what the board holds, as one numbered [`Status`].

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::board::{Board, EdgeCell, Inner, RouteCell, ShardCell, StreamCell};
use super::driver::{BrokersSaid, DriverStatus, KafkaStatus};
use super::reason::{DeadLetterReason, GapCause, Reason};
use super::{
    DirectionStatus, EdgeStatus, MirrorStatus, RouteStatus, ShardStatus, State, StateName, Status,
    StreamStatus, TrimStatus, parity,
};
use crate::entry::StreamRef;
use crate::placement::Shard;

type Told = (StateName, Option<Reason>, SystemTime);

impl Inner {
    fn all_opened(&self) -> bool {
        !self.shards.is_empty() && self.shards.values().all(|shard| shard.opened)
    }

    /// Since when Kafka has not answered.
    fn kafka_down(&self) -> Option<SystemTime> {
        let (up, since) = self.edges.get("kafka")?.up?;
        (!up).then_some(since)
    }
}

impl Board {
    /// Everything that is known now, under the next number.
    #[must_use]
    pub fn snapshot(&self) -> Status {
        let now = SystemTime::now();
        let mut inner = self.lock();
        inner.seq += 1;
        let total = inner
            .routes
            .values()
            .map(|route| route.mirrored_entries)
            .sum();
        let rate = inner.rate.observe(now, total);
        let streams: Vec<StreamStatus> = inner
            .streams
            .iter()
            .map(|(stream, cell)| stream_status(stream, cell, &inner, now))
            .collect();
        let shards: Vec<ShardStatus> = inner
            .shards
            .iter()
            .map(|(shard, cell)| shard_status(*shard, cell, &streams, &inner))
            .collect();
        let routes: Vec<RouteStatus> = inner
            .routes
            .iter()
            .map(|(name, cell)| route_status(name, cell, &streams, inner.all_opened()))
            .collect();
        let mut forward = direction(&inner, &routes, &streams, &shards, rate);
        forward.lag_per_second = inner.growth.observe(now, forward.lag_entries);
        Status {
            schema: "lockgate.status/v1".to_owned(),
            seq: inner.seq,
            as_of: rfc3339(now),
            migration: self.migration.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: self.instance.clone(),
            started_at: rfc3339(self.started_at),
            ready: inner.ready,
            parity: parity::view(&inner.parity, now),
            mirror: MirrorStatus {
                forward,
                reverse: None,
            },
            strays: inner.strays.status(std::time::Instant::now()),
            trim: trim(&streams, &inner, now),
            ingress: None,
            groups: [measured(&inner, &inner.groups), inner.redis_groups.clone()].concat(),
            kafka: kafka(&inner),
            driver: driver(&inner),
            edges: inner
                .edges
                .iter()
                .map(|(name, cell)| ((*name).to_owned(), edge_status(cell)))
                .collect(),
            redis: inner.redis.clone(),
            throttle: inner.throttle.clone(),
            tasks: inner.tasks.clone(),
            tokens_trouble: inner.tokens_trouble.clone(),
            certificate_trouble: inner.certificate_trouble.clone(),
            routes,
            streams,
            shards,
        }
    }
}

fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// What runs only as long as Kafka answers is not called running while it does not.
fn state(&(name, reason, since): &Told, kafka_down: Option<SystemTime>) -> State {
    let (name, reason, since) = match (name, reason, kafka_down) {
        (StateName::Waiting, Some(Reason::KafkaUnreachable), Some(down)) => {
            (name, reason, since.min(down))
        }
        (StateName::Running, _, Some(down)) => (
            StateName::Waiting,
            Some(Reason::KafkaUnreachable),
            since.max(down),
        ),
        _ => (name, reason, since),
    };
    State {
        name,
        reason,
        since: rfc3339(since),
    }
}

fn unix_ms(now: SystemTime) -> i64 {
    let since = now.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

fn least(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.reduce(f64::min)
}

/// The sum, unless one part is unknown: a partial sum would claim too little.
fn known_sum(values: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    values.sum()
}

/// The greatest, unless one part is unknown.
fn known_max(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    values
        .collect::<Option<Vec<f64>>>()
        .map(|known| known.into_iter().fold(0.0, f64::max))
}

fn stream_status(
    stream: &StreamRef,
    cell: &StreamCell,
    inner: &Inner,
    now: SystemTime,
) -> StreamStatus {
    let now_ms = unix_ms(now);
    let lag_entries = cell.lag_entries(now_ms);
    #[expect(clippy::cast_precision_loss, reason = "an age for people")]
    let age = |ms: i64| (now_ms - ms).max(0) as f64 / 1_000.0;
    StreamStatus {
        database: stream.database.0,
        stream: stream.name.to_string(),
        route: cell.route.clone(),
        topic: cell.topic.clone(),
        shard: cell.shard.0,
        state: state(&cell.state, inner.kafka_down()),
        began: cell.began.clone(),
        checkpoint: cell.checkpoint.map(|id| id.to_string()),
        generation: cell.generation,
        mirrored_entries: cell.mirrored_entries,
        lag_entries,
        lag_seconds: match lag_entries {
            Some(0) => Some(0.0),
            _ => cell.oldest_unmirrored_ms.map(age),
        },
        gap_entries: cell.gap_entries,
        orphans: cell.orphans,
        dead_letters: cell.dead_letters,
        surplus_partitions: cell.surplus_partitions,
        length: cell.seen.map(|seen| seen.length),
        trim_headroom_seconds: least(
            cell.seconds_to_trim(now_ms)
                .into_iter()
                .chain(inner.memory_seconds),
        ),
        last_error: cell.last_error.clone(),
    }
}

fn shard_status(
    shard: Shard,
    cell: &ShardCell,
    streams: &[StreamStatus],
    inner: &Inner,
) -> ShardStatus {
    let of_shard = || streams.iter().filter(|stream| stream.shard == shard.0);
    let mut state = state(&cell.state, inner.kafka_down());
    if state.name == StateName::Running
        && let Some(reason) = inner
            .streams
            .values()
            .filter(|stream| stream.shard == shard)
            .find_map(StreamCell::halt)
    {
        // The worst stream decides what its shard is called: RUNNING over a stream that stands still helps nobody.
        let since = of_shard()
            .filter(|stream| stream.state.name == StateName::Halted)
            .map(|stream| &stream.state.since)
            .min();
        state = State {
            name: StateName::Halted,
            reason: Some(reason),
            since: since.cloned().unwrap_or(state.since),
        };
    } else if state.name == StateName::Running
        && let Some(waiting) = of_shard().find(|stream| stream.state.name == StateName::Waiting)
    {
        state = waiting.state.clone();
    }
    let of_cells = inner
        .streams
        .values()
        .filter(|stream| stream.shard == shard);
    let unknown = inner
        .found
        .and_then(|found| found.unknown_seconds(cell.told_of));
    let carried = known_max(of_cells.map(StreamCell::carried_seconds).chain([unknown]));
    ShardStatus {
        carried_seconds: carried.filter(|_| cell.opened),
        shard: shard.0,
        state,
        streams: of_shard().count() as u64,
        lag_entries: known_sum(of_shard().map(|stream| stream.lag_entries)).filter(|_| cell.opened),
        lag_seconds: known_max(of_shard().map(|stream| stream.lag_seconds)).filter(|_| cell.opened),
        checkpoint_at: cell.checkpoint_at.map(rfc3339),
        last_error: cell.last_error.clone(),
    }
}

/// `opened`: every shard of this instance has read its checkpoints, so that the streams here are all there are.
fn route_status(
    name: &str,
    cell: &RouteCell,
    streams: &[StreamStatus],
    opened: bool,
) -> RouteStatus {
    let of_route = || streams.iter().filter(|stream| stream.route == name);
    let count = |state| {
        of_route()
            .filter(|stream| stream.state.name == state)
            .count() as u64
    };
    RouteStatus {
        name: name.to_owned(),
        topic: cell.topic.clone(),
        streams: of_route().count() as u64,
        streams_by_state: StateName::ALL
            .iter()
            .map(|state| (state.as_str().to_owned(), count(*state)))
            .collect(),
        mirrored_entries: cell.mirrored_entries,
        mirrored_bytes: cell.mirrored_bytes,
        lag_entries: known_sum(of_route().map(|stream| stream.lag_entries)).filter(|_| opened),
        lag_seconds: known_max(of_route().map(|stream| stream.lag_seconds)).filter(|_| opened),
        dead_letters: DeadLetterReason::ALL
            .iter()
            .map(|reason| {
                (
                    reason.as_str().to_owned(),
                    cell.dead_letters.get(reason).copied().unwrap_or(0),
                )
            })
            .collect(),
        gaps: GapCause::ALL
            .iter()
            .map(|cause| {
                (
                    cause.as_str().to_owned(),
                    cell.gaps.get(cause).copied().unwrap_or(0),
                )
            })
            .collect(),
        orphans: cell.orphans,
        against_flags: BTreeMap::from([
            ("kafka".to_owned(), cell.strays),
            ("held".to_owned(), cell.held_writes),
        ]),
        surplus_partitions: of_route()
            .filter(|stream| stream.surplus_partitions > 0)
            .map(|stream| (stream.topic.clone(), stream.surplus_partitions))
            .collect(),
        trim_headroom_seconds: least(of_route().filter_map(|stream| stream.trim_headroom_seconds)),
        stream_entries: known_sum(of_route().map(|stream| stream.length)).filter(|_| opened),
    }
}

fn direction(
    inner: &Inner,
    routes: &[RouteStatus],
    streams: &[StreamStatus],
    shards: &[ShardStatus],
    rate: f64,
) -> DirectionStatus {
    let shards_in = |name: StateName| {
        shards
            .iter()
            .filter(|shard| shard.state.name == name)
            .count() as u64
    };
    DirectionStatus {
        // Who owns no shard, or has not read its checkpoints yet, knows nothing of the lag; 0 would be a claim.
        lag_entries: known_sum(streams.iter().map(|stream| stream.lag_entries))
            .filter(|_| inner.all_opened()),
        lag_seconds: known_max(streams.iter().map(|stream| stream.lag_seconds))
            .filter(|_| inner.all_opened()),
        rate,
        lag_per_second: None,
        shards: StateName::ALL
            .iter()
            .map(|name| (name.as_str().to_owned(), shards_in(*name)))
            .collect(),
        dead_letters: routes
            .iter()
            .flat_map(|route| route.dead_letters.values())
            .sum(),
        gap_entries: routes.iter().flat_map(|route| route.gaps.values()).sum(),
        takeovers: inner
            .takeovers
            .iter()
            .map(|(cause, count)| ((*cause).to_owned(), *count))
            .collect(),
    }
}

/// Whether any stream is trimmed at all, as far as is known.
fn trims(inner: &Inner, now: SystemTime) -> bool {
    let now_ms = unix_ms(now);
    let mut streams = inner.streams.values();
    streams.any(|cell| cell.seconds_to_trim(now_ms).is_some())
}

/// What the instance that steers measures; what it measured before another took over says nothing of the present.
fn measured<T: Clone + Default>(inner: &Inner, found: &T) -> T {
    if inner.driver.steered_by.is_some() {
        return T::default();
    }
    found.clone()
}

/// What the brokers' metadata said, and what others said of them; `None`: neither said anything.
fn kafka(inner: &Inner) -> Option<KafkaStatus> {
    let shown = measured(inner, &inner.kafka);
    let said = measured(inner, &inner.brokers_said);
    if shown.is_none() && said == BrokersSaid::default() {
        return None;
    }
    let mut shown = shown.unwrap_or_default();
    shown.disk_used_ratio = said.disk_used_ratio;
    shown.replication_lag_seconds = said.replication_lag_seconds;
    shown.probes.extend(said.probes);
    shown.probes_answered_at.extend(said.answered_at);
    Some(shown)
}

/// A migration that is steady while a store is out of reach waits for that store.
fn driver(inner: &Inner) -> DriverStatus {
    let mut status = inner.driver.clone();
    status.journal_errors = inner.journal_errors;
    let down = inner.edges.iter().find_map(|(name, edge)| {
        let (up, since) = edge.up?;
        (!up).then(|| (*name, since, edge.last_error.clone()))
    });
    if let (Some(state), Some((store, since, error))) = (&mut status.state, down)
        && state.name == "steady"
    {
        "waiting".clone_into(&mut state.name);
        state.since = rfc3339(since);
        state.waiting_for = Some(store.to_owned());
        state.reason = error;
    }
    status
}

/// `9 h`, `40 min`, `30 s`: one unit, for what is reckoned.
fn about(seconds: f64) -> String {
    let units = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "min")];
    let (size, unit) = units
        .into_iter()
        .find(|(size, _)| seconds >= 2.0 * size)
        .unwrap_or((1.0, "s"));
    format!("{:.0} {unit}", (seconds.max(0.0) / size).floor())
}

/// Entries that nobody can mirror any more, at least: what a stream that went took along, and what the present one lacks of its
/// lag, whatever of the rest is mirrored. While a stream is read, what is read and not committed yet may be among them, and is safe.
fn gone(stream: &StreamStatus, cell: &StreamCell) -> u64 {
    if stream.state.name == StateName::Running {
        return 0;
    }
    let lag = stream.lag_entries.zip(stream.length);
    let lacking = lag.map_or(0, |(lag, length)| lag.saturating_sub(length));
    cell.gone_unmirrored() + lacking
}

/// `streams`: as they stand on the board, in its order.
fn trim(streams: &[StreamStatus], inner: &Inner, now: SystemTime) -> TrimStatus {
    let soonest = streams
        .iter()
        .filter_map(|stream| {
            stream
                .trim_headroom_seconds
                .map(|seconds| (seconds, stream))
        })
        .min_by(|a, b| a.0.total_cmp(&b.0));
    let cells = inner.streams.values();
    let losing: Vec<(&StreamStatus, u64)> = streams
        .iter()
        .zip(cells)
        .map(|(stream, cell)| (stream, gone(stream, cell)))
        .filter(|(_, gone)| *gone > 0)
        .collect();
    let gone_entries = losing.iter().map(|(_, gone)| gone).sum();
    let says = match (soonest, inner.memory_seconds) {
        _ if let Some((stream, _)) = losing.first() => format!(
            "at least {gone_entries} entries are gone unmirrored, {} first",
            stream.stream
        ),
        (Some((seconds, _)), Some(memory)) if memory <= seconds => format!(
            "nothing trims{}, memory full in about {}",
            if trims(inner, now) { " sooner" } else { "" },
            about(memory)
        ),
        (Some((seconds, stream)), _) => format!(
            "{} trims what is not mirrored in about {}",
            stream.stream,
            about(seconds)
        ),
        (None, _) if streams.iter().any(|stream| stream.lag_entries.is_none()) => {
            "not known while streams cannot be looked at".to_owned()
        }
        // Not before the streams are on the board: none of them trims, and none is known.
        (None, _) if !inner.all_opened() => {
            "not known before the shards have read their checkpoints".to_owned()
        }
        (None, _) => "nothing trims".to_owned(),
    };
    TrimStatus {
        headroom_seconds: soonest.map(|(seconds, _)| seconds),
        gone_entries,
        says,
    }
}

fn edge_status(cell: &EdgeCell) -> EdgeStatus {
    EdgeStatus {
        up: cell.up.map(|(up, _)| up),
        since: cell.up.map(|(_, since)| rfc3339(since)),
        errors: cell.errors.clone(),
        last_error: cell.last_error.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::driver::SteeringState;
    use super::super::room::Observation;
    use super::*;
    use crate::entry::Database;

    #[test]
    fn what_is_reckoned_has_one_unit() {
        let said = [30.0, 150.0, 7_000.0, 33_000.0, 200_000.0].map(about);
        assert_eq!(said, ["30 s", "2 min", "116 min", "9 h", "2 d"]);
    }

    #[test]
    fn entries_that_are_gone_unmirrored_are_told_before_what_will_be_trimmed() {
        let board = Board::new("demo", "a", [("r", "t")]);
        let stream = StreamRef::new(Database(0), "s");
        board.own_stream(&stream, "r", "t", Shard(0));
        let trim = |length| {
            board.stream(&stream, |cell| {
                cell.added_at_checkpoint = Some(1_000);
                let seen = Observation {
                    at_ms: unix_ms(SystemTime::now()),
                    entries_added: 6_000,
                    length,
                };
                cell.observe(seen, Instant::now());
            });
            board.snapshot().trim
        };
        assert_eq!(trim(5_000).gone_entries, 0);
        let losing = trim(1_000);
        assert_eq!(losing.gone_entries, 4_000);
        assert!(
            losing.says.contains("4000 entries are gone"),
            "{}",
            losing.says
        );
        // They may be in hand, taken out of Redis as soon as they were read.
        board.stream(&stream, StreamCell::running);
        assert_eq!(trim(1_000).gone_entries, 0);
        board.edge_error("kafka", "connect", "refused".to_owned(), true);
        assert_eq!(trim(1_000).gone_entries, 4_000);
    }

    #[test]
    fn what_a_stream_took_along_is_gone_whatever_stands_in_its_place() {
        let board = Board::new("demo", "a", [("r", "t")]);
        let stream = StreamRef::new(Database(0), "s");
        board.own_stream(&stream, "r", "t", Shard(0));
        let gone_entries = |entries_added, length| {
            board.stream(&stream, |cell| {
                cell.added_at_checkpoint = Some(10);
                cell.note_gone(0, 60);
                let seen = Observation {
                    at_ms: unix_ms(SystemTime::now()),
                    entries_added,
                    length,
                };
                cell.observe(seen, Instant::now());
            });
            board.snapshot().trim.gone_entries
        };
        assert_eq!(gone_entries(10, 0), 50, "nothing");
        assert_eq!(gone_entries(5, 5), 50, "a few entries");
        assert_eq!(gone_entries(40, 20), 60, "many, trimmed already");
        board.stream(&stream, |cell| cell.generation = 1);
        assert_eq!(gone_entries(5, 5), 0, "counted with the next generation");
    }

    #[test]
    fn before_the_streams_are_known_nobody_knows_whether_they_are_trimmed() {
        let board = Board::new("demo", "a", [("r", "t")]);
        let says = || board.snapshot().trim.says;
        assert!(says().starts_with("not known"), "{}", says());
        board.shard(Shard(0), StateName::Waiting, Some(Reason::Starting), None);
        assert!(says().starts_with("not known"), "{}", says());
        board.shard(Shard(0), StateName::Running, None, None);
        assert_eq!(says(), "nothing trims");
    }

    #[test]
    fn steady_while_a_store_is_out_of_reach_is_waiting_and_held_stays_held() {
        let board = Board::new("demo", "a", [("r", "t")]);
        let steer = |name: &str| {
            board.driver(DriverStatus {
                state: Some(SteeringState {
                    name: name.to_owned(),
                    since: "2026-03-12T14:04:00.000Z".to_owned(),
                    ..SteeringState::default()
                }),
                ..DriverStatus::default()
            });
            board.snapshot().driver.state.expect("it is shown")
        };
        assert_eq!(steer("steady").name, "steady");
        board.edge_error("kafka", "connect", "refused".to_owned(), true);
        let waits = steer("steady");
        assert_eq!(
            (waits.name.as_str(), waits.waiting_for.as_deref()),
            ("waiting", Some("kafka"))
        );
        assert_eq!(waits.reason.as_deref(), Some("refused"));
        assert_eq!(steer("held").name, "held");
        board.edge_up("kafka");
        assert_eq!(steer("steady").name, "steady");
    }
}
