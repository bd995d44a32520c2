//! Brokers that die, come back, and stay away: nothing is lost or repeated, memory stays bounded, and the status says why.

use std::time::Duration;

use crate::gaps::RECORD;
use crate::harness::{
    KafkaCluster, RedisOptions, RedisServer, Workload, eventually, lockgate, redis, soak,
};
use crate::plan::{Plan, Topic, add, await_level, await_state, causes, gaps, stream};
use crate::rig::{LONG, Rig, assert_level_in_the_end, assert_nothing_wrong, pass, shared_out};

const MEMORY: u64 = 100 << 20;
/// What the README allows four shards that catch up, each twice `shards.buffer_bytes` and 17 MiB, above 46 MB at rest.
const CATCHING_UP: u64 = (4 * (2 * 4 + 17) + 46) << 20;

#[test]
#[ignore = "long: make soak"]
fn the_loss_of_leaders_under_load_loses_and_repeats_nothing() {
    let cluster = KafkaCluster::start(3);
    let rig = Rig {
        session: "6s",
        ..Rig::on("leaders", redis(), &cluster)
    };
    let load = rig.load(500);
    let witness = rig.witness();
    let daemons = [rig.daemon(), rig.daemon()];
    shared_out(&[&daemons[0], &daemons[1]]);
    witness.goes_on(LONG);

    let first = cluster.leader(&rig.topic, 0).unwrap();
    cluster.kill(first);
    let second = eventually(LONG, "another node leads", || {
        cluster.leader(&rig.topic, 0).filter(|&node| node != first)
    });
    pass(&load, 500);
    witness.goes_on(LONG);
    assert_nothing_wrong(&rig.ledger().look());
    cluster.restart(first);
    if soak() {
        in_sync(&cluster, &rig.topic);
        cluster.kill(second);
        pass(&load, 500);
        witness.goes_on(LONG);
        cluster.restart(second);
    }
    witness.goes_on(LONG);
    assert_level_in_the_end(&rig, load);
}

fn in_sync(cluster: &KafkaCluster, topic: &str) {
    eventually(LONG, "all replicas are in sync", || {
        let text = cluster.tool(
            "TopicCommand",
            &[
                "--describe",
                "--under-replicated-partitions",
                "--topic",
                topic,
            ],
        );
        text.trim().is_empty().then_some(()).ok_or(text)
    });
}

/// Kafka 4.3 takes a partition without a leader for a deleted one and writes no marker for a decided transaction: its only
/// node, going under load, leaves transactions that nobody ends. The mirror finds and ends them before it goes on.
#[test]
fn a_single_broker_stopped_and_killed_under_load_loses_and_repeats_nothing() {
    let cluster = KafkaCluster::start(1);
    let rig = Rig {
        session: "6s",
        ..Rig::on("alone", redis(), &cluster)
    };
    let load = rig.load(1_000);
    let witness = rig.witness();
    let daemon = rig.daemon();
    witness.goes_on(LONG);
    let rounds = if soak() { 3 } else { 1 };
    for round in 0..rounds {
        println!("stopped, round {round}");
        pass(&load, 200 + 37 * round);
        cluster.stop(0);
        cluster.restart(0);
        witness.goes_on(LONG);
        println!("killed, round {round}");
        pass(&load, 300 + 41 * round);
        cluster.kill(0);
        cluster.restart(0);
        witness.goes_on(LONG);
        assert_nothing_wrong(&rig.ledger().look());
    }
    let log = daemon.log();
    let said = |text: &str| log.matches(text).count();
    println!(
        "openings that ended something {}, that wrote something again {}",
        said("left undecided by Kafka"),
        said("lost their marker")
    );
    assert_level_in_the_end(&rig, load);
}

