//! The audit after a failover is interrupted: by a crash at each of its steps, and by a broker that refuses one of the
//! records that come of it. Then every entry is in Kafka exactly once all the same, in order, and what was lost is counted.

use lockgate::failpoint;

use crate::dead_letters::noise;
use crate::harness::{Daemon, DaemonOptions, RedisOptions, RedisServer, eventually, kafka};
use crate::parity::gone::delete_records;
use crate::plan::{Plan, SOON, Topic, await_level, causes, drain, gaps, header, letters, stream};
use crate::redis_failover::Ids;
use crate::rig::armed;

/// A Redis that comes back without the last five entries of its streams, while nobody mirrors; Kafka has them.
pub struct Lost {
    pub server: RedisServer,
    pub plan: Plan,
    pub ids: Ids,
    /// What Kafka has of each stream.
    mirrored: Vec<String>,
}

impl Lost {
    pub fn of(what: &str, streams: &[&str]) -> Self {
        let server = RedisServer::start(RedisOptions::default());
        let plan = Plan::on(what, &server, 0, kafka()).route("r", streams, "on_gap = \"record\"\n");
        kafka().create_topic(&plan.topic("r"), 1, &[("max.message.bytes", "1500")]);
        let ids = Ids::now();
        let mut mirrored = Vec::new();
        for (of, which) in [("old", 1..=10), ("lost", 11..=15)] {
            for stream in streams {
                let values = ids.add(&server, stream, of, which.clone());
                if *stream == streams[0] {
                    mirrored.extend(values);
                }
            }
            if of == "old" {
                server.command::<()>(0, "SAVE");
            }
        }
        let mut daemon = plan.daemon();
        for stream in streams {
            Topic::new(&plan.topic("r")).await_values(stream, &mirrored);
            await_level(&daemon, stream);
        }
        drain(&mut daemon);
        server.restart();
        for stream in streams {
            assert_eq!(server.command::<u64>(0, &format!("XLEN {stream}")), 10);
        }
        Self {
            server,
            plan,
            ids,
            mirrored,
        }
    }

    pub fn with(&self, more: &[&[String]]) -> Vec<String> {
        [
            &[&self.mirrored[..]],
            &more.iter().map(|part| &part[..]).collect::<Vec<_>>()[..],
        ]
        .concat()
        .concat()
    }
}

fn names_the_lost(log: &str) -> bool {
    log.lines()
        .any(|line| line.contains("redis-lost-history") && line.contains("orphans=5"))
}

#[test]
fn a_crash_at_any_step_of_an_audit_loses_and_repeats_nothing() {
    let points = failpoint::AUDIT_POINTS.iter().chain(&[
        failpoint::AFTER_SEND,
        failpoint::BEFORE_COMMIT,
        failpoint::AFTER_COMMIT,
    ]);
    for point in points {
        println!("{point}");
        let lost = Lost::of("audit-crash", &["a"]);
        let instead = lost.ids.add(&lost.server, "a", "instead", [11, 13]);
        let dying = format!("{point}=abort@1");
        let mut daemon = Daemon::start_with(&lost.plan.toml(), armed(&dying));
        eventually(SOON, "it dies", || daemon.exited());
        assert!(names_the_lost(&daemon.log()), "{}", daemon.log());
        let daemon = lost.plan.daemon();
        let mut topic = Topic::new(&lost.plan.topic("r"));
        topic.await_values("a", &lost.with(&[&instead]));
        let after = lost.ids.add(&lost.server, "a", "after", [14, 20]);
        topic.await_values("a", &lost.with(&[&instead, &after]));
        await_level(&daemon, "a");
        for record in topic.records() {
            let value = String::from_utf8_lossy(record.value.as_ref().unwrap());
            let expected = if value.starts_with(['o', 'l']) {
                ""
            } else {
                "1"
            };
            assert_eq!(header(record, "redis-gen"), expected, "{record:?}");
        }
        assert_eq!(gaps(&daemon, "r"), causes(&[]), "{point}");
    }
}

