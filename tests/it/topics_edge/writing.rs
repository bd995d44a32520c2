//! The transactional writer: it fences, it carries bytes, and it names what is refused.

use std::time::Duration;

use lockgate::placement::{Offset, Partition, Topic};
use lockgate::topics::{Admin, Error, From, Headers, Record, Refusal, Writer, read_partition};

use super::{TIMEOUT, client, noise, now_ms, runtime, send, topic, values};
use crate::harness::unique;

/// A younger writer fences the older one, and nothing of the older one's open transaction is ever seen.
#[test]
fn a_younger_writer_fences_the_older() {
    let kafka = client();
    let topic = topic(&kafka, "fence", 1, 1 << 20);
    let id = unique("lockgate.fence");
    let mut old = Writer::open(&kafka, &id, TIMEOUT).expect("open");
    old.begin().expect("begin");
    send(&mut old, &topic, 0, b"old, committed", 1).expect("send");
    old.commit(TIMEOUT).expect("commit");
    old.begin().expect("begin");
    send(&mut old, &topic, 0, b"old, open", 2).expect("send");
    std::thread::sleep(Duration::from_millis(200));

    let mut young = Writer::open(&kafka, &id, TIMEOUT).expect("open");
    let error = send(&mut old, &topic, 0, b"zombie", 3)
        .and_then(|()| old.commit(TIMEOUT))
        .expect_err("fenced");
    assert!(matches!(error, Error::Fenced), "{error:?}");
    // And so is one that was idle at the time.
    young.begin().expect("begin");
    send(&mut young, &topic, 0, b"young", 1).expect("send");
    young.commit(TIMEOUT).expect("commit");
    let _third = Writer::open(&kafka, &id, TIMEOUT).expect("open");
    let error = young
        .begin()
        .and_then(|()| send(&mut young, &topic, 0, b"zombie", 2))
        .and_then(|()| young.commit(TIMEOUT))
        .expect_err("fenced");
    assert!(matches!(error, Error::Fenced), "{error:?}");
    drop((old, young));
    assert_eq!(
        values(&kafka, &topic, 0),
        [b"old, committed".to_vec(), b"young".to_vec()]
    );
}

/// Absent and empty keys, values and headers arrive as they were sent.
#[test]
fn bytes_arrive_as_they_were_sent() {
    let kafka = client();
    let topic = topic(&kafka, "bytes", 1, 1 << 20);
    let mut writer = Writer::open(&kafka, &unique("lockgate.bytes"), TIMEOUT).expect("open");
    type Bytes<'a> = Option<&'a [u8]>;
    let cases: [(Bytes<'_>, Bytes<'_>); 5] = [
        (None, None),
        (Some(b""), Some(b"")),
        (None, Some(b"")),
        (Some(b""), None),
        (Some(b"\x00\xff"), Some(b"\xc3\x28")),
    ];
    // Not an hour old, or retention may take the records before they are read.
    let time_ms = now_ms() - 60_123;
    writer.begin().expect("begin");
    for (index, (key, value)) in cases.iter().enumerate() {
        let mut headers = Headers::with_capacity(3);
        headers.insert("redis-id", b"1-2");
        headers.insert("empty", b"");
        headers.insert("redis-id", b"\xff\x00");
        let record = Record {
            topic: &topic,
            partition: Partition(0),
            key: *key,
            value: *value,
            headers,
            timestamp_ms: time_ms,
        };
        writer.send(record, index as u64).expect("send");
    }
    writer.commit(TIMEOUT).expect("commit");
    let mut seen = Vec::new();
    let end = read_partition(
        &kafka,
        &topic,
        Partition(0),
        From::Beginning,
        TIMEOUT,
        |record| {
            assert_eq!(record.timestamp_ms, Some(time_ms));
            assert_eq!(record.header("redis-id"), Some(&b"\xff\x00"[..]));
            assert_eq!(record.header("none"), None);
            let headers: Vec<_> = record.headers().collect();
            assert_eq!(
                headers,
                [
                    ("redis-id", Some(&b"1-2"[..])),
                    ("empty", Some(&b""[..])),
                    ("redis-id", Some(&b"\xff\x00"[..]))
                ]
            );
            seen.push((
                record.key.map(<[u8]>::to_vec),
                record.value.map(<[u8]>::to_vec),
            ));
        },
    )
    .expect("read");
    let sent: Vec<_> = cases
        .iter()
        .map(|(key, value)| (key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec)))
        .collect();
    assert_eq!(seen, sent);
    assert_eq!(end, Offset(6), "five records and a marker");
}

