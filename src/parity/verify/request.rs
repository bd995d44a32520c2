//! What to verify.

use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::entry::{Database, EntryId};

/// What is to be compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Request {
    pub route: Option<String>,
    pub stream: Option<String>,
    pub database: Option<Database>,
    /// The first entry, itself included.
    pub from: Option<Bound>,
    /// The last entry, itself included.
    pub to: Option<Bound>,
    pub sample: Option<Sample>,
    /// Every window entry by entry, not only those whose digests differ.
    pub full: bool,
    /// Digests keyed with this, to compare them with those of an earlier run; `None`: drawn anew.
    pub seed: Option<u64>,
}

/// An end of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    Id(EntryId),
    /// Milliseconds since 1970.
    TimeMs(u64),
}

impl Bound {
    /// The least id that is in a range which begins here.
    #[must_use]
    pub const fn lowest(self) -> EntryId {
        match self {
            Self::Id(id) => id,
            Self::TimeMs(ms) => EntryId::new(ms, 0),
        }
    }

    /// The greatest id that is in a range which ends here.
    #[must_use]
    pub const fn highest(self) -> EntryId {
        match self {
            Self::Id(id) => id,
            Self::TimeMs(ms) => EntryId::new(ms, u64::MAX),
        }
    }
}

/// Neither an id, nor a time, nor a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no entry id (1741356110123-0), no time (2026-03-12T14:02:10Z) and no time ago (2h, 90s)"
)]
pub struct InvalidBound(String);

impl FromStr for Bound {
    type Err = InvalidBound;

    /// An id has a dash between digits; a time is RFC 3339; a duration is that long ago.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(id) = text.parse::<EntryId>() {
            return Ok(Self::Id(id));
        }
        let time = humantime::parse_rfc3339_weak(text).ok().or_else(|| {
            let ago = humantime::parse_duration(text).ok()?;
            SystemTime::now().checked_sub(ago)
        });
        time.and_then(|time| {
            let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
            u64::try_from(since.as_millis()).ok()
        })
        .map(Self::TimeMs)
        .ok_or_else(|| InvalidBound(text.to_owned()))
    }
}

/// How much of the range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sample {
    /// About so many entries, drawn evenly.
    Entries(u64),
    /// More than 0, at most 100.
    Percent(f64),
}

/// No size of a sample.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no size of a sample: a number of entries above 0 (3000), or a share up to 100 % (5%)"
)]
pub struct InvalidSample(String);

impl FromStr for Sample {
    type Err = InvalidSample;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidSample(text.to_owned());
        match text.strip_suffix('%') {
            Some(share) => share
                .trim()
                .parse()
                .ok()
                .filter(|share: &f64| *share > 0.0 && *share <= 100.0)
                .map(Self::Percent)
                .ok_or_else(invalid),
            None => text
                .parse()
                .ok()
                .filter(|entries| *entries > 0)
                .map(Self::Entries)
                .ok_or_else(invalid),
        }
    }
}

impl Sample {
    /// The share of `total` entries.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn share(self, total: u64) -> f64 {
        match self {
            Self::Percent(percent) => percent / 100.0,
            Self::Entries(entries) => (entries as f64 / total.max(1) as f64).min(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_times_and_durations_are_told_apart() {
        assert_eq!("5-1".parse(), Ok(Bound::Id(EntryId::new(5, 1))));
        assert_eq!(
            "1970-01-01T00:00:02Z".parse(),
            Ok(Bound::TimeMs(2_000)),
            "a time"
        );
        assert!(matches!("2h".parse(), Ok(Bound::TimeMs(ms)) if ms > 0));
        assert!("yesterday".parse::<Bound>().is_err());
    }

    #[test]
    fn a_sample_is_a_number_or_a_share() {
        assert_eq!("3000".parse(), Ok(Sample::Entries(3_000)));
        assert_eq!("5%".parse(), Ok(Sample::Percent(5.0)));
        for wrong in ["0", "-1", "0%", "101%", "NaN%", "", "five"] {
            assert!(wrong.parse::<Sample>().is_err(), "{wrong}");
        }
    }
}
