//! What a verb prints: text for people or JSON for scripts, to standard output.

use std::io::{ErrorKind, Write as _};

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;

use crate::logging::printable;

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Text,
    /// For scripts
    Json,
}

/// Prints a text whole. A reader that has gone away (`| head`) has seen enough.
///
/// # Errors
/// Standard output cannot be written.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("standard output")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A text as one line: nothing in it begins another or speaks to the terminal, whoever wrote it.
#[must_use]
pub fn line(text: &str) -> String {
    let mut line = printable(text);
    line.push('\n');
    line
}

/// Prints data as indented JSON and a line end.
///
/// # Errors
/// Standard output cannot be written.
pub fn print_json(data: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(data).context("cannot write as JSON")?;
    print(&format!("{text}\n"))
}

/// Runs the one future that a verb waits for.
///
/// # Errors
/// The runtime cannot start, or the future's own.
pub fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let outcome = runtime.block_on(future);
    // Blocking calls into librdkafka that are still out must not hold the process.
    runtime.shutdown_background();
    outcome
}

/// A number with its thousands apart: `18,402,113`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 stream`, `16 streams`.
#[must_use]
pub fn counted(number: u64, one: &str) -> String {
    format!(
        "{} {one}{}",
        grouped(number),
        if number == 1 { "" } else { "s" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (18_402_113, "18,402,113"),
        ] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(counted(1, "stream"), "1 stream");
        assert_eq!(counted(1_200, "stream"), "1,200 streams");
    }
}
