//! A status as text: the questions of an operator in the order in which they are asked. Pure: a line with nothing to say
//! is left out, and what is not known is `?`, never 0.

use std::io::IsTerminal as _;

use super::advice::advice;
use super::page::{Page, Paint, ascii};
use super::parity;
use crate::cli::output::{counted, grouped};
use crate::status::{EdgeStatus, RouteStatus, ShardStatus, State, StateName, Status, StreamStatus};

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
    let (word, paint, detail) = headline(status);
    page.ends(
        &status.migration,
        word,
        paint,
        &detail,
        &format!("{}  seq {}", clock(&status.as_of), status.seq),
    );
    parity::lines(&mut page, status);
    page.line("FORWARD", &forward(status), Paint::Plain);
    page.line("STORES", &stores(status), edges_paint(status));
    page.line("TRIM", &status.trim.says, Paint::Plain);
    if let Some(throttle) = throttle(status) {
        page.line("THROTTLE", &throttle, Paint::Plain);
    }
    for route in &status.routes {
        page.line("ROUTE", &route_line(route), Paint::Plain);
    }
    waiting(&mut page, status);
    if !look.streams {
        halted(&mut page, status);
    }
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

/// The same in one line, for places that cannot be redrawn.
#[must_use]
pub fn line(status: &Status, plain: bool) -> String {
    let (word, _, detail) = headline(status);
    let mirrored: u64 = status
        .routes
        .iter()
        .map(|route| route.mirrored_entries)
        .sum();
    let text = format!(
        "{word}{detail} · {} mirrored · {}",
        grouped(mirrored),
        whole_lag(status)
    );
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
    let mut parts = vec![whole_lag(status), format!("{}/s", rate(forward.rate))];
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
    parts.push(counted(forward.dead_letters, "dead letter"));
    if forward.gap_entries > 0 {
        parts.push(format!(
            "{} LOST before they were read",
            grouped(forward.gap_entries)
        ));
    }
    parts.join(" · ")
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

fn lag(entries: Option<u64>, seconds: Option<f64>) -> String {
    let entries = entries.map_or("?".to_owned(), grouped);
    let word = if entries == "1" { "entry" } else { "entries" };
    format!("lag {entries} {word}, {}", age(seconds))
}

/// `0.01 s`, `12 s`, `4m10s`; `?` where nobody knows.
fn age(seconds: Option<f64>) -> String {
    match seconds {
        None => "? s".to_owned(),
        Some(0.0) => "0 s".to_owned(),
        Some(seconds) if seconds < 10.0 => format!("{seconds:.2} s"),
        Some(seconds) if seconds < 120.0 => format!("{seconds:.0} s"),
        Some(seconds) => spoken(seconds),
    }
}

/// Two units: `4m10s`, `3h05m`, `4d02h`.
#[must_use]
pub fn spoken(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole seconds, for people"
    )]
    let whole = seconds.max(0.0) as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}m{:02}s", whole % 60),
        (0, hours) => format!("{hours}h{minutes:02}m"),
        (days, hours) => format!("{days}d{hours:02}h"),
    }
}

fn rate(per_second: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate for people"
    )]
    let whole = per_second.max(0.0).round() as u64;
    grouped(whole)
}

fn stores(status: &Status) -> String {
    let edges = status.edges.iter().rev().map(|(name, edge)| {
        let mut text = format!("{name} {}", edge_word(edge));
        if name == "redis"
            && let Some(redis) = &status.redis
        {
            if !redis.version.is_empty() {
                text.push_str(&format!(" {}", redis.version));
            }
            if let Some(ratio) = redis.memory_used_ratio {
                text.push_str(&format!(", memory {:.0} %", ratio * 100.0));
            }
            if redis.evicts_streams {
                text.push_str(&format!(", {} MAY EVICT STREAMS", redis.maxmemory_policy));
            }
        }
        if edge.up == Some(false)
            && let Some(error) = &edge.last_error
        {
            text.push_str(&format!(": {error}"));
        }
        text
    });
    edges.collect::<Vec<_>>().join(" · ")
}

fn edge_word(edge: &EdgeStatus) -> String {
    match (edge.up, &edge.since) {
        (None, _) => "?".to_owned(),
        (Some(true), _) => "up".to_owned(),
        (Some(false), Some(since)) => format!("DOWN since {}", clock(since)),
        (Some(false), None) => "DOWN".to_owned(),
    }
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

/// Shards that wait, one line for each reason.
fn waiting(page: &mut Page, status: &Status) {
    let mut told = Vec::new();
    for shard in status
        .shards
        .iter()
        .filter(|shard| shard.state.name == StateName::Waiting)
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

/// `14:04:00Z` of an RFC 3339 time.
#[must_use]
pub fn clock(time: &str) -> String {
    time.get(11..19)
        .map_or_else(|| time.to_owned(), |clock| format!("{clock}Z"))
}

/// `2026-03-12 14:04:00Z`.
fn moment(time: &str) -> String {
    time.get(..10)
        .map_or_else(|| time.to_owned(), |day| format!("{day} {}", clock(time)))
}
