//! A resize against a real broker: what is undecided among the checkpoints is not taken for what it was before.

use std::time::Duration;

use lockgate::checkpoint::{self, Checkpoint, Layout, LayoutState, Position, Resized};
use lockgate::config;
use lockgate::entry::{Database, EntryId, StreamRef};
use lockgate::placement::{Partition, Shard};
use lockgate::topics::{Kafka, Writer};

use super::{TIMEOUT, client, now_ms, topic};
use crate::harness::{eventually, kafka, unique};

#[test]
fn where_a_transaction_is_undecided_among_the_checkpoints_no_stream_is_moved() {
    let edge = client();
    let checkpoints = topic(&edge, "resized", 2, 1 << 20);
    let migration = unique("resized");
    let first = Layout::first(1);
    checkpoint::ensure_layout(&edge, &migration, &checkpoints, first, TIMEOUT).expect("a layout");
    let stream = StreamRef::new(Database(0), "s");
    let position = Position {
        id: EntryId::new(5, 0),
        ..Position::default()
    };
    let at = Checkpoint::new(&position, "r", 1, "", "");
    let mut writer = Writer::open(&edge, &unique("lockgate.first"), TIMEOUT).expect("open");
    writer.begin().expect("begin");
    checkpoint::write(&mut writer, &checkpoints, Shard(0), &stream, &at, now_ms()).expect("write");
    writer.commit(TIMEOUT).expect("commit");

    // Longer than a resize waits.
    let slow = Kafka::new(&config::Kafka {
        bootstrap_servers: vec![kafka().bootstrap()],
        transaction_timeout: Duration::from_secs(300),
        ..config::Kafka::default()
    });
    let slow = slow.expect("the configuration is valid");
    let mut left = Writer::open(&slow, &unique("lockgate.left"), TIMEOUT).expect("open");
    left.begin().expect("begin");
    let other = StreamRef::new(Database(0), "other");
    checkpoint::write(&mut left, &checkpoints, Shard(1), &other, &at, now_ms()).expect("write");
    eventually(TIMEOUT, "it is undecided there", || {
        kafka().end_offsets(checkpoints.as_str()).get(&1) > Some(&0)
    });

    let resize = || {
        let home = |_: &StreamRef, _: u32| Shard(1);
        checkpoint::resize(&edge, &migration, &checkpoints, 2, 2, home, TIMEOUT).expect("resize")
    };
    let Resized::Undecided(found) = resize() else {
        panic!("streams were moved");
    };
    assert_eq!(found.partition, Partition(1));
    let homes = || {
        let all = checkpoint::read_all(&edge, &checkpoints, 2, TIMEOUT).expect("read");
        let homes: Vec<Shard> = all[&stream].iter().map(|(shard, _)| *shard).collect();
        let layout = checkpoint::load_layout(&edge, &checkpoints, TIMEOUT).expect("read");
        let told = |layout: Layout| (layout.count, layout.state);
        (homes, layout.map(told))
    };
    assert_eq!(homes(), (vec![Shard(0)], Some((1, LayoutState::Stable))));

    left.commit(TIMEOUT).expect("commit");
    assert_eq!(resize(), Resized::Done);
    assert_eq!(homes(), (vec![Shard(1)], Some((2, LayoutState::Stable))));
}
