//! Kafka denies and slows: a denied topic halts its own streams alone, what is permitted again is taken up by itself, a topic
//! that may not be seen is no missing one, and a quota costs time and nothing else. A refused checkpoint blames no entry.

use crate::harness::{
    KafkaCluster, KafkaOptions, RedisOptions, RedisServer, eventually, kafka, lockgate,
};
use crate::plan::{Plan, SOON, Topic, add, await_level, await_state, causes, letters};

fn acl(cluster: &KafkaCluster, change: &str, kind: &str, name: &str, operation: &str) {
    let mut arguments = vec![
        change,
        kind,
        "User:user",
        "--topic",
        name,
        "--operation",
        operation,
    ];
    if change == "--remove" {
        arguments.push("--force");
    }
    cluster.tool("AclCommand", &arguments);
}

/// The plan's daemon is a user whom the cluster permits nothing yet.
fn as_user(plan: &mut Plan, cluster: &KafkaCluster) {
    let mut properties = cluster.sasl_properties();
    plan.bootstrap = properties.remove("bootstrap.servers").unwrap();
    plan.more = "[kafka.properties]\n".to_owned();
    for (key, value) in properties {
        plan.more.push_str(&format!("{key:?} = {value:?}\n"));
    }
}

#[test]
fn kafka_denies_and_slows_and_the_mirror_waits() {
    let cluster = KafkaCluster::start_options(KafkaOptions {
        sasl: true,
        ..KafkaOptions::default()
    });
    let server = RedisServer::start(RedisOptions::default());
    let mut plan = Plan::on("denied", &server, 0, &cluster)
        .route("open", &["a"], "")
        .route("shut", &["b"], "");
    as_user(&mut plan, &cluster);
    for route in ["open", "shut"] {
        cluster.create_topic(&plan.topic(route), 1, &[]);
    }
    let mut open = Topic::on(&cluster, &plan.topic("open"));
    let mut shut = Topic::on(&cluster, &plan.topic("shut"));
    let (mut a, mut b) = (add(&server, 0, "a", "x", 10), add(&server, 0, "b", "y", 10));

    // Without any permission it starts, says so, and waits.
    let daemon = plan.daemon();
    eventually(SOON, "the refusal is shown", || {
        let status = daemon.status()?;
        let error = status["edges"]["kafka"]["last_error"]
            .as_str()?
            .to_lowercase();
        error.contains("refuses access").then_some(())
    });
    for resource in ["--topic", "--transactional-id"] {
        cluster.allow_user(resource, "*", "All");
    }
    // All but the group's: no shard comes, and nothing else would say why.
    eventually(SOON, "why the group lets nobody in is shown", || {
        let status = daemon.status()?;
        let error = status["edges"]["kafka"]["last_error"].as_str()?;
        error.contains("no shard is assigned").then_some(())
    });
    cluster.allow_user("--group", "*", "All");
    open.await_values("a", &a);
    shut.await_values("b", &b);

    acl(
        &cluster,
        "--add",
        "--deny-principal",
        &plan.topic("shut"),
        "Write",
    );
    a.extend(add(&server, 0, "a", "denied", 10));
    b.extend(add(&server, 0, "b", "denied", 10));
    await_state(&daemon, "b", "halted", "topic-unauthorised");
    open.await_values("a", &a);
    acl(
        &cluster,
        "--remove",
        "--deny-principal",
        &plan.topic("shut"),
        "Write",
    );
    shut.await_values("b", &b);
    await_level(&daemon, "b");
    assert!(
        !daemon.log().contains("user-secret"),
        "the password in the log"
    );

    cluster.configure("users", "user", "producer_byte_rate=20000");
    let mut pipe = redis::pipe();
    for n in 0..300_u64 {
        let value = format!("{n}-{}", scrambled(n));
        pipe.cmd("XADD")
            .arg("a")
            .arg("*")
            .arg("data")
            .arg(&value)
            .ignore();
        a.push(value);
    }
    pipe.query::<()>(&mut server.connection(0)).unwrap();
    open.await_values("a", &a);
    await_level(&daemon, "a");
    let told = "a broker's quota holds the producer back";
    eventually(SOON, "the quota is told", || daemon.log().contains(told));
    let log = daemon.log();
    assert_eq!(log.matches(told).count(), 1, "once");
    let line = log.lines().find(|line| line.contains(told)).unwrap();
    assert!(
        line.contains("reason=\"kafka-quota\"") && line.contains("pause_ms="),
        "{line}"
    );
    let cause = [("cause", "kafka")];
    let held = daemon.metric("lockgate_mirror_throttled_seconds_total", &cause);
    assert!(held > Some(0.0), "{held:?}");
    let status = daemon.status().unwrap();
    assert_eq!(
        status["shards"][0]["state"]["name"], "running",
        "slowed, not stopped"
    );
}

