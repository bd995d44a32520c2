//! Entries that were gone before they were read: counted to the entry, named, and passed or stopped at as configured.
//!
//! The mirror stands still (stopped, or throttled) while the test takes entries away, so that what must be counted is
//! known exactly. Wherever a stream begins anew, nothing that was mirrored before is mirrored again.

use crate::harness::{Daemon, eventually, kafka, redis};
use crate::plan::{
    Plan, SOON, Topic, add, await_level, await_state, causes, drain, gaps, ids, resume,
};

pub const RECORD: &str = "on_gap = \"record\"\n";

/// Two routes over streams of the same fates: one halts, the other records.
pub fn two_routes(what: &str, fates: &[&str]) -> Plan {
    let named = |prefix: &str| -> Vec<String> {
        fates
            .iter()
            .map(|fate| format!("{prefix}:{fate}"))
            .collect()
    };
    let (halting, recording) = (named("h"), named("r"));
    let plan = Plan::new(what)
        .route(
            "halting",
            &halting.iter().map(String::as_str).collect::<Vec<_>>(),
            "",
        )
        .route(
            "recording",
            &recording.iter().map(String::as_str).collect::<Vec<_>>(),
            RECORD,
        );
    for route in ["halting", "recording"] {
        kafka().create_topic(&plan.topic(route), 1, &[]);
    }
    plan
}

pub fn begun(plan: &Plan, fates: &[&str]) -> (Daemon, Topic, Topic) {
    for fate in fates {
        for prefix in ["h", "r"] {
            add(
                redis(),
                plan.database,
                &format!("{prefix}:{fate}"),
                "old",
                10,
            );
        }
    }
    let daemon = plan.daemon();
    let mut halting = Topic::new(&plan.topic("halting"));
    let mut recording = Topic::new(&plan.topic("recording"));
    halting.await_count(10 * fates.len());
    recording.await_count(10 * fates.len());
    (daemon, halting, recording)
}

pub fn values(old: u64, parts: &[&[String]]) -> Vec<String> {
    let old = (0..old).map(|n| format!("old{n}"));
    old.chain(parts.iter().flat_map(|part| part.iter().cloned()))
        .collect()
}

#[test]
fn trimmed_and_deleted_entries_are_counted_exactly() {
    let fates = ["trim", "approx", "middle", "last", "between", "steady"];
    let plan = two_routes("gaps", &fates);
    let (mut daemon, mut halting, mut recording) = begun(&plan, &fates);
    drain(&mut daemon);
    let db = plan.database;
    let mut approx_lost = 0;
    for prefix in ["h", "r"] {
        let name = |fate: &str| format!("{prefix}:{fate}");
        for fate in fates {
            add(redis(), db, &name(fate), "new", 20);
        }
        redis().command::<()>(db, &format!("XTRIM {} MAXLEN 5", name("trim")));
        add(redis(), db, &name("approx"), "more", 400);
        redis().command::<()>(db, &format!("XTRIM {} MAXLEN ~ 100", name("approx")));
        approx_lost = 420 - redis().command::<u64>(db, &format!("XLEN {}", name("approx")));
        assert!(approx_lost > 0, "Redis trimmed nothing");
        let unread = |fate: &str| ids(redis(), db, &name(fate))[10..].to_vec();
        for id in &unread("middle")[3..7] {
            redis().command::<()>(db, &format!("XDEL {} {id}", name("middle")));
        }
        for id in &unread("last")[15..] {
            redis().command::<()>(db, &format!("XDEL {} {id}", name("last")));
        }
        // Entries that were mirrored may go, and some between the unread ones.
        let all = ids(redis(), db, &name("between"));
        for id in all[..5].iter().chain(&all[12..14]).chain(&all[28..29]) {
            redis().command::<()>(db, &format!("XDEL {} {id}", name("between")));
        }
    }
    daemon.restart();
    daemon.wait_ready();

    for fate in fates {
        await_level(&daemon, &format!("r:{fate}"));
    }
    let expected = causes(&[("trimmed", 15 + approx_lost), ("deleted", 4 + 5 + 3)]);
    assert_eq!(gaps(&daemon, "recording"), expected);
    let news: Vec<String> = (0..20).map(|n| format!("new{n}")).collect();
    recording.await_values("r:trim", &values(10, &[&news[15..]]));
    recording.await_values("r:middle", &values(10, &[&news[..3], &news[7..]]));
    recording.await_values("r:last", &values(10, &[&news[..15]]));
    recording.await_values(
        "r:between",
        &values(10, &[&news[..2], &news[4..18], &news[19..]]),
    );
    recording.await_values("r:steady", &values(10, &[&news]));

    // The same for those that halt: each says what it is, its neighbour goes on, and nothing is counted before it is passed.
    await_level(&daemon, "h:steady");
    halting.await_values("h:steady", &values(10, &[&news]));
    let halts = [
        ("trim", "entries-trimmed"),
        ("approx", "entries-trimmed"),
        ("middle", "entries-deleted"),
        ("last", "entries-deleted"),
        ("between", "entries-deleted"),
    ];
    for (fate, reason) in halts {
        let seen = await_state(&daemon, &format!("h:{fate}"), "halted", reason);
        assert!(
            seen["last_error"]
                .as_str()
                .unwrap()
                .contains("lockgate streams resume"),
            "{seen}"
        );
        let log = daemon.log();
        let line = log
            .lines()
            .find(|line| line.contains(&format!("h:{fate}")) && line.contains(reason));
        assert!(
            line.is_some_and(|line| line.contains("ERROR")),
            "{fate}: no line in the log"
        );
        // A trim is seen before what stands behind it is read; where single entries are gone shows only when all are read.
        let mirrored = halting.values_of(&format!("h:{fate}"));
        let trimmed = reason == "entries-trimmed";
        assert!(mirrored.len() == 10 || !trimmed, "{fate}: {mirrored:?}");
    }
    assert_eq!(gaps(&daemon, "halting"), causes(&[]));
    let halted = [
        ("route", "halting"),
        ("state", "halted"),
        ("reason", "entries-trimmed"),
    ];
    assert_eq!(daemon.metric("lockgate_mirror_streams", &halted), Some(2.0));
    assert_eq!(
        daemon.status().unwrap()["shards"][0]["state"]["name"],
        "halted"
    );

    // What is halted ages, and does not hide how late its shard is.
    eventually(SOON, "the lag in seconds is known", || {
        let status = daemon.status()?;
        status["shards"][0]["lag_seconds"].as_f64()
    });

    // Lifted one after another; after a restart a gap once passed is not found again.
    for (fate, reason) in halts {
        await_state(&daemon, &format!("h:{fate}"), "halted", reason);
        resume(&daemon, db, &format!("h:{fate}"), None);
        await_level(&daemon, &format!("h:{fate}"));
    }
    assert_eq!(gaps(&daemon, "halting"), expected);
    halting.await_values("h:trim", &values(10, &[&news[15..]]));
    halting.await_values("h:middle", &values(10, &[&news[..3], &news[7..]]));
    halting.await_values("h:last", &values(10, &[&news[..15]]));
    halting.await_values(
        "h:between",
        &values(10, &[&news[..2], &news[4..18], &news[19..]]),
    );
    drain(&mut daemon);
    daemon.restart();
    daemon.wait_ready();
    for fate in fates {
        await_level(&daemon, &format!("h:{fate}"));
    }
    assert_eq!(gaps(&daemon, "halting"), causes(&[]));
    let more = add(redis(), db, "h:trim", "more", 3);
    halting.await_values("h:trim", &values(10, &[&news[15..], &more]));
}

