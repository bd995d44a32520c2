//! The situations of an operator that need no ingress, brought about for real: what the status says then, in at most 80 columns.

use crate::harness::{
    Daemon, KafkaCluster, Process, RedisOptions, RedisServer, eventually, kafka, lockgate_beside,
    lockgate_with, redis,
};
use crate::operator::scenarios::parity::passed_over;
use crate::operator::scenarios::steered::{await_step, put_at};
use crate::plan::{Plan, SOON, add, await_level, drain};

const QUICK: &str = "[migration]\nevaluate_every = \"200ms\"\nattempt_budget = \"2s\"\nsettle = \"0s\"\n[parity]\nwindow = \"1s\"\n";

/// The screen and the exit code of `lockgate status`.
fn status(daemon: &Daemon, more: &[&str]) -> (String, Option<i32>) {
    let url = daemon.url();
    let words: Vec<&str> = ["status", "--url", &url]
        .into_iter()
        .chain(more.iter().copied())
        .collect();
    let output = lockgate_with(&words, &[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (text, output.status.code())
}

/// Waits until every one of these is on the screen and none of those, and gives it.
#[track_caller]
fn await_screen(daemon: &Daemon, says: &[&str], not: &[&str], check: i32) -> String {
    eventually(SOON, &format!("the screen says {says:?}"), || {
        let (text, _) = status(daemon, &[]);
        let (_, code) = status(daemon, &["--check"]);
        let all = says.iter().all(|part| text.contains(part));
        let none = not.iter().all(|part| !text.contains(part));
        let fits = text.lines().all(|line| line.chars().count() <= 80);
        if all && none && fits && code == Some(check) {
            Ok(text)
        } else {
            Err(format!("{code:?}\n{text}"))
        }
    })
}

fn plan(what: &str, cluster: &KafkaCluster) -> Plan {
    let mut plan = Plan::on(what, redis(), redis().own_database(), cluster).route("r", &["a"], "");
    plan.more = QUICK.to_owned();
    cluster.create_topic(&plan.topic("r"), 1, &[]);
    add(redis(), plan.database, "a", "x", 10);
    plan
}

#[test]
fn steady_in_shadow_and_then_waiting_for_kafka_and_going_on() {
    let cluster = KafkaCluster::start(1);
    let plan = plan("situation-wait", &cluster);
    let daemon = plan.daemon();
    let watching = lockgate_beside(&["status", "--watch", "--url", &daemon.url()]);
    let says = [
        "SHADOW · steady",
        "PARITY    = level since",
        "FORWARD   lag 0 entries",
        "… soak",
        "NEXT      consumers 5 %: BLOCKED",
        "BACK      nothing to take back",
    ];
    let screen = await_screen(&daemon, &says, &["WAITING"], 0);
    assert!(
        screen
            .lines()
            .next()
            .is_some_and(|line| line.contains(" epoch ")),
        "{screen}"
    );
    let (_, code) = status(&daemon, &["--until", "level", "--timeout", "1m"]);
    assert_eq!(code, Some(0));
    let (_, code) = status(&daemon, &["--until", "gates", "--timeout", "1s"]);
    assert_eq!(code, Some(7), "no soak is over in a second");

    cluster.kill(0);
    add(redis(), plan.database, "a", "meanwhile", 10);
    let says = [
        "SHADOW · WAITING for kafka",
        "kafka DOWN",
        "Redis holds it all",
        "it goes on by itself where it stopped",
        "lockgate runbook LockgateEdgeDown",
    ];
    await_screen(&daemon, &says, &["GATES"], 5);
    cluster.restart(0);
    await_screen(
        &daemon,
        &["SHADOW · steady", "lag 0 entries"],
        &["WAITING"],
        0,
    );
    let says = [
        "SHADOW · steady · 10",
        "WAITING for kafka",
        "SHADOW · steady · 20",
    ];
    watched(&watching, &says);
}

/// What was watched into a file stands there: each of these in its turn, and no line that only says again what the last one said.
#[track_caller]
fn watched(watching: &Process, says: &[&str]) {
    let lines = eventually(SOON, &format!("the lines say {says:?}"), || {
        let text = watching.log();
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let lines: Vec<String> = lines.map(|(_time, line)| line.to_owned()).collect();
        let mut rest = lines.iter();
        let all = says.iter().all(|part| rest.any(|line| line.contains(part)));
        if all { Ok(lines) } else { Err(text) }
    });
    let again = lines.windows(2).find(|two| two[0] == two[1]);
    assert_eq!(again, None, "{lines:?}");
}

#[test]
fn blocked_by_gates_among_the_consumers() {
    let plan = plan("situation-blocked", kafka());
    let mut daemon = plan.daemon();
    await_step(&daemon, "shadow", "steady");
    drain(&mut daemon);
    put_at(redis(), &plan, "consumers:25");
    daemon.restart();
    daemon.wait_ready();
    await_level(&daemon, "a");
    let says = [
        "CONSUMERS 25 % · steady",
        "PARITY    = level since",
        "… group-lag",
        "NEXT      50 %: BLOCKED by",
        "do: ",
        "see: lockgate runbook",
        "BACK      to 5 %:",
    ];
    await_screen(&daemon, &says, &["FORWARD", "STORES", "TRIM"], 0);
    let (_, code) = status(
        &daemon,
        &["--until", "step=consumers:25", "--timeout", "1m"],
    );
    assert_eq!(code, Some(0));
    let (_, code) = status(
        &daemon,
        &["--until", "step=consumers:50", "--timeout", "1s"],
    );
    assert_eq!(code, Some(7));
    let plain = status(&daemon, &["--ascii"]).0;
    assert!(plain.is_ascii(), "{plain}");

    // What the application's consumers could not do is told from outside, and takes them back.
    let url = daemon.url();
    let words = "evidence error-rate --faults 30 --total 1000 --seconds 1 --url";
    let words: Vec<&str> = words.split(' ').chain([&*url]).collect();
    let told = lockgate_with(&words, &[]);
    assert!(told.status.success(), "{told:?}");
    await_step(&daemon, "shadow", "steady");
    let status = daemon.status().expect("a status");
    let journal = status["journal"].as_array().expect("a journal");
    let fired = |record: &&serde_json::Value| {
        let reason = record["reason"].as_str().unwrap_or_default();
        record["verb"] == "tripwire" && reason.starts_with("error-rate")
    };
    assert!(journal.iter().any(|record| fired(&record)), "{journal:?}");
}

#[test]
fn frozen_by_an_inconsistency_and_back_at_redis() {
    const MORE: &str =
        "[migration]\nevaluate_every = \"200ms\"\nattempt_budget = \"2s\"\nsettle = \"0s\"\n";
    let (_plan, daemon) = passed_over("situation-frozen", MORE, |plan| {
        put_at(redis(), plan, "consumers:50");
    });
    let says = [
        "CONSUMERS 50 % -> 0 % · FROZEN by inconsistency",
        "PARITY    ≠ APART since",
        "missing",
        "FLAGS     USE_KAFKA_CONSUMERS=false since",
        "1 lockgate parity explain",
        "BACK      done by itself in",
    ];
    await_screen(&daemon, &says, &["GATES", "FORWARD"], 5);
    // As it was, after a restart: the journal tells where from.
    let mut daemon = daemon;
    drain(&mut daemon);
    daemon.restart();
    daemon.wait_ready();
    await_screen(&daemon, &says, &["GATES"], 5);
}

#[test]
#[ignore = "long: make soak"]
fn how_long_redis_can_hold_is_shown_while_kafka_is_away() {
    let cluster = KafkaCluster::start(1);
    let server = RedisServer::start(RedisOptions {
        maxmemory: Some((512 << 20, "noeviction")),
        ..RedisOptions::default()
    });
    let mut plan = Plan::on("situation-room", &server, 0, &cluster)
        .route("capped", &["capped"], "")
        .route("growing", &["growing"], "");
    plan.more = QUICK.to_owned();
    for route in ["capped", "growing"] {
        cluster.create_topic(&plan.topic(route), 1, &[]);
    }
    add(&server, 0, "capped", "x", 2_000);
    add(&server, 0, "growing", "x", 10);
    let daemon = plan.daemon();
    for name in ["capped", "growing"] {
        await_level(&daemon, name);
    }
    let headroom = |daemon: &Daemon, route: &str| {
        let labels = [("route", route)];
        daemon.metric("lockgate_mirror_trim_headroom_seconds", &labels)
    };
    // Nothing is unmirrored: there is nothing to lose.
    eventually(SOON, "nothing is in the way of trimming", || {
        (headroom(&daemon, "capped") == Some(f64::INFINITY)).then_some(())
    });
    cluster.kill(0);

    // One stream is trimmed at its front while it grows; the other only grows, and memory with it.
    let filler = "y".repeat(40_000);
    let mut connection = server.connection(0);
    let mut produce = || {
        let mut pipe = redis::pipe();
        for command in [
            "capped MAXLEN 2000 * data z",
            &format!("growing * data {filler}"),
        ] {
            let mut xadd = redis::cmd("XADD");
            command.split(' ').for_each(|word| {
                xadd.arg(word);
            });
            pipe.add_command(xadd).ignore();
        }
        pipe.query::<()>(&mut connection).unwrap();
    };
    let soon =
        |seconds: Option<f64>| seconds.is_some_and(|seconds| (0.0..86_400.0).contains(&seconds));
    eventually(SOON, "trimming is in sight, and memory that fills", || {
        produce();
        let status = daemon.status().ok_or("no status")?;
        let of = |name: &str| {
            let all = status["streams"].as_array().unwrap();
            let one = all.iter().find(|one| one["stream"] == name).unwrap();
            one["trim_headroom_seconds"].as_f64()
        };
        let (capped, growing) = (of("capped"), of("growing"));
        let (of_capped, of_growing) = (headroom(&daemon, "capped"), headroom(&daemon, "growing"));
        let shown = status["trim"]["headroom_seconds"].as_f64();
        let says = status["trim"]["says"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let all = [capped, growing, of_capped, of_growing, shown].map(soon);
        // The stream that is trimmed goes first: 2 000 entries at the pace at which these come.
        let trimmed = says.contains("capped trims what is not mirrored in about");
        let full = says.contains("memory full in about");
        if all == [true; 5] && (trimmed || full) && capped <= growing {
            Ok(())
        } else {
            Err(format!(
                "{says}: {capped:?} {growing:?} {of_capped:?} {of_growing:?} {shown:?}"
            ))
        }
    });
    let says = ["WAITING for kafka", "Redis holds it all: ", "in about"];
    await_screen(&daemon, &says, &["not known", "nothing trims\n"], 5);
}

#[test]
fn a_daemon_that_starts_while_kafka_is_away_tells_what_redis_says() {
    let mut plan = Plan::new("from-the-start").route("r", &["a"], "");
    "127.0.0.1:1".clone_into(&mut plan.bootstrap);
    let daemon = plan.daemon();
    let status = eventually(SOON, "Redis is looked at", || {
        let status = daemon.status()?;
        status["redis"]["version"].is_string().then_some(status)
    });
    let says = status["trim"]["says"].as_str().unwrap();
    assert!(says.starts_with("not known"), "{says}");
    assert_eq!(status["edges"]["redis"]["up"], true, "{status}");
}
