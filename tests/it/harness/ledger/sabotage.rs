//! The ledger is shown to find each kind of fault: one that passes everything would make every crash test worthless.

use super::compare::{Entry, Expected, Record, compare};
use super::report::{Class, Report};

const TOPIC: &str = "t";

/// Entries 1-0, 2-0, 3-0 of one stream; all of one key.
fn entries() -> Vec<Entry> {
    (1..=3)
        .map(|ms| Entry {
            stream: "s".to_owned(),
            id: (ms, 0),
            fields: vec![(b"data".to_vec(), format!("value {ms}").into_bytes())],
        })
        .collect()
}

fn expected(entry: &Entry) -> Option<Expected> {
    Some(Expected {
        topic: TOPIC.to_owned(),
        partition: 1,
        key: Some(b"k".to_vec()),
        value: Some(entry.fields[0].1.clone()),
        headers: vec![("h".to_owned(), b"1".to_vec())],
        timestamp_ms: Some(i64::try_from(entry.id.0).unwrap()),
    })
}

/// What a faultless mirror makes of them.
fn records() -> Vec<Record> {
    (1..=3).map(|ms| record(ms, ms)).collect()
}

fn record(ms: i64, offset: i64) -> Record {
    Record {
        topic: TOPIC.to_owned(),
        partition: 1,
        offset,
        key: Some(b"k".to_vec()),
        value: Some(format!("value {ms}").into_bytes()),
        headers: vec![
            ("redis-stream".to_owned(), b"s".to_vec()),
            ("redis-id".to_owned(), format!("{ms}-0").into_bytes()),
            ("h".to_owned(), b"1".to_vec()),
        ],
        timestamp_ms: Some(ms),
    }
}

fn set_header(record: &mut Record, name: &str, value: &str) {
    record.headers.retain(|(found, _)| found != name);
    let header = (name.to_owned(), value.as_bytes().to_vec());
    record.headers.insert(0, header);
}

fn judge(change: impl FnOnce(&mut Vec<Entry>, &mut Vec<Record>)) -> Report {
    let (mut entries, mut records) = (entries(), records());
    change(&mut entries, &mut records);
    compare(&entries, &records, expected)
}

/// Exactly this fault and no other.
#[track_caller]
fn finds(class: Class, count: usize, change: impl FnOnce(&mut Vec<Entry>, &mut Vec<Record>)) {
    let report = judge(change);
    assert_eq!(report.of(class), count, "{report}");
    assert_eq!(report.faults.len(), 1, "{report}");
    assert!(!report.is_level());
}

#[test]
fn a_faultless_mirror_is_level() {
    let report = judge(|_, _| {});
    report.assert_level();
    assert_eq!((report.entries, report.records, report.matching), (3, 3, 3));
}

#[test]
fn nothing_against_nothing_is_no_pass() {
    let report = judge(|entries, records| {
        entries.clear();
        records.clear();
    });
    assert_eq!(report.verdict(), Err("nothing was compared".to_owned()));
}

#[test]
fn a_lost_record_is_missing() {
    finds(Class::Missing, 1, |_, records| {
        records.remove(1);
    });
}

#[test]
fn a_record_without_an_entry_is_extra() {
    finds(Class::Extra, 1, |entries, _| {
        entries.remove(1);
    });
    finds(Class::Extra, 1, |_, records| {
        let mut foreign = record(1, 9);
        foreign.headers.clear();
        records.push(foreign);
    });
    finds(Class::Extra, 1, |_, records| {
        let mut unreadable = record(1, 9);
        set_header(&mut unreadable, "redis-id", "01-0");
        records.push(unreadable);
    });
    finds(Class::Extra, 1, |_, records| {
        let mut twice = record(1, 9);
        twice.headers.push(twice.headers[0].clone());
        records.push(twice);
    });
}

#[test]
fn an_entry_that_must_have_no_record_is_extra_when_it_has_one() {
    let without = |entry: &Entry| expected(entry).filter(|_| entry.id.0 != 2);
    let report = compare(&entries(), &records(), without);
    assert_eq!((report.of(Class::Extra), report.faults.len()), (1, 1));
}

#[test]
fn a_record_written_again_is_a_duplicate() {
    finds(Class::Duplicate, 1, |_, records| records.push(record(3, 9)));
    finds(Class::Duplicate, 2, |_, records| {
        records.extend([record(2, 8), record(2, 9)]);
    });
}

#[test]
fn a_new_generation_of_the_same_bytes_is_a_duplicate() {
    finds(Class::Duplicate, 1, |_, records| {
        let mut again = record(3, 9);
        set_header(&mut again, "redis-gen", "1");
        records.push(again);
    });
}

#[test]
fn history_that_redis_lost_is_extra_and_the_new_generation_answers() {
    finds(Class::Extra, 1, |_, records| {
        records[2].value = Some(b"before the failover".to_vec());
        let mut again = record(3, 9);
        set_header(&mut again, "redis-gen", "1");
        records.push(again);
    });
    let report = judge(|_, records| set_header(&mut records[2], "redis-gen", "2"));
    report.assert_level();
    finds(Class::Extra, 1, |_, records| {
        let mut never_zero = record(3, 9);
        set_header(&mut never_zero, "redis-gen", "0");
        records.push(never_zero);
    });
}

#[test]
fn records_of_one_key_out_of_order_are_found() {
    finds(Class::Reordered, 1, |_, records| {
        records[0].offset = 2;
        records[1].offset = 1;
    });
    finds(Class::Reordered, 2, |_, records| records[2].offset = 0);
}

#[test]
fn another_partition_or_topic_is_misplaced() {
    finds(Class::Misplaced, 1, |_, records| records[1].partition = 0);
    finds(Class::Misplaced, 1, |_, records| {
        records[1].topic = "other".to_owned();
    });
}

#[test]
fn altered_bytes_are_found_each_for_itself() {
    finds(Class::Value, 1, |_, records| {
        records[0].value = Some(b"value  1".to_vec());
    });
    finds(Class::Value, 1, |_, records| records[0].value = None);
    finds(Class::Key, 1, |_, records| records[0].key = None);
    finds(Class::Key, 1, |_, records| {
        records[0].key = Some(b"K".to_vec());
    });
    finds(Class::Headers, 1, |_, records| {
        set_header(&mut records[0], "h", "2");
    });
    finds(Class::Headers, 1, |_, records| {
        records[0].headers.push(("h".to_owned(), b"1".to_vec()));
    });
    finds(Class::Headers, 1, |_, records| {
        records[0].headers.pop();
    });
    finds(Class::Timestamp, 1, |_, records| {
        records[0].timestamp_ms = Some(2);
    });
}

#[test]
fn a_report_names_what_it_found() {
    let report = judge(|_, records| {
        records.remove(0);
    });
    let text = report.to_string();
    assert!(text.contains("Missing: 1"), "{text}");
    assert!(text.contains("s 1-0"), "{text}");
}
