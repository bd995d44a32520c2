//! What the demo shows: steps that stay, and under them a status that is drawn again on a terminal, or a line per change
//! elsewhere.

use std::io::IsTerminal as _;
use std::time::Instant;

use anyhow::Context as _;

use crate::cli::output::{Output, grouped, print};
use crate::cli::status::{Look, line, text};
use crate::status::Status;

pub struct Screen {
    /// Text goes to standard error where standard output is for the verdict as JSON.
    aside: bool,
    redraw: bool,
    color: bool,
    /// Lines of the status that stands at the bottom.
    drawn: usize,
    last: String,
    told_at: Option<Instant>,
}

impl Screen {
    pub fn new(output: Output) -> Self {
        let aside = output == Output::Json;
        let terminal = std::io::stdout().is_terminal() && !aside;
        let color = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            aside,
            redraw: terminal,
            color,
            drawn: 0,
            last: String::new(),
            told_at: None,
        }
    }

    /// A step: stays on the screen.
    pub fn step(&mut self, number: &str, what: &str) -> anyhow::Result<()> {
        self.say(&format!("{number:<10}{what}"))
    }

    /// A line that stays on the screen.
    pub fn say(&mut self, line: &str) -> anyhow::Result<()> {
        // What was drawn last stays above.
        self.drawn = 0;
        self.put(&format!("{line}\n"))
    }

    /// How far the load and the mirror are.
    pub fn status(&mut self, added: u64, status: Option<&Status>) -> anyhow::Result<()> {
        let load = format!("{} entries in Redis", grouped(added));
        if self.redraw {
            let look = Look {
                color: self.color,
                ..Look::default()
            };
            let body = status.map_or_else(
                || "the daemon does not answer\n".to_owned(),
                |status| text(status, look),
            );
            let shown = format!("LOAD      {load}\n{body}");
            let up = if self.drawn > 0 {
                format!("\x1b[{}A\x1b[J", self.drawn)
            } else {
                String::new()
            };
            self.drawn = shown.lines().count();
            return self.put(&format!("{up}{shown}"));
        }
        let body = status.map_or_else(
            || "the daemon does not answer".to_owned(),
            |status| line(status, false),
        );
        let shown = format!("          {load} · {body}");
        let soon = self
            .told_at
            .is_some_and(|at| at.elapsed().as_millis() < 1_000);
        if shown == self.last || soon {
            return Ok(());
        }
        self.told_at = Some(Instant::now());
        self.put(&format!("{shown}\n"))?;
        self.last = shown;
        Ok(())
    }

    fn put(&self, text: &str) -> anyhow::Result<()> {
        if self.aside {
            use std::io::Write as _;
            return std::io::stderr()
                .write_all(text.as_bytes())
                .context("standard error");
        }
        print(text)
    }
}
