//! `lockgate parity`: whether both stores hold the same, asked of the stores themselves or of the running daemon, and
//! what can be done where they do not.

mod against;
mod daemon;
mod explain;
mod interrupt;
mod json;
mod progress;
mod repair;
mod report;
#[cfg(test)]
mod samples;
mod select;
mod session;
mod state_file;
mod text;
mod verify;
mod watch;
mod when;
mod words;

use super::Exit;
use crate::status::ParityState;

/// Prove that both stores are level, or find where they are not
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Verify(verify::Args),
    Report(report::Args),
    Explain(explain::Args),
    Repair(repair::Args),
    Watch(watch::Args),
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    match &args.verb {
        Verb::Verify(args) => verify::run(args),
        Verb::Report(args) => report::run(args),
        Verb::Explain(args) => explain::run(args),
        Verb::Repair(args) => repair::run(args),
        Verb::Watch(args) => watch::run(args),
    }
}

/// What a verdict ends with.
const fn exit(verdict: ParityState) -> Exit {
    match verdict {
        ParityState::Level => Exit::Done,
        ParityState::Apart => Exit::Troubled,
        ParityState::Unknown => Exit::Unknown,
    }
}
