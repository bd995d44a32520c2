//! `lockgate evidence`: tells a running daemon what only applications and operators know.

use std::collections::BTreeMap;

use serde_json::json;

use super::Exit;
use super::api::ApiArgs;
use super::output::{Output, print, print_json};

/// Say what was measured outside of Lockgate: duplicates, throughput, the archive, and others
///
/// It counts until it is older than migration.evidence_freshness: at gates and tripwires, for `baseline record`, and, of disk,
/// replication-lag and throughput, in metrics and alerts. What is said of the archive is journaled and counts longer
/// (migration.gates.archive_age).
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockgate evidence duplicates --value 0\n  lockgate evidence produce-errors --faults 0 --total 200000 --seconds 60\n  lockgate evidence added-latency --bucket 0.005=1990 --bucket +Inf=2000 --seconds 60\n  lockgate evidence archive --faults 0 --total 61220408 --seconds 7200"
)]
pub struct Args {
    /// What was measured
    #[arg(value_name = "MEASURE")]
    measure: String,
    /// The number that it is now
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, required_unless_present_any = ["total", "buckets"], conflicts_with_all = ["faults", "total", "buckets", "seconds"])]
    value: Option<f64>,
    /// How many of the total are at fault
    #[arg(long, value_name = "N", requires = "total")]
    faults: Option<u64>,
    /// How many were counted
    #[arg(long, value_name = "N", requires_all = ["faults", "seconds"])]
    total: Option<u64>,
    /// Of a latency, once for each bucket: the bound in seconds, and how many took at most so long. One bound is the threshold, `+Inf` counts all
    #[arg(long = "bucket", value_name = "SECONDS=N", conflicts_with_all = ["faults", "total"], requires = "seconds", value_parser = bucket)]
    buckets: Vec<(String, u64)>,
    /// Over how many seconds up to now; of an archive: how long ago reading it again began
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    seconds: Option<u32>,
    #[command(flatten)]
    api: ApiArgs,
    /// How to print what came of it
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

fn bucket(text: &str) -> Result<(String, u64), String> {
    let parts = text.split_once('=');
    let (bound, count) = parts.ok_or("write SECONDS=N, such as 0.005=1990 or +Inf=2000")?;
    let count = count
        .parse()
        .map_err(|_| format!("`{count}` is no count"))?;
    Ok((bound.to_owned(), count))
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let client = match args.api.client() {
        Ok(client) => client,
        Err(exit) => return Ok(exit),
    };
    let buckets: BTreeMap<_, _> = args.buckets.iter().cloned().collect();
    let buckets = (!buckets.is_empty()).then_some(buckets);
    let evidence = json!({
        "measure": args.measure,
        "value": args.value,
        "faults": args.faults,
        "total": args.total,
        "buckets": buckets,
        "seconds": args.seconds,
    });
    Ok(match client.tell("/v1/evidence", &evidence) {
        Ok(()) => {
            match args.output {
                Output::Text => print("stored; lockgate gates shows what it leads to\n")?,
                Output::Json => print_json(&json!({ "stored": args.measure }))?,
            }
            Exit::Done
        }
        Err(error) => error.exit(),
    })
}
