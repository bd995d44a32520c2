//! What a pass and a look say of one stream, folded into what is known of it. No I/O, no clock.
//!
//! ```text
//!   window ──equal──▶ closed: sealed
//!      └────unequal─▶ looked at ──no fault──▶ closed
//!                         └──fault──▶ suspect ──looked at again, a round later──▶ closed: unequal, its faults are open
//!   record at or below what is sealed ──▶ its identity is looked at, and judged anew
//! ```
//!
//! Every identity is in the counts once: a window is counted when it is closed, and an identity that is judged anew first
//! takes back what it was counted as. What it was counted as is known from the open difference of its id; without one it was
//! most likely found in order. Nothing is taken back that is not there: then all is compared anew.

use std::collections::{BTreeMap, BTreeSet};

use crate::entry::EntryId;
use crate::placement::{Offset, Partition};

use super::super::class::{Class, Counts, Difference, Location, Why};
use super::super::digest::hexadecimal;
use super::super::look::Looked;
use super::super::pass::{Beside, StreamPass};
use super::super::store::{Closing, Ending, OPEN, Reach, Results, StreamState, Suspect};

/// Where each partition of a topic was read to before this round.
pub type Reached = BTreeMap<i32, Reach>;

/// What a round brings for one stream.
#[derive(Debug, Default)]
pub struct Step {
    pub closed: Vec<Closing>,
    /// What was judged, whatever was known of it before.
    pub judged: Counts,
    /// What came to be in each class: an identity that is looked at anew and is what it was counts no more.
    pub ended: BTreeMap<Class, u64>,
    pub results: Results,
    /// Suspects that were closed in this round before its logs were read on: their looks have met what these bring.
    pub looked_at: Vec<(EntryId, EntryId)>,
    /// Identities to be looked at, and how many records of each came after it was sealed.
    pub reopened: BTreeMap<EntryId, u64>,
    /// Records above the checkpoint for a whole round: where they stand.
    pub overdue: BTreeMap<EntryId, Vec<(bool, Partition, Offset)>>,
    /// Where the first of all these stands, by whether it is a dead letter: their own time need not be their entries'.
    pub places: BTreeMap<(bool, Partition), Offset>,
    /// Records to be read again, by whether they are dead letters.
    pub carried: BTreeSet<(bool, Partition, Offset)>,
}

impl Step {
    fn close(&mut self, state: &mut StreamState, closing: Closing) {
        state.windows += 1;
        state.results.add(closing.result);
        state.counts.add(&closing.counts);
        self.results.add(closing.result);
        self.judge(&closing.counts, &Counts::default());
        self.closed.push(closing);
    }

    /// `before`: what it was counted as until now.
    fn judge(&mut self, now: &Counts, before: &Counts) {
        self.judged.add(now);
        for (class, count) in now.classes() {
            let more = count.saturating_sub(before.of(class));
            if more > 0 {
                *self.ended.entry(class).or_default() += more;
            }
        }
    }

    fn stands(&mut self, letter: bool, at: Location) {
        let first = self.places.entry((letter, at.partition));
        let first = first.or_insert(at.offset);
        *first = at.offset.min(*first);
    }
}

/// Takes a pass in. `before`: where the records' and the dead letters' topic were read to; `None`: never.
pub fn fold(
    state: &mut StreamState,
    pass: &StreamPass,
    seed: u64,
    before: (Option<&Reached>, Option<&Reached>),
    step: &mut Step,
) {
    for (after, window) in pass.spans() {
        if window.is_level() {
            // Nothing compared is no evidence.
            if window.redis.count > 0 {
                let closing = Closing {
                    from: after,
                    through: window.through,
                    result: Ending::Sealed,
                    counts: Counts::level(window.redis.count, window.letters),
                    digest: Some((hexadecimal::text(window.redis.digest), seed)),
                };
                step.close(state, closing);
            }
        } else {
            state.suspects.push(Suspect {
                after,
                through: window.through,
                entries: window.redis.count.max(window.kafka.count),
                looked: false,
            });
        }
    }
    below(state, pass, step);
    beside(state, pass, before, step);
    state.sealed = pass.scope.through;
    state.joined = true;
}

/// Records whose entries Redis had trimmed or deleted before they were compared, and those that it lost.
fn below(state: &mut StreamState, pass: &StreamPass, step: &mut Step) {
    let counts = pass.counts_but(|_| true, pass.shares_history());
    if counts.total() == 0 {
        return;
    }
    // All faults there are records that Redis never had.
    let mut unnamed = counts.of(Class::Extra);
    let closing = Closing {
        from: pass.scope.after,
        through: pass.scope.through,
        result: ending(&counts),
        counts,
        digest: None,
    };
    step.close(state, closing);
    let named = pass.outside(pass.shares_history());
    for difference in named.filter(|one| one.class.is_fault()) {
        unnamed = unnamed.saturating_sub(1);
        open(state, difference);
    }
    if unnamed > 0 {
        *state.open.entry(Class::Extra).or_default() += unnamed;
    }
}

