//! The backlog mirrored by the daemon, then verified by the command line as an operator would.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde_json::Value;

use crate::backlog;
use crate::harness::RedisServer;
use crate::measured::Measured;
use crate::role::as_child;
use crate::{DATABASE, STREAMS};

/// One entry in so many is deleted, so that no window is equal.
const SPOILT: u64 = 40_000;

/// `lockgate parity verify`, which must find so many matches and so many entries of which nothing can be said.
pub fn run(file: &Path, matches: u64, unverifiable: u64) -> Measured {
    as_child(&format!(
        "verify {} {matches} {unverifiable}",
        file.display()
    ))
}

/// The child that starts it has no other child, so what its children cost is what it cost.
pub fn role(file: &str, matches: u64, unverifiable: u64) -> Measured {
    let begun = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_lockgate"))
        .args(["parity", "verify", "--output", "json", "--config", file])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    let classes = &outcome["counts"]["classes"];
    assert_eq!(
        (classes["match"].as_u64(), classes["unverifiable"].as_u64()),
        (Some(matches), Some(unverifiable)),
        "{}",
        outcome["counts"]
    );
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let processor = usage.user_time() + usage.system_time();
    Measured {
        entries: matches + unverifiable,
        seconds,
        processor_seconds: processor.num_microseconds() as f64 / 1e6,
        // The kernel gives it in KiB.
        resident_bytes: usage.max_rss().unsigned_abs() * 1_024,
    }
}

/// Deletes some entries of every window; gives how many.
pub fn spoil(redis: &RedisServer, entries: u64) -> u64 {
    let mut connection = redis.connection(DATABASE);
    let mut deleted = 0;
    for stream in 0..STREAMS {
        let name = backlog::stream(DATABASE, stream);
        let mut from = "-".to_owned();
        let every = SPOILT.min(entries / STREAMS);
        loop {
            let page: Vec<(String, Vec<Vec<u8>>)> = redis::cmd("XRANGE")
                .arg(&name)
                .arg(&from)
                .arg("+")
                .arg("COUNT")
                .arg(every)
                .query(&mut connection)
                .unwrap();
            if (page.len() as u64) < every {
                break;
            }
            let (middle, last) = (&page[page.len() / 2].0, &page[page.len() - 1].0);
            let gone: u64 = redis::cmd("XDEL")
                .arg(&name)
                .arg(middle)
                .query(&mut connection)
                .unwrap();
            deleted += gone;
            from = format!("({last}");
        }
    }
    assert!(deleted >= STREAMS, "every stream lost some");
    deleted
}
