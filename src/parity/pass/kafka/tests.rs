//! Whose a record is, and what is kept of it, without any store.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::Scope;
use super::*;
use crate::config;
use crate::placement::KafkaBorn;
use crate::routing::Routes;
use crate::streams::Redis;
use crate::topics::{Admin, Kafka};

/// Clients that connect nowhere; what is known at once, and what is told when it is asked for.
fn edges(known: Born, told: Born) -> Arc<Edges> {
    let asked = AtomicBool::new(false);
    let source = move || {
        if !asked.swap(true, Ordering::Relaxed) {
            return (known, None);
        }
        (told, Some(Instant::now()))
    };
    #[derive(serde::Deserialize)]
    struct File {
        routes: Vec<config::Route>,
    }
    let text = "[[routes]]\nname='r'\nstreams=['s']\ntopic='t'\npartitions=1\nvalue={field='v'}\n\
        [[routes]]\nname='q'\nstreams=['moved','never']\ntopic='u'\npartitions=1\nvalue={field='v'}";
    let file: File = toml::from_str(text).expect("a route");
    let kafka = Kafka::new(&config::Kafka::default()).expect("a client of Kafka");
    Arc::new(Edges {
        migration: "m".to_owned(),
        routes: Arc::new(Routes::compile("m", &file.routes, Database(0)).expect("a route")),
        redis: Redis::new(&config::Redis::default()).expect("a client of Redis"),
        admin: Admin::new(&kafka).expect("a client of Kafka"),
        kafka,
        kafka_born: Box::new(source),
        told_every: Duration::ZERO,
    })
}

/// A pass that has counted what stands before offset 5.
fn pass(letters: bool) -> Pass {
    let extent = Extent {
        partition: Partition(0),
        low: Offset(0),
        start: Offset(0),
        next: Offset(0),
        end: Offset(9),
        counted: Offset(5),
        intact: false,
    };
    let topic = TopicPass {
        topic: "t".to_owned(),
        letters,
        answers: true,
        extents: vec![extent],
    };
    Pass::new(0, Vec::new(), vec![topic])
}

/// Takes a record without headers of this offset; gives how many are extra and Kafka-born, and what is read next.
fn taken(pass: &mut Pass, born: Born, offset: i64) -> Result<(u64, u64, i64), Error> {
    taken_with(pass, &edges(born, born), offset)
}

fn taken_with(pass: &mut Pass, edges: &Arc<Edges>, offset: i64) -> Result<(u64, u64, i64), Error> {
    let (mut census, stop) = (Census::default(), CancellationToken::new());
    let record = RecordView::unnamed(Partition(0), Offset(offset), 1_000_000);
    Reading::new(pass, 0, edges, &mut census).take(&record, &stop)?;
    let extra = pass.strays.of_route("").total();
    let born = pass.strays.kafka_born.values().sum();
    Ok((extra, born, pass.topics[0].extents[0].next.0))
}