/// Records that belong to no window of this pass.
fn beside(
    state: &mut StreamState,
    pass: &StreamPass,
    before: (Option<&Reached>, Option<&Reached>),
    step: &mut Step,
) {
    let reached = |one: &Beside| {
        let reached = if one.letter { before.1 } else { before.0 };
        reached?.get(&one.at.partition.0).map(|reach| reach.end)
    };
    if pass.unkept > 0 {
        // How often each identity came is not known: nothing of it is judged before all is compared anew.
        state.doubt();
        return;
    }
    for one in &pass.behind {
        let suspects = state.suspects.iter().map(|one| (one.after, one.through));
        let suspected = suspects
            .chain(step.looked_at.iter().copied())
            .any(|(after, through)| after < one.id && one.id <= through);
        // A suspect is looked at whole, and what lies before the beginning concerns nobody.
        if one.id <= state.began || suspected {
            continue;
        }
        // What was never read before belongs to windows that were compared without it.
        let known = reached(one).is_some_and(|end| one.at.offset < end);
        let carried = state.carried.get(&one.at.partition.0);
        if !known {
            *step.reopened.entry(one.id).or_default() += 1;
            step.stands(one.letter, one.at);
        } else if !one.letter && !one.repaired && carried.is_some_and(|from| one.at.offset > *from)
        {
            // A later entry of the stream stands before it.
            step.reopened.entry(one.id).or_default();
            step.stands(one.letter, one.at);
        }
    }
    state.carried.clear();
    for later in &pass.later {
        carry(state, (later.letter, later.partition, later.first), step);
    }
    for one in &pass.ahead {
        let place = (one.letter, one.at.partition, one.at.offset);
        if reached(one).is_some_and(|end| one.at.offset < end) {
            step.overdue.entry(one.id).or_default().push(place);
            step.stands(one.letter, one.at);
        } else {
            carry(state, place, step);
        }
    }
}

fn carry(state: &mut StreamState, place: (bool, Partition, Offset), step: &mut Step) {
    let (letter, partition, offset) = place;
    step.carried.insert(place);
    if !letter {
        let first = state.carried.entry(partition.0).or_insert(offset);
        *first = (*first).min(offset);
    }
}

/// A look at a suspect. `true`: it is closed; otherwise it is to be looked at once more.
pub fn judge_window(
    state: &mut StreamState,
    suspect: &mut Suspect,
    looked: Looked,
    step: &mut Step,
) -> bool {
    if looked.counts.faults() > 0 && !suspect.looked {
        suspect.looked = true;
        return false;
    }
    step.looked_at.push((suspect.after, suspect.through));
    if looked.counts.total() == 0 {
        return true;
    }
    let closing = Closing {
        from: suspect.after,
        through: suspect.through,
        result: ending(&looked.counts),
        counts: looked.counts.clone(),
        digest: None,
    };
    step.close(state, closing);
    open_all(state, looked);
    true
}

/// A look at one identity that was counted before. `more`: records of it that came since.
pub fn judge_again(
    state: &mut StreamState,
    id: EntryId,
    more: u64,
    looked: Looked,
    step: &mut Step,
) {
    let Some(before) = counted_as(state, id, &looked.counts, more) else {
        state.doubt();
        return;
    };
    state.counts = state.counts.less(&before);
    state.counts.add(&looked.counts);
    step.judge(&looked.counts, &before);
    open_all(state, looked);
}

/// A record that stayed above the checkpoint: Redis never had its entry, or it is waited for.
pub fn judge_overdue(
    state: &mut StreamState,
    places: &[(bool, Partition, Offset)],
    looked: Looked,
    step: &mut Step,
) {
    if looked.counts.redis_entries > 0 {
        for &place in places {
            carry(state, place, step);
        }
        return;
    }
    state.counts.add(&looked.counts);
    step.judge(&looked.counts, &Counts::default());
    open_all(state, looked);
}

/// Notes the faults of a look: it counts them all, and names some.
fn open_all(state: &mut StreamState, looked: Looked) {
    for (class, count) in looked.counts.classes() {
        if class.is_fault() && count > 0 {
            *state.open.entry(class).or_default() += count;
        }
    }
    let faults = looked.differences.into_iter();
    let room = OPEN.saturating_sub(state.differences.len());
    let faults = faults.filter(|difference| difference.class.is_fault());
    state.differences.extend(faults.take(room));
}

