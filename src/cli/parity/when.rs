//! `--from` and `--to`: an entry id, a time, or how long ago; resolved once, when the verification begins.
//!
//! What was asked is kept as it was written, so that "2h ago" asked again tomorrow goes on with the run of today and does
//! not become another range.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use crate::entry::EntryId;
use crate::parity::Bound;

/// One end of a range, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct When {
    text: String,
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Bound(Bound),
    Ago(Duration),
}

impl From<EntryId> for When {
    fn from(id: EntryId) -> Self {
        Self {
            text: id.to_string(),
            at: At::Bound(Bound::Id(id)),
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let span = text.strip_suffix("ago").unwrap_or(text).trim();
        // A bare number is an id's milliseconds, so a span needs its unit.
        let ago = humantime::parse_duration(span)
            .ok()
            .filter(|_| span.ends_with(|c: char| c.is_ascii_alphabetic()));
        let at = match ago {
            Some(ago) => At::Ago(ago),
            None => At::Bound(text.parse().map_err(|_| {
                format!(
                    "`{text}` is no place in a stream; give an entry id (1741356110123-0), a time (2026-03-01T14:00:00Z), \
                     or how long ago (2h, 90s ago)"
                )
            })?),
        };
        Ok(Self {
            text: text.to_owned(),
            at,
        })
    }
}

impl When {
    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    #[must_use]
    pub fn resolve(&self, now: SystemTime) -> Bound {
        match self.at {
            At::Bound(bound) => bound,
            At::Ago(ago) => {
                let since_1970 = now
                    .checked_sub(ago)
                    .and_then(|then| then.duration_since(SystemTime::UNIX_EPOCH).ok())
                    .unwrap_or_default();
                Bound::TimeMs(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
            }
        }
    }
}

/// Whether nothing can lie between the two.
#[must_use]
pub fn is_upside_down(from: Bound, to: Bound) -> bool {
    from.lowest() > to.highest()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> Bound {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        text.parse::<When>()
            .unwrap_or_else(|error| panic!("{error}"))
            .resolve(now)
    }

    #[test]
    fn an_id_a_time_and_a_span_are_places() {
        assert_eq!(resolved("5-7"), Bound::Id(EntryId::new(5, 7)));
        assert_eq!(resolved("5"), Bound::Id(EntryId::new(5, 0)));
        assert_eq!(resolved("1970-01-01T00:00:02Z"), Bound::TimeMs(2_000));
        for ago in ["2h", "2h ago", " 120min ", "1h 60m ago"] {
            assert_eq!(resolved(ago), Bound::TimeMs(2_800_000), "{ago}");
        }
        assert_eq!(
            resolved("10 years"),
            Bound::TimeMs(0),
            "before 1970 is the beginning"
        );
    }

    #[test]
    fn nonsense_is_refused_with_what_would_do() {
        for bad in ["", "yesterday", "5-", "-2h", "2026-13-01T00:00:00Z", "ago"] {
            let why = bad.parse::<When>().expect_err(bad);
            assert!(why.contains("1741356110123-0"), "{why}");
        }
    }

    #[test]
    fn a_range_is_upside_down_only_where_nothing_fits() {
        let id = |ms, seq| Bound::Id(EntryId::new(ms, seq));
        assert!(is_upside_down(id(5, 1), id(5, 0)));
        assert!(!is_upside_down(id(5, 1), id(5, 1)));
        assert!(
            !is_upside_down(id(5, 9), Bound::TimeMs(5)),
            "the whole millisecond"
        );
        assert!(is_upside_down(Bound::TimeMs(6), id(5, 9)));
        assert!(!is_upside_down(Bound::TimeMs(5), Bound::TimeMs(5)));
    }
}