#[tokio::test]
async fn a_record_that_names_nothing_is_judged_by_nobody_before_it_is_known_who_may_write() {
    let mut here = pass(false);
    let refused = taken(&mut here, Born::NotKnown, 7);
    assert!(
        matches!(
            refused,
            Err(Error::NotTold {
                offset: Offset(7),
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(
        here.topics[0].extents[0].next,
        Offset(0),
        "it is read again"
    );
    assert_eq!(here.kafka_records, 0);
    let open = Born::In(KafkaBorn::opened(None, 1_000_000));
    assert_eq!(taken(&mut here, open, 7).expect("it is known"), (0, 1, 8));
    let never = taken(&mut pass(false), Born::Never, 7);
    assert_eq!(never.expect("it is known"), (1, 0, 8));
}

#[tokio::test]
async fn before_a_record_is_called_somebody_elses_it_is_asked_what_has_been_opened_since() {
    let open = Born::In(KafkaBorn::opened(None, 1_000_000));
    for known in [Born::Never, Born::NotKnown] {
        let told = taken_with(&mut pass(false), &edges(known, open), 7);
        assert_eq!(told.expect("it is known"), (0, 1, 8), "{known:?}");
    }
    let refused = taken_with(&mut pass(false), &edges(Born::Never, Born::NotKnown), 7);
    assert!(matches!(refused, Err(Error::NotTold { .. })), "{refused:?}");
}

#[tokio::test]
async fn what_was_counted_before_and_dead_letters_wait_for_nobody() {
    let before = taken(&mut pass(false), Born::NotKnown, 4);
    assert_eq!(before.expect("it was judged"), (0, 0, 5));
    let letter = taken(&mut pass(true), Born::NotKnown, 7);
    assert_eq!(letter.expect("no application writes there"), (1, 0, 8));
}

#[tokio::test]
async fn what_stood_here_before_a_stream_was_taken_elsewhere_is_nobodys_fault() {
    use crate::checkpoint::{Checkpoint, Position};
    let edges = edges(Born::Never, Born::Never);
    let checkpoint = |name: &str, placement: Option<&str>| {
        let stream = StreamRef::new(Database(0), name);
        let binding = edges.routes.bind(&stream).expect("its route");
        let position = Position {
            id: EntryId::new(50, 0),
            ..Position::default()
        };
        let placement = placement.map_or_else(|| binding.placement_hash(), str::to_owned);
        let checkpoint = Checkpoint::new(&position, "", 0, &binding.route_hash(), &placement);
        (stream, checkpoint)
    };
    let checkpoints = vec![checkpoint("moved", Some("to t")), checkpoint("never", None)];
    let mut census = Census::of(&edges.routes, checkpoints);
    let mut pass = pass(false);
    let mut reading = Reading::new(&mut pass, 0, &edges, &mut census);
    let mut whose = |name: &str, id: u64| {
        let identity = Identity {
            stream: name.as_bytes(),
            id: EntryId::new(id, 0),
            generation: 0,
            repaired: false,
        };
        reading.whose(&identity).expect("all is known")
    };
    let before = Whose::Elsewhere(EntryId::new(50, 0));
    assert_eq!((whose("moved", 7), whose("moved", 50)), (before, before));
    assert_eq!(whose("moved", 51), Whose::Nobody(None), "misdirected");
    assert_eq!(whose("never", 7), Whose::Nobody(None));
}

#[tokio::test]
async fn the_first_record_that_is_left_in_a_partition_is_kept_where_windows_were_cut_before() {
    let edges = edges(Born::Never, Born::Never);
    let stream = StreamRef::new(Database(0), "s");
    let binding = edges.routes.bind(&stream).expect("its route");
    let through = EntryId::new(9, 0);
    let scope = Scope {
        through,
        absent: true,
        last: through,
        ..Scope::default()
    };
    let left = |cuts: Vec<EntryId>, letters: bool| {
        let mut pass = pass(letters);
        let stream = StreamPass::new(stream.clone(), binding.clone(), scope.clone());
        pass.streams.push(stream.cut_at(cuts));
        let mut census = Census::default();
        let mut reading = Reading::new(&mut pass, 0, &edges, &mut census);
        for (partition, id, repaired) in [(0, 2, true), (0, 7, false), (1, 4, false), (0, 5, false)]
        {
            let record = RecordView::unnamed(Partition(partition), Offset(3), 1_000_000);
            reading.side.identify(&record);
            let identity = Identity {
                stream: b"s",
                id: EntryId::new(id, 0),
                generation: 0,
                repaired,
            };
            reading.take_known(0, &identity, &record);
        }
        let stream = pass.streams.remove(0);
        let ids = |first: BTreeMap<i32, Option<EntryId>>| -> Vec<(i32, Option<u64>)> {
            let first = first.into_iter();
            first.map(|(at, id)| (at, id.map(|id| id.ms))).collect()
        };
        (ids(stream.first), ids(stream.first_letter))
    };
    let first = vec![(0, Some(7)), (1, Some(4))];
    assert_eq!(left(vec![through], false), (first.clone(), Vec::new()));
    assert_eq!(left(vec![through], true), (Vec::new(), first));
    assert_eq!(left(Vec::new(), false), (Vec::new(), Vec::new()));
}
