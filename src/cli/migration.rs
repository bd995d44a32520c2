//! The verbs that steer the migration: gates, promote, complete, hold, resume, rollback, baseline, journal.
//!
//! Each asks the daemon that steers; nothing is decided here. Promoting shows its plan first, and a script says `--yes`.

use std::io::{IsTerminal as _, Write as _};

use serde_json::{Map, Value, json};

use super::Exit;
use super::api::{ApiArgs, Client, Error};
use super::output::{Output, line, print, print_json};
use crate::http::Page;
use crate::migration::gate::{Answer, span};
use crate::migration::phase::Step;
use crate::migration::view::{Shown, ShownGate, ShownRecord};

/// Show every gate of the next step: value, threshold, samples, verdict, and what would make it pass
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lockgate gates\n  lockgate gates --output json")]
pub struct GatesArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// How to print them
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Show the journal: who did what, when, why, and what came of it; oldest first
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockgate journal --last 20\n  lockgate journal --output json > journal.json"
)]
pub struct JournalArgs {
    /// Only so many of the newest records
    #[arg(long, value_name = "N")]
    last: Option<u64>,
    #[command(flatten)]
    api: ApiArgs,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Whom a verb that acts asks, and how it says what came of it.
#[derive(Debug, clap::Args)]
struct Acting {
    #[command(flatten)]
    api: ApiArgs,
    /// How to print what came of it
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Open the next step, where its gates are open
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockgate promote --dry-run\n  lockgate promote --reason \"soak clean\" --yes\n\nExit code of --dry-run: 0 the step is open, 4 something blocks it"
)]
pub struct PromoteArgs {
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// The step that is expected to be next, such as consumers:25
    #[arg(long, value_name = "STEP")]
    to: Option<Step>,
    /// Why, in ten characters or more
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Apply the plan without asking
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    daemon: Acting,
}

/// Finish the migration: there is no way back from it
///
/// Its plan says what it would do and what blocks it; then it asks for the migration's name. It opens when the mirror has
/// drained, parity holds, no application writes to Redis any more, and the archive was read again and found whole (`lockgate
/// evidence archive`).
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockgate complete --dry-run\n  lockgate complete --reason \"archive read again\"\n  lockgate complete --migration messages --reason \"archive read again\" --yes\n\nExit code of --dry-run: 0 nothing blocks it, 4 something does"
)]
pub struct CompleteArgs {
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// The migration's name, typed; without it, it is asked for once the plan is seen
    #[arg(long, value_name = "NAME")]
    migration: Option<String>,
    /// Why, in ten characters or more
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Apply the plan without asking
    #[arg(long, requires = "migration")]
    yes: bool,
    #[command(flatten)]
    daemon: Acting,
}

/// Promote nothing until resumed; what is on its way goes on to its end
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lockgate hold --reason \"release freeze until Monday\"")]
pub struct HoldArgs {
    /// Why, in ten characters or more
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    daemon: Acting,
}

/// Let a migration go on that is held or frozen
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockgate resume --reason \"the missing entries are repaired\""
)]
pub struct ResumeArgs {
    /// Why, in ten characters or more
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    daemon: Acting,
}

