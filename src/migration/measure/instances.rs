//! What several instances see, put together: a whole only where every shard has exactly one who speaks for it now. No I/O.
//!
//! ```text
//!   who steers ──stamp──▶ Redis hash ──▶ every other: hears the stamp, looks at its shards, leaves a summary with the stamp
//!       ▲                                                                                          │
//!       └────────── sums, from summaries whose stamp is young enough ◀─────────────────────────────┘
//! ```
//! How old a summary is follows from the stamp in it alone: what was seen after its writer had heard that stamp cannot be
//! older, by the clock of the one who gave it. So clocks that differ change nothing, and what a dead instance left behind under
//! another's stamps, or another process's, speaks of nothing.
//!
//! No shard may be without a speaker, and none may have two: then nothing is known, and the reason names the shard. A fault
//! that one of them sees is a fault all the same. Counters of processes are passed on however old, because they only grow.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::migration::gate::{Reading, millis};
use crate::migration::step::{Compared, Counts, Process};
use crate::status::HeldStatus;

/// The form of a summary; others are not read.
pub const VERSION: u32 = 1;
/// Shards and instances that a reason names.
const NAMED: usize = 8;

/// Topics by the route that leads to them.
pub type Topics = BTreeMap<String, BTreeSet<String>>;

/// What one instance sees of its own shards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub v: u32,
    /// A number that this process gave itself when it started.
    pub boot: u64,
    /// By its own clock: the stamp that others hear, and for people.
    pub at_ms: i64,
    /// What was heard last, before this was seen.
    pub heard: Option<Heard>,
    /// What was heard first, where no counter had moved by then.
    pub began: Option<Heard>,
    /// The shards that it mirrors, each with its lag in entries where that is known.
    pub shards: BTreeMap<u32, Option<u64>>,
    /// Age of the oldest entry that is not mirrored.
    pub lag_seconds: Option<f64>,
    /// All that its streams held so long before this was said is mirrored, by looks alone.
    #[serde(default)]
    pub carried_seconds: Option<f64>,
    /// Entries that its streams hold; `None`: not known of all, or of a version that does not say.
    #[serde(default)]
    pub stream_entries: Option<u64>,
    pub entries: u64,
    pub dead: u64,
    /// The shards that its findings speak of.
    pub audited: BTreeSet<u32>,
    /// Missing, extra and repeated entries that stand now.
    pub open: u64,
    pub parity: Result<Compared, String>,
    /// Where routes lead whose topics depend on their streams; `None`: too many to be told.
    pub topics: Option<Topics>,
    /// Whether Kafka answers it; `None`: it has not asked yet, or is of a version that does not say.
    #[serde(default)]
    pub kafka: Option<bool>,
    /// The version of the flags that it tells, where all is kept in Redis that it heard of applications before it did.
    #[serde(default)]
    pub tells: Option<u64>,
    /// By which version of the flags its mirror knows strays; `None`: by none.
    #[serde(default)]
    pub judges_by: Option<u64>,
    /// Strays against that version in the last minute, and how long ago the last was.
    #[serde(default)]
    pub strays: u64,
    #[serde(default)]
    pub stray_seconds: Option<f64>,
    /// The last entry of a bucket that this version holds.
    #[serde(default)]
    pub held: Option<HeldStatus>,
    /// Of the groups at Redis that are watched; `None`: there are none, or it is not known of all at all of its streams.
    #[serde(default)]
    pub redis_groups: Option<Backlog>,
}

/// What groups at Redis have before them, together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backlog {
    pub lag: u64,
    pub pending: u64,
}

/// A stamp of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    pub boot: u64,
    pub at_ms: i64,
}

/// What one who steers has before it.
pub struct Look<'a> {
    pub name: &'a str,
    pub own: &'a Summary,
    /// By instance, as they were left.
    pub others: &'a BTreeMap<String, Summary>,
    /// How many shards there are in all.
    pub shards: u32,
    /// An older summary says nothing of now.
    pub limit: Duration,
    pub now_ms: i64,
}

