//! `lockgate parity report`: a verification as a document, in JSON and in Markdown, that can be checked later.
//!
//! Its windows hold the digests of both sides, and each window's link of the chain covers all before it, the report's own
//! last link everything that the report says; so `lockgate parity verify --against` finds a window that was altered, left
//! out or put in, and a verdict or a count that was, and says of each window whether the stores still hold what they held.
//! Whoever notes the last link elsewhere (a ticket, a mail) has the whole report noted.

pub mod chain;
mod markdown;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::json::OutcomeShown;
use super::select::{Asked, Select};
use super::session::{Effort, Scope, Session, block_on};
use super::state_file::replace;
use super::text::{self, Look};
use crate::cli::output::{Output, counted, print, print_json};
use crate::cli::status::may_color;
use crate::cli::{ConfigArgs, Exit};
use crate::entry::EntryId;
use crate::parity::{Bound, Outcome, Sample, Verification, WindowDigest};

pub const SCHEMA: &str = "lockgate.parity-report/v2";
/// The same, but that a sample was drawn by the ids alone.
pub const BEFORE: &str = "lockgate.parity-report/v1";
/// A number that was read once comes back the same; a few more readings cost nothing.
const READINGS: usize = 8;

/// Verify, and write down what was found so that it can be checked later
///
/// The report names every class with its count, the first differences, what a sample proves, and for each stretch of each
/// stream the digests of both sides, chained. Without --out the JSON goes to standard output.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockgate parity report --config lockgate.toml --from 2026-03-01T00:00:00Z --to 2026-03-12T00:00:00Z \
    --out report.json --markdown report.md\n  lockgate parity verify --config lockgate.toml --against report.json\n\n\
    Exit codes: those of parity verify: 0 level, 5 apart, 6 could not tell, 2 usage, 1 failed. The report is written in all of \
    the first three."
)]
pub struct Args {
    #[command(flatten)]
    select: Select,
    /// Compare only so many entries, or such a share of them (5%), chosen at random
    #[arg(long, value_name = "N|P%")]
    sample: Option<Sample>,
    #[command(flatten)]
    effort: Effort,
    /// Write the JSON to FILE
    #[arg(long, value_name = "FILE.json")]
    out: Option<PathBuf>,
    /// Also write it for people, in Markdown, to FILE
    #[arg(long, value_name = "FILE.md")]
    markdown: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// No signs beyond ASCII
    #[arg(long)]
    ascii: bool,
    /// What to print besides the files; json is the report
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// `lockgate.parity-report/v2`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub schema: String,
    /// The version of Lockgate that wrote it.
    pub version: String,
    pub migration: String,
    /// The configuration's fingerprint: under other routes other records are right.
    pub configuration: String,
    /// The digests' seed, in hexadecimal.
    pub seed: String,
    pub asked: Asked,
    /// The first entry that was asked for, with times resolved.
    pub from: Option<EntryId>,
    /// The last one.
    pub to: Option<EntryId>,
    pub outcome: OutcomeShown,
    pub windows: Vec<Link>,
    /// The last link: over the last window's and everything else that is said here.
    pub chain: String,
}

/// A window, and its link of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    #[serde(flatten)]
    pub window: WindowDigest,
    pub chain: String,
}

impl Report {
    #[must_use]
    pub fn new(
        migration: &str,
        asked: Asked,
        verification: &Verification,
        outcome: &Outcome,
    ) -> Self {
        let request = verification.request();
        let mut report = Self {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            migration: migration.to_owned(),
            configuration: verification.fingerprint().to_owned(),
            seed: format!("{:016x}", verification.seed()),
            asked,
            from: request.from.map(Bound::lowest),
            to: request.to.map(Bound::highest),
            outcome: OutcomeShown::new(migration, outcome),
            windows: Vec::new(),
            chain: String::new(),
        }
        .read_back();
        let windows = outcome.windows.iter().map(|window| Link {
            window: window.clone(),
            chain: String::new(),
        });
        report.windows = windows.collect();
        let links = chain::links(&report);
        report.chain = chain::last(&report, &links);
        for (link, chain) in report.windows.iter_mut().zip(links) {
            link.chain = chain;
        }
        report
    }

