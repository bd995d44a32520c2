//! The migration over the daemon's API: what an operator and an application see and may do, and what bad calls get.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Daemon, RedisOptions, RedisServer, Role, eventually, kafka, lockgate};
use crate::operator::scenarios::steered::{await_step, put_at};
use crate::plan::{Plan, drain};
use crate::rig::Rig;

const AUTH: &str = "authorization";
const SOON: Duration = Duration::from_secs(30);

/// Headers.
type Headers<'a> = &'a [(&'a str, &'a str)];

struct Operator<'a>(&'a Daemon);

impl Operator<'_> {
    /// A call with these headers; status, ETag and body.
    fn call(&self, path: &str, headers: Headers<'_>, body: &str) -> (u16, String, Value) {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(10)))
            .http_status_as_error(false)
            .build()
            .new_agent();
        let mut request = agent
            .post(format!("{}{path}", self.0.url()))
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = request.send(body).expect("the daemon answers");
        let etag = answer
            .headers()
            .get("etag")
            .and_then(|tag| tag.to_str().ok());
        let etag = etag.unwrap_or_default().to_owned();
        let text = answer.body_mut().read_to_string().expect("a body");
        (
            answer.status().as_u16(),
            etag,
            serde_json::from_str(&text).unwrap_or_default(),
        )
    }

    fn as_ana(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, _, answer) = self.call(
            path,
            &[(AUTH, &Role::Operator.authorization())],
            &body.to_string(),
        );
        (status, answer)
    }

    fn shown(&self) -> Option<Value> {
        let (status, text) = self.0.get("/v1/migration").ok()?;
        (status == 200).then(|| serde_json::from_str(&text).expect("JSON"))
    }

    fn ready(&self) -> Value {
        eventually(SOON, "the driver has read its state", || {
            self.shown().filter(|shown| shown["phase"] == "shadow")
        })
    }
}

fn daemon(rig: &Rig<'_>) -> Daemon {
    Daemon::ready(&rig.config())
}

