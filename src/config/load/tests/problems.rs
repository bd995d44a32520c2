//! Configurations with problems: all of them are found, each with its key, its place and what to do, and no secret.

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn all_problems_come_at_once_with_key_place_and_remedy() {
    let folder = Folder::new();
    folder.write("empty", "\n");
    let problems = folder
        .load(
            r#"name = "Messaging"
[redis]
url = "redis://127.0.0.1/1"
pasword_file = "x"
password = "a"
password_file = "empty"
[kafka]
bootstrap_servers = ["kafka"]
session_timeout = "500ms"
[kafka.properties]
acks = "1"
[shards]
count = 0
transaction_entries = "many"
[http]
listen = "0.0.0.0:8474"
[log]
level = "infoo"
[[routes]]
name = "a"
streams = []
topic = "t"
partitions = 0
value = { field = "x", json = ["y"] }
retention = "3M"
[[routes]]
name = "a"
streams = ["s"]
partitions = 4
key = { fild = "k" }
value = { filed = "data" }
partition = { hash = "murmur4", fold = "unsigned", seed = -1 }
on_gap = "stop"
start = "now"
[[routes]]
name = "c"
streams = "s"
topic = 5
partitions = 1
value = { all = false }
key = "conversationId"
"#,
        )
        .expect_err("refused");
    for (key, words) in [
        ("name", &["small letters", "lockgate.toml:1)"][..]),
        (
            "redis.pasword_file",
            &["did you mean `password_file`", "lockgate.toml:4)"],
        ),
        ("redis.password", &["keep one"]),
        ("redis.password_file", &["is empty", "lockgate.toml:6)"]),
        (
            "kafka.bootstrap_servers[0]",
            &["kafka:9092", "lockgate.toml:8)"],
        ),
        ("kafka.session_timeout", &["at least 1s"]),
        (
            "kafka.properties.acks",
            &["take it out", "lockgate.toml:11)"],
        ),
        ("shards.count", &["is 0; give at least 1 shards"]),
        ("shards.transaction_entries", &["a whole number is wanted"]),
        ("http.listen", &["http.allow_remote"]),
        ("log.level", &["infoo"]),
        ("routes[0].streams", &["at least one"]),
        ("routes[0].partitions", &["at least 1"]),
        ("routes[0].value.json", &["cannot stand beside `field`"]),
        ("routes[0].retention", &["90d"]),
        ("routes[1].name", &["routes[0]"]),
        ("routes[1].topic", &["is missing", "lockgate.toml:26)"]),
        ("routes[1].key.fild", &["`field`"]),
        ("routes[1].value.filed", &["`field`"]),
        ("routes[1].partition.hash", &["murmur3"]),
        ("routes[1].partition.seed", &["at least 0"]),
        ("routes[1].on_gap", &["halt, record"]),
        ("routes[1].start", &["earliest"]),
        ("routes[2].streams", &["a list is wanted"]),
        ("routes[2].topic", &["a text is wanted"]),
        ("routes[2].value.all", &["true"]),
        ("routes[2].key", &["none"]),
    ] {
        assert_problem(&problems, key, words);
    }
}

#[test]
fn what_is_missing_is_named() {
    let problems = Folder::new().load("").expect_err("refused");
    assert_eq!(problems.len(), 2, "{problems:#?}");
    assert_problem(&problems, "name", &["is missing"]);
    assert_problem(&problems, "routes", &["is missing"]);
    let problems = Folder::new()
        .load("name = 'a'\nroutes = []")
        .expect_err("refused");
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert_problem(&problems, "routes", &["at least one"]);
}

