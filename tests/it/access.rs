//! Who may do what over the API: every call by every role, foreign pages and names, TLS, the pace, the journal, and that no
//! token is ever shown.
//!
//! What each call needs stands here once more, by hand, so that a change of the table in the source is noticed.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Daemon, DaemonOptions, Role, Scratch, eventually, lockgate, lockgate_with, make_certificates,
};
use crate::rig::{LONG, Rig};

const SOON: Duration = Duration::from_secs(30);

/// Those who may: admin, operator, viewer, flags, nobody.
type May = [bool; 5];
const ANYBODY: May = [true, true, true, true, true];
const READS_FLAGS: May = [true, true, true, true, false];
const FOLLOWS: May = [true, true, false, true, false];
const SEES: May = [true, true, true, false, false];
const OPERATES: May = [true, true, false, false, false];
const ADMINISTERS: May = [true, false, false, false, false];
const CALLERS: [Option<Role>; 5] = [
    Some(Role::Admin),
    Some(Role::Operator),
    Some(Role::Viewer),
    Some(Role::Flags),
    None,
];

const CALLS: [(&str, &str, May); 25] = [
    ("GET", "/livez", ANYBODY),
    ("GET", "/readyz", ANYBODY),
    ("GET", "/runbooks/{name}", ANYBODY),
    ("GET", "/v1/openapi.json", ANYBODY),
    ("GET", "/metrics", SEES),
    ("GET", "/v1/status", SEES),
    ("GET", "/v1/migration", SEES),
    ("GET", "/v1/journal", SEES),
    ("PUT", "/v1/throttle", OPERATES),
    ("PUT", "/v1/log-level", OPERATES),
    ("POST", "/v1/streams/resume", ADMINISTERS),
    ("POST", "/v1/parity/repair", ADMINISTERS),
    ("POST", "/v1/plans", OPERATES),
    ("POST", "/v1/plans/{id}/apply", OPERATES),
    ("POST", "/v1/plans/{id}/complete", ADMINISTERS),
    ("POST", "/v1/hold", OPERATES),
    ("POST", "/v1/resume", OPERATES),
    ("POST", "/v1/rollback", OPERATES),
    ("POST", "/v1/rehearsals", OPERATES),
    ("POST", "/v1/baseline", OPERATES),
    ("POST", "/v1/evidence", OPERATES),
    ("POST", "/v1/flags/ack", FOLLOWS),
    ("GET", "/v1/flags/flagd", READS_FLAGS),
    ("POST", "/ofrep/v1/evaluate/flags", READS_FLAGS),
    ("POST", "/ofrep/v1/evaluate/flags/{key}", READS_FLAGS),
];

/// An answer: status, headers, body.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// Refused as a problem that says what to do.
    #[track_caller]
    fn assert_problem(&self, status: u16, what: &str) {
        assert_eq!(self.status, status, "{what}: {} {}", self.head, self.body);
        let problem = self.json();
        assert_eq!(problem["status"], status, "{what}: {}", self.body);
        assert!(
            self.head.contains("content-type: application/problem+json"),
            "{what}: {}",
            self.head
        );
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.len() > 20, "{what}: {}", self.body);
    }
}

/// A call with a body that no door takes for a good one, so that it changes nothing even where it is let through.
fn call(daemon: &Daemon, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    ask(daemon, method, path, headers, "{")
}

