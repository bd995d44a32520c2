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
    let place = place_by(step, state, moving);
    let epoch = status.driver.epoch.unwrap_or(0);
    let right = format!("{} epoch {epoch}", clock(&status.as_of));
    let (states, paint) = match mirror {
        Some((word, paint, detail)) if matches!(state.name.as_str(), "steady" | "held") => {
            (vec![format!("{place} · {word}{detail}")], paint)
        }
        _ => {
            let seconds = age(status, &state.since);
            let with = |place: &str, age: &str, limit: &str| {
                let doing = doing(status, state, age);
                format!("{place} · {}{limit}", doing.trim_end())
            };
            let long = brief(seconds);
            let short = long.split_inclusive(char::is_alphabetic).next();
            let short = short.unwrap_or_default();
            let mut states = Vec::new();
            if let Some(limit) = limit(state) {
                let (gives_up, until) =
                    (format!(", gives up at {limit}"), format!(", until {limit}"));
                states.extend([&*long, short].map(|age| with(&place, age, &gives_up)));
                // Whence it comes gives way before how long it may take.
                states.push(with(&place, short, &until));
                let whence = place_by(step, state, in_brief);
                states.push(with(&whence, "", &until));
            } else {
                states.extend([&*long, short].map(|age| with(&place, age, "")));
            }
            (states, paint_of(state))
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
    let place = place_by(step, state, moving);
    Some(format!("{place} · {}", doing.trim_end()))
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

/// `CONSUMERS 25 %`, or on its way as `moving` words it.
fn place_by(at: &StepStatus, state: &SteeringState, moving: fn(Step, Step) -> String) -> String {
    let frozen = state.name == "frozen" || state.name == "rolling_back";
    let from = state.from.as_ref().filter(|_| frozen).unwrap_or(&at.actual);
    match (from.parse::<Step>(), at.set.parse::<Step>()) {
        (Ok(from), Ok(to)) if from != to => moving(from, to),
        (_, Ok(to)) => name(to),
        _ => at.set.to_uppercase(),
    }
}

/// `INGRESS 10 -> 25 %`, `CONSUMERS 50 % -> 0 %`, `CONSUMERS 100 % -> INGRESS 10 %`.
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

/// `CONSUMERS -> INGRESS 10 %`.
fn in_brief(from: Step, to: Step) -> String {
    if from.phase() == to.phase() {
        return moving(from, to);
    }
    format!("{} -> {}", from.phase().as_str().to_uppercase(), name(to))
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

/// How long it may take in all.
fn limit(state: &SteeringState) -> Option<String> {
    let parsed = |text: &str| humantime::parse_rfc3339(text).ok();
    let deadline = parsed(state.deadline.as_deref()?)?;
    let length = parsed(&state.since)
        .and_then(|since| deadline.duration_since(since).ok())
        .unwrap_or_default();
    Some(brief(length.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_phase_to_phase_there_is_room_for_when_it_gives_up() {
        for [from, to] in [
            ["shadow", "consumers:100"],
            ["consumers:100", "ingress:100"],
            ["ingress:100", "cleanup"],
        ] {
            let (at, to) = (from.to_owned(), to.parse::<Step>().expect("a step"));
            let state = SteeringState {
                name: "moving".to_owned(),
                since: "2026-03-09T14:04:00.000Z".to_owned(),
                deadline: Some("2026-03-09T14:05:30.000Z".to_owned()),
                ..SteeringState::default()
            };
            let status = StepStatus {
                set: to.to_string(),
                actual: at,
                ..StepStatus::default()
            };
            let whence = place_by(&status, &state, in_brief);
            let limit = limit(&state).expect("it has one");
            // A name of 8, and the clock with an epoch of two digits.
            let least = format!("{whence} · MOVING, until {limit}");
            assert!(least.chars().count() <= 79 - 8 - 21, "{least}");
        }
    }

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