#[test]
fn a_record_that_is_refused_after_a_failover_leaves_nothing_lost_repeated_or_uncounted() {
    let lost = Lost::of("audit-refused", &["a", "b"]);
    let large = |stream: &str, n: u64| {
        let id = lost.ids.at(n);
        lost.server
            .command::<()>(0, &format!("XADD {stream} {id} data {}", noise(3_000)));
    };
    let mut instead = lost.ids.add(&lost.server, "a", "instead", [11]);
    large("a", 12);
    instead.extend(lost.ids.add(&lost.server, "a", "instead", [13, 14]));
    // Of the second stream nothing is left of what both had, so that some of what came instead may be gone as well.
    let left = lost.ids.add(&lost.server, "b", "left", [11]);
    large("b", 12);
    let left = [left, lost.ids.add(&lost.server, "b", "left", [13, 14])].concat();
    lost.server.command::<()>(0, "XTRIM b MAXLEN 4");

    let daemon = lost.plan.daemon();
    let mut topic = Topic::new(&lost.plan.topic("r"));
    topic.await_values("a", &lost.with(&[&instead]));
    topic.await_values("b", &lost.with(&[&left]));
    for name in ["a", "b"] {
        let seen = await_level(&daemon, name);
        let found = (
            seen["generation"].as_u64(),
            seen["orphans"].as_u64(),
            seen["dead_letters"].as_u64(),
        );
        // Where nothing common is left, what stands behind the first that is left is all that is known to be lost.
        assert_eq!(found, (Some(1), Some(5), Some(1)), "{seen}");
    }
    assert_eq!(letters(&daemon, "r"), causes(&[("rejected", 2)]));
    assert_eq!(gaps(&daemon, "r"), causes(&[("failover", 1)]));
    assert_eq!(stream(&daemon, "b").unwrap()["gap_entries"], 1);
    let mut refused = Topic::new(&format!("lockgate.{}.dead-letters.r", lost.plan.name));
    for letter in refused.await_count(2) {
        assert_eq!(header(letter, "redis-id"), lost.ids.at(12));
        assert_eq!(header(letter, "redis-gen"), "1");
    }
    // The next ones are batches again.
    let more = lost.ids.add(&lost.server, "a", "more", 20..=60);
    topic.await_values("a", &lost.with(&[&instead, &more]));
}

#[test]
fn an_id_that_was_refused_in_lost_history_is_tried_for_the_entry_that_has_it_now() {
    let server = RedisServer::start(RedisOptions::default());
    let plan = Plan::on("audit-poison", &server, 0, kafka()).route("r", &["a"], "");
    kafka().create_topic(&plan.topic("r"), 1, &[("max.message.bytes", "1500")]);
    let ids = Ids::now();
    let old = ids.add(&server, "a", "old", 1..=10);
    server.command::<()>(0, "SAVE");
    server.command::<()>(0, &format!("XADD a {} data {}", ids.at(11), noise(3_000)));
    let daemon = plan.daemon();
    let mut topic = Topic::new(&plan.topic("r"));
    topic.await_values("a", &old);
    eventually(SOON, "it is refused", || {
        letters(&daemon, "r") == causes(&[("rejected", 1)])
    });
    await_level(&daemon, "a");

    server.restart();
    assert_eq!(server.command::<u64>(0, "XLEN a"), 10);
    let new = ids.add(&server, "a", "new", [11]);
    topic.await_values("a", &[old, new].concat());
    assert_eq!(header(topic.records().last().unwrap(), "redis-gen"), "1");
    assert_eq!(letters(&daemon, "r"), causes(&[("rejected", 1)]));
}

