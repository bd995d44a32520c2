//! `lockgate parity` asked for what makes no sense: a clear sentence and exit code 2, before either store is asked for
//! anything. No server runs for these.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use serde_json::json;

use crate::harness::{Scratch, free_port, lockgate};

/// A configuration whose stores are not there.
struct Nowhere {
    folder: Scratch,
}

impl Nowhere {
    fn new() -> Self {
        let folder = Scratch::new("parity-cli");
        let toml = format!(
            "name = 'm'\n[redis]\nurl = 'redis://127.0.0.1:{}/0'\n[kafka]\nbootstrap_servers = ['127.0.0.1:{}']\n\
             [[routes]]\nname = 'chat'\nstreams = ['msg:{{0..3}}']\ntopic = 'm.chat'\npartitions = 2\nvalue = {{ field = 'v' }}\n\
             [[routes]]\nname = 'tasks'\ndatabase = 1\nstreams = ['jobs:*']\ntopic = 'm.tasks'\npartitions = 2\nvalue = {{ field = 'v' }}\n",
            free_port(),
            free_port()
        );
        fs::write(folder.path().join("lockgate.toml"), toml).unwrap();
        Self { folder }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// `lockgate parity VERB --config ...`, then these.
    fn parity(&self, verb: &str, arguments: &[&str]) -> Output {
        let config = self.folder.path().join("lockgate.toml");
        let mut all = vec!["parity", verb, "--config", config.to_str().unwrap()];
        all.extend(arguments);
        lockgate(&all)
    }

    /// Ends with 2 and says this; standard output stays empty.
    #[track_caller]
    fn refuses(&self, verb: &str, arguments: &[&str], says: &str) {
        let output = self.parity(verb, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{verb} {arguments:?}: {said}"
        );
        assert!(said.contains(says), "{verb} {arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{verb} {arguments:?}");
    }
}

#[test]
fn what_is_not_there_to_be_compared_is_refused_with_what_there_is() {
    let nowhere = Nowhere::new();
    for verb in ["verify", "report", "repair"] {
        for (arguments, says) in [
            (vec!["--route", "chta"], "did you mean `chat`?"),
            (vec!["--route", "x"], "The routes are: chat, tasks"),
            (vec!["--stream", "msg:9"], "no route takes a stream `msg:9`"),
            (
                vec!["--route", "tasks", "--stream", "msg:1"],
                "belongs to route `chat` in database 0",
            ),
            (vec!["--database", "5"], "but of 0, 1"),
            (vec!["--from", "5-1", "--to", "5-0"], "upside down"),
            (
                vec![
                    "--from",
                    "2026-03-02T00:00:00Z",
                    "--to",
                    "2026-03-01T00:00:00Z",
                ],
                "upside down",
            ),
            (vec!["--from", "yesterday"], "1741356110123-0"),
            (vec!["--rate", "0"], "--rate"),
        ] {
            nowhere.refuses(verb, &arguments, says);
        }
    }
    for sample in ["0", "0%", "101%", "five"] {
        nowhere.refuses("verify", &["--sample", sample], "sample");
    }
    nowhere.refuses(
        "verify",
        &["--sample", "5%", "--full"],
        "cannot be used with",
    );
}

#[test]
fn a_state_file_of_another_run_is_refused_and_left_as_it_is() {
    let nowhere = Nowhere::new();
    let kept = |migration: &str, asked: serde_json::Value| {
        json!({
            "schema": "lockgate.parity-state/v2",
            "run": { "migration": migration, "fingerprint": "0000000000000000", "asked": asked },
            "verification": {},
        })
        .to_string()
    };
    let all = json!({ "route": null, "stream": null, "database": null, "from": null, "to": null, "sample": null, "full": false });
    let mut one_route = all.clone();
    one_route["route"] = "chat".into();
    for (text, says) in [
        (kept("other", all.clone()), "of migration `other`"),
        (
            kept("m", one_route),
            "--route chat, this one with no --route",
        ),
        (kept("m", all), "routes of the configuration have changed"),
        ("groceries".to_owned(), "is no state file"),
    ] {
        let path = nowhere.file("kept", &text);
        nowhere.refuses("verify", &["--state", path.to_str().unwrap()], says);
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "left as it is");
    }
    nowhere.refuses(
        "verify",
        &["--state", "/no/such/folder/kept"],
        "there is no folder",
    );
}

#[test]
fn what_is_no_report_of_these_routes_is_refused() {
    let nowhere = Nowhere::new();
    nowhere.refuses(
        "verify",
        &["--against", "/no/such/report.json"],
        "No such file",
    );
    for (text, says) in [
        ("groceries", "is no report"),
        (
            "{\"schema\":\"lockgate.parity/v1\"}",
            "is of `lockgate.parity/v1`",
        ),
        (
            "{\"schema\":\"lockgate.parity-report/v1\"}",
            "cannot be read as a report",
        ),
    ] {
        let path = nowhere.file("report.json", text);
        nowhere.refuses("verify", &["--against", path.to_str().unwrap()], says);
    }
    let path = nowhere.file("report.json", "{}");
    let both = ["--against", path.to_str().unwrap(), "--route", "chat"];
    nowhere.refuses("verify", &both, "cannot be used with");
    nowhere.refuses(
        "report",
        &["--out", "/no/such/folder/r.json"],
        "there is no folder",
    );
}

#[test]
fn an_order_that_is_not_whole_is_refused() {
    let nowhere = Nowhere::new();
    nowhere.refuses("repair", &["--apply"], "--reason");
    nowhere.refuses("repair", &["--reason", "because"], "--apply");
    nowhere.refuses("repair", &["--apply", "--reason", ""], "--reason");
    nowhere.refuses("repair", &["--limit", "0"], "--limit");
    nowhere.refuses("explain", &["msg:1"], "<ID>");
    nowhere.refuses("explain", &["msg:1", "noon"], "is not an entry id");
    nowhere.refuses("explain", &["msg:9", "5-0"], "no route takes a stream");
    nowhere.refuses("explain", &["--payload"], "<STREAM>");
}

#[test]
fn a_store_out_of_reach_leaves_the_question_open() {
    let nowhere = Nowhere::new();
    // Streams found by a glob need Redis first.
    let output = nowhere.parity("verify", &["--route", "tasks"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(said.contains("cannot be reached"), "{said}");
}

#[test]
fn a_daemon_that_is_not_there_is_said_to_be_not_reached() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let output = lockgate(&["parity", "explain", "--url", &url]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("no daemon answers"), "{said}");
}
