//! `lockgate parity repair`: a plan of what would be produced again and of what cannot be undone; with `--apply` the
//! daemon that owns the streams produces it.
//!
//! Nothing is written from here: the entries are named to the daemon, whose own fenced transaction is the one place that
//! may write records of a stream. It looks again before it writes, so that a plan that is applied twice does nothing twice.

mod view;

use std::time::Duration;

use serde::Serialize;

use super::select::Select;
use super::session::{Effort, Scope, Session, block_on};
use super::text::Look;
use crate::cli::Exit;
use crate::cli::api::{ApiArgs, Client};
use crate::cli::output::{Output, grouped, print, print_json};
use crate::cli::status::may_color;
use crate::parity::{Outcome, RepairPlan, Report, Target};
use crate::status::ParityState;

const SCHEMA: &str = "lockgate.parity-repair/v1";
/// Entries in one request, as many as the daemon takes: for each request it reads the logs once.
const PAGE_ENTRIES: usize = 10_000;
/// Their text in bytes, with room for the rest of the request below what the daemon takes.
const PAGE_BYTES: usize = 3 << 20;
/// The daemon looks before it writes, and that takes as long as reading the logs does.
const LONGEST: Duration = Duration::from_secs(600);

/// Plan what can be repaired, or let the daemon produce missing entries again
///
/// Without --apply nothing is changed: both stores are compared, the missing entries that would be produced again are
/// listed, and what Kafka cannot undo, with the offsets that a consumer has to skip.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockgate parity repair --config lockgate.toml\n  \
    lockgate parity repair --config lockgate.toml --stream msg:stream:7 --apply --reason 'lost in INC-41'\n\n\
    Exit codes: 0 level or made level, 5 apart (what the plan lists), 6 could not tell, 3 daemon not reached, 2 usage, \
    1 failed, or more missing than --limit."
)]
pub struct Args {
    #[command(flatten)]
    select: Select,
    /// Most entries that are produced again; with more missing, nothing is
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    limit: u64,
    /// Only show what would be done; so it is without --apply too
    #[arg(long = "plan", conflicts_with = "apply")]
    _plan: bool,
    /// Have the missing entries produced again, behind what is there
    #[arg(long, requires = "reason")]
    apply: bool,
    /// Why; it goes into the journal and the log
    #[arg(long, value_name = "TEXT", requires = "apply", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: Option<String>,
    /// Read at most so many entries a second, of both stores together
    #[arg(long, value_name = "ENTRIES/S")]
    rate: Option<std::num::NonZeroU32>,
    #[command(flatten)]
    api: ApiArgs,
    /// No signs beyond ASCII
    #[arg(long)]
    ascii: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// What the daemon is asked.
#[derive(Debug, Serialize)]
struct Order<'a> {
    entries: &'a [Target],
    reason: &'a str,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    schema: &'static str,
    migration: &'a str,
    verdict: ParityState,
    unknown_because: &'a Option<String>,
    #[serde(flatten)]
    plan: &'a RepairPlan,
    left_out: u64,
    /// Absent for a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    applied: Option<&'a Report>,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let session = match Session::load(args.api.config())? {
        Ok(session) => session,
        Err(exit) => return Ok(exit),
    };
    let scope = Scope {
        select: args.select.clone(),
        for_repair: args.limit,
        ..Scope::default()
    };
    let effort = Effort {
        rate: args.rate,
        state: None,
    };
    let outcome = match block_on(session.verify(&scope, &effort))? {
        Ok(verification) => verification.outcome(),
        Err(exit) => return Ok(exit),
    };
    let plan = RepairPlan::of(&outcome, args.limit);
    match &args.reason {
        Some(reason) if plan.missing > 0 => apply(args, &session, &outcome, &plan, reason),
        Some(_) | None => {
            show(args, &session, &outcome, &plan, None)?;
            Ok(super::exit(outcome.verdict))
        }
    }
}

