//! The texts that settings take: durations, addresses, names; and the nearest name to one that nobody knows.

use std::net::SocketAddr;
use std::time::Duration;

use super::Start;

/// A duration such as `30d` or `1m 30s`. Months and years are refused, as their length is nobody's: `M` for months beside
/// `m` for minutes is a trap as well.
///
/// # Errors
/// What to write instead.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let vague = text.split(|c: char| !c.is_ascii_alphabetic()).find(|unit| {
        matches!(
            *unit,
            "M" | "month" | "months" | "y" | "yr" | "year" | "years"
        )
    });
    if let Some(unit) = vague {
        return Err(format!(
            "counts in `{unit}`, whose length is not exact; write it in w, d, h, m, s or ms, such as \"90d\""
        ));
    }
    humantime::parse_duration(text).map_err(|_| {
        format!(
            "`{}` is no duration; write a number with its unit (w, d, h, m, s, ms), such as \"30d\" or \"500ms\"",
            short(text)
        )
    })
}

/// A duration as a text that [`duration`] reads as the same: `90d`, `1m 30s`, `500ms`. humantime itself would write months.
pub(super) fn of_duration(duration: Duration) -> String {
    const UNITS: [(&str, u128); 7] = [
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ];
    let mut rest = duration.as_nanos();
    let mut parts = Vec::new();
    for (unit, length) in UNITS {
        if rest >= length {
            parts.push(format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    if parts.is_empty() {
        "0s".to_owned()
    } else {
        parts.join(" ")
    }
}

/// For `#[serde(with = ..)]`.
pub(super) mod exact_duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in crate::config) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::of_duration(*duration))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::duration(&text).map_err(D::Error::custom)
    }
}

/// Whether a text has the form that a schema's `format` asks for.
///
/// # Errors
/// What to write instead.
pub(super) fn of_format(text: &str, format: &str) -> Result<(), String> {
    match format {
        "duration" => duration(text).map(drop),
        "start" => text.parse::<Start>().map(drop),
        "socket-address" => text.parse::<SocketAddr>().map(drop).map_err(|_| {
            format!(
                "`{}` is no address; write an IP address and a port, such as 127.0.0.1:8474 or [::1]:8474 (host names \
                 are not looked up)",
                short(text)
            )
        }),
        _ => Ok(()),
    }
}

/// Whether a text can be the name of a migration or of a route: `[a-z0-9][a-z0-9_-]*`, at most 64.
pub(super) fn is_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    text.len() <= 64
        && text.bytes().all(inner)
        && text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// A user's text cut to what a message can hold.
pub(super) fn short(text: &str) -> String {
    const MOST: usize = 60;
    if text.chars().count() <= MOST {
        return text.escape_debug().to_string();
    }
    let cut: String = text.chars().take(MOST).collect();
    format!("{}...", cut.escape_debug())
}

/// The known name that `name` was most likely meant to be.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '.', '_'], "");
    let wanted = plain(name);
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= plain(candidate).len().max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_exact_or_refused() {
        assert_eq!(duration("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for text in [
            "1M",
            "2 months",
            "1y",
            "1year 2d",
            "30",
            "",
            "d",
            "-1s",
            "1.5",
            "30 fortnights",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_duration_reads_back_as_written(seconds in 0..4_000_000_000u64, nanos in 0..1_000_000_000u32) {
            let length = Duration::new(seconds, nanos);
            proptest::prop_assert_eq!(duration(&of_duration(length)), Ok(length));
        }

        #[test]
        fn whole_days_stay_days(days in 1..40_000u32) {
            proptest::prop_assert_eq!(of_duration(Duration::from_secs(86_400) * days), format!("{days}d"));
        }
    }

    #[test]
    fn names_are_checked() {
        for good in ["a", "0", "msg-1_b", &"a".repeat(64)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "A", "-a", "_a", "a.b", "a b", "é", &"a".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        let known = ["partition", "partitions", "streams", "topic", "on_gap"];
        assert_eq!(nearest("topics", known), Some("topic"));
        assert_eq!(nearest("on-gap", known), Some("on_gap"));
        assert_eq!(nearest("partion", known), Some("partition"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("x", known), None);
    }
}
