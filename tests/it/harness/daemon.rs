//! Lockgate itself: the daemon as a child process that can be signalled, killed and asked, and the command line.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::logs;
use super::ports::free_port;
use super::process::{Process, Scratch};
use super::tokens::{self, Role};
use super::wait::eventually;

const BINARY: &str = env!("CARGO_BIN_EXE_lockgate");
const READY: Duration = Duration::from_secs(30);

/// How a daemon is started beyond its configuration.
#[derive(Clone, Debug, Default)]
pub struct DaemonOptions {
    /// Environment, for example `LOCKGATE_REDIS__PASSWORD`.
    pub env: Vec<(String, String)>,
    /// `LOCKGATE_FAILPOINTS`.
    pub failpoints: Option<String>,
    /// Arguments after `run --config <file>`.
    pub arguments: Vec<String>,
    /// What stands under `[http]` beside `listen`; without it the tests' tokens.
    pub http: Option<String>,
}

/// A daemon with its own HTTP port; killed when dropped.
pub struct Daemon {
    pub port: u16,
    folder: Scratch,
    log: PathBuf,
    options: DaemonOptions,
    process: Process,
}

impl Daemon {
    /// Starts `lockgate run` with this TOML. Where it has no `[http]`, one with a free port and the tests' tokens is added.
    /// Does not wait: `wait_ready` does.
    pub fn start(config: &str) -> Self {
        Self::start_with(config, DaemonOptions::default())
    }

    /// Starts and waits until `/readyz` says so.
    #[track_caller]
    pub fn ready(config: &str) -> Self {
        let mut daemon = Self::start(config);
        daemon.wait_ready();
        daemon
    }

    pub fn start_with(config: &str, options: DaemonOptions) -> Self {
        let folder = Scratch::new("daemon");
        let log = logs::log_file("lockgate");
        let port = free_port();
        let file = folder.path().join("lockgate.toml");
        let mut text = config.to_owned();
        if !config.lines().any(|line| line.trim() == "[http]") {
            text.push_str(&http(port, options.http.as_deref()));
        }
        fs::write(&file, text).expect("lockgate.toml");
        let process = launch(&folder, &options, &log);
        Self {
            port,
            folder,
            log,
            options,
            process,
        }
    }

    /// Starts again with the same configuration and port, whatever became of the last process.
    pub fn restart(&mut self) {
        self.restart_with(self.options.clone());
    }

    /// The same with other failpoints, environment or arguments.
    pub fn restart_with(&mut self, options: DaemonOptions) {
        self.process.kill();
        self.options = options;
        self.process = launch(&self.folder, &self.options, &self.log);
    }

    /// Writes another configuration for the next `restart`.
    pub fn reconfigure(&self, config: &str) {
        let text = format!("{config}{}", http(self.port, self.options.http.as_deref()));
        fs::write(self.config_file(), text).expect("lockgate.toml");
    }

    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("lockgate.toml")
    }

    #[track_caller]
    pub fn wait_ready(&mut self) {
        eventually(READY, "the daemon is ready", || {
            if let Some(status) = self.process.exited() {
                panic!("{}", self.process.explain_end(status));
            }
            match self.get("/readyz") {
                Ok((200, _)) => Ok(()),
                Ok((status, body)) => Err(format!("{status} {body}")),
                Err(error) => Err(error.to_string()),
            }
        });
    }

    /// Where the API is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Status code and body of a path of the API. This and all below ask as the administrator.
    pub fn get(&self, path: &str) -> Result<(u16, String), ureq::Error> {
        let mut response = agent()
            .get(format!("http://127.0.0.1:{}{path}", self.port))
            .header("authorization", Role::Admin.authorization())
            .call()?;
        let body = response.body_mut().read_to_string()?;
        Ok((response.status().as_u16(), body))
    }

    /// Status code and body of the answer to a JSON body.
    pub fn post(&self, path: &str, body: &serde_json::Value) -> Result<(u16, String), ureq::Error> {
        let mut response = agent()
            .post(format!("http://127.0.0.1:{}{path}", self.port))
            .header("authorization", Role::Admin.authorization())
            .send_json(body)?;
        let body = response.body_mut().read_to_string()?;
        Ok((response.status().as_u16(), body))
    }

    /// Status code and body of the answer to a JSON body that is PUT.
    pub fn put(&self, path: &str, body: &serde_json::Value) -> Result<(u16, String), ureq::Error> {
        let mut response = agent()
            .put(format!("http://127.0.0.1:{}{path}", self.port))
            .header("authorization", Role::Admin.authorization())
            .send_json(body)?;
        let body = response.body_mut().read_to_string()?;
        Ok((response.status().as_u16(), body))
    }

    /// `/v1/status`, or `None` while there is none.
    pub fn status(&self) -> Option<serde_json::Value> {
        let (code, body) = self.get("/v1/status").ok()?;
        (code == 200).then(|| serde_json::from_str(&body).expect("the status is JSON"))
    }

    /// `/metrics` as text; empty while there are none.
    pub fn metrics(&self) -> String {
        self.get("/metrics")
            .map_or_else(|_| String::new(), |(_, body)| body)
    }

    /// Sum of a metric's samples that carry all these labels: `metric("lockgate_x_total", &[("route", "messages")])`.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        metric_in(&self.metrics(), name, labels)
    }

    /// SIGTERM: drain and leave.
    pub fn term(&self) {
        self.process.signal(Signal::SIGTERM);
    }

    /// SIGSTOP: the process is there and does nothing.
    pub fn stop(&self) {
        self.process.signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn cont(&self) {
        self.process.signal(Signal::SIGCONT);
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill9(&mut self) {
        self.process.kill();
    }

    /// Its exit status, within a time.
    #[track_caller]
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        self.process.wait(within)
    }

    /// `None` while it runs.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.process.exited()
    }

    /// Everything it said, over all its restarts.
    pub fn log(&self) -> String {
        self.process.log()
    }

    pub fn process(&self) -> &Process {
        &self.process
    }
}

