//! Streams and routes that come later: found while running, or taken up by a restart; topics of captures made on the way.

use std::time::Duration;

use crate::harness::{Class, Daemon, Entry, Expected, Ledger, eventually};
use crate::rig::{LONG, Rig, assert_level_in_the_end, running_streams};

const TASKS: i32 = 4;

/// A worker's queue goes to a topic of its own, on the partition that its number says.
fn tasks_route(rig: &Rig) -> String {
    format!(
        r#"
[[routes]]
name = "tasks"
streams = ["work:tasks:*"]
topic = "{}.tasks.$1"
partitions = {TASKS}
key = {{ field = "id" }}
partition = {{ hash = "stream-index" }}
value = {{ field = "data" }}
"#,
        rig.name
    )
}

fn add_tasks(rig: &Rig, worker: u32, from: u32, count: u32) {
    let mut connection = rig.redis.connection(rig.database);
    let mut pipe = redis::pipe();
    for n in from..from + count {
        pipe.cmd("XADD")
            .arg(format!("work:tasks:{worker}"))
            .arg("*")
            .arg("id")
            .arg(n)
            .arg("data")
            .arg(format!("task {n}"));
    }
    pipe.query::<Vec<String>>(&mut connection).unwrap();
}

fn tasks_ledger(rig: &Rig, worker: u32) -> Ledger {
    let (stream, topic) = (
        format!("work:tasks:{worker}"),
        format!("{}.tasks.{worker}", rig.name),
    );
    let name = topic.clone();
    let expected = move |entry: &Entry| {
        Some(Expected {
            topic: name.clone(),
            partition: i32::try_from(worker).unwrap(),
            key: Some(entry.fields[0].1.clone()),
            value: Some(entry.fields[1].1.clone()),
            headers: Vec::new(),
            timestamp_ms: Some(entry.id.0.try_into().unwrap()),
        })
    };
    Ledger::new(
        &rig.redis.url(rig.database),
        &[stream],
        &rig.kafka.bootstrap(),
        &[&topic],
        expected,
    )
}

fn runs(daemon: &Daemon, stream: &str) {
    eventually(LONG, &format!("{stream} is mirrored"), || {
        let streams = running_streams(daemon);
        streams
            .contains(stream)
            .then_some(())
            .ok_or_else(|| format!("{streams:?}"))
    });
}

#[test]
fn a_route_needs_a_restart_and_a_stream_that_matches_needs_nothing() {
    let plain = Rig::new("new-streams");
    let load = plain.load(500);
    add_tasks(&plain, 1, 0, 200);
    let mut daemon = plain.daemon();
    runs(&daemon, "msg:stream:0");

    let rig = Rig {
        routes: tasks_route(&plain),
        ..plain
    };
    daemon.reconfigure(&rig.config());
    daemon.term();
    assert_eq!(daemon.wait(Duration::from_secs(20)).code(), Some(0));
    daemon.restart();
    daemon.wait_ready();
    runs(&daemon, "work:tasks:1");
    let report = tasks_ledger(&rig, 1).settle(LONG);
    report.assert_level();
    assert_eq!(report.entries, 200, "from its first entry");

    add_tasks(&rig, 2, 0, 300);
    add_tasks(&rig, 2, 300, 1);
    runs(&daemon, "work:tasks:2");
    add_tasks(&rig, 2, 301, 100);
    add_tasks(&rig, 1, 200, 50);
    for (worker, entries) in [(1, 250), (2, 401)] {
        let report = tasks_ledger(&rig, worker).settle(LONG);
        report.assert_level();
        assert_eq!((report.entries, report.of(Class::Missing)), (entries, 0));
    }
    let text = rig.kafka.describe_topic(&format!("{}.tasks.2", rig.name));
    assert!(
        text.contains(&format!("PartitionCount: {TASKS}")),
        "made on discovery: {text}"
    );

    daemon.kill9();
    add_tasks(&rig, 3, 0, 100);
    daemon.restart();
    runs(&daemon, "work:tasks:3");
    let report = tasks_ledger(&rig, 3).settle(LONG);
    report.assert_level();
    assert_eq!(report.entries, 100);
    assert_level_in_the_end(&rig, load);
}
