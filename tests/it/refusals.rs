//! A store that answers, but not with what was asked for: each refusal has a name of its own, is waited out, and leaves
//! nothing lost and nothing repeated.

use serde_json::Value;

use crate::harness::{Daemon, DaemonOptions, RedisOptions, RedisServer, eventually, kafka};
use crate::plan::{Plan, SOON, Topic, add, await_level, await_state, drain};

fn on_server(what: &str, server: &RedisServer) -> (Plan, Topic) {
    let plan = Plan::on(what, server, 0, kafka()).route("r", &["a"], "");
    kafka().create_topic(&plan.topic("r"), 1, &[]);
    let topic = Topic::new(&plan.topic("r"));
    (plan, topic)
}

/// What a shard that waits says of itself.
#[track_caller]
fn await_shard(daemon: &Daemon, reason: &str) -> Value {
    eventually(SOON, &format!("the shard waits by {reason}"), || {
        let status = daemon.status().ok_or("no status".to_owned())?;
        let shard = &status["shards"][0];
        if shard["state"]["name"] == "waiting" && shard["state"]["reason"] == reason {
            Ok(status)
        } else {
            Err(shard.to_string())
        }
    })
}

/// A daemon as the user `mirror`, which says when it asks again for what it left out.
fn as_mirror(plan: &Plan) -> Daemon {
    plan.daemon_with(DaemonOptions {
        env: vec![("LOCKGATE_REDIS__PASSWORD".to_owned(), "word".to_owned())],
        arguments: ["--log-level", "info,lockgate::mirror::aside=debug"]
            .map(str::to_owned)
            .to_vec(),
        ..DaemonOptions::default()
    })
}

/// What is left out is asked for again and again, and not one term of the shard ends for it.
#[track_caller]
fn undisturbed(daemon: &Daemon, times: usize) {
    let terms = |log: &str| log.matches("mirroring shard=").count();
    let asked = |log: &str| log.matches("asked for what is left out").count();
    let (before, was_asked) = eventually(SOON, "a term leaves something out", || {
        let log = daemon.log();
        (asked(&log) > 0).then(|| (terms(&log), asked(&log)))
    });
    eventually(SOON, "it is asked for again", || {
        let now = asked(&daemon.log());
        if now >= was_asked + times {
            Ok(())
        } else {
            Err(now)
        }
    });
    assert_eq!(terms(&daemon.log()), before, "{}", daemon.log());
}

