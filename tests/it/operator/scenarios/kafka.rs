//! Trouble with Kafka: it takes no records, takes them slowly, is away, refuses, or lost what was its part.

use crate::harness::{KafkaCluster, KafkaOptions, Prometheus, Rules, eventually, kafka, redis};
use crate::operator::walk::Walk;
use crate::plan::{Plan, SOON, Topic, add, await_level, await_state, drain, ids};

use super::one_route;
use super::steered::{HASTY, await_step, daemon_at, put_at};

/// A value that no topic with `max.message.bytes` of 1500 takes.
fn large() -> String {
    (0..400)
        .map(|n| format!("{:08x}", n * 2_654_435_761_u64))
        .collect()
}

/// The topic takes less than the producers send.
pub fn produce_errors(book: &str) {
    let plan = Plan::new("book-errors").route("r", &["a"], "");
    kafka().create_topic(&plan.topic("r"), 1, &[("max.message.bytes", "1500")]);
    let daemon = plan.daemon();
    let prometheus = Prometheus::watching(&[daemon.port], Rules::Hurried);
    prometheus.await_scrape();
    let poison = large();
    for _ in 0..20 {
        redis().command::<String>(plan.database, &format!("XADD a * data {poison}"));
    }
    eventually(SOON, "the alert fires while records are refused", || {
        let firing = prometheus.firing()?;
        let wanted = (book.to_owned(), "critical".to_owned());
        if firing.contains(&wanted) {
            Ok(())
        } else {
            Err(format!("{firing:?}"))
        }
    });
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    walk.through("Repair");
    await_level(&daemon, "a");
    walk.until("Verify");
    walk.through("Afterwards");
    walk.finish();
}

/// The broker stands still again and again while records are under way.
pub fn produce_latency(book: &str) {
    let cluster = KafkaCluster::start(1);
    let plan =
        Plan::on("book-slow", redis(), redis().own_database(), &cluster).route("r", &["a"], "");
    cluster.create_topic(&plan.topic("r"), 1, &[]);
    let daemon = plan.daemon();
    let slow = || {
        let all = daemon.metric("lockgate_kafka_produce_duration_seconds_count", &[])?;
        let quick = daemon.metric(
            "lockgate_kafka_produce_duration_seconds_bucket",
            &[("le", "0.05")],
        )?;
        Some(all - quick)
    };
    add(redis(), plan.database, "a", "x", 10);
    await_level(&daemon, "a");
    let before = slow().unwrap_or(0.0);
    // Which records are timed is a sample, so it stands still until one of them was.
    eventually(SOON, "slow records are counted", || {
        cluster.pause(0);
        add(redis(), plan.database, "a", "x", 500);
        eventually(SOON, "records are under way", || {
            daemon.metric("lockgate_mirror_lag_seconds", &[]) > Some(0.2)
        });
        cluster.resume(0);
        await_level(&daemon, "a");
        slow() > Some(before)
    });
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    walk.through("Repair");
    walk.until("Verify");
    walk.finish();
}

/// Kafka goes while producers write to it, and comes back.
pub fn edge_down(book: &str) {
    let cluster = KafkaCluster::start(1);
    let mut plan =
        Plan::on("book-edge", redis(), redis().own_database(), &cluster).route("r", &["a"], "");
    plan.more = HASTY.to_owned();
    cluster.create_topic(&plan.topic("r"), 1, &[]);
    let daemon = daemon_at(&plan, redis(), "ingress:10");
    let prometheus = Prometheus::watching(&[daemon.port], Rules::Hurried);
    prometheus.await_scrape();
    cluster.kill(0);
    prometheus.await_firing(book, "critical");
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    // What Decide leads to needs no Kafka.
    walk.prepare("lockgate rollback --to consumers:100 --reason \"Kafka is away\"");
    await_step(&daemon, "consumers:100", "waiting");
    walk.through("Repair");
    cluster.restart(0);
    walk.until("Verify");
    walk.finish();
}

/// An entry that neither the topic nor the dead letters take; by hand they are made to.
pub fn dead_letters(book: &str) {
    let plan = Plan::new("book-letters");
    let letters = plan.topic("letters");
    let plan = plan.route("r", &["a"], &format!("dead_letters = \"{letters}\"\n"));
    for topic in [&plan.topic("r"), &letters] {
        kafka().create_topic(topic, 1, &[("max.message.bytes", "1500")]);
    }
    let daemon = plan.daemon();
    redis().command::<String>(plan.database, &format!("XADD a * data {}", large()));
    await_state(&daemon, "a", "halted", "dead-letter-refused");
    kafka().configure("topics", &letters, "max.message.bytes=100000");
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    walk.through("Repair");
    walk.until("Verify");
    walk.finish();
}

