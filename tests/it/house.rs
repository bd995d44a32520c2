//! The house keeps its order: imports point downward only, as ARCHITECTURE.md draws it, read from the source itself.
//!
//! ```text
//!   main ▶ cli ▶ app ▶ http ▶ services ▶ checkpoint flags ▶ streams | topics ▶ ground
//!                                  └───────▶ pure ─────────────────────────────▶ ┘
//! ```
//! A part that is not built yet breaks nothing. A part that the list below does not know does: a new room is a change of
//! the design, and is made here, in ARCHITECTURE.md and in the source in one commit.

mod scan;
mod tokens;

use std::fs;
use std::path::{Path, PathBuf};

use scan::{Named, Root, paths};

const GROUND: [&str; 11] = [
    "entry",
    "placement",
    "status",
    "config",
    "metrics",
    "tasks",
    "backoff",
    "bound",
    "failpoint",
    "logging",
    "runbooks",
];
const EDGES: [&str; 2] = ["streams", "topics"];
const POSITIONS: [&str; 2] = ["checkpoint", "flags"];
const SERVICES: [&str; 7] = [
    "mirror",
    "reverse",
    "ingress",
    "migration",
    "parity",
    "groups",
    "archive",
];
/// Pure files: a whole part, or files within a service.
const PURE: [&[&str]; 14] = [
    &["routing"],
    &["bound"],
    &["mirror", "mend", "decide"],
    &["mirror", "audit", "compare"],
    &["mirror", "audit", "logs"],
    &["parity", "class"],
    &["parity", "digest"],
    &["parity", "compare"],
    &["migration", "phase"],
    &["migration", "gate"],
    &["migration", "tripwire"],
    &["migration", "step"],
    &["migration", "measure", "instances"],
    &["groups", "translate"],
];
/// As free of runtime, I/O and clock as a pure file, but for the plain data of an edge.
const TIMELESS: [&[&str]; 1] = [&["mirror", "gaps"]];
/// Crates that only these parts may name.
const OWNED_CRATES: [(&str, &[&str]); 3] = [
    ("redis", &["streams"]),
    ("rdkafka", &["topics"]),
    ("axum", &["http", "ingress"]),
];
/// What a pure file may not name: runtimes, I/O, clocks.
const IMPURE: [&[&str]; 10] = [
    &["tokio"],
    &["tokio_util"],
    &["ureq"],
    &["std", "fs"],
    &["std", "net"],
    &["std", "process"],
    &["std", "env"],
    &["std", "thread"],
    &["Instant", "now"],
    &["SystemTime", "now"],
];

/// The rooms of the house, from the ground up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Ground,
    Pure,
    Edge,
    Position,
    Service,
    Http,
    App,
    Cli,
}

fn room(part: &str) -> Option<Room> {
    Some(match part {
        "routing" => Room::Pure,
        "http" => Room::Http,
        "app" => Room::App,
        "cli" => Room::Cli,
        _ if GROUND.contains(&part) => Room::Ground,
        _ if EDGES.contains(&part) => Room::Edge,
        _ if POSITIONS.contains(&part) => Room::Position,
        _ if SERVICES.contains(&part) => Room::Service,
        _ => return None,
    })
}

impl Room {
    /// What a room may import besides its own part.
    fn may_import(self, other: Room) -> bool {
        use Room::{App, Cli, Edge, Ground, Http, Position, Pure, Service};
        match self {
            Ground | Edge => other == Ground,
            Pure => matches!(other, Ground | Pure),
            Position => matches!(other, Ground | Edge),
            Service => matches!(other, Ground | Pure | Edge | Position),
            // It shows the status and passes orders to the services' handles; it opens no connection itself.
            Http => matches!(other, Ground | Pure | Position | Service),
            App => !matches!(other, App | Cli),
            Cli => other != Cli,
        }
    }
}

/// A source file by its place: `mirror/worker.rs` and what it says.
struct Source {
    place: String,
    text: String,
}

impl Source {
    /// `["mirror", "worker"]`; `mod.rs` stands for its folder, `lib.rs` and `main.rs` for the root.
    fn module(&self) -> Vec<&str> {
        let path = self.place.trim_end_matches(".rs");
        path.split('/')
            .filter(|name| !matches!(*name, "mod" | "lib" | "main"))
            .collect()
    }

