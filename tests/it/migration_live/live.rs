//! A migration with a real daemon, mirror and auditor: what only applications know is pushed, acknowledged and committed by
//! threads that do not mind that the daemon dies.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::harness::{Daemon, DaemonOptions, Role, Running, eventually, unique};
use crate::parity::hand::{Hand, Outgoing};
use crate::rig::{LONG, PARTITIONS, Rig, now_ms};

/// Everything that a real migration waits for days takes moments here.
const HURRIED: &str = r#"
[parity]
window = "200ms"
[migration]
evaluate_every = "50ms"
lease = "300ms"
settle = "0s"
consumers = [100]
ingress = [50, 100]
[migration.soak]
shadow = "100ms"
consumers = "100ms"
ingress = "100ms"
last = "100ms"
[migration.gates]
mirror_lag = 100000
mirror_lag_window = "100ms"
parity = 900000
incidents_window = "100ms"
group_lag = 100000
groups_window = "100ms"
dead_letters = 900000
duplicate_hits_window = "100ms"
"#;

/// The API of a daemon that may be dying.
#[derive(Clone)]
pub struct Api {
    url: String,
    agent: ureq::Agent,
}

impl Api {
    fn new(daemon: &Daemon) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(5)))
            .http_status_as_error(false)
            .build()
            .new_agent();
        Self {
            url: daemon.url(),
            agent,
        }
    }

    /// `None`: nobody answers.
    pub fn post(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let asked = self.agent.post(format!("{}{path}", self.url));
        let mut answer = asked
            .header("authorization", Role::Operator.authorization())
            .send_json(body)
            .ok()?;
        let text = answer.body_mut().read_to_string().ok()?;
        let value = serde_json::from_str(&text).unwrap_or_default();
        Some((answer.status().as_u16(), value))
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        let mut answer = self
            .agent
            .get(format!("{}{path}", self.url))
            .header("authorization", Role::Operator.authorization())
            .call()
            .ok()?;
        let text = answer.body_mut().read_to_string().ok()?;
        serde_json::from_str(&text)
            .ok()
            .filter(|_| answer.status() == 200)
    }

    pub fn shown(&self) -> Option<Value> {
        self.get("/v1/migration")
            .filter(|shown| !shown["phase"].is_null())
    }

    /// Where it stands, when nothing moves.
    pub fn steady(&self) -> Option<String> {
        let shown = self.shown()?;
        let still = shown["state"]["name"] == "steady";
        still.then(|| shown["step"]["actual"].as_str().map(str::to_owned))?
    }

    pub fn rollback(&self) -> Option<(u16, Value)> {
        self.post("/v1/rollback", &json!({ "reason": "the test asks for it" }))
    }
}

/// What goes on outside of Lockgate.
pub struct Outside {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Outside {
    fn start(api: &Api, rig: &Rig<'_>, group: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = |stop: &Arc<AtomicBool>, mut work: Box<dyn FnMut() + Send>| {
            let stop = Arc::clone(stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    work();
                    std::thread::sleep(Duration::from_millis(100));
                }
            })
        };
        let told = api.clone();
        let applications: Box<dyn FnMut() + Send> = Box::new(move || push(&told));
        let mut client = rig.kafka.client();
        client.set("group.id", group);
        let consumer: BaseConsumer = client.create().expect("a consumer");
        let topic = rig.topic.clone();
        let workers: Box<dyn FnMut() + Send> = Box::new(move || commit_all(&consumer, &topic));
        Self {
            threads: vec![until(&stop, applications), until(&stop, workers)],
            stop,
        }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Applications say that all is well with them, and that they follow.
fn push(api: &Api) {
    // What is refused is journaled: whoever dies at a record would die at that one.
    if !api.shown().is_some_and(|shown| shown["gates"] != json!([])) {
        return;
    }
    let counted =
        |measure: &str| json!({ "measure": measure, "faults": 0, "total": 100_000, "seconds": 1 });
    // Each threshold of the defaults is a bound.
    let buckets =
        json!({ "0.005": 99_999, "0.01": 99_999, "0.05": 99_999, "0.1": 99_999, "+Inf": 100_000 });
    let quick = |measure: &str| json!({ "measure": measure, "buckets": buckets, "seconds": 1 });
    let valued = |measure: &str, value: f64| json!({ "measure": measure, "value": value });
    for evidence in [
        quick("added-latency"),
        quick("produce-latency"),
        counted("produce-errors"),
        quick("write-latency"),
        quick("end-to-end"),
        valued("duplicates", 0.0),
        valued("duplicate-hits", 0.02),
        valued("throughput", 900.0),
    ] {
        // A daemon that is gone takes nothing; the next one will.
        let _ = api.post("/v1/evidence", &evidence);
    }
    let version = api
        .get("/v1/flags/flagd")
        .and_then(|flags| flags["metadata"]["version"].as_u64());
    if let Some(version) = version {
        let ack = json!({ "client": "billing", "version": version, "lifetime_seconds": 10 });
        let _ = api.post("/v1/flags/ack", &ack);
    }
}

/// The group's workers have done all there is.
fn commit_all(consumer: &BaseConsumer, topic: &str) {
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        if let Ok((_, end)) = consumer.fetch_watermarks(topic, partition, LONG) {
            list.add_partition_offset(topic, partition, Offset::Offset(end))
                .expect("an offset");
        }
    }
    let _ = consumer.commit(&list, CommitMode::Sync);
}

pub struct Live {
    // Dropped first: its threads ask the daemons.
    outside: Vec<Outside>,
    group: String,
    pub load: Option<Running>,
    pub rig: Rig<'static>,
    pub daemon: Daemon,
    pub api: Api,
}

