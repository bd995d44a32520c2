//! A stream that Redis does not let us read, or that is none any more, is an obstacle of its own to parity: named with its
//! reason, never level, and the others are judged as though it were not there.

use serde_json::{Value, json};

use crate::harness::{Daemon, DaemonOptions, RedisOptions, RedisServer, kafka, lockgate_with};
use crate::parity::hand::{Hand, Outgoing};
use crate::parity_audit::{await_level, await_parity};
use crate::plan::{Plan, add};
use crate::rig::now_ms;

/// Of the user `mirror`.
const WORD: (&str, &str) = ("LOCKGATE_REDIS__PASSWORD", "word");

fn plan(what: &str, redis: &RedisServer, database: u32) -> Plan {
    let mut plan = Plan::on(what, redis, database, kafka()).route("r", &["a", "b"], "");
    plan.more = "[parity]\nwindow = \"300ms\"\n".to_owned();
    kafka().create_topic(&plan.topic("r"), 1, &[]);
    plan
}

/// Exit code and outcome of `lockgate parity verify`.
#[track_caller]
pub fn verify(daemon: &Daemon, env: &[(&str, &str)]) -> (Option<i32>, Value) {
    let file = daemon.config_file();
    let words = ["parity", "verify", "--output", "json", "--config"];
    let words = [&words[..], &[file.to_str().unwrap()]].concat();
    let printed = lockgate_with(&words, env);
    let outcome = serde_json::from_slice(&printed.stdout);
    let outcome = outcome.unwrap_or_else(|_| panic!("{printed:?}"));
    (printed.status.code(), outcome)
}

/// A record that is no entry's.
fn foreign(plan: &Plan) -> Outgoing {
    Outgoing {
        topic: plan.topic("r"),
        partition: 0,
        key: None,
        value: Some(b"whose?".to_vec()),
        headers: Vec::new(),
        timestamp_ms: i64::try_from(now_ms()).unwrap(),
    }
}

#[test]
fn nothing_is_level_while_there_is_what_was_never_taken_up() {
    let server = RedisServer::start(RedisOptions {
        users: vec!["user mirror on >word ~a ~lockgate:* &* +@all -scan".to_owned()],
        ..RedisOptions::default()
    });
    let mut plan = plan("untaken", &server, 0).route("glob", &["c:*"], "");
    plan.redis_more = "username = \"mirror\"\n".to_owned();
    kafka().create_topic(&plan.topic("glob"), 1, &[]);
    for stream in ["a", "b", "c:1"] {
        add(&server, 0, stream, "x", 10);
    }
    let daemon = plan.daemon_with(DaemonOptions {
        env: vec![(WORD.0.to_owned(), WORD.1.to_owned())],
        ..DaemonOptions::default()
    });
    let unknown = |compared: u64, why: &'static str| {
        move |seen: &Value| {
            let reason = seen["reason"].as_str().unwrap_or_default();
            seen["state"] == "unknown" && seen["compared"] == compared && reason.contains(why)
        }
    };
    await_parity(
        &daemon,
        "the stream that may not be read is named",
        unknown(10, "stream b is not mirrored yet"),
    );
    server.command::<()>(0, "ACL SETUSER mirror ~*");
    await_parity(
        &daemon,
        "streams that nobody could look for may hold anything",
        unknown(20, "could not be looked for"),
    );
    server.command::<()>(0, "ACL SETUSER mirror +scan");
    await_level(&daemon, 30);
}

