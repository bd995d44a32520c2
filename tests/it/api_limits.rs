//! What the API does for its own safety: callers who are slow, or many, and tokens that change while it runs.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Daemon, DaemonOptions, Role, Scratch, eventually, lockgate};
use crate::rig::{LONG, Rig};

const LIVEZ: &str = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";

fn daemon(rig: &Rig<'_>, http: &str) -> Daemon {
    let tokens = Role::Admin.token_file().with_file_name("tokens");
    let mut daemon = Daemon::start_with(
        &rig.config(),
        DaemonOptions {
            http: Some(format!("tokens_file = {tokens:?}\n{http}")),
            ..DaemonOptions::default()
        },
    );
    daemon.wait_ready();
    daemon
}

/// A connection that reads for a quarter of a second at most.
fn connect(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, daemon.port)).unwrap();
    let wait = Some(Duration::from_millis(250));
    stream.set_read_timeout(wait).unwrap();
    stream
}

/// What came since; `None`: nothing yet; empty: the connection has ended.
fn heard(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = [0; 4_096];
    match stream.read(&mut bytes) {
        Ok(length) => Some(String::from_utf8_lossy(&bytes[..length]).into_owned()),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
        Err(_) => Some(String::new()),
    }
}

#[track_caller]
fn answer(stream: &mut TcpStream, what: &str) -> String {
    eventually(LONG, what, || heard(stream))
}

fn slow(daemon: &Daemon) -> Option<f64> {
    daemon.metric("lockgate_http_denied_total", &[("reason", "slow")])
}

#[test]
fn who_does_not_come_to_an_end_loses_the_connection() {
    let rig = Rig::new("apislow");
    let daemon = daemon(&rig, "client_timeout = \"1s\"");
    assert_eq!(slow(&daemon), Some(0.0));
    let mut head = connect(&daemon);
    head.write_all(b"GET /livez HTTP/1.1\r\nhost: loc").unwrap();
    assert_eq!(answer(&mut head, "a head that does not end is cut"), "");
    let mut silent = connect(&daemon);
    assert_eq!(answer(&mut silent, "who says nothing is cut"), "");

    // A byte now and then is no end either.
    let mut body = connect(&daemon);
    let authorization = Role::Operator.authorization();
    let request = format!(
        "POST /v1/hold HTTP/1.1\r\nhost: localhost\r\nauthorization: {authorization}\r\n\
         content-type: application/json\r\ncontent-length: 60000\r\n\r\n"
    );
    body.write_all(request.as_bytes()).unwrap();
    let refused = eventually(LONG, "a body that trickles is cut", || {
        let _ = body.write_all(b" ");
        heard(&mut body)
    });
    assert!(refused.starts_with("HTTP/1.1 408"), "{refused}");
    assert!(refused.contains("problem+json"), "{refused}");
    assert!(refused.contains("http.client_timeout"), "{refused}");
    eventually(LONG, "all three are counted", || slow(&daemon) == Some(3.0));

    // Who was answered may be idle for as long, and is not counted as slow.
    let mut idle = connect(&daemon);
    idle.write_all(LIVEZ.as_bytes()).unwrap();
    assert!(answer(&mut idle, "an answer").contains("200 OK"));
    assert_eq!(answer(&mut idle, "idle for too long"), "");
    assert_eq!(slow(&daemon), Some(3.0));
}

#[test]
fn who_does_not_take_the_answers_loses_the_connection() {
    let rig = Rig::new("apideaf");
    let daemon = daemon(&rig, "client_timeout = \"1s\"");
    let open = || daemon.metric("lockgate_http_connections", &[]);
    let mut deaf = connect(&daemon);
    let wait = Some(Duration::from_millis(250));
    deaf.set_write_timeout(wait).unwrap();
    let ask = "GET /v1/openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(64);
    // Until nothing more goes in: the answers fill what lies between.
    while deaf.write_all(ask.as_bytes()).is_ok() {}
    eventually(LONG, "only who asks is connected", || {
        let open = open();
        if open == Some(1.0) {
            Ok(())
        } else {
            Err(format!("{open:?}"))
        }
    });
    drop(deaf);
}

