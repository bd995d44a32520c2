//! Where records go is not as configured, or what says how far they went is lost: a named halt, neighbours go on.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{eventually, kafka, lockgate, redis};
use crate::parity_audit::await_parity;
use crate::plan::{Plan, SOON, Topic, add, await_level, await_state, drain, resume, stream};
use crate::resize::resize;

#[test]
fn a_missing_topic_halts_its_streams_until_it_is_made() {
    let plan = Plan::new("missing")
        .route("there", &["a"], "")
        .route("missing", &["b"], "");
    kafka().create_topic(&plan.topic("there"), 1, &[]);
    let db = plan.database;
    let (a, b) = (
        add(redis(), db, "a", "x", 10),
        add(redis(), db, "b", "y", 10),
    );
    let daemon = plan.daemon();
    await_state(&daemon, "b", "halted", "topic-missing");
    let mut there = Topic::new(&plan.topic("there"));
    there.await_values("a", &a);
    kafka().create_topic(&plan.topic("missing"), 1, &[]);
    let mut made = Topic::new(&plan.topic("missing"));
    made.await_values("b", &b);
    await_level(&daemon, "b");
    there.await_count(10);
}

#[test]
fn a_topic_with_another_partition_count_halts_or_goes_on_as_configured() {
    let plan = Plan::new("partitions")
        .route("halting", &["a"], "")
        .route("going", &["b"], "on_partition_change = \"record\"\n")
        .route(
            "fewer",
            &["c"],
            "partitions = 2\non_partition_change = \"record\"\n",
        )
        .route("right", &["d"], "");
    for (topic, partitions) in [("halting", 2), ("going", 2), ("fewer", 1), ("right", 1)] {
        kafka().create_topic(&plan.topic(topic), partitions, &[]);
    }
    let values: Vec<_> = ["a", "b", "c", "d"]
        .map(|name| add(redis(), plan.database, name, name, 10))
        .into();
    let daemon = plan.daemon();
    await_state(&daemon, "a", "halted", "partition-count-changed");
    await_state(&daemon, "c", "halted", "partition-count-changed");
    let mut going = Topic::new(&plan.topic("going"));
    going.await_values("b", &values[1]);
    assert!(
        going.records().iter().all(|record| record.partition == 0),
        "the route's count places them"
    );
    let surplus = |route| daemon.metric("lockgate_mirror_surplus_partitions", &[("route", route)]);
    assert_eq!(
        ["going", "fewer", "right"].map(surplus),
        [Some(1.0), Some(0.0), Some(0.0)]
    );
    let shown = daemon.status().unwrap()["routes"].clone();
    let going = shown
        .as_array()
        .unwrap()
        .iter()
        .find(|route| route["name"] == "going");
    assert_eq!(
        going.unwrap()["surplus_partitions"][plan.topic("going")],
        1,
        "{shown}"
    );
    Topic::new(&plan.topic("right")).await_values("d", &values[3]);
    assert_eq!(Topic::new(&plan.topic("halting")).records().len(), 0);
}

#[test]
fn lost_checkpoints_halt_and_never_begin_again_by_themselves() {
    let plan = Plan::new("lost").route("r", &["a", "b"], "");
    kafka().create_topic(&plan.topic("r"), 1, &[]);
    let db = plan.database;
    let (a, b) = (
        add(redis(), db, "a", "x", 10),
        add(redis(), db, "b", "y", 10),
    );
    let mut daemon = plan.daemon();
    let mut topic = Topic::new(&plan.topic("r"));
    topic.await_values("a", &a);
    topic.await_values("b", &b);
    drain(&mut daemon);
    kafka().delete_topic(&format!("lockgate.{}.checkpoints", plan.name));
    let after = crate::plan::ids(redis(), db, "b");
    daemon.restart();
    daemon.wait_ready();
    let seen = await_state(&daemon, "a", "halted", "checkpoint-lost");
    assert!(
        seen["last_error"].as_str().unwrap().contains("--from"),
        "{seen}"
    );
    await_state(&daemon, "b", "halted", "checkpoint-lost");
    topic.await_count(20);
    // Without saying where to begin, nothing is lifted.
    let body = json!({ "database": db, "stream": "a", "reason": "no place given" });
    let (code, problem) = daemon.post("/v1/streams/resume", &body).unwrap();
    assert_eq!(code, 409, "{problem}");
    assert!(problem.contains("--from"), "{problem}");
    await_state(&daemon, "a", "halted", "checkpoint-lost");
    resume(&daemon, db, "a", Some("latest"));
    await_level(&daemon, "a");
    // What was mirrored of the other is no stranger's, though no checkpoint names it.
    let more = add(redis(), db, "a", "more", 3);
    let seen = await_parity(&daemon, "what is new of the one is compared", |seen| {
        seen["compared"].as_u64() >= Some(3)
    });
    assert_eq!(seen["open"]["extra"], 0, "{seen:#}");
    resume(&daemon, db, "b", Some(&after[6]));
    topic.await_values("b", &[&b[..], &b[7..]].concat());
    topic.await_values("a", &[a, more].concat());
}

