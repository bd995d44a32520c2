//! The families of one snapshot.

mod driver;
#[cfg(test)]
mod reference;

use std::collections::BTreeMap;

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::Produced;
use crate::status::{ParityState, ParityStatus, Reason, StateName, Status, StreamStatus};

/// Kinds of `lockgate_edge_errors_total`.
const EDGE_KINDS: [&str; 6] = ["connect", "timeout", "auth", "fenced", "refused", "other"];

struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    metrics: Vec<Metric>,
}

impl Family {
    const fn new(name: &'static str, help: &'static str, kind: MetricType) -> Self {
        Self {
            name,
            help,
            kind,
            metrics: Vec::new(),
        }
    }

    fn add(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        let mut pairs: Vec<LabelPair> = labels
            .iter()
            .map(|(name, value)| pair(name, value))
            .collect();
        pairs.sort_by(|a, b| a.name().cmp(b.name()));
        let mut metric = Metric::from_label(pairs);
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.metrics.push(metric);
        self
    }

    fn add_known(&mut self, labels: &[(&str, &str)], value: Option<f64>) -> &mut Self {
        if let Some(value) = value {
            self.add(labels, value);
        }
        self
    }
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

fn gauge(name: &'static str, help: &'static str) -> Family {
    Family::new(name, help, MetricType::GAUGE)
}

fn counter(name: &'static str, help: &'static str) -> Family {
    Family::new(name, help, MetricType::COUNTER)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus counts in floating point"
)]
const fn float(value: u64) -> f64 {
    value as f64
}

