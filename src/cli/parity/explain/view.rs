//! What was found out about one entry, as data and as text of at most 80 columns. Pure.
//!
//! Keys, values and fields are left out unless they are asked for: sizes, names and places tell where two sides differ.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::facts::{Facts, Should};
use super::kafka::{Held, Searched};
use crate::checkpoint::Checkpoint;
use crate::cli::output::{counted, grouped};
use crate::cli::parity::text::{Look, entries, moment};
use crate::cli::parity::words;
use crate::cli::status::{Page, Paint};
use crate::entry::Entry;
use crate::parity::{Class, Difference, Location};
use crate::routing::dead_letter;
use crate::streams::Inspected;

const SCHEMA: &str = "lockgate.parity-entry/v1";
/// Characters of one payload that are shown as text; `--output json` has all.
const SHOWN: usize = 600;

/// All of it, as it is printed.
#[derive(Debug, Serialize)]
pub struct Shown {
    pub schema: &'static str,
    pub migration: String,
    pub database: u32,
    pub stream: String,
    pub id: String,
    /// Absent where neither side has it.
    pub class: Option<Class>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
    pub redis: RedisShown,
    pub route: RouteShown,
    pub kafka: Vec<RecordShown>,
    pub mirror: Option<MirrorShown>,
    pub looked_at: Vec<String>,
    #[serde(rename = "do")]
    pub advice: String,
}

#[derive(Debug, Serialize)]
pub struct RedisShown {
    pub holds: bool,
    pub says: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<(String, String)>>,
}

#[derive(Debug, Serialize)]
pub struct RouteShown {
    pub name: String,
    pub says: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,
}

#[derive(Debug, Serialize)]
pub struct RecordShown {
    pub topic: String,
    #[serde(flatten)]
    pub at: Location,
    pub says: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,
}

#[derive(Debug, Serialize)]
pub struct MirrorShown {
    pub checkpoint: String,
    pub generation: u32,
    pub says: String,
}

#[derive(Debug, Serialize)]
pub struct Payload {
    pub key: Option<String>,
    pub headers: Vec<(String, String)>,
    pub value: Option<String>,
}

impl Shown {
    #[must_use]
    pub fn new(migration: &str, facts: &Facts, payload: bool) -> Self {
        let why = facts.difference.as_ref().and_then(|one| one.why);
        Self {
            schema: SCHEMA,
            migration: migration.to_owned(),
            database: facts.stream.database.0,
            stream: facts.stream.name.to_string(),
            id: facts.id.to_string(),
            class: facts.class,
            difference: facts.difference.clone(),
            redis: redis(&facts.redis, facts.entry.as_ref(), payload),
            route: route(&facts.route, &facts.should, payload),
            kafka: facts
                .held
                .iter()
                .map(|held| record(held, payload))
                .collect(),
            mirror: facts
                .checkpoint
                .as_ref()
                .map(|checkpoint| mirror(checkpoint, facts)),
            looked_at: facts.searched.iter().map(searched).collect(),
            advice: facts.class.map_or_else(
                || "check the id: neither side has it".to_owned(),
                |class| words::advice(class, why).to_owned(),
            ),
        }
    }
}

/// Of a test's making too, so it takes the data that is printed as JSON.
#[must_use]
pub fn text(shown: &Shown, look: Look) -> String {
    let mut page = look.page();
    let (word, paint) = match shown.class {
        None => ("? NEITHER SIDE HAS IT".to_owned(), Paint::Warn),
        Some(class) if class.is_fault() => (format!("≠ {class}"), Paint::Bad),
        Some(class @ (Class::Pending | Class::Unverifiable)) => (format!("? {class}"), Paint::Warn),
        Some(class) => (format!("= {class}"), Paint::Good),
    };
    page.ends(&shown.migration, &word, paint, "", "");
    let entry = format!("{}/{} {}", shown.database, shown.stream, shown.id);
    page.line("ENTRY", &entry, Paint::Plain);
    if let Some(difference) = &shown.difference {
        page.line("", &words::sentence(difference), Paint::Plain);
    }
    page.line("REDIS", &shown.redis.says, Paint::Plain);
    for (name, value) in shown.redis.fields.iter().flatten() {
        page.line("", &format!("{name} = {}", short(value)), Paint::Plain);
    }
    let says = format!("{}: {}", shown.route.name, shown.route.says);
    page.line("ROUTE", &says, Paint::Plain);
    payload(&mut page, shown.route.payload.as_ref());
    if shown.kafka.is_empty() {
        page.line("KAFKA", "no record names this entry", Paint::Plain);
    }
    for record in &shown.kafka {
        page.line("KAFKA", &record.says, Paint::Plain);
        payload(&mut page, record.payload.as_ref());
    }
    let mirror = shown.mirror.as_ref().map_or(
        "no checkpoint: this stream's mirror has not begun",
        |mirror| &mirror.says,
    );
    page.line("MIRROR", mirror, Paint::Plain);
    for looked in &shown.looked_at {
        page.line("LOOKED", looked, Paint::Plain);
    }
    page.line("DO", &shown.advice, Paint::Plain);
    page.finish()
}

fn payload(page: &mut Page, payload: Option<&Payload>) {
    let Some(payload) = payload else { return };
    let key = payload
        .key
        .as_ref()
        .map_or("none".to_owned(), |key| short(key));
    page.line("", &format!("key = {key}"), Paint::Plain);
    for (name, value) in &payload.headers {
        page.line(
            "",
            &format!("header {name} = {}", short(value)),
            Paint::Plain,
        );
    }
    if let Some(value) = &payload.value {
        page.line("", &format!("value = {}", short(value)), Paint::Plain);
    }
}

