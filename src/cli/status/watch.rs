//! `--watch`: a screen that is drawn again on a terminal, a line per change elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use super::view::{Look, line, text};
use crate::cli::Exit;
use crate::cli::api::Client;
use crate::cli::output::{Output, print};
use crate::status::Status;

const EVERY: Duration = Duration::from_secs(1);

/// Shows until interrupted. A daemon that goes away is said and waited for.
pub fn watch(client: &Client, look: Look, output: Output) -> anyhow::Result<Exit> {
    let redraw = output == Output::Text && std::io::stdout().is_terminal();
    let mut before = String::new();
    loop {
        let asked = client.text("/v1/status");
        let status = asked
            .as_ref()
            .ok()
            .and_then(|body| serde_json::from_str::<Status>(body).ok());
        let shown = match (&asked, &status, output) {
            (Err(error), _, _) => format!("{error}"),
            (Ok(body), _, Output::Json) => body.trim_end().to_owned(),
            (Ok(_), None, Output::Text) => {
                "the daemon's status cannot be read by this version; see it with --output json"
                    .to_owned()
            }
            (Ok(_), Some(status), Output::Text) if redraw => text(status, look),
            (Ok(_), Some(status), Output::Text) => line(status, look.ascii),
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
