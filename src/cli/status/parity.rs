//! The lines that answer the first question: are the stores level, since when, on what evidence.

use std::time::Duration;

use super::page::{Page, Paint};
use super::view::{clock, spoken};
use crate::cli::output::grouped;
use crate::status::{OpenDifference, ParityState, ParityStatus, Status};

/// Differences that are spelled out; the others are counted.
const SPELLED_OUT: usize = 5;

pub fn lines(page: &mut Page, status: &Status) {
    let parity = &status.parity;
    match parity.state {
        ParityState::Level => {
            let since = age(status, &parity.since);
            page.line(
                "PARITY",
                &format!("= level since {since}{}", verified(parity)),
                Paint::Good,
            );
            page.line("", &evidence(parity), Paint::Plain);
        }
        ParityState::Unknown => {
            page.line("PARITY", &unknown(parity), Paint::Warn);
            if parity.compared > 0 {
                page.line("", &evidence(parity), Paint::Plain);
            }
        }
        ParityState::Apart => apart(page, parity),
    }
}

fn verified(parity: &ParityStatus) -> String {
    match (&parity.verified_through, parity.behind_seconds) {
        (Some(at), Some(behind)) => {
            format!(" · verified to {} ({} ago)", clock(at), short(behind))
        }
        _ => String::new(),
    }
}

/// What was compared, what of it differs, and how sure the share of matches is.
fn evidence(parity: &ParityStatus) -> String {
    let differ: u64 = faults(parity).map(|(_, count)| count).sum();
    let mut text = format!(
        "{} compared · {} differ · {} unverifiable",
        grouped(parity.compared),
        grouped(differ),
        grouped(parity.unverifiable)
    );
    if let Some(bound) = parity.lower_bound {
        text.push_str(&format!(" · >= {} %", percent(bound)));
    }
    text
}

fn unknown(parity: &ParityStatus) -> String {
    let mut text = format!("? unknown since {}", clock(&parity.since));
    if let Some(reason) = &parity.reason {
        text.push_str(&format!(" ({reason})"));
    }
    if let Some(was) = parity.was_level_seconds {
        text.push_str(&format!("; was level for {}", spoken(was)));
    }
    text
}

fn apart(page: &mut Page, parity: &ParityStatus) {
    let open: Vec<String> = faults(parity)
        .map(|(class, count)| format!("{} {class}", grouped(count)))
        .collect();
    let text = format!(
        "≠ APART since {}: {} of {}",
        clock(&parity.since),
        open.join(", "),
        grouped(parity.compared)
    );
    page.line("PARITY", &text, Paint::Bad);
    for difference in parity.open_differences.iter().take(SPELLED_OUT) {
        page.line("", &place(difference), Paint::Plain);
    }
    let all: u64 = faults(parity).map(|(_, count)| count).sum();
    let shown = parity.open_differences.len().min(SPELLED_OUT) as u64;
    if all > shown {
        let more = format!("and {} more: lockgate parity explain", grouped(all - shown));
        page.line("", &more, Paint::Plain);
    }
    page.line(
        "",
        &format!("{}{}", evidence(parity), verified(parity)),
        Paint::Plain,
    );
    page.line(
        "",
        "see: lockgate runbook LockgateStoresApart",
        Paint::Plain,
    );
}

/// Classes in which the stores differ, with how many are open.
fn faults(parity: &ParityStatus) -> impl Iterator<Item = (&str, u64)> {
    let open = parity.open.iter();
    open.map(|(class, count)| (class.as_str(), *count))
        .filter(|(class, count)| *count > 0 && !matches!(*class, "pending" | "unverifiable"))
}

/// `messages.v1/7  msg:stream:7  1741356110123-0  missing`
fn place(difference: &OpenDifference) -> String {
    let partition = difference
        .records
        .last()
        .map(|record| record.partition)
        .or(difference.expected_partition);
    let mut parts = vec![match partition {
        Some(partition) => format!("{}/{partition}", difference.topic),
        None => difference.topic.clone(),
    }];
    parts.extend(difference.stream.clone());
    parts.extend(difference.id.map(|id| id.to_string()));
    let parts_of_it = difference.parts.join(", ");
    parts.push(match (parts_of_it.is_empty(), &difference.why) {
        (false, _) => format!("{} ({parts_of_it})", difference.class),
        (true, Some(why)) => format!("{} ({why})", difference.class),
        (true, None) => difference.class.clone(),
    });
    parts.join("  ")
}

/// As many digits as it takes to tell it from 100, and no more: `99.99998`.
fn percent(ratio: f64) -> String {
    let percent = (ratio * 100.0).clamp(0.0, 100.0);
    let short_of = 100.0 - percent;
    let digits = (1..=9)
        .find(|digits| short_of >= 10_f64.powi(-digits))
        .unwrap_or(9);
    // Cut, not rounded: the bound must not be shown higher than it is.
    let unit = 10_f64.powi(digits);
    let cut = (percent * unit).floor() / unit;
    let text = format!("{cut:.*}", usize::try_from(digits).unwrap_or(9));
    let short = text.trim_end_matches('0');
    if short.ends_with('.') {
        format!("{short}0")
    } else {
        short.to_owned()
    }
}

fn age(status: &Status, since: &str) -> String {
    let parsed = |text: &str| humantime::parse_rfc3339(text).ok();
    let age = parsed(&status.as_of)
        .zip(parsed(since))
        .and_then(|(now, since)| now.duration_since(since).ok());
    spoken(age.unwrap_or(Duration::ZERO).as_secs_f64())
}

fn short(seconds: f64) -> String {
    if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else {
        spoken(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_never_shown_higher_than_it_is() {
        assert_eq!(percent(0.999_999_837), "99.99998");
        assert_eq!(percent(0.95), "95.0");
        assert_eq!(percent(0.999), "99.9");
        assert_eq!(percent(0.998_999), "99.8");
        assert_eq!(percent(0.0), "0.0");
    }
}
