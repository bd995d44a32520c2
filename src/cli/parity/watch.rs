//! `lockgate parity watch`: what the running daemon says of parity, again and again.

use super::daemon::Told;
use super::text::Look;
use crate::cli::Exit;
use crate::cli::api::ApiArgs;
use crate::cli::output::Output;
use crate::cli::status::{follow, may_color};

/// Go on showing what the running daemon finds: redraws on a terminal, prints a line per change elsewhere
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockgate parity watch\n  lockgate parity watch --url http://10.0.0.7:8474 --output json\n\n\
    Until it is interrupted. A daemon that goes away is said and waited for."
)]
pub struct Args {
    #[command(flatten)]
    api: ApiArgs,
    /// No signs beyond ASCII
    #[arg(long)]
    ascii: bool,
    /// How to print it; json is the section `parity` of GET /v1/status
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
    };
    let page = |body: &str| Told::read(body).map_or_else(|why| why, |told| told.page(look));
    let line = |body: &str| Told::read(body).map_or_else(|why| why, |told| told.line(args.ascii));
    follow(&client, args.output, section, page, line)
}

/// The section as the daemon gave it.
fn section(body: &str) -> String {
    let status: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    status["parity"].to_string()
}