/// Go back a step, or to an earlier one
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lockgate rollback --reason \"producers see errors\"\n  lockgate rollback --to shadow --reason \"back to Redis alone\"\n  lockgate rollback --dry-run --to consumers:5"
)]
pub struct RollbackArgs {
    /// Prove the way back from a step against the live stores, and move nothing
    #[arg(long, requires = "to")]
    dry_run: bool,
    /// The step to go back to, or a phase, which is its last step; with --dry-run the step to prove the way back from
    #[arg(long, value_name = "PHASE|STEP")]
    to: Option<Step>,
    /// Why, in ten characters or more
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    reason: Option<String>,
    #[command(flatten)]
    daemon: Acting,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum BaselineVerb {
    /// Throughput, share of idempotent hits, latency and lag, as they are measured now
    Record,
}

/// Record how Redis alone does, for the gates that compare with it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lockgate baseline record")]
pub struct BaselineArgs {
    /// What to do with it
    #[arg(value_enum, default_value_t = BaselineVerb::Record)]
    what: BaselineVerb,
    #[command(flatten)]
    daemon: Acting,
}

pub fn gates(args: &GatesArgs) -> anyhow::Result<Exit> {
    let client = match args.api.client() {
        Ok(client) => client,
        Err(exit) => return Ok(exit),
    };
    let shown: Shown = match client.get("/v1/migration") {
        Ok(shown) => shown,
        Err(error) => return Ok(error.exit()),
    };
    match (args.output, elsewhere(&shown)) {
        (Output::Json, _) => {
            print_json(&shown.gates)?;
            if let Some(warning) = &shown.warning {
                eprintln!("lockgate: warning: {warning}");
            }
        }
        (Output::Text, Some(text)) => print(&text)?,
        (Output::Text, None) => print(&gates_text(&shown))?,
    }
    // Where none are shown that says nothing of them.
    let judges = shown.steered_by.is_none() && shown.phase.is_some();
    Ok(if judges { Exit::Done } else { Exit::Unknown })
}

/// One that does not steer does not judge.
fn elsewhere(shown: &Shown) -> Option<String> {
    let holder = shown.steered_by.as_ref()?;
    Some(line(&format!(
        "this instance does not judge gates: instance {holder} steers; ask that one (--url)"
    )))
}

pub fn journal(args: &JournalArgs) -> anyhow::Result<Exit> {
    let client = match args.api.client() {
        Ok(client) => client,
        Err(exit) => return Ok(exit),
    };
    let records = match read_journal(&client, args.last) {
        Ok(records) => records,
        Err(error) => return Ok(error.exit()),
    };
    match args.output {
        Output::Json => print_json(&records)?,
        Output::Text => print(&records.iter().map(record_line).collect::<String>())?,
    }
    Ok(Exit::Done)
}

/// All pages; records that come meanwhile are among them.
fn read_journal(client: &Client, last: Option<u64>) -> Result<Vec<ShownRecord>, Error> {
    let mut after = match last {
        Some(last) => {
            let page: Page = client.get("/v1/journal?limit=1")?;
            page.total.saturating_sub(last)
        }
        None => 0,
    };
    let mut records = Vec::new();
    loop {
        let page: Page = client.get(&format!("/v1/journal?after={after}"))?;
        records.extend(page.records);
        match page.next {
            Some(next) => after = next,
            None => return Ok(records),
        }
    }
}

pub fn promote(args: &PromoteArgs) -> anyhow::Result<Exit> {
    act(&args.daemon, |client, told| {
        let plan: Value = client.post("/v1/plans", &json!({ "verb": "promote", "to": args.to }))?;
        told.say("plan", &plan, plan_text);
        if args.dry_run {
            return Ok(planned(&plan));
        }
        if !args.yes && !told.can_ask() {
            eprintln!("lockgate: nothing was done; a script says --yes");
            return Ok(Exit::Usage);
        }
        if !args.yes && !confirmed() {
            say("nothing was done\n");
            return Ok(Exit::Failed);
        }
        apply(
            client,
            told,
            &plan,
            "apply",
            &json!({ "reason": args.reason }),
        )
    })
}

pub fn complete(args: &CompleteArgs) -> anyhow::Result<Exit> {
    act(&args.daemon, |client, told| {
        let plan: Value = client.post("/v1/plans", &json!({ "verb": "complete" }))?;
        told.say("plan", &plan, plan_text);
        if args.dry_run {
            return Ok(planned(&plan));
        }
        if !args.yes && !told.can_ask() {
            eprintln!("lockgate: nothing was done; a script says --migration NAME --yes");
            return Ok(Exit::Usage);
        }
        let name = match &args.migration {
            Some(name) if args.yes => name.clone(),
            _ => answered("it cannot be taken back. The migration's name, to complete it: "),
        };
        // The daemon compares it; an empty line is somebody who turns back.
        if name.is_empty() {
            say("nothing was done\n");
            return Ok(Exit::Failed);
        }
        let body = json!({ "reason": args.reason, "name": name });
        apply(client, told, &plan, "complete", &body)
    })
}

/// A script that goes on after 0 goes on to apply it.
fn planned(plan: &Value) -> Exit {
    match plan["blocked_by"].as_array() {
        Some(blockers) if blockers.is_empty() => Exit::Done,
        _ => Exit::Refused,
    }
}

pub fn hold(args: &HoldArgs) -> anyhow::Result<Exit> {
    post(&args.daemon, "/v1/hold", &json!({ "reason": args.reason }))
}

pub fn resume(args: &ResumeArgs) -> anyhow::Result<Exit> {
    post(
        &args.daemon,
        "/v1/resume",
        &json!({ "reason": args.reason }),
    )
}

pub fn rollback(args: &RollbackArgs) -> anyhow::Result<Exit> {
    if args.dry_run {
        return rehearse(args);
    }
    post(
        &args.daemon,
        "/v1/rollback",
        &json!({ "to": args.to, "reason": args.reason }),
    )
}

fn rehearse(args: &RollbackArgs) -> anyhow::Result<Exit> {
    act(&args.daemon, |client, told| {
        let tried: Value = client.post("/v1/rehearsals", &json!({ "step": args.to }))?;
        told.say("rehearsal", &tried, tried_text);
        // A script that goes on after 0 goes on to promote.
        Ok(if tried["passed"] == true {
            Exit::Done
        } else {
            Exit::Refused
        })
    })
}

pub fn baseline(args: &BaselineArgs) -> anyhow::Result<Exit> {
    match args.what {
        BaselineVerb::Record => act(&args.daemon, |client, told| {
            let recorded: Value = client.post("/v1/baseline", &json!({}))?;
            told.say("accepted", &recorded, recorded_text);
            Ok(Exit::Done)
        }),
    }
}

fn post(daemon: &Acting, path: &str, body: &Value) -> anyhow::Result<Exit> {
    act(daemon, |client, told| {
        let accepted: Value = client.post(path, body)?;
        told.say("accepted", &accepted, accepted_text);
        Ok(Exit::Done)
    })
}

fn act(
    daemon: &Acting,
    work: impl FnOnce(&Client, &mut Told) -> Result<Exit, Error>,
) -> anyhow::Result<Exit> {
    let client = match daemon.api.client() {
        Ok(client) => client,
        Err(exit) => return Ok(exit),
    };
    let mut told = Told {
        output: daemon.output,
        document: Map::new(),
    };
    let exit = work(&client, &mut told).unwrap_or_else(|error| error.exit());
    // What was planned is told also where it was refused then.
    if !told.document.is_empty() {
        print_json(&told.document)?;
    }
    Ok(exit)
}

/// What came of it: for people as it comes, for scripts one document at the end, with a member for each.
struct Told {
    output: Output,
    document: Map<String, Value>,
}

impl Told {
    fn say(&mut self, name: &str, what: &Value, text: fn(&Value) -> String) {
        match self.output {
            Output::Text => say(&text(what)),
            Output::Json => {
                self.document.insert(name.to_owned(), what.clone());
            }
        }
    }

