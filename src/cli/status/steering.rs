//! The first line: the phase, what the migration does there, and since when. Pure.

use super::page::Paint;
use super::words::{age, brief, clock};
use crate::migration::phase::{Phase, Step};
use crate::status::Status;
use crate::status::driver::{SteeringState, StepStatus};

/// The first line, where the driver's state is known: the same in fewer and fewer words, its colour, and what stands at its end.
pub struct Headline {
    pub states: Vec<String>,
    pub paint: Paint,
    pub right: String,
}

/// `mirror`: what the mirror itself is, where that is no good: it goes before a migration that is steady.
pub fn headline(status: &Status, mirror: Option<(&str, Paint, String)>) -> Option<Headline> {
    let (step, state) = known(status)?;
    let place = place(step, state);
    let epoch = status.driver.epoch.unwrap_or(0);
    let right = format!("{} epoch {epoch}", clock(&status.as_of));
    let (states, paint) = match mirror {
        Some((word, paint, detail)) if matches!(state.name.as_str(), "steady" | "held") => {
            (vec![format!("{place} · {word}{detail}")], paint)
        }
        _ => {
            let seconds = age(status, &state.since);
            let with =
                |age: &str| format!("{place} · {}{}", doing(status, state, age), limit(state));
            let long = brief(seconds);
            let short = long.split_inclusive(char::is_alphabetic).next();
            let short = short.unwrap_or_default().to_owned();
            (vec![with(&long), with(&short)], paint_of(state))
        }
    };
    Some(Headline {
        states,
        paint,
        right,
    })
}

/// The same without ages, for places where a line is printed for each change.
pub fn in_short(status: &Status) -> Option<String> {
    let (step, state) = known(status)?;
    let doing = doing(status, state, "");
    Some(format!("{} · {}", place(step, state), doing.trim_end()))
}

fn known(status: &Status) -> Option<(&StepStatus, &SteeringState)> {
    status
        .driver
        .step
        .as_ref()
        .zip(status.driver.state.as_ref())
}

fn paint_of(state: &SteeringState) -> Paint {
    match state.name.as_str() {
        "steady" => Paint::Good,
        "frozen" => Paint::Bad,
        _ => Paint::Warn,
    }
}

/// `CONSUMERS 25 %`, `INGRESS 10 -> 25 %`, `CONSUMERS 50 % -> 0 %`.
fn place(at: &StepStatus, state: &SteeringState) -> String {
    let frozen = state.name == "frozen" || state.name == "rolling_back";
    let from = state.from.as_ref().filter(|_| frozen).unwrap_or(&at.actual);
    match (from.parse::<Step>(), at.set.parse::<Step>()) {
        (Ok(from), Ok(to)) if from != to => moving(from, to),
        (_, Ok(to)) => name(to),
        _ => at.set.to_uppercase(),
    }
}

fn moving(from: Step, to: Step) -> String {
    match (from.percent(), to.percent()) {
        (Some(a), Some(b)) if from.phase() == to.phase() => {
            format!("{} {a} -> {b} %", from.phase().as_str().to_uppercase())
        }
        (Some(_), None) if from.phase() == Phase::Consumers && to == Step::SHADOW => {
            format!("{} -> 0 %", name(from))
        }
        _ => format!("{} -> {}", name(from), name(to)),
    }
}

fn name(step: Step) -> String {
    spoken_step(step).to_uppercase()
}

/// `consumers 25 %`, `cleanup`.
pub fn spoken_step(step: Step) -> String {
    match step.percent() {
        Some(percent) => format!("{} {percent} %", step.phase().as_str()),
        None => step.phase().as_str().to_owned(),
    }
}

fn doing(status: &Status, state: &SteeringState, age: &str) -> String {
    let of = |who: &Option<String>| who.clone().unwrap_or_else(|| "?".to_owned());
    match state.name.as_str() {
        "steady" => format!("steady {age}"),
        "moving" => format!("MOVING {age}"),
        "waiting" => format!("WAITING for {} {age}", of(&state.waiting_for)),
        "held" => format!("HELD by {} {age}", of(&state.by)),
        "frozen" => format!("FROZEN by {} {age}", of(&state.reason)),
        "rolling_back" => format!("ROLLING BACK {age}"),
        other => {
            debug_assert!(status.driver.phase.is_some());
            format!("{} {age}", other.to_uppercase())
        }
    }
}

/// `, gives up at 30 s`
fn limit(state: &SteeringState) -> String {
    let parsed = |text: &str| humantime::parse_rfc3339(text).ok();
    let Some(deadline) = state.deadline.as_deref().and_then(parsed) else {
        return String::new();
    };
    let length = parsed(&state.since)
        .and_then(|since| deadline.duration_since(since).ok())
        .unwrap_or_default();
    format!(", gives up at {}", brief(length.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_is_and_where_it_goes() {
        let place = |from: &str, to: &str| {
            let of = |step: &str| step.parse::<Step>().expect("a step");
            moving(of(from), of(to))
        };
        assert_eq!(place("shadow", "consumers:5"), "SHADOW -> CONSUMERS 5 %");
        assert_eq!(place("consumers:5", "consumers:25"), "CONSUMERS 5 -> 25 %");
        assert_eq!(place("consumers:50", "shadow"), "CONSUMERS 50 % -> 0 %");
        assert_eq!(place("ingress:10", "shadow"), "INGRESS 10 % -> SHADOW");
        assert_eq!(place("ingress:100", "cleanup"), "INGRESS 100 % -> CLEANUP");
    }
}
