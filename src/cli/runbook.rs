//! `lockgate runbook`: prints a runbook, or lists them.

use anyhow::bail;

use super::Exit;
use super::output::{Output, print, print_json};
use crate::runbooks;

/// What their commands need; the README's walk says it too.
const EXPECTED: &str = "\
Their commands read LOCKGATE_CONFIG (the daemon's file) and LOCKGATE_TOKEN_FILE (admin for `streams resume`, `parity repair` and
`complete`, else operator). $CONFIG is that file; $NAME, $BROKERS and $REDIS_URL are its name, kafka.bootstrap_servers and redis.url;
$DATABASE and $STREAM are as `lockgate status --streams` shows them; any other is what the page itself speaks of. A password of Redis
goes into REDISCLI_AUTH; where Kafka asks for TLS or SASL, its tools take `--command-config FILE`.";

/// Print a runbook, or list them
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lockgate runbook\n  lockgate runbook LockgateMirrorStalled")]
pub struct Args {
    /// As an alert, a status line or a log line names it; without: list all
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let Some(name) = &args.name else {
        list(args.output)?;
        return Ok(Exit::Done);
    };
    let Some((name, text)) = runbooks::find(name) else {
        let near = nearest(name)
            .map(|near| format!(", did you mean {near}?"))
            .unwrap_or_default();
        bail!("there is no runbook `{name}`{near}; `lockgate runbook` lists them");
    };
    match args.output {
        Output::Text => print(text)?,
        Output::Json => print_json(&serde_json::json!({ "name": name, "markdown": text }))?,
    }
    Ok(Exit::Done)
}

fn list(output: Output) -> anyhow::Result<()> {
    let books = runbooks::all();
    match output {
        Output::Json => {
            let names: Vec<&str> = books.iter().map(|(name, _)| *name).collect();
            print_json(&names)
        }
        Output::Text => {
            let widest = books.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
            let lines: Vec<String> = books
                .iter()
                .map(|(name, text)| format!("{name:widest$}  {}\n", caption(text)))
                .collect();
            print(&format!("{}\n{EXPECTED}\n", lines.concat()))
        }
    }
}

/// The first heading says what it is about.
fn caption(text: &str) -> &str {
    text.lines()
        .next()
        .unwrap_or_default()
        .trim_start_matches(['#', ' '])
}

fn nearest(wanted: &str) -> Option<&'static str> {
    let near = |name: &str| strsim::jaro_winkler(&name.to_lowercase(), &wanted.to_lowercase());
    let best = runbooks::all()
        .into_iter()
        .map(|(name, _)| (near(name), name))
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.8).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caption_is_the_first_heading() {
        assert_eq!(
            caption("# A stream stands still\n\ntext"),
            "A stream stands still"
        );
        assert_eq!(caption(""), "");
    }
}
