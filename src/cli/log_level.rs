//! `lockgate log-level`: says more, or less, from now on.

use super::Exit;
use super::api::ApiArgs;
use super::output::{Output, print, print_json};
use crate::http::LogLevelBody;

/// Change the log level of the running daemon, until it is restarted
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: lockgate log-level info,lockgate::mirror=debug")]
pub struct Args {
    /// error, warn, info, debug, trace, or a filter such as info,lockgate::mirror=debug
    #[arg(value_name = "FILTER")]
    filter: String,
    #[command(flatten)]
    api: ApiArgs,
    /// How to print what holds now
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let client = match args.api.client() {
        Ok(client) => client,
        Err(exit) => return Ok(exit),
    };
    let body = LogLevelBody {
        filter: args.filter.clone(),
    };
    let set: LogLevelBody = match client.put("/v1/log-level", &body) {
        Ok(set) => set,
        Err(error) => return Ok(error.exit()),
    };
    match args.output {
        Output::Text => print(&format!(
            "log level is {} until the next start\n",
            set.filter
        ))?,
        Output::Json => print_json(&set)?,
    }
    Ok(Exit::Done)
}