fn ask(daemon: &Daemon, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut all = BTreeMap::from([
        ("connection", "close"),
        ("content-type", "application/json"),
        ("host", "127.0.0.1"),
    ]);
    all.extend(headers.iter().copied());
    let head: String = all
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, daemon.port)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\n{head}content-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    Answer {
        status: head[9..12].parse().expect("a status"),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

/// A daemon whose driver has read its state.
fn steering(rig: &Rig<'_>, http: Option<&str>) -> Daemon {
    let mut daemon = Daemon::start_with(
        &rig.config(),
        DaemonOptions {
            http: http.map(str::to_owned),
            arguments: ["--log-level", "trace"].map(str::to_owned).into(),
            ..DaemonOptions::default()
        },
    );
    daemon.wait_ready();
    eventually(SOON, "the driver has read its state", || {
        shown(&daemon)["phase"] == "shadow"
    });
    daemon
}

fn shown(daemon: &Daemon) -> Value {
    let text = daemon.get("/v1/migration").map(|(_, text)| text);
    serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default()
}

/// What no refused call may change.
fn state(daemon: &Daemon) -> Vec<Value> {
    let shown = shown(daemon);
    let throttle = daemon.status().expect("a status")["throttle"].clone();
    ["epoch", "step", "state", "flags"]
        .map(|part| shown[part].clone())
        .into_iter()
        .chain([throttle])
        .collect()
}

fn journal(daemon: &Daemon) -> Vec<Value> {
    let output = lockgate(&["journal", "--output", "json", "--url", &daemon.url()]);
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn denied(daemon: &Daemon, reason: &str) -> u64 {
    let count = daemon.metric("lockgate_http_denied_total", &[("reason", reason)]);
    count.expect("counted from the first scrape") as u64
}

#[test]
fn every_call_is_open_to_its_roles_and_to_no_other() {
    let rig = Rig::new("accessroles");
    let daemon = steering(&rig, None);
    let described = ask(&daemon, "GET", "/v1/openapi.json", &[], "").json();
    let paths = described["paths"].as_object().expect("paths");
    let methods: usize = paths
        .values()
        .map(|item| item.as_object().expect("methods").len())
        .sum();
    assert_eq!(methods, CALLS.len(), "a call that this test does not know");
    let before = state(&daemon);
    let (mut auth, mut role) = (denied(&daemon, "auth"), denied(&daemon, "role"));
    for (method, path, may) in CALLS {
        let described = &described["paths"][path][method.to_ascii_lowercase()];
        assert!(described.is_object(), "{method} {path} is not described");
        let path = path.replace("{id}", "none").replace("{name}", "shadow");
        let path = path.replace("{key}", "QUEUE_BACKEND");
        for (caller, may) in CALLERS.into_iter().zip(may) {
            let what = format!("{method} {path} by {caller:?}");
            let token = caller.map(Role::authorization).unwrap_or_default();
            let header = [("authorization", token.as_str())];
            let headers: &[_] = if caller.is_some() { &header } else { &[] };
            let answer = call(&daemon, method, &path, headers);
            match (may, caller) {
                (true, _) => assert!(
                    !matches!(answer.status, 401 | 403),
                    "{what}: {}",
                    answer.body
                ),
                (false, None) => {
                    answer.assert_problem(401, &what);
                    assert!(answer.head.contains("www-authenticate: bearer"), "{what}");
                    auth += 1;
                }
                (false, Some(_)) => {
                    answer.assert_problem(403, &what);
                    assert_eq!(answer.json()["type"], "urn:lockgate:role", "{what}");
                    role += 1;
                }
            }
        }
        for wrong in ["Bearer nonsense", "Basic YTpi", "Bearer", "\u{e9}"] {
            if may != ANYBODY {
                let answer = call(&daemon, method, &path, &[("authorization", wrong)]);
                answer.assert_problem(401, &format!("{method} {path} with {wrong}"));
                auth += 1;
            }
        }
    }
    assert_eq!(state(&daemon), before);
    assert_eq!(denied(&daemon, "auth"), auth);
    assert_eq!(denied(&daemon, "role"), role);
    assert_eq!(denied(&daemon, "origin"), 0);
}

#[test]
fn without_tokens_everything_is_read_and_nothing_is_changed() {
    let rig = Rig::new("accessnone");
    let daemon = steering(&rig, Some(""));
    let before = state(&daemon);
    for (method, path, may) in CALLS {
        let path = path.replace("{id}", "none").replace("{name}", "shadow");
        let path = path.replace("{key}", "QUEUE_BACKEND");
        let answer = call(&daemon, method, &path, &[]);
        if may == ANYBODY || may == SEES || may == READS_FLAGS {
            assert_ne!(answer.status, 401, "{method} {path}: {}", answer.body);
        } else {
            answer.assert_problem(401, &format!("{method} {path}"));
            assert!(answer.body.contains("lockgate token"), "{}", answer.body);
        }
    }
    assert_eq!(state(&daemon), before);
    let output = lockgate(&["throttle", "--entries", "5", "--url", &daemon.url()]);
    assert_eq!(output.status.code(), Some(8), "{}", said(&output));
}

#[test]
fn what_a_foreign_page_sends_is_refused_whoever_it_speaks_for() {
    let rig = Rig::new("accessorigin");
    let daemon = steering(
        &rig,
        Some(&format!(
            "tokens_file = {:?}\nhosts = [\"lockgate.test\"]\n",
            Role::Admin.token_file().with_file_name("tokens")
        )),
    );
    let before = state(&daemon);
    let ada = Role::Admin.authorization();
    let hold = |headers: &[(&str, &str)]| {
        let headers: Vec<_> = headers
            .iter()
            .copied()
            .chain([("authorization", ada.as_str())])
            .collect();
        ask(
            &daemon,
            "POST",
            "/v1/hold",
            &headers,
            "{\"reason\": \"short\"}",
        )
    };
    let foreign: [&[(&str, &str)]; 8] = [
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[
            ("sec-fetch-site", "cross-site"),
            ("origin", "http://127.0.0.1"),
        ],
        &[("origin", "http://evil.example")],
        &[("origin", "http://127.0.0.1:1")],
        &[("origin", "null")],
        &[("host", "evil.example")],
        &[("host", "lockgate.test.evil.example")],
    ];
    for headers in foreign {
        hold(headers).assert_problem(403, &format!("{headers:?}"));
    }
    let ours: [&[(&str, &str)]; 4] = [
        &[
            ("sec-fetch-site", "same-origin"),
            ("origin", "http://127.0.0.1"),
        ],
        &[("origin", "http://127.0.0.1")],
        &[
            ("host", "lockgate.test:8474"),
            ("origin", "https://lockgate.test:8474"),
        ],
        &[("host", "LOCKGATE.test")],
    ];
    for headers in ours {
        let answer = hold(headers);
        assert_eq!(answer.status, 400, "{headers:?}: {}", answer.body);
    }
    assert_eq!(denied(&daemon, "origin"), foreign.len() as u64);
    assert_eq!(state(&daemon), before);
    let noted = journal(&daemon);
    let notes: Vec<&str> = noted
        .iter()
        .filter(|record| record["verb"] == "call")
        .filter_map(|record| record["note"].as_str())
        .collect();
    assert_eq!(notes.len(), foreign.len(), "{notes:?}");
    assert!(
        notes[0].contains("POST /v1/hold: foreign origin"),
        "{notes:?}"
    );
}

#[test]
fn the_journal_is_whole_over_restarts_and_names_who_tried_and_who_did() {
    let rig = Rig::new("accessjournal");
    let mut daemon = steering(&rig, None);
    let url = daemon.url();
    let run = |role: Role, words: &[&str]| {
        let token = role.token_file().display().to_string();
        let place = ["--url", &url, "--token-file", &token];
        let words: Vec<&str> = words.iter().copied().chain(place).collect();
        lockgate(&words)
    };
    let hold = ["hold", "--reason", "nobody is watching"];
    let refused = run(Role::Viewer, &hold);
    assert_eq!(refused.status.code(), Some(8), "{}", said(&refused));
    assert!(
        said(&refused).contains("needs the role operator"),
        "{}",
        said(&refused)
    );
    assert_eq!(run(Role::Operator, &hold).status.code(), Some(0));
    let slower = run(Role::Operator, &["throttle", "--entries", "77"]);
    assert_eq!(slower.status.code(), Some(0), "{}", said(&slower));
    let no_token = lockgate_with(
        &["resume", "--reason", "somebody watches", "--url", &url],
        &[],
    );
    assert_eq!(
        no_token.status.code(),
        Some(0),
        "the administrator's: {}",
        said(&no_token)
    );
    daemon.restart();
    daemon.wait_ready();
    // The lease of the one that was killed has to end first.
    eventually(SOON, "it takes orders again", || {
        run(Role::Operator, &hold).status.success()
    });

    let records = journal(&daemon);
    let numbers: Vec<u64> = records.iter().filter_map(|one| one["n"].as_u64()).collect();
    assert_eq!(numbers, (1..=records.len() as u64).collect::<Vec<_>>());
    let told: Vec<(&str, &str, &str)> = records
        .iter()
        .map(|one| {
            let text = |name: &str| one[name].as_str().unwrap_or_default();
            (text("who"), text("verb"), text("outcome"))
        })
        .filter(|(who, ..)| *who != "lockgate")
        // How often it was asked before it could steer is chance.
        .filter(|one| *one != ("ana", "call", "refused"))
        .collect();
    assert_eq!(
        told,
        [
            ("vic", "call", "refused"),
            ("ana", "hold", "done"),
            ("ana", "call", "done"),
            ("ada", "resume", "done"),
            ("ana", "hold", "done"),
        ]
    );
    assert!(records.iter().all(|one| one["origin"] != ""));
    let slower = records
        .iter()
        .find(|one| one["verb"] == "call" && one["who"] == "ana");
    assert_eq!(
        slower.map(|one| &one["note"]),
        Some(&json!("PUT /v1/throttle: 77 entries/s, no bytes/s at most"))
    );

    let vic = Role::Viewer.authorization();
    let page = |query: &str| {
        let path = format!("/v1/journal{query}");
        ask(&daemon, "GET", &path, &[("authorization", &vic)], "")
    };
    let first = page("?limit=2").json();
    assert_eq!(first["records"], json!(records[..2]));
    assert_eq!(
        (&first["next"], &first["total"]),
        (&json!(2), &json!(records.len()))
    );
    let rest = page("?after=2").json();
    assert_eq!(rest["records"], json!(records[2..]));
    assert_eq!(rest["next"], Value::Null);
    assert_eq!(page("?after=1000000").json()["records"], json!([]));
    let driver = format!("HDEL lockgate:{}:driver j:2", rig.name);
    assert_eq!(rig.redis.command::<u64>(rig.database, &driver), 1);
    let lost = page("?after=1&limit=1").json();
    assert_eq!((&lost["records"], &lost["next"]), (&json!([]), &json!(2)));
    for query in ["?limit=0", "?limit=201", "?limit=x", "?after=-1", "?page=1"] {
        page(query).assert_problem(400, query);
    }
    let last = run(Role::Viewer, &["journal", "--last", "1"]);
    assert_eq!(said(&last).lines().count(), 1, "{}", said(&last));
}

#[test]
fn a_token_is_made_known_and_never_shown() {
    let rig = Rig::new("accesstoken");
    let folder = Scratch::new("tokens");
    let file = folder.path().join("bob.token");
    let path = file.display().to_string();
    let make = |role: &str, name: &str| {
        lockgate(&["token", "--role", role, "--name", name, "--out", &path])
    };
    assert_eq!(make("root", "bob").status.code(), Some(2));
    assert_eq!(make("admin", "lockgate").status.code(), Some(2));
    let made = make("operator", "bob");
    assert_eq!(made.status.code(), Some(0), "{}", said(&made));
    let secret = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    assert_eq!(secret.len(), 43);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        make("operator", "bob").status.code(),
        Some(1),
        "it is not written over"
    );
    let known = folder.path().join("tokens");
    let others = std::fs::read(Role::Admin.token_file().with_file_name("tokens")).unwrap();
    std::fs::write(&known, [made.stdout.as_slice(), &others].concat()).unwrap();
    let daemon = steering(&rig, Some(&format!("tokens_file = {known:?}")));
    let url = daemon.url();
    let with = |words: &[&str]| lockgate_with(words, &[("LOCKGATE_TOKEN_FILE", &path)]);
    let held = with(&["hold", "--reason", "nobody is watching", "--url", &url]);
    assert_eq!(held.status.code(), Some(0), "{}", said(&held));
    let config = daemon.config_file().display().to_string();
    let refused = ask(
        &daemon,
        "POST",
        "/v1/parity/repair",
        &[("authorization", &format!("Bearer {secret}"))],
        "{}",
    );
    refused.assert_problem(403, "an operator repairs nothing");
    let digest = said(&made)
        .split("sha256:")
        .nth(1)
        .unwrap()
        .trim()
        .to_owned();
    let views = [
        daemon.log(),
        said(&with(&["journal", "--output", "json", "--url", &url])),
        said(&with(&["status", "--output", "json", "--url", &url])),
        said(&with(&["config", "show", "--config", &config])),
        said(&held),
        said(&made).replace(&digest, ""),
        refused.body,
    ];
    for view in views {
        assert!(!view.is_empty());
        assert!(!view.contains(&secret) && !view.contains(&digest), "{view}");
    }
    std::fs::write(&file, "two words s3cretMARKER\n").unwrap();
    let broken = with(&["status", "--url", &url]);
    assert_eq!(broken.status.code(), Some(2));
    assert!(!said(&broken).contains("MARKER"), "{}", said(&broken));
}

#[test]
fn it_listens_beyond_loopback_with_tokens_and_tls_or_when_told_so() {
    let rig = Rig::new("accesslisten");
    let folder = Scratch::new("listen");
    make_certificates(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(file("lockgate.toml"), rig.config()).unwrap();
    std::fs::write(file("broken"), "admin ada s3cretMARKER\n").unwrap();
    let tokens = Role::Admin.token_file().with_file_name("tokens");
    let set = |key: &str, value: &str| ["--set".to_owned(), format!("http.{key}={value}")];
    let everywhere = set("listen", "0.0.0.0:0");
    let known = set("tokens_file", &tokens.display().to_string());
    let certificate = set("tls_cert_file", &file("server.pem"));
    let key = set("tls_key_file", &file("server.key"));
    let show = |sets: &[&[String; 2]], verb: &[&str]| {
        let config = file("lockgate.toml");
        let mut words: Vec<&str> = verb.iter().copied().chain(["--config", &config]).collect();
        words.extend(sets.iter().flat_map(|set| set.iter().map(String::as_str)));
        lockgate(&words)
    };
    let not_pem = set("tls_cert_file", &file("lockgate.toml"));
    let another = set("tls_key_file", &file("client.key"));
    let refused: [(&[&[String; 2]], &str); 8] = [
        (&[&not_pem, &key], "holds no certificate"),
        (&[&certificate, &another], "do not go together"),
        (&[&everywhere], "http.tokens_file"),
        (&[&everywhere, &known], "http.tls_cert_file"),
        (&[&everywhere, &certificate, &key], "http.tokens_file"),
        (&[&certificate], "http.tls_key_file"),
        (&[&set("tokens_file", &file("broken"))], "line 1"),
        (&[&set("hosts", "[\"http://a/\"]")], "http.hosts"),
    ];
    for (sets, words) in refused {
        let output = show(sets, &["run"]);
        assert_eq!(output.status.code(), Some(2), "{sets:?}: {}", said(&output));
        assert!(said(&output).contains(words), "{sets:?}: {}", said(&output));
        assert!(!said(&output).contains("MARKER"), "{}", said(&output));
    }
    let fine: [&[&[String; 2]]; 2] = [
        &[&everywhere, &known, &certificate, &key],
        &[&everywhere, &set("allow_remote", "true")],
    ];
    for sets in fine {
        let output = show(sets, &["config", "show"]);
        assert_eq!(output.status.code(), Some(0), "{sets:?}: {}", said(&output));
    }
}

#[test]
fn the_command_line_speaks_tls_to_those_whose_authority_it_believes() {
    let rig = Rig::new("accesstls");
    let folder = Scratch::new("tls");
    make_certificates(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let http = format!(
        "tokens_file = {:?}\ntls_cert_file = {:?}\ntls_key_file = {:?}\n",
        Role::Admin.token_file().with_file_name("tokens"),
        file("server.pem"),
        file("server.key")
    );
    let daemon = Daemon::start_with(
        &rig.config(),
        DaemonOptions {
            http: Some(http),
            ..DaemonOptions::default()
        },
    );
    let config = daemon.config_file().display().to_string();
    let authority = file("ca.pem");
    let believing = |words: &[&str]| {
        let words: Vec<&str> = words.iter().copied().chain(["--config", &config]).collect();
        lockgate_with(&words, &[("LOCKGATE_CA_FILE", &authority)])
    };
    eventually(SOON, "it lives", || {
        let output = believing(&["health"]);
        if output.status.success() {
            Ok(())
        } else {
            Err(said(&output))
        }
    });
    // One that never finishes its handshake keeps nobody out.
    let stalled = TcpStream::connect((Ipv4Addr::LOCALHOST, daemon.port)).unwrap();
    let status = believing(&["status", "--output", "json"]);
    assert_eq!(status.status.code(), Some(0), "{}", said(&status));
    eventually(SOON, "it takes orders", || {
        believing(&["hold", "--reason", "nobody is watching"])
            .status
            .success()
    });
    drop(stalled);
    let doubting = lockgate(&["status", "--config", &config]);
    assert_eq!(doubting.status.code(), Some(3), "{}", said(&doubting));
    let other = file("client.pem");
    let wrong = lockgate(&["status", "--config", &config, "--ca-file", &other]);
    assert_eq!(wrong.status.code(), Some(3), "{}", said(&wrong));
    let mut plain = TcpStream::connect((Ipv4Addr::LOCALHOST, daemon.port)).unwrap();
    plain
        .write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    // It may answer with an alert or break off; it says nothing in the clear.
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.windows(4).any(|four| four == b"HTTP"), "{answer:?}");
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_is_not() {
    let rig = Rig::new("accessrenewed");
    let (folder, renewed) = (Scratch::new("tls"), Scratch::new("renewed"));
    make_certificates(folder.path());
    make_certificates(renewed.path());
    let file = |name: &str| folder.path().join(name);
    let http = format!(
        "tokens_file = {:?}\ntls_cert_file = {:?}\ntls_key_file = {:?}\n",
        Role::Admin.token_file().with_file_name("tokens"),
        file("server.pem"),
        file("server.key")
    );
    let daemon = Daemon::start_with(
        &rig.config(),
        DaemonOptions {
            http: Some(http),
            ..DaemonOptions::default()
        },
    );
    let config = daemon.config_file().display().to_string();
    let asks = |authority: &Scratch| {
        let authority = authority.path().join("ca.pem").display().to_string();
        let words = [
            "status",
            "--output",
            "json",
            "--config",
            &config,
            "--ca-file",
            &authority,
        ];
        let output = lockgate(&words);
        let status = serde_json::from_slice::<Value>(&output.stdout).ok();
        status
            .filter(|_| output.status.success())
            .ok_or_else(|| said(&output))
    };
    eventually(SOON, "it speaks by the first", || asks(&folder));
    let trouble = |says: &str| {
        eventually(SOON, says, || {
            let status = asks(&folder)?;
            let trouble = status["certificate_trouble"].as_str().unwrap_or_default();
            if trouble.contains(says) {
                Ok(())
            } else {
                Err(trouble.to_owned())
            }
        });
    };
    // The one file alone, and then half of it: the pair before is still shown.
    let copy = |name: &str| std::fs::copy(renewed.path().join(name), file(name)).unwrap();
    copy("server.pem");
    trouble("do not go together");
    std::fs::write(file("server.pem"), "-----BEGIN CERTIFICATE-----").unwrap();
    trouble("cannot be read");
    copy("server.pem");
    copy("server.key");
    let status = eventually(SOON, "it speaks by the renewed one", || asks(&renewed));
    assert_eq!(status["certificate_trouble"], Value::Null);
    assert!(asks(&folder).is_err(), "its authority is another");
    let log = daemon.log();
    assert!(
        log.contains("the certificate before is still shown"),
        "{log}"
    );
    assert!(!log.contains("PRIVATE KEY"), "{log}");
}

#[test]
fn one_who_asks_too_often_is_told_to_wait_and_probes_are_not() {
    let rig = Rig::new("accesspace");
    let mut daemon = Daemon::start_with(
        &rig.config(),
        DaemonOptions {
            http: Some("requests_per_second = 2\n".to_owned()),
            ..DaemonOptions::default()
        },
    );
    daemon.wait_ready();
    let answers: Vec<Answer> = (0..50)
        .map(|_| ask(&daemon, "GET", "/v1/status", &[], ""))
        .collect();
    let refused: Vec<&Answer> = answers.iter().filter(|one| one.status == 429).collect();
    assert!(!refused.is_empty(), "all 50 were answered");
    refused[0].assert_problem(429, "too often");
    assert!(
        refused[0].head.contains("retry-after: 1"),
        "{}",
        refused[0].head
    );
    let counted = eventually(LONG, "a scrape is answered", || {
        daemon.metric("lockgate_http_denied_total", &[("reason", "pace")])
    });
    assert!(counted as usize >= refused.len(), "{counted}");
    for _ in 0..50 {
        assert_eq!(ask(&daemon, "GET", "/livez", &[], "").status, 200);
    }
}

#[test]
fn refusals_by_the_thousand_leave_a_handful_of_records_that_count_the_rest() {
    let rig = Rig::new("accessflood");
    let daemon = steering(&rig, None);
    for _ in 0..200 {
        call(&daemon, "POST", "/v1/hold", &[]).assert_problem(401, "no token");
    }
    assert_eq!(denied(&daemon, "auth"), 200);
    let noted = journal(&daemon);
    let refused = noted.iter().filter(|record| record["outcome"] == "refused");
    let refused: Vec<&Value> = refused.collect();
    assert!((30..40).contains(&refused.len()), "{}", refused.len());
    assert!(refused.iter().all(|record| record["who"] == "nobody"));
}
