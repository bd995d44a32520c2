//! A status as text: the questions of an operator in the order in which they are asked. Pure: a line with nothing to say
//! is left out, and what is not known is `?`, never 0.

use std::io::IsTerminal as _;

use super::advice::advice;
use super::page::{Page, Paint, ascii};
use super::words::{clock, lag, moment, rate};
use super::{gates, next, parity, steering, traffic};
use crate::cli::output::{counted, grouped};
use crate::logging::printable;
use crate::status::{
    DirectionStatus, EdgeStatus, ParityState, Reason, RouteStatus, ShardStatus, State, StateName,
    Status, StreamStatus,
};

/// How a status is drawn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    pub ascii: bool,
    pub color: bool,
    pub streams: bool,
    pub shards: bool,
}

/// Colour only on a terminal, and not where NO_COLOR asks for none.
#[must_use]
pub fn may_color() -> bool {
    std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Halted streams that are spelled out; the others are counted.
const SPELLED_OUT: usize = 5;

/// The whole screen.
#[must_use]
pub fn text(status: &Status, look: Look) -> String {
    let mut page = Page::new(look.ascii, look.color);
    first(&mut page, status);
    let of = About::of(status);
    if !(of.moving && status.parity.state == ParityState::Level) {
        parity::lines(&mut page, status, of.early);
    }
    traffic::lines(&mut page, status);
    if of.early || forward_is_ill(status) {
        page.line("FORWARD", &forward(status), Paint::Plain);
    }
    if let Some(reverse) = &status.mirror.reverse {
        page.line("REVERSE", &reverse_line(reverse), Paint::Plain);
    }
    if of.early || stores_are_ill(status) {
        page.line("STORES", &stores(status), edges_paint(status));
    }
    if let Some(why) = unkept(status) {
        let text =
            format!("cannot be read or kept: {why}; nothing is promoted or taken back meanwhile");
        page.line("STATE", &text, Paint::Warn);
    }
    let trim_is_near = |left| left < TRIM_NEAR;
    if of.early
        || status.trim.gone_entries > 0
        || status.trim.headroom_seconds.is_some_and(trim_is_near)
    {
        page.line("TRIM", &trim(status), Paint::Plain);
    }
    if let Some(throttle) = throttle(status) {
        page.line("THROTTLE", &throttle, Paint::Plain);
    }
    if let Some(why) = &status.tokens_trouble {
        let text = format!("the file is not taken over: {why}; who could use the API still can");
        page.line("TOKENS", &text, Paint::Warn);
    }
    if let Some(why) = &status.certificate_trouble {
        let text = format!("the certificate is not taken over: {why}; the one before is shown");
        page.line("TLS", &text, Paint::Warn);
    }
    let speaks = |route: &&RouteStatus| look.streams || look.shards || route_is_ill(route);
    for route in status.routes.iter().filter(speaks) {
        page.line("ROUTE", &route_line(route), Paint::Plain);
    }
    waiting(&mut page, status, of.waiting);
    if !look.streams {
        halted(&mut page, status);
    }
    if of.still {
        gates::lines(&mut page, &status.driver.gates);
    }
    next::lines(&mut page, status);
    next::back(&mut page, status);
    if look.shards {
        for shard in &status.shards {
            shard_row(&mut page, shard);
        }
    }
    if look.streams {
        for stream in &status.streams {
            stream_rows(&mut page, stream);
        }
    }
    page.finish()
}

/// From here on a mirror that is behind is worth a line in every phase, and so is a trim that is near: as the alerts have it.
const BEHIND: f64 = 60.0;
const TRIM_NEAR: f64 = 21_600.0;

/// Which lines have something to say.
struct About {
    /// The mirror and the stores are what matters: in `shadow`, and where nobody knows the phase.
    early: bool,
    moving: bool,
    waiting: bool,
    /// Gates are looked at.
    still: bool,
}

impl About {
    fn of(status: &Status) -> Self {
        let state = status
            .driver
            .state
            .as_ref()
            .map_or("", |state| state.name.as_str());
        let frozen = matches!(state, "frozen" | "rolling_back");
        let phase = status.driver.phase.as_deref();
        Self {
            early: matches!(phase, None | Some("shadow")) && !frozen && state != "moving",
            moving: state == "moving",
            waiting: state == "waiting",
            still: matches!(state, "steady" | "held"),
        }
    }
}

fn forward_is_ill(status: &Status) -> bool {
    let forward = &status.mirror.forward;
    let stands = status
        .shards
        .iter()
        .any(|shard| shard.state.name != StateName::Running);
    stands
        || forward.gap_entries > 0
        || forward.lag_entries.is_none()
        || forward.lag_seconds.is_none_or(|late| late > BEHIND)
}

fn stores_are_ill(status: &Status) -> bool {
    status.edges.values().any(|edge| edge.up != Some(true))
        || status.redis.as_ref().is_some_and(|redis| {
            redis.evicts_streams || redis.memory_used_ratio.is_some_and(|used| used > 0.9)
        })
        || status.kafka.as_ref().is_some_and(|kafka| {
            kafka
                .under_replicated_partitions
                .is_some_and(|some| some > 0)
                || kafka.brokers_up < kafka.brokers
                || kafka.disk_used_ratio.is_some_and(|used| used > 0.8)
        })
}

fn route_is_ill(route: &RouteStatus) -> bool {
    let some = |counts: &std::collections::BTreeMap<String, u64>| counts.values().any(|n| *n > 0);
    some(&route.dead_letters) || some(&route.gaps) || route.orphans > 0
}

fn first(page: &mut Page, status: &Status) {
    let (word, paint, detail) = headline(status);
    let ill = (paint != Paint::Good).then(|| (word, paint, detail.clone()));
    match steering::headline(status, ill) {
        Some(line) => page.headline(&status.migration, &line.states, line.paint, &line.right),
        None => {
            let right = format!("{}  seq {}", clock(&status.as_of), status.seq);
            page.headline(
                &status.migration,
                &[format!("{word}{detail}")],
                paint,
                &right,
            );
        }
    }
}

/// The same in one line, for places that cannot be redrawn.
#[must_use]
pub fn line(status: &Status, plain: bool) -> String {
    let (word, paint, detail) = headline(status);
    let mirror = format!("{word}{detail}");
    let state = match steering::in_short(status) {
        Some(state) if paint == Paint::Good => state,
        Some(state) => format!("{state} · {mirror}"),
        None => mirror,
    };
    let mirrored: u64 = status
        .routes
        .iter()
        .map(|route| route.mirrored_entries)
        .sum();
    let text = format!(
        "{state} · {} mirrored · {}",
        grouped(mirrored),
        whole_lag(status)
    );
    let text = printable(&text);
    if plain { ascii(&text) } else { text }
}

/// The state in a word, which the worst part decides, and what it is about.
fn headline(status: &Status) -> (&'static str, Paint, String) {
    let halted = count(status, StateName::Halted);
    let waiting = status
        .shards
        .iter()
        .filter(|shard| shard.state.name == StateName::Waiting)
        .collect::<Vec<_>>();
    let streams = counted(status.streams.len() as u64, "stream");
    if halted > 0 {
        return ("HALTED", Paint::Bad, format!(" · {halted} of {streams}"));
    }
    if let Some(shard) = waiting.first() {
        let why = shard
            .state
            .reason
            .map(|reason| format!(" for {reason}"))
            .unwrap_or_default();
        return (
            "WAITING",
            Paint::Warn,
            format!(
                "{why} · {} of {}",
                waiting.len(),
                counted(status.shards.len() as u64, "shard")
            ),
        );
    }
    if let Some((edge, _)) = status.edges.iter().find(|(_, edge)| edge.up == Some(false)) {
        return ("WAITING", Paint::Warn, format!(" for {edge}"));
    }
    if !status.ready {
        return ("STARTING", Paint::Warn, String::new());
    }
    if status.shards.is_empty() {
        return (
            "STANDBY",
            Paint::Warn,
            " · no shard is this instance's".to_owned(),
        );
    }
    let late = count(status, StateName::Waiting);
    if late > 0 {
        return (
            "RUNNING",
            Paint::Good,
            format!(" · {} · {late} not begun", streams),
        );
    }
    ("RUNNING", Paint::Good, format!(" · {streams}"))
}

fn count(status: &Status, state: StateName) -> usize {
    status
        .streams
        .iter()
        .filter(|stream| stream.state.name == state)
        .count()
}

fn forward(status: &Status) -> String {
    let forward = &status.mirror.forward;
    let all_wait = !status.shards.is_empty()
        && status
            .shards
            .iter()
            .all(|shard| shard.state.name == StateName::Waiting);
    let mut parts = Vec::new();
    if all_wait {
        let grows = forward.lag_per_second.filter(|pace| *pace >= 1.0);
        let grows = grows.map_or(String::new(), |pace| format!(", +{}/s", rate(pace)));
        parts.push("waiting".to_owned());
        parts.push(format!("{}{grows}", whole_lag(status)));
    } else {
        parts.push(whole_lag(status));
        parts.push(format!("{}/s", rate(forward.rate)));
    }
    let shards: Vec<String> = ["running", "waiting", "halted"]
        .into_iter()
        .filter_map(|state| Some((state, *forward.shards.get(state)?)))
        .filter(|(_, number)| *number > 0)
        .map(|(state, number)| format!("{number} {state}"))
        .collect();
    parts.push(match (shards.as_slice(), status.shards.len() as u64) {
        ([], _) => "no shards".to_owned(),
        ([_], all) => format!(
            "{} {}",
            counted(all, "shard"),
            shards[0].split(' ').next_back().unwrap_or_default()
        ),
        (_, _) => format!("shards: {}", shards.join(", ")),
    });
    if !all_wait || forward.dead_letters > 0 {
        parts.push(counted(forward.dead_letters, "dead letter"));
    }
    if forward.gap_entries > 0 {
        parts.push(format!(
            "{} LOST before they were read",
            grouped(forward.gap_entries)
        ));
    }
    parts.join(" · ")
}

/// `lag 2 entries, 0.02 s · 2,204/s`
fn reverse_line(reverse: &DirectionStatus) -> String {
    let lag = lag(reverse.lag_entries, reverse.lag_seconds);
    let mut parts = vec![lag, format!("{}/s", rate(reverse.rate))];
    if reverse.dead_letters > 0 {
        parts.push(counted(reverse.dead_letters, "dead letter"));
    }
    parts.join(" · ")
}

fn trim(status: &Status) -> String {
    let state = status.driver.state.as_ref();
    let waits = state.is_some_and(|state| state.waiting_for.as_deref() == Some("kafka"));
    let lost = status.mirror.forward.gap_entries + status.trim.gone_entries;
    if waits && lost == 0 {
        return format!("Redis holds it all: {}", status.trim.says);
    }
    status.trim.says.clone()
}

/// The lag of an instance that owns no shard is not 0: it does not know.
fn whole_lag(status: &Status) -> String {
    let forward = &status.mirror.forward;
    if status.shards.is_empty() {
        lag(None, None)
    } else {
        lag(forward.lag_entries, forward.lag_seconds)
    }
}

/// What each store is; where one is down, that one alone.
fn stores(status: &Status) -> String {
    let down = |edge: &EdgeStatus| edge.up == Some(false);
    let any_down = status.edges.values().any(down);
    let edges = status
        .edges
        .iter()
        .rev()
        .filter(|(name, edge)| !any_down || down(edge) || (*name == "redis" && evicts(status)));
    edges
        .map(|(name, edge)| store(status, name, edge))
        .collect::<Vec<_>>()
        .join(" · ")
}

fn evicts(status: &Status) -> bool {
    status
        .redis
        .as_ref()
        .is_some_and(|redis| redis.evicts_streams)
}

fn store(status: &Status, name: &str, edge: &EdgeStatus) -> String {
    let mut parts = vec![format!("{name} {}", edge_word(edge))];
    match name {
        "redis" => parts.extend(redis_parts(status)),
        _ => kafka_parts(status, edge, &mut parts),
    }
    parts.join(", ")
}

fn redis_parts(status: &Status) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some(redis) = &status.redis {
        if let Some(ratio) = redis.memory_used_ratio {
            parts.push(format!("memory {:.0} %", ratio * 100.0));
        }
        if redis.evicts_streams {
            parts.push(format!("{} MAY EVICT STREAMS", redis.maxmemory_policy));
        }
    }
    parts
}