impl Live {
    /// A daemon at work, in shadow, with its baseline and every way back proven.
    pub fn start(what: &str) -> Self {
        Self::start_with(what, "")
    }

    /// What an application does that the flags tell to: a record of its own, which no entry stands behind.
    pub fn write_to_kafka(&self) {
        let record = Outgoing {
            topic: self.rig.topic.clone(),
            partition: 3,
            key: Some(b"conv_000001".to_vec()),
            value: Some(b"{}".to_vec()),
            headers: Vec::new(),
            timestamp_ms: i64::try_from(now_ms()).unwrap(),
        };
        Hand::new(self.rig.kafka).commit([&record]);
    }

    pub fn start_with(what: &str, more: &str) -> Self {
        Self::start_as(what, &format!("{HURRIED}{more}"))
    }

    /// What was begun before a change has a moment to come.
    pub fn start_settling(what: &str) -> Self {
        let settling = HURRIED.replace("settle = \"0s\"", "settle = \"1s\"");
        Self::start_as(what, &settling)
    }

    /// With time for instances to hear of each other on a busy machine.
    pub fn start_unhurried(what: &str) -> Self {
        let unhurried = HURRIED
            .replace("evaluate_every = \"50ms\"", "evaluate_every = \"200ms\"")
            .replace("lease = \"300ms\"", "lease = \"2s\"");
        Self::start_as(what, &unhurried)
    }

    fn start_as(what: &str, settings: &str) -> Self {
        let group = unique("workers");
        let rig = Rig {
            routes: format!("{settings}\n[[migration.groups]]\nname = \"{group}\"\n"),
            ..Rig::new(what)
        };
        let load = rig.load(200);
        let daemon = rig.daemon();
        let api = Api::new(&daemon);
        let outside = Outside::start(&api, &rig, &group);
        let live = Self {
            outside: vec![outside],
            group,
            load: Some(load),
            rig,
            daemon,
            api,
        };
        // It begins before the driver steers, and a baseline without them would do.
        let hits = json!({ "measure": "duplicate-hits", "value": 0.02 });
        eventually(LONG, "the share of hits is taken", || {
            let answer = live.api.post("/v1/evidence", &hits);
            answer.is_some_and(|(status, _)| status == 204)
        });
        eventually(LONG, "a baseline", || {
            let answer = live.api.post("/v1/baseline", &json!({}));
            answer.is_some_and(|(status, _)| status == 202)
        });
        live
    }

    /// From now on only conversations of buckets from this one on are written to Redis.
    pub fn only_from(&self, bucket: u32) {
        self.load.as_ref().expect("it writes").only_from(bucket);
    }

    /// Another instance, with which applications speak as well.
    pub fn another(&mut self) -> Daemon {
        let daemon = self.rig.daemon();
        let outside = Outside::start(&Api::new(&daemon), &self.rig, &self.group);
        self.outside.push(outside);
        daemon
    }

    /// From now on it is the other that is asked; the one before is answered.
    pub fn turn_to(&mut self, other: Daemon) -> Daemon {
        self.api = Api::new(&other);
        std::mem::replace(&mut self.daemon, other)
    }

    /// Promotes when the gates open; `None`: the daemon died over it.
    #[track_caller]
    pub fn promote(&mut self) -> Option<()> {
        let (api, daemon) = (&self.api, &mut self.daemon);
        eventually(LONG, "the gates open", || {
            if daemon.exited().is_some() {
                return Ok(None);
            }
            let Some((200, plan)) = api.post("/v1/plans", &json!({ "verb": "promote" })) else {
                return Err("no plan".to_owned());
            };
            let blocked = plan["blocked_by"].as_array().cloned().unwrap_or_default();
            let unproven = |why: &Value| why.as_str().is_some_and(|why| why.contains("rehearsal"));
            if blocked.iter().any(unproven) {
                let _ = api.post("/v1/rehearsals", &json!({ "step": plan["to"] }));
            }
            if !blocked.is_empty() {
                return Err(format!("{blocked:?}"));
            }
            let path = format!("/v1/plans/{}/apply", plan["id"].as_str().unwrap_or("none"));
            match api.post(&path, &json!({ "reason": "the test asks for it" })) {
                Some((202, _)) => Ok(Some(())),
                Some((_, refused)) => Err(refused["detail"].to_string()),
                None => Err("no answer".to_owned()),
            }
        })
    }

    /// Sends it, and is gone before anybody answers.
    pub fn leave_asking(&self, path: &str, body: &Value) {
        let (body, who) = (body.to_string(), Role::Admin.authorization());
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.daemon.port)).expect("up");
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: {who}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("sent");
    }

    /// Waits until it stands at a step; `None`: the daemon died on the way.
    #[track_caller]
    pub fn reach(&mut self, step: &str) -> Option<()> {
        let (api, daemon) = (&self.api, &mut self.daemon);
        eventually(LONG, step, || {
            if daemon.exited().is_some() {
                return Ok(None);
            }
            match api.steady() {
                Some(at) if at == step => Ok(Some(())),
                at => Err(format!(
                    "{at:?} {}",
                    api.shown().unwrap_or_default()["state"]
                )),
            }
        })
    }

    pub fn restart(&mut self, failpoints: Option<String>) {
        self.daemon.restart_with(DaemonOptions {
            failpoints,
            ..DaemonOptions::default()
        });
    }

    /// The hash that applications read in Redis.
    pub fn fields(&self) -> std::collections::BTreeMap<String, String> {
        let key = format!("HGETALL lockgate:{}:flags", self.rig.name);
        self.rig.redis.command(self.rig.database, &key)
    }
}
