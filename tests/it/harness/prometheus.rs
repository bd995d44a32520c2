//! A real Prometheus beside a daemon: it scrapes every second, holds the alert rules, and is asked what they and the
//! dashboards ask.
//!
//! Rules are the repository's own text; `Rules::Hurried` only shortens each `for`, so that a test need not wait minutes for
//! an alert that is about to fire.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::logs;
use super::ports::free_port;
use super::process::{Process, Scratch};
use super::tokens::Role;
use super::wait::eventually;

/// Whom a guarded server lets in: name, password, and what its file has in place of it.
pub const USER: (&str, &str, &str) = (
    "ana",
    "a secret",
    "$2b$04$gFSWzgXRkfrI6DkJUfitVekmiXiL4Uw282U9y0Qw89OOOyYaQ7nQe",
);
const START: Duration = Duration::from_secs(30);
const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/prometheus/alerts.yml");

/// How the alert rules are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    AsTheyAre,
    /// Each `for` is two seconds, and what was seen last is known to the second.
    Hurried,
}

/// A server that scrapes daemons on loopback; killed when dropped.
pub struct Prometheus {
    port: u16,
    guarded: bool,
    _folder: Scratch,
    process: Process,
}

impl Prometheus {
    /// Scrapes the daemons on these ports every second, and waits until it answers.
    #[track_caller]
    pub fn watching(ports: &[u16], rules: Rules) -> Self {
        Self::start(ports, rules, None)
    }

    /// Watches nothing, and speaks TLS to [`USER`] alone; `certificates`: a folder made by `make_certificates`.
    #[track_caller]
    pub fn guarded(certificates: &Path) -> Self {
        Self::start(&[], Rules::AsTheyAre, Some(certificates))
    }