#[test]
fn a_checkpoint_topic_that_goes_under_a_running_mirror_is_made_again_and_nothing_begins_again() {
    let plan = Plan::new("lost-running").route("r", &["a", "b"], "");
    kafka().create_topic(&plan.topic("r"), 1, &[]);
    let db = plan.database;
    let a = add(redis(), db, "a", "x", 10);
    let b = add(redis(), db, "b", "y", 10);
    let mut daemon = plan.daemon();
    let mut topic = Topic::new(&plan.topic("r"));
    topic.await_values("a", &a);
    topic.await_values("b", &b);
    let checkpoints = format!("lockgate.{}.checkpoints", plan.name);
    kafka().tool("TopicCommand", &["--delete", "--topic", &checkpoints]);
    eventually(SOON, "it is said and made again", || {
        let log = daemon.log();
        let made = log.matches("making the checkpoint topic").count();
        (log.contains("the checkpoint topic is gone") && made == 2).then_some(())
    });
    drain(&mut daemon);
    daemon.restart();
    daemon.wait_ready();
    await_state(&daemon, "a", "halted", "checkpoint-lost");
    await_state(&daemon, "b", "halted", "checkpoint-lost");
    topic.await_count(20);
    topic.await_values("a", &a);
    topic.await_values("b", &b);
}

#[test]
fn marks_of_what_has_begun_that_go_under_a_running_mirror_are_written_again() {
    let mut plan = Plan::new("marks")
        .route("globbed", &["g:*"], "start = \"latest\"\n")
        .route("named", &["n"], "");
    plan.redis_more = "discovery_interval = \"200ms\"".to_owned();
    for route in ["globbed", "named"] {
        kafka().create_topic(&plan.topic(route), 1, &[]);
    }
    let db = plan.database;
    add(redis(), db, "g:old", "old", 3);
    add(redis(), db, "n", "x", 3);
    let mut daemon = plan.daemon();
    await_level(&daemon, "g:old");
    drain(&mut daemon);
    // A look at the marks comes before anything that a glob matches is known.
    daemon.restart();
    await_level(&daemon, "g:old");
    let key = format!("lockgate:{}:started", plan.name);
    let marks = || redis().command::<BTreeSet<String>>(db, &format!("SMEMBERS {key}"));
    let all = marks();
    assert!(
        all.contains("n") && all.contains("@route:globbed"),
        "{all:?}"
    );

    redis().command::<()>(db, &format!("DEL {key}"));
    eventually(SOON, "all are noted again", || {
        let now = marks();
        (now == all)
            .then_some(())
            .ok_or(format!("{now:?} of {all:?}"))
    });
    drain(&mut daemon);
    let new = add(redis(), db, "g:new", "new", 3);
    daemon.restart();
    Topic::new(&plan.topic("globbed")).await_values("g:new", &new);
}