#[test]
fn an_operator_sees_what_blocks_and_is_refused_by_it() {
    let rig = Rig::new("migrationapi");
    let daemon = daemon(&rig);
    let operator = Operator(&daemon);
    let shown = operator.ready();
    assert_eq!(shown["state"]["name"], "steady");
    assert_eq!(
        (&shown["step"]["set"], &shown["next"]["to"]),
        (&json!("shadow"), &json!("consumers:5"))
    );
    assert_eq!(shown["next"]["allowed"], false);
    let gates: Vec<&str> = shown["gates"]
        .as_array()
        .expect("gates")
        .iter()
        .filter_map(|gate| gate["name"].as_str())
        .collect();
    for gate in [
        "parity",
        "mirror-lag",
        "added-latency",
        "incidents",
        "soak",
        "rehearsal",
        "clients",
    ] {
        assert!(gates.contains(&gate), "{gate} is missing in {gates:?}");
    }
    assert!(
        shown["blockers"]
            .as_array()
            .is_some_and(|blockers| blockers.iter().all(|one| one["do"] != ""))
    );

    let (status, plan) = operator.as_ana("/v1/plans", &json!({ "verb": "promote" }));
    assert_eq!(status, 200, "{plan}");
    assert_eq!(plan["way_back"], "shadow");
    assert!(
        plan["steps"]
            .as_array()
            .is_some_and(|steps| steps.len() == 3),
        "{plan}"
    );
    let apply = format!("/v1/plans/{}/apply", plan["id"].as_str().expect("an id"));
    let (status, refused) = operator.as_ana(&apply, &json!({ "reason": "the soak was clean" }));
    assert_eq!(
        (status, &refused["type"]),
        (409, &json!("urn:lockgate:gates")),
        "{refused}"
    );
    assert!(
        refused["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("soak")),
        "{refused}"
    );
    let (status, again) = operator.as_ana(&apply, &json!({ "reason": "the soak was clean" }));
    assert_eq!(
        (status, &again["type"]),
        (409, &json!("urn:lockgate:moved")),
        "a plan is used once"
    );

    let (_, plan) = operator.as_ana("/v1/plans", &json!({ "verb": "promote" }));
    let apply = format!("/v1/plans/{}/apply", plan["id"].as_str().expect("an id"));
    let (status, _) = operator.as_ana(
        "/v1/hold",
        &json!({ "reason": "lunch, nobody is watching" }),
    );
    assert_eq!(status, 202);
    let (status, late) = operator.as_ana(&apply, &json!({ "reason": "the soak was clean" }));
    assert_eq!(
        (status, &late["type"]),
        (409, &json!("urn:lockgate:moved")),
        "the epoch moved since the plan: {late}"
    );
    let held = eventually(SOON, "it is held", || {
        operator
            .shown()
            .filter(|shown| shown["state"]["name"] == "held")
    });
    assert!(
        held["journal"].as_array().is_some_and(|records| {
            let outcomes: Vec<_> = records
                .iter()
                .map(|record| (&record["verb"], &record["outcome"]))
                .collect();
            outcomes.contains(&(&json!("promote"), &json!("refused")))
                && outcomes.contains(&(&json!("hold"), &json!("done")))
        }),
        "{held}"
    );
    let (status, _) = operator.as_ana("/v1/resume", &json!({ "reason": "somebody is watching" }));
    assert_eq!(status, 202);
}

#[test]
fn bad_calls_are_told_what_to_do_and_change_nothing() {
    let rig = Rig::new("migrationbad");
    let daemon = daemon(&rig);
    let operator = Operator(&daemon);
    let before = operator.ready();
    let ana = Role::Operator.authorization();
    let name: Headers<'_> = &[(AUTH, &ana)];
    let ada = Role::Admin.authorization();
    let admin: Headers<'_> = &[(AUTH, &ada)];
    let billing = Role::Flags.authorization();
    let application: Headers<'_> = &[(AUTH, &billing)];
    let large = format!(r#"{{"reason": "{}"}}"#, "x".repeat(70_000));
    let bad: [(&str, Headers<'_>, &str, u16); 27] = [
        ("/v1/hold", &[], r#"{"reason": "because it must be"}"#, 401),
        ("/v1/hold", name, &large, 413),
        (
            "/v1/plans/none/complete",
            name,
            r#"{"reason": "because it must be", "name": "x"}"#,
            403,
        ),
        (
            "/v1/plans/none/complete",
            admin,
            r#"{"reason": "because it must be", "name": "x"}"#,
            409,
        ),
        (
            "/v1/plans/none/complete",
            admin,
            r#"{"reason": "because it must be"}"#,
            400,
        ),
        (
            "/v1/plans/none/apply",
            name,
            r#"{"reason": "because it must be", "name": "x"}"#,
            400,
        ),
        (
            "/v1/plans/%FF/apply",
            name,
            r#"{"reason": "because it must be"}"#,
            400,
        ),
        ("/v1/plans", name, r#"{"verb": "hold"}"#, 409),
        ("/v1/plans", name, r#"{"verb": "fly"}"#, 400),
        ("/v1/rehearsals", name, r#"{"step": "done"}"#, 409),
        ("/v1/rehearsals", name, r#"{"step": 5}"#, 400),
        ("/v1/baseline", name, "", 409),
        ("/v1/hold", name, r#"{"reason": "short"}"#, 400),
        ("/v1/hold", name, r#"{"why": "because it must be"}"#, 400),
        ("/v1/hold", name, "{", 400),
        (
            "/v1/resume",
            name,
            r#"{"reason": "because it must be"}"#,
            409,
        ),
        (
            "/v1/rollback",
            name,
            r#"{"reason": "because it must be"}"#,
            409,
        ),
        (
            "/v1/rollback",
            name,
            r#"{"to": "elsewhere", "reason": "because it must be"}"#,
            400,
        ),
        (
            "/v1/plans",
            name,
            r#"{"verb": "promote", "to": "ingress:10"}"#,
            409,
        ),
        ("/v1/plans", name, r#"{"verb": "complete"}"#, 409),
        (
            "/v1/plans/none/apply",
            name,
            r#"{"reason": "because it must be"}"#,
            409,
        ),
        (
            "/v1/evidence",
            name,
            r#"{"measure": "parity", "faults": 0, "total": 100000}"#,
            400,
        ),
        (
            "/v1/evidence",
            name,
            r#"{"measure": "produce-errors", "faults": 3, "total": 2, "seconds": 60}"#,
            400,
        ),
        (
            "/v1/evidence",
            name,
            r#"{"measure": "produce-errors", "faults": 3, "total": 9000}"#,
            400,
        ),
        (
            "/v1/evidence",
            name,
            r#"{"measure": "write-latency", "value": 12}"#,
            400,
        ),
        (
            "/v1/evidence",
            name,
            r#"{"measure": "throughput", "faults": 0, "total": 900, "seconds": 60}"#,
            400,
        ),
        (
            "/v1/flags/ack",
            application,
            r#"{"client": "billing", "version": 1000000, "lifetime_seconds": 10}"#,
            400,
        ),
    ];
    for (path, headers, body, expected) in bad {
        let (status, _, answer) = operator.call(path, headers, body);
        assert_eq!(status, expected, "{path} {body}: {answer}");
        assert_eq!(answer["status"], expected, "RFC 9457: {answer}");
        assert!(
            answer["detail"]
                .as_str()
                .is_some_and(|detail| detail.len() > 10),
            "{answer}"
        );
    }
    let after = operator.shown().expect("shown");
    for part in ["epoch", "step", "state", "flags"] {
        assert_eq!(after[part], before[part], "{part}");
    }
}

#[test]
fn applications_evaluate_acknowledge_and_are_told_nothing_new_when_nothing_is() {
    let rig = Rig::new("migrationflags");
    let daemon = daemon(&rig);
    let operator = Operator(&daemon);
    operator.ready();
    let context =
        json!({ "context": { "targetingKey": "conversation-1", "tenant": 7 } }).to_string();
    let billing = Role::Flags.authorization();
    let application: Headers<'_> = &[(AUTH, &billing)];
    let (status, _, one) = operator.call(
        "/ofrep/v1/evaluate/flags/QUEUE_BACKEND",
        application,
        &context,
    );
    assert_eq!(
        (status, &one["value"], &one["reason"]),
        (200, &json!("redis"), &json!("STATIC")),
        "{one}"
    );
    let (status, _, unknown) =
        operator.call("/ofrep/v1/evaluate/flags/NO_SUCH", application, &context);
    assert_eq!(
        (status, &unknown["errorCode"]),
        (404, &json!("FLAG_NOT_FOUND"))
    );
    let (status, etag, all) = operator.call("/ofrep/v1/evaluate/flags", application, &context);
    assert_eq!(status, 200);
    assert_eq!(all["flags"].as_array().map(Vec::len), Some(4), "{all}");
    let (status, _, _) = operator.call(
        "/ofrep/v1/evaluate/flags",
        &[(AUTH, &billing), ("if-none-match", &etag)],
        &context,
    );
    assert_eq!(status, 304);
    let (status, _, broken) = operator.call("/ofrep/v1/evaluate/flags", application, "{");
    assert_eq!((status, &broken["errorCode"]), (400, &json!("PARSE_ERROR")));

    let version = one["metadata"]["version"].as_u64().expect("a version");
    // Who may only look follows nothing, whatever it says of itself; who may say so says it by asking.
    let vic = Role::Viewer.authorization();
    for (client, who) in [("onlooker", &vic), ("search", &billing)] {
        for flags in ["", "/QUEUE_BACKEND"] {
            let path = format!("/ofrep/v1/evaluate/flags{flags}");
            let headers = [(AUTH, who.as_str()), ("x-lockgate-client", client)];
            assert_eq!(operator.call(&path, &headers, &context).0, 200);
        }
    }
    let ack =
        json!({ "client": "billing", "version": version, "lifetime_seconds": 60 }).to_string();
    assert_eq!(operator.call("/v1/flags/ack", application, &ack).0, 204);
    // An acknowledgement is kept with all that was heard before it.
    let heard = format!("SMEMBERS lockgate:{}:flags-heard", rig.name);
    let mut heard: Vec<String> = rig.redis.command(rig.database, &heard);
    heard.sort_unstable();
    assert_eq!(heard, ["billing", "search"]);
    eventually(SOON, "the gate on clients passes", || {
        let shown = operator.shown()?;
        let gates = shown["gates"].as_array()?.clone();
        gates
            .into_iter()
            .find(|gate| gate["name"] == "clients" && gate["verdict"] == "pass")
    });
    let (status, tried) = operator.as_ana("/v1/rehearsals", &json!({ "step": "consumers:5" }));
    assert_eq!((status, &tried["passed"]), (200, &json!(true)), "{tried}");
    eventually(SOON, "the way back is proven", || {
        let shown = operator.shown()?;
        let gates = shown["gates"].as_array()?.clone();
        gates
            .into_iter()
            .find(|gate| gate["name"] == "rehearsal" && gate["verdict"] == "pass")
    });
    let (status, _) = operator.as_ana(
        "/v1/evidence",
        &json!({ "measure": "throughput", "value": 812.5 }),
    );
    assert_eq!(status, 204);
    eventually(SOON, "the baseline is recorded", || {
        operator.as_ana("/v1/baseline", &json!({})).0 == 202
    });
    let (status, flagd) = daemon.get("/v1/flags/flagd").expect("answered");
    assert_eq!(status, 200);
    let flagd: Value = serde_json::from_str(&flagd).expect("JSON");
    assert_eq!(flagd["flags"]["USE_KAFKA_INGRESS"]["defaultVariant"], "off");
}

#[test]
fn the_verbs_show_refuse_and_hold_with_the_exit_codes_that_scripts_rely_on() {
    let rig = Rig::new("migrationverbs");
    let daemon = daemon(&rig);
    let operator = Operator(&daemon);
    operator.ready();
    let url = daemon.url();
    let token = Role::Operator.token_file().display().to_string();
    let run = |words: &[&str]| {
        let place = ["--url", &url, "--token-file", &token];
        let words: Vec<&str> = words.iter().copied().chain(place).collect();
        let output = lockgate(&words);
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text)
    };
    let (code, text) = run(&["gates"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("inconclusive soak")
            && text.contains("next: promote to consumers:5: blocked"),
        "{text}"
    );
    let (code, text) = run(&["promote", "--dry-run"]);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("blocked by soak"), "{text}");
    let (code, text) = run(&["promote", "--dry-run", "--output", "json"]);
    let plan: Value = serde_json::from_str(&text).expect("one document");
    assert_eq!(
        (code, &plan["plan"]["to"]),
        (Some(4), &json!("consumers:5"))
    );
    let (code, text) = run(&["promote", "--reason", "nobody is there to ask"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("a script says --yes"), "{text}");
    let (code, text) = run(&["promote", "--yes", "--reason", "the soak was clean"]);
    assert_eq!(code, Some(4), "{text}");
    let (code, text) = run(&["rollback", "--reason", "nothing was promoted"]);
    assert_eq!(code, Some(4), "{text}");
    let (code, text) = run(&[
        "rollback",
        "--to",
        "consumers",
        "--reason",
        "nothing was promoted",
    ]);
    assert_eq!(code, Some(4), "{text}");
    let (code, text) = run(&["rollback", "--dry-run", "--to", "consumers:5"]);
    assert_eq!(code, Some(4), "nobody follows: {text}");
    assert!(text.contains("is not open: no application"), "{text}");
    let (code, text) = run(&["baseline", "record"]);
    assert_eq!(code, Some(4), "no throughput was told: {text}");
    let (code, text) = run(&["hold", "--reason", "short"]);
    assert_eq!(code, Some(2), "{text}");
    let promote = ["promote", "--reason", "the soak was clean"];
    let promote = [&promote[..], &["--url", &url, "--token-file", &token]].concat();
    let (code, text) = in_terminal(&promote, "apply it?", "y", || {
        let hold = run(&["hold", "--reason", "while another reads the plan"]);
        assert_eq!(hold.0, Some(0), "{}", hold.1);
        let resume = run(&["resume", "--reason", "it was held for a moment"]);
        assert_eq!(resume.0, Some(0), "{}", resume.1);
    });
    assert_eq!(code, Some(9), "the plan is one of another epoch: {text}");
    let before = run(&["journal"]);
    for answer in ["n", "", "yes, but not now"] {
        let (code, text) = in_terminal(&promote, "apply it?", answer, || {});
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("nothing was done"), "{text}");
    }
    assert_eq!(run(&["journal"]), before, "nothing was so much as asked");
    let (code, text) = run(&["hold", "--reason", "nobody is watching"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = run(&["journal"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("ana hold") && text.contains("refused"),
        "{text}"
    );
}

/// Runs it in a terminal, where a person is asked and answers; what happens before the answer is `before`. The exit code, and what
/// was on the screen.
#[track_caller]
pub fn in_terminal(
    words: &[&str],
    question: &str,
    answer: &str,
    before: impl FnOnce(),
) -> (Option<i32>, String) {
    let quoted = words.iter().map(|word| format!(" '{word}'"));
    let command = format!(
        "'{}'{}",
        env!("CARGO_BIN_EXE_lockgate"),
        quoted.collect::<String>()
    );
    let mut terminal = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script makes a terminal");
    let mut said = Vec::new();
    let mut screen = terminal.stdout.take().expect("piped");
    while !String::from_utf8_lossy(&said).contains(question) {
        let mut byte = [0];
        let more = screen.read(&mut byte).expect("it speaks");
        assert_eq!(more, 1, "{}", String::from_utf8_lossy(&said));
        said.push(byte[0]);
    }
    before();
    let mut person = terminal.stdin.take().expect("piped");
    writeln!(person, "{answer}").expect("it listens");
    screen.read_to_end(&mut said).expect("it speaks");
    drop(person);
    let code = terminal.wait().expect("it ends").code();
    (code, String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn flags_are_not_known_before_redis_was_read_and_are_as_told_last_while_it_is_away() {
    let server = RedisServer::start(RedisOptions {
        aof: true,
        ..RedisOptions::default()
    });
    let plan = Plan::on("flagsaway", &server, 0, kafka()).route("r", &["a"], "");
    kafka().create_topic(&plan.topic("r"), 1, &[]);
    let mut daemon = plan.daemon();
    await_step(&daemon, "shadow", "steady");
    drain(&mut daemon);
    put_at(&server, &plan, "consumers:100");
    server.kill();
    daemon.restart();
    eventually(SOON, "it answers", || daemon.status().is_some());
    let told = |daemon: &Daemon| {
        let key = "/ofrep/v1/evaluate/flags/USE_KAFKA_CONSUMERS";
        let auth = Role::Flags.authorization();
        let (status, _, answer) = Operator(daemon).call(key, &[(AUTH, &auth)], "{}");
        (status, answer)
    };
    // Nothing is known: no value is made up, not even Redis's.
    let (status, answer) = told(&daemon);
    assert_eq!(status, 503, "{answer}");
    assert_eq!(answer["title"], "flags not known", "{answer}");
    assert!(answer["value"].is_null(), "{answer}");
    let (status, text) = daemon.get("/v1/flags/flagd").expect("answered");
    assert_eq!(status, 503, "{text}");

    server.restart();
    let known = eventually(SOON, "they are read", || {
        let (status, answer) = told(&daemon);
        (status == 200).then_some(answer.clone()).ok_or(answer)
    });
    assert_eq!(known["value"], true, "{known}");
    server.kill();
    eventually(SOON, "it is known to be away", || {
        let shown = Operator(&daemon).shown().unwrap_or_default();
        (!shown["error"].is_null()).then_some(()).ok_or(shown)
    });
    assert_eq!(told(&daemon), (200, known), "as told last");
}
