//! The lines of what comes next and of the way back. Pure.

use super::gates::lacks_time;
use super::page::{Page, Paint};
use super::steering::spoken_step;
use super::words::{age, brief, day_minute, hms, length};
use crate::migration::phase::Step;
use crate::status::Status;
use crate::status::driver::{BlockerStatus, NextStatus, RollbackStatus, SteeringState};

pub fn lines(page: &mut Page, status: &Status) {
    let driver = &status.driver;
    if let Some(trouble) = &driver.trouble {
        page.line("NEXT", trouble, Paint::Bad);
        return;
    }
    let Some(state) = &driver.state else { return };
    match state.name.as_str() {
        "waiting" => waiting(page, driver.phase.as_deref(), state),
        "frozen" => frozen(page, state),
        "held" => {
            let by = state.by.as_deref().unwrap_or("?");
            let reason = state.reason.as_deref().unwrap_or("");
            let text =
                format!("held by {by} \"{reason}\"; to go on: lockgate resume --reason TEXT");
            page.line("NEXT", &text, Paint::Warn);
        }
        "moving" | "rolling_back" => moving(page, state),
        _ => match &driver.next {
            Some(next) => steady(page, status, next),
            None if driver.steered_by.is_some() => {
                let holder = driver.steered_by.as_deref().unwrap_or_default();
                let text = format!("{holder} steers; ask there for the gates");
                page.line("NEXT", &text, Paint::Plain);
            }
            None => {}
        },
    }
}

/// Redis holds what the mirror lacks, but not what applications write to Kafka or read there.
fn waiting(page: &mut Page, phase: Option<&str>, state: &SteeringState) {
    match (state.waiting_for.as_deref(), phase) {
        (Some("kafka"), Some("ingress" | "cleanup")) => {
            let text = "producers write to Kafka: take them back, now";
            page.line("NEXT", text, Paint::Bad);
            let text = "do: lockgate rollback --to consumers:100 --reason TEXT";
            page.line("", text, Paint::Plain);
        }
        (Some("kafka"), Some("consumers")) => {
            let text = "readers of Kafka get nothing new: if it lasts, take them back";
            page.line("NEXT", text, Paint::Warn);
        }
        (Some("kafka"), Some("done")) => {
            let text = "bring Kafka back: everything is Kafka's";
            page.line("NEXT", text, Paint::Bad);
        }
        _ => {
            let text = "nothing to do here; it goes on by itself where it stopped";
            page.line("NEXT", text, Paint::Plain);
        }
    }
    see(page, "LockgateEdgeDown");
}

fn see(page: &mut Page, runbook: &str) {
    page.line(
        "",
        &format!("see: lockgate runbook {runbook}"),
        Paint::Plain,
    );
}

fn frozen(page: &mut Page, state: &SteeringState) {
    if state
        .reason
        .as_deref()
        .is_some_and(|why| why.contains("inconsistency"))
    {
        let text = "1 lockgate parity explain   2 lockgate parity repair --plan";
        page.line("NEXT", text, Paint::Bad);
        let text = "3 lockgate resume --reason   see: lockgate runbook LockgateFrozen";
        page.line("", text, Paint::Plain);
    } else {
        let text = "1 lockgate journal   2 lockgate resume --reason";
        page.line("NEXT", text, Paint::Bad);
        see(page, "LockgateFrozen");
    }
}

fn moving(page: &mut Page, state: &SteeringState) {
    let by = state.by.as_deref().unwrap_or("?");
    let reason = state.reason.as_deref().unwrap_or("");
    let asked = format!("asked by {by} {} \"{reason}\"", hms(&state.since));
    let text = if state.name == "moving" {
        format!("{asked}; lockgate hold stops after this one")
    } else {
        asked
    };
    page.line("NEXT", &text, Paint::Plain);
    if let Some(waits) = &state.waiting_for {
        page.line("", &format!("waits for {waits}"), Paint::Warn);
    }
}

fn steady(page: &mut Page, status: &Status, next: &NextStatus) {
    let driver = &status.driver;
    let place = place(status, &next.to);
    if next.allowed {
        let verb = &next.verb;
        let text = match verb.as_str() {
            "complete" => {
                format!("{place}: open; lockgate complete (there is no way back from it)")
            }
            _ => format!("{place}: open; lockgate promote --dry-run shows what it would do"),
        };
        page.line("NEXT", &text, Paint::Good);
        return;
    }
    let blockers = &driver.blockers;
    let by_time = |blocker: &&BlockerStatus| {
        let gate = driver.gates.iter().find(|gate| gate.name == blocker.what);
        gate.is_some_and(|gate| gate.verdict == "inconclusive" && lacks_time(gate))
    };
    if !blockers.is_empty() && blockers.iter().all(|blocker| by_time(&blocker)) {
        let text = format!("{place}: needs {}{}", times(status), opens(status));
        page.line("NEXT", &text, Paint::Plain);
        return;
    }
    let blocking: Vec<&BlockerStatus> = blockers.iter().filter(|one| !by_time(one)).collect();
    let names: Vec<String> = blocking.iter().map(|one| blocked(status, one)).collect();
    let text = format!("{place}: BLOCKED by {}", names.join(", "));
    page.line("NEXT", &text, Paint::Warn);
    if let Some(first) = blocking.first() {
        page.line("", &format!("do: {}", first.todo), Paint::Plain);
        see(page, &first.runbook);
    }
}