/// `kafka 3 of 3, ISR full, disk 41 %, lag 0 s`, or `kafka DOWN: connection refused, 3 of 3 brokers, next try in 8 s`.
fn kafka_parts(status: &Status, edge: &EdgeStatus, parts: &mut Vec<String>) {
    let Some(kafka) = &status.kafka else { return };
    let (up, all) = (kafka.brokers_up, kafka.brokers);
    if edge.up == Some(false) {
        if let (Some(up), Some(all)) = (up, all) {
            parts.push(format!("{} of {all} brokers", all.saturating_sub(up)));
        }
        if let Some(next) = kafka.next_try_seconds {
            parts.push(format!("next try in {next:.0} s"));
        }
        return;
    }
    if let (Some(up), Some(all), Some(first)) = (up, all, parts.first_mut()) {
        *first = format!("kafka {up} of {all}");
    }
    match kafka.under_replicated_partitions {
        Some(0) => parts.push("ISR full".to_owned()),
        Some(some) => parts.push(format!("{} UNDER-REPLICATED", counted(some, "partition"))),
        None => {}
    }
    if let Some(some) = kafka.offline_partitions.filter(|some| *some > 0) {
        parts.push(format!("{} OFFLINE", counted(some, "partition")));
    }
    if let Some(disk) = kafka.disk_used_ratio {
        parts.push(format!("disk {:.0} %", disk * 100.0));
    }
    if let Some(late) = kafka.replication_lag_seconds {
        parts.push(format!("lag {late:.0} s"));
    }
}