#[test]
#[ignore = "long: make soak"]
fn a_broker_that_stays_away_is_waited_for() {
    let cluster = KafkaCluster::start(1);
    let server = RedisServer::start(RedisOptions::default());
    let rig = Rig {
        session: "6s",
        ..Rig::on("away", &server, &cluster)
    };
    let load = rig.load(1_000);
    let witness = rig.witness();
    let daemon = rig.daemon();
    witness.goes_on(LONG);
    assert_level_in_the_end(&rig, load);

    println!("away");
    cluster.stop(0);
    let since = eventually(LONG, "every shard says that Kafka is away", || {
        waiting_since(&daemon.status()?)
    });
    let before = lag(&daemon);
    assert_eq!(
        daemon.get("/readyz").unwrap().0,
        200,
        "it stays ready to go on"
    );
    let status = daemon.status().unwrap();
    assert_eq!(status["edges"]["kafka"]["up"], false, "{status}");
    assert_eq!(
        status["mirror"]["forward"]["shards"]["waiting"], 4,
        "{status}"
    );

    // 120 MB that cannot go anywhere: Redis holds them, the mirror does not.
    Workload::new(9)
        .content(4_000)
        .add(&server.url(rig.database), 0, 30_000);
    let grown = eventually(LONG, "the lag is seen to grow", || {
        let now = lag(&daemon)?;
        (now >= before? + 30_000).then_some(now)
    });
    let resident = daemon.process().resident_bytes();
    println!("lag {before:?} to {grown}, resident {} MB", resident >> 20);
    assert!(resident > 0 && resident < MEMORY, "{resident} bytes");
    let still = waiting_since(&daemon.status().unwrap());
    assert_eq!(
        still.as_ref(),
        Some(&since),
        "it says since when, and that does not move"
    );

    println!("looks at Redis");
    let monitor = server.monitor();
    let asked = || {
        let admin = [("edge", "kafka"), ("op", "admin")];
        daemon.metric("lockgate_edge_request_duration_seconds_count", &admin)
    };
    let vain = asked();
    eventually(LONG, "Kafka is asked in vain, three times", || {
        let now = asked();
        (now? >= vain? + 3.0).then_some(())
    });
    // A look asks Redis about itself first. One a question to Kafka, if it waited for the answers.
    let looks = monitor.finish();
    let looks = looks.iter().filter(|one| one.words == ["INFO"]).count();
    assert!(
        looks >= 6,
        "{looks} looks at Redis while Kafka was asked three times"
    );

    cluster.restart(0);
    let load = rig.load(1_000);
    witness.goes_on(Duration::from_secs(120));
    eventually(LONG, "the status is well again", || {
        daemon.status().is_some_and(|status| {
            status["mirror"]["forward"]["shards"]["running"] == 4
                && status["edges"]["kafka"]["up"] == true
        })
    });
    let resident = daemon.process().resident_bytes();
    println!("resident after catching up: {} MB", resident >> 20);
    assert!(resident > 0 && resident < CATCHING_UP, "{resident} bytes");
    assert_level_in_the_end(&rig, load);
}

/// A topic of one replica goes with its broker, in the middle of a transaction that holds its records and its neighbour's.
#[test]
#[ignore = "long: make soak"]
fn a_partition_without_a_leader_holds_back_the_streams_of_its_topic_alone() {
    let cluster = KafkaCluster::start(3);
    let plan = Plan::on("leaderless", redis(), redis().own_database(), &cluster)
        .route("kept", &["kept"], "")
        .route("alone", &["alone"], "");
    cluster.create_topic(&plan.topic("kept"), 1, &[]);
    let alone = plan.topic("alone");
    let one = ["--create", "--partitions", "1", "--replication-factor", "1"];
    cluster.tool("TopicCommand", &[&one[..], &["--topic", &alone]].concat());
    cluster.wait_for_leaders(&alone, 1);
    let db = plan.database;
    let both = ["kept", "alone"];
    let mut values = both.map(|name| add(redis(), db, name, "before", 10));
    let daemon = plan.daemon();
    for name in both {
        await_level(&daemon, name);
    }

    let node = cluster.leader(&alone, 0).unwrap();
    cluster.kill(node);
    for (name, values) in both.iter().zip(&mut values) {
        values.extend(add(redis(), db, name, "at once", 10));
    }
    let mut kept = Topic::on(&cluster, &plan.topic("kept"));
    kept.await_values("kept", &values[0]);
    let waits = await_state(&daemon, "alone", "waiting", "kafka-unreachable");
    let error = waits["last_error"].as_str().unwrap();
    assert!(error.contains("partition 0 of topic"), "{waits}");
    assert!(error.contains("has no leader"), "{waits}");
    values[0].extend(add(redis(), db, "kept", "beside it", 10));
    kept.await_values("kept", &values[0]);
    await_level(&daemon, "kept");

    cluster.restart(node);
    await_level(&daemon, "alone");
    Topic::on(&cluster, &alone).await_values("alone", &values[1]);
    kept.await_values("kept", &values[0]);
}