#[test]
#[ignore = "long: make soak"]
fn topics_that_may_not_be_seen_or_made_are_told_and_taken_up_when_they_may() {
    let cluster = KafkaCluster::start_options(KafkaOptions {
        sasl: true,
        ..KafkaOptions::default()
    });
    let server = RedisServer::start(RedisOptions::default());
    let mut plan = Plan::on("unseen", &server, 0, &cluster).route("hidden", &["b"], "");
    let captured = format!("topic = \"{}\"\n", plan.topic("own.$1"));
    plan = plan.route("own", &["own:*"], &captured);
    cluster.create_topic(&plan.topic("hidden"), 1, &[]);
    // More topics than are asked about one by one.
    for n in 0..8 {
        let name = format!("other{n}");
        plan = plan.route(&name, &[&name], "");
        cluster.create_topic(&plan.topic(&name), 1, &[]);
    }
    as_user(&mut plan, &cluster);
    for resource in ["--topic", "--group", "--transactional-id"] {
        cluster.allow_user(resource, "*", "All");
    }
    let denied = [
        (plan.topic("hidden"), "Describe"),
        (plan.topic("own.x"), "Create"),
    ];
    for (topic, operation) in &denied {
        acl(&cluster, "--add", "--deny-principal", topic, operation);
    }
    let b = add(&server, 0, "b", "y", 10);
    let own = add(&server, 0, "own:x", "x", 10);
    let other = add(&server, 0, "other0", "z", 10);
    let daemon = plan.daemon();
    await_state(&daemon, "b", "halted", "topic-unauthorised");
    await_state(&daemon, "own:x", "halted", "topic-unauthorised");
    Topic::on(&cluster, &plan.topic("other0")).await_values("other0", &other);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lockgate.toml");
    std::fs::write(&file, plan.toml()).unwrap();
    let output = lockgate(&["topics", "plan", "--config", file.to_str().unwrap()]);
    let told = String::from_utf8_lossy(&output.stderr);
    let refusal = format!("Kafka refuses access: topic {}", plan.topic("hidden"));
    assert!(told.contains(&refusal), "{told}");
    assert_eq!(output.status.code(), Some(1), "{told}");

    for (topic, operation) in &denied {
        acl(&cluster, "--remove", "--deny-principal", topic, operation);
    }
    await_level(&daemon, "b");
    await_level(&daemon, "own:x");
    Topic::on(&cluster, &plan.topic("hidden")).await_values("b", &b);
    Topic::on(&cluster, &plan.topic("own.x")).await_values("own:x", &own);
}

#[test]
fn a_checkpoint_that_is_refused_is_waited_for_and_blames_no_entry() {
    let server = RedisServer::start(RedisOptions::default());
    let plan = Plan::on("checkpoint", &server, 0, kafka()).route("r", &["a"], "");
    kafka().create_topic(&plan.topic("r"), 1, &[]);
    let mut topic = Topic::new(&plan.topic("r"));
    let daemon = plan.daemon();
    let mut a = add(&server, 0, "a", "x", 10);
    topic.await_values("a", &a);

    let checkpoints = format!("lockgate.{}.checkpoints", plan.name);
    kafka().configure("topics", &checkpoints, "max.message.bytes=100");
    a.extend(add(&server, 0, "a", "y", 10));
    await_state(&daemon, "a", "waiting", "kafka-refused");
    kafka().configure("topics", &checkpoints, "max.message.bytes=1048588");
    topic.await_values("a", &a);
    await_level(&daemon, "a");
    assert_eq!(letters(&daemon, "r"), causes(&[]));
}

/// A kilobyte that does not compress by much.
fn scrambled(seed: u64) -> String {
    let mut state = seed;
    let word = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        format!("{:016x}", state ^ (state >> 31))
    };
    (0..64).map(word).collect()
}
