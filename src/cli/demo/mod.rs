//! `lockgate demo`: the whole promise in a minute, on real stores of its own.
//!
//! ```text
//!   redis-server, Kafka ──▶ topics ──▶ daemon ◀── kill -9, start again
//!        ▲                               │
//!        └── producer, 16 streams        └──▶ both stores read and compared ──▶ verdict
//! ```
//!
//! Everything runs as child processes in one temporary folder, on free loopback ports. A child dies with this process,
//! whatever ends it; the folder is removed unless it was asked to be kept, or something failed.

mod child;
mod compare;
mod daemon;
mod folder;
mod judge;
mod producer;
mod screen;
mod servers;
mod workload;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use super::output::{Output, block_on, grouped, print_json};
use super::{Exit, topics};
use crate::routing::Routes;
use crate::status::{StateName, Status};
use crate::topics::{Admin, Kafka, TopicSpec};
use crate::{config, streams};

use daemon::Daemon;
use folder::Folder;
use producer::Producer;
use screen::Screen;
use servers::Servers;

/// How long everything may take to be mirrored after the last entry was added.
const PATIENCE: Duration = Duration::from_secs(60);

/// Show the whole thing on a Redis and a Kafka of its own: mirror, kill -9, start again, compare both stores
///
/// Starts an ephemeral redis-server and a one-node Kafka as child processes, a daemon, and a load of 16 streams in the form
/// of a messaging platform. Kills the daemon with SIGKILL in the middle and starts it again. In the end it reads both stores
/// and compares them entry by entry. Takes about a minute, touches nothing of yours, and cleans up after itself.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: lockgate demo --entries 100000\n\nNeeds redis-server, java (17 or later), setpriv, and Kafka's jars: `make kafka` \
    brings them to target/kafka/libs. `make demo` does all of it.\n\nExit codes: 0 both stores are level, 1 they are not, or something is missing."
)]
pub struct Args {
    /// Folder with Kafka's jars
    #[arg(long, value_name = "DIR", default_value = "target/kafka/libs")]
    kafka_libs: PathBuf,
    /// Entries to add
    #[arg(long, value_name = "N", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(2_000..=5_000_000))]
    entries: u64,
    /// Leave the folder with configuration, data and logs
    #[arg(long)]
    keep: bool,
    /// How to print the verdict; the way there is told as text, with json on standard error
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let missing = servers::missing(&args.kafka_libs);
    if !missing.is_empty() {
        for line in missing {
            eprintln!("lockgate: {line}");
        }
        return Ok(Exit::Failed);
    }
    block_on(until_signal(args))
}

