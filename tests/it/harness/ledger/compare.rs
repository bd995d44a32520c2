//! What is held against what, in memory: entries that Redis has against records that Kafka has.
//!
//! An entry's identity is (stream, generation, id): the headers `redis-stream`, `redis-gen` (absent is 0) and `redis-id`.
//! Redis does not know generations, so of several generations of one id the newest answers for the entry; an older one
//! is a duplicate where it carries the same bytes, and extra (history that Redis lost) where it does not.

use std::collections::HashMap;

use super::report::{Class, Report};

/// An entry as Redis gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub stream: String,
    pub id: (u64, u64),
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The record that an entry must become. Headers without the three that give identity, in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub topic: String,
    pub partition: i32,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
    /// `None`: any.
    pub timestamp_ms: Option<i64>,
}

/// A record as Kafka gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub timestamp_ms: Option<i64>,
}

type Id = (u64, u64);

/// A record with its identity read from its headers.
struct Identified<'a> {
    record: &'a Record,
    generation: u64,
    headers: Vec<(&'a str, &'a [u8])>,
}

/// Holds every entry against every record. `expected` gives `None` for an entry that must have no record.
pub fn compare(
    entries: &[Entry],
    records: &[Record],
    expected: impl Fn(&Entry) -> Option<Expected>,
) -> Report {
    let mut report = Report {
        entries: entries.len(),
        records: records.len(),
        ..Report::default()
    };
    let mut by_entry: HashMap<(&str, Id), Vec<Identified<'_>>> = HashMap::new();
    for record in records {
        match identify(record) {
            Ok((stream, id, found)) => by_entry.entry((stream, id)).or_default().push(found),
            Err(why) => report.note(Class::Extra, format!("{}: {why}", place(record))),
        }
    }
    let mut standing = Vec::new();
    for entry in entries {
        let found = by_entry.remove(&(entry.stream.as_str(), entry.id));
        let name = name(&entry.stream, entry.id);
        match (expected(entry), found) {
            (None, None) => report.matching += 1,
            (None, Some(found)) => {
                for extra in found {
                    let text = format!("{name} should have no record: {}", place(extra.record));
                    report.note(Class::Extra, text);
                }
            }
            (Some(_), None) => report.note(Class::Missing, name),
            (Some(wanted), Some(found)) => {
                let newest = hold(&mut report, &name, &wanted, found);
                standing.push((newest, entry));
            }
        }
    }
    for ((stream, id), found) in by_entry {
        for extra in found {
            let text = format!(
                "{} is not in Redis: {}",
                name(stream, id),
                place(extra.record)
            );
            report.note(Class::Extra, text);
        }
    }
    hold_order(&mut report, standing);
    report
}

/// All records of one entry against what is expected; gives the one that answers for it.
fn hold<'a>(
    report: &mut Report,
    name: &str,
    wanted: &Expected,
    mut found: Vec<Identified<'a>>,
) -> &'a Record {
    found.sort_by_key(|one| (one.generation, one.record.offset));
    let newest_generation = found.last().expect("at least one").generation;
    let first_of_newest = found.partition_point(|one| one.generation < newest_generation);
    let standing = &found[first_of_newest];
    let before = report.faults.values().map(Vec::len).sum::<usize>();
    for (index, one) in found.iter().enumerate() {
        if index == first_of_newest {
            continue;
        }
        let same =
            one.record.key == standing.record.key && one.record.value == standing.record.value;
        let where_ = format!(
            "{name}, generation {}: {} and {}",
            one.generation,
            place(standing.record),
            place(one.record)
        );
        if one.generation == newest_generation || same {
            report.note(Class::Duplicate, where_);
        } else {
            report.note(Class::Extra, format!("lost history {where_}"));
        }
    }
    hold_bytes(report, name, wanted, standing);
    if report.faults.values().map(Vec::len).sum::<usize>() == before {
        report.matching += 1;
    }
    standing.record
}