#[test]
fn no_secret_is_in_any_problem() {
    for text in [
        "[redis]\npassword = hunter2",
        "[redis]\npassword = \"hunter2",
        "[redis]\nurl = \"redis://:hunter2@cache:6379/1\"",
        "[redis]\nurl = \"hunter2\"",
        "[redis]\npassword = [\"hunter2\"]",
        "[redis]\npassword = \"hunter2\"\npassword_file = \"none\"",
        "[redis.password]\nhunter = 2",
        "[kafka.properties]\n\"sasl.password\" = [\"hunter2\"]",
        "[kafka.properties]\n\"acks.password\" = \"hunter2\"\nacks = \"hunter2\"",
        "redis = \"hunter2\"",
        "kafka = \"hunter2\"",
    ] {
        let problems = Folder::new().load(text).expect_err("refused");
        assert!(
            !problems.is_empty() && problems.iter().all(|p| !p.contains("hunter2")),
            "{problems:#?}"
        );
    }
}

#[test]
fn no_flag_sets_a_secret() {
    let folder = Folder::new();
    for (flag, text, key, instead) in [
        (
            "redis.password",
            "hunter2",
            "redis.password",
            ["redis.password_file", "LOCKGATE_REDIS__PASSWORD"],
        ),
        (
            "redis",
            "{ password = 'hunter2' }",
            "redis.password",
            ["redis.password_file", "LOCKGATE_REDIS__PASSWORD"],
        ),
        (
            "prometheus.token",
            "hunter2",
            "prometheus.token",
            ["prometheus.token_file", "LOCKGATE_PROMETHEUS__TOKEN"],
        ),
        (
            "kafka.properties.sasl.password",
            "hunter2",
            "kafka.properties.sasl.password",
            [
                "kafka.property_files.sasl.password",
                "LOCKGATE_KAFKA__PROPERTIES__SASL_PASSWORD",
            ],
        ),
        (
            "kafka.properties",
            "{ sasl = { password = 'hunter2' } }",
            "kafka.properties.sasl.password",
            [
                "kafka.property_files.sasl.password",
                "LOCKGATE_KAFKA__PROPERTIES__SASL_PASSWORD",
            ],
        ),
    ] {
        let problems = folder
            .load_with(LEAST, &[], &[(flag, text)])
            .expect_err("refused");
        assert_problem(&problems, key, &["process list", instead[0], instead[1]]);
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(!problems[0].contains("hunter2"), "{problems:#?}");
        // What is offered instead works.
        let variable = instead[1];
        folder
            .load_with(LEAST, &[(variable, "hunter2")], &[])
            .expect(variable);
    }
    let secret = folder.write("secret", "hunter2");
    let flags = [
        ("redis.password_file", secret.to_str().expect("text")),
        (
            "kafka.property_files.sasl.password",
            secret.to_str().expect("text"),
        ),
        ("kafka.properties.sasl.mechanism", "PLAIN"),
        ("routes[0].headers.password.field", "token"),
    ];
    folder
        .load_with(LEAST, &[], &flags)
        .expect("no secret is in these");
}

#[test]
fn each_file_that_cannot_be_read_is_named() {
    let folder = Folder::new();
    let sources = Sources {
        files: vec![
            folder.write("a.toml", "x = \ny = ["),
            folder.0.path().join("b.toml"),
        ],
        ..Sources::default()
    };
    let problems = shown(load(&sources).expect_err("refused"));
    assert!(
        problems.iter().any(|p| p.contains("a.toml:1: is no TOML")),
        "{problems:#?}"
    );
    assert!(
        problems
            .iter()
            .any(|p| p.contains("b.toml: cannot be read")),
        "{problems:#?}"
    );
}