/// Commands on a connection that outlives what they change.
fn ask(connection: &mut redis::Connection, words: &str) {
    let mut words = words.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    words.for_each(|word| {
        command.arg(word);
    });
    command
        .query::<redis::Value>(connection)
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn redis_refuses_password_permission_and_connection_while_running() {
    let server = RedisServer::start(RedisOptions {
        users: vec!["user mirror on >word-one ~* &* +@all".to_owned()],
        ..RedisOptions::default()
    });
    let (mut plan, mut topic) = on_server("refusals", &server);
    plan.redis_more = "username = \"mirror\"\n".to_owned();
    let daemon = plan.daemon_with(DaemonOptions {
        env: vec![("LOCKGATE_REDIS__PASSWORD".to_owned(), "word-one".to_owned())],
        ..DaemonOptions::default()
    });
    let mut operator = server.connection(0);
    let mut expected = add(&server, 0, "a", "x", 10);
    topic.await_values("a", &expected);
    let troubles = [
        (
            "ACL SETUSER mirror resetpass >word-two",
            "redis-auth",
            "ACL SETUSER mirror resetpass >word-one",
        ),
        (
            "ACL SETUSER mirror -xread",
            "redis-noperm",
            "ACL SETUSER mirror +xread",
        ),
        (
            "ACL SETUSER mirror -xinfo",
            "redis-noperm",
            "ACL SETUSER mirror +xinfo",
        ),
        (
            "ACL SETUSER mirror off",
            "redis-auth",
            "ACL SETUSER mirror on",
        ),
    ];
    for (n, (break_it, reason, mend_it)) in troubles.into_iter().enumerate() {
        ask(&mut operator, break_it);
        ask(&mut operator, "CLIENT KILL USER mirror");
        await_state(&daemon, "a", "waiting", reason);
        let error = daemon.status().unwrap()["edges"]["redis"]["last_error"].to_string();
        assert!(error.contains("user `mirror`"), "{error}");
        expected.extend(add(&server, 0, "a", &format!("round{n}-"), 10));
        ask(&mut operator, mend_it);
        topic.await_values("a", &expected);
        await_level(&daemon, "a");
    }
    ask(&mut operator, "CONFIG SET maxclients 1");
    ask(&mut operator, "CLIENT KILL USER mirror");
    let seen = eventually(SOON, "the stream waits", || {
        crate::plan::stream(&daemon, "a").filter(|seen| seen["state"]["name"] == "waiting")
    });
    assert_ne!(seen["state"]["reason"], "starting", "{seen}");
    ask(&mut operator, "CONFIG SET maxclients 1000");
    expected.extend(add(&server, 0, "a", "last", 10));
    topic.await_values("a", &expected);
    let log = daemon.log();
    assert!(
        !log.contains("word-one") && !log.contains("word-two"),
        "a password in the log"
    );
    let labels = [("edge", "redis"), ("kind", "auth")];
    assert!(daemon.metric("lockgate_edge_errors_total", &labels) > Some(0.0));
}

#[test]
fn a_replica_is_named_and_waited_for() {
    let master = RedisServer::start(RedisOptions::default());
    let replica = RedisServer::start(RedisOptions {
        replica_of: Some(master.port),
        ..RedisOptions::default()
    });
    let values = add(&master, 0, "a", "x", 10);
    replica.caught_up_with(&master);
    let (plan, mut topic) = on_server("readonly", &replica);
    let daemon = plan.daemon();
    await_shard(&daemon, "redis-readonly");
    replica.promote();
    topic.await_values("a", &values);
    await_level(&daemon, "a");
}

#[test]
fn a_stream_that_may_not_be_read_waits_alone() {
    let server = RedisServer::start(RedisOptions {
        users: vec!["user mirror on >word ~* &* +@all".to_owned()],
        ..RedisOptions::default()
    });
    let mut plan = Plan::on("denied", &server, 0, kafka()).route("r", &["a", "b", "shut"], "");
    plan.redis_more = "username = \"mirror\"\n".to_owned();
    kafka().create_topic(&plan.topic("r"), 1, &[]);
    let mut topic = Topic::new(&plan.topic("r"));
    let mut operator = server.connection(0);
    ask(
        &mut operator,
        "ACL SETUSER mirror resetkeys ~a ~b ~lockgate:*",
    );
    let mut a = add(&server, 0, "a", "x", 10);
    let mut b = add(&server, 0, "b", "x", 10);
    let shut = add(&server, 0, "shut", "x", 10);
    let daemon = as_mirror(&plan);
    println!("one that was never read");
    topic.await_values("a", &a);
    topic.await_values("b", &b);
    await_state(&daemon, "shut", "waiting", "redis-noperm");
    await_level(&daemon, "a");
    undisturbed(&daemon, 3);

    println!("one that was read before");
    ask(&mut operator, "ACL SETUSER mirror resetkeys ~a ~lockgate:*");
    b.extend(add(&server, 0, "b", "new", 10));
    let waiting = await_state(&daemon, "b", "waiting", "redis-noperm");
    assert!(waiting["last_error"].as_str().unwrap().contains("keys"));
    a.extend(add(&server, 0, "a", "new", 10));
    topic.await_values("a", &a);
    await_level(&daemon, "a");

    ask(&mut operator, "ACL SETUSER mirror resetkeys ~*");
    topic.await_values("b", &b);
    topic.await_values("shut", &shut);
    for name in ["a", "b", "shut"] {
        await_level(&daemon, name);
    }
}

#[test]
#[ignore = "long: make soak"]
fn a_database_that_may_not_be_selected_holds_up_no_other() {
    let server = RedisServer::start(RedisOptions {
        users: vec!["user mirror on >word ~* &* +@all -select".to_owned()],
        ..RedisOptions::default()
    });
    let shut = "database = 3\nstart = \"latest\"\n";
    let mut plan = Plan::on("shut", &server, 0, kafka())
        .route("named", &["a"], "")
        .route("globbed", &["b:*"], "")
        .route("shut", &["c"], shut)
        .route("shutglob", &["d:*"], shut);
    plan.redis_more = "username = \"mirror\"\n".to_owned();
    let topics = ["named", "globbed", "shut", "shutglob"].map(|route| {
        kafka().create_topic(&plan.topic(route), 1, &[]);
        Topic::new(&plan.topic(route))
    });
    let [mut named, mut globbed, mut shut, mut shutglob] = topics;
    let mut a = add(&server, 0, "a", "x", 10);
    let b = add(&server, 0, "b:1", "x", 10);
    add(&server, 3, "c", "old", 10);
    add(&server, 3, "d:1", "old", 10);
    let daemon = as_mirror(&plan);
    named.await_values("a", &a);
    globbed.await_values("b:1", &b);
    let waiting = await_state(&daemon, "c", "waiting", "redis-noperm");
    assert!(waiting["last_error"].as_str().unwrap().contains("select"));
    a.extend(add(&server, 0, "a", "new", 10));
    named.await_values("a", &a);
    await_level(&daemon, "a");
    undisturbed(&daemon, 5);

    ask(&mut server.connection(0), "ACL SETUSER mirror +select");
    await_level(&daemon, "c");
    await_level(&daemon, "d:1");
    // What was there when they could at last be seen is not new; what comes is, and a stream that comes is from its first.
    let c = add(&server, 3, "c", "new", 10);
    let d = add(&server, 3, "d:1", "new", 10);
    let e = add(&server, 3, "d:2", "new", 10);
    shut.await_values("c", &c);
    shutglob.await_values("d:1", &d);
    shutglob.await_values("d:2", &e);
    named.await_values("a", &a);
}

#[test]
#[ignore = "long: make soak"]
fn a_database_that_there_is_not_and_a_scan_that_is_refused_hold_up_no_named_stream() {
    let server = RedisServer::start(RedisOptions {
        users: vec!["user mirror on >word ~* &* +@all -scan".to_owned()],
        ..RedisOptions::default()
    });
    let mut plan = Plan::on("beyond", &server, 4_000_000, kafka())
        .route("mixed", &["a", "b:*"], "database = 0\n")
        .route("late", &["c", "d:*"], "database = 0\nstart = \"latest\"\n")
        .route("beyond", &["e"], "");
    plan.redis_more = "username = \"mirror\"\n".to_owned();
    let [mut mixed, mut late, _] = ["mixed", "late", "beyond"].map(|route| {
        kafka().create_topic(&plan.topic(route), 1, &[]);
        Topic::new(&plan.topic(route))
    });
    let mut a = add(&server, 0, "a", "x", 10);
    let b = add(&server, 0, "b:1", "x", 10);
    add(&server, 0, "c", "old", 10);
    add(&server, 0, "d:1", "old", 10);
    let daemon = as_mirror(&plan);
    mixed.await_values("a", &a);
    let waiting = await_state(&daemon, "e", "waiting", "redis-refused");
    assert!(
        waiting["last_error"]
            .as_str()
            .unwrap()
            .contains("out of range"),
        "{waiting}"
    );
    undisturbed(&daemon, 5);
    eventually(SOON, "Redis is surveyed all the same", || {
        daemon.status()?["redis"]["version"].as_str().map(drop)
    });
    // Of a route that does not begin with the earliest nothing is known to be old or new before the scan.
    assert_eq!(crate::plan::stream(&daemon, "c"), None);
    assert!(mixed.values_of("b:1").is_empty());

    ask(&mut server.connection(0), "ACL SETUSER mirror +scan");
    mixed.await_values("b:1", &b);
    await_level(&daemon, "c");
    await_level(&daemon, "d:1");
    let c = add(&server, 0, "c", "new", 10);
    let d = add(&server, 0, "d:1", "new", 10);
    late.await_values("c", &c);
    late.await_values("d:1", &d);
    a.extend(add(&server, 0, "a", "new", 10));
    mixed.await_values("a", &a);
}

#[test]
fn a_full_redis_keeps_new_streams_waiting_and_no_others() {
    let server = RedisServer::start(RedisOptions::default());
    let (plan, mut topic) = on_server("oom", &server);
    let mut a = add(&server, 0, "a", "x", 10);
    let mut daemon = plan.daemon();
    topic.await_values("a", &a);
    await_level(&daemon, "a");
    drain(&mut daemon);

    let b = add(&server, 0, "b", "x", 10);
    a.extend(add(&server, 0, "a", "more", 10));
    server.command::<()>(0, "CONFIG SET maxmemory 1");
    let plan = plan.route("s", &["b"], "");
    kafka().create_topic(&plan.topic("s"), 1, &[]);
    let mut other = Topic::new(&plan.topic("s"));
    let daemon = plan.daemon();
    await_state(&daemon, "b", "waiting", "redis-oom");
    topic.await_values("a", &a);
    await_level(&daemon, "a");
    assert!(
        other.values_of("b").is_empty(),
        "it may not begin before Redis knows"
    );
    server.command::<()>(0, "CONFIG SET maxmemory 0");
    other.await_values("b", &b);
    await_level(&daemon, "b");
}

#[test]
fn a_stream_whose_beginning_may_not_be_noted_waits_and_no_others() {
    let server = RedisServer::start(RedisOptions {
        users: vec!["user mirror on >word ~* &* +@all".to_owned()],
        ..RedisOptions::default()
    });
    let (mut plan, mut topic) = on_server("unnoted", &server);
    plan.redis_more = "username = \"mirror\"\n".to_owned();
    let mut a = add(&server, 0, "a", "x", 10);
    let mut daemon = as_mirror(&plan);
    topic.await_values("a", &a);
    await_level(&daemon, "a");
    drain(&mut daemon);

    let mut operator = server.connection(0);
    ask(&mut operator, "ACL SETUSER mirror -sadd");
    let b = add(&server, 0, "b", "x", 10);
    a.extend(add(&server, 0, "a", "more", 10));
    let plan = plan.route("s", &["b"], "");
    kafka().create_topic(&plan.topic("s"), 1, &[]);
    let mut other = Topic::new(&plan.topic("s"));
    let daemon = as_mirror(&plan);
    let seen = await_state(&daemon, "b", "waiting", "redis-noperm");
    assert!(
        seen["last_error"].as_str().unwrap().contains("sadd"),
        "{seen}"
    );
    topic.await_values("a", &a);
    await_level(&daemon, "a");
    undisturbed(&daemon, 3);
    assert!(
        other.values_of("b").is_empty(),
        "it may not begin before Redis knows"
    );
    ask(&mut operator, "ACL SETUSER mirror +sadd");
    other.await_values("b", &b);
    await_level(&daemon, "b");
}

#[test]
fn a_redis_that_loads_its_data_is_named_and_waited_for() {
    let server = RedisServer::start(RedisOptions {
        config: vec![
            "key-load-delay 10000".to_owned(),
            "loading-process-events-interval-bytes 1024".to_owned(),
        ],
        ..RedisOptions::default()
    });
    let mut expected = add(&server, 0, "a", "x", 10);
    let (plan, mut topic) = on_server("loading", &server);
    let daemon = plan.daemon();
    topic.await_values("a", &expected);
    await_level(&daemon, "a");
    let mut pipe = redis::pipe();
    for n in 0..300 {
        pipe.cmd("SET")
            .arg(format!("filler{n}"))
            .arg("x".repeat(2000))
            .ignore();
    }
    pipe.query::<()>(&mut server.connection(0)).unwrap();
    server.command::<()>(0, "SAVE");
    server.kill();
    server.launch();
    await_state(&daemon, "a", "waiting", "redis-loading");
    eventually(SOON, "Redis has loaded", || {
        server.info("loading").is_some_and(|is| is == "0")
    });
    expected.extend(add(&server, 0, "a", "new", 10));
    topic.await_values("a", &expected);
    await_level(&daemon, "a");
}

#[test]
fn evictions_that_are_possible_are_shown_and_one_that_happens_is_named() {
    let server = RedisServer::start(RedisOptions {
        maxmemory: Some((12 << 20, "allkeys-random")),
        ..RedisOptions::default()
    });
    let plan = Plan::on("evicted", &server, 0, kafka())
        .route("halting", &["a"], "")
        .route("recording", &["b"], "on_gap = \"record\"\n");
    for route in ["halting", "recording"] {
        kafka().create_topic(&plan.topic(route), 1, &[]);
    }
    let values = add(&server, 0, "a", "x", 10);
    let others = add(&server, 0, "b", "x", 10);
    let daemon = plan.daemon();
    Topic::new(&plan.topic("halting")).await_values("a", &values);
    let mut recording = Topic::new(&plan.topic("recording"));
    recording.await_values("b", &others);
    eventually(SOON, "the policy is shown", || {
        daemon.metric("lockgate_redis_may_evict_streams", &[]) == Some(1.0)
    });
    assert_eq!(daemon.status().unwrap()["redis"]["evicts_streams"], true);
    let told = daemon.log();
    let told: Vec<_> = told
        .lines()
        .filter(|line| line.contains("may evict whole streams"))
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("allkeys-random"), "{told:?}");
    let mut connection = server.connection(0);
    let mut n = 0;
    let gone = |connection: &mut redis::Connection, name: &str| {
        !redis::cmd("EXISTS")
            .arg(name)
            .query::<bool>(connection)
            .unwrap()
    };
    // Few large keys, so that the streams are soon among the victims.
    while !(gone(&mut connection, "a") && gone(&mut connection, "b")) {
        n += 1;
        let key = format!("filler{}", n % 8);
        redis::cmd("SET")
            .arg(key)
            .arg("x".repeat(2 << 20))
            .query::<()>(&mut connection)
            .unwrap();
        assert!(n < 10_000, "nothing is evicted");
    }
    await_state(&daemon, "a", "halted", "stream-evicted");
    assert!(daemon.metric("lockgate_redis_evicted_keys_total", &[]) > Some(0.0));
    // (Where it recorded, the stream goes on; nothing had been unread.)
    server.command::<()>(0, "CONFIG SET maxmemory 0");
    let new = add(&server, 0, "b", "new", 5);
    recording.await_values("b", &[others, new].concat());
}
