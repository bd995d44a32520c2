//! `lockgate demo`: what a newcomer runs first ends level and leaves nothing behind, or says what it lacks.

use std::fs;
use std::path::Path;

use crate::harness::{libs, lockgate, lockgate_with};

/// Processes that were started with something in this folder.
fn processes_of(folder: &Path) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines
        .filter(|line| line.contains(folder.to_str().unwrap()))
        .collect()
}

#[test]
fn the_demo_ends_level_and_leaves_nothing_behind() {
    let scratch = tempfile::tempdir().unwrap();
    let (libs, place) = (libs(), scratch.path().to_str().unwrap());
    let arguments = ["demo", "--entries", "2000", "--output", "json"];
    let jars = ["--kafka-libs", libs.to_str().unwrap()];
    let output = lockgate_with(&[&arguments[..], &jars].concat(), &[("TMPDIR", place)]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for count in ["entries", "records"] {
        assert_eq!(verdict[count], 2000, "{verdict}");
    }
    assert!(told.contains("LEVEL"), "{told}");
    assert!(told.contains("kill -9 of the daemon"), "{told}");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "{told}");
    assert_eq!(processes_of(scratch.path()), [""; 0]);
}

#[test]
fn the_demo_says_what_it_lacks() {
    let empty = tempfile::tempdir().unwrap();
    let output = lockgate(&["demo", "--kafka-libs", empty.path().to_str().unwrap()]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("Kafka's jars, which are not in"), "{told}");
    assert!(told.contains("run `make kafka`"), "{told}");
}
