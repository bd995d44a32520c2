//! The ledger against real stores: a mirror made by hand is level, and each hand-made fault in Kafka is found.

use std::time::{Duration, Instant};

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::harness::{
    Class, Entry, Expected, Ledger, Workload, eventually, kafka, messages, redis, unique,
};

const LONG: Duration = Duration::from_secs(30);

/// A transactional producer of the test's own.
fn producer() -> BaseProducer {
    let mut config = kafka().client();
    config
        .set("transactional.id", unique("by-hand"))
        .set("linger.ms", "5");
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(LONG).unwrap();
    producer
}

fn produce(producer: &BaseProducer, entry: &Entry, record: &Expected) {
    let id = format!("{}-{}", entry.id.0, entry.id.1);
    let mut headers = OwnedHeaders::new();
    let identity = [
        ("redis-stream", entry.stream.as_bytes()),
        ("redis-id", id.as_bytes()),
    ];
    let own = record
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_slice()));
    for (key, value) in identity.into_iter().chain(own) {
        headers = headers.insert(Header {
            key,
            value: Some(value),
        });
    }
    let message = BaseRecord::to(&record.topic)
        .partition(record.partition)
        .key(record.key.as_deref().unwrap())
        .payload(record.value.as_deref().unwrap())
        .timestamp(record.timestamp_ms.unwrap())
        .headers(headers);
    producer.send(message).map_err(|(error, _)| error).unwrap();
}

fn in_transaction(producer: &BaseProducer, commit: bool, work: impl FnOnce()) {
    producer.begin_transaction().unwrap();
    work();
    eventually(LONG, "all is delivered", || {
        producer.poll(Duration::ZERO);
        producer.in_flight_count() == 0
    });
    if commit {
        producer.commit_transaction(LONG).unwrap();
    } else {
        producer.abort_transaction(LONG).unwrap();
    }
}

#[test]
fn a_mirror_by_hand_is_level_until_it_is_sabotaged() {
    let url = redis().url(redis().own_database());
    let topic = unique("by-hand");
    kafka().create_topic(&topic, 16, &[]);
    let added = Workload::new(1).add(&url, 0, 20_000);
    assert_eq!((added.count, added.unknown), (20_000, 0));

    let bootstrap = kafka().bootstrap();
    let mut ledger = Ledger::messages(&url, &bootstrap, &topic);
    let report = ledger.look();
    assert_eq!(report.of(Class::Missing), 20_000);
    assert_eq!(report.faults.len(), 1);

    let producer = producer();
    let entries = ledger.entries();
    let mirror = |entry: &Entry| produce(&producer, entry, &messages::expected(&topic, entry));
    in_transaction(&producer, false, || entries[..500].iter().for_each(mirror));
    assert_eq!(ledger.look().records, 0, "aborted records do not count");
    in_transaction(&producer, true, || entries.iter().for_each(mirror));
    let begin = Instant::now();
    ledger.settle(LONG).assert_level();
    println!("a ledger of 20 000 entries: {:?}", begin.elapsed());

    let other = unique("elsewhere");
    kafka().create_topic(&other, 16, &[]);
    let mut wide = Ledger::new(&url, &messages::streams(), &bootstrap, &[&topic, &other], {
        let topic = topic.clone();
        move |entry: &Entry| Some(messages::expected(&topic, entry))
    });
    in_transaction(&producer, true, || {
        let (first, second) = (&entries[0], &entries[1]);
        produce(&producer, first, &messages::expected(&topic, first));
        produce(&producer, second, &messages::expected(&other, second));
    });
    let report = ledger.look();
    assert_eq!(report.of(Class::Duplicate), 1, "{report}");
    assert_eq!(report.faults.len(), 1, "{report}");
    let report = wide.look();
    assert_eq!(report.of(Class::Duplicate), 2, "{report}");
}