fn apply(
    args: &Args,
    session: &Session,
    outcome: &Outcome,
    plan: &RepairPlan,
    reason: &str,
) -> anyhow::Result<Exit> {
    if plan.missing > args.limit {
        eprintln!(
            "lockgate: {} entries are missing, more than --limit {}; nothing was produced. Find out why it is so many, \
             then give a --limit that they fit in, or a part of them: --stream, --from, --to",
            grouped(plan.missing),
            grouped(args.limit)
        );
        return Ok(Exit::Failed);
    }
    let client = match args.api.client() {
        Ok(client) => client.waiting(LONGEST),
        Err(exit) => return Ok(exit),
    };
    let mut done = Report::default();
    let failed = order(&client, &plan.produce, reason, &mut done);
    show(args, session, outcome, plan, Some(&done))?;
    Ok(match failed {
        Some(exit) => exit,
        None if !done.refused.is_empty() => Exit::Failed,
        None if plan.staying > 0 || plan.left_out() > 0 => Exit::Troubled,
        None => Exit::Done,
    })
}

/// Names the entries to the daemon; `Some`: it broke off, which is said, and `done` is what was done before.
fn order(client: &Client, targets: &[Target], reason: &str, done: &mut Report) -> Option<Exit> {
    for entries in pages(targets) {
        let answer = client.post("/v1/parity/repair", &Order { entries, reason });
        match answer {
            Ok(answer) => add(done, answer),
            Err(error) => return Some(error.exit()),
        }
    }
    None
}

/// As few parts as the daemon takes at once.
fn pages(targets: &[Target]) -> Vec<&[Target]> {
    let mut pages = Vec::new();
    let (mut begin, mut bytes) = (0, 0);
    for (at, target) in targets.iter().enumerate() {
        let size = serde_json::to_vec(target).map_or(0, |text| text.len() + 1);
        if at > begin && (at - begin == PAGE_ENTRIES || bytes + size > PAGE_BYTES) {
            pages.push(&targets[begin..at]);
            (begin, bytes) = (at, 0);
        }
        bytes += size;
    }
    if begin < targets.len() {
        pages.push(&targets[begin..]);
    }
    pages
}

fn add(done: &mut Report, more: Report) {
    done.repaired += more.repaired;
    done.already_there += more.already_there;
    done.refused.extend(more.refused);
}

fn show(
    args: &Args,
    session: &Session,
    outcome: &Outcome,
    plan: &RepairPlan,
    applied: Option<&Report>,
) -> anyhow::Result<()> {
    let migration = &session.config.name;
    match args.output {
        Output::Text => {
            let look = Look {
                ascii: args.ascii,
                color: may_color(),
            };
            print(&view::text(migration, outcome, plan, applied, look))
        }
        Output::Json => print_json(&Shown {
            schema: SCHEMA,
            migration,
            verdict: outcome.verdict,
            unknown_because: &outcome.unknown_because,
            plan,
            left_out: plan.left_out(),
            applied,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::EntryId;

    fn targets(count: u64, name: usize) -> Vec<Target> {
        let target = |n| Target {
            database: 0,
            stream: "s".repeat(name),
            id: EntryId::new(n, 0),
        };
        (0..count).map(target).collect()
    }

    #[test]
    fn a_plan_goes_to_the_daemon_in_as_few_requests_as_it_takes() {
        let sizes = |targets: &[Target]| -> Vec<usize> {
            pages(targets).into_iter().map(<[Target]>::len).collect()
        };
        assert_eq!(sizes(&targets(0, 1)), [0_usize; 0]);
        assert_eq!(sizes(&targets(10_000, 20)), [10_000]);
        assert_eq!(sizes(&targets(25_001, 20)), [10_000, 10_000, 5_001]);
        let long = targets(9_000, 1_000);
        let pages = pages(&long);
        assert!(pages.len() > 2, "names are long");
        assert_eq!(pages.concat(), long, "all of them, in order");
        for page in pages {
            let order = Order {
                entries: page,
                reason: "why",
            };
            let body = serde_json::to_vec(&order).unwrap();
            assert!(body.len() < 4 << 20);
        }
    }
}