fn redis(redis: &Inspected, entry: Option<&Entry>, payload: bool) -> RedisShown {
    let stream = match redis {
        Inspected::Absent => "there is no such stream".to_owned(),
        Inspected::NotAStream(kind) => format!("the key is a {kind}, not a stream"),
        Inspected::Stream(state) => {
            let mut text = format!("the stream holds {}", entries(state.length));
            if let Some(first) = state.first {
                text.push_str(&format!(" from {first} to {}", state.last_generated_id));
            }
            if let Some(deleted) = state.max_deleted_entry_id.filter(|id| id.ms > 0) {
                text.push_str(&format!("; the highest that was deleted is {deleted}"));
            }
            text
        }
    };
    let says = match entry {
        Some(entry) => format!(
            "has it · {}, {} · {stream}",
            counted(entry.fields.len() as u64, "field"),
            counted(entry.bytes() as u64, "byte")
        ),
        None => format!("does not have it · {stream}"),
    };
    let fields = entry.filter(|_| payload).map(|entry| {
        let fields = entry.fields.iter();
        fields
            .map(|field| (shown(field.name), shown(field.value)))
            .collect()
    });
    RedisShown {
        holds: entry.is_some(),
        says,
        fields,
    }
}

fn route(name: &str, should: &Should, with_payload: bool) -> RouteShown {
    let (says, payload) = match should {
        Should::Nothing => ("there is no entry that it could place".to_owned(), None),
        Should::DeadLetter {
            topic,
            reason,
            detail,
        } => (
            // The detail names what is wrong with the entry, not what it holds.
            format!("makes it a dead letter in {topic} · {reason}: {detail}"),
            None,
        ),
        Should::Record {
            topic,
            partition,
            key,
            headers,
            value,
        } => (
            format!(
                "puts it in {topic}/{partition} · {}",
                sizes(key.as_deref(), Some(value), headers.len())
            ),
            Some(payload_of(key.as_deref(), Some(value), headers)),
        ),
    };
    RouteShown {
        name: name.to_owned(),
        says,
        payload: payload.filter(|_| with_payload),
    }
}

fn record(held: &Held, with_payload: bool) -> RecordShown {
    let own: Vec<(String, Vec<u8>)> = held
        .headers
        .iter()
        .filter(|(name, _)| !name.starts_with("redis-"))
        .cloned()
        .collect();
    let mut parts = vec![
        words::place(&held.topic, &held.at),
        sizes(held.key.as_deref(), held.value.as_deref(), own.len()),
    ];
    parts.extend(held.timestamp_ms.map(|ms| format!("dated {}", date(ms))));
    if own.iter().any(|(name, _)| name == "lockgate-repair") {
        parts.push("produced by a repair".to_owned());
    }
    let header = |wanted: &str| {
        let found = own.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| shown(value))
    };
    // A dead letter's reason is Lockgate's own word.
    let letter = held
        .value
        .as_deref()
        .is_some_and(|value| dead_letter::decode(value).is_ok());
    if letter && let Some(reason) = header("reason") {
        parts.push(format!("a dead letter: {reason}"));
    }
    RecordShown {
        topic: held.topic.clone(),
        at: held.at,
        says: parts.join(" · "),
        payload: with_payload.then(|| payload_of(held.key.as_deref(), held.value.as_deref(), &own)),
    }
}

fn sizes(key: Option<&[u8]>, value: Option<&[u8]>, headers: usize) -> String {
    let size = |part: Option<&[u8]>, name: &str| match part {
        Some(part) => format!("{name} of {}", counted(part.len() as u64, "byte")),
        None => format!("no {name}"),
    };
    format!(
        "{}, {}, {}",
        size(key, "key"),
        size(value, "value"),
        counted(headers as u64, "header")
    )
}

fn payload_of(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(String, Vec<u8>)]) -> Payload {
    Payload {
        key: key.map(shown),
        headers: headers
            .iter()
            .map(|(name, value)| (name.clone(), shown(value)))
            .collect(),
        value: value.map(shown),
    }
}

fn mirror(checkpoint: &Checkpoint, facts: &Facts) -> MirrorShown {
    let place = if facts.id <= checkpoint.began {
        "this entry lies before where the mirror began"
    } else if facts.id <= checkpoint.id {
        "this entry is mirrored"
    } else {
        "this entry comes later"
    };
    MirrorShown {
        checkpoint: checkpoint.id.to_string(),
        generation: checkpoint.generation,
        says: format!(
            "committed to {} in generation {} · {place}",
            checkpoint.id, checkpoint.generation
        ),
    }
}

fn searched(searched: &Searched) -> String {
    if searched.partitions == 0 {
        return format!("topic {}: there is none", searched.topic);
    }
    let from = searched.from_ms.map_or_else(
        || "all that is there".to_owned(),
        |ms| format!("from {} on", date(ms)),
    );
    format!(
        "topic {}: {}, {from}, {} read",
        searched.topic,
        counted(searched.partitions.into(), "partition"),
        counted(searched.records, "record")
    )
}

fn date(ms: i64) -> String {
    let since = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    moment(&humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since).to_string())
}

/// Bytes as text, control characters escaped.
fn shown(bytes: &[u8]) -> String {
    crate::entry::StreamName::from(bytes).to_string()
}

fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((at, _)) => format!(
            "{} (and {} more)",
            &text[..at],
            grouped(text[at..].chars().count() as u64)
        ),
    }
}

#[cfg(test)]
mod tests;
