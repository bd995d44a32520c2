//! A redis-server and a one-node Kafka, real and small.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::time::sleep;

use super::child::Child;
use super::folder::Folder;
use crate::config;
use crate::topics::{Admin, Kafka};

const START: Duration = Duration::from_secs(60);
const CLUSTER_ID: &str = "4L6g3nShT-eMCtK--X86sw";

pub struct Servers {
    kafka: Child,
    redis: Child,
    pub redis_port: u16,
    pub kafka_port: u16,
    next_port: AtomicU16,
}

/// What this machine lacks for the demo, one sentence each.
#[must_use]
pub fn missing(libs: &Path) -> Vec<String> {
    let programs = [
        (
            "redis-server",
            "install it (Debian: apt-get install redis-server)",
        ),
        (
            "java",
            "install Java 17 or later (Debian: apt-get install openjdk-17-jre-headless)",
        ),
        ("setpriv", "install util-linux"),
    ];
    let mut missing: Vec<String> = programs
        .into_iter()
        .filter(|(program, _)| !is_on_path(program))
        .map(|(program, what)| {
            format!("the demo needs {program}, which is not on the PATH: {what}")
        })
        .collect();
    if !has_broker(libs) {
        missing.push(format!(
            "the demo needs Kafka's jars, which are not in {}: run `make kafka`, or say where they are with --kafka-libs DIR",
            libs.display()
        ));
    }
    missing
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn has_broker(libs: &Path) -> bool {
    let Ok(files) = fs::read_dir(libs) else {
        return false;
    };
    files
        .flatten()
        .any(|file| file.file_name().to_string_lossy().starts_with("kafka_2."))
}

impl Servers {
    /// Starts both, and waits until both answer.
    pub async fn start(folder: &Folder, libs: &Path) -> anyhow::Result<Self> {
        let libs = libs
            .canonicalize()
            .with_context(|| format!("{}", libs.display()))?;
        let next_port = AtomicU16::new(0);
        let (redis_port, kafka_port, controller) = (
            free_port(&next_port)?,
            free_port(&next_port)?,
            free_port(&next_port)?,
        );
        let redis = start_redis(folder, redis_port)?;
        let kafka = start_kafka(folder, &libs, kafka_port, controller).await?;
        let mut servers = Self {
            kafka,
            redis,
            redis_port,
            kafka_port,
            next_port,
        };
        servers.answer().await?;
        Ok(servers)
    }

    /// Another port that nobody listens on.
    pub fn free_port(&self) -> anyhow::Result<u16> {
        free_port(&self.next_port)
    }

    async fn answer(&mut self) -> anyhow::Result<()> {
        let begin = Instant::now();
        while !pong(self.redis_port) {
            self.redis.still_runs()?;
            late(begin, "redis-server", self.redis.log())?;
            sleep(Duration::from_millis(50)).await;
        }
        let settings = config::Kafka {
            bootstrap_servers: vec![format!("127.0.0.1:{}", self.kafka_port)],
            ..config::Kafka::default()
        };
        loop {
            self.kafka.still_runs()?;
            // A client's first failure makes it wait before it tries again; the port tells sooner.
            if TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.kafka_port))).is_ok()
            {
                let kafka = Kafka::new(&settings)?;
                if Admin::new(&kafka)?
                    .brokers()
                    .await
                    .is_ok_and(|brokers| !brokers.is_empty())
                {
                    return Ok(());
                }
            }
            late(begin, "Kafka", self.kafka.log())?;
            sleep(Duration::from_millis(100)).await;
        }
    }
}

fn late(begin: Instant, what: &str, log: &Path) -> anyhow::Result<()> {
    if begin.elapsed() > START {
        bail!(
            "{what} does not answer within {START:?}; its log is {}",
            log.display()
        );
    }
    Ok(())
}

fn start_redis(folder: &Folder, port: u16) -> anyhow::Result<Child> {
    let file = folder.path().join("redis.conf");
    let text = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\nsave \"\"\nappendonly yes\nappendfsync everysec\n",
        folder.path().display()
    );
    fs::write(&file, text).context("redis.conf")?;
    Child::start(
        "redis-server",
        Path::new("redis-server"),
        &[file.display().to_string()],
        &folder.log("redis"),
    )
}

async fn start_kafka(
    folder: &Folder,
    libs: &Path,
    port: u16,
    controller: u16,
) -> anyhow::Result<Child> {
    let file = folder.path().join("server.properties");
    fs::write(&file, properties(folder.path(), port, controller)).context("server.properties")?;
    let java = PathBuf::from("java");
    let arguments = |heap: &str, rest: &[&str]| -> Vec<String> {
        let fixed = [
            format!("-Xmx{heap}"),
            "-XX:+UseSerialGC".to_owned(),
            "-cp".to_owned(),
            format!("{}/*", libs.display()),
        ];
        fixed
            .into_iter()
            .chain(rest.iter().map(|&word| word.to_owned()))
            .chain([file.display().to_string()])
            .collect()
    };
    let format = arguments(
        "256m",
        &[
            "kafka.tools.StorageTool",
            "format",
            "--standalone",
            "-t",
            CLUSTER_ID,
            "-c",
        ],
    );
    let mut formatting =
        Child::start("Kafka's storage tool", &java, &format, &folder.log("kafka"))?;
    match formatting.ended(START).await? {
        Some(status) if status.success() => {}
        Some(_) | None => bail!(
            "Kafka's storage could not be formatted; the log is {}",
            formatting.log().display()
        ),
    }
    Child::start(
        "Kafka",
        &java,
        &arguments("400m", &["kafka.Kafka"]),
        &folder.log("kafka"),
    )
}

/// One node, and sessions as short as the demo's daemon asks for: what a kill leaves behind is over in a second.
fn properties(folder: &Path, port: u16, controller: u16) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         listeners=CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=CLIENT://127.0.0.1:{port}\n\
         listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         inter.broker.listener.name=CLIENT\n\
         controller.listener.names=CONTROLLER\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
         log.dirs={}/kafka\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=4\n\
         group.initial.rebalance.delay.ms=0\n\
         group.min.session.timeout.ms=1000\n\
         auto.create.topics.enable=false\n\
         log.cleaner.dedupe.buffer.size=8388608\n\
         num.network.threads=2\n\
         num.io.threads=4\n",
        folder.display()
    )
}

fn pong(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut redis = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        redis.set_read_timeout(Some(Duration::from_secs(1)))?;
        redis.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        redis.read_exact(&mut answer)?;
        Ok(&answer == b"+PONG")
    };
    ask().unwrap_or(false)
}

/// Below the range from which the kernel takes ports for outgoing connections: no client can take it before its server.
fn free_port(next: &AtomicU16) -> anyhow::Result<u16> {
    const LOWEST: u16 = 20_000;
    const SPAN: u16 = 12_000;
    let begin = u16::try_from(u64::from(std::process::id()) * 613 % u64::from(SPAN)).unwrap_or(0);
    for _ in 0..SPAN {
        let port = LOWEST + (begin + next.fetch_add(1, Ordering::Relaxed) % SPAN) % SPAN;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {LOWEST} and {}", LOWEST + SPAN)
}
