//! What is stored: Redis is read in the loop, the copy in Kafka beside it, and each is held against all that was seen before.
//!
//! Kafka out of reach holds nothing up: where Redis holds a state that is what is steered, and the copy is compared as soon as
//! it can be read; nothing moves forward before that. Where Redis holds none, only the copy tells a first start from a loss,
//! so that is waited for. A process that saw a state does not go on from an earlier one, whoever steered meanwhile.

use tracing::{info, warn};

use super::{Driver, Hears, TAIL, flags};
use crate::migration::step::{Acted, Event, Machine, State};
use crate::migration::store::{Copy, Error};

/// What came of reading the copy.
pub(super) type Reading = Result<Option<State>, Error>;

impl Driver {
    /// Reads what is stored and begins to steer.
    pub(super) async fn begin(&mut self) {
        let stored = match self.store.load().await {
            Ok(stored) => stored,
            Err(error) => {
                warn!(%error, "the driver cannot read its state yet");
                self.now.error = Some(error.to_string());
                return;
            }
        };
        let copy = self.copy.take();
        if stored.is_none() && copy.is_none() {
            self.read_copy();
            return;
        }
        let known = stored.as_ref().map(|(state, _)| state);
        let known = known.or(copy.as_ref().and_then(Option::as_ref));
        let (last, told) = (
            known.map(|state| state.journal),
            known.map(|state| state.told.version),
        );
        // What others heard is known before anything that waits for applications goes on.
        self.hears = Hears::NotYet;
        if let Some(told) = told {
            self.hear(told).await;
        }
        let (salt, parts) = (rand::random(), &self.parts);
        let machine = Machine::new(
            parts.config.clone(),
            &parts.migration,
            &parts.instance,
            salt,
        );
        let machine = machine.beside(&parts.beside);
        self.machine = Some(machine.remembering(self.furthest.clone()));
        info!("this instance steers the migration");
        if let Some(last) = last {
            self.recall(last).await;
        }
        if let Some(copy) = copy {
            self.take(Event::Copied(copy.map(Box::new))).await;
        }
        self.take(loaded(stored)).await;
        self.compare();
    }

    /// The last records of those who steered before, for the view alone.
    async fn recall(&mut self, last: u64) {
        let first = last.saturating_sub(TAIL - 1).max(1);
        match self.store.journal(first..=last).await {
            Ok(records) => self.now.journal = records,
            Err(error) => warn!(%error, "the last records of the journal cannot be read"),
        }
        self.seen.begin_after(last);
    }

    /// What Redis holds. `None`: it holds nothing, and what the copy holds is being read.
    pub(super) async fn loaded(&mut self) -> Option<Event> {
        match self.store.load().await {
            Ok(Some(stored)) => {
                self.unread = false;
                return Some(loaded(Some(stored)));
            }
            Ok(None) => self.read_copy(),
            Err(error) => self.now.error = Some(error.to_string()),
        }
        self.unread = true;
        None
    }

    /// The mind keeps what it knew, so that a store that came back with less is noticed.
    pub(super) async fn reload(&mut self) {
        if let Some(event) = self.loaded().await {
            self.take(event).await;
        }
    }

    /// Reads the copy where it was not held against what is stored, or did not agree.
    pub(super) fn compare(&mut self) {
        let machine = self.machine.as_ref();
        if machine.is_some_and(|machine| !machine.compared() || machine.trouble().is_some()) {
            self.read_copy();
        }
    }

    /// Reads the copy beside the loop, once at a time.
    fn read_copy(&mut self) {
        if self.reading {
            return;
        }
        self.reading = true;
        let copy = Copy::new(&self.parts.kafka, &self.parts.migration);
        let readings = self.readings.0.clone();
        tokio::spawn(async move {
            let reading = match copy {
                Ok(copy) => copy.read().await,
                Err(error) => Err(error),
            };
            // The driver has ended where nobody listens.
            let _ = readings.send(reading).await;
        });
    }

    pub(super) async fn on_copy(&mut self, reading: Reading) {
        self.reading = false;
        let copy = match reading {
            Ok(copy) => copy,
            Err(error) => {
                if !self.blind {
                    warn!(%error, "the copy of the state in Kafka cannot be read; it is tried again");
                }
                self.blind = true;
                if self.machine.is_none() || self.unread {
                    self.now.error = Some(error.to_string());
                }
                return;
            }
        };
        self.blind = false;
        if self.machine.is_none() {
            if self.renewed.is_some() {
                self.copy = Some(copy);
                self.begin().await;
            }
            return;
        }
        match self.store.load().await {
            Ok(stored) => {
                self.unread = false;
                self.take(Event::Copied(copy.map(Box::new))).await;
                self.take(loaded(stored)).await;
            }
            Err(error) => self.now.error = Some(error.to_string()),
        }
    }

    /// What this process saw, whoever stored it.
    pub(super) fn remember(&mut self) {
        let rank = |state: &Option<State>| state.as_ref().map(State::rank);
        if rank(&self.furthest) < rank(&self.now.state) {
            self.furthest.clone_from(&self.now.state);
        }
    }

    /// What Redis tells may be lost or set back without the state (evicted, deleted, a failover): then it is told again.
    pub(super) async fn compare_flags(&mut self, told: u64) {
        match self.store.flags_version().await {
            Ok(found) => self.untold |= found != Some(told),
            Err(error) => self.now.error = Some(error.to_string()),
        }
    }

    /// Who stored what was read may have died before telling it, may have told it to other processes' readers alone, or Redis
    /// may have lost it: what was read is told again. Where that fails, at the next turn.
    pub(super) async fn retell(&mut self) {
        // Flags that are found to be of a later version are outrun, and told then.
        for _ in 0..2 {
            // What Redis holds may be older than the copy: where that can be read, it is waited for.
            let calm = self.machine.as_ref().filter(|machine| {
                machine.trouble().is_none() && (machine.compared() || self.blind)
            });
            let Some(state) = calm.and_then(Machine::stored) else {
                return;
            };
            // While it moves, telling is an action of its own.
            let (flags, still) = (flags(state), state.motion.is_none());
            if !self.untold && (!still || self.flags.says(&flags)) {
                return;
            }
            match self.tell(flags).await {
                Acted::Failed(why) => {
                    self.now.error = Some(why);
                    return;
                }
                Acted::Outrun(later) => drop(self.take(Event::Outrun(later)).await),
                Acted::Done | Acted::NotYet(_) => self.untold = false,
            }
        }
    }
}

fn loaded(stored: Option<(State, u64)>) -> Event {
    match stored {
        Some((state, stored)) => Event::Loaded {
            state: Some(Box::new(state)),
            stored,
        },
        None => Event::Loaded {
            state: None,
            stored: 0,
        },
    }
}
