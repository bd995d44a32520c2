//! What is measured in earnest: groups' lags in entries, what a Prometheus answers, and what was pushed before a restart.

use std::time::Duration;

use lockgate::config::{Asked, Prometheus as Asking, Query, Secret};
use lockgate::migration::driver::now_ms;
use lockgate::migration::gate::{Answer, Measure, Reading, Sample};
use lockgate::migration::phase::Step;
use lockgate::migration::step::{Ask, Name};
use lockgate::placement::{Partition, Topic};
use lockgate::topics::{Group, GroupLag, Headers, Kafka, Record, Writer};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::site::{LONG, Site, runtime, who};
use crate::harness::{
    PROMETHEUS_USER, Prometheus, Rules, Scratch, eventually_async, kafka, make_certificates, unique,
};

/// Writes so many records into a partition, in transactions of so many.
pub fn write(client: &Kafka, topic: &str, partition: i32, records: usize, together: usize) {
    let mut writer = Writer::open(client, &unique("writer"), LONG).expect("opened");
    let topic = Topic::from(topic);
    for transaction in 0..records.div_ceil(together) {
        writer.begin().expect("begun");
        let left = records - transaction * together;
        for tag in 0..left.min(together) {
            let record = Record {
                topic: &topic,
                partition: Partition(partition),
                key: None,
                value: Some(b"x"),
                headers: Headers::default(),
                timestamp_ms: 0,
            };
            writer.send(record, tag as u64).expect("sent");
        }
        writer.commit(LONG).expect("committed");
    }
}

/// Commits a group's offset, as one of its workers would.
pub fn commit(group: &str, topic: &str, partition: i32, offset: i64) {
    let mut client = kafka().client();
    client.set("group.id", group);
    let consumer: BaseConsumer = client.create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset))
        .expect("an offset");
    consumer.commit(&list, CommitMode::Sync).expect("committed");
}

/// Where a partition ends, markers counted.
pub fn end(topic: &str, partition: i32) -> i64 {
    let consumer: BaseConsumer = kafka().client().create().expect("a consumer");
    let ends = consumer.fetch_watermarks(topic, partition, LONG);
    ends.expect("an end").1
}

#[test]
fn a_groups_lag_is_in_entries_and_what_was_never_committed_is_not_nothing() {
    let site = Site::new("grouplag");
    let (topic, name) = (site.topic.clone(), unique("workers"));
    kafka().create_topic(&topic, 3, &[]);
    let client = site.kafka();
    let mut group = Group::new(&client, &name, LONG).expect("a group");
    let place = |partition| (Topic::from(topic.as_str()), Partition(partition));
    let mut lag = |places: &[(Topic, Partition)]| group.lag(places).expect("an answer");
    assert_eq!(
        lag(&[place(0), place(1)]),
        GroupLag {
            exact: true,
            ..GroupLag::default()
        },
        "nothing was ever written: nothing is behind"
    );

    let began = now_ms();
    write(&client, &topic, 0, 6, 2);
    assert_eq!(end(&topic, 0), 9, "three markers");
    assert_eq!(lag(&[place(0)]).uncommitted, [place(0)]);
    commit(&name, &topic, 0, 0);
    let behind = lag(&[place(0), place(1)]);
    assert_eq!((behind.entries, behind.exact), (6, true));
    assert_eq!(behind.uncommitted, []);
    let recent = |oldest: Option<i64>| oldest.is_some_and(|ms| (began..=now_ms()).contains(&ms));
    assert!(recent(behind.oldest_ms), "{behind:?} since {began}");
    commit(&name, &topic, 0, 4);
    assert_eq!(
        lag(&[place(0)]).entries,
        3,
        "one was done, and a marker passed"
    );
    commit(&name, &topic, 0, 8);
    let level = lag(&[place(0)]);
    assert_eq!(
        (level.entries, level.oldest_ms),
        (0, None),
        "only the last marker is left"
    );
    assert_eq!(
        lag(&[place(0)]).entries,
        0,
        "and that is so at the next look"
    );

    write(&client, &topic, 1, 1, 1);
    let behind = lag(&[place(0), place(1)]);
    assert_eq!((behind.entries, behind.uncommitted), (0, vec![place(1)]));
    commit(&name, &topic, 0, 100);
    assert_eq!(lag(&[place(0)]).beyond, [place(0)]);

    write(&client, &topic, 2, 20_001, 20_001);
    commit(&name, &topic, 2, 0);
    let behind = lag(&[place(2)]);
    assert_eq!((behind.entries, behind.exact), (20_002, false), "a bound");
    assert!(recent(behind.oldest_ms), "of the first records alone");
    commit(&name, &topic, 2, 3);
    let behind = lag(&[place(2)]);
    assert_eq!((behind.entries, behind.exact), (19_998, true), "counted");
}