/// A step of the same phase by its percentage alone.
fn place(status: &Status, to: &str) -> String {
    let here = status.driver.step.as_ref();
    let here = here.and_then(|step| step.actual.parse::<Step>().ok());
    match (to.parse::<Step>(), here) {
        (Ok(to), Some(here)) if to.phase() == here.phase() && to.percent().is_some() => {
            format!("{} %", to.percent().unwrap_or(0))
        }
        (Ok(to), _) => spoken_step(to),
        (Err(_), _) => to.to_owned(),
    }
}

/// `soak (2d22h more), mirror-lag (1d more)`
fn times(status: &Status) -> String {
    let gates = status.driver.gates.iter();
    let waiting = gates.filter(|gate| gate.verdict == "inconclusive");
    let said: Vec<String> = waiting
        .map(|gate| {
            let left = gate.opens_at.as_deref().map(|at| -age(status, at));
            match left {
                Some(left) => format!("{} ({} more)", gate.name, brief(left)),
                None => gate.name.clone(),
            }
        })
        .collect();
    said.join(", ")
}

/// When the last of them opens.
fn opens(status: &Status) -> String {
    let gates = status.driver.gates.iter();
    let last = gates.filter_map(|gate| gate.opens_at.as_ref()).max();
    last.map_or(String::new(), |at| format!("; opens {}", day_minute(at)))
}

/// `group-lag (fail)`, `dead-letters (too few samples)`
fn blocked(status: &Status, blocker: &BlockerStatus) -> String {
    let gate = status
        .driver
        .gates
        .iter()
        .find(|gate| gate.name == blocker.what);
    let why = match gate {
        Some(gate) if gate.verdict == "fail" => "fail",
        Some(gate) if gate.value.is_some() => "too few samples",
        Some(_) => "no evidence",
        None => return blocker.what.clone(),
    };
    format!("{} ({why})", blocker.what)
}

/// How long going back would take, what it would hold and lose, and when it was last tried.
pub fn back(page: &mut Page, status: &Status) {
    let driver = &status.driver;
    let (Some(back), Some(state)) = (&driver.rollback, &driver.state) else {
        return;
    };
    if driver.phase.as_deref() == Some("done") {
        page.line("BACK", "none: the migration is complete", Paint::Plain);
        return;
    }
    let text = match (state.name.as_str(), &back.to, back.took_seconds) {
        ("frozen", _, Some(took)) => {
            let here = driver.step.as_ref().map(|step| step.actual.as_str());
            let serves = match here {
                Some("shadow") | None => "Redis alone serves",
                Some(step) if step.starts_with("consumers") => {
                    "all is written to Redis, and read where the first line says"
                }
                Some(_) => "it is written and read where the first line says",
            };
            format!("done by itself in {}: {serves}", length(took))
        }
        ("waiting", None, _) => return,
        (_, None, _) => match tried(status, back) {
            Some(tried) => format!("nothing to take back · reverse path {tried}"),
            None => {
                let step = driver.next.as_ref().map_or("STEP", |next| &next.to);
                format!(
                    "nothing to take back · reverse path not tried yet: lockgate rollback --dry-run --to {step}"
                )
            }
        },
        ("rolling_back", Some(_), _) => return,
        (name, Some(to), _) => way(status, back, to, name == "moving"),
    };
    let paint = if back.to.is_some() && !back.ready {
        Paint::Warn
    } else {
        Paint::Plain
    };
    page.line("BACK", &text, paint);
}

fn way(status: &Status, back: &RollbackStatus, to: &str, moving: bool) -> String {
    let estimate = back.estimate_seconds.map_or_else(
        || "how long is not known".to_owned(),
        |seconds| format!("about {}", length(seconds)),
    );
    let holds = match back.holds_seconds {
        Some(0.0) => "no write held".to_owned(),
        Some(seconds) => format!("{} hold a bucket", length(seconds)),
        None => "holds not known".to_owned(),
    };
    let loses = match (&back.leaves, back.loses_entries) {
        (Some(leaves), _) => format!("LEFT BEHIND: {leaves}"),
        (None, Some(0)) => "nothing lost".to_owned(),
        (None, Some(lost)) => format!("{lost} entries LOST"),
        (None, None) => "what is lost is not known".to_owned(),
    };
    let mut text = format!("to {}: {estimate}, {holds}, {loses}", place(status, to));
    if !back.ready {
        text.push_str(" · NOT READY: the driver cannot store it now");
    }
    if !moving {
        match (&back.rehearsed_at, back.rehearsal_passed) {
            (Some(at), Some(true)) => {
                text.push_str(&format!(" · rehearsed {} ago", brief(age(status, at))));
            }
            _ => text.push_str(&format!(
                " · {}",
                tried(status, back).unwrap_or_else(|| "not rehearsed".to_owned())
            )),
        }
    }
    text
}

/// `rehearsed 2h ago: pass`
fn tried(status: &Status, back: &RollbackStatus) -> Option<String> {
    let at = back.rehearsed_at.as_ref()?;
    let how = if back.rehearsal_passed == Some(true) {
        "pass"
    } else {
        "FAIL"
    };
    Some(format!("rehearsed {} ago: {how}", brief(age(status, at))))
}
