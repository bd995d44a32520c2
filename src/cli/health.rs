//! `lockgate health`: is the daemon's loop turning? For a container's HEALTHCHECK, which has no curl.

use super::Exit;
use super::api::ApiArgs;
use super::output::{Output, print, print_json};

/// Ask the daemon whether it lives; exit code 0 or 3
///
/// It asks neither Redis nor Kafka: a store that is away is no reason to restart the daemon.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example, in a Dockerfile: HEALTHCHECK CMD [\"lockgate\", \"health\"]")]
pub struct Args {
    #[command(flatten)]
    api: ApiArgs,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let client = match args.api.client() {
        Ok(client) => client,
        Err(exit) => return Ok(exit),
    };
    if let Err(error) = client.text("/livez") {
        return Ok(error.exit());
    }
    match args.output {
        Output::Text => print("ok\n")?,
        Output::Json => print_json(&serde_json::json!({ "alive": true }))?,
    }
    Ok(Exit::Done)
}