#[test]
fn an_entry_added_and_deleted_at_once_is_found_while_the_stream_is_quiet() {
    let plan = two_routes("at-once", &["quiet"]);
    let (daemon, _, _) = begun(&plan, &["quiet"]);
    for name in ["h:quiet", "r:quiet"] {
        await_level(&daemon, name);
        redis::pipe()
            .atomic()
            .cmd("XADD")
            .arg(name)
            .arg("9999999999999-1")
            .arg("data")
            .arg("gone")
            .cmd("XDEL")
            .arg(name)
            .arg("9999999999999-1")
            .query::<()>(&mut redis().connection(plan.database))
            .unwrap();
    }
    await_state(&daemon, "h:quiet", "halted", "entries-deleted");
    eventually(SOON, "the entry is counted", || {
        let found = gaps(&daemon, "recording");
        if found == causes(&[("deleted", 1)]) {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    });
    await_level(&daemon, "r:quiet");
    resume(&daemon, plan.database, "h:quiet", None);
    await_level(&daemon, "h:quiet");
    assert_eq!(gaps(&daemon, "halting"), causes(&[("deleted", 1)]));
}

#[test]
fn what_is_deleted_behind_an_id_to_begin_at_is_counted_over_a_restart() {
    let plan = Plan::new("start-count").route(
        "r",
        &["at", "before"],
        &format!("start = \"100-0\"\n{RECORD}"),
    );
    kafka().create_topic(&plan.topic("r"), 1, &[]);
    let xadd = |stream: &str, ids: std::ops::RangeInclusive<u64>| -> Vec<String> {
        let added = ids.map(|id| {
            redis().command::<()>(plan.database, &format!("XADD {stream} {id}-0 data v{id}"));
            format!("v{id}")
        });
        added.collect()
    };
    // One has come to the id and not beyond it, the other began behind it.
    xadd("at", 98..=100);
    let mut expected = xadd("before", 201..=203);
    let mut daemon = plan.daemon();
    let mut topic = Topic::new(&plan.topic("r"));
    topic.await_values("before", &expected);
    for name in ["at", "before"] {
        await_level(&daemon, name);
    }
    drain(&mut daemon);
    let new = xadd("at", 101..=110);
    expected.extend(xadd("before", 204..=206));
    redis().command::<()>(plan.database, "XDEL at 101-0 102-0 103-0 104-0");
    daemon.restart();
    daemon.wait_ready();
    topic.await_values("at", &new[4..]);
    topic.await_values("before", &expected);
    for name in ["at", "before"] {
        await_level(&daemon, name);
    }
    assert_eq!(gaps(&daemon, "r"), causes(&[("deleted", 4)]));
}