#[test]
fn a_stream_that_may_not_be_read_hides_no_other() {
    let server = RedisServer::start(RedisOptions {
        users: vec!["user mirror on >word ~* &* +@all".to_owned()],
        ..RedisOptions::default()
    });
    let mut plan = plan("unread", &server, 0);
    plan.redis_more = "username = \"mirror\"\n".to_owned();
    add(&server, 0, "a", "x", 10);
    add(&server, 0, "b", "x", 10);
    let mut daemon = plan.daemon_with(DaemonOptions {
        env: vec![(WORD.0.to_owned(), WORD.1.to_owned())],
        ..DaemonOptions::default()
    });
    await_level(&daemon, 20);

    server.command::<()>(0, "ACL SETUSER mirror resetkeys ~a ~lockgate:*");
    add(&server, 0, "a", "new", 10);
    let others = |seen: &Value| {
        let reason = seen["reason"].as_str().unwrap_or_default();
        seen["state"] == "unknown"
            && seen["compared"] == 30
            && reason.contains("stream b ")
            && reason.contains("keys")
    };
    await_parity(
        &daemon,
        "the other stream is compared, this one is named",
        others,
    );
    let unread = daemon.metric("lockgate_parity_unread_streams", &[("route", "r")]);
    assert_eq!(unread, Some(1.0));
    let (code, outcome) = verify(&daemon, &[WORD]);
    assert_eq!(code, Some(6), "{outcome:#}");
    assert_eq!(outcome["counts"]["classes"]["match"], 20);
    assert_eq!(outcome["streams"], 1);
    let unread = &outcome["unread"];
    assert_eq!(
        (&unread[0]["stream"], &unread[1]),
        (&json!("b"), &Value::Null)
    );
    assert!(unread[0]["why"].as_str().unwrap().contains("keys"));

    println!("after a restart it is known from the store");
    daemon.restart();
    daemon.wait_ready();
    await_parity(&daemon, "the same after a restart", others);

    println!("a fault elsewhere is a fault");
    Hand::new(kafka()).commit([&foreign(&plan)]);
    await_parity(&daemon, "apart", |seen| {
        seen["state"] == "apart" && seen["open"]["extra"] == 1
    });
    let (code, outcome) = verify(&daemon, &[WORD]);
    assert_eq!(code, Some(5), "{outcome:#}");
    assert_eq!(outcome["unread"][0]["stream"], "b");

    println!("it is compared anew when it may be read");
    server.command::<()>(0, "ACL SETUSER mirror resetkeys ~*");
    add(&server, 0, "b", "new", 5);
    await_parity(&daemon, "all of it is compared, once", |seen| {
        seen["classes"]["match"] == 35 && seen["verified_through"].is_string()
    });
    let unread = daemon.metric("lockgate_parity_unread_streams", &[("route", "r")]);
    assert_eq!(unread, Some(0.0));
}

#[test]
fn a_key_that_is_no_stream_any_more_hides_no_other() {
    let database = crate::harness::redis().own_database();
    let server = crate::harness::redis();
    let plan = plan("no-stream", server, database);
    add(server, database, "a", "x", 10);
    add(server, database, "b", "x", 10);
    let daemon = plan.daemon();
    await_level(&daemon, 20);
    server.command::<()>(database, "RENAME b moved");
    server.command::<()>(database, "SET b text");
    // A record of it that comes now would have to be looked at.
    let ids = crate::plan::ids(server, database, "moved");
    let mut copy = foreign(&plan);
    copy.set_header("redis-stream", b"b");
    copy.set_header("redis-id", ids[3].as_bytes());
    Hand::new(kafka()).commit([&copy]);
    add(server, database, "a", "new", 10);
    await_parity(&daemon, "the other stream is compared", |seen| {
        seen["state"] == "unknown" && seen["compared"] == 30
    });
    let (code, outcome) = verify(&daemon, &[]);
    assert_eq!(code, Some(6), "{outcome:#}");
    assert_eq!(outcome["counts"]["classes"]["match"], 20);
    let why = outcome["unread"][0]["why"].as_str().unwrap();
    assert_eq!(why, "the key holds a string, not a stream");

    println!("it is a stream again, and what came meanwhile is found");
    server.command::<()>(database, "DEL b");
    server.command::<()>(database, "RENAME moved b");
    await_parity(&daemon, "the copy is found", |seen| {
        seen["state"] == "apart" && seen["open"]["duplicate"] == 1 && seen["compared"] == 30
    });
}
