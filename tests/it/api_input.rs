//! The API refuses bad input as a problem that says what is wrong, and does nothing; and it answers only to names of this
//! machine.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use serde_json::{Value, json};

use crate::harness::{Daemon, Role, kafka};
use crate::plan::{Plan, await_level};

/// A request as somebody else might write it: status line, headers, body.
fn raw(daemon: &Daemon, request: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, daemon.port)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn written(method: &str, path: &str, host: &str, kind: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        Role::Admin.authorization(),
        body.len()
    )
}

#[test]
fn bad_input_is_refused_and_changes_nothing() {
    const JSON: &str = "application/json";
    let plan = Plan::new("refuse").route("r", &["a"], "");
    kafka().create_topic(&plan.topic("r"), 1, &[]);
    let daemon = plan.daemon();
    await_level(&daemon, "a");
    let (code, _) = daemon
        .put("/v1/throttle", &json!({ "entries_per_second": 77 }))
        .unwrap();
    assert_eq!(code, 200);
    let local = format!("127.0.0.1:{}", daemon.port);
    let repair = |entries: &str, reason: &str| {
        format!("{{\"entries\":[{entries}],\"reason\":\"{reason}\"}}")
    };
    let resume = |more: &str| format!("{{\"database\":{},{more}}}", plan.database);
    let large = format!("{{\"filter\":\"{}\"}}", "x".repeat(100_000));
    let cases = [
        (
            "PUT",
            "/v1/throttle",
            JSON,
            "{\"entries_per_second\":-1}".to_owned(),
        ),
        (
            "PUT",
            "/v1/throttle",
            JSON,
            "{\"entries_per_second\":\"many\"}".to_owned(),
        ),
        (
            "PUT",
            "/v1/throttle",
            JSON,
            "{\"entries_a_second\":5}".to_owned(),
        ),
        ("PUT", "/v1/throttle", JSON, "{".to_owned()),
        ("PUT", "/v1/throttle", JSON, String::new()),
        ("PUT", "/v1/throttle", "text/plain", "{}".to_owned()),
        (
            "PUT",
            "/v1/throttle",
            "application/x-www-form-urlencoded",
            "{}".to_owned(),
        ),
        ("POST", "/v1/throttle", JSON, "{}".to_owned()),
        (
            "PUT",
            "/v1/log-level",
            JSON,
            "{\"filter\":\"a=b=c\"}".to_owned(),
        ),
        (
            "PUT",
            "/v1/log-level",
            JSON,
            "{\"level\":\"debug\"}".to_owned(),
        ),
        ("PUT", "/v1/log-level", JSON, large),
        (
            "POST",
            "/v1/streams/resume",
            JSON,
            resume("\"stream\":\"a\",\"reason\":\"\""),
        ),
        (
            "POST",
            "/v1/streams/resume",
            JSON,
            resume("\"stream\":\"a\""),
        ),
        (
            "POST",
            "/v1/streams/resume",
            JSON,
            resume("\"stream\":\"a\",\"reason\":\"not halted\""),
        ),
        (
            "POST",
            "/v1/streams/resume",
            JSON,
            resume("\"stream\":\"unknown\",\"reason\":\"x\""),
        ),
        (
            "POST",
            "/v1/streams/resume",
            JSON,
            resume("\"stream\":\"a\",\"reason\":\"x\",\"from\":\"yesterday\""),
        ),
        (
            "POST",
            "/v1/parity/repair",
            JSON,
            repair("{\"database\":0,\"stream\":\"a\",\"id\":\"1-1\"}", " "),
        ),
        (
            "POST",
            "/v1/parity/repair",
            JSON,
            repair("{\"database\":0,\"stream\":\"a\",\"id\":\"one\"}", "x"),
        ),
        ("POST", "/v1/parity/repair", JSON, repair("", "x")),
        (
            "POST",
            "/v1/parity/repair",
            JSON,
            repair(
                &vec!["{\"database\":0,\"stream\":\"a\",\"id\":\"1-1\"}"; 10_001].join(","),
                "x",
            ),
        ),
        ("POST", "/v1/parity/repair", "text/plain", repair("", "x")),
        ("GET", "/v1/parity/repair", JSON, String::new()),
        ("GET", "/v1/nothing", JSON, String::new()),
        ("DELETE", "/v1/status", JSON, String::new()),
    ];
    let mut bad = Vec::new();
    for (method, path, kind, body) in &cases {
        let answer = raw(&daemon, &written(method, path, &local, kind, body));
        let (head, text) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let fine = head.starts_with("HTTP/1.1 4")
            && head.to_lowercase().contains("application/problem+json")
            && serde_json::from_str::<Value>(text).is_ok_and(|problem| {
                problem["title"].is_string()
                    && problem["detail"].is_string()
                    && problem["status"].is_u64()
            });
        if !fine {
            let body: String = body.chars().take(60).collect();
            bad.push(format!("{method} {path} {kind} {body}: {head} | {text}"));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n\n"));
    let status = daemon.status().unwrap();
    assert_eq!(status["throttle"]["entries_per_second"], 77);
    assert!(!daemon.log().contains("log level changed"));
    await_level(&daemon, "a");

    for host in [
        "evil.example",
        "evil.example:8474",
        "127.0.0.1.evil.example",
        "",
        "10.0.0.1",
    ] {
        for path in ["/v1/status", "/metrics", "/livez"] {
            let answer = raw(&daemon, &written("GET", path, host, JSON, ""));
            assert!(
                answer.starts_with("HTTP/1.1 403"),
                "{host} {path}: {answer}"
            );
            assert!(!answer.contains("lockgate_"), "{host} {path}");
        }
    }
    for host in [
        &*local,
        "localhost",
        "localhost:1",
        "[::1]:8474",
        "127.0.0.2",
    ] {
        let answer = raw(&daemon, &written("GET", "/livez", host, JSON, ""));
        assert!(answer.starts_with("HTTP/1.1 200"), "{host}: {answer}");
    }
}
