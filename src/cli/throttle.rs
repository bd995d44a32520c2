//! `lockgate throttle`: how fast the mirror may go, while it runs.

use super::Exit;
use super::api::{ApiArgs, Client, Error};
use super::output::{Output, grouped, print, print_json};
use crate::config::Throttle;
use crate::status::Status;

/// Show or change how fast the running daemon mirrors, until it is restarted
///
/// Without arguments it shows what holds. A limit that is not named stays as it is.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockgate throttle\n  lockgate throttle --entries 20000\n  lockgate throttle --off"
)]
pub struct Args {
    /// At most so many entries a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    entries: Option<u32>,
    /// At most so many bytes of entries a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    bytes: Option<u32>,
    /// As fast as it can
    #[arg(long, conflicts_with_all = ["entries", "bytes"])]
    off: bool,
    #[command(flatten)]
    api: ApiArgs,
    /// How to print what holds
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let client = match args.api.client() {
        Ok(client) => client,
        Err(exit) => return Ok(exit),
    };
    match ask(args, &client) {
        Ok(throttle) => show(throttle, args.output),
        Err(error) => Ok(error.exit()),
    }
}

fn ask(args: &Args, client: &Client) -> Result<Throttle, Error> {
    if args.off {
        return client.put("/v1/throttle", &Throttle::default());
    }
    let status: Status = client.get("/v1/status")?;
    let now = Throttle {
        entries_per_second: status.throttle.entries_per_second,
        bytes_per_second: status.throttle.bytes_per_second,
    };
    if args.entries.is_none() && args.bytes.is_none() {
        return Ok(now);
    }
    let wanted = Throttle {
        entries_per_second: args.entries.or(now.entries_per_second),
        bytes_per_second: args.bytes.or(now.bytes_per_second),
    };
    client.put("/v1/throttle", &wanted)
}

fn show(throttle: Throttle, output: Output) -> anyhow::Result<Exit> {
    match output {
        Output::Json => print_json(&throttle)?,
        Output::Text => print(&format!("{}\n", sentence(throttle)))?,
    }
    Ok(Exit::Done)
}

fn sentence(throttle: Throttle) -> String {
    let entries = throttle
        .entries_per_second
        .map(|n| format!("{} entries/s", grouped(n.into())));
    let bytes = throttle
        .bytes_per_second
        .map(|n| format!("{} bytes/s", grouped(n.into())));
    match (entries, bytes) {
        (None, None) => "not throttled: as fast as it can".to_owned(),
        (entries, bytes) => {
            let limits: Vec<String> = entries.into_iter().chain(bytes).collect();
            format!("at most {}", limits.join(" and "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throttle_reads_as_a_sentence() {
        let of = |entries_per_second, bytes_per_second| {
            sentence(Throttle {
                entries_per_second,
                bytes_per_second,
            })
        };
        assert_eq!(of(None, None), "not throttled: as fast as it can");
        assert_eq!(of(Some(20_000), None), "at most 20,000 entries/s");
        assert_eq!(
            of(Some(1), Some(1_000_000)),
            "at most 1 entries/s and 1,000,000 bytes/s"
        );
    }
}
