//! The compose file, as far as a schema cannot know it: its `LOCKGATE_` variables are keys of the configuration, what it mounts is
//! there and where those look who read it, nothing of it is open to other machines or without a version, and who needs a service
//! waits until it is well.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::harness::lockgate_with;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn text() -> String {
    fs::read_to_string(Path::new(ROOT).join("docker-compose.yml")).unwrap()
}

/// `${NAME:-default}` as compose reads it where nothing is set.
fn with_defaults(text: &str) -> String {
    let mut found = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (variable, after) = after.split_once('}').expect("a closed variable");
        let (_, default) = variable.split_once(":-").expect("a default");
        found.push_str(before);
        found.push_str(default);
        rest = after;
    }
    found + rest
}

/// Every `LOCKGATE_` variable with its value.
fn variables(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| line.starts_with("LOCKGATE_"))
        .map(|line| {
            let (name, value) = line.split_once(": ").expect("a value");
            (name.to_owned(), with_defaults(value.trim_matches('"')))
        })
        .collect()
}

/// Exit code and words of the configuration's own check with these variables.
fn checked(variables: &[(String, String)]) -> (Option<i32>, String) {
    let config = format!("{ROOT}/config/examples/messaging.toml");
    let env: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let output = lockgate_with(&["check", "--offline", "--config", &config], &env);
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn its_variables_are_keys_of_the_configuration() {
    let variables = variables(&text());
    assert!(variables.len() >= 6, "{variables:?}");
    let (code, said) = checked(&variables);
    assert_eq!(code, Some(0), "{said}");
    let mut misspelt = variables;
    misspelt[0].0.push('X');
    let (code, said) = checked(&misspelt);
    assert_eq!(code, Some(2), "{said}");
}

#[test]
fn what_it_mounts_is_there() {
    let text = with_defaults(&text().replace("$$", ""));
    let mounted: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- ./"))
        .filter_map(|line| line.split(':').next())
        .collect();
    assert!(mounted.len() >= 5, "{mounted:?}");
    for path in mounted {
        assert!(Path::new(ROOT).join(path).exists(), "{path}");
    }
}

#[test]
fn every_port_is_on_loopback_and_every_image_has_a_version() {
    let text = text();
    let ports = text
        .lines()
        .filter(|line| line.trim().starts_with("ports:"));
    for line in ports {
        assert!(line.contains("[\"127.0.0.1:"), "{line}");
    }
    let images: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("image: "))
        .collect();
    assert!(images.len() >= 5, "{images:?}");
    for image in images {
        let (_, tag) = image.rsplit_once(':').unwrap_or((image, ""));
        assert!(
            tag.starts_with(|c: char| c.is_ascii_digit() || c == 'v'),
            "{image}"
        );
    }
}

/// The lines of each service, what it takes over from an `x-` block with them.
fn services(text: &str) -> BTreeMap<String, String> {
    let mut blocks: BTreeMap<&str, String> = BTreeMap::new();
    let mut anchors: BTreeMap<&str, &str> = BTreeMap::new();
    let mut top = "";
    let mut block = "";
    for line in text.lines().filter(|line| !line.trim().starts_with('#')) {
        let indent = line.len() - line.trim_start().len();
        let key = line.trim().split(':').next().unwrap_or_default();
        if indent == 0 && !key.is_empty() {
            (top, block) = (key, key);
        } else if indent == 2 && top == "services" {
            block = key;
        }
        if indent == 0
            && let Some((_, anchor)) = line.split_once(": &")
        {
            anchors.insert(anchor, block);
        }
        if indent > 0 && (top == "services" || top.starts_with("x-")) {
            let lines = blocks.entry(block).or_default();
            lines.push_str(line);
            lines.push('\n');
        }
    }
    let whole = |name: &str, own: &str| {
        let merged = own.lines().filter(|line| line.trim().starts_with("<<: "));
        let words =
            merged.flat_map(|line| line.split(|c: char| !(c.is_alphanumeric() || c == '-')));
        let taken: String = words
            .filter_map(|word| blocks.get(anchors.get(word)?).map(String::as_str))
            .collect();
        (name.to_owned(), format!("{taken}{own}"))
    };
    let services = blocks.iter().filter(|(name, _)| !name.starts_with("x-"));
    services.map(|(name, own)| whole(name, own)).collect()
}