    #[track_caller]
    fn start(ports: &[u16], rules: Rules, certificates: Option<&Path>) -> Self {
        let folder = Scratch::new("prometheus");
        let text = fs::read_to_string(RULES).expect("the alert rules");
        let text = match rules {
            Rules::AsTheyAre => text,
            Rules::Hurried => hurried(&text),
        };
        fs::write(folder.path().join("alerts.yml"), text).expect("alerts.yml");
        let targets: Vec<String> = ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        let token = Role::Viewer.token_file();
        let config = format!(
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  evaluation_interval: 1s\n\
             rule_files: [alerts.yml]\n\
             scrape_configs:\n  - job_name: lockgate\n    authorization: {{ credentials_file: {token:?} }}\n    static_configs:\n      - targets: {targets:?}\n"
        );
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config).expect("prometheus.yml");
        let port = free_port();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=warn");
        if let Some(certificates) = certificates {
            let (user, _, digest) = USER;
            let web = format!(
                "tls_server_config: {{ cert_file: {:?}, key_file: {:?} }}\nbasic_auth_users: {{ {user}: {digest:?} }}\n",
                certificates.join("server.pem"),
                certificates.join("server.key"),
            );
            let file = folder.path().join("web.yml");
            fs::write(&file, web).expect("web.yml");
            command.arg(format!("--web.config.file={}", file.display()));
        }
        let process = Process::start("prometheus", &command, &logs::log_file("prometheus"));
        let mut server = Self {
            port,
            guarded: certificates.is_some(),
            _folder: folder,
            process,
        };
        server.wait_ready();
        server
    }

    pub fn url(&self) -> String {
        let scheme = if self.guarded { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    #[track_caller]
    fn wait_ready(&mut self) {
        eventually(START, "Prometheus is ready", || {
            if let Some(status) = self.process.exited() {
                panic!("{}", self.process.explain_end(status));
            }
            if self.guarded {
                // It listens once it is ready to answer, and what it answers is for the one who is let in.
                let stands = std::net::TcpStream::connect(("127.0.0.1", self.port));
                return stands.map(|_| ()).map_err(|error| error.to_string());
            }
            self.get("/-/ready").map(|_| ())
        });
    }

    fn get(&self, path: &str) -> Result<String, String> {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(10)))
            .http_status_as_error(false)
            .build()
            .new_agent();
        let mut response = agent
            .get(format!("http://127.0.0.1:{}{path}", self.port))
            .call()
            .map_err(|error| error.to_string())?;
        let body = response
            .body_mut()
            .read_to_string()
            .map_err(|error| error.to_string())?;
        if response.status() == 200 {
            Ok(body)
        } else {
            Err(format!("{}: {body}", response.status()))
        }
    }

    fn data(&self, path: &str) -> Result<Value, String> {
        let answer: Value =
            serde_json::from_str(&self.get(path)?).map_err(|error| error.to_string())?;
        Ok(answer["data"].clone())
    }

    /// Every rule, as Prometheus read it: `name query duration labels annotations`.
    pub fn rules(&self) -> Vec<Value> {
        let data = self.data("/api/v1/rules").unwrap();
        let groups = data["groups"].as_array().unwrap();
        groups
            .iter()
            .flat_map(|group| group["rules"].as_array().unwrap().clone())
            .collect()
    }

    /// Result of an instant query, with the type of the result.
    pub fn query(&self, expr: &str) -> Result<Value, String> {
        self.data(&format!("/api/v1/query?query={}", encoded(expr)))
    }

    /// Result of a range query over the last minute, a step a second.
    pub fn query_range(&self, expr: &str) -> Result<Value, String> {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("a clock after 1970")
            .as_secs();
        self.data(&format!(
            "/api/v1/query_range?query={}&start={}&end={now}&step=1",
            encoded(expr),
            now - 60
        ))
    }

    /// Names and severities of the alerts that fire now.
    pub fn firing(&self) -> Result<Vec<(String, String)>, String> {
        let data = self.query("ALERTS{alertstate=\"firing\"}")?;
        let found = data["result"].as_array().ok_or("no result")?.iter();
        Ok(found
            .map(|one| {
                let label = |name: &str| one["metric"][name].as_str().unwrap_or("").to_owned();
                (label("alertname"), label("severity"))
            })
            .collect())
    }

    /// Waits until a daemon has been scraped, so that what it counts from now on is seen to rise.
    #[track_caller]
    pub fn await_scrape(&self) {
        eventually(START, "a daemon is scraped", || {
            let data = self.query("lockgate_build_info")?;
            match data["result"].as_array() {
                Some(series) if !series.is_empty() => Ok(()),
                _ => Err(data.to_string()),
            }
        });
    }

    /// Waits until this alert fires.
    #[track_caller]
    pub fn await_firing(&self, alert: &str, severity: &str) {
        eventually(
            Duration::from_secs(90),
            &format!("{alert} ({severity}) fires"),
            || {
                let firing = self.firing()?;
                let wanted = (alert.to_owned(), severity.to_owned());
                if firing.contains(&wanted) {
                    Ok(())
                } else {
                    Err(format!("{firing:?}"))
                }
            },
        );
    }
}

/// The same rules with every `for` at two seconds, and what was last in a day to the minute looked for in ten minutes to the second.
fn hurried(rules: &str) -> String {
    let lines = rules.lines().map(|line| {
        let begin = line.trim_start();
        if begin.starts_with("for: ") {
            let indent = &line[..line.len() - begin.len()];
            format!("{indent}for: 2s\n")
        } else {
            format!("{}\n", line.replace("[1d:1m]", "[10m:1s]"))
        }
    });
    lines.collect()
}

/// As a part of a URL's query.
fn encoded(text: &str) -> String {
    let bytes = text.bytes().map(|byte| {
        if byte.is_ascii_alphanumeric() {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    });
    bytes.collect()
}

#[test]
fn hurried_rules_differ_in_their_waiting_alone() {
    let rules = "  - alert: A\n    for: 10m\n    expr: a_total[5m] > max(b)[1d:1m]\n";
    assert_eq!(
        hurried(rules),
        "  - alert: A\n    for: 2s\n    expr: a_total[5m] > max(b)[10m:1s]\n"
    );
}
