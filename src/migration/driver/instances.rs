//! What instances say to each other: each leaves its summary in Redis at every look, and who steers puts them together.
//!
//! A summary is made after the stamp of who steers was read, and carries it. Where Redis does not answer, what was read last
//! grows old by its stamps, and who mirrors everything still sees everything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tracing::{info, warn};

use super::{Driver, now_ms};
use crate::migration::gate::millis;
use crate::migration::measure::{Heard, Look, Sight, Summary, Topics, summary};
use crate::migration::store::Error;
use crate::status::Status;

/// What was said by an instance that says nothing new for so long is struck out.
const GONE_MS: i64 = 60_000;
/// More topics than this are not told to another instance at every look.
const TOPICS: usize = 2_000;

/// What is on the table.
pub(super) struct Table {
    /// This process's own number.
    boot: u64,
    began: Began,
    others: BTreeMap<String, Summary>,
    /// What each said last, by its stamp, and since when it has said nothing new.
    silent: BTreeMap<String, (i64, i64)>,
    /// It could be read and written at the last look.
    reached: bool,
    /// It was said that it cannot be.
    warned: bool,
    /// The version of the flags that this instance shows, and the number of what was heard last before it did.
    shown: (u64, u64),
    /// The newest version of which all is kept that was heard before it was shown.
    tells: Option<u64>,
    /// What all of it came to at the last look.
    pub(super) sight: Option<Sight>,
}

/// What this process heard first.
#[derive(Clone, Copy)]
enum Began {
    Nothing,
    /// While its counters stood at 0.
    At(Heard),
    /// Later.
    Late,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            boot: rand::random(),
            began: Began::Nothing,
            others: BTreeMap::new(),
            silent: BTreeMap::new(),
            reached: false,
            warned: false,
            shown: (0, 0),
            tells: None,
            sight: None,
        }
    }
}

impl Driver {
    /// Says what this instance sees and hears what the others do. `answers`: Redis did, just now.
    pub(super) async fn confer(&mut self, answers: bool) -> Sight {
        let mut heard = Ok(());
        if answers {
            let read = self.store.summaries().await;
            heard = read.map(|others| self.table.others = others);
        }
        // Only now, so that all it shows was seen after the stamps were read.
        let status = self.parts.board.snapshot();
        let own = self.own(&status);
        let gone = self.table.gone(own.at_ms);
        if answers && heard.is_ok() {
            heard = self.store.say(&told(&own), &gone).await;
        }
        self.table.reached = answers && heard.is_ok();
        self.mind(heard.err());
        let look = Look {
            name: &self.parts.instance,
            own: &own,
            others: &self.table.others,
            shards: self.parts.shards,
            limit: self.parts.config.lease,
            now_ms: own.at_ms,
        };
        let sight = look.together();
        self.measurements.route(sight.topics.clone());
        self.table.sight = Some(sight.clone());
        sight
    }

    fn own(&mut self, status: &Status) -> Summary {
        let holder = self.now.holder.as_ref();
        let steers = holder.and_then(|holder| self.table.others.get(holder));
        let heard = steers.map(|said| Heard {
            boot: said.boot,
            at_ms: said.at_ms,
        });
        let own = summary(status, self.table.boot, heard, now_ms());
        let began = self.table.began(&own);
        let followers = &self.measurements.followers;
        let (heard, kept) = (followers.heard_number(), followers.kept_number());
        let shown = self.flags.shown();
        let tells = self.table.tells(shown, heard, kept);
        // Those of an older version went against what nobody is told any more.
        let strays = Some(&status.strays).filter(|strays| strays.version == shown);
        let held = status.strays.held.as_ref();
        let held = held.filter(|held| Some(held.version) == shown);
        Summary {
            judges_by: shown,
            strays: strays.map_or(0, |strays| strays.recent_entries),
            stray_seconds: strays.and_then(|strays| strays.last_seconds),
            held: held.cloned(),
            began,
            tells,
            ..own
        }
    }

    fn mind(&mut self, trouble: Option<Error>) {
        if let Some(error) = &trouble
            && !self.table.warned
        {
            warn!(%error, "what the instances see cannot be exchanged");
        }
        self.table.warned = trouble.is_some();
    }

    /// The last word: it has no shards any more, and has counted so much. Where Redis does not answer nothing is waited for.
    pub(super) async fn take_leave(&mut self) {
        if !self.table.reached {
            return;
        }
        let own = self.own(&self.parts.board.snapshot());
        let last = Summary {
            shards: BTreeMap::new(),
            audited: BTreeSet::new(),
            topics: Some(BTreeMap::new()),
            parity: Err("it has stopped".to_owned()),
            open: 0,
            ..own
        };
        if let Err(error) = self.store.say(&last, &[]).await {
            info!(%error, "what this instance said grows old by itself");
        }
    }
}

impl Table {
    pub(super) const fn boot(&self) -> u64 {
        self.boot
    }