/// What all of them see together.
#[derive(Clone, Debug, PartialEq)]
pub struct Sight {
    /// Entries that are not mirrored yet.
    pub lag: Result<u64, String>,
    pub lag_seconds: Option<f64>,
    /// Entries that the streams hold, mirrored or not.
    pub stream_entries: Result<u64, String>,
    /// Nothing of the lag was seen before this.
    pub at_ms: i64,
    /// All entries that were added before this are mirrored, whatever their ids say.
    pub carried_ms: Option<i64>,
    pub inconsistency: Reading,
    /// Entries of the last minute in Redis whose bucket is Kafka's.
    pub strays: Reading,
    /// By which version of the flags; `None`: by none yet.
    pub judges_by: Option<u64>,
    /// How long ago the last of them was seen.
    pub stray_seconds: Option<f64>,
    /// The last entry of a bucket that is held.
    pub held: Option<HeldStatus>,
    /// Of the groups at Redis, at all streams.
    pub redis_groups: Option<Backlog>,
    pub counts: Counts,
    pub topics: Result<Topics, String>,
    /// Whether Kafka answers all who mirror, and the one who steers.
    pub kafka: Result<bool, String>,
}

/// A summary that speaks of now.
struct Voice<'a> {
    name: &'a str,
    /// What it says was seen after this.
    after_ms: i64,
    said: &'a Summary,
}

