//! What the audit after a failover makes of counts, ids and deletions: nothing that goes missing after it is uncounted, no stream
//! is taken for one made anew, nothing lost is counted twice, and an entry under an id that Kafka has is mirrored exactly where
//! it is another.

use lockgate::failpoint;

use crate::failover_audit::Lost;
use crate::harness::{Daemon, DaemonOptions, RedisOptions, RedisServer, eventually, kafka};
use crate::plan::{
    Plan, SOON, Topic, await_level, await_state, causes, drain, gaps, header, resume, stream,
};
use crate::redis_failover::Ids;
use crate::rig::armed;

/// Generation and orphans of a stream that is level.
fn generation_and_orphans(daemon: &Daemon, name: &str) -> (u64, u64) {
    let seen = await_level(daemon, name);
    let number = |what: &str| seen[what].as_u64().unwrap();
    (number("generation"), number("orphans"))
}

#[test]
fn what_is_deleted_between_an_audit_and_the_reading_behind_it_is_counted() {
    let lost = Lost::of("audit-deleted", &["a"]);
    let instead = lost.ids.add(&lost.server, "a", "instead", [11, 13]);
    // Behind the checkpoint, so that the audit compares none of them.
    let mut after = lost.ids.add(&lost.server, "a", "after", 21..=40);
    let dying = format!("{}=abort@1", failpoint::AUDIT_AFTER_COMMIT);
    let mut daemon = Daemon::start_with(&lost.plan.toml(), armed(&dying));
    eventually(SOON, "it dies", || daemon.exited());
    for n in [30, 31] {
        let id = lost.ids.at(n);
        assert_eq!(lost.server.command::<u64>(0, &format!("XDEL a {id}")), 1);
    }
    after.drain(9..=10);

    let daemon = lost.plan.daemon();
    Topic::new(&lost.plan.topic("r")).await_values("a", &lost.with(&[&instead, &after]));
    await_level(&daemon, "a");
    assert_eq!(gaps(&daemon, "r"), causes(&[("deleted", 2)]));
}

#[test]
fn a_deletion_behind_lost_history_makes_no_stream_anew() {
    let lost = Lost::of("audit-no-recreation", &["a"]);
    let new = lost.ids.add(&lost.server, "a", "new", 21..=23);
    let id = lost.ids.at(22);
    assert_eq!(lost.server.command::<u64>(0, &format!("XDEL a {id}")), 1);

    let daemon = lost.plan.daemon();
    let mut topic = Topic::new(&lost.plan.topic("r"));
    topic.await_values("a", &lost.with(&[&[new[0].clone(), new[2].clone()]]));
    // Five were lost; one of them stands in Redis's count for the entry that is deleted.
    assert_eq!(generation_and_orphans(&daemon, "a"), (1, 4));
    assert_eq!(gaps(&daemon, "r"), causes(&[]), "nothing is made anew");
}

#[test]
fn a_second_failover_counts_nothing_that_the_first_one_lost() {
    let lost = Lost::of("audit-twice", &["a"]);
    let instead = lost.ids.add(&lost.server, "a", "instead", [11, 13]);
    let mut daemon = lost.plan.daemon();
    let mut topic = Topic::new(&lost.plan.topic("r"));
    topic.await_values("a", &lost.with(&[&instead]));
    assert_eq!(generation_and_orphans(&daemon, "a"), (1, 5));
    drain(&mut daemon);

    lost.server.command::<()>(0, "SAVE");
    lost.server.restart();
    let mut daemon = lost.plan.daemon();
    assert_eq!(
        generation_and_orphans(&daemon, "a"),
        (1, 0),
        "both sides are the same"
    );
    let more = lost.ids.add(&lost.server, "a", "more", [16]);
    topic.await_values("a", &lost.with(&[&instead, &more]));
    await_level(&daemon, "a");
    drain(&mut daemon);

    lost.server.restart();
    let daemon = lost.plan.daemon();
    assert_eq!(generation_and_orphans(&daemon, "a"), (2, 1), "16 is lost");
}

#[test]
fn a_stream_emptied_after_lost_history_shows_that_something_may_be_missing() {
    let lost = Lost::of("audit-emptied", &["a"]);
    lost.ids.add(&lost.server, "a", "unseen", [11]);
    lost.server.command::<()>(0, "XTRIM a MAXLEN 0");
    let mut daemon = lost.plan.daemon();
    assert_eq!(generation_and_orphans(&daemon, "a"), (1, 4));
    assert_eq!(gaps(&daemon, "r"), causes(&[("failover", 1)]));
    let next = lost.ids.add(&lost.server, "a", "next", [12]);
    let mut topic = Topic::new(&lost.plan.topic("r"));
    topic.await_values("a", &lost.with(&[&next]));
    await_level(&daemon, "a");
    drain(&mut daemon);

    // Emptied again, and nothing lost: nothing is missing.
    lost.server.command::<()>(0, "XTRIM a MAXLEN 0");
    lost.server.command::<()>(0, "SAVE");
    lost.server.restart();
    let daemon = lost.plan.daemon();
    let last = lost.ids.add(&lost.server, "a", "last", [13]);
    topic.await_values("a", &lost.with(&[&next, &last]));
    assert_eq!(generation_and_orphans(&daemon, "a"), (1, 0));
    assert_eq!(gaps(&daemon, "r"), causes(&[]));
}