/// Nobody reads while Kafka is away: of a stream that goes then, what was seen of it is what is known.
#[test]
#[ignore = "long: make soak"]
fn streams_that_go_while_a_broker_is_away_are_counted_as_they_were_last_seen() {
    let cluster = KafkaCluster::start(1);
    let plan = Plan::on("gone", redis(), redis().own_database(), &cluster)
        .route("recording", &["some", "none", "remade"], RECORD)
        .route("halting", &["stops"], "");
    for route in ["recording", "halting"] {
        cluster.create_topic(&plan.topic(route), 1, &[]);
    }
    let db = plan.database;
    let all = ["some", "none", "remade", "stops"];
    let before = add(redis(), db, "some", "x", 10);
    add(redis(), db, "stops", "x", 10);
    let daemon = plan.daemon();
    for name in all {
        await_level(&daemon, name);
    }

    cluster.stop(0);
    for name in all {
        add(redis(), db, name, "lost", 50);
    }
    let shows = |name: &str, lag: u64| {
        eventually(LONG, "the lag is seen", || {
            let seen = stream(&daemon, name).ok_or("not shown".to_owned())?;
            if seen["state"]["name"] == "waiting" && seen["lag_entries"] == lag {
                Ok(())
            } else {
                Err(seen.to_string())
            }
        });
    };
    eventually(LONG, "nobody reads", || {
        let ended = "the term ends; the next begins at the checkpoint";
        daemon.log().contains(ended).then_some(())
    });
    for name in all {
        shows(name, 50);
    }
    redis().command::<()>(db, "DEL some none remade stops");
    let remade = add(redis(), db, "remade", "anew", 3);
    for name in ["some", "none", "stops"] {
        shows(name, 0);
    }

    cluster.restart(0);
    let stopped = await_state(&daemon, "stops", "halted", "stream-deleted");
    let error = stopped["last_error"].as_str().unwrap();
    assert!(error.contains("at least 50 entries"), "{error}");
    for name in ["some", "none", "remade"] {
        await_level(&daemon, name);
    }
    let lost = causes(&[("deleted", 100), ("recreated", 50)]);
    eventually(LONG, "every entry is counted once", || {
        let found = gaps(&daemon, "recording");
        if found == lost {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    });
    let mut topic = Topic::on(&cluster, &plan.topic("recording"));
    topic.await_values("some", &before);
    topic.await_values("remade", &remade);
}

/// In a rolling restart: a topic made with the replicas of that moment would keep them.
#[test]
#[ignore = "long: make soak"]
fn no_topic_is_made_with_too_few_replicas_while_a_broker_is_away() {
    let cluster = KafkaCluster::start(3);
    let mut plan = Plan::on("rolling", redis(), redis().own_database(), &cluster);
    let captured = format!("topic = \"{}\"\n", plan.topic("own.$1"));
    plan = plan.route("own", &["own:*"], &captured);
    let db = plan.database;
    let before = add(redis(), db, "own:before", "x", 5);
    let daemon = plan.daemon();
    await_level(&daemon, "own:before");
    Topic::on(&cluster, &plan.topic("own.before")).await_values("own:before", &before);

    cluster.stop(2);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lockgate.toml");
    let mut other = Plan::on("rolling", redis(), db, &cluster);
    other.name.clone_from(&plan.name);
    std::fs::write(&file, other.route("fixed", &["fixed"], "").toml()).unwrap();
    let topics = |verb: &str| {
        let output = lockgate(&["topics", verb, "--config", file.to_str().unwrap()]);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        (text, output.status.code())
    };
    let sentence = "2 of 3 are up, broker 3 is away";
    let planned = eventually(LONG, "the plan says who is away", || {
        let (text, _) = topics("plan");
        if text.contains(sentence) {
            Ok(text)
        } else {
            Err(text)
        }
    });
    assert!(planned.contains("3 replicas"), "{planned}");
    let (applied, code) = topics("apply");
    assert_eq!(code, Some(1), "{applied}");
    assert!(applied.contains(sentence), "{applied}");
    let during = add(redis(), db, "own:during", "y", 5);
    let seen = await_state(&daemon, "own:during", "waiting", "kafka-refused");
    assert!(
        seen["last_error"].as_str().unwrap().contains(sentence),
        "{seen}"
    );
    let more = add(redis(), db, "own:before", "more", 5);
    let mut topic = Topic::on(&cluster, &plan.topic("own.before"));
    topic.await_values("own:before", &[before, more].concat());

    cluster.restart(2);
    await_level(&daemon, "own:during");
    Topic::on(&cluster, &plan.topic("own.during")).await_values("own:during", &during);
    let (applied, code) = topics("apply");
    assert_eq!(code, Some(0), "{applied}");
    for name in ["own.during", "fixed"] {
        let described = cluster.describe_topic(&plan.topic(name));
        assert!(described.contains("ReplicationFactor: 3"), "{described}");
        assert!(described.contains("min.insync.replicas=2"), "{described}");
    }
}

/// The earliest time since which a shard waits for Kafka; `None` unless all four do.
fn waiting_since(status: &serde_json::Value) -> Option<String> {
    let shards = status["shards"].as_array()?;
    let waiting = |shard: &&serde_json::Value| {
        shard["state"]["name"] == "waiting" && shard["state"]["reason"] == "kafka-unreachable"
    };
    let since = shards
        .iter()
        .filter(waiting)
        .filter_map(|shard| shard["state"]["since"].as_str());
    let all: Vec<_> = since.collect();
    (all.len() == 4).then(|| all.into_iter().min().map(str::to_owned))?
}

fn lag(daemon: &crate::harness::Daemon) -> Option<u64> {
    daemon.status()?["mirror"]["forward"]["lag_entries"].as_u64()
}
