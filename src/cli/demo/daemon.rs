//! The daemon of the demo: this same binary as a child process, which can be killed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::time::sleep;

use super::child::Child;
use super::folder::Folder;
use super::servers::Servers;
use crate::cli::api::Client;
use crate::status::Status;

pub struct Daemon {
    child: Child,
    binary: PathBuf,
    config: PathBuf,
    log: PathBuf,
    url: String,
}

/// The configuration of the demo.
#[must_use]
pub fn config(servers: &Servers, port: u16) -> String {
    format!(
        r#"name = "demo"

[redis]
url = "redis://127.0.0.1:{redis}/1"

[kafka]
bootstrap_servers = ["127.0.0.1:{kafka}"]
# The demo's broker allows short sessions; common ones begin at 6 s.
session_timeout = "1s"

[http]
listen = "127.0.0.1:{port}"

[[routes]]
name = "messages"
streams = ["msg:stream:{{0..15}}"]
topic = "messages.v1"
partitions = 16
key = {{ field = "conversationId" }}
partition = {{ hash = "murmur3", fold = "abs" }}

[routes.headers]
correlation-id = {{ field = "correlationId" }}
idempotency-key = {{ field = "idempotencyKey" }}

[routes.value]
json = ["messageId", "conversationId", "senderId", "createdAt", {{ field = "payloadKey", as = "null-if-empty" }},
        "idempotencyKey", "correlationId", {{ field = "metadata", as = "json" }}]
"#,
        redis = servers.redis_port,
        kafka = servers.kafka_port,
    )
}

impl Daemon {
    pub fn start(folder: &Folder, port: u16) -> anyhow::Result<Self> {
        let binary = std::env::current_exe().context("this program's own file")?;
        let (config, log) = (folder.path().join("lockgate.toml"), folder.log("lockgate"));
        let child = launch(&binary, &config, &log)?;
        Ok(Self {
            child,
            binary,
            config,
            log,
            url: format!("http://127.0.0.1:{port}"),
        })
    }

    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.child = launch(&self.binary, &self.config, &self.log)?;
        Ok(())
    }

    /// Waits until it answers.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let begin = Instant::now();
        while self.status().await.is_none() {
            self.still_runs()?;
            if begin.elapsed() > Duration::from_secs(20) {
                bail!(
                    "the daemon does not answer; its log is {}",
                    self.log.display()
                );
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// What it says of itself; `None` while it does not.
    pub async fn status(&self) -> Option<Status> {
        let client = Client::new(self.url.clone());
        let asked = tokio::task::spawn_blocking(move || client.get("/v1/status").ok());
        asked.await.ok().flatten()
    }

    pub fn still_runs(&mut self) -> anyhow::Result<()> {
        self.child.still_runs()
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// SIGKILL; its process id.
    pub fn kill(&mut self) -> u32 {
        let id = self.child.id();
        self.child.kill();
        id
    }

    /// SIGTERM; whether everything was committed before it ended.
    pub async fn drain(&mut self) -> anyhow::Result<bool> {
        self.child.terminate();
        let ended = self.child.ended(Duration::from_secs(15)).await?;
        Ok(ended.is_some_and(|status| status.success()))
    }
}

fn launch(binary: &Path, config: &Path, log: &Path) -> anyhow::Result<Child> {
    let arguments = [
        "run".to_owned(),
        "--config".to_owned(),
        config.display().to_string(),
    ];
    Child::start("the daemon", binary, &arguments, log)
}