    fn is_test(&self) -> bool {
        let last = self.module().last().copied().unwrap_or_default();
        last == "tests" || last.ends_with("_tests")
    }

    fn is_pure(&self) -> bool {
        is_pure(&self.module())
    }
}

fn is_pure(module: &[&str]) -> bool {
    PURE.iter().any(|pure| module.starts_with(pure))
}

/// Everything that is wrong with the house.
fn inspect(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        if !source.text.starts_with("//!") {
            faults.push(format!("{}: does not begin with `//!`", source.place));
        }
        let module = source.module();
        let Some(&part) = module.first() else {
            continue;
        };
        let Some(room) = room(part) else {
            faults.push(format!(
                "{}: `{part}` has no place in the house",
                source.place
            ));
            continue;
        };
        if source.is_test() {
            continue;
        }
        for named in paths(&source.text, &module) {
            let wrong = match named.root {
                Root::Crate => wrong_within(source, part, room, &named, sources),
                Root::Other => wrong_outside(source, part, &named),
            };
            if let Some(why) = wrong {
                let path = named.path.join("::");
                faults.push(format!("{}:{}: {path}: {why}", source.place, named.line));
            }
        }
    }
    faults
}

fn wrong_within(
    source: &Source,
    part: &str,
    own: Room,
    named: &Named,
    sources: &[Source],
) -> Option<String> {
    let path: Vec<_> = named.path.iter().map(String::as_str).collect();
    let &target = path.first()?;
    let whole = path.starts_with(&["config", "Config"]) || path == ["config", "*"];
    if whole && !matches!(own, Room::App | Room::Cli) && part != "config" {
        return Some(
            "a part takes its own section of the configuration, never the whole".to_owned(),
        );
    }
    if target == part {
        let modules = sources.iter().map(Source::module);
        let named = modules.filter(|module| module.len() > 1 && path.starts_with(module));
        // A pure file within a folder of others is its own, not its folder's.
        let nearest = named.max_by_key(Vec::len);
        let to_impure = source.is_pure() && nearest.is_some_and(|module| !is_pure(&module));
        return to_impure.then(|| "a pure file imports pure files only".to_owned());
    }
    let Some(other) = room(target) else {
        return Some(format!("`{target}` has no place in the house"));
    };
    let own = if source.is_pure() { Room::Pure } else { own };
    (!own.may_import(other)).then(|| format!("{own:?} may not import {other:?} (`{target}`)"))
}

fn wrong_outside(source: &Source, part: &str, named: &Named) -> Option<String> {
    let path: Vec<_> = named.path.iter().map(String::as_str).collect();
    for (name, owners) in OWNED_CRATES {
        if path[0] == name && !owners.contains(&part) {
            return Some(format!(
                "the crate `{name}` belongs to {}",
                owners.join(" and ")
            ));
        }
    }
    let impure = IMPURE
        .iter()
        .any(|bad| path.windows(bad.len()).any(|window| window == *bad));
    let timeless = TIMELESS.contains(&source.module().as_slice());
    ((source.is_pure() || timeless) && impure)
        .then(|| "a pure file has no runtime, no I/O and no clock".to_owned())
}

fn read_all(folder: &Path, from: &Path, sources: &mut Vec<Source>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            read_all(&path, from, sources);
        } else if path.extension().is_some_and(|end| end == "rs") {
            sources.push(Source {
                place: path.strip_prefix(from).unwrap().display().to_string(),
                text: fs::read_to_string(&path).unwrap(),
            });
        }
    }
}

#[test]
fn imports_point_downward_and_every_file_has_its_caption() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    read_all(&folder, &folder, &mut sources);
    assert!(sources.len() > 3, "the source is where it was");
    let faults = inspect(&sources);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The faults in one made-up file.
#[cfg(test)]
fn faults(place: &str, text: &str) -> Vec<String> {
    let others = ["mirror/worker.rs", "parity/digest.rs", "parity/audit.rs"];
    let mut sources: Vec<_> = others
        .iter()
        .filter(|other| **other != place)
        .map(|other| Source {
            place: (*other).to_owned(),
            text: "//! Another.".to_owned(),
        })
        .collect();
    sources.push(Source {
        place: place.to_owned(),
        text: format!("//! Made up.\n{text}"),
    });
    inspect(&sources)
}

