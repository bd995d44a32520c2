//! `lockgate check`: would it work? Configuration and routes; then, online, both stores, real entries of each stream and
//! the records that they would become. It only reads, but for one key of Lockgate's own on which the driver's rights are tried.

mod driver;
mod finding;
mod kafka;
mod placement;
mod redis;
mod report;
mod sample;

use super::output::{Output, block_on, print, print_json};
use super::{ConfigArgs, Exit};
use crate::config::Config;
use crate::routing::Routes;

use finding::{Findings, Level};
use report::Report;

/// Streams that are looked at, over all routes.
const MOST_STREAMS: usize = 256;

/// Check the configuration, both stores, and what real entries would become
///
/// It only reads, in both stores; only where `[migration]` is configured are the driver's rights tried, on the key
/// `lockgate:<name>:check` at Redis, which is gone again when it ends. It samples the newest entries of at most 256 streams, shows the record that each would
/// become, says which hash settings explain the placement it finds, and names what will go wrong later: streams that can
/// be evicted, backlogs older than the topic keeps, topics that are missing or differ, commands that the user may not use.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockgate check --config lockgate.toml --offline\n  lockgate check --config lockgate.toml --samples 200\n\n\
    Exit codes: 0 no errors (warnings are none), 1 errors, 2 the configuration has problems."
)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only the configuration and the routes: connect to nothing
    #[arg(long)]
    offline: bool,
    /// Newest entries sampled of each stream
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    samples: u16,
    /// Also show the records' values as text
    #[arg(long)]
    show_payload: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let (loaded, routes) = match args.config.load() {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    let mut report = Report::new(&loaded.config, &routes);
    let mut findings = Findings::default();
    on_paper(&loaded.config, &routes, &mut findings);
    if !args.offline {
        block_on(async {
            let asked = redis::Asked {
                samples: args.samples.into(),
                most_streams: MOST_STREAMS,
                show_payload: args.show_payload,
            };
            let streams =
                redis::check(&loaded.config, &routes, &asked, &mut report, &mut findings).await;
            kafka::check(
                &loaded.config,
                &routes,
                &streams,
                &mut report,
                &mut findings,
            )
            .await;
            Ok(())
        })?;
    }
    report.findings = findings.finish();
    match args.output {
        Output::Text => print(&report.text(args.offline))?,
        Output::Json => print_json(&report)?,
    }
    let failed = report
        .findings
        .iter()
        .any(|finding| finding.level == Level::Error);
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

/// What the configuration alone tells of the applications to come.
fn on_paper(config: &Config, routes: &Routes, findings: &mut Findings) {
    use crate::config::Hash;
    let named = |wanted: &dyn Fn(Hash) -> bool| -> Vec<&str> {
        routes
            .iter()
            .filter(|route| wanted(route.config().partition.hash))
            .map(|route| route.name())
            .collect()
    };
    let other = named(&|hash| matches!(hash, Hash::Murmur3 | Hash::Crc32 | Hash::Fnv1a));
    if !other.is_empty() {
        findings.add(
            Level::Note,
            format!("routes {}", other.join(", ")),
            "partitions are not by murmur2, which Java's clients and kafkajs use by default",
            "give producers that write these topics after the move a partitioner of their own with the same hash",
        );
    }
    findings.add(
        Level::Note,
        "topics made by Lockgate",
        "records are compressed with lz4, and kafkajs brings gzip alone",
        "register an lz4 codec (kafkajs-lz4) in every kafkajs consumer first; others have it",
    );
    findings.add(
        Level::Note,
        "consumers",
        "records are written in transactions: a consumer with isolation.level=read_uncommitted sees those of aborted attempts too",
        "set isolation.level=read_committed (librdkafka's and kafkajs's default, not Java's)",
    );
    if config.kafka.replication_factor == Some(1) {
        findings.add(
            Level::Note,
            "kafka.replication_factor",
            "topics get one replica: one lost disk loses them",
            "leave it out, or set 3, where there are brokers enough",
        );
    }
}