    fn began(&mut self, own: &Summary) -> Option<Heard> {
        if let (Began::Nothing, Some(heard)) = (self.began, own.heard) {
            let unmoved = own.entries == 0 && own.dead == 0;
            self.began = if unmoved {
                Began::At(heard)
            } else {
                Began::Late
            };
        }
        match self.began {
            Began::At(heard) => Some(heard),
            Began::Nothing | Began::Late => None,
        }
    }

    /// The version that is told here, once all is kept that was heard while an older one was.
    fn tells(&mut self, shown: Option<u64>, heard: u64, kept: u64) -> Option<u64> {
        if let Some(version) = shown.filter(|version| *version != self.shown.0) {
            self.shown = (version, heard);
        }
        if shown.is_some() && kept >= self.shown.1 {
            self.tells = Some(self.shown.0);
        }
        self.tells
    }

    /// Whom a version still waits for: who is heard of now and tells those who ask it an older one, and who lives and has not said
    /// yet what it tells, as all others when another has just begun to steer.
    pub(super) fn awaited(&self, own: &str, version: u64, limit: Duration) -> Option<String> {
        let now = now_ms();
        let within = |since_ms: i64| now.saturating_sub(since_ms) <= millis(limit);
        let others = self.others.iter().filter(|(name, _)| *name != own);
        for (name, said) in others {
            let heard = said.heard.filter(|heard| heard.boot == self.boot);
            if heard.is_some_and(|heard| within(heard.at_ms)) {
                if said.tells.is_none_or(|tells| tells < version) {
                    let what = format!("{name} to tell version {version} to those who ask it");
                    return Some(what);
                }
            } else if self
                .silent
                .get(name)
                .is_none_or(|(_, since_ms)| within(*since_ms))
            {
                return Some(format!("{name} to say which version it tells"));
            }
        }
        None
    }

    /// Those who have said nothing new for long.
    fn gone(&mut self, now_ms: i64) -> Vec<String> {
        self.silent.retain(|name, _| self.others.contains_key(name));
        for (name, said) in &self.others {
            let stamp = self
                .silent
                .entry(name.clone())
                .or_insert((said.at_ms, now_ms));
            if stamp.0 != said.at_ms {
                *stamp = (said.at_ms, now_ms);
            }
        }
        let silent = self.silent.iter();
        let gone = silent.filter(|(_, (_, since))| now_ms.saturating_sub(*since) > GONE_MS);
        gone.map(|(name, _)| name.clone()).collect()
    }
}

/// What is told of it to the others.
fn told(own: &Summary) -> Summary {
    let few = |topics: &Topics| topics.values().map(BTreeSet::len).sum::<usize>() <= TOPICS;
    Summary {
        topics: own.topics.clone().filter(few),
        ..own.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_told_once_all_is_kept_that_was_heard_before_it() {
        let mut table = Table::default();
        assert_eq!(table.tells(None, 0, 0), None);
        assert_eq!(table.tells(Some(4), 2, 2), Some(4));
        assert_eq!(table.tells(Some(5), 9, 8), Some(4), "one is not kept yet");
        assert_eq!(table.tells(Some(5), 30, 9), Some(5), "later ones saw it");
    }

    #[test]
    fn one_who_tells_less_or_has_not_said_is_named_while_it_lives() {
        let mut table = Table::default();
        let other = |boot, age_ms, tells| {
            let heard = Some(Heard {
                boot,
                at_ms: now_ms() - age_ms,
            });
            let board = crate::status::Board::new("demo", "b", [("r", "t")]);
            let said = summary(&board.snapshot(), 9, heard, now_ms());
            Summary { tells, ..said }
        };
        let limit = Duration::from_secs(60);
        let (ours, anothers) = (table.boot, table.boot.wrapping_add(1));
        let (tells, says) = (Some("to tell version 5"), Some("to say which version"));
        for (said, silent_ms, waits) in [
            (other(ours, 0, Some(4)), 0, tells),
            (other(ours, 0, None), 0, tells),
            (other(ours, 0, Some(5)), 0, None),
            // It has not heard yet who steers now, or has heard nothing for long, and lives.
            (other(anothers, 0, Some(5)), 0, says),
            (other(ours, 600_000, Some(5)), 0, says),
            // It is dead.
            (other(anothers, 0, Some(4)), 600_000, None),
            (other(ours, 600_000, Some(4)), 600_000, None),
        ] {
            table.others = [("b".to_owned(), said.clone())].into();
            let since_ms = now_ms() - silent_ms;
            table.silent = [("b".to_owned(), (said.at_ms, since_ms))].into();
            let awaited = table.awaited("a", 5, limit);
            let fits = match (&awaited, waits) {
                (Some(what), Some(part)) => what.starts_with("b ") && what.contains(part),
                (None, None) => true,
                _ => false,
            };
            assert!(fits, "{awaited:?} {waits:?}");
            assert_eq!(table.awaited("b", 5, limit), None, "what it left itself");
        }
    }
}