/// With its error, cut short: the whole of it is in the JSON.
fn edge_word(edge: &EdgeStatus) -> String {
    match (edge.up, &edge.last_error) {
        (None, _) => "?".to_owned(),
        (Some(true), _) => "up".to_owned(),
        (Some(false), Some(error)) => format!("DOWN: {error}"),
        (Some(false), None) => "DOWN".to_owned(),
    }
}

/// Why the migration's state cannot be stored, where no store is down that would explain it.
fn unkept(status: &Status) -> Option<&String> {
    let down = status.edges.values().any(|edge| edge.up == Some(false));
    status.driver.store_error.as_ref().filter(|_| !down)
}

fn edges_paint(status: &Status) -> Paint {
    if status.edges.values().any(|edge| edge.up == Some(false)) {
        Paint::Warn
    } else {
        Paint::Plain
    }
}

fn throttle(status: &Status) -> Option<String> {
    let entries = status
        .throttle
        .entries_per_second
        .map(|n| format!("{} entries/s", grouped(n.into())));
    let bytes = status
        .throttle
        .bytes_per_second
        .map(|n| format!("{} bytes/s", grouped(n.into())));
    let limits: Vec<String> = entries.into_iter().chain(bytes).collect();
    (!limits.is_empty()).then(|| {
        format!(
            "at most {}; lift it: lockgate throttle --off",
            limits.join(", ")
        )
    })
}