#[test]
fn an_emptied_stream_that_lost_history_halts_where_gaps_do() {
    let server = RedisServer::start(RedisOptions::default());
    let plan = Plan::on("audit-emptied-halt", &server, 0, kafka()).route("r", &["a"], "");
    kafka().create_topic(&plan.topic("r"), 1, &[]);
    let ids = Ids::now();
    let mut expected = ids.add(&server, "a", "old", 1..=5);
    server.command::<()>(0, "SAVE");
    expected.extend(ids.add(&server, "a", "lost", 6..=8));
    let mut daemon = plan.daemon();
    let mut topic = Topic::new(&plan.topic("r"));
    topic.await_values("a", &expected);
    await_level(&daemon, "a");
    drain(&mut daemon);
    server.restart();
    server.command::<()>(0, "XTRIM a MAXLEN 0");

    let daemon = plan.daemon();
    await_state(&daemon, "a", "halted", "failover-history-trimmed");
    resume(&daemon, 0, "a", None);
    expected.extend(ids.add(&server, "a", "new", [7]));
    topic.await_values("a", &expected);
    await_level(&daemon, "a");
    assert_eq!(gaps(&daemon, "r"), causes(&[("failover", 1)]));
}

#[test]
fn ids_sent_again_are_mirrored_again_from_the_first_of_another_content() {
    let lost = Lost::of("audit-sent-again", &["a", "b"]);
    let (server, ids) = (&lost.server, &lost.ids);
    ids.add(server, "a", "lost", 11..=15);
    ids.add(server, "b", "lost", [11, 12]);
    let other = ids.add(server, "b", "other", [13]);
    let again = [other, ids.add(server, "b", "lost", [14, 15])].concat();

    let daemon = lost.plan.daemon();
    let mut topic = Topic::new(&lost.plan.topic("r"));
    topic.await_values("b", &lost.with(&[&again]));
    assert_eq!(generation_and_orphans(&daemon, "a"), (0, 0));
    assert_eq!(generation_and_orphans(&daemon, "b"), (1, 3));
    let next = ids.add(server, "a", "next", [16]);
    topic.await_values("a", &lost.with(&[&next]));
    for record in topic.records() {
        let again = header(record, "redis-gen") == "1";
        assert!(
            !again || header(record, "redis-stream") == "b",
            "{record:?}"
        );
    }
    assert_eq!(gaps(&daemon, "r"), causes(&[]));
}

#[test]
fn more_than_fits_in_memory_is_compared_window_by_window() {
    let server = RedisServer::start(RedisOptions::default());
    let plan = Plan::on("audit-deep", &server, 0, kafka()).route("r", &["a"], "");
    kafka().create_topic(&plan.topic("r"), 1, &[]);
    let ids = Ids::now();
    let add_all = |of: &str| -> Vec<String> {
        let mut pipe = redis::pipe();
        let values: Vec<String> = (11..=2_510).map(|n| format!("{of}{n}")).collect();
        for (n, value) in (11..).zip(&values) {
            let mut xadd = redis::cmd("XADD");
            xadd.arg("a").arg(ids.at(n)).arg("data").arg(value);
            pipe.add_command(xadd).ignore();
        }
        pipe.query::<()>(&mut server.connection(0)).unwrap();
        values
    };
    let mut expected = ids.add(&server, "a", "old", 1..=10);
    server.command::<()>(0, "SAVE");
    expected.extend(add_all("lost"));
    // Room for a thousand.
    let options = || DaemonOptions {
        env: vec![(
            "LOCKGATE_SHARDS__BUFFER_BYTES".to_owned(),
            "65536".to_owned(),
        )],
        ..DaemonOptions::default()
    };
    let mut daemon = plan.daemon_with(options());
    let mut topic = Topic::new(&plan.topic("r"));
    topic.await_values("a", &expected);
    await_level(&daemon, "a");
    drain(&mut daemon);
    server.restart();
    expected.extend(add_all("instead"));
    let daemon = plan.daemon_with(options());
    topic.await_values("a", &expected);
    assert_eq!(generation_and_orphans(&daemon, "a"), (1, 2_500));
    assert_eq!(gaps(&daemon, "r"), causes(&[]));
}

#[test]
fn a_stream_that_has_not_come_to_its_start_keeps_it_over_a_failover() {
    let server = RedisServer::start(RedisOptions::default());
    let ids = Ids::now();
    let start = format!("start = \"{}\"\n", ids.at(10));
    let plan = Plan::on("audit-ahead", &server, 0, kafka()).route("r", &["a"], &start);
    kafka().create_topic(&plan.topic("r"), 1, &[]);
    ids.add(&server, "a", "before", 1..=5);
    let mut daemon = plan.daemon();
    await_level(&daemon, "a");
    drain(&mut daemon);
    server.command::<()>(0, "SAVE");
    server.restart();

    let daemon = plan.daemon();
    await_level(&daemon, "a");
    ids.add(&server, "a", "before", 6..=10);
    let behind = ids.add(&server, "a", "behind", [11, 12]);
    Topic::new(&plan.topic("r")).await_values("a", &behind);
    assert_eq!(generation_and_orphans(&daemon, "a"), (0, 0));
    assert_eq!(stream(&daemon, "a").unwrap()["mirrored_entries"], 2);
}
