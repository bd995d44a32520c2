//! What was seen while the store could not be written. It is true all the same, and counts as soon as something is stored
//! again: a store that is away hides no trouble, and a condition that was seen to end has ended.

use std::collections::BTreeMap;

use super::{Machine, NotSaved, State};
use crate::migration::gate::{GateName, Held};
use crate::migration::phase::Step;

#[derive(Clone)]
pub(super) struct Unsaved {
    /// Where, and since when it stood there.
    at: (Step, i64),
    /// Since when Kafka was not well, as it was stored and as it was seen then.
    unwell_since_ms: (Option<i64>, Option<i64>),
    holding: BTreeMap<GateName, Held>,
}

impl Unsaved {
    /// Puts it into a state; whether that changes it. Whoever stored it may have seen other things: a trouble began when the
    /// first saw it, and a condition holds since all have seen it hold.
    fn add_to(&self, state: &mut State) -> bool {
        if self.at != place(state) {
            return false;
        }
        let (before, seen) = self.unwell_since_ms;
        let unwell = match (state.unwell_since_ms, seen) {
            (stored, seen) if stored == before => seen,
            (Some(stored), Some(seen)) => Some(stored.min(seen)),
            (stored, seen) => stored.or(seen),
        };
        let mut changes = unwell != state.unwell_since_ms;
        state.unwell_since_ms = unwell;
        for (gate, seen) in &self.holding {
            let stored = state.holding.get(gate).and_then(|held| held.since_ms);
            let ended = seen.since_ms.is_none() || seen.since_ms > stored;
            if stored.is_some() && ended {
                state.holding.insert(*gate, seen.clone());
                changes = true;
            }
        }
        changes
    }
}

fn place(state: &State) -> (Step, i64) {
    (state.step, state.since_ms)
}

impl Machine {
    /// Before the state is again what is stored. Where another driver stored it, it has seen for itself.
    pub(super) fn keep_unsaved(&mut self, why: NotSaved) {
        let Some(saved) = self.saved.as_ref().filter(|_| why == NotSaved::Unreachable) else {
            return;
        };
        let state = &self.state;
        self.unsaved = Some(Unsaved {
            at: place(state),
            unwell_since_ms: (saved.unwell_since_ms, state.unwell_since_ms),
            holding: state.holding.clone(),
        });
    }

    /// Whether it changes anything.
    pub(super) fn carry_unsaved(&mut self) -> bool {
        let unsaved = self.unsaved.as_ref();
        unsaved.is_some_and(|unsaved| unsaved.add_to(&mut self.state))
    }
}