#[test]
fn each_broken_rule_is_found() {
    let bad = [
        ("entry.rs", "use crate::routing::Routes;"),
        ("status.rs", "use redis::Value;"),
        ("metrics.rs", "fn f() { axum::serve() }"),
        ("backoff.rs", "use crate::mirror::X;"),
        ("routing/hash.rs", "use tokio::sync::watch;"),
        ("routing/hash.rs", "fn f() { std::time::Instant::now(); }"),
        ("routing/hash.rs", "use std::fs;"),
        ("routing/hash.rs", "use crate::streams::Redis;"),
        ("parity/digest.rs", "use super::audit::Audit;"),
        ("parity/compare.rs", "use crate::topics::Kafka;"),
        (
            "mirror/gaps.rs",
            "use std::time::Instant; fn f() { Instant::now(); }",
        ),
        ("mirror/audit/compare.rs", "use crate::streams::Redis;"),
        ("mirror/audit/logs.rs", "use tokio::sync::watch;"),
        ("streams/read.rs", "use crate::topics::Kafka;"),
        ("topics/writer.rs", "use crate::streams::Redis;"),
        ("topics/writer.rs", "use redis::Client;"),
        ("streams/read.rs", "use crate::routing::Routes;"),
        ("checkpoint.rs", "use crate::mirror::X;"),
        ("mirror/worker.rs", "use crate::parity::digest::D;"),
        ("mirror/worker.rs", "use super::super::reverse::R;"),
        ("mirror/worker.rs", "fn f() { crate::http::serve() }"),
        ("mirror/worker.rs", "use rdkafka as kafka;"),
        ("mirror/worker.rs", "use crate::config::Config;"),
        (
            "mirror/worker.rs",
            "use crate::config; fn f(c: &config::Config) {}",
        ),
        ("mirror/worker.rs", "use crate::app::App;"),
        ("mirror/worker.rs", "use crate::cli::run;"),
        ("http/api.rs", "use crate::app::App;"),
        ("http/api.rs", "use crate::streams::Redis;"),
        ("app.rs", "use crate::cli::run;"),
        ("attic.rs", ""),
        ("mirror/worker.rs", "use crate::attic::X;"),
    ];
    for (place, text) in bad {
        assert_eq!(faults(place, text).len(), 1, "{place}: {text}");
    }
    let without_caption = Source {
        place: "entry.rs".to_owned(),
        text: "// no\n//! caption".to_owned(),
    };
    assert_eq!(inspect(&[without_caption]).len(), 1);
}

#[test]
fn what_the_rules_allow_passes() {
    let good = [
        (
            "config/redis.rs",
            "use super::Config; use crate::entry::Database;",
        ),
        ("tasks.rs", "use tokio::task::JoinSet;"),
        (
            "routing/mod.rs",
            "use crate::config::Route; use std::time::Instant;",
        ),
        (
            "parity/compare.rs",
            "use super::digest::Digest; use crate::routing::Routes;",
        ),
        (
            "streams/read.rs",
            "use redis::Value; use crate::entry::Entry;",
        ),
        ("topics/writer.rs", "use rdkafka::producer::BaseProducer;"),
        (
            "checkpoint.rs",
            "use crate::{streams::Redis, topics::Kafka};",
        ),
        (
            "mirror/worker.rs",
            "use crate::{routing, streams, topics, checkpoint, config::Shards};",
        ),
        (
            "http/api.rs",
            "use axum::Router; use crate::{status, migration::Handle};",
        ),
        (
            "app.rs",
            "use crate::{config::Config, http, mirror, topics};",
        ),
        ("cli/run.rs", "use crate::{app::App, config::Config};"),
        ("mirror/gaps.rs", "use crate::streams::StreamState;"),
        ("mirror/tests.rs", "use crate::parity::digest::D;"),
        ("main.rs", "use lockgate::cli;"),
    ];
    for (place, text) in good {
        assert_eq!(faults(place, text), [""; 0], "{place}: {text}");
    }
}
