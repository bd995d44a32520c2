//! Where a read begins and ends, and topics as they are made and compared.

use std::ops::ControlFlow;
use std::time::Duration;

use lockgate::placement::{Offset, Partition, Topic};
use lockgate::topics::{
    Admin, Difference, From, Headers, Record, TopicSpec, Writer, plan, read_partition,
    read_partitions,
};

use super::{TIMEOUT, client, now_ms, runtime, send, topic, values};
use crate::harness::unique;

/// Reading ends at the end as it was when asked, from wherever it begins, markers and aborted records or not.
#[test]
fn reading_ends_where_it_should() {
    let kafka = client();
    let topic = topic(&kafka, "read", 3, 1 << 20);
    assert_eq!(values(&kafka, &topic, 0), Vec::<Vec<u8>>::new());
    let mut writer = Writer::open(&kafka, &unique("lockgate.read"), TIMEOUT).expect("open");
    let base = now_ms() - 1_000_000;
    for round in 0..5 {
        writer.begin().expect("begin");
        for n in 0..10 {
            let record = Record {
                topic: &topic,
                partition: Partition(n % 2),
                key: None,
                value: Some(&[u8::try_from(round).expect("small")]),
                headers: Headers::default(),
                timestamp_ms: base + i64::from(round) * 1000,
            };
            writer.send(record, 0).expect("send");
        }
        if round == 4 {
            writer.abort().expect("abort");
        } else {
            writer.commit(TIMEOUT).expect("commit");
        }
    }
    // Partition 0: five records and a marker in each of five rounds, the last aborted (perhaps without a record).
    let read = |from| {
        let mut offsets = Vec::new();
        let end = read_partition(&kafka, &topic, Partition(0), from, TIMEOUT, |r| {
            offsets.push(r.offset.0)
        })
        .expect("read");
        (offsets, end)
    };
    let (offsets, end) = read(From::Beginning);
    assert_eq!(offsets.len(), 20);
    assert!(end.0 >= 24, "{end}");
    assert_eq!(read(From::Offset(Offset(6))).0, offsets[5..]);
    assert_eq!(read(From::Offset(Offset(23))).0, Vec::<i64>::new());
    assert_eq!(read(From::Offset(end)), (vec![], end));
    // A marker carries the time of its commit: the place found may be earlier than the first such record, never later.
    let (later, later_end) = read(From::TimeMs(base + 2000));
    assert!(
        later.ends_with(&offsets[10..]) && later_end == end,
        "{later:?}"
    );
    assert_eq!(read(From::TimeMs(now_ms() + 60_000)), (vec![], end));

    let all: Vec<_> = (0..3).map(|p| (Partition(p), From::Beginning)).collect();
    let mut counts = [0; 3];
    let ends = read_partitions(&kafka, &topic, &all, TIMEOUT, |record| {
        counts[usize::try_from(record.partition.0).expect("not negative")] += 1;
        ControlFlow::Continue(())
    })
    .expect("read");
    assert_eq!(counts, [20, 20, 0]);
    assert_eq!(ends[0], (Partition(0), end));
    assert_eq!(ends[2], (Partition(2), Offset(0)));
    let mut seen = 0;
    let broken = read_partitions(&kafka, &topic, &all[..1], TIMEOUT, |_| {
        seen += 1;
        if seen == 7 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .expect("read");
    assert_eq!(broken, [(Partition(0), Offset(offsets[6] + 1))]);
}

/// An open transaction of another writer does not hold a read back: it ends before that transaction.
#[test]
fn an_open_transaction_ends_the_read_before_it() {
    let kafka = client();
    let topic = topic(&kafka, "open", 1, 1 << 20);
    let mut other = Writer::open(&kafka, &unique("lockgate.other"), TIMEOUT).expect("open");
    let mut writer = Writer::open(&kafka, &unique("lockgate.open"), TIMEOUT).expect("open");
    writer.begin().expect("begin");
    send(&mut writer, &topic, 0, b"first", 1).expect("send");
    writer.commit(TIMEOUT).expect("commit");
    other.begin().expect("begin");
    send(&mut other, &topic, 0, b"undecided", 1).expect("send");
    std::thread::sleep(Duration::from_millis(100));
    writer.begin().expect("begin");
    send(&mut writer, &topic, 0, b"behind it", 1).expect("send");
    writer.commit(TIMEOUT).expect("commit");
    assert_eq!(values(&kafka, &topic, 0), [b"first".to_vec()]);
    other.commit(TIMEOUT).expect("commit");
    assert_eq!(values(&kafka, &topic, 0).len(), 3);
}

/// Topics are made as specified, and what differs is told.
#[test]
fn topics_are_made_and_compared() {
    let kafka = client();
    runtime().block_on(async {
        let admin = Admin::new(&kafka).expect("admin");
        let brokers = admin.brokers().await.expect("brokers");
        let names: Vec<Topic> = (0..3).map(|_| Topic::from(unique("spec"))).collect();
        let specs: Vec<TopicSpec> = [
            TopicSpec::records(
                names[0].clone(),
                4,
                Duration::from_secs(3600),
                Some(1 << 30),
                100_000,
            ),
            TopicSpec::dead_letters(names[1].clone(), 1),
            TopicSpec::checkpoints(names[2].clone(), 2),
        ]
        .into_iter()
        .map(|spec| spec.for_cluster(None, brokers.len()))
        .collect();
        let before = admin.describe(&names).await.expect("describe");
        assert_eq!(plan(&specs, &before).len(), 3);
        admin.create(&specs).await.expect("create");
        admin.create(&specs).await.expect("created already");
        let after = admin.describe(&names).await.expect("describe");
        assert_eq!(plan(&specs, &after), []);
        admin.add_partitions(&names[0], 6).await.expect("add");
        let after = admin.describe(&names).await.expect("describe");
        assert_eq!(
            plan(&specs, &after),
            [Difference::Partitions {
                topic: names[0].clone(),
                wanted: 4,
                actual: 6
            }]
        );
        assert_eq!(
            admin.layouts(&names).await.expect("layouts")[&names[0]].partition_count(),
            6
        );
        assert!(admin.add_partitions(&names[0], 2).await.is_err());
    });
}
