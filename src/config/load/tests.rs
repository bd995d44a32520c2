//! Loading as a user meets it: files, variables and flags in, a configuration or every problem out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::config::{Hash, Key, Value as RecordValue, schema, show_json, show_toml, stand_in};
use crate::entry::Database;

mod problems;

const LEAST: &str = r#"
name = "m"
[[routes]]
name = "r"
streams = ["s"]
topic = "t"
partitions = 1
value = { field = "data" }
"#;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("writes");
        path
    }

    fn load(&self, text: &str) -> Result<Loaded, Vec<String>> {
        self.load_with(text, &[], &[])
    }

    fn load_with(
        &self,
        text: &str,
        env: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> Result<Loaded, Vec<String>> {
        let owned = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect()
        };
        let sources = Sources {
            files: vec![self.write("lockgate.toml", text)],
            env: owned(env),
            overrides: owned(flags),
        };
        load(&sources).map_err(shown)
    }
}

fn shown(problems: Vec<Problem>) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn assert_problem(problems: &[String], key: &str, words: &[&str]) {
    let start = format!("{key}: ");
    let found = problems
        .iter()
        .any(|p| p.starts_with(&start) && words.iter().all(|word| p.contains(word)));
    assert!(
        found,
        "no problem of {key} with {words:?} among {problems:#?}"
    );
}

#[test]
fn the_least_configuration_has_the_defaults() {
    let config = Folder::new().load(LEAST).expect("loads").config;
    assert_eq!(config.redis.url, "redis://127.0.0.1:6379/0");
    assert_eq!(config.shards.count, 4);
    assert_eq!(config.kafka.session_timeout, Duration::from_secs(6));
    assert_eq!(config.routes[0].retention, Duration::from_secs(30 * 86_400));
    assert_eq!(config.routes[0].key, Key::None);
    assert_eq!(config.routes[0].partition.hash, Hash::None);
}

#[test]
fn every_file_under_config_has_no_problem() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut seen = 0;
    for folder in [root.clone(), root.join("examples")] {
        for file in std::fs::read_dir(folder).expect("a folder") {
            let path = file.expect("a file").path();
            if path.extension().is_none_or(|ending| ending != "toml") {
                continue;
            }
            let sources = Sources {
                files: vec![path.clone()],
                ..Sources::default()
            };
            let loaded = load(&sources).map_err(shown);
            assert!(loaded.is_ok(), "{}: {:#?}", path.display(), loaded.err());
            seen += 1;
        }
    }
    assert_eq!(seen, 6);
}

#[test]
fn the_starting_point_shows_the_defaults_as_they_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/lockgate.toml");
    let text = std::fs::read_to_string(path).expect("reads");
    let plain = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => setting.to_owned(),
        _ => line.to_owned(),
    };
    let uncommented: Vec<_> = text.lines().map(plain).collect();
    let folder = Folder::new();
    let loaded = folder.load(&text).expect("loads");
    let with_defaults = folder.load(&uncommented.join("\n")).expect("loads");
    assert_eq!(show_toml(&loaded, false), show_toml(&with_defaults, false));
    assert!(with_defaults.origins.len() > loaded.origins.len() + 15);
}

#[test]
fn the_flags_file_lies_where_the_unit_keeps_it_and_others_may_read_it() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let read = |name: &str| std::fs::read_to_string(config.join(name)).expect("reads");
    let unit = read("systemd/lockgate.service");
    let says = |setting: &str| unit.lines().any(|line| line == setting);
    assert!(says("StateDirectory=lockgate") && says("StateDirectoryMode=0755"));
    // The directories of a dynamic user lie in one that is its own.
    assert!(says("User=lockgate") && !unit.contains("\nDynamicUser="));
    assert!(read("lockgate.toml").contains("\n# file = \"/var/lib/lockgate/"));
}

#[test]
fn later_sources_win_and_are_named() {
    let folder = Folder::new();
    let env = [
        ("LOCKGATE_SHARDS__COUNT", "5"),
        ("LOCKGATE_REDIS__URL", "redis://b/2"),
        ("LOCKGATE_ROUTES__0__TOPIC", "from-env"),
        ("LOCKGATE_ROUTES__0__KEY__FIELD", "k"),
        ("LOCKGATE_ROUTES__0__HEADERS__CORRELATION_ID__FIELD", "c"),
        ("LOCKGATE_KAFKA__BOOTSTRAP_SERVERS", "a:1, b:2"),
        ("LOCKGATE_KAFKA__PROPERTIES__SASL_USERNAME", "true"),
        ("HOME", "elsewhere"),
    ];
    let loaded = folder
        .load_with(LEAST, &env, &[("redis.url", "redis://c/3")])
        .expect("loads");
    let config = &loaded.config;
    assert_eq!(config.shards.count, 5);
    assert_eq!(config.redis.default_database(), Database(3));
    assert_eq!(config.routes[0].topic, "from-env");
    assert_eq!(config.routes[0].name, "r");
    assert_eq!(config.routes[0].headers["correlation-id"].field, "c");
    assert_eq!(config.kafka.bootstrap_servers, ["a:1", "b:2"]);
    assert_eq!(config.kafka.properties["sasl.username"], "true");
    assert_eq!(loaded.origin("redis.url"), Origin::Flag);
    assert_eq!(
        loaded.origin("shards.count"),
        Origin::Variable("LOCKGATE_SHARDS__COUNT".to_owned())
    );
    assert!(matches!(
        loaded.origin("routes[0].name"),
        Origin::File { line: 4, .. }
    ));
    assert_eq!(loaded.origin("shards.buffer_bytes"), Origin::Default);
}