    /// All that it says beside its windows, in one way to write it.
    fn beside_windows(&self) -> String {
        let bare = Self {
            windows: Vec::new(),
            chain: String::new(),
            ..self.clone()
        };
        serde_json::to_string(&bare).expect("a report is plain JSON")
    }

    /// A number may come back from JSON as its neighbour; the chain is over what whoever checks it reads.
    fn read_back(self) -> Self {
        let mut report = self;
        for _ in 0..READINGS {
            let text = report.beside_windows();
            let Ok(read) = serde_json::from_str::<Self>(&text) else {
                return report;
            };
            report = read;
            if report.beside_windows() == text {
                break;
            }
        }
        report
    }
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let session = match Session::load(&args.config)? {
        Ok(session) => session,
        Err(exit) => return Ok(exit),
    };
    let scope = Scope {
        select: args.select.clone(),
        sample: args.sample,
        full: false,
        for_repair: 0,
    };
    for path in args.out.iter().chain(&args.markdown) {
        if let Err(exit) = writable(path) {
            return Ok(exit);
        }
    }
    let verification = match block_on(session.verify(&scope, &args.effort))? {
        Ok(verification) => verification,
        Err(exit) => return Ok(exit),
    };
    let outcome = verification.outcome();
    let asked = scope.select.asked(scope.sample, scope.full);
    let report = Report::new(&session.config.name, asked, &verification, &outcome);
    if let Some(path) = &args.out {
        let mut json = serde_json::to_vec_pretty(&report).context("cannot write as JSON")?;
        json.push(b'\n');
        write(path, &json)?;
    }
    if let Some(path) = &args.markdown {
        write(path, markdown::text(&report).as_bytes())?;
    }
    match args.output {
        Output::Json => print_json(&report)?,
        Output::Text if args.out.is_none() && args.markdown.is_none() => print_json(&report)?,
        Output::Text => print(&said(args, &report, &outcome))?,
    }
    Ok(super::exit(outcome.verdict))
}

/// Hours of reading must not end in a folder that does not exist.
fn writable(path: &Path) -> Result<(), Exit> {
    match path.parent() {
        Some(folder) if folder != Path::new("") && !folder.is_dir() => {
            let why = format!(
                "{}: there is no folder {}",
                path.display(),
                folder.display()
            );
            Err(super::session::usage(&why))
        }
        _ => Ok(()),
    }
}

fn write(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    replace(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn said(args: &Args, report: &Report, outcome: &Outcome) -> String {
    let look = Look {
        ascii: args.ascii,
        color: may_color(),
    };
    let mut text = text::text(&report.migration, outcome, look);
    for path in args.out.iter().chain(&args.markdown) {
        text.push_str(&format!("written   {}\n", path.display()));
    }
    text.push_str(&format!(
        "chain     {} over {}\n",
        report.chain,
        counted(report.windows.len() as u64, "window")
    ));
    text + &text::next(outcome, look)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::cli::parity::samples;

    pub fn report() -> Report {
        let mut outcome = samples::apart();
        outcome.windows = vec![
            samples::window("msg:stream:7", 0, 100, true),
            samples::window("msg:stream:7", 100, 150, false),
            samples::window("msg:stream:8", 0, 20, true),
        ];
        Report::new(
            "messages",
            Asked::default(),
            &Verification::default(),
            &outcome,
        )
    }

    #[test]
    fn a_report_reads_back_as_it_was_written_with_its_chain() {
        let report = report();
        let text = serde_json::to_string_pretty(&report).unwrap();
        let back: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(back.windows, report.windows);
        assert_ne!(back.windows[2].chain, back.chain, "it covers more");
        assert_eq!(chain::broken(&back), None);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["schema"], SCHEMA);
        assert_eq!(json["outcome"]["schema"], "lockgate.parity/v1");
        assert_eq!(json["windows"][1]["stream"], "msg:stream:7");
    }
}