#[test]
fn entries_that_do_not_fit_together_are_compared_in_parts() {
    let server = RedisServer::start(RedisOptions::default());
    let plan = Plan::on("audit-large", &server, 0, kafka()).route("r", &["a"], "");
    kafka().create_topic(&plan.topic("r"), 1, &[]);
    let ids = Ids::now();
    let mut connection = server.connection(0);
    let mut expected = Vec::new();
    // Downwards from the newest: many that are small, and then all at once large ones.
    for n in 1..=600 {
        let size = if n <= 30 { 300_000 } else { 10 };
        let value = format!("{n}-{}", "x".repeat(size));
        let mut xadd = redis::cmd("XADD");
        xadd.arg("a").arg(ids.at(n)).arg("data").arg(&value);
        xadd.query::<()>(&mut connection).unwrap();
        expected.push(value);
    }
    server.command::<()>(0, "SAVE");
    expected.extend(ids.add(&server, "a", "lost", 601..=605));
    let options = || DaemonOptions {
        env: vec![(
            "LOCKGATE_SHARDS__BUFFER_BYTES".to_owned(),
            "1048576".to_owned(),
        )],
        ..DaemonOptions::default()
    };
    let mut daemon = plan.daemon_with(options());
    let mut topic = Topic::new(&plan.topic("r"));
    topic.await_values("a", &expected);
    await_level(&daemon, "a");
    drain(&mut daemon);
    server.restart();
    expected.extend(ids.add(&server, "a", "instead", [601, 603]));
    let daemon = plan.daemon_with(options());
    topic.await_values("a", &expected);
    let seen = await_level(&daemon, "a");
    assert_eq!(
        (seen["generation"].as_u64(), seen["orphans"].as_u64()),
        (Some(1), Some(5))
    );
}

#[test]
fn what_kafka_has_expired_is_not_mirrored_again_where_a_failover_lost_all_behind_it() {
    let server = RedisServer::start(RedisOptions::default());
    let plan = Plan::on("audit-expired", &server, 0, kafka()).route("r", &["a", "b"], "");
    // One segment: a broker does not find by time what stands behind a whole segment of deleted records.
    let kept = [("retention.ms", "-1"), ("segment.ms", "31536000000")];
    kafka().create_topic(&plan.topic("r"), 1, &kept);
    let ids = Ids::now();
    let old = ids.before(10).add(&server, "a", "old", 1..=10);
    let stuck = ids.before(10).add(&server, "b", "stuck", 1..=2);
    let mut daemon = plan.daemon();
    let mut topic = Topic::new(&plan.topic("r"));
    topic.await_values("a", &old);
    topic.await_values("b", &stuck);
    await_level(&daemon, "a");
    await_level(&daemon, "b");
    let ends: Vec<_> = kafka().end_offsets(&plan.topic("r")).into_iter().collect();
    delete_records(&plan.topic("r"), &ends);
    // Of one stream what came later is lost, of the other it was worked off.
    let worked = ids.add(&server, "b", "worked", [11]);
    topic.await_values("b", &[stuck.clone(), worked.clone()].concat());
    await_level(&daemon, "b");
    let id = ids.at(11);
    assert_eq!(server.command::<u64>(0, &format!("XDEL b {id}")), 1);
    server.command::<()>(0, "SAVE");
    let lost = ids.add(&server, "a", "lost", [11]);
    topic.await_values("a", &[old.clone(), lost.clone()].concat());
    await_level(&daemon, "a");
    await_level(&daemon, "b");
    drain(&mut daemon);

    server.restart();
    assert_eq!(server.command::<u64>(0, "XLEN a"), 10);
    let daemon = plan.daemon();
    // Under an id that Kafka has, so that it is found to be another.
    let new = ids.add(&server, "a", "new", [11, 12]);
    let next = ids.add(&server, "b", "next", [12]);
    topic.await_values("a", &[old, lost, new].concat());
    topic.await_values("b", &[stuck, worked, next].concat());
    for (name, expected) in [("a", (Some(1), Some(1))), ("b", (Some(0), Some(0)))] {
        let seen = await_level(&daemon, name);
        let found = (seen["generation"].as_u64(), seen["orphans"].as_u64());
        assert_eq!(found, expected, "{seen}");
    }
    assert_eq!(gaps(&daemon, "r"), causes(&[]));
}
