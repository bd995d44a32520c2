//! `--watch`: a screen that is drawn again on a terminal, a line per change elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use super::view::{Look, line, text};
use crate::cli::Exit;
use crate::cli::api::Client;
use crate::cli::output::{Output, print};
use crate::logging::printable;
use crate::status::Status;

const EVERY: Duration = Duration::from_secs(1);

/// Shows the whole status until interrupted.
pub fn watch(client: &Client, look: Look, output: Output) -> anyhow::Result<Exit> {
    let read = |body: &str| serde_json::from_str::<Status>(body).map_err(|_| UNREADABLE.to_owned());
    let page = |body: &str| read(body).map_or_else(|why| why, |status| text(&status, look));
    let line = |body: &str| read(body).map_or_else(|why| why, |status| line(&status, look.ascii));
    follow(
        client,
        output,
        |body| body.trim_end().to_owned(),
        page,
        line,
    )
}

const UNREADABLE: &str =
    "the daemon's status cannot be read by this version; see it with --output json";

/// Asks for the status every second until interrupted, and shows what these make of it: `page` for a terminal, `line`
/// elsewhere, `json` for scripts. A daemon that goes away is said and waited for.
///
/// # Errors
/// Standard output cannot be written.
pub fn follow(
    client: &Client,
    output: Output,
    json: impl Fn(&str) -> String,
    page: impl Fn(&str) -> String,
    line: impl Fn(&str) -> String,
) -> anyhow::Result<Exit> {
    let redraw = output == Output::Text && std::io::stdout().is_terminal();
    let mut before = String::new();
    loop {
        let asked = client.text("/v1/status");
        let shown = match (&asked, output) {
            (Err(error), _) => printable(&error.to_string()),
            (Ok(body), Output::Json) => json(body),
            (Ok(body), Output::Text) if redraw => page(body),
            (Ok(body), Output::Text) => line(body),
        };
        if redraw {
            print(&format!("\x1b[H\x1b[J{}\n", shown.trim_end()))?;
        } else if shown != before {
            let time = humantime::format_rfc3339_seconds(std::time::SystemTime::now());
            match output {
                Output::Text => print(&format!("{time} {shown}\n"))?,
                Output::Json if asked.is_ok() => print(&format!("{shown}\n"))?,
                Output::Json => eprintln!("lockgate: {shown}"),
            }
            before = shown;
        }
        std::thread::sleep(EVERY);
    }
}
