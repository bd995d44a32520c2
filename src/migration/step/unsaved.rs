//! What was seen while the store could not be written. It is true all the same, and counts as soon as something is stored
//! again: a store that is away hides no trouble, and a condition that was seen to end has ended.

use std::collections::BTreeMap;

use super::{Machine, State};
use crate::migration::gate::{GateName, Held};
use crate::migration::phase::Step;

#[derive(Clone)]
pub(super) struct Unsaved {
    /// Where, and since when it stood there.
    at: (Step, i64),
    unwell_since_ms: Option<i64>,
    holding: BTreeMap<GateName, Held>,
}

impl Unsaved {
    fn of(state: &State) -> Self {
        Self {
            at: place(state),
            unwell_since_ms: state.unwell_since_ms,
            holding: state.holding.clone(),
        }
    }

    /// Whoever stored the state saw other things: a trouble began when the first saw it, and a condition holds since both saw
    /// it hold.
    fn add_to(&self, state: &mut State) {
        if self.at != place(state) {
            return;
        }
        if let Some(since) = self.unwell_since_ms {
            let stored = state.unwell_since_ms.unwrap_or(since);
            state.unwell_since_ms = Some(stored.min(since));
        }
        for (gate, seen) in &self.holding {
            let stored = state.holding.get(gate).and_then(|held| held.since_ms);
            let ended = seen.since_ms.is_none() || seen.since_ms > stored;
            if stored.is_some() && ended {
                state.holding.insert(*gate, seen.clone());
            }
        }
    }
}

fn place(state: &State) -> (Step, i64) {
    (state.step, state.since_ms)
}

impl Machine {
    /// Before the state is again what is stored.
    pub(super) fn keep_unsaved(&mut self) {
        self.unsaved = Some(Unsaved::of(&self.state));
    }

    pub(super) fn carry_unsaved(&mut self) {
        if let Some(unsaved) = &self.unsaved {
            unsaved.add_to(&mut self.state);
        }
    }
}