fn hold_bytes(report: &mut Report, name: &str, wanted: &Expected, found: &Identified<'_>) {
    let record = found.record;
    let at = format!("{name} at {}", place(record));
    if (&wanted.topic, wanted.partition) != (&record.topic, record.partition) {
        let to = format!("{at}, expected {}[{}]", wanted.topic, wanted.partition);
        report.note(Class::Misplaced, to);
    }
    if wanted.key != record.key {
        let text = differ(wanted.key.as_deref(), record.key.as_deref());
        report.note(Class::Key, format!("{at}: {text}"));
    }
    if wanted.value != record.value {
        let text = differ(wanted.value.as_deref(), record.value.as_deref());
        report.note(Class::Value, format!("{at}: {text}"));
    }
    let mut headers: Vec<(&str, &[u8])> = wanted
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_slice()))
        .collect();
    headers.sort_unstable();
    if headers != found.headers {
        let show = |headers: &[(&str, &[u8])]| {
            let all: Vec<_> = headers
                .iter()
                .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)))
                .collect();
            all.join(" ")
        };
        let text = format!(
            "{at}: expected {}; found {}",
            show(&headers),
            show(&found.headers)
        );
        report.note(Class::Headers, text);
    }
    if wanted.timestamp_ms.is_some() && wanted.timestamp_ms != record.timestamp_ms {
        let text = format!(
            "{at}: expected {:?}, found {:?}",
            wanted.timestamp_ms, record.timestamp_ms
        );
        report.note(Class::Timestamp, text);
    }
}

/// In each partition the records of one stream and key must have rising ids.
fn hold_order(report: &mut Report, mut standing: Vec<(&Record, &Entry)>) {
    standing.sort_by_key(|(record, _)| (&record.topic, record.partition, record.offset));
    type Line<'a> = (&'a str, i32, &'a str, Option<&'a [u8]>);
    let mut greatest: HashMap<Line<'_>, (Id, i64)> = HashMap::new();
    for (record, entry) in standing {
        let line = (
            record.topic.as_str(),
            record.partition,
            entry.stream.as_str(),
            record.key.as_deref(),
        );
        let seen = greatest.entry(line).or_insert((entry.id, record.offset));
        if entry.id < seen.0 {
            let text = format!(
                "{} at {} comes after {}-{} at offset {}",
                name(&entry.stream, entry.id),
                place(record),
                seen.0.0,
                seen.0.1,
                seen.1
            );
            report.note(Class::Reordered, text);
        } else {
            *seen = (entry.id, record.offset);
        }
    }
}

fn identify(record: &Record) -> Result<(&str, Id, Identified<'_>), String> {
    let (mut stream, mut id, mut generation) = (None, None, None);
    let mut headers = Vec::new();
    for (name, value) in &record.headers {
        let slot = match name.as_str() {
            "redis-stream" => &mut stream,
            "redis-id" => &mut id,
            "redis-gen" => &mut generation,
            other => {
                headers.push((other, value.as_slice()));
                continue;
            }
        };
        let text = std::str::from_utf8(value).map_err(|_| format!("header {name} is no text"))?;
        if slot.replace(text).is_some() {
            return Err(format!("header {name} is there twice"));
        }
    }
    headers.sort_unstable();
    let stream = stream.ok_or("no header redis-stream")?;
    let id = id.ok_or("no header redis-id")?;
    let id = parse_id(id).ok_or_else(|| format!("redis-id `{id}` is no entry id"))?;
    let generation = match generation {
        None => 0,
        Some(text) => match text.parse() {
            Ok(0) | Err(_) => return Err(format!("redis-gen `{text}`")),
            Ok(number) => number,
        },
    };
    let found = Identified {
        record,
        generation,
        headers,
    };
    Ok((stream, id, found))
}

/// `5-1`; only the form that Redis itself writes.
pub fn parse_id(text: &str) -> Option<Id> {
    let (ms, seq) = text.split_once('-')?;
    let id = (ms.parse().ok()?, seq.parse().ok()?);
    (format!("{}-{}", id.0, id.1) == text).then_some(id)
}

fn name(stream: &str, id: Id) -> String {
    format!("{stream} {}-{}", id.0, id.1)
}

fn place(record: &Record) -> String {
    format!("{}[{}]@{}", record.topic, record.partition, record.offset)
}

/// The first place where two byte strings part.
fn differ(wanted: Option<&[u8]>, found: Option<&[u8]>) -> String {
    let (Some(wanted), Some(found)) = (wanted, found) else {
        let show = |bytes: Option<&[u8]>| {
            bytes.map_or("null".to_owned(), |b| format!("{} bytes", b.len()))
        };
        return format!("expected {}, found {}", show(wanted), show(found));
    };
    let at = wanted.iter().zip(found).take_while(|(a, b)| a == b).count();
    let show = |bytes: &[u8]| {
        let end = bytes.len().min(at + 40);
        String::from_utf8_lossy(&bytes[at..end]).into_owned()
    };
    format!(
        "from byte {at} expected `{}`, found `{}`",
        show(wanted),
        show(found)
    )
}
