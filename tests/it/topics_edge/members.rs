//! Shards spread over members and move when one comes or leaves; the coordinator confirms exactly the owner.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use lockgate::placement::{Shard, Topic};
use lockgate::topics::{Admin, Kafka, Membership, TopicSpec};

use super::{TIMEOUT, client, runtime};
use crate::harness::unique;

fn checkpoints(kafka: &Kafka, shards: u32) -> Topic {
    let name = Topic::from(unique("lockgate.checkpoints"));
    runtime().block_on(async {
        let admin = Admin::new(kafka).expect("admin");
        let spec = TopicSpec::checkpoints(name.clone(), shards).for_cluster(Some(1), 1);
        admin.create(&[spec]).await.expect("create");
    });
    name
}

fn shards(numbers: impl IntoIterator<Item = u32>) -> BTreeSet<Shard> {
    numbers.into_iter().map(Shard).collect()
}

/// Waits until the membership has so many shards; releases at once what it must give up.
async fn until_it_has(membership: &Membership, count: usize, deadline: Duration) -> Duration {
    let start = Instant::now();
    let mut assignment = membership.assignment();
    let mut held = assignment.borrow().shards.clone();
    loop {
        let now = assignment.borrow_and_update().clone();
        for shard in held.difference(&now.shards) {
            membership.released(*shard);
        }
        held = now.shards;
        if held.len() == count {
            return start.elapsed();
        }
        tokio::time::timeout(deadline, assignment.changed())
            .await
            .unwrap_or_else(|_| panic!("{count} shards, has {held:?}; {:?}", membership.trouble()))
            .expect("the membership lives");
    }
}

/// Shards spread over members, move when one comes or leaves, and the coordinator confirms exactly the owner.
#[test]
fn members_share_the_shards() {
    let kafka = client();
    let topic = checkpoints(&kafka, 4);
    let group = unique("lockgate.group");
    let session = Duration::from_secs(6);
    runtime().block_on(async {
        let first = Membership::join(&kafka, &group, &topic, session).expect("join");
        until_it_has(&first, 4, TIMEOUT).await;
        for shard in 0..4 {
            assert!(
                first.confirm(Shard(shard)).await.expect("confirm"),
                "{shard}"
            );
        }
        assert!(!first.confirm(Shard(9)).await.expect("not assigned"));
        let second = Membership::join(&kafka, &group, &topic, session).expect("join");
        tokio::join!(
            until_it_has(&first, 2, TIMEOUT),
            until_it_has(&second, 2, TIMEOUT)
        );
        let of_first = first.assignment().borrow().shards.clone();
        let of_second = second.assignment().borrow().shards.clone();
        assert!(of_first.is_disjoint(&of_second));
        for shard in &of_second {
            assert!(second.confirm(*shard).await.expect("confirm"));
            assert!(!first.confirm(*shard).await.expect("confirm"));
        }
        // The client joins at most once a second; a planned stop comes seldom sooner after a join.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let start = Instant::now();
        let leaving = tokio::task::spawn_blocking(move || first.leave());
        until_it_has(&second, 4, TIMEOUT).await;
        // Well before the session is over: it left, it was not given up.
        assert!(start.elapsed() < session / 2, "{:?}", start.elapsed());
        leaving.await.expect("left");
        tokio::task::spawn_blocking(move || second.leave())
            .await
            .expect("left");
    });
}

/// A planned rebalance waits until a shard is released.
#[test]
fn a_planned_rebalance_waits_for_the_drain() {
    let kafka = client();
    let topic = checkpoints(&kafka, 2);
    let group = unique("lockgate.group");
    let session = Duration::from_secs(6);
    runtime().block_on(async {
        let first = Membership::join(&kafka, &group, &topic, session).expect("join");
        until_it_has(&first, 2, TIMEOUT).await;
        let mut assignment = first.assignment();
        assignment.borrow_and_update();
        let second = Membership::join(&kafka, &group, &topic, session).expect("join");
        let gone = loop {
            assignment.changed().await.expect("alive");
            let now = assignment.borrow_and_update().clone();
            if now.shards.len() == 1 {
                assert!(!now.lost);
                break shards(0..2)
                    .difference(&now.shards)
                    .copied()
                    .next()
                    .expect("one");
            }
        };
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(
            second.assignment().borrow().shards.is_empty(),
            "taken before it was released"
        );
        let start = Instant::now();
        first.released(gone);
        until_it_has(&second, 1, TIMEOUT).await;
        assert!(start.elapsed() < session / 2, "{:?}", start.elapsed());
    });
}
