//! `lockgate parity verify`: reads both stores, and says whether they are level. Needs no running daemon.

use std::path::PathBuf;

use super::against;
use super::json::OutcomeShown;
use super::select::Select;
use super::session::{Effort, Scope, Session, block_on};
use super::text::{self, Look};
use crate::cli::output::{Output, print, print_json};
use crate::cli::status::may_color;
use crate::cli::{ConfigArgs, Exit};
use crate::parity::Sample;

/// Read both stores again and compare them, entry for entry
///
/// Needs no running daemon and writes to neither store. What is not mirrored yet is counted as pending, what one side no
/// longer has, or what was mirrored before its route was changed, as unverifiable; neither is taken for level.
///
/// Level is said of what Redis holds: nothing differs, and at least half of it could be compared; the verdict's own line
/// says how much is pending or unverifiable beside it. What only Kafka still has, because Redis trims, does not stand in the
/// way. A stream that may not be read, or whose key holds something else, is named, and all but it is compared. With --from
/// or --to a record that is no entry's counts by the time it was written with.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockgate parity verify --config lockgate.toml\n  \
    lockgate parity verify --route chat --from 2h --state verify.state\n  \
    lockgate parity verify --sample 3000 --output json\n  \
    lockgate parity verify --against report.json\n\n\
    Exit codes: 0 level, 5 apart, 6 could not tell (less than half of what Redis holds, or of the entries of \
    the report, compared, a stream unread, a store out of reach, interrupted), 2 usage, 1 failed."
)]
pub struct Args {
    #[command(flatten)]
    select: Select,
    /// Compare only so many entries, or such a share of them (5%), chosen at random
    #[arg(long, value_name = "N|P%")]
    sample: Option<Sample>,
    /// Compare entry by entry from the beginning, where otherwise stretches of equal digest are not looked at again
    #[arg(long, conflicts_with = "sample")]
    full: bool,
    #[command(flatten)]
    effort: Effort,
    /// Compare both stores with a report made earlier: the same stretches, the same digests
    #[arg(
        long,
        value_name = "REPORT.json",
        conflicts_with_all = ["route", "stream", "database", "from", "to", "sample", "full"]
    )]
    against: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// No signs beyond ASCII
    #[arg(long)]
    ascii: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let session = match Session::load(&args.config)? {
        Ok(session) => session,
        Err(exit) => return Ok(exit),
    };
    let look = Look {
        ascii: args.ascii,
        color: may_color(),
    };
    match &args.against {
        Some(report) => block_on(against::verify(
            &session,
            report,
            &args.effort,
            look,
            args.output,
        )),
        None => block_on(verify(args, &session, look)),
    }
}

async fn verify(args: &Args, session: &Session, look: Look) -> anyhow::Result<Exit> {
    let scope = Scope {
        select: args.select.clone(),
        sample: args.sample,
        full: args.full,
        for_repair: 0,
    };
    let outcome = match session.verify(&scope, &args.effort).await? {
        Ok(verification) => verification.outcome(),
        Err(exit) => return Ok(exit),
    };
    let migration = &session.config.name;
    match args.output {
        Output::Text => {
            print(&(text::text(migration, &outcome, look) + &text::next(&outcome, look)))?
        }
        Output::Json => print_json(&OutcomeShown::new(migration, &outcome))?,
    }
    Ok(super::exit(outcome.verdict))
}
