//! `lockgate status`: what the daemon knows, on a screen, as JSON, or as an exit code.

mod advice;
mod gates;
mod next;
mod page;
mod parity;
mod steering;
mod traffic;
mod until;
mod view;
mod watch;
mod words;

use super::Exit;
use super::api::ApiArgs;
use super::output::{Output, print};
use crate::status::{ParityState, StateName, Status};
use until::Goal;

pub use page::{Page, Paint, ascii, cut};
pub use view::{Look, line, may_color, text};
pub use watch::follow;
pub use words::spoken;

/// Show what the running daemon does: lag, state, what stands still and what to do about it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockgate status\n  lockgate status --streams --watch\n  lockgate status --check || page-somebody\n  \
    lockgate status --until level --timeout 10m\n  lockgate status --until step=consumers:25 --timeout 1m\n\n\
    Exit codes: 0 shown, 3 daemon not reached; with --check also 5 something is apart, frozen, halted or waiting, 6 parity or \
    the lag is unknown; with --until also 7 it did not come about in time.\n\nAn instance speaks of its own shards: with several, \
    give the --url of each in turn. Whoever steers judges the gates by all of them."
)]
pub struct Args {
    /// Also each stream: state, checkpoint, lag, last error and what to do next
    #[arg(long)]
    streams: bool,
    /// Also each shard
    #[arg(long)]
    shards: bool,
    /// Go on showing: redraws on a terminal, prints a line per change elsewhere
    #[arg(long)]
    watch: bool,
    /// End with 5 when something of this instance is apart, frozen, halted or waiting, with 6 when parity or the lag is unknown
    #[arg(long, conflicts_with = "watch")]
    check: bool,
    /// Wait until this is so: level, steady, gates (those of the next step are open), or step=STEP
    #[arg(long, value_name = "level|steady|gates|step=STEP", conflicts_with_all = ["watch", "check"])]
    until: Option<Goal>,
    /// How long to wait with --until; then end with 7
    #[arg(long, value_name = "DURATION", default_value = "1m", requires = "until", value_parser = humantime::parse_duration)]
    timeout: std::time::Duration,
    /// No signs beyond ASCII
    #[arg(long)]
    ascii: bool,
    #[command(flatten)]
    api: ApiArgs,
    /// How to print it; json is the body of GET /v1/status
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let client = match args.api.client() {
        Ok(client) => client,
        Err(exit) => return Ok(exit),
    };
    let look = Look {
        ascii: args.ascii,
        color: may_color(),
        streams: args.streams,
        shards: args.shards,
    };
    if args.watch {
        return watch::watch(&client, look, args.output);
    }
    if let Some(goal) = args.until {
        return until::wait(&client, goal, args.timeout, look, args.output);
    }
    let body = match client.text("/v1/status") {
        Ok(body) => body,
        Err(error) => return Ok(error.exit()),
    };
    show(&body, look, args.output, args.check)
}

/// Prints a status as the API gave it.
pub fn show(body: &str, look: Look, output: Output, check: bool) -> anyhow::Result<Exit> {
    let status = serde_json::from_str::<Status>(body);
    match (output, &status) {
        (Output::Json, _) => print(&format!("{}\n", body.trim_end()))?,
        (Output::Text, Ok(status)) => print(&text(status, look))?,
        (Output::Text, Err(error)) => {
            anyhow::bail!(
                "the daemon's status cannot be read by this version ({error}); see it with --output json"
            )
        }
    }
    match status {
        Ok(status) if check => Ok(verdict(&status)),
        Err(_) if check => Ok(Exit::Unknown),
        Ok(_) | Err(_) => Ok(Exit::Done),
    }
}

/// What `--check` ends with: of this instance alone, whose status knows no other's. One that owns no shard has no evidence
/// to show.
fn verdict(status: &Status) -> Exit {
    let stands = |name: StateName| name != StateName::Running;
    let steering = status.driver.state.as_ref();
    let troubled = !status.ready
        || status.parity.state == ParityState::Apart
        || status.driver.trouble.is_some()
        || steering.is_some_and(|state| matches!(state.name.as_str(), "frozen" | "waiting"))
        || status.edges.values().any(|edge| edge.up == Some(false))
        || status.shards.iter().any(|shard| stands(shard.state.name))
        || status
            .streams
            .iter()
            .any(|stream| stands(stream.state.name));
    if troubled {
        Exit::Troubled
    } else if status.parity.state == ParityState::Unknown
        || status.shards.is_empty()
        || status.mirror.forward.lag_entries.is_none()
    {
        Exit::Unknown
    } else {
        Exit::Done
    }
}

#[cfg(test)]
mod situations;
#[cfg(test)]
mod tests;
