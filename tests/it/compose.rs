//! The compose file, as far as a schema cannot know it: its `LOCKGATE_` variables are keys of the configuration, what it mounts is
//! there, and nothing of it is open to other machines or without a version.

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