impl Look<'_> {
    #[must_use]
    pub fn together(&self) -> Sight {
        let voices = self.voices();
        let whole = self.one_for_each(&voices, "tells of", |said| {
            said.shards.keys().copied().collect()
        });
        let at_ms = voices.iter().map(|voice| voice.after_ms).min();
        let lag = whole.clone().and_then(|()| lag(&voices));
        let parity = self.parity(&voices);
        Sight {
            lag_seconds: lag.as_ref().ok().and_then(|_| oldest(&voices)),
            stream_entries: whole.clone().and_then(|()| stream_entries(&voices)),
            carried_ms: lag.as_ref().ok().and_then(|_| carried(&voices)),
            at_ms: at_ms.unwrap_or(self.now_ms),
            inconsistency: inconsistency(&voices, &parity),
            strays: self.strays(&voices, &whole),
            judges_by: self.own.judges_by,
            stray_seconds: least(voices.iter().filter_map(|voice| voice.said.stray_seconds)),
            held: latest_held(&voices),
            redis_groups: whole.as_ref().ok().and_then(|()| backlog(&voices)),
            topics: whole.clone().and_then(|()| topics(&voices)),
            kafka: self.kafka(&voices),
            lag,
            counts: Counts {
                processes: self.processes(),
                whole,
                parity,
            },
        }
    }

    /// A stray that is seen counts; that there is none is known only where all look for the same.
    fn strays(&self, voices: &[Voice<'_>], whole: &Result<(), String>) -> Reading {
        let by = self.own.judges_by;
        if by.is_none() {
            return Reading::Unknown("it judges by no flags yet".to_owned());
        }
        let same = voices.iter().filter(|voice| voice.said.judges_by == by);
        let seen: u64 = same.map(|voice| voice.said.strays).sum();
        let other = voices.iter().find(|voice| voice.said.judges_by != by);
        match (whole, other) {
            (Err(why), _) if seen == 0 => Reading::Unknown(why.clone()),
            (_, Some(voice)) if seen == 0 => {
                Reading::Unknown(format!("{} still goes by other flags", voice.name))
            }
            #[expect(clippy::cast_precision_loss, reason = "compared with 0")]
            _ => Reading::Value(seen as f64),
        }
    }

    fn voices(&self) -> Vec<Voice<'_>> {
        let own = Voice {
            name: self.name,
            after_ms: self.now_ms,
            said: self.own,
        };
        let others = self.others().filter_map(|(name, said)| {
            let heard = said.heard.filter(|heard| heard.boot == self.own.boot)?;
            let age = self.now_ms.saturating_sub(heard.at_ms);
            // A stamp from the future is one from before this clock was set back.
            (0..=millis(self.limit)).contains(&age).then_some(Voice {
                name,
                after_ms: heard.at_ms,
                said,
            })
        });
        std::iter::once(own).chain(others).collect()
    }

    /// What stands under the own name was left by this process, or by one before it.
    fn others(&self) -> impl Iterator<Item = (&str, &Summary)> {
        let others = self.others.iter().filter(|(name, _)| *name != self.name);
        others.map(|(name, said)| (name.as_str(), said))
    }

    fn one_for_each(
        &self,
        voices: &[Voice<'_>],
        does: &str,
        of: impl Fn(&Summary) -> BTreeSet<u32>,
    ) -> Result<(), String> {
        let mut by: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
        for voice in voices {
            for shard in of(voice.said) {
                by.entry(shard).or_default().push(voice.name);
            }
        }
        let twice = || by.iter().filter(|(_, names)| names.len() > 1);
        if let Some((_, names)) = twice().next() {
            let shards: Vec<u32> = twice().map(|(shard, _)| *shard).collect();
            let (shards, names) = (listed(&shards), names.join(" and "));
            return Err(format!("more than one instance {does} {shards}: {names}"));
        }
        if let Some((shard, names)) = by.iter().find(|(shard, _)| **shard >= self.shards) {
            let (names, all) = (names.join(", "), self.shards);
            return Err(format!(
                "{names} {does} shard {shard}, and there are {all} shards"
            ));
        }
        let nobody: Vec<u32> = (0..self.shards)
            .filter(|shard| !by.contains_key(shard))
            .collect();
        if nobody.is_empty() {
            return Ok(());
        }
        let last = self.spoke_last(&nobody, of);
        Err(format!("no instance {does} {} now{last}", listed(&nobody)))
    }

    /// Who spoke of one of these shards last, and is not heard of now.
    fn spoke_last(&self, shards: &[u32], of: impl Fn(&Summary) -> BTreeSet<u32>) -> String {
        let spoke = self.others().filter(|(_, said)| {
            let had = of(said);
            shards.iter().any(|shard| had.contains(shard))
        });
        let last = spoke.max_by_key(|(_, said)| said.at_ms);
        last.map_or_else(String::new, |(name, said)| {
            format!("; {name} did last, at {}", time(said.at_ms))
        })
    }

    /// Sums of what each shard's auditor has; who has no shard says nothing.
    fn parity(&self, voices: &[Voice<'_>]) -> Result<Compared, String> {
        let mut sum = Compared::default();
        for voice in voices {
            match &voice.said.parity {
                Ok(found) if found.verified > 0 && found.routes.is_empty() => {
                    return Err(format!(
                        "{} does not tell its routes apart: it is of an older version",
                        voice.name
                    ));
                }
                Ok(found) => {
                    sum.verified += found.verified;
                    sum.differ += found.differ;
                    for (route, found) in &found.routes {
                        let of_route = sum.routes.entry(route.clone()).or_default();
                        of_route.verified += found.verified;
                        of_route.differ += found.differ;
                    }
                }
                Err(_) if voice.said.shards.is_empty() && voice.said.audited.is_empty() => {}
                Err(why) if voice.name == self.name => return Err(why.clone()),
                Err(why) => return Err(format!("{}: {why}", voice.name)),
            }
        }
        self.one_for_each(voices, "audits", |said| said.audited.clone())?;
        Ok(sum)
    }

    /// One whom Kafka does not answer is enough: what that one mirrors stands still.
    fn kafka(&self, voices: &[Voice<'_>]) -> Result<bool, String> {
        let concerned = || {
            let voices = voices.iter();
            voices.filter(|voice| voice.name == self.name || !voice.said.shards.is_empty())
        };
        if concerned().any(|voice| voice.said.kafka == Some(false)) {
            return Ok(false);
        }
        match concerned().find(|voice| voice.said.kafka.is_none()) {
            Some(voice) if voice.name == self.name => Err("Kafka was not asked yet".to_owned()),
            Some(voice) => Err(format!(
                "{} does not say whether Kafka answers it",
                voice.name
            )),
            None => Ok(true),
        }
    }

    fn processes(&self) -> BTreeMap<u64, Process> {
        let all = self.others().map(|(_, said)| said).chain([self.own]);
        let process = |said: &Summary| Process {
            entries: said.entries,
            dead: said.dead,
            began_here: said.began.is_some_and(|heard| heard.boot == self.own.boot),
        };
        all.map(|said| (said.boot, process(said))).collect()
    }
}

fn lag(voices: &[Voice<'_>]) -> Result<u64, String> {
    let mut sum = 0;
    for voice in voices {
        for (shard, lag) in &voice.said.shards {
            sum += lag
                .ok_or_else(|| format!("the mirror does not know the lag of shard {shard} now"))?;
        }
    }
    Ok(sum)
}

fn stream_entries(voices: &[Voice<'_>]) -> Result<u64, String> {
    let mirrors = voices.iter().filter(|voice| !voice.said.shards.is_empty());
    let each = mirrors.map(|voice| {
        let held = voice.said.stream_entries;
        held.ok_or_else(|| format!("{} does not know it of all of its streams yet", voice.name))
    });
    each.sum()
}

fn backlog(voices: &[Voice<'_>]) -> Option<Backlog> {
    let mirrors = voices.iter().filter(|voice| !voice.said.shards.is_empty());
    let each = mirrors.map(|voice| voice.said.redis_groups);
    each.sum()
}

impl std::iter::Sum for Backlog {
    fn sum<I: Iterator<Item = Self>>(each: I) -> Self {
        each.fold(Self::default(), |sum, one| Self {
            lag: sum.lag + one.lag,
            pending: sum.pending + one.pending,
        })
    }
}

fn oldest(voices: &[Voice<'_>]) -> Option<f64> {
    let ages = voices.iter().map(|voice| voice.said.lag_seconds);
    let ages: Option<Vec<f64>> = ages.collect();
    ages.map(|ages| ages.into_iter().fold(0.0, f64::max))
}

fn least(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.reduce(f64::min)
}

fn latest_held(voices: &[Voice<'_>]) -> Option<HeldStatus> {
    let held = voices.iter().filter_map(|voice| voice.said.held.as_ref());
    let last = held.min_by(|one, other| one.seconds.total_cmp(&other.seconds));
    last.cloned()
}

fn carried(voices: &[Voice<'_>]) -> Option<i64> {
    let each = voices.iter().map(|voice| {
        #[expect(clippy::cast_possible_truncation, reason = "saturates")]
        let age = (voice.said.carried_seconds? * 1_000.0).ceil() as i64;
        Some(voice.after_ms.saturating_sub(age))
    });
    each.collect::<Option<Vec<i64>>>()?.into_iter().min()
}

/// A difference that is seen counts, whoever does not see the whole; none seen counts only where all is seen.
fn inconsistency(voices: &[Voice<'_>], parity: &Result<Compared, String>) -> Reading {
    let open: u64 = voices.iter().map(|voice| voice.said.open).sum();
    match parity {
        Err(why) if open == 0 => Reading::Unknown(why.clone()),
        #[expect(
            clippy::cast_precision_loss,
            reason = "compared with thresholds far below 2^53"
        )]
        Ok(_) | Err(_) => Reading::Value(open as f64),
    }
}

fn topics(voices: &[Voice<'_>]) -> Result<Topics, String> {
    let mut all = Topics::new();
    for voice in voices {
        let Some(topics) = &voice.said.topics else {
            return Err(format!("{} has too many topics to tell", voice.name));
        };
        for (route, topics) in topics {
            all.entry(route.clone())
                .or_default()
                .extend(topics.iter().cloned());
        }
    }
    Ok(all)
}

/// `shards 2, 3 and 9 more`
fn listed(shards: &[u32]) -> String {
    let first: Vec<String> = shards.iter().take(NAMED).map(u32::to_string).collect();
    let word = if shards.len() == 1 { "shard" } else { "shards" };
    let more = shards.len().saturating_sub(NAMED);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{word} {}{more}", first.join(", "))
}

fn time(ms: i64) -> String {
    let since = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    let at = SystemTime::UNIX_EPOCH.checked_add(since);
    humantime::format_rfc3339_seconds(at.unwrap_or(SystemTime::UNIX_EPOCH)).to_string()
}

#[cfg(test)]
mod tests;
