//! Doing what the mind commands. Each action may be done again after a crash, and has the same effect then.

use super::{Driver, Hears, as_flags, now_ms};
use crate::config::HeldWrites;
use crate::failpoint;
use crate::flags::Flags;
use crate::migration::gate::{Reading, millis};
use crate::migration::step::{Acted, Action, Direction, Machine};

impl Driver {
    /// Does an action; `None`: its outcome comes later.
    pub(super) async fn act(&mut self, epoch: u64, at: usize, action: Action) -> Option<Acted> {
        let machine = self.machine.as_ref();
        let motion = machine.and_then(Machine::stored)?.motion.as_ref()?;
        if motion.direction == Direction::Forward && !machine.is_some_and(Machine::compared) {
            let what = "the copy of the state in Kafka, which was not read yet";
            return Some(Acted::NotYet(what.to_owned()));
        }
        Some(match action {
            Action::Precheck => {
                self.precheck(epoch, at);
                return None;
            }
            Action::Tell(told) => {
                let stored = self.machine.as_ref().and_then(Machine::stored);
                let born = stored.and_then(|state| state.kafka_born);
                self.tell(as_flags(&told, born)).await
            }
            Action::Converge { version } => self.converged(version),
            Action::Drain => self.drained(epoch, at),
        })
    }

    pub(super) async fn tell(&mut self, flags: Flags) -> Acted {
        let connection = match self.store.connection().await {
            Ok(connection) => connection,
            Err(error) => return Acted::Failed(error.to_string()),
        };
        failpoint::hit(failpoint::BEFORE_TELL);
        let told = self.flags.tell(connection, flags).await;
        failpoint::hit(failpoint::AFTER_TELL);
        match told {
            Ok(None) => Acted::Done,
            Ok(Some(later)) => Acted::Outrun(later),
            Err(error) => Acted::Failed(error.to_string()),
        }
    }

    fn converged(&self, version: u64) -> Acted {
        if self.hears != Hears::All {
            return Acted::NotYet(
                "what applications acknowledged, which Redis does not tell".to_owned(),
            );
        }
        let (own, lease) = (&self.parts.instance, self.parts.config.lease);
        if let Some(what) = self.table.awaited(own, version, lease) {
            return Acted::NotYet(what);
        }
        let now = now_ms();
        let following = self.measurements.followers.following(version, now);
        if following.left_out {
            return Acted::NotYet(
                "applications that are not known apart: too many acknowledge; see docs/flags.md"
                    .to_owned(),
            );
        }
        if following.known == 0 {
            return Acted::NotYet(
                "an application that follows the flags; none is known".to_owned(),
            );
        }
        if !following.behind.is_empty() {
            return Acted::NotYet(format!(
                "{} to follow version {version}",
                following.behind.join(", ")
            ));
        }
        let settled = following
            .last_ms
            .unwrap_or(now)
            .saturating_add(millis(self.parts.config.settle));
        if now < settled {
            return Acted::NotYet("what was begun before the change".to_owned());
        }
        self.no_stray(version)
            .map_or_else(Acted::NotYet, |()| Acted::Done)
    }

    /// On a way forward: who writes and is not known is seen by what it writes, where all who mirror look for it by this version.
    fn no_stray(&self, version: u64) -> Result<(), String> {
        if !self.goes_forward() {
            return Ok(());
        }
        let sight = self.table.sight.as_ref();
        let sight = sight.filter(|sight| sight.judges_by >= Some(version));
        let Some(sight) = sight else {
            return Err(format!(
                "a look at what is written against version {version}"
            ));
        };
        sight.counts.whole.clone()?;
        let config = &self.parts.config;
        let settle = config.settle.as_secs_f64();
        let recent = sight.stray_seconds.is_some_and(|ago| ago < settle);
        let waits = config.held_writes == HeldWrites::Wait;
        match &sight.strays {
            Reading::Unknown(why) => Err(why.clone()),
            _ if recent => {
                Err("strays to end: somebody writes to Redis what is Kafka's".to_owned())
            }
            Reading::Value(_) | Reading::Counted { .. } => match &sight.held {
                Some(held) if held.seconds < settle && waits => Err(format!(
                    "writes to end that are held: somebody wrote to Redis stream {}, bucket {}",
                    held.stream, held.bucket
                )),
                _ => Ok(()),
            },
        }
    }

    fn goes_forward(&self) -> bool {
        let state = self.machine.as_ref().and_then(Machine::stored);
        let motion = state.and_then(|state| state.motion.as_ref());
        motion.is_some_and(|motion| motion.direction == Direction::Forward)
    }

    /// All that was written before applications followed is in Kafka. Others go on writing meanwhile, so that the lag need not
    /// be 0 at any moment: it is enough that all is mirrored that a look saw which was begun after their change.
    fn drained(&mut self, epoch: u64, at: usize) -> Acted {
        let now = now_ms();
        let same = self.draining.filter(|(of, _)| *of == (epoch, at));
        let (_, draining_ms) = *self.draining.insert(same.unwrap_or(((epoch, at), now)));
        let config = &self.parts.config;
        let sight = self.table.sight.as_ref();
        let fresh = sight
            .filter(|sight| now.saturating_sub(sight.at_ms) <= millis(config.evidence_freshness));
        let Some(sight) = fresh else {
            return Acted::NotYet("the mirror's lag, which is not known".to_owned());
        };
        let left = match &sight.lag {
            Ok(left) => *left,
            Err(why) => return Acted::NotYet(format!("the mirror's lag: {why}")),
        };
        // What was seen before applications followed shows nothing of what they wrote last: not even that nothing is left. And
        // where they followed long ago, what was seen before this drain shows nothing of what came since.
        let settled = |ms: i64| ms.saturating_add(millis(config.settle));
        let followed_ms = self.measurements.followers.following(0, now).last_ms;
        let since_ms = followed_ms.map_or(settled(draining_ms), |ms| settled(ms).max(draining_ms));
        match sight.carried_ms {
            // What was mirrored last is looked at too.
            Some(carried_ms) if carried_ms > since_ms => {
                let told = self.machine.as_ref().and_then(Machine::stored);
                let version = told.map_or(0, |state| state.told.version);
                self.no_stray(version)
                    .map_or_else(Acted::NotYet, |()| Acted::Done)
            }
            _ if left == 0 => {
                Acted::NotYet("every stream to be looked for and at again".to_owned())
            }
            _ => Acted::NotYet(format!("{left} entries to be mirrored")),
        }
    }
}