const fn flag(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

/// Every family of the snapshot that has a sample.
pub fn of(status: &Status, produced: Produced) -> Vec<MetricFamily> {
    all(status, produced)
        .into_iter()
        .filter(|family| !family.metrics.is_empty())
        .map(finish)
        .collect()
}

fn all(status: &Status, produced: Produced) -> Vec<Family> {
    let mut families = process(status);
    families.extend(edges(status));
    families.extend(routes(status));
    families.extend(shards(status));
    families.extend(parity(status));
    families.extend(produce(produced));
    families.extend(redis(status));
    families.extend(driver::families(status));
    families
}

fn finish(family: Family) -> MetricFamily {
    let mut finished = MetricFamily::default();
    finished.set_name(family.name.to_owned());
    finished.set_help(family.help.to_owned());
    finished.set_field_type(family.kind);
    finished.set_metric(family.metrics);
    finished
}

fn process(status: &Status) -> Vec<Family> {
    let mut build = gauge("lockgate_build_info", "1, with the version in its label");
    build.add(&[("version", &status.version)], 1.0);
    let mut ready = gauge(
        "lockgate_ready",
        "1 once the configuration is valid and listeners stand",
    );
    ready.add(&[], flag(status.ready));
    let mut tasks = gauge("lockgate_task_up", "1 while the task lives");
    for (task, up) in &status.tasks {
        tasks.add(&[("task", task)], flag(*up));
    }
    vec![build, ready, tasks]
}

fn edges(status: &Status) -> Vec<Family> {
    let mut up = gauge("lockgate_edge_up", "1 while the store answers");
    let mut errors = counter(
        "lockgate_edge_errors_total",
        "Failed requests to a store, by kind",
    );
    for (edge, seen) in &status.edges {
        up.add_known(&[("edge", edge)], seen.up.map(flag));
        for kind in EDGE_KINDS {
            let count = seen.errors.get(kind).copied().unwrap_or(0);
            errors.add(&[("edge", edge), ("kind", kind)], float(count));
        }
    }
    vec![up, errors]
}

fn routes(status: &Status) -> Vec<Family> {
    let mut entries = counter(
        "lockgate_mirror_entries_total",
        "Entries mirrored, counted after the durable commit",
    );
    let mut bytes = counter(
        "lockgate_mirror_bytes_total",
        "Bytes of names and values of entries mirrored",
    );
    let mut headroom = gauge(
        "lockgate_mirror_trim_headroom_seconds",
        "Time until the oldest unmirrored entry is trimmed or memory is full, at today's pace; +Inf if neither",
    );
    let mut gaps = counter(
        "lockgate_mirror_gap_entries_total",
        "Entries that were gone before they were read",
    );
    let mut letters = counter(
        "lockgate_mirror_dead_letters_total",
        "Entries put into a dead-letter topic",
    );
    let mut orphans = counter(
        "lockgate_mirror_orphan_entries_total",
        "Entries that Kafka has and Redis lost in a failover",
    );
    let mut against = counter(
        "lockgate_mirror_entries_against_flags_total",
        "Entries that applications wrote to Redis while their bucket was Kafka's (strays) or held; they are mirrored",
    );
    let mut surplus = gauge(
        "lockgate_mirror_surplus_partitions",
        "Partitions that topics of the route's streams here have and it places nothing on, by on_partition_change = \"record\"",
    );
    let mut streams = gauge(
        "lockgate_mirror_streams",
        "Streams of this instance by state and, unless running, reason",
    );
    let mut held = gauge(
        "lockgate_redis_stream_entries",
        "Entries that the streams hold",
    );
    for route in &status.routes {
        let name = route.name.as_str();
        let forward = [("direction", "forward"), ("route", name)];
        entries.add(&forward, float(route.mirrored_entries));
        bytes.add(&forward, float(route.mirrored_bytes));
        // Without a limit only where that is known: whose lag is not, nobody knows how long it has.
        let unlimited = route.lag_entries.map(|_| f64::INFINITY);
        headroom.add_known(
            &[("route", name)],
            route.trim_headroom_seconds.or(unlimited),
        );
        for (cause, count) in &route.gaps {
            gaps.add(&[("route", name), ("cause", cause)], float(*count));
        }
        for (reason, count) in &route.dead_letters {
            letters.add(&[("route", name), ("reason", reason)], float(*count));
        }
        orphans.add(&[("route", name)], float(route.orphans));
        for (bucket, count) in &route.against_flags {
            against.add(&[("route", name), ("bucket", bucket)], float(*count));
        }
        let partitions = route.surplus_partitions.values().copied();
        surplus.add(&[("route", name)], float(partitions.map(u64::from).sum()));
        held.add_known(&[("route", name)], route.stream_entries.map(float));
        for ((state, reason), count) in by_state(name, &status.streams) {
            streams.add(
                &[("route", name), ("state", state), ("reason", reason)],
                float(count),
            );
        }
    }
    vec![
        entries, bytes, headroom, gaps, letters, orphans, against, surplus, streams, held,
    ]
}

/// Counts of streams for each state and reason that there can be, so that each series is there from the first scrape.
fn by_state(route: &str, streams: &[StreamStatus]) -> BTreeMap<(&'static str, &'static str), u64> {
    let mut counts = BTreeMap::from([((StateName::Running.as_str(), ""), 0)]);
    for reason in Reason::ALL {
        let state = if reason.halts() {
            StateName::Halted
        } else {
            StateName::Waiting
        };
        counts.insert((state.as_str(), reason.as_str()), 0);
    }
    for stream in streams.iter().filter(|stream| stream.route == route) {
        let reason = stream.state.reason.map_or("", Reason::as_str);
        *counts
            .entry((stream.state.name.as_str(), reason))
            .or_default() += 1;
    }
    counts
}

fn shards(status: &Status) -> Vec<Family> {
    let mut lag_entries = gauge(
        "lockgate_mirror_lag_entries",
        "Entries after the checkpoint",
    );
    let mut lag_seconds = gauge(
        "lockgate_mirror_lag_seconds",
        "Age of the oldest entry after the checkpoint, 0 if there is none",
    );
    let mut committed = gauge(
        "lockgate_mirror_checkpoint_timestamp_seconds",
        "Time of the last durable commit",
    );
    for shard in &status.shards {
        let number = shard.shard.to_string();
        let labels = [("direction", "forward"), ("shard", number.as_str())];
        lag_entries.add_known(&labels, shard.lag_entries.map(float));
        lag_seconds.add_known(&labels, shard.lag_seconds);
        committed.add_known(
            &labels,
            shard.checkpoint_at.as_deref().and_then(unix_seconds),
        );
    }
    let forward = &status.mirror.forward;
    let mut states = gauge(
        "lockgate_mirror_shards",
        "Shards of this instance by state; one halted stream makes its shard halted",
    );
    for (state, count) in &forward.shards {
        states.add(&[("direction", "forward"), ("state", state)], float(*count));
    }
    let mut takeovers = counter(
        "lockgate_mirror_takeovers_total",
        "Shards begun here, and shards that another instance took over",
    );
    for (cause, count) in &forward.takeovers {
        takeovers.add(&[("cause", cause)], float(*count));
    }
    let mut throttled = counter(
        "lockgate_mirror_throttled_seconds_total",
        "Time for which reading was held back",
    );
    for (cause, seconds) in &status.throttle.throttled_seconds {
        throttled.add(&[("cause", cause)], *seconds);
    }
    vec![
        lag_entries,
        lag_seconds,
        committed,
        states,
        takeovers,
        throttled,
    ]
}

fn parity(status: &Status) -> Vec<Family> {
    let parity = &status.parity;
    let mut state = gauge("lockgate_parity_state", "1 for the state that parity is in");
    for one in ParityState::ALL {
        state.add(&[("state", one.as_str())], flag(parity.state == one));
    }
    let mut since = gauge(
        "lockgate_parity_level_since_timestamp_seconds",
        "From then on nothing was found that differs; absent unless level",
    );
    let level = (parity.state == ParityState::Level).then_some(parity.since.as_str());
    since.add_known(&[], level.and_then(unix_seconds));
    let mut audited = gauge(
        "lockgate_parity_audited_shards",
        "Shards that this instance's findings speak of",
    );
    audited.add(&[], float(parity.shards.len() as u64));
    let mut in_all = gauge(
        "lockgate_parity_shards",
        "Shards of the migration, whoever audits them; absent until that is known",
    );
    in_all.add_known(&[], parity.shards_in_all.map(f64::from));
    let mut families = vec![state, since, audited, in_all];
    families.extend(parity_by_route(parity));
    families
}

fn parity_by_route(parity: &ParityStatus) -> Vec<Family> {
    let mut verified = gauge(
        "lockgate_parity_verified_through_timestamp_seconds",
        "Everything older is compared",
    );
    let mut entries = counter(
        "lockgate_parity_entries_total",
        "Identities that came to be in each class; one that is looked at anew and is what it was counts once",
    );
    let mut open = gauge(
        "lockgate_parity_open_entries",
        "Identities that are no match now, by class",
    );
    let mut windows = counter("lockgate_parity_windows_total", "Windows closed, by result");
    let mut read = counter(
        "lockgate_parity_compared_entries_total",
        "Entries and records read to compare them",
    );
    let mut bound = gauge(
        "lockgate_parity_match_lower_bound_ratio",
        "Share of matches, one-sided bound at 95 %; absent without evidence",
    );
    let mut kafka_born = counter(
        "lockgate_parity_kafka_born_records_total",
        "Records that applications may have written to Kafka themselves; in no class",
    );
    let mut unread = gauge(
        "lockgate_parity_unread_streams",
        "Streams that cannot be read, and so are not compared",
    );
    for (name, route) in &parity.routes {
        let name = ("route", name.as_str());
        verified.add_known(
            &[name],
            route.verified_through.as_deref().and_then(unix_seconds),
        );
        for (class, count) in &route.counted.classes {
            entries.add(&[name, ("class", class)], float(*count));
        }
        for (class, count) in &route.open {
            open.add(&[name, ("class", class)], float(*count));
        }
        for (result, count) in &route.counted.windows {
            windows.add(&[name, ("result", result)], float(*count));
        }
        read.add(&[name, ("side", "redis")], float(route.counted.read.redis));
        read.add(&[name, ("side", "kafka")], float(route.counted.read.kafka));
        bound.add_known(&[name], route.lower_bound);
        kafka_born.add(&[name], float(route.counted.kafka_born));
        unread.add(&[name], float(route.unread_streams));
    }
    vec![
        verified, entries, open, windows, read, bound, kafka_born, unread,
    ]
}

fn produce(produced: Produced) -> Vec<Family> {
    let mut records = counter(
        "lockgate_kafka_produce_records_total",
        "Records answered by the broker, of committed transactions or not",
    );
    records.add(
        &[("purpose", "mirror"), ("outcome", "acked")],
        float(produced.acked),
    );
    records.add(
        &[("purpose", "mirror"), ("outcome", "error")],
        float(produced.errors),
    );
    let mut retries = counter(
        "lockgate_kafka_produce_retries_total",
        "Produce requests sent again",
    );
    retries.add(&[("purpose", "mirror")], float(produced.retries));
    vec![records, retries]
}

fn redis(status: &Status) -> Vec<Family> {
    let mut memory = gauge(
        "lockgate_redis_memory_used_ratio",
        "Used of the memory allowed; absent without maxmemory",
    );
    let mut evicted = counter(
        "lockgate_redis_evicted_keys_total",
        "Keys that Redis evicted",
    );
    let mut evicts = gauge(
        "lockgate_redis_may_evict_streams",
        "1 where maxmemory-policy may evict a whole stream",
    );
    if let Some(redis) = &status.redis {
        memory.add_known(&[], redis.memory_used_ratio);
        evicted.add(&[], float(redis.evicted_keys));
        evicts.add(&[], flag(redis.evicts_streams));
    }
    vec![memory, evicted, evicts]
}

fn unix_seconds(rfc3339: &str) -> Option<f64> {
    let time = humantime::parse_rfc3339(rfc3339).ok()?;
    Some(
        time.duration_since(std::time::SystemTime::UNIX_EPOCH)
            .ok()?
            .as_secs_f64(),
    )
}
