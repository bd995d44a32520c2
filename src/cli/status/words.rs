//! Ages, times and counts in words, for people. Pure; what is not known is `?`.

use std::time::Duration;

use crate::cli::output::grouped;
use crate::status::Status;

pub fn lag(entries: Option<u64>, seconds: Option<f64>) -> String {
    let entries = entries.map_or("?".to_owned(), grouped);
    let word = if entries == "1" { "entry" } else { "entries" };
    format!("lag {entries} {word}, {}", lateness(seconds))
}

/// `0.01 s`, `3.1 s`, `200 s`, `1h05m`; `? s` where nobody knows.
fn lateness(seconds: Option<f64>) -> String {
    match seconds {
        None => "? s".to_owned(),
        Some(0.0) => "0 s".to_owned(),
        Some(seconds) if seconds < 1.0 => format!("{seconds:.2} s"),
        Some(seconds) if seconds < 10.0 => format!("{seconds:.1} s"),
        Some(seconds) if seconds < 600.0 => format!("{seconds:.0} s"),
        Some(seconds) => spoken(seconds),
    }
}

/// `4.1 ms`, `61 ms`, `1.1 s`, `4 s`.
pub fn length(seconds: f64) -> String {
    let ms = seconds * 1_000.0;
    let (value, unit) = if ms < 1_000.0 {
        (ms, "ms")
    } else {
        (seconds, "s")
    };
    if value >= 10.0 || value.fract() < 0.05 {
        format!("{value:.0} {unit}")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// Two units: `4m10s`, `3h05m`, `4d02h`.
#[must_use]
pub fn spoken(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole seconds, for people"
    )]
    let whole = seconds.max(0.0) as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}m{:02}s", whole % 60),
        (0, hours) => format!("{hours}h{minutes:02}m"),
        (days, hours) => format!("{days}d{hours:02}h"),
    }
}

/// The same without a second unit that is 0, and under a minute in seconds: `4 s`, `3m20s`, `2h`, `12d`.
pub fn brief(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{:.0} s", seconds.max(0.0).floor());
    }
    let two = spoken(seconds);
    for zero in ["00s", "00m", "00h"] {
        if let Some(one) = two.strip_suffix(zero) {
            return one.to_owned();
        }
    }
    two
}

pub fn rate(per_second: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate for people"
    )]
    let whole = per_second.max(0.0).round() as u64;
    grouped(whole)
}

/// Seconds from a time to the status; below 0 for a time to come.
pub fn age(status: &Status, time: &str) -> f64 {
    let parsed = |text: &str| humantime::parse_rfc3339(text).ok();
    let Some((now, then)) = parsed(&status.as_of).zip(parsed(time)) else {
        return 0.0;
    };
    match now.duration_since(then) {
        Ok(passed) => passed.as_secs_f64(),
        Err(_) => -then
            .duration_since(now)
            .unwrap_or(Duration::ZERO)
            .as_secs_f64(),
    }
}

/// `14:04:00Z` of an RFC 3339 time.
#[must_use]
pub fn clock(time: &str) -> String {
    time.get(11..19)
        .map_or_else(|| time.to_owned(), |clock| format!("{clock}Z"))
}

/// `14:04:00`, within a text that names its zone in its first line.
pub fn hms(time: &str) -> String {
    time.get(11..19).unwrap_or(time).to_owned()
}

/// `14:04`.
pub fn minute(time: &str) -> String {
    time.get(11..16).unwrap_or(time).to_owned()
}

/// `2026-03-12 14:04Z`.
pub fn day_minute(time: &str) -> String {
    time.get(..10)
        .map_or_else(|| time.to_owned(), |day| format!("{day} {}Z", minute(time)))
}

/// `2026-03-12 14:04:00Z`.
pub fn moment(time: &str) -> String {
    time.get(..10)
        .map_or_else(|| time.to_owned(), |day| format!("{day} {}", clock(time)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_ages_have_as_many_digits_as_help() {
        let lengths = [0.0041, 0.061, 0.25, 1.1, 4.0, 12.3].map(length);
        assert_eq!(
            lengths,
            ["4.1 ms", "61 ms", "250 ms", "1.1 s", "4 s", "12 s"]
        );
        let ages = [4.2, 130.0, 120.0, 7_200.0, 353_000.0, 1_036_800.0].map(brief);
        assert_eq!(ages, ["4 s", "2m10s", "2m", "2h", "4d02h", "12d"]);
        let late = [0.0, 0.01, 3.1, 200.0, 3_900.0].map(|s| lateness(Some(s)));
        assert_eq!(late, ["0 s", "0.01 s", "3.1 s", "200 s", "1h05m"]);
    }
}
