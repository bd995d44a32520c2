//! Streams that are deleted, flushed or made anew under the mirror: named, what was unread is counted, and nothing that
//! was mirrored before is mirrored again.

use serde_json::json;

use crate::gaps::{RECORD, begun, two_routes, values};
use crate::harness::{Daemon, eventually, kafka, redis};
use crate::plan::{
    Plan, SOON, Topic, add, await_level, await_state, causes, drain, gaps, header, identities,
    resume, stream,
};

#[test]
fn a_stream_deleted_and_made_anew_is_not_replayed() {
    let fates = ["gone", "small-ids", "new-ids", "steady"];
    let plan = two_routes("anew", &fates);
    let (mut daemon, mut halting, mut recording) = begun(&plan, &fates);
    drain(&mut daemon);
    let db = plan.database;
    for prefix in ["h", "r"] {
        redis().command::<()>(
            db,
            &format!("DEL {prefix}:gone {prefix}:small-ids {prefix}:new-ids"),
        );
        for id in ["1-1", "1-2", "2-1"] {
            redis().command::<()>(db, &format!("XADD {prefix}:small-ids {id} data {id}"));
        }
        add(redis(), db, &format!("{prefix}:new-ids"), "anew", 3);
    }
    daemon.restart();
    daemon.wait_ready();
    for fate in fates {
        await_level(&daemon, &format!("r:{fate}"));
    }
    let small: Vec<String> = ["1-1", "1-2", "2-1"].map(str::to_owned).into();
    let anew: Vec<String> = (0..3).map(|n| format!("anew{n}")).collect();
    recording.await_values("r:small-ids", &values(10, &[&small]));
    recording.await_values("r:new-ids", &values(10, &[&anew]));
    recording.await_values("r:gone", &values(10, &[]));
    assert_eq!(
        gaps(&daemon, "recording"),
        causes(&[]),
        "all that was there had been mirrored"
    );
    let later = add(redis(), db, "r:gone", "later", 2);
    recording.await_values("r:gone", &values(10, &[&later]));
    for record in recording.records().iter().skip(10 * fates.len()) {
        assert_eq!(
            header(record, "redis-gen"),
            "1",
            "{:?}",
            identities(std::slice::from_ref(record))
        );
    }

    await_level(&daemon, "h:steady");
    await_state(&daemon, "h:gone", "halted", "stream-deleted");
    await_state(&daemon, "h:small-ids", "halted", "stream-recreated");
    await_state(&daemon, "h:new-ids", "halted", "stream-recreated");
    halting.await_count(10 * fates.len());
    // Made anew while it is halted, and halted still after a restart.
    let later = add(redis(), db, "h:gone", "later", 2);
    drain(&mut daemon);
    daemon.restart();
    daemon.wait_ready();
    await_state(&daemon, "h:gone", "halted", "stream-recreated");
    for fate in ["gone", "small-ids", "new-ids"] {
        resume(&daemon, db, &format!("h:{fate}"), None);
        await_level(&daemon, &format!("h:{fate}"));
    }
    halting.await_values("h:gone", &values(10, &[&later]));
    halting.await_values("h:small-ids", &values(10, &[&small]));
    halting.await_values("h:new-ids", &values(10, &[&anew]));
    let found = identities(halting.records());
    let mut once = found.clone();
    once.sort();
    once.dedup();
    assert_eq!(found.len(), once.len(), "{found:?}");
}

#[test]
fn a_stream_made_anew_with_a_burst_is_mirrored_once() {
    let plan = two_routes("burst", &["a"]);
    let (daemon, _, mut recording) = begun(&plan, &["a"]);
    let mut expected = values(10, &[]);
    for round in 0..3 {
        await_level(&daemon, "r:a");
        let mut pipe = redis::pipe();
        pipe.atomic().cmd("DEL").arg("r:a").ignore();
        for n in 0..5_000 {
            let value = format!("round{round}-{n}");
            pipe.cmd("XADD")
                .arg("r:a")
                .arg("*")
                .arg("data")
                .arg(&value)
                .ignore();
            expected.push(value);
        }
        pipe.query::<()>(&mut redis().connection(plan.database))
            .unwrap();
        eventually(SOON, "the burst is mirrored as a new generation", || {
            recording.values_of("r:a").len() >= expected.len()
                && stream(&daemon, "r:a").unwrap()["generation"] == json!(round + 1)
        });
        await_level(&daemon, "r:a");
        let found = recording.values_of("r:a");
        assert_eq!(
            found.len(),
            expected.len(),
            "round {round}: entries were mirrored twice"
        );
        assert!(found == expected, "round {round}: another order");
        assert_eq!(
            gaps(&daemon, "recording"),
            causes(&[]),
            "round {round}: all of the old one had been mirrored"
        );
    }
}