#[test]
fn a_checkpoint_topic_made_again_after_a_resize_has_the_shards_of_the_resize() {
    let plan = Plan::new("lost-resized").route("r", &["a", "b"], "");
    kafka().create_topic(&plan.topic("r"), 1, &[]);
    let db = plan.database;
    add(redis(), db, "a", "x", 10);
    add(redis(), db, "b", "y", 10);
    let mut daemon = plan.daemon();
    let mut topic = Topic::new(&plan.topic("r"));
    topic.await_count(20);
    drain(&mut daemon);
    resize(&daemon, 3);
    daemon.restart();
    daemon.wait_ready();
    await_level(&daemon, "a");
    await_level(&daemon, "b");
    let shown = || {
        let file = daemon.config_file();
        let file = file.to_str().unwrap();
        let output = lockgate(&["shards", "show", "--config", file, "--output", "json"]);
        let shown = serde_json::from_slice::<serde_json::Value>(&output.stdout).ok()?;
        let layout = &shown["layout"];
        let numbers = [&shown["partitions"], &layout["count"], &layout["version"]];
        Some(numbers.map(|number| number.as_u64().unwrap_or(0)))
    };
    assert_eq!(shown(), Some([3, 3, 3]));
    let checkpoints = format!("lockgate.{}.checkpoints", plan.name);
    kafka().tool("TopicCommand", &["--delete", "--topic", &checkpoints]);
    eventually(SOON, "it is made again", || {
        daemon.log().contains("the checkpoint topic is gone") && shown() == Some([3, 3, 3])
    });
    for name in ["a", "b"] {
        assert!(stream(&daemon, name).is_some(), "{name} keeps its owner");
    }
}

#[test]
fn another_placement_halts_until_the_operator_agrees() {
    let keyed = |field: &str| {
        format!(
            "partitions = 4\nkey = {{ field = \"{field}\" }}\npartition = {{ hash = \"murmur2\" }}\n"
        )
    };
    let plan = Plan::new("moved")
        .route("r", &["a"], &keyed("data"))
        .route("steady", &["b"], "");
    kafka().create_topic(&plan.topic("r"), 4, &[]);
    kafka().create_topic(&plan.topic("steady"), 1, &[]);
    let db = plan.database;
    add(redis(), db, "a", "x", 10);
    let b = add(redis(), db, "b", "y", 10);
    let mut daemon = plan.daemon();
    let mut topic = Topic::new(&plan.topic("r"));
    topic.await_count(10);
    drain(&mut daemon);
    redis().command::<()>(db, "XADD a * data x other z");
    let other = plan
        .toml()
        .replace("key = { field = \"data\" }", "key = { field = \"other\" }");
    assert_ne!(other, plan.toml());
    daemon.reconfigure(&other);
    daemon.restart();
    daemon.wait_ready();
    await_state(&daemon, "a", "halted", "placement-changed");
    // Where it goes on is known: to name another place is a mistake.
    let body = json!({ "database": db, "stream": "a", "from": "latest", "reason": "a mistake" });
    let (code, problem) = daemon.post("/v1/streams/resume", &body).unwrap();
    assert_eq!(code, 409, "{problem}");
    let more = add(redis(), db, "b", "more", 2);
    Topic::new(&plan.topic("steady")).await_values("b", &[b, more].concat());
    topic.await_count(10);
    resume(&daemon, db, "a", None);
    let records = topic.await_count(11);
    assert_eq!(records.last().unwrap().key.as_deref(), Some(&b"z"[..]));
    drain(&mut daemon);
    daemon.restart();
    daemon.wait_ready();
    await_level(&daemon, "a");
}

#[test]
fn a_key_of_another_type_is_named_and_taken_up_when_it_becomes_a_stream() {
    let plan = Plan::new("other-type").route("r", &["a", "b", "c"], "");
    kafka().create_topic(&plan.topic("r"), 1, &[]);
    let db = plan.database;
    redis().command::<()>(db, "SET a text");
    let b = add(redis(), db, "b", "x", 10);
    let c = add(redis(), db, "c", "z", 10);
    let daemon = plan.daemon();
    let mut topic = Topic::new(&plan.topic("r"));
    topic.await_values("b", &b);
    topic.await_values("c", &c);
    let seen = await_state(&daemon, "a", "halted", "not-a-stream");
    assert!(
        seen["last_error"].as_str().unwrap().contains("string"),
        "{seen}"
    );
    // One that is a stream becomes a list while it is read.
    redis::pipe()
        .atomic()
        .cmd("DEL")
        .arg("c")
        .ignore()
        .cmd("LPUSH")
        .arg("c")
        .arg("1")
        .ignore()
        .query::<()>(&mut redis().connection(db))
        .unwrap();
    await_state(&daemon, "c", "halted", "not-a-stream");
    let more = add(redis(), db, "b", "more", 10);
    topic.await_values("b", &[b, more].concat());
    redis().command::<()>(db, "DEL a");
    let a = add(redis(), db, "a", "y", 10);
    topic.await_values("a", &a);
    await_level(&daemon, "a");
}