/// The value of the one line of a file that begins with this key.
fn value(file: &str, key: &str) -> String {
    let text = fs::read_to_string(Path::new(ROOT).join(file)).unwrap();
    let mut values = text
        .lines()
        .filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key));
    let value = values.next().unwrap_or_else(|| panic!("{file}: no {key}"));
    assert_eq!(values.next(), None, "{file}: {key}");
    value.trim().to_owned()
}

#[test]
fn every_service_that_goes_on_is_checked_and_who_needs_one_waits_for_it() {
    let services = services(&text());
    let is_checked = |name: &str| {
        let block = &services[name];
        block.contains(" healthcheck:") && !block.contains("healthcheck: { disable: true }")
    };
    let names = services.keys().map(String::as_str);
    let unchecked: BTreeSet<&str> = names.filter(|name| !is_checked(name)).collect();
    // The first two end; nobody waits for the others.
    let known = ["topics", "topics-three", "reader", "writer"];
    assert_eq!(unchecked, BTreeSet::from(known), "without a health check");
    let mut waiting = 0;
    for (name, block) in &services {
        let Some((_, needed)) = block.split_once("    depends_on:") else {
            continue;
        };
        assert!(needed.starts_with('\n'), "{name}: {needed}");
        let needed = needed.lines().skip(1);
        for line in needed.take_while(|line| line.starts_with("      ")) {
            let (other, condition) = line.trim().split_once(": ").unwrap_or((line, ""));
            let wanted = match other {
                "topics" | "topics-three" => "{ condition: service_completed_successfully }",
                _ => "{ condition: service_healthy }",
            };
            assert_eq!(condition, wanted, "{name} needs {other}");
            assert!(is_checked(other) || other.starts_with("topics"), "{other}");
            waiting += 1;
        }
    }
    assert!(waiting >= 15, "{waiting}");
}

#[test]
fn prometheus_and_grafana_look_where_their_files_and_servers_are() {
    let services = services(&text());
    let has = |service: &str, line: &str| {
        let block = &services[service];
        assert!(block.contains(line), "{service} lacks {line}:\n{block}");
    };
    let folder = value("config/prometheus/grafana/dashboards.yml", "path: ");
    has("grafana", &format!("- ./dashboards:{folder}:ro"));
    let (_, home) = services["grafana"]
        .split_once(&format!("DASHBOARD_PATH: {folder}/"))
        .expect("a dashboard to begin with, among the others");
    let home = home.lines().next().expect("a file");
    assert!(Path::new(ROOT).join("dashboards").join(home).is_file());
    let url = value("config/prometheus/grafana/datasources.yml", "url: ");
    let (name, port) = url
        .strip_prefix("http://")
        .and_then(|place| place.split_once(':'))
        .expect("a server");
    has(name, "image: prom/prometheus:");
    has(name, &format!("[\"127.0.0.1:{port}:{port}\"]"));
    has(name, "- ./config/prometheus:/etc/prometheus:ro");
    // Under one name, whichever of the two runs.
    let scraped = value("config/prometheus/prometheus.yml", "targets: ");
    let (name, port) = scraped
        .trim_matches(['[', ']', '"'])
        .split_once(':')
        .expect("a server");
    has(name, &format!("[\"127.0.0.1:{port}:{port}\"]"));
    has("lockgate-three", &format!("aliases: [{name}]"));
    assert!(text().contains(&format!("LISTEN: 0.0.0.0:{port}\n")));
}

#[test]
fn the_image_is_built_in_stages_and_runs_as_nobody_in_particular() {
    let text = fs::read_to_string(Path::new(ROOT).join("Dockerfile")).unwrap();
    let stages: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("FROM "))
        .collect();
    assert_eq!(stages.len(), 2, "{stages:?}");
    let toolchain = fs::read_to_string(Path::new(ROOT).join("rust-toolchain.toml")).unwrap();
    let version = toolchain.split('"').nth(1).expect("a version");
    assert!(
        stages[0].contains(&format!("rust:{version}")),
        "{}",
        stages[0]
    );
    let (_, last) = text.rsplit_once(stages[1]).expect("the last stage");
    assert!(last.contains("\nUSER 10001:10001\n"), "it runs as root");
    assert!(last.contains("HEALTHCHECK"), "no health check");
}
