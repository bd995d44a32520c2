//! Streams and routes that come later: found while running, or taken up by a restart; topics of captures made on the way;
//! and looking for them when that breaks off.

use std::time::Duration;

use crate::harness::{Class, Cut, Daemon, Entry, Expected, Fault, Ledger, Way, eventually};
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

const QUEUES: u32 = 300;

/// Queues that are mirrored from the moment on at which their route begins.
fn queues_route(rig: &Rig) -> String {
    format!(
        r#"
[[routes]]
name = "queues"
streams = ["queue:*"]
topic = "{}.queues"
partitions = 1
start = "latest"
value = {{ field = "data" }}
"#,
        rig.name
    )
}

fn queues(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("queue:{n}")).collect()
}

/// An entry to each; what says `before` was there when the route began.
fn add_to_all(rig: &Rig, streams: &[String], data: &str) {
    let mut pipe = redis::pipe();
    for stream in streams {
        pipe.cmd("XADD").arg(stream).arg("*").arg("data").arg(data);
    }
    let mut connection = rig.redis.connection(rig.database);
    pipe.query::<Vec<String>>(&mut connection).unwrap();
}

/// Breaks off after so many bytes of answers, one after another; looking for streams is most of what a daemon asks at first.
fn break_off(cut: &Cut) {
    for bytes in [6_000, 4_000, 5_000, 3_000, 7_000, 4_500, 5_500] {
        cut.after(Way::Answering, bytes, Fault::Close);
        eventually(LONG, "a connection breaks off", || !cut.is_armed());
    }
}

#[test]
fn a_scan_that_breaks_off_forgets_no_stream_and_takes_no_old_one_for_new() {
    let plain = Rig::new("torn-scan");
    let cut = Cut::to_port(plain.redis.port);
    let rig = Rig {
        redis_url: format!("redis://127.0.0.1:{}/{}", cut.port(), plain.database),
        routes: queues_route(&plain),
        ..plain
    };
    let topic = format!("{}.queues", rig.name);
    rig.kafka.create_topic(&topic, 1, &[]);
    // Keys that are no streams make the scan long.
    let fill = "for n = 1, 30000 do redis.call('SET', 'key:' .. n, '') end return 'OK'";
    let mut connection = rig.redis.connection(rig.database);
    let filled: redis::RedisResult<String> =
        redis::cmd("EVAL").arg(fill).arg(0).query(&mut connection);
    filled.unwrap();
    let old = queues(0..QUEUES);
    add_to_all(&rig, &old, "before");

    let mut daemon = Daemon::start(&rig.config());
    break_off(&cut);
    daemon.wait_ready();
    for stream in &old {
        runs(&daemon, stream);
    }
    add_to_all(&rig, &old, "after");

    daemon.kill9();
    let new = queues(QUEUES..2 * QUEUES);
    add_to_all(&rig, &new, "after");
    daemon.restart();
    break_off(&cut);
    daemon.wait_ready();
    let to = topic.clone();
    let expected = move |entry: &Entry| {
        let data = &entry.fields[0].1;
        (data.as_slice() == b"after").then(|| Expected {
            topic: to.clone(),
            partition: 0,
            key: None,
            value: Some(data.clone()),
            headers: Vec::new(),
            timestamp_ms: Some(entry.id.0.try_into().unwrap()),
        })
    };
    let mut ledger = Ledger::new(
        &rig.redis.url(rig.database),
        &queues(0..2 * QUEUES),
        &rig.kafka.bootstrap(),
        &[&topic],
        expected,
    );
    let report = ledger.settle(LONG);
    report.assert_level();
    let queues = usize::try_from(QUEUES).unwrap();
    assert_eq!((report.entries, report.records), (3 * queues, 2 * queues));
}

/// The id that the mirror is told to begin behind.
const START: (u64, u64) = (1_750_000_000_000, 5);

fn add_with_id(rig: &Rig, stream: &str, ms: u64, seq: u64) {
    let id = format!("{ms}-{seq}");
    let mut connection = rig.redis.connection(rig.database);
    let added: redis::RedisResult<String> = redis::cmd("XADD")
        .arg(stream)
        .arg(&id)
        .arg("data")
        .arg(format!("{stream} {id}"))
        .query(&mut connection);
    added.unwrap();
}

/// All four run, and status says where each began.
fn begun_at_start(daemon: &Daemon) {
    eventually(
        LONG,
        "the four streams run, begun where they were told",
        || {
            let status = daemon.status().ok_or("no status")?;
            let streams = status["streams"].as_array().ok_or("no streams")?;
            let of_route = streams.iter().filter(|one| one["route"] == "begun");
            let ready = of_route.filter(|one| {
                one["state"]["name"] == "running"
                    && one["began"] == format!("{}-{}", START.0, START.1)
                    && one["lag_entries"] == 0
            });
            (ready.count() == 4).then_some(()).ok_or(status.to_string())
        },
    );
}

#[test]
fn a_mirror_begins_behind_the_id_that_it_is_told_whatever_the_stream_holds() {
    let plain = Rig::new("start-id");
    let topic = format!("{}.begun", plain.name);
    let rig = Rig {
        routes: format!(
            r#"
[[routes]]
name = "begun"
streams = ["begun:{{0..3}}"]
topic = "{topic}"
partitions = 1
start = "{}-{}"
on_gap = "record"
value = {{ field = "data" }}
"#,
            START.0, START.1
        ),
        ..plain
    };
    rig.kafka.create_topic(&topic, 1, &[]);
    let (ms, seq) = START;
    // One has not come there, one lies across it, one is not there, one began later.
    for n in 1..=3 {
        add_with_id(&rig, "begun:0", ms - 10, n);
        add_with_id(&rig, "begun:1", ms, seq - 2 + n);
        add_with_id(&rig, "begun:3", ms + 10, n);
    }
    let mut daemon = rig.daemon();
    begun_at_start(&daemon);
    // Still before it, then behind it.
    add_with_id(&rig, "begun:0", ms, 1);
    add_with_id(&rig, "begun:2", ms, seq);
    begun_at_start(&daemon);
    for stream in ["begun:0", "begun:1", "begun:2"] {
        add_with_id(&rig, stream, ms + 20, 1);
    }
    let to = topic.clone();
    let expected = move |entry: &Entry| {
        (entry.id > START).then(|| Expected {
            topic: to.clone(),
            partition: 0,
            key: None,
            value: Some(entry.fields[0].1.clone()),
            headers: Vec::new(),
            timestamp_ms: Some(entry.id.0.try_into().unwrap()),
        })
    };
    let streams: Vec<String> = (0..4).map(|n| format!("begun:{n}")).collect();
    let mut ledger = Ledger::new(
        &rig.redis.url(rig.database),
        &streams,
        &rig.kafka.bootstrap(),
        &[&topic],
        expected,
    );
    let report = ledger.settle(LONG);
    report.assert_level();
    assert_eq!((report.entries, report.records), (14, 7));

    daemon.kill9();
    add_with_id(&rig, "begun:3", ms + 30, 1);
    daemon.restart();
    daemon.wait_ready();
    begun_at_start(&daemon);
    let report = ledger.settle(LONG);
    report.assert_level();
    assert_eq!(report.records, 8);
    let gaps = daemon.metric(
        "lockgate_mirror_gap_entries_total",
        &[("route", "begun"), ("cause", "recreated")],
    );
    assert_eq!(gaps, Some(0.0));
}