#[test]
fn more_connections_than_there_are_places_wait_for_one() {
    let rig = Rig::new("apiplaces");
    let daemon = daemon(&rig, "connections = 2\nclient_timeout = \"1h\"");
    let seated = || {
        let mut stream = connect(&daemon);
        stream.write_all(LIVEZ.as_bytes()).unwrap();
        assert!(answer(&mut stream, "an answer").contains("200 OK"));
        stream
    };
    // The harness's own connections end with their answers.
    let (first, mut second) = (seated(), seated());
    let mut third = connect(&daemon);
    third.write_all(LIVEZ.as_bytes()).unwrap();
    assert_eq!(heard(&mut third), None, "both places are taken");
    second.write_all(LIVEZ.as_bytes()).unwrap();
    assert!(answer(&mut second, "who has a place is served").contains("200 OK"));
    assert_eq!(heard(&mut third), None, "both places are taken");
    first.shutdown(Shutdown::Both).unwrap();
    assert!(answer(&mut third, "a place is free").contains("200 OK"));
    assert!(
        daemon.log().contains("http.connections are open"),
        "{}",
        daemon.log()
    );
}

#[test]
fn tokens_are_taken_over_while_it_runs_and_never_from_a_broken_file() {
    let rig = Rig::new("apitokens");
    let folder = Scratch::new("tokens");
    let tokens = folder.path().join("tokens");
    let ana = make(&folder, "ana");
    let bob = make(&folder, "bob");
    std::fs::write(&tokens, &ana.line).unwrap();
    let mut daemon = Daemon::start_with(
        &rig.config(),
        DaemonOptions {
            http: Some(format!("tokens_file = {tokens:?}")),
            ..DaemonOptions::default()
        },
    );
    daemon.wait_ready();
    let may = |token: &Made| {
        let words = ["status", "--output", "json", "--url", &daemon.url()];
        let file = ["--token-file", &token.file];
        let output = lockgate(&[&words[..], &file].concat());
        let status: Option<Value> = serde_json::from_slice(&output.stdout).ok();
        status.filter(|_| output.status.success())
    };
    eventually(LONG, "the driver steers", || {
        may(&ana).is_some_and(|status| status["phase"] == "shadow")
    });
    assert!(may(&bob).is_none(), "nobody has let bob in yet");

    std::fs::write(&tokens, format!("{}{}", ana.line, bob.line)).unwrap();
    eventually(LONG, "both may", || {
        may(&ana).is_some() && may(&bob).is_some()
    });
    let half = &bob.line[..bob.line.len() - 20];
    for (broken, why) in [
        (Some(format!("{}{half}", ana.line)), "line 2"),
        (Some(String::new()), "is empty"),
        (Some("# nobody\n".to_owned()), "holds no token"),
        (None, "cannot be read"),
    ] {
        match &broken {
            Some(text) => std::fs::write(&tokens, text).unwrap(),
            None => std::fs::remove_file(&tokens).unwrap(),
        }
        eventually(LONG, &format!("the status says {why}"), || {
            let status = may(&ana).expect("ana still may");
            let said = status["tokens_trouble"].as_str().unwrap_or_default();
            if said.contains(why) {
                Ok(())
            } else {
                Err(said.to_owned())
            }
        });
        assert!(may(&bob).is_some(), "{why}");
    }
    std::fs::write(&tokens, &bob.line).unwrap();
    eventually(LONG, "ana may no more", || {
        may(&ana).is_none() && may(&bob).is_some()
    });
    let status = may(&bob).unwrap();
    assert_eq!(status["tokens_trouble"], Value::Null);

    let log = daemon.log();
    assert!(log.contains("is not taken over"), "{log}");
    for made in [&ana, &bob] {
        let (_, digest) = made.line.split_once("sha256:").unwrap();
        assert!(!log.contains(&digest[..20]), "{log}");
    }
    let words = ["journal", "--output", "json", "--url", &daemon.url()];
    let token = ["--token-file", &bob.file];
    let output = lockgate(&[&words[..], &token].concat());
    let journal = String::from_utf8_lossy(&output.stdout).into_owned();
    for count in [2, 1] {
        let note = format!("tokens in it: {count}");
        assert!(journal.contains(&note), "{journal}");
    }
}

/// A token, and its line for the tokens' file.
struct Made {
    file: String,
    line: String,
}

fn make(folder: &Scratch, name: &str) -> Made {
    let file = folder.path().join(name).display().to_string();
    let words = ["token", "--role", "operator", "--name", name, "--out"];
    let output = lockgate(&[&words[..], &[&file]].concat());
    let line = String::from_utf8(output.stdout).unwrap();
    assert!(line.starts_with("operator "), "{line}");
    Made { file, line }
}