#[test]
fn flags_name_keys_as_problems_do() {
    let flags = [
        ("routes[0].headers.\"a.b\".field", "x"),
        ("kafka.properties.sasl.mechanism", "PLAIN"),
        (
            "routes[0].value",
            "{ json = ['a', { field = 'b', as = 'json' }] }",
        ),
        (
            "routes[1]",
            "{ name = 'x', streams = ['y'], topic = 'z', partitions = 2, value = { all = true } }",
        ),
    ];
    let config = Folder::new()
        .load_with(LEAST, &[], &flags)
        .expect("loads")
        .config;
    assert_eq!(config.routes[0].headers["a.b"].field, "x");
    assert_eq!(config.kafka.properties["sasl.mechanism"], "PLAIN");
    assert!(matches!(&config.routes[0].value, RecordValue::Json(json) if json.json.len() == 2));
    assert_eq!(config.routes[1].topic, "z");
}

#[test]
fn every_key_can_be_set_by_its_variable() {
    for entry in schema::entries() {
        let folder = Folder::new();
        folder.write("secret", "x");
        let variable = entry.variable.replace("<N>", "0").replace("<NAME>", "X");
        let made = stand_in::stand_in(entry.schema, &Default::default());
        let text = match (&made, entry.schema["format"].as_str()) {
            (_, Some("path")) => folder.0.path().join("secret").display().to_string(),
            (Value::String(text), _) if text.is_empty() => "x".to_owned(),
            (Value::String(text), _) => text.clone(),
            (Value::Array(_) | Value::Object(_), _) => continue,
            (other, _) => other.to_string(),
        };
        let env = [(variable.as_str(), text.as_str())];
        let sources = Sources {
            files: vec![folder.write("lockgate.toml", LEAST)],
            env: env
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect(),
            ..Sources::default()
        };
        // The value alone may make no sense there (a lone pointer): its name and type must.
        let refused = load(&sources).err().unwrap_or_default();
        let of_it: Vec<_> = refused
            .into_iter()
            .filter(|p| p.key.starts_with("LOCKGATE_") || p.message.contains("wanted"))
            .collect();
        assert!(of_it.is_empty(), "{variable}={text}: {:#?}", shown(of_it));
    }
}

#[test]
fn routes_of_several_files_add_up_and_keep_their_lines() {
    let folder = Folder::new();
    let second = "[kafka]\nbootstrap_servers = ['x:1']\n[[routes]]\nname = 'r2'\nstreams = ['s2']\ntopic = 't2'\npartitions = 1\nvalue = { all = true }\nnmae = 1";
    let sources = Sources {
        files: vec![
            folder.write("a.toml", LEAST),
            folder.write("b.toml", second),
        ],
        ..Sources::default()
    };
    let problems = shown(load(&sources).expect_err("refused"));
    assert_problem(&problems, "routes[1].nmae", &["b.toml:9)"]);
    folder.write("b.toml", second.trim_end_matches("\nnmae = 1"));
    let config = load(&sources).map_err(shown).expect("loads").config;
    let names: Vec<_> = config
        .routes
        .iter()
        .map(|route| route.name.as_str())
        .collect();
    assert_eq!(names, ["r", "r2"]);
    assert_eq!(config.kafka.bootstrap_servers, ["x:1"]);
}

#[test]
fn secrets_of_files_stand_in_the_configuration_and_nowhere_else() {
    let folder = Folder::new();
    folder.write("redis", "hunter2\n");
    folder.write("kafka", "hunter3");
    let text = format!(
        "{}\n[redis]\npassword_file = 'redis'\n[kafka.properties]\nsasl.mechanism = 'PLAIN'\n[kafka.property_files]\n\"sasl.password\" = 'kafka'\n",
        LEAST
    );
    let loaded = folder.load(&text).expect("loads");
    let config = &loaded.config;
    assert_eq!(
        config.redis.password.as_ref().map(Secret::expose),
        Some("hunter2")
    );
    assert_eq!(config.kafka.properties["sasl.password"], "hunter3");
    assert_eq!(config.kafka.properties["sasl.mechanism"], "PLAIN");
    for origin in [false, true] {
        for shown in [
            show_toml(&loaded, origin),
            show_json(&loaded, origin),
            format!("{loaded:?}"),
        ] {
            assert!(
                !shown.contains("hunter") && shown.contains("***"),
                "{shown}"
            );
        }
    }
    assert!(matches!(
        loaded.origin("redis.password"),
        Origin::SecretFile(_)
    ));
    assert!(show_toml(&loaded, true).contains("password = \"***\"  # secret file "));
}

#[test]
fn what_is_shown_loads_as_the_same() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/messaging.toml");
    let folder = Folder::new();
    let first = folder
        .load(&std::fs::read_to_string(path).expect("reads"))
        .expect("loads");
    for origin in [false, true] {
        let again = folder
            .load(&show_toml(&first, origin))
            .expect("loads what it showed");
        assert_eq!(format!("{:?}", first.config), format!("{:?}", again.config));
    }
    let as_json: Value = serde_json::from_str(&show_json(&first, true)).expect("JSON");
    assert_eq!(
        as_json["config"]["routes"][0]["partition"]["hash"],
        "murmur3"
    );
    assert_eq!(as_json["origins"]["shards.count"], "default");
}
