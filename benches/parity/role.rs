//! This program as a child of itself: a role is played, what it cost is printed as JSON, and the parent reads it.

use std::process::Command;

use crate::measured::Measured;
use crate::{reading, verify};

const ROLE: &str = "BENCH_ROLE";

pub fn is_role() -> bool {
    std::env::var_os(ROLE).is_some()
}

pub fn play() {
    let role = std::env::var(ROLE).unwrap();
    let words: Vec<&str> = role.split(' ').collect();
    let measured = match words[..] {
        ["read", url, bootstrap, topic, entries] => {
            reading::role(url, bootstrap, topic, entries.parse().unwrap())
        }
        ["verify", file, entries, unverifiable] => verify::role(
            file,
            entries.parse().unwrap(),
            unverifiable.parse().unwrap(),
        ),
        _ => panic!("unknown role {role}"),
    };
    println!("{}", serde_json::to_string(&measured).unwrap());
}

pub fn as_child(role: &str) -> Measured {
    let output = Command::new(std::env::current_exe().unwrap())
        .env(ROLE, role)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{role}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}