fn route_line(route: &RouteStatus) -> String {
    let states: Vec<String> = route
        .streams_by_state
        .iter()
        .filter(|(_, number)| **number > 0)
        .map(|(state, number)| format!("{number} {state}"))
        .collect();
    let states = if states.is_empty() {
        "no streams here".to_owned()
    } else {
        states.join(", ")
    };
    let mut parts = vec![
        format!("{} → {}", route.name, route.topic),
        format!("{} mirrored", grouped(route.mirrored_entries)),
        lag(route.lag_entries, route.lag_seconds),
        states,
    ];
    let dead: Vec<String> = some(&route.dead_letters);
    if !dead.is_empty() {
        parts.push(format!("dead letters: {}", dead.join(", ")));
    }
    let gaps = some(&route.gaps);
    if !gaps.is_empty() {
        parts.push(format!("LOST: {}", gaps.join(", ")));
    }
    if route.orphans > 0 {
        parts.push(format!(
            "{} in Kafka that Redis lost",
            grouped(route.orphans)
        ));
    }
    parts.join(" · ")
}

fn some(counts: &std::collections::BTreeMap<String, u64>) -> Vec<String> {
    counts
        .iter()
        .filter(|(_, number)| **number > 0)
        .map(|(name, number)| format!("{} {name}", grouped(*number)))
        .collect()
}

/// Shards that wait, one line for each reason; `known`: not for a store that is away, which is said in other lines.
fn waiting(page: &mut Page, status: &Status, known: bool) {
    let away = [Reason::KafkaUnreachable, Reason::RedisUnreachable];
    let mut told = Vec::new();
    for shard in status
        .shards
        .iter()
        .filter(|shard| shard.state.name == StateName::Waiting)
        .filter(|shard| !known || shard.state.reason.is_none_or(|why| !away.contains(&why)))
    {
        if told.contains(&shard.state.reason) {
            continue;
        }
        told.push(shard.state.reason);
        let alike: Vec<String> = status
            .shards
            .iter()
            .filter(|other| {
                other.state.name == StateName::Waiting && other.state.reason == shard.state.reason
            })
            .map(|other| other.shard.to_string())
            .collect();
        let what = if alike.len() == 1 { "shard" } else { "shards" };
        page.line(
            "WAITING",
            &format!("{what} {}: {}", alike.join(", "), why(&shard.state)),
            Paint::Warn,
        );
        what_to_do(page, &shard.state, shard.last_error.as_deref(), "");
    }
}