fn counted(at_ms: i64) -> Sample {
    Sample {
        measure: Measure::AddedLatency,
        reading: Reading::Counted {
            faults: 0,
            total: 10_000,
            since_ms: at_ms,
        },
        at_ms,
    }
}

#[test]
fn what_was_pushed_survives_a_restart_with_its_age() {
    runtime().block_on(async {
        let mut site = Site::new("pushed");
        site.real = &[Measure::AddedLatency];
        let one = site.start("one");
        one.at(Step::SHADOW, Name::Steady).await;
        let nothing = one.gate("added-latency").expect("a gate");
        assert_eq!(nothing.verdict, Answer::Inconclusive);
        let pushed = counted(now_ms());
        let ask = Ask::Evidence(pushed.clone());
        one.handle.ask(who(), ask).await.expect("taken");
        // It was answered, so it is stored: even who dies now has not lost it.
        one.kill();

        let two = site.start("two");
        eventually_async(LONG, "the gate passes on it", async || {
            let gate = two.gate("added-latency").ok_or("no gate")?;
            (gate.verdict == Answer::Pass)
                .then_some(())
                .ok_or(gate.reason)
        })
        .await;
        let state = two.state().expect("known");
        assert_eq!(state.pushed.get(&Measure::AddedLatency), Some(&pushed));

        let old = Sample {
            at_ms: now_ms() - 16_000,
            ..counted(now_ms())
        };
        two.handle
            .ask(who(), Ask::Evidence(old))
            .await
            .expect("taken");
        eventually_async(LONG, "what is too old shows nothing", async || {
            let gate = two.gate("added-latency").ok_or("no gate")?;
            let old = gate.verdict == Answer::Inconclusive && gate.reason.contains("old");
            old.then_some(()).ok_or(gate.reason)
        })
        .await;
        two.stop().await;
    });
}

fn query(measure: Asked, value: &str) -> Query {
    Query {
        measure,
        value: Some(value.to_owned()),
        faults: None,
        total: None,
        buckets: None,
        window: Duration::from_millis(1),
    }
}

