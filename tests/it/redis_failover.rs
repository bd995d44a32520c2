//! Redis changes its history under the mirror: a replica is promoted that lacks a suffix, or the server comes back with
//! older data. What Kafka has and Redis lost is counted and named; what came in its place is mirrored once, in the next
//! generation; nothing that both have is repeated.
//!
//! The mirror reaches Redis through an address that follows the failover (`Cut::lead_to`), as with a virtual address or
//! Sentinel's name. Replication runs through a proxy of its own, so that the suffix is lost for certain.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::harness::{Cut, Daemon, RedisOptions, RedisServer, eventually, kafka};
use crate::plan::{
    Plan, SOON, Topic, add, await_level, await_state, causes, drain, gaps, header, resume, stream,
};

/// A master, its replica, the link between the two, and the address that clients use.
pub struct Pair {
    pub master: RedisServer,
    pub replica: RedisServer,
    pub link: Cut,
    pub address: Cut,
}

impl Pair {
    pub fn start() -> Self {
        let master = RedisServer::start(RedisOptions::default());
        let link = Cut::to_port(master.port);
        let replica = RedisServer::start(RedisOptions {
            replica_of: Some(link.port()),
            config: vec!["repl-timeout 60".to_owned()],
            ..RedisOptions::default()
        });
        replica.caught_up_with(&master);
        let address = Cut::to_port(master.port);
        Self {
            master,
            replica,
            link,
            address,
        }
    }

    pub fn plan(&self, what: &str, more: &str) -> Plan {
        let mut plan = Plan::on(what, &self.master, 0, kafka()).route("r", &["a", "b"], more);
        plan.redis_url = format!("redis://127.0.0.1:{}/0", self.address.port());
        kafka().create_topic(&plan.topic("r"), 1, &[]);
        plan
    }

    /// The master dies, the replica takes its place, the address follows.
    pub fn fail_over(&self) {
        self.master.kill();
        self.replica.promote();
    }
}

/// Ids that were given lately, so that records are dated by them.
pub struct Ids(u64);

impl Ids {
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self(u64::try_from(since.as_millis()).unwrap() - 60_000)
    }

    /// As long before these.
    pub const fn before(&self, days: u64) -> Self {
        Self(self.0 - days * 86_400_000)
    }

    pub fn at(&self, n: u64) -> String {
        format!("{}-0", self.0 + n)
    }

    pub fn add(
        &self,
        server: &RedisServer,
        stream: &str,
        of: &str,
        which: impl IntoIterator<Item = u64>,
    ) -> Vec<String> {
        which
            .into_iter()
            .map(|n| {
                let value = format!("{of}{n}");
                server.command::<()>(0, &format!("XADD {stream} {} data {value}", self.at(n)));
                value
            })
            .collect()
    }
}

fn joined(parts: &[&[String]]) -> Vec<String> {
    parts.concat()
}

#[test]
fn a_promoted_replica_that_lacks_a_suffix_is_brought_level_once() {
    let pair = Pair::start();
    let plan = pair.plan("lost-suffix", "");
    let ids = Ids::now();
    let kept = ids.add(&pair.master, "a", "old", 1..=10);
    let steady = ids.add(&pair.master, "b", "old", 1..=10);
    let mut daemon = plan.daemon();
    let mut topic = Topic::new(&plan.topic("r"));
    topic.await_values("a", &kept);
    pair.replica.caught_up_with(&pair.master);
    pair.link.cut();
    let lost = ids.add(&pair.master, "a", "lost", 11..=15);
    topic.await_values("a", &joined(&[&kept, &lost]));
    await_level(&daemon, "a");

    pair.fail_over();
    // Ids that Kafka has with other content, one that it has not, and nothing yet beyond the checkpoint.
    let instead = ids.add(&pair.replica, "a", "instead", [11, 13]);
    pair.address.lead_to(pair.replica.port);
    topic.await_values("a", &joined(&[&kept, &lost, &instead]));
    let after = ids.add(&pair.replica, "a", "after", [14, 20]);
    topic.await_values("a", &joined(&[&kept, &lost, &instead, &after]));
    let more = ids.add(&pair.replica, "b", "after", [20]);
    topic.await_values("b", &joined(&[&steady, &more]));

    for record in topic.records() {
        let of_lost_history = header(record, "redis-stream") == "a"
            && !String::from_utf8_lossy(record.value.as_ref().unwrap()).starts_with(['o', 'l']);
        let expected = if of_lost_history { "1" } else { "" };
        assert_eq!(header(record, "redis-gen"), expected, "{record:?}");
    }
    let seen = await_level(&daemon, "a");
    assert_eq!(
        (seen["generation"].as_u64(), seen["orphans"].as_u64()),
        (Some(1), Some(5)),
        "{seen}"
    );
    assert_eq!(
        daemon.metric("lockgate_mirror_orphan_entries_total", &[("route", "r")]),
        Some(5.0)
    );
    let log = daemon.log();
    let named = log
        .lines()
        .find(|line| line.contains("redis-lost-history"))
        .expect("a line that names them");
    for n in 11..=15 {
        assert!(named.contains(&ids.at(n)), "{n} is not named in {named}");
    }
    // Once is enough: a restart finds the same history and repeats nothing.
    drain(&mut daemon);
    daemon.restart();
    daemon.wait_ready();
    let last = ids.add(&pair.replica, "a", "last", [21]);
    topic.await_values("a", &joined(&[&kept, &lost, &instead, &after, &last]));
    assert_eq!(stream(&daemon, "a").unwrap()["generation"], 1);
}

