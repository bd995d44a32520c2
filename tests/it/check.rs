//! What `lockgate check` says before anything is mirrored: each warning has its place, its cause and what to do.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::harness::{RedisOptions, RedisServer, kafka, lockgate, murmur3_x86_32};
use crate::plan::Plan;

/// `lockgate check --output json`, and its exit code.
fn check(plan: &Plan) -> (Value, Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lockgate.toml");
    std::fs::write(&file, plan.toml()).unwrap();
    let output = lockgate(&[
        "check",
        "--output",
        "json",
        "--config",
        file.to_str().unwrap(),
    ]);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    });
    (report, output.status.code())
}

/// The one finding whose place begins so and whose words hold this.
#[track_caller]
fn finding<'a>(report: &'a Value, place: &str, what: &str) -> &'a Value {
    let findings = report["findings"].as_array().unwrap();
    let found: Vec<&Value> = findings
        .iter()
        .filter(|one| {
            one["where"].as_str().unwrap().starts_with(place)
                && one["what"].as_str().unwrap().contains(what)
        })
        .collect();
    assert_eq!(found.len(), 1, "`{what}` at `{place}`: {report:#}");
    found[0]
}

#[track_caller]
fn says(finding: &Value, level: &str, action: &str) {
    assert_eq!(finding["level"], level, "{finding}");
    assert!(
        finding["do"].as_str().unwrap().contains(action),
        "{finding}"
    );
}

/// Entries with a key, each on the stream that an application with murmur3 over `count` streams puts it on.
fn spread(server: &RedisServer, family: &str, keys: std::ops::Range<u32>, count: u32, seed: u32) {
    for n in keys {
        let key = format!("conversation-{n}");
        let hash = murmur3_x86_32(key.as_bytes(), seed);
        let stream = hash % count;
        server.command::<()>(0, &format!("XADD {family}:{stream} * id {key} data v"));
    }
}

fn now_ms() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis()
}

fn route(hash: &str) -> String {
    format!("partitions = 6\nkey = {{ field = \"id\" }}\npartition = {{ {hash} }}\n")
}

const RIGHT: &str = "hash = \"murmur3\", fold = \"unsigned\"";

#[test]
fn the_placement_is_judged_from_samples_and_the_settings_that_explain_it_are_named() {
    let server = RedisServer::start(RedisOptions::default());
    let plan = Plan::on("check-placement", &server, 0, kafka())
        .route("right", &["right:{0..5}"], &route(RIGHT))
        .route("wrong", &["wrong:{0..5}"], &route("hash = \"murmur2\""))
        .route("few", &["few:{0..5}"], &route(RIGHT))
        .route("seeded", &["seeded:{0..5}"], &route(RIGHT))
        .route(
            "keyless",
            &["keyless:{0..5}"],
            &route("hash = \"none\"").replace("partitions = 6", "partitions = 1"),
        );
    for (family, keys, seed) in [
        ("right", 0..60, 0),
        ("wrong", 0..60, 0),
        ("few", 0..5, 0),
        ("seeded", 0..60, 987_654),
        ("keyless", 0..60, 0),
    ] {
        spread(&server, family, keys, 6, seed);
    }
    let (report, code) = check(&plan);
    assert_eq!(code, Some(1), "{report:#}");

    let placement = |route: &str| {
        let all = report["placements"].as_array().unwrap();
        all.iter().find(|one| one["route"] == route).unwrap()
    };
    let right = placement("right");
    assert_eq!(
        (right["over"].as_u64(), right["distinct_keys"].as_u64()),
        (Some(6), Some(60))
    );
    assert_eq!(right["configured"]["agreeing"], 60, "{right}");
    assert_eq!(right["configured"]["settings"], "murmur3, fold unsigned");
    let findings = report["findings"].to_string();
    assert!(!findings.contains("route right, streams"), "{findings}");

    let wrong = finding(
        &report,
        "route wrong",
        "THE CONFIGURED HASH IS NOT THE APPLICATION'S",
    );
    says(
        wrong,
        "error",
        "set routes.partition = { hash = \"murmur3\", fold = \"unsigned\" }",
    );
    let what = wrong["what"].as_str().unwrap();
    assert!(
        what.contains("murmur3, fold unsigned explains all"),
        "{what}"
    );
    assert_eq!(placement("wrong")["best"][0]["agreeing"], 60);
    assert!(
        placement("wrong")["configured"]["agreeing"]
            .as_u64()
            .unwrap()
            < 60
    );

    says(
        finding(&report, "route few", "too few to be sure"),
        "note",
        "--samples",
    );
    let seeded = finding(&report, "route seeded", "no known setting explains all");
    says(seeded, "error", "hash = \"stream-index\"");
    let keyless = finding(&report, "route keyless", "the order of a key is not kept");
    says(
        keyless,
        "warning",
        "set routes.partition = { hash = \"murmur3\"",
    );
}