/// Nothing is permitted yet; by hand it is.
pub fn refuses(book: &str) {
    let cluster = KafkaCluster::start_options(KafkaOptions {
        sasl: true,
        ..KafkaOptions::default()
    });
    let mut plan =
        Plan::on("book-denied", redis(), redis().own_database(), &cluster).route("r", &["a"], "");
    plan.more = as_user(&cluster, &mut plan.bootstrap);
    cluster.create_topic(&plan.topic("r"), 1, &[]);
    for kind in ["--group", "--transactional-id"] {
        cluster.allow_user(kind, "*", "All");
    }
    cluster.allow_user(
        "--topic",
        &format!("lockgate.{}.checkpoints", plan.name),
        "All",
    );
    cluster.allow_user("--topic", &plan.topic("r"), "Describe");
    cluster.allow_user("--topic", &plan.topic("r"), "DescribeConfigs");
    add(redis(), plan.database, "a", "x", 10);
    let daemon = plan.daemon();
    await_state(&daemon, "a", "halted", "topic-unauthorised");
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    cluster.allow_user("--topic", "*", "All");
    walk.through("Repair");
    walk.until("Verify");
    walk.finish();
}

/// Whoever asks may not see the application's group; by hand it may.
pub fn probe_failing(book: &str) {
    let cluster = KafkaCluster::start_options(KafkaOptions {
        sasl: true,
        ..KafkaOptions::default()
    });
    let mut plan =
        Plan::on("book-probe", redis(), redis().own_database(), &cluster).route("r", &["a"], "");
    plan.more = as_user(&cluster, &mut plan.bootstrap);
    plan.more
        .push_str("[[migration.groups]]\nname = \"workers\"\n");
    cluster.create_topic(&plan.topic("r"), 1, &[]);
    for kind in ["--group", "--transactional-id", "--topic"] {
        cluster.allow_user(kind, "*", "All");
    }
    let denial = ["--deny-principal", "User:user", "--group", "workers"];
    let denied = |how: &[&str]| {
        let what = [how, &denial, &["--operation", "Describe"]].concat();
        cluster.tool("AclCommand", &what);
    };
    denied(&["--add"]);
    add(redis(), plan.database, "a", "x", 10);
    let mut daemon = plan.daemon();
    await_step(&daemon, "shadow", "steady");
    drain(&mut daemon);
    put_at(redis(), &plan, "consumers:25");
    daemon.restart();
    daemon.wait_ready();
    let prometheus = Prometheus::watching(&[daemon.port], Rules::Hurried);
    prometheus.await_firing(book, "warning");
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    denied(&["--remove", "--force"]);
    walk.until("Verify");
    walk.finish();
}

/// The properties of a user who may do nothing yet, and where he reaches the cluster.
fn as_user(cluster: &KafkaCluster, bootstrap: &mut String) -> String {
    let mut properties = cluster.sasl_properties();
    *bootstrap = properties.remove("bootstrap.servers").unwrap();
    let mut table = "[kafka.properties]\n".to_owned();
    for (key, value) in properties {
        table.push_str(&format!("{key:?} = {value:?}\n"));
    }
    table
}

/// The checkpoint topic is deleted while the mirror is down.
pub fn checkpoint_lost(book: &str) {
    let plan = one_route("book-checkpoint", &["a"], "");
    add(redis(), plan.database, "a", "x", 10);
    let mut daemon = plan.daemon();
    Topic::new(&plan.topic("r")).await_count(10);
    drain(&mut daemon);
    kafka().delete_topic(&format!("lockgate.{}.checkpoints", plan.name));
    daemon.restart();
    daemon.wait_ready();
    await_state(&daemon, "a", "halted", "checkpoint-lost");
    let last = ids(redis(), plan.database, "a").pop().unwrap();
    let mut walk = Walk::new(book, &plan, &daemon, "a").with("ID", &last);
    walk.through("First minute");
    walk.through("Repair");
    add(redis(), plan.database, "a", "new", 10);
    walk.until("Verify");
    walk.finish();
    Topic::new(&plan.topic("r")).await_count(20);
}

/// The topic has fewer partitions than the route counts on; by hand they are added.
pub fn partition_count_changed(book: &str) {
    let plan = one_route("book-partitions", &["a"], "partitions = 2\n");
    add(redis(), plan.database, "a", "x", 10);
    let daemon = plan.daemon();
    await_state(&daemon, "a", "halted", "partition-count-changed");
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    let topic = plan.topic("r");
    kafka().tool(
        "TopicCommand",
        &["--alter", "--topic", &topic, "--partitions", "2"],
    );
    walk.until("Verify");
    walk.finish();
}

/// Nobody has made the topic.
pub fn topic_missing(book: &str) {
    let plan = Plan::new("book-topic").route("r", &["a"], "");
    add(redis(), plan.database, "a", "x", 10);
    let daemon = plan.daemon();
    await_state(&daemon, "a", "halted", "topic-missing");
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    walk.through("Repair");
    walk.until("Verify");
    walk.finish();
}