#[test]
fn a_flushed_database_is_named_and_not_replayed() {
    let fates = ["a", "b"];
    let plan = two_routes("flush", &fates);
    let (mut daemon, mut halting, mut recording) = begun(&plan, &fates);
    let db = plan.database;
    for name in ["h:a", "h:b", "r:a", "r:b"] {
        await_level(&daemon, name);
    }
    redis().command::<()>(db, "FLUSHDB");
    await_state(&daemon, "h:a", "halted", "stream-deleted");
    await_state(&daemon, "h:b", "halted", "stream-deleted");
    let after = add(redis(), db, "r:a", "after", 5);
    recording.await_values("r:a", &values(10, &[&after]));
    drain(&mut daemon);
    daemon.restart();
    daemon.wait_ready();
    let again = add(redis(), db, "r:b", "again", 5);
    recording.await_values("r:b", &values(10, &[&again]));
    recording.await_values("r:a", &values(10, &[&after]));
    await_state(&daemon, "h:a", "halted", "stream-deleted");
    resume(&daemon, db, "h:a", None);
    await_level(&daemon, "h:a");
    let last = add(redis(), db, "h:a", "last", 1);
    halting.await_values("h:a", &values(10, &[&last]));
    halting.await_values("h:b", &values(10, &[]));
}

#[test]
fn a_stream_deleted_under_a_mirror_that_lags_counts_what_was_unread() {
    let plan = Plan::new("lagging")
        .route("slow", &["a"], RECORD)
        .route("remade", &["c"], RECORD)
        .route("halting", &["b"], "");
    for route in ["slow", "remade", "halting"] {
        kafka().create_topic(&plan.topic(route), 1, &[]);
    }
    let db = plan.database;
    add(redis(), db, "a", "x", 500);
    add(redis(), db, "b", "x", 500);
    add(redis(), db, "c", "x", 500);
    let daemon = Daemon::ready(&format!(
        "{}\n[throttle]\nentries_per_second = 5\n",
        plan.toml()
    ));
    let (mut slow, mut remade, mut halting) = (
        Topic::new(&plan.topic("slow")),
        Topic::new(&plan.topic("remade")),
        Topic::new(&plan.topic("halting")),
    );
    let known = |name: &str| {
        eventually(SOON, "the lag is known", || {
            let seen = stream(&daemon, name).ok_or("not shown")?;
            let lag = seen["lag_entries"].as_u64().unwrap_or(0);
            let mirrored = seen["mirrored_entries"].as_u64().unwrap_or(0);
            if lag > 300 && mirrored > 0 {
                Ok(())
            } else {
                Err("not yet")
            }
        });
    };
    known("a");
    known("b");
    known("c");
    redis().command::<()>(db, "DEL a b");
    let mut pipe = redis::pipe();
    pipe.atomic().cmd("DEL").arg("c").ignore();
    for n in 0..3 {
        pipe.cmd("XADD")
            .arg("c")
            .arg("*")
            .arg("data")
            .arg(n)
            .ignore();
    }
    pipe.query::<()>(&mut redis().connection(db)).unwrap();
    let (code, _) = daemon.put("/v1/throttle", &json!({})).unwrap();
    assert_eq!(code, 200);
    await_state(&daemon, "b", "halted", "stream-deleted");
    await_level(&daemon, "a");
    await_level(&daemon, "c");
    for (route, topic, cause, all) in [
        ("slow", &mut slow, "deleted", 500),
        ("remade", &mut remade, "recreated", 503),
    ] {
        eventually(SOON, "every entry is either mirrored or counted", || {
            let lost = gaps(&daemon, route).get(cause).copied().unwrap_or(0);
            let mirrored = topic.records().len() as u64;
            if lost + mirrored == all {
                Ok(())
            } else {
                Err(format!("{route}: {lost} lost, {mirrored} mirrored"))
            }
        });
    }
    resume(&daemon, db, "b", None);
    await_level(&daemon, "b");
    // Level shows with the look, the count with the commit behind it.
    eventually(SOON, "what was unread is counted", || {
        let lost = gaps(&daemon, "halting").get("deleted").copied();
        lost.unwrap_or(0) + halting.records().len() as u64 == 500
    });
}