#[test]
fn a_failover_that_lost_nothing_repeats_nothing() {
    let pair = Pair::start();
    let plan = pair.plan("lossless", "");
    let ids = Ids::now();
    let old = ids.add(&pair.master, "a", "old", 1..=10);
    let daemon = plan.daemon();
    let mut topic = Topic::new(&plan.topic("r"));
    topic.await_values("a", &old);
    await_level(&daemon, "a");
    pair.replica.caught_up_with(&pair.master);
    pair.fail_over();
    pair.address.lead_to(pair.replica.port);
    let new = ids.add(&pair.replica, "a", "new", 11..=15);
    topic.await_values("a", &joined(&[&old, &new]));
    let seen = await_level(&daemon, "a");
    assert_eq!(
        (seen["generation"].as_u64(), seen["orphans"].as_u64()),
        (Some(0), Some(0)),
        "{seen}"
    );
    assert!(
        daemon.log().contains("contains all that was read"),
        "{}",
        daemon.log()
    );
    assert_eq!(gaps(&daemon, "r"), causes(&[]));
}

#[test]
fn a_history_trimmed_below_the_divergence_halts_its_stream_alone() {
    let pair = Pair::start();
    let plan = pair.plan("hidden", "");
    let ids = Ids::now();
    let kept = ids.add(&pair.master, "a", "old", 1..=10);
    let steady = ids.add(&pair.master, "b", "old", 1..=10);
    let daemon = plan.daemon();
    let mut topic = Topic::new(&plan.topic("r"));
    topic.await_values("a", &kept);
    topic.await_values("b", &steady);
    pair.replica.caught_up_with(&pair.master);
    pair.link.cut();
    let lost = ids.add(&pair.master, "a", "lost", 11..=15);
    topic.await_values("a", &joined(&[&kept, &lost]));
    await_level(&daemon, "a");
    pair.fail_over();
    ids.add(&pair.replica, "a", "instead", 12..=14);
    pair.replica.command::<()>(0, "XTRIM a MAXLEN 2");
    pair.address.lead_to(pair.replica.port);
    let seen = await_state(&daemon, "a", "halted", "failover-history-trimmed");
    assert!(
        seen["last_error"]
            .as_str()
            .unwrap()
            .contains("lockgate streams resume"),
        "{seen}"
    );
    let more = ids.add(&pair.replica, "b", "after", [20]);
    topic.await_values("b", &joined(&[&steady, &more]));
    assert_eq!(topic.values_of("a").len(), 15);
    resume(&daemon, 0, "a", None);
    let what_is_left = ["instead13", "instead14"].map(str::to_owned);
    topic.await_values("a", &joined(&[&kept, &lost, &what_is_left]));
    await_level(&daemon, "a");
}

fn own(what: &str, server: &RedisServer) -> (Plan, Daemon, Topic) {
    let plan = Plan::on(what, server, 0, kafka()).route("r", &["a"], "");
    kafka().create_topic(&plan.topic("r"), 1, &[]);
    let daemon = plan.daemon();
    let topic = Topic::new(&plan.topic("r"));
    (plan, daemon, topic)
}

#[test]
fn a_killed_redis_with_an_append_only_file_loses_and_repeats_nothing() {
    let server = RedisServer::start(RedisOptions {
        aof: true,
        ..RedisOptions::default()
    });
    let old = add(&server, 0, "a", "old", 20);
    let (_plan, daemon, mut topic) = own("aof", &server);
    topic.await_values("a", &old);
    await_level(&daemon, "a");
    server.kill();
    await_state(&daemon, "a", "waiting", "redis-unreachable");
    server.restart();
    let new = add(&server, 0, "a", "new", 20);
    topic.await_values("a", &joined(&[&old, &new]));
    assert_eq!(stream(&daemon, "a").unwrap()["generation"], 0);
}

#[test]
fn a_redis_that_comes_back_with_older_data_is_brought_level() {
    let server = RedisServer::start(RedisOptions::default());
    let old = add(&server, 0, "a", "old", 10);
    server.command::<()>(0, "SAVE");
    let lost = add(&server, 0, "a", "lost", 7);
    let (_plan, daemon, mut topic) = own("older-data", &server);
    topic.await_values("a", &joined(&[&old, &lost]));
    await_level(&daemon, "a");
    server.restart();
    assert_eq!(server.command::<u64>(0, "XLEN a"), 10);
    let new = add(&server, 0, "a", "new", 5);
    topic.await_values("a", &joined(&[&old, &lost, &new]));
    eventually(SOON, "the lost entries are counted", || {
        daemon.metric("lockgate_mirror_orphan_entries_total", &[("route", "r")]) == Some(7.0)
    });
    let generations: Vec<String> = topic
        .records()
        .iter()
        .map(|record| header(record, "redis-gen"))
        .collect();
    assert!(
        generations[..17].iter().all(String::is_empty),
        "{generations:?}"
    );
    assert!(
        generations[17..].iter().all(|generation| generation == "1"),
        "{generations:?}"
    );
}
