//! The lines that answer the first question: are the stores level, since when, on what evidence.

use super::page::{Page, Paint};
use super::words::{age, brief, hms};
use crate::cli::output::{counted, grouped};
use crate::status::parity::FAULTS;
use crate::status::{OpenDifference, ParityState, ParityStatus, Status};

/// Differences that are spelled out; the others are counted.
const SPELLED_OUT: usize = 5;

/// `whole`: all that is known of it, where it is what matters.
pub fn lines(page: &mut Page, status: &Status, whole: bool) {
    let parity = &status.parity;
    match parity.state {
        ParityState::Level => {
            let level = format!("= level since {}", brief(age(status, &parity.since)));
            let level = format!("{level}{}", partial(parity));
            if whole {
                let text = format!("{level}{}", verified(parity));
                page.line("PARITY", &text, Paint::Good);
                page.line("", &evidence(parity, true), Paint::Plain);
            } else {
                let text = format!("{level} · {}", evidence(parity, false));
                page.line("PARITY", &text, Paint::Good);
            }
        }
        ParityState::Unknown => {
            let text = format!("{}{}", unknown(parity), partial(parity));
            page.line("PARITY", &text, Paint::Warn);
        }
        ParityState::Apart => apart(page, status),
    }
}

/// An instance speaks of its own shards alone: what the others see, they say.
fn partial(parity: &ParityStatus) -> String {
    match parity.shards_in_all.filter(|_| parity.is_partial()) {
        Some(all) => format!(" · {} of {all} shards", parity.shards.len()),
        None => String::new(),
    }
}

fn verified(parity: &ParityStatus) -> String {
    match (&parity.verified_through, parity.behind_seconds) {
        (Some(at), Some(behind)) => {
            format!(" · verified to {} ({} ago)", hms(at), brief(behind))
        }
        _ => String::new(),
    }
}

/// What was compared, what of it differs, and (`bound`) how sure the share of matches is.
fn evidence(parity: &ParityStatus, bound: bool) -> String {
    let differ: u64 = faults(parity).map(|(_, count)| count).sum();
    let mut text = format!(
        "{} compared · {} differ · {} unverifiable",
        grouped(parity.compared),
        grouped(differ),
        grouped(parity.unverifiable)
    );
    if let Some(bound) = parity.lower_bound.filter(|_| bound) {
        text.push_str(&format!(" · >= {} %", percent(bound)));
    }
    text
}

fn unknown(parity: &ParityStatus) -> String {
    let mut text = format!("? unknown since {}", hms(&parity.since));
    if let Some(reason) = &parity.reason {
        text.push_str(&format!(" ({reason})"));
    }
    if let Some(was) = parity.was_level_seconds {
        text.push_str(&format!("; was level for {}", brief(was)));
    }
    text
}

fn apart(page: &mut Page, status: &Status) {
    let parity = &status.parity;
    let open: Vec<String> = faults(parity)
        .map(|(class, count)| format!("{} {class}", grouped(count)))
        .collect();
    let text = format!(
        "≠ APART since {}: {} of {}{}",
        hms(&parity.since),
        open.join(", "),
        grouped(parity.compared),
        partial(parity)
    );
    page.line("PARITY", &text, Paint::Bad);
    for difference in parity.open_differences.iter().take(SPELLED_OUT) {
        page.line("", &place(difference), Paint::Plain);
    }
    // A frozen migration says below what to do about it.
    let state = status.driver.state.as_ref();
    if state.is_some_and(|state| state.name == "frozen") {
        return;
    }
    let all: u64 = faults(parity).map(|(_, count)| count).sum();
    let shown = parity.open_differences.len().min(SPELLED_OUT) as u64;
    if all > shown {
        let more = format!("and {} more: lockgate parity explain", grouped(all - shown));
        page.line("", &more, Paint::Plain);
    }
    let sure = format!("{}{}", evidence(parity, true), verified(parity));
    page.line("", &sure, Paint::Plain);
    if let Some(doubt) = &parity.doubt {
        let doubt = format!("not all of it is compared now: {doubt}");
        page.line("", &doubt, Paint::Warn);
    }
    let runbook = "see: lockgate runbook LockgateStoresApart";
    page.line("", runbook, Paint::Plain);
}

/// Those that are open, with how many are.
fn faults(parity: &ParityStatus) -> impl Iterator<Item = (&str, u64)> {
    FAULTS
        .into_iter()
        .map(|class| (class, parity.open.get(class).copied().unwrap_or(0)))
        .filter(|(_, count)| *count > 0)
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
    let mut what = match (parts_of_it.is_empty(), &difference.why) {
        (false, _) => format!("{} ({parts_of_it})", difference.class),
        (true, Some(why)) => format!("{} ({why})", difference.class),
        // They are too many to be kept with their places.
        (true, None) if difference.more > 0 => {
            let records = difference.records.len() as u64 + difference.more;
            format!("{} ({})", difference.class, counted(records, "record"))
        }
        (true, None) => difference.class.clone(),
    };
    if let Some((found, of)) = difference.looks {
        what = format!("{what:11}  ({found} of {of})");
    }
    parts.push(what);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_records_it_is_said_how_many() {
        let difference = |more: u64| {
            let shown = serde_json::json!({
                "class": "duplicate", "route": "r", "database": 0, "stream": "s", "id": "5-0", "topic": "t",
                "expected_partition": 3, "more": more,
                "records": vec![serde_json::json!({"partition": 3, "offset": 1, "generation": 0}); 10],
            });
            place(&serde_json::from_value(shown).unwrap())
        };
        assert_eq!(difference(0), "t/3  s  5-0  duplicate");
        assert_eq!(difference(1_000), "t/3  s  5-0  duplicate (1,010 records)");
    }

    #[test]
    fn a_bound_is_never_shown_higher_than_it_is() {
        assert_eq!(percent(0.999_999_837), "99.99998");
        assert_eq!(percent(0.95), "95.0");
        assert_eq!(percent(0.999), "99.9");
        assert_eq!(percent(0.998_999), "99.8");
        assert_eq!(percent(0.0), "0.0");
    }
}
