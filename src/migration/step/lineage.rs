//! Which history a state belongs to, so that two states are told apart that have the same epoch by accident.
//!
//! Every change of course adds a mark: its epoch and a token that depends on all marks before it. Of two states of one
//! history the one holds the other's last mark; where neither does, two drivers wrote without knowing of each other (a
//! Redis was restored from a backup, or lost a save in a failover while Kafka could not be reached). No program can say
//! which of the two the applications followed: that is an operator's to decide.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::state::State;

/// So many marks are kept: beyond them histories are compared by their epochs alone.
const KEPT: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub epoch: u64,
    pub token: u64,
}

/// The last marks, the newest at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lineage(VecDeque<Mark>);

/// Why a stored state cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Trouble {
    #[error(
        "the stored epoch went back from {had} to {found}: neither store holds the state any more; nothing is moved until an \
         operator decides, see: lockgate runbook epoch-went-backwards"
    )]
    Backwards { had: u64, found: u64 },
    #[error(
        "two histories fork before epoch {epoch}: two drivers wrote without knowing of each other; nothing is moved until an \
         operator decides, see: lockgate runbook epoch-went-backwards"
    )]
    Fork { epoch: u64 },
}

impl Trouble {
    #[must_use]
    pub const fn runbook(&self) -> &'static str {
        "epoch-went-backwards"
    }
}

impl Lineage {
    /// Adds the mark of a change of course. `salt` differs between instances.
    pub fn grow(&mut self, epoch: u64, now_ms: i64, salt: u64) {
        let before = self.0.back().map_or(0, |mark| mark.token);
        let mut token = before ^ salt.rotate_left(32);
        for part in [epoch, now_ms.cast_unsigned(), salt] {
            token = mix(token ^ part);
        }
        self.0.push_back(Mark { epoch, token });
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    #[must_use]
    pub fn last(&self) -> Option<Mark> {
        self.0.back().copied()
    }

    /// Whether `mark` is part of this history; one older than what is kept is believed.
    fn holds(&self, mark: Mark) -> bool {
        let oldest = self.0.front().map_or(0, |first| first.epoch);
        mark.epoch < oldest || self.0.contains(&mark)
    }
}

/// splitmix64's finisher.
pub(super) fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Whether `newer`, whose rank is not the lower, goes on from `older` or is a later save of the same course.
fn goes_on(older: &State, newer: &State) -> Result<(), Trouble> {
    match older.lineage.last() {
        Some(mark) if !newer.lineage.holds(mark) => Err(Trouble::Fork { epoch: older.epoch }),
        _ => Ok(()),
    }
}

/// The one of two states that is further.
///
/// # Errors
/// They are of two histories.
pub fn further(one: Option<State>, other: Option<State>) -> Result<Option<State>, Trouble> {
    let (Some(one), Some(other)) = (&one, &other) else {
        return Ok(one.or(other));
    };
    let (older, newer) = if one.rank() <= other.rank() {
        (one, other)
    } else {
        (other, one)
    };
    goes_on(older, newer)?;
    Ok(Some(newer.clone()))
}

/// Whether `state` may be put in the place of `copy`: it is not behind it, and of its history.
#[must_use]
pub fn replaces(state: &State, copy: &State) -> bool {
    copy.rank() <= state.rank() && goes_on(copy, state).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epochs: u64, salt: u64) -> State {
        let mut state = State::first(0, "test");
        for epoch in 1..=epochs {
            state.epoch = epoch;
            state.version = epoch;
            state.lineage.grow(epoch, 0, salt);
        }
        state
    }

    #[test]
    fn the_higher_epoch_of_one_history_wins() {
        let (old, new) = (at(3, 7), at(9, 7));
        for (one, other) in [(&old, &new), (&new, &old)] {
            let won = further(Some(one.clone()), Some(other.clone())).expect("one history");
            assert_eq!(won.map(|state| state.epoch), Some(9));
        }
        assert_eq!(further(Some(old.clone()), None), Ok(Some(old)));
        assert_eq!(further(None, None), Ok(None));
    }

    #[test]
    fn two_histories_fork_at_any_epochs() {
        for (one, other) in [(3, 3), (3, 4), (9, 3)] {
            let forked = further(Some(at(one, 7)), Some(at(other, 8)));
            assert_eq!(
                forked,
                Err(Trouble::Fork {
                    epoch: one.min(other)
                })
            );
        }
    }

    #[test]
    fn an_earlier_save_of_one_course_is_behind_the_later_one() {
        let later = at(5, 7);
        let mut earlier = later.clone();
        earlier.version -= 1;
        assert!(replaces(&later, &earlier) && !replaces(&earlier, &later));
        let won = further(Some(later.clone()), Some(earlier));
        assert_eq!(won, Ok(Some(later)));
    }

    #[test]
    fn a_history_longer_than_what_is_kept_is_believed() {
        let won = |one, other| further(Some(one), Some(other));
        let epoch = |won: Result<Option<State>, Trouble>| won.map(|won| won.map(|won| won.epoch));
        assert_eq!(epoch(won(at(2, 7), at(200, 7))), Ok(Some(200)));
        assert!(won(at(190, 7), at(200, 8)).is_err());
    }
}