fn http(port: u16, more: Option<&str>) -> String {
    let more = more.map_or_else(
        || format!("tokens_file = {:?}", tokens::file()),
        str::to_owned,
    );
    format!("\n[http]\nlisten = \"127.0.0.1:{port}\"\n{more}\n")
}

/// Without the settings of this run, which are not the daemon's: it would refuse `LOCKGATE_SOAK`.
fn own_environment(mut command: Command) -> Command {
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("LOCKGATE_") {
            command.env_remove(key);
        }
    }
    command
}

fn launch(folder: &Scratch, options: &DaemonOptions, log: &std::path::Path) -> Process {
    let mut command = own_environment(Command::new(BINARY));
    command
        .arg("run")
        .arg("--config")
        .arg(folder.path().join("lockgate.toml"))
        .args(&options.arguments)
        .current_dir(folder.path())
        .env("RUST_BACKTRACE", "1")
        .envs(options.env.iter().map(|(key, value)| (key, value)));
    match &options.failpoints {
        Some(points) => command.env("LOCKGATE_FAILPOINTS", points),
        None => command.env_remove("LOCKGATE_FAILPOINTS"),
    };
    Process::start("lockgate", &command, log)
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(5)))
        .http_status_as_error(false)
        .build()
        .new_agent()
}

/// Runs the command line, as the administrator, and gives what it printed and its exit code.
pub fn lockgate<A: AsRef<OsStr>>(arguments: &[A]) -> Output {
    lockgate_with(arguments, &[])
}

/// The same with environment.
pub fn lockgate_with<A: AsRef<OsStr>>(arguments: &[A], env: &[(&str, &str)]) -> Output {
    own_environment(Command::new(BINARY))
        .env("LOCKGATE_TOKEN_FILE", Role::Admin.token_file())
        .args(arguments)
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("lockgate starts")
}

/// Runs the command line beside the test, to be watched and signalled.
pub fn lockgate_beside<A: AsRef<OsStr>>(arguments: &[A]) -> Process {
    let mut command = own_environment(Command::new(BINARY));
    command
        .env("LOCKGATE_TOKEN_FILE", Role::Admin.token_file())
        .args(arguments);
    Process::start("lockgate", &command, &logs::log_file("lockgate"))
}

/// Sum of the samples of one metric in Prometheus' text form whose labels include all the given ones.
fn metric_in(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let samples = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (found, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once('}')?,
            None => ("", rest.strip_prefix(' ')?),
        };
        let all = labels
            .iter()
            .all(|(key, wanted)| format!(",{found},").contains(&format!(",{key}=\"{wanted}\",")));
        all.then(|| value.trim().parse::<f64>().ok())?
    });
    samples.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[test]
fn metrics_are_summed_over_the_labels_not_asked_for() {
    let text = "# HELP a_total x\na_total{route=\"m\",stream=\"1\"} 2\na_total{route=\"m\",stream=\"2\"} 3\n\
                a_total{route=\"n\",stream=\"1\"} 5\na_total_more 7\nplain 1.5\n";
    assert_eq!(metric_in(text, "a_total", &[("route", "m")]), Some(5.0));
    assert_eq!(metric_in(text, "a_total", &[]), Some(10.0));
    assert_eq!(metric_in(text, "a_total", &[("route", "o")]), None);
    assert_eq!(metric_in(text, "plain", &[]), Some(1.5));
}