/// Notes a fault that stands.
fn open(state: &mut StreamState, difference: Difference) {
    if !difference.class.is_fault() {
        return;
    }
    *state.open.entry(difference.class).or_default() += 1;
    if state.differences.len() < OPEN {
        state.differences.push(difference);
    }
}

/// What an identity was counted as until now; what was open of it is open no more. `None`: nothing of what it can have been
/// is in the counts.
fn counted_as(state: &mut StreamState, id: EntryId, now: &Counts, more: u64) -> Option<Counts> {
    let is_its = |difference: &&Difference| difference.id == Some(id);
    let mut listed = Counts::default();
    for difference in state.differences.iter().filter(is_its) {
        listed.add(&of_difference(difference));
    }
    if listed.total() > 0 {
        if !state.counts.holds(&listed) {
            return None;
        }
        let (closed, rest) = std::mem::take(&mut state.differences)
            .into_iter()
            .partition(|difference| difference.id == Some(id));
        state.differences = rest;
        let closed: Vec<Difference> = closed;
        for difference in &closed {
            close(state, difference.class);
        }
        return Some(listed);
    }
    let records = now.kafka_records.saturating_sub(more);
    if now.redis_entries + records == 0 {
        return Some(Counts::default());
    }
    let (class, counted) = guesses(records).into_iter().find(|(class, counted)| {
        state.counts.holds(counted) && (!class.is_fault() || unlisted(state, *class))
    })?;
    close(state, class);
    Some(counted)
}

/// What an identity that is not listed can have been counted as, by the records of it that came before, the likeliest first.
/// One that had none may have lost them since.
fn guesses(records: u64) -> Vec<(Class, Counts)> {
    let alone = |class| (class, Counts::redis_alone(class));
    let both = |class, records| (class, Counts::both(class, records));
    let mut guesses = match records {
        0 => vec![alone(Class::Missing), alone(Class::Unverifiable)],
        1 => Vec::new(),
        _ => vec![both(Class::Duplicate, records)],
    };
    let one_each = [Class::Match, Class::DeadLettered, Class::Unverifiable];
    guesses.extend(one_each.map(|class| both(class, 1)));
    let unverifiable = Counts::kafka_alone(Class::Unverifiable, 1);
    guesses.push((Class::Unverifiable, unverifiable));
    guesses
}

/// The records that an identity was counted with: one, where it was found in order.
pub fn records_counted(state: &StreamState, id: EntryId) -> u64 {
    let listed = state.differences.iter();
    let mut listed = listed.filter(|one| one.id == Some(id)).peekable();
    if listed.peek().is_none() {
        // One of the missing that are not listed may have none.
        return u64::from(!unlisted(state, Class::Missing));
    }
    listed.map(|one| of_difference(one).kafka_records).sum()
}

fn close(state: &mut StreamState, class: Class) {
    if let Some(open) = state.open.get_mut(&class) {
        *open = open.saturating_sub(1);
    }
}

/// Whether more of a class are open than are listed.
fn unlisted(state: &StreamState, class: Class) -> bool {
    let listed = state
        .differences
        .iter()
        .filter(|difference| difference.class == class)
        .count() as u64;
    state.open.get(&class).is_some_and(|open| *open > listed)
}

/// What a difference was counted as.
pub fn of_difference(difference: &Difference) -> Counts {
    let records = difference.record_count() + difference.letters;
    match (difference.class, difference.why) {
        (Class::Missing | Class::Pending, _)
        | (Class::Unverifiable, Some(Why::KafkaExpired | Why::KafkaCompacted)) => {
            Counts::redis_alone(difference.class)
        }
        (Class::Unverifiable, Some(Why::RouteChanged)) if records == 0 => {
            Counts::redis_alone(difference.class)
        }
        (Class::Unverifiable, Some(Why::RouteChanged)) => Counts::both(difference.class, records),
        // A duplicate that Redis no longer has says why.
        (Class::Extra | Class::Unverifiable, _) | (Class::Duplicate, Some(_)) => {
            Counts::records_alone(difference.class, records)
        }
        (class, _) => Counts::both(class, records),
    }
}

fn ending(counts: &Counts) -> Ending {
    if counts.faults() > 0 {
        Ending::Unequal
    } else if counts.of(Class::Unverifiable) > 0 {
        Ending::Unverifiable
    } else {
        Ending::Sealed
    }
}

#[cfg(test)]
mod tests;