#[test]
fn what_names_no_setting_is_refused_with_what_was_meant() {
    let env = [
        ("LOCKGATE_REDIS_PASSWORD", "hunter2"),
        ("LOCKGATE_ROUTES__7__TOPIC", "x"),
        ("LOCKGATE_ROUTES__FIRST__TOPIC", "x"),
        ("LOCKGATE_SHARDS__COUNT", "four"),
        ("LOCKGATE_ROUTES__0__VALUE", "{ field = "),
        ("LOCKGATE_LOG__LEVEL", "\u{fffd}"),
        ("LOCKGATE_HTTP__PORT", "8474"),
        ("LOCKGATE_REDIS__USERNAME", ""),
        // None of these is ours.
        ("LOCKGATE_FAILPOINTS", "x"),
        ("LOCKGATE_SERVICE_HOST", "10.0.0.1"),
        ("LOCKGATE_SERVICE_PORT_HTTP", "8474"),
        ("LOCKGATE_PORT", "tcp://10.0.0.1:8474"),
        ("LOCKGATE_PORT_8474_TCP_ADDR", "10.0.0.1"),
    ];
    let problems = Folder::new()
        .load_with(LEAST, &env, &[("redis.ulr", "x")])
        .expect_err("refused");
    assert_problem(
        &problems,
        "LOCKGATE_REDIS_PASSWORD",
        &["LOCKGATE_REDIS__PASSWORD?"],
    );
    assert_problem(
        &problems,
        "LOCKGATE_ROUTES__7__TOPIC",
        &["item 7 of a list of 1"],
    );
    assert_problem(&problems, "LOCKGATE_ROUTES__FIRST__TOPIC", &["number"]);
    assert_problem(
        &problems,
        "shards.count",
        &["a whole number is wanted", "LOCKGATE_SHARDS__COUNT"],
    );
    assert_problem(
        &problems,
        "routes[0].value",
        &["no TOML", "LOCKGATE_ROUTES__0__VALUE"],
    );
    assert_problem(&problems, "log.level", &["no UTF-8"]);
    assert_problem(&problems, "redis.ulr", &["redis.url?"]);
    assert_problem(&problems, "LOCKGATE_HTTP__PORT", &["names no setting"]);
    assert_problem(&problems, "redis.username", &["is empty"]);
    assert_eq!(problems.len(), 9, "{problems:#?}");
    assert!(problems.iter().all(|p| !p.contains("hunter2")));
}

#[test]
fn another_parts_problems_join_and_those_of_stand_ins_do_not() {
    let folder = Folder::new();
    let text = LEAST.replace("topic = \"t\"\n", "");
    let sources = Sources {
        files: vec![folder.write("a.toml", &text)],
        ..Sources::default()
    };
    let also = |config: &Config| {
        assert_eq!(config.routes[0].topic, "routes-0--topic");
        vec![
            Problem::new("routes[0].topic", "is odd"),
            Problem::new("routes[0].streams[0]", "is odd too"),
        ]
    };
    let problems = shown(load_with(&sources, also).expect_err("refused"));
    assert_eq!(problems.len(), 2, "{problems:#?}");
    assert_problem(&problems, "routes[0].topic", &["is missing"]);
    assert_problem(
        &problems,
        "routes[0].streams[0]",
        &["is odd too", "a.toml:5)"],
    );
}

/// Trees of names that the configuration knows, holding anything anywhere.
fn any_tree() -> impl Strategy<Value = Value> {
    let names: Vec<String> = schema::entries()
        .iter()
        .filter_map(|entry| entry.key.rsplit(['.', ']']).next())
        .map(str::to_owned)
        .chain(["hash".to_owned(), "strange".to_owned()])
        .collect();
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop_oneof![
            "[a-z]{0,5}",
            "[0-9]{1,3}(s|ms|d|M)",
            Just("murmur3".to_owned())
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        let pair = (proptest::sample::select(names.clone()), inner.clone());
        prop_oneof![
            proptest::collection::vec(inner, 0..4).prop_map(Value::from),
            proptest::collection::vec(pair, 0..8)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_is_wrong_the_rest_can_be_judged(sections in any_tree(), route in any_tree(), file in any_tree()) {
        let mut tree = match file {
            Value::Object(table) => Value::Object(table),
            other => json!({ "name": other }),
        };
        tree["routes"] = json!([route, sections]);
        mend(&mut tree);
        prop_assert!(shape::check(&tree, schema::root()).is_empty(), "{tree:#}");
        prop_assert!(read(&tree).is_ok(), "{tree:#}");
    }
}