    /// Somebody is there to answer, and has seen what it is about.
    fn can_ask(&self) -> bool {
        self.output == Output::Text && std::io::stdin().is_terminal()
    }
}

fn apply(
    client: &Client,
    told: &mut Told,
    plan: &Value,
    how: &str,
    body: &Value,
) -> Result<Exit, Error> {
    let path = format!(
        "/v1/plans/{}/{how}",
        plan["id"].as_str().unwrap_or_default()
    );
    let accepted: Value = client.post(&path, body)?;
    told.say("accepted", &accepted, accepted_text);
    Ok(Exit::Done)
}

fn confirmed() -> bool {
    matches!(answered("apply it? [y/N] ").as_str(), "y" | "yes")
}

/// What is typed; nothing where the question cannot be shown.
fn answered(question: &str) -> String {
    eprint!("{question}");
    let mut answer = String::new();
    let asked =
        std::io::stderr().flush().is_ok() && std::io::stdin().read_line(&mut answer).is_ok();
    if asked {
        answer.trim().to_owned()
    } else {
        String::new()
    }
}

fn say(text: &str) {
    if let Err(error) = print(text) {
        eprintln!("lockgate: {error:#}");
    }
}

fn accepted_text(accepted: &Value) -> String {
    let mut text = line(&format!(
        "accepted: epoch {}, at {}; lockgate status --watch shows how it goes",
        accepted["epoch"],
        accepted["step"].as_str().unwrap_or("?")
    ));
    if let Some(left) = accepted["leaves"].as_str() {
        text.push_str(&line(&format!("left behind: {left}")));
    }
    text
}

fn recorded_text(recorded: &Value) -> String {
    let mut text = accepted_text(recorded);
    for lack in recorded["lacks"].as_array().into_iter().flatten() {
        let word = |name: &str| lack[name].as_str().unwrap_or("?");
        text.push_str(&line(&format!(
            "not recorded: {}, as it is not known now; it is for {}",
            word("measure"),
            word("what_for")
        )));
    }
    text
}

fn tried_text(tried: &Value) -> String {
    let text = |name: &str| tried[name].as_str().unwrap_or("?").to_owned();
    let how = if tried["passed"] == true {
        "open".to_owned()
    } else {
        format!("not open: {}", text("note"))
    };
    let took = tried["took_seconds"].as_f64().unwrap_or_default() * 1_000.0;
    let step = text("step");
    line(&format!(
        "the way back from {step} is {how}; tried in {took:.0} ms, and nothing was moved"
    ))
}

fn plan_text(plan: &Value) -> String {
    let text = |name: &str| plan[name].as_str().unwrap_or("?").to_owned();
    let mut lines = line(&format!(
        "{} {} to {}: plan {}, epoch {}, good until {}",
        text("verb"),
        text("from"),
        text("to"),
        text("id"),
        plan["epoch"],
        text("expires_at")
    ));
    for (n, step) in plan["steps"].as_array().into_iter().flatten().enumerate() {
        let step = step.as_str().unwrap_or("?");
        lines.push_str(&line(&format!("  {} {step}", n + 1)));
    }
    match plan["estimate_seconds"].as_f64() {
        Some(seconds) => lines.push_str(&format!("estimate: about {seconds:.1} s\n")),
        None => lines.push_str("estimate: not known\n"),
    }
    match plan["way_back"].as_str() {
        Some(back) => lines.push_str(&line(&format!("way back: to {back}"))),
        None => lines.push_str("way back: none\n"),
    }
    if let Some(left) = plan["leaves"].as_str() {
        lines.push_str(&line(&format!("left behind: {left}")));
    }
    for blocked in plan["blocked_by"].as_array().into_iter().flatten() {
        let blocked = blocked.as_str().unwrap_or("?");
        lines.push_str(&line(&format!("blocked by {blocked}")));
    }
    if let Some(warning) = plan["warning"].as_str() {
        lines.push_str(&line(&format!("warning: {warning}")));
    }
    lines
}

fn gates_text(shown: &Shown) -> String {
    let mut text = shown.gates.iter().map(gate_line).collect::<String>();
    for blocker in &shown.blockers {
        text.push_str(&line(&format!("do: {} ({})", blocker.todo, blocker.what)));
    }
    if let Some(warning) = &shown.warning {
        text.push_str(&line(&format!("warning: {warning}")));
    }
    if let Some(next) = &shown.next {
        let may = if next.allowed { "open" } else { "blocked" };
        text.push_str(&line(&format!(
            "next: {} to {}: {may}",
            next.verb.as_str(),
            next.to
        )));
    }
    if text.is_empty() {
        text.push_str(
            "no gates: the driver has not read its state yet, or the migration is done\n",
        );
    }
    text
}

fn gate_line(gate: &ShownGate) -> String {
    let sign = match gate.verdict {
        Answer::Pass => "✓ pass        ",
        Answer::Fail => "✗ fail        ",
        Answer::Inconclusive => "… inconclusive",
    };
    let value = gate
        .value
        .map_or_else(|| "?".to_owned(), |value| format!("{value}"));
    let needed = gate
        .needed
        .map_or_else(String::new, |needed| format!(" of {needed}"));
    let reason = if gate.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", gate.reason)
    };
    let window = match gate.window_seconds {
        0 => String::new(),
        seconds => format!(" for {}", span(seconds.saturating_mul(1_000))),
    };
    let bound = gate.bound.map_or_else(String::new, |(least, most)| {
        format!(", 95 % bounds {least:.6} to {most:.6}")
    });
    let opens = gate
        .opens_at
        .as_ref()
        .map_or_else(String::new, |at| format!(", opens {at}"));
    line(&format!(
        "{sign} {}: {value} {}, needs {} {}{window} ({} samples{needed}{bound}){reason}{opens}",
        gate.name,
        gate.unit,
        gate.op.as_str(),
        gate.threshold,
        gate.samples
    ))
}