#[test]
fn evictions_old_backlogs_and_ids_that_are_no_times_are_warned_of() {
    let server = RedisServer::start(RedisOptions {
        maxmemory: Some((64 << 20, "allkeys-lru")),
        ..RedisOptions::default()
    });
    let plan = Plan::on("check-warnings", &server, 0, kafka())
        .route("old", &["old", "young"], "retention = \"1h\"\n")
        .route("ids", &["nanoseconds", "counter", "milliseconds"], "");
    let add = |stream: &str, id: u128| {
        server.command::<()>(0, &format!("XADD {stream} {id}-0 data v"));
    };
    let now = now_ms();
    add("old", now - 3 * 3_600_000);
    add("old", now);
    add("young", now);
    add("nanoseconds", now * 1_000_000);
    add("counter", 17);
    add("milliseconds", now);
    let (report, _) = check(&plan);

    let evicts = finding(
        &report,
        "redis maxmemory-policy",
        "allkeys-lru may evict whole streams",
    );
    says(evicts, "warning", "noeviction");
    let old = finding(
        &report,
        "0/old",
        "is 3h00m old, older than routes.retention = 1h",
    );
    says(old, "warning", "raise routes.retention");
    says(
        finding(
            &report,
            "0/nanoseconds",
            "nanoseconds, or a clock that is ahead",
        ),
        "warning",
        "nothing is lost",
    );
    says(
        finding(&report, "0/counter", "a counter, or seconds"),
        "warning",
        "nothing is lost",
    );
    let mut quiet = String::new();
    for one in report["findings"].as_array().unwrap() {
        writeln!(quiet, "{} {}", one["where"], one["what"]).unwrap();
    }
    assert!(
        !quiet.contains("0/young") && !quiet.contains("0/milliseconds"),
        "{quiet}"
    );
}

#[test]
fn a_topic_that_differs_is_told_by_plan_and_apply_and_left_as_it_is() {
    let plan = Plan::new("topics-differ")
        .route("parts", &["a"], "partitions = 6\n")
        .route("kept", &["b"], "retention = \"2h\"\n")
        .route("missing", &["c"], "");
    kafka().create_topic(&plan.topic("parts"), 3, &[]);
    kafka().create_topic(&plan.topic("kept"), 1, &[("retention.ms", "60000")]);
    let described = |topic: &str| kafka().describe_topic(&plan.topic(topic));
    let before = ["parts", "kept"].map(described);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lockgate.toml");
    std::fs::write(&file, plan.toml()).unwrap();
    let topics = |verb: &str, more: &[&str]| {
        let words = [&["topics", verb, "--config", file.to_str().unwrap()], more].concat();
        let output = lockgate(&words);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (text, output.status.code())
    };
    let differs = |text: &str| {
        for (topic, what) in [
            ("parts", "3 partitions, should be 6"),
            ("kept", "retention.ms is 60000, should be 7200000"),
        ] {
            let line = format!("differs {}: {what}", plan.topic(topic));
            assert!(text.lines().any(|one| one == line), "{line}: {text}");
        }
    };

    let (text, code) = topics("plan", &[]);
    assert_eq!(code, Some(0), "{text}");
    differs(&text);
    assert!(
        text.contains(&format!("create  {}", plan.topic("missing"))),
        "{text}"
    );
    let (text, code) = topics("plan", &["--output", "json"]);
    assert_eq!(code, Some(0));
    let report: Value = serde_json::from_str(&text).unwrap();
    let of = |topic: &str| {
        let all = report["topics"].as_array().unwrap();
        let name = plan.topic(topic);
        all.iter().find(|one| one["topic"] == *name).unwrap()
    };
    assert_eq!(of("missing")["state"], "missing", "a plan makes nothing");
    assert_eq!(of("parts")["state"], "present");
    let told = of("parts")["differences"].to_string();
    assert!(told.contains("3 partitions, should be 6"), "{told}");

    let (text, code) = topics("apply", &[]);
    assert_eq!(code, Some(1), "{text}");
    differs(&text);
    assert!(
        text.contains(&format!("created {}", plan.topic("missing"))),
        "{text}"
    );
    assert!(described("missing").contains("PartitionCount: 1"));
    assert_eq!(["parts", "kept"].map(described), before);
}