/// Of 12 345 that were counted 45 took longer than 7 ms.
fn latency(measure: Asked) -> Query {
    let bucket =
        |le: &str, count: f64| format!(r#"label_replace(vector({count}), "le", "{le}", "", "")"#);
    let all = [bucket("0.007", 12_300.2), bucket("+Inf", 12_345.9)];
    Query {
        value: None,
        buckets: Some(all.join(" or ")),
        ..query(measure, "")
    }
}

#[test]
fn a_guarded_prometheus_is_asked_by_tls_and_by_name() {
    runtime().block_on(async {
        let folder = Scratch::new("guarded");
        make_certificates(folder.path());
        let server = Prometheus::guarded(folder.path());
        let (user, password, _) = PROMETHEUS_USER;
        let known = Asking {
            url: Some(server.url()),
            tls_ca_file: Some(folder.path().join("ca.pem")),
            username: Some(user.to_owned()),
            password: Some(Secret::new(password)),
            every: Duration::from_millis(100),
            timeout: Duration::from_secs(10),
            queries: vec![query(Asked::Throughput, "vector(812)")],
            ..Asking::default()
        };
        let stranger = Asking {
            password: Some(Secret::new("another")),
            ..known.clone()
        };
        let elsewhere = Asking {
            tls_ca_file: Some(folder.path().join("client.pem")),
            ..known.clone()
        };
        for (name, asking, expected) in [
            ("known", known, Ok(812.0)),
            ("stranger", stranger, Err("refuses who asks (401)")),
            ("elsewhere", elsewhere, Err("certificate")),
        ] {
            let mut site = Site::new(&format!("promtls{name}"));
            site.real = &[Measure::Throughput];
            site.prometheus = asking;
            let running = site.start("one");
            eventually_async(LONG, name, async || {
                let all = running.handle.measurements.all();
                let found = all.iter().find(|one| one.measure == Measure::Throughput);
                match (found.map(|sample| &sample.reading), &expected) {
                    (Some(Reading::Value(value)), Ok(expected)) if value == expected => Ok(()),
                    (Some(Reading::Unknown(why)), Err(word)) if why.contains(word) => Ok(()),
                    (other, _) => Err(format!("{other:?}")),
                }
            })
            .await;
            running.stop().await;
        }
    });
}

#[test]
fn a_prometheus_is_asked_and_what_it_cannot_say_opens_nothing() {
    runtime().block_on(async {
        let server = Prometheus::watching(&[], Rules::AsTheyAre);
        let mut site = Site::new("promql");
        site.real = &[
            Measure::AddedLatency,
            Measure::EndToEnd,
            Measure::ErrorRate,
            Measure::ProduceErrors,
            Measure::Throughput,
            Measure::Disk,
            Measure::ReplicationLag,
        ];
        site.config.evidence_freshness = Duration::from_secs(2);
        site.config.gates.added_latency = Duration::from_millis(7);
        site.prometheus = Asking {
            url: Some(server.url()),
            every: Duration::from_millis(100),
            queries: vec![
                query(Asked::Throughput, "vector(812)"),
                query(Asked::Disk, "no_such_series"),
                query(Asked::ReplicationLag, "sum(("),
                Query {
                    faults: Some("vector(3)".to_owned()),
                    total: Some("vector(1000)".to_owned()),
                    value: None,
                    ..query(Asked::ErrorRate, "")
                },
                Query {
                    faults: Some("vector(0)".to_owned()),
                    total: Some("vector(999.9)".to_owned()),
                    value: None,
                    ..query(Asked::ProduceErrors, "")
                },
                latency(Asked::AddedLatency),
                latency(Asked::EndToEnd),
            ],
            ..Asking::default()
        };
        let running = site.start("one");
        running.at(Step::SHADOW, Name::Steady).await;
        let says = |measure| {
            let all = running.handle.measurements.all();
            let found = all.into_iter().find(|sample| sample.measure == measure);
            found.map(|sample| sample.reading)
        };
        eventually_async(LONG, "all of them are asked", async || {
            let gate = running.gate("added-latency").ok_or("no gate")?;
            let asked = says(Measure::EndToEnd).is_some();
            (gate.verdict == Answer::Pass && gate.samples == 12_345 && asked)
                .then_some(())
                .ok_or(gate.reason)
        })
        .await;
        let gate = running.gate("added-latency").expect("a gate");
        assert_eq!(
            (gate.unit.as_str(), gate.threshold),
            ("share over 7ms", 0.05)
        );
        assert_eq!(gate.value, Some(45.0 / 12_345.0));
        assert_eq!(says(Measure::Throughput), Some(Reading::Value(812.0)));
        let counts = |measure| match says(measure) {
            Some(Reading::Counted { faults, total, .. }) => Some((faults, total)),
            _ => None,
        };
        assert_eq!(counts(Measure::ProduceErrors), Some((0, 999)));
        assert_eq!(counts(Measure::ErrorRate), Some((3, 1_000)));
        let unknown = |measure, word: &str| {
            let reading = says(measure);
            let told = matches!(&reading, Some(Reading::Unknown(why)) if why.contains(word));
            assert!(told, "{reading:?}");
        };
        unknown(Measure::Disk, "no series");
        unknown(Measure::ReplicationLag, "parse error");
        unknown(Measure::EndToEnd, "no bucket ends at the threshold 100ms");

        drop(server);
        eventually_async(
            LONG,
            "without an answer the gate says nothing",
            async || {
                let gate = running.gate("added-latency").ok_or("no gate")?;
                (gate.verdict == Answer::Inconclusive && gate.reason.contains("Prometheus"))
                    .then_some(())
                    .ok_or(gate.reason)
            },
        )
        .await;
        running.stop().await;
    });
}