fn record_line(record: &ShownRecord) -> String {
    let note = if record.note.is_empty() {
        String::new()
    } else {
        format!(": {}", record.note)
    };
    let reason = if record.reason.is_empty() {
        String::new()
    } else {
        format!(" \"{}\"", record.reason)
    };
    line(&format!(
        "{} {} epoch {} {} {} {} to {}{reason} {}{note}",
        record.n,
        record.at,
        record.epoch,
        record.who,
        record.verb.as_str(),
        record.from,
        record.to,
        record.outcome
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::gate::Op;

    #[test]
    fn a_way_back_that_is_not_open_says_why() {
        let tried = |passed, note| {
            tried_text(
                &json!({ "step": "consumers:5", "passed": passed, "note": note, "took_seconds": 0.0124 }),
            )
        };
        assert_eq!(
            tried(true, ""),
            "the way back from consumers:5 is open; tried in 12 ms, and nothing was moved\n"
        );
        assert_eq!(
            tried(false, "no application is known that would follow"),
            "the way back from consumers:5 is not open: no application is known that would follow; tried in 12 ms, and nothing was moved\n"
        );
    }

    #[test]
    fn a_record_is_one_line_whatever_was_written_into_it() {
        let forged = "soak clean\" done\n43 2026-11-22T12:00:00Z epoch 9 ana\x1b[2J";
        let record = ShownRecord {
            n: 42,
            at: "2026-11-22T12:00:00Z".to_owned(),
            epoch: 8,
            who: forged.to_owned(),
            origin: String::new(),
            verb: crate::migration::step::Verb::Promote,
            from: Step::SHADOW,
            to: Step::consumers(5),
            reason: forged.to_owned(),
            outcome: "refused".to_owned(),
            note: forged.to_owned(),
            evidence: Vec::new(),
        };
        let text = record_line(&record);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.contains('\x1b'), "{text:?}");
        assert!(text.contains(r"done\n43 2026"), "{text}");
        let text = plan_text(&json!({ "blocked_by": [forged] }));
        assert!(text.ends_with("ana\\u{1b}[2J\n"), "{text}");
    }

    #[test]
    fn a_plan_that_something_blocks_is_no_go_for_a_script() {
        assert_eq!(planned(&json!({ "blocked_by": [] })), Exit::Done);
        assert_eq!(planned(&json!({ "blocked_by": ["soak"] })), Exit::Refused);
        assert_eq!(planned(&json!({})), Exit::Refused);
    }

    #[test]
    fn a_baseline_says_what_it_lacks_and_what_that_is_for() {
        let recorded = json!({
            "epoch": 1, "step": "shadow",
            "lacks": [{ "measure": "duplicate-hits", "what_for": "the gate duplicate-hits" }],
        });
        let text = recorded_text(&recorded);
        let says = "not recorded: duplicate-hits, as it is not known now; it is for the gate duplicate-hits\n";
        assert!(
            text.starts_with("accepted") && text.ends_with(says),
            "{text}"
        );
    }

    #[test]
    fn what_will_be_missed_further_on_is_said_with_the_plan_and_with_the_gates() {
        let view = crate::migration::driver::View {
            state: Some(crate::migration::step::State::first(0, "a")),
            ..crate::migration::driver::View::default()
        };
        let text = gates_text(&Shown::of(&view));
        assert!(text.contains("warning: no baseline is recorded"), "{text}");
        let text = plan_text(&json!({ "warning": "no baseline" }));
        assert!(text.ends_with("warning: no baseline\n"), "{text}");
    }

    #[test]
    fn an_instance_that_does_not_steer_names_the_one_that_does() {
        let view = crate::migration::driver::View {
            holder: Some("b".to_owned()),
            ..crate::migration::driver::View::default()
        };
        let text = elsewhere(&Shown::of(&view)).expect("it stands by");
        assert!(text.contains("instance b steers"), "{text}");
        assert_eq!(
            elsewhere(&Shown::of(&crate::migration::driver::View::default())),
            None
        );
    }

    #[test]
    fn a_gate_says_value_threshold_samples_and_why() {
        let gate = ShownGate {
            name: "dead-letters".to_owned(),
            verdict: Answer::Inconclusive,
            value: Some(0.0),
            unit: "share".to_owned(),
            op: Op::Below,
            threshold: 0.001,
            window_seconds: 0,
            samples: 2_100,
            needed: Some(2_995),
            bound: Some((0.0, 0.001_425)),
            since: None,
            reason: "0 of 2100, needs 2995 to show it at 95 %".to_owned(),
            todo: None,
            opens_at: None,
            level: None,
        };
        assert_eq!(
            gate_line(&gate),
            "… inconclusive dead-letters: 0 share, needs < 0.001 (2100 samples of 2995, 95 % bounds 0.000000 to 0.001425): 0 of 2100, needs 2995 to show it at 95 %\n"
        );
        let held = ShownGate {
            window_seconds: 1_800,
            bound: None,
            ..gate
        };
        assert!(gate_line(&held).contains("needs < 0.001 for 30m00s (2100"));
    }
}
