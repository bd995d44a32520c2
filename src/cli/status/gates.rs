//! The lines of the gates: what fails and what lacks evidence on lines of their own, the others in a row. Pure.

use super::page::{Page, Paint, WIDTH};
use super::words::{brief, minute};
use crate::cli::output::grouped;
use crate::status::driver::GateStatus;

/// Columns of the text behind the label.
const COLUMNS: usize = WIDTH - 10;

pub fn lines(page: &mut Page, gates: &[GateStatus]) {
    let mut label = "GATES";
    let mut line = |text: &str, paint| {
        page.line(label, text, paint);
        label = "";
    };
    for gate in gates.iter().filter(|gate| gate.verdict == "fail") {
        line(&format!("✗ {}", failing(gate)), Paint::Bad);
    }
    let lacking = |gate: &&GateStatus| gate.verdict == "inconclusive" && !lacks_time(gate);
    for gate in gates.iter().filter(lacking) {
        line(&format!("… {}", short_of(gate)), Paint::Warn);
    }
    let passing = gates.iter().filter(|gate| gate.verdict == "pass");
    let waiting = gates
        .iter()
        .filter(|gate| gate.verdict == "inconclusive" && lacks_time(gate));
    let words = passing.map(passed).chain(waiting.map(in_time));
    for row in rows(words) {
        line(&row, Paint::Plain);
    }
}

/// Whether it opens by waiting alone.
pub fn lacks_time(gate: &GateStatus) -> bool {
    let of_time = gate.unit == "s" || gate.window_seconds > 0.0;
    of_time && gate.value.is_some() && gate.opens_at.is_some()
}

/// Words in a row, two blanks apart, as many as fit.
fn rows(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for word in words {
        match rows.last_mut() {
            Some(row) if row.chars().count() + 2 + word.chars().count() <= COLUMNS => {
                row.push_str("  ");
                row.push_str(&word);
            }
            _ => rows.push(word),
        }
    }
    rows
}

fn passed(gate: &GateStatus) -> String {
    match gate.value {
        Some(value) if gate.unit == "of baseline" => format!("✓ {} {value:.2}", gate.name),
        _ => format!("✓ {}", gate.name),
    }
}

/// `… soak 4d02h of 7d`
fn in_time(gate: &GateStatus) -> String {
    match gate.value {
        Some(value) if gate.unit == "s" => {
            format!(
                "… {} {} of {}",
                gate.name,
                brief(value),
                brief(gate.threshold)
            )
        }
        _ => {
            let held = gate.reason.strip_prefix("held ").unwrap_or(&gate.reason);
            let whole = held.split(" of ").next().unwrap_or_default();
            format!("… {} {whole} of {}", gate.name, brief(gate.window_seconds))
        }
    }
}

/// `group-lag 1,204, needs < 500 for 30m (1,812 samples, since 13:41)`
fn failing(gate: &GateStatus) -> String {
    let value = gate
        .value
        .map_or("?".to_owned(), |value| amount(value, &gate.unit));
    let window = match gate.window_seconds {
        0.0 => String::new(),
        seconds => format!(" for {}", brief(seconds)),
    };
    let mut about = Vec::new();
    if gate.samples > 0 {
        about.push(format!("{} samples", grouped(gate.samples)));
    }
    if let Some(since) = &gate.since {
        about.push(format!("since {}", minute(since)));
    }
    let about = match about.as_slice() {
        [] => String::new(),
        parts => format!(" ({})", parts.join(", ")),
    };
    format!(
        "{} {value}, needs {} {}{window}{about}",
        gate.name,
        gate.op,
        amount(gate.threshold, &gate.unit)
    )
}

/// `dead-letters 0 of 2,100, needs 2,995 to show < 0.1 % at 95 %`, or why nothing can be said.
fn short_of(gate: &GateStatus) -> String {
    match (gate.value, gate.needed) {
        (Some(value), Some(needed)) if gate.unit.starts_with("share") && gate.samples > 0 => {
            let inverted = gate.op.starts_with('>');
            let (share, op, limit) = if inverted {
                (1.0 - value, "<", 1.0 - gate.threshold)
            } else {
                (value, gate.op.as_str(), gate.threshold)
            };
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count for people"
            )]
            let faults = (share * gate.samples as f64).round().max(0.0) as u64;
            format!(
                "{} {} of {}, needs {} to show {op} {} at 95 %",
                gate.name,
                grouped(faults),
                grouped(gate.samples),
                grouped(needed),
                amount(limit, "share"),
            )
        }
        _ => format!("{}: {}", gate.name, gate.reason),
    }
}

/// `1,204`, `0.1 %`, `0.98`.
fn amount(value: f64, unit: &str) -> String {
    if let Some(over) = unit.strip_prefix("share") {
        let percent = format!("{:.4}", value * 100.0);
        let percent = percent.trim_end_matches('0').trim_end_matches('.');
        return format!("{percent} %{over}");
    }
    if unit == "s" {
        return brief(value);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number for people"
    )]
    let whole = value.max(0.0) as u64;
    if value.fract() == 0.0 && value >= 0.0 {
        grouped(whole)
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_the_words_of_their_unit() {
        assert_eq!(amount(1_204.0, "entries"), "1,204");
        assert_eq!(amount(0.001, "share"), "0.1 %");
        assert_eq!(amount(0.05, "share over 5ms"), "5 % over 5ms");
        assert_eq!(amount(0.98, "of baseline"), "0.98");
        assert_eq!(amount(604_800.0, "s"), "7d");
    }

    #[test]
    fn a_gate_without_evidence_says_why() {
        let gate = GateStatus {
            name: "added-latency".to_owned(),
            verdict: "inconclusive".to_owned(),
            unit: "share over 5ms".to_owned(),
            reason: "it was not measured yet".to_owned(),
            ..GateStatus::default()
        };
        assert!(!lacks_time(&gate));
        assert_eq!(short_of(&gate), "added-latency: it was not measured yet");
    }

    #[test]
    fn a_condition_that_holds_but_not_long_enough_stands_in_the_row() {
        let gate = GateStatus {
            name: "mirror-lag".to_owned(),
            verdict: "inconclusive".to_owned(),
            value: Some(3.0),
            unit: "entries".to_owned(),
            window_seconds: 604_800.0,
            reason: "held 4d02h of 7d00h".to_owned(),
            opens_at: Some("2026-03-12T12:04:00.000Z".to_owned()),
            ..GateStatus::default()
        };
        assert!(lacks_time(&gate));
        assert_eq!(in_time(&gate), "… mirror-lag 4d02h of 7d");
    }
}