/// The demo, or its end by a signal: dropping it ends every child and removes the folder.
async fn until_signal(args: &Args) -> anyhow::Result<Exit> {
    let mut interrupt = signal(SignalKind::interrupt()).context("signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("signals")?;
    let mut hangup = signal(SignalKind::hangup()).context("signals")?;
    let mut folder = Folder::make(args.keep)?;
    let ended = tokio::select! {
        ended = demo(args, &folder) => ended,
        _ = interrupt.recv() => bail!("interrupted; everything that was started is stopped"),
        _ = hangup.recv() => bail!("the terminal is gone; everything that was started is stopped"),
        _ = terminate.recv() => bail!("terminated; everything that was started is stopped"),
    };
    if !matches!(ended, Ok(Exit::Done)) {
        folder.keep();
    }
    if let Some(kept) = folder.kept() {
        eprintln!(
            "lockgate: configuration, data and logs are in {}",
            kept.display()
        );
    }
    ended
}

async fn demo(args: &Args, folder: &Folder) -> anyhow::Result<Exit> {
    let begin = Instant::now();
    let mut screen = Screen::new(args.output);
    screen.step(
        "1/6",
        "starting an ephemeral redis-server and a one-node Kafka",
    )?;
    let servers = Servers::start(folder, &args.kafka_libs).await?;
    screen.step(
        "2/6",
        &format!(
            "redis on 127.0.0.1:{}, Kafka on 127.0.0.1:{}; making the topics",
            servers.redis_port, servers.kafka_port
        ),
    )?;
    let daemon_port = servers.free_port()?;
    let (config, routes) = configure(folder, &servers, daemon_port)?;
    make_topics(&config, &routes).await?;

    let mut daemon = Daemon::start(folder, daemon_port)?;
    daemon.ready().await?;
    show_while_waiting(&mut screen, &mut daemon, 0, runs).await?;
    screen.step(
        "3/6",
        &format!(
            "the daemon runs; {} entries are added to 16 streams of database 1",
            grouped(args.entries)
        ),
    )?;
    let producer = Producer::start(servers.redis_port, args.entries);
    show_until(&mut screen, &mut daemon, &producer, |added| {
        added >= args.entries / 2
    })
    .await?;

    let pid = daemon.kill();
    screen.step(
        "4/6",
        &format!(
            "kill -9 of the daemon (process {pid}) in the middle of its work; the load goes on"
        ),
    )?;
    sleep(Duration::from_secs(1)).await;
    daemon.start_again()?;
    screen.step(
        "5/6",
        "started again: it fences what its predecessor left open, and goes on after the checkpoint",
    )?;
    show_until(&mut screen, &mut daemon, &producer, |added| {
        added >= args.entries
    })
    .await?;
    let added = producer.finish().await?;
    show_while_waiting(&mut screen, &mut daemon, added, is_level).await?;
    drained(&mut screen, &mut daemon).await?;

    screen.step(
        "6/6",
        "reading both stores and comparing them, entry by entry",
    )?;
    let redis = streams::Redis::new(&config.redis)?;
    let verdict = compare::compare(&redis, Kafka::new(&config.kafka)?, added).await?;
    for line in verdict.lines() {
        screen.say(&line)?;
    }
    screen.say(&format!(
        "          {:.0} s in all",
        begin.elapsed().as_secs_f64()
    ))?;
    if args.output == Output::Json {
        print_json(&verdict)?;
    }
    drop(servers);
    Ok(if verdict.is_level() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn configure(
    folder: &Folder,
    servers: &Servers,
    daemon_port: u16,
) -> anyhow::Result<(config::Config, Routes)> {
    let file = folder.path().join("lockgate.toml");
    std::fs::write(&file, daemon::config(servers, daemon_port))
        .context("the demo's configuration")?;
    let all = |problems: Vec<config::Problem>| {
        anyhow::anyhow!(
            problems
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ")
        )
    };
    let sources = config::Sources {
        files: vec![file],
        ..config::Sources::default()
    };
    let config = config::load(&sources).map_err(all)?.config;
    let routes = Routes::compile(
        &config.name,
        &config.routes,
        config.redis.default_database(),
    )
    .map_err(all)?;
    Ok((config, routes))
}

async fn make_topics(config: &config::Config, routes: &Routes) -> anyhow::Result<()> {
    let kafka = Kafka::new(&config.kafka)?;
    let admin = Admin::new(&kafka)?;
    let seen = topics::look(config, routes, &super::discover::named(routes), &admin).await?;
    let specs: Vec<TopicSpec> = seen
        .missing()
        .into_iter()
        .map(|wanted| wanted.spec.clone())
        .collect();
    admin.create(&specs).await.context("the demo's topics")
}

/// Shows the daemon's status while the load comes so far.
async fn show_until(
    screen: &mut Screen,
    daemon: &mut Daemon,
    producer: &Producer,
    far: impl Fn(u64) -> bool,
) -> anyhow::Result<()> {
    loop {
        producer.still_well()?;
        daemon.still_runs()?;
        let added = producer.added();
        screen.status(added, daemon.status().await.as_ref())?;
        if far(added) {
            return Ok(());
        }
        sleep(Duration::from_millis(250)).await;
    }
}

/// Shows the daemon's status until it is as wanted.
async fn show_while_waiting(
    screen: &mut Screen,
    daemon: &mut Daemon,
    added: u64,
    wanted: fn(&Status) -> bool,
) -> anyhow::Result<()> {
    let begin = Instant::now();
    loop {
        daemon.still_runs()?;
        let status = daemon.status().await;
        screen.status(added, status.as_ref())?;
        if status.as_ref().is_some_and(wanted) {
            return Ok(());
        }
        if begin.elapsed() > PATIENCE {
            bail!(
                "the mirror did not get there within {PATIENCE:?}; the daemon's log is {}",
                daemon.log().display()
            );
        }
        sleep(Duration::from_millis(250)).await;
    }
}

/// Every stream has been taken up.
fn runs(status: &Status) -> bool {
    let running = |state: &crate::status::State| state.name == StateName::Running;
    status.streams.len() == usize::from(workload::STREAMS)
        && status.streams.iter().all(|stream| running(&stream.state))
}

/// Nothing is left to mirror.
fn is_level(status: &Status) -> bool {
    runs(status)
        && status
            .streams
            .iter()
            .all(|stream| stream.lag_entries == Some(0))
}

/// SIGTERM: what is taken is committed before the process ends.
async fn drained(screen: &mut Screen, daemon: &mut Daemon) -> anyhow::Result<()> {
    if !daemon.drain().await? {
        screen.say(
            "          the daemon did not drain in time; what it left is for its next start",
        )?;
    }
    Ok(())
}