fn halted(page: &mut Page, status: &Status) {
    let halted: Vec<&StreamStatus> = status
        .streams
        .iter()
        .filter(|stream| stream.state.name == StateName::Halted)
        .collect();
    for stream in halted.iter().take(SPELLED_OUT) {
        page.line(
            "HALTED",
            &format!(
                "{} in database {}: {}",
                stream.stream,
                stream.database,
                why(&stream.state)
            ),
            Paint::Bad,
        );
        what_to_do(
            page,
            &stream.state,
            stream.last_error.as_deref(),
            &resume(stream),
        );
    }
    if halted.len() > SPELLED_OUT {
        page.line(
            "",
            &format!(
                "and {} more: lockgate status --streams",
                halted.len() - SPELLED_OUT
            ),
            Paint::Plain,
        );
    }
}

fn why(state: &State) -> String {
    let reason = state
        .reason
        .map_or("reason unknown", |reason| reason.as_str());
    format!("{reason}, since {}", moment(&state.since))
}

fn what_to_do(page: &mut Page, state: &State, error: Option<&str>, resume: &str) {
    if let Some(error) = error {
        page.line("", error, Paint::Plain);
    }
    if let Some(reason) = state.reason {
        page.line("", &format!("do: {}", advice(reason, resume)), Paint::Plain);
        page.line(
            "",
            &format!("see: lockgate runbook {}", reason.runbook()),
            Paint::Plain,
        );
    }
}

fn resume(stream: &StreamStatus) -> String {
    format!(
        "lockgate streams resume --database {} '{}' --reason TEXT",
        stream.database, stream.stream
    )
}

fn shard_row(page: &mut Page, shard: &ShardStatus) {
    let paint = paint_of(shard.state.name);
    let reason = shard
        .state
        .reason
        .map(|reason| format!(" · {reason}"))
        .unwrap_or_default();
    let at = shard
        .checkpoint_at
        .as_deref()
        .map_or("no commit yet".to_owned(), |at| {
            format!("committed {}", clock(at))
        });
    let rest = format!(
        " {} · {} · {at}{reason}",
        counted(shard.streams, "stream"),
        lag(shard.lag_entries, shard.lag_seconds)
    );
    page.row(
        &format!("{:10}", format!("SHARD {}", shard.shard)),
        shard.state.name.as_str(),
        paint,
        &rest,
    );
}

fn stream_rows(page: &mut Page, stream: &StreamStatus) {
    let paint = paint_of(stream.state.name);
    let name = format!("{}/{}", stream.database, stream.stream);
    let place = match (&stream.checkpoint, &stream.began) {
        (Some(id), _) => format!("at {id}"),
        (None, Some(began)) => format!("from {began}"),
        (None, None) => "no checkpoint".to_owned(),
    };
    let rest = format!(" {} · {place}", lag(stream.lag_entries, stream.lag_seconds));
    page.row(
        &format!("{name:22} "),
        &format!("{:7}", stream.state.name.as_str()),
        paint,
        &rest,
    );
    if stream.state.name != StateName::Running {
        page.line("", &why(&stream.state), Paint::Plain);
        what_to_do(
            page,
            &stream.state,
            stream.last_error.as_deref(),
            &resume(stream),
        );
    }
    let lost = [
        (stream.gap_entries, "LOST"),
        (stream.orphans, "in Kafka that Redis lost"),
        (stream.dead_letters, "dead letters"),
    ];
    let lost: Vec<String> = lost
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{} {what}", grouped(*n)))
        .collect();
    if !lost.is_empty() {
        page.line("", &lost.join(" · "), Paint::Plain);
    }
}

const fn paint_of(state: StateName) -> Paint {
    match state {
        StateName::Running => Paint::Good,
        StateName::Waiting => Paint::Warn,
        StateName::Halted => Paint::Bad,
    }
}