/// A record that is refused is named: by the client before it harms the transaction, by the broker where it is alone at fault.
#[test]
fn a_refused_record_is_named() {
    let kafka = client();
    let topic = topic(&kafka, "refused", 2, 1 << 20);
    let id = unique("lockgate.refused");
    let mut writer = Writer::open(&kafka, &id, TIMEOUT).expect("open");

    // The client's own refusals leave the transaction as it was.
    writer.begin().expect("begin");
    send(&mut writer, &topic, 0, b"before", 1).expect("send");
    let error = send(&mut writer, &topic, 0, &vec![0; 17 << 20], 2).expect_err("too large");
    assert!(
        matches!(
            &error,
            Error::Refused {
                tag: Some(2),
                cause: Refusal::TooLarge,
                local: true,
                ..
            }
        ),
        "{error:?}"
    );
    send(&mut writer, &topic, 1, b"after", 3).expect("send");
    let error = send(&mut writer, &topic, 2, b"nowhere", 4).expect_err("no such partition");
    assert!(
        matches!(
            &error,
            Error::PartitionMissing {
                partition: Partition(2),
                ..
            }
        ),
        "{error:?}"
    );
    writer.commit(TIMEOUT).expect("commit");
    assert_eq!(values(&kafka, &topic, 0), [b"before".to_vec()]);
    assert_eq!(values(&kafka, &topic, 1), [b"after".to_vec()]);

    // The broker's refusal of a timestamp: its partition is named, and no wrong record.
    writer.begin().expect("begin");
    for tag in 0..100 {
        let record = Record {
            topic: &topic,
            partition: Partition(0),
            key: None,
            value: Some(b"x"),
            headers: Headers::default(),
            timestamp_ms: now_ms() + if tag == 42 { 7_200_000 } else { 0 },
        };
        writer.send(record, tag).expect("send");
    }
    let error = writer.commit(TIMEOUT).expect_err("refused");
    assert!(
        matches!(
            &error,
            Error::Refused {
                tag: None | Some(42),
                partition: Partition(0),
                cause: Refusal::Timestamp,
                local: false,
                ..
            }
        ),
        "{error:?}"
    );
    drop(writer);

    // Too large for the topic, though not for the client.
    let mut writer = Writer::open(&kafka, &id, TIMEOUT).expect("open");
    writer.begin().expect("begin");
    for tag in 0..10 {
        send(&mut writer, &topic, 1, b"small", tag).expect("send");
    }
    let noise = noise(2_000_000);
    send(&mut writer, &topic, 0, &noise, 77).expect("send");
    let error = writer.commit(TIMEOUT).expect_err("refused");
    assert!(
        matches!(
            &error,
            Error::Refused {
                tag: Some(77),
                cause: Refusal::TooLarge,
                local: false,
                partition: Partition(0),
                ..
            }
        ),
        "{error:?}"
    );
    // An abort makes the writer usable again.
    writer.abort().expect("abort");
    writer.begin().expect("begin");
    send(&mut writer, &topic, 1, b"again", 1).expect("send");
    writer.commit(TIMEOUT).expect("commit");
    assert_eq!(values(&kafka, &topic, 0), [b"before".to_vec()]);
    assert_eq!(
        values(&kafka, &topic, 1),
        [b"after".to_vec(), b"again".to_vec()]
    );
}

/// A topic that is not there is told as that, within seconds, and is not made by the asking.
#[test]
fn a_missing_topic_is_told() {
    let kafka = client();
    let missing = Topic::from(unique("missing"));
    let mut writer = Writer::open(&kafka, &unique("lockgate.missing"), TIMEOUT).expect("open");
    writer.begin().expect("begin");
    let error = send(&mut writer, &missing, 0, b"x", 1)
        .and_then(|()| writer.commit(TIMEOUT))
        .expect_err("no such topic");
    assert!(
        matches!(&error, Error::TopicMissing { topic, local: true } if *topic == missing),
        "{error:?}"
    );
    let error = read_partition(
        &kafka,
        &missing,
        Partition(0),
        From::Beginning,
        TIMEOUT,
        |_| (),
    )
    .expect_err("no such topic");
    assert!(matches!(&error, Error::TopicMissing { .. }), "{error:?}");
    let found = runtime().block_on(async {
        Admin::new(&kafka)
            .expect("admin")
            .describe(std::slice::from_ref(&missing))
            .await
            .expect("describe")
    });
    assert!(found.is_empty(), "asking for a topic made it");
}

/// A record of many megabytes is written and read like any other, though it is larger than what one fetch asks for.
#[test]
fn a_large_record_passes() {
    let kafka = client();
    let topic = topic(&kafka, "large", 1, 16 << 20);
    let mut writer = Writer::open(&kafka, &unique("lockgate.large"), TIMEOUT).expect("open");
    let value = noise(12_000_000);
    writer.begin().expect("begin");
    send(&mut writer, &topic, 0, b"before", 1).expect("send");
    send(&mut writer, &topic, 0, &value, 2).expect("send");
    send(&mut writer, &topic, 0, b"after", 3).expect("send");
    writer.commit(TIMEOUT).expect("commit");
    let read = values(&kafka, &topic, 0);
    assert_eq!(
        read.iter().map(Vec::len).collect::<Vec<_>>(),
        [6, 12_000_000, 5]
    );
    assert!(read[1] == value);
}
