//! Where a reader stands in one stream, and what a look at the stream makes of that.

use std::sync::Arc;
use std::time::Instant;

use tracing::{error, warn};

use super::gaps::{Finding, Mark, assess};
use super::pace::Pace;
use super::shared::Shared;
use super::slot::{Gap, Slot};
use crate::checkpoint::Position;
use crate::config::OnTrouble;
use crate::entry::{Entry, EntryId};
use crate::placement::Remade;
use crate::status::{GapCause, Observation, Reason, StreamCell};
use crate::streams::{Error, Inspected, StreamState};

pub struct Lane {
    pub slot: Arc<Slot>,
    pub mark: Mark,
    pub generation: u32,
    began: EntryId,
    remade: Remade,
    /// The last read brought its full share: more is likely there.
    pub busy: bool,
    pub halted: bool,
    pub exact_at: Instant,
    /// When the last look was begun.
    pub looked: Instant,
    pub pace: Pace,
    /// The operator accepts the next gap that the lifted halt spoke of.
    forgiving: bool,
    not_a_stream: bool,
    /// Redis does not let us touch the key; looks go on until it does.
    pub refused: bool,
    absent: bool,
    /// The last look could not tell whether something is missing.
    pub open: bool,
    /// Entries ever added, at the last look: of this term or, before the first, of whoever looked before it.
    seen_added: Option<u64>,
    /// The stream that this generation is of was found gone: before the term, or beside it.
    gone: bool,
}

/// What a look says about the entries in hand.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on with them, past this gap if there is one.
    Go(Option<Gap>),
    /// The stream began anew: the lane stands before its first entry, and what is in hand belongs to no position.
    Anew(Gap),
    /// Stop the stream where it stood.
    Halt,
}

impl Lane {
    #[must_use]
    pub fn new(slot: Arc<Slot>, position: &Position, before: Option<&StreamCell>) -> Self {
        let gone = before.and_then(|cell| cell.gone(position.generation));
        let seen = before.and_then(|cell| cell.seen);
        Self {
            mark: Mark {
                id: position.id,
                added: position.entries_added,
                exact: position.id,
                start: position.id == position.began && position.id != EntryId::ZERO,
            },
            generation: position.generation,
            began: position.began,
            remade: position.remade,
            busy: false,
            halted: false,
            exact_at: Instant::now(),
            looked: Instant::now(),
            pace: Pace::new(),
            forgiving: true,
            not_a_stream: false,
            refused: false,
            absent: false,
            open: false,
            seen_added: gone.or(seen.map(|seen| seen.entries_added)),
            gone: gone.is_some(),
            slot,
        }
    }

    /// Whether it is to be read now.
    #[must_use]
    pub const fn is_readable(&self) -> bool {
        !self.halted && !self.refused
    }

    /// Redis refuses this key alone: the stream waits, and its neighbours go on.
    pub fn refuse(&mut self, shared: &Shared, error: &Error) {
        self.refused = true;
        self.busy = false;
        if !self.halted {
            shared.show_refused(&self.slot, error);
        }
    }

    /// A look came through again.
    fn permit(&mut self, shared: &Shared) {
        if std::mem::take(&mut self.refused) && !self.halted {
            shared.board.stream(&self.slot.stream, StreamCell::running);
        }
    }

    #[must_use]
    pub fn position(&self) -> Position {
        Position {
            id: self.mark.id,
            generation: self.generation,
            entries_added: self.mark.added,
            began: self.began,
            remade: self.remade,
        }
    }

    /// Steps behind these entries.
    pub fn advance(&mut self, entries: &[Entry]) {
        if let Some(last) = entries.last() {
            self.mark.id = last.id;
            self.mark.start = false;
            self.mark.added = self.mark.added.map(|added| added + entries.len() as u64);
        }
    }

    /// Learns from what a read for `asked` entries brought of this stream.
    pub fn measure(&mut self, entries: &[Entry], asked: usize) {
        self.pace.brought(entries, asked);
        self.busy = entries.len() >= asked;
    }

    /// Judges a look that followed a read of entries, which the lane has stepped behind already; `from` is the mark before
    /// them. Where the stream has gone meanwhile and they are of the old one, they are good: what stands behind them is given.
    pub fn judge_read(
        &mut self,
        shared: &Shared,
        look: &Inspected,
        from: Mark,
    ) -> (Verdict, Option<Position>) {
        let of_the_old = match look {
            Inspected::Stream(state)
                if self.is_another(state, &from, self.seen_added)
                    || assess(state, &from, None) == Finding::Recreated =>
            {
                state.first.is_none_or(|first| first > self.mark.id)
            }
            Inspected::Stream(_) | Inspected::NotAStream(_) => {
                return (self.judge(shared, look, None), None);
            }
            Inspected::Absent => true,
        };
        if !of_the_old {
            self.mark = from;
        }
        let behind = self.position();
        (self.judge(shared, look, None), of_the_old.then_some(behind))
    }

    /// Judges a look at this stream. `unread`: entries behind the mark, where the look counted them.
    pub fn judge(&mut self, shared: &Shared, look: &Inspected, unread: Option<u64>) -> Verdict {
        self.permit(shared);
        if self.halted && (!self.not_a_stream || matches!(look, Inspected::NotAStream(_))) {
            if let Inspected::Stream(state) = look {
                self.observe(shared, state);
            }
            return Verdict::Halt;
        }
        if self.halted {
            self.halted = false;
            self.not_a_stream = false;
            shared.board.stream(&self.slot.stream, StreamCell::running);
        }
        match look {
            Inspected::Absent => self.judge_absent(shared),
            Inspected::NotAStream(kind) => {
                self.not_a_stream = true;
                self.halt(shared, Reason::NotAStream, format!("the key holds a {kind}, not a stream; rename or remove it, or take it out of the route"))
            }
            Inspected::Stream(state) => {
                self.absent = false;
                // If the stream is another by now, this look's count says nothing of what was unread in the old one.
                let before = self.seen_added;
                self.observe(shared, state);
                self.judge_stream(shared, state, before, unread)
            }
        }
    }

    fn observe(&mut self, shared: &Shared, state: &StreamState) {
        let Some(entries_added) = state.entries_added else {
            return;
        };
        self.seen_added = Some(entries_added);
        let at_ms = super::shared::now_ms();
        let begun = self.looked;
        shared.board.stream(&self.slot.stream, |cell| {
            let seen = Observation {
                at_ms,
                entries_added,
                length: state.length,
            };
            cell.observe(seen, begun);
            self.gone |= cell.gone(self.generation).is_some();
        });
    }

    fn judge_stream(
        &mut self,
        shared: &Shared,
        state: &StreamState,
        before: Option<u64>,
        unread: Option<u64>,
    ) -> Verdict {
        let found = if self.is_another(state, &self.mark, before) {
            Finding::Recreated
        } else {
            assess(state, &self.mark, unread)
        };
        match found {
            Finding::Level { added } => {
                self.mark.added = Some(added);
                let id = self.mark.id;
                shared.board.stream(&self.slot.stream, |cell| {
                    if cell.checkpoint == Some(id) {
                        cell.added_at_checkpoint = Some(added);
                    }
                });
                self.settle();
                Verdict::Go(None)
            }
            Finding::Undetermined => {
                // Without Redis's count no look ever will.
                self.open = state.entries_added.is_some();
                Verdict::Go(None)
            }
            Finding::Missing {
                entries,
                cause,
                added,
            } => {
                let gap = Gap { cause, entries };
                if !self.may_pass(shared, gap, false) {
                    return Verdict::Halt;
                }
                self.mark.added = Some(added);
                self.settle();
                Verdict::Go(Some(gap))
            }
            Finding::Ahead => {
                self.show_ahead(shared, state.entries_added);
                Verdict::Go(None)
            }
            Finding::Recreated => {
                let history = state
                    .entries_added
                    .map(|added| added.saturating_sub(state.length));
                self.began_anew(shared, GapCause::Recreated, before, history)
            }
        }
    }

    /// Whether this look is the first to find a stream gone that was there.
    pub fn is_gone(&self, look: &Inspected) -> bool {
        matches!(look, Inspected::Absent) && !self.absent && !self.halted && !self.is_untouched()
    }

    fn is_untouched(&self) -> bool {
        let at_zero = self.mark.id == EntryId::ZERO && self.mark.added.unwrap_or(0) == 0;
        (at_zero && self.seen_added.unwrap_or(0) == 0) || self.mark.awaits_start()
    }

    /// What was found gone does not come back, however well ids and counts of the next would go on from the mark. Before the first
    /// entry is read none of them tells streams apart; what was seen does. `before`: entries ever added, at the look before this one.
    fn is_another(&self, state: &StreamState, mark: &Mark, before: Option<u64>) -> bool {
        let fewer = before.zip(state.entries_added);
        let fewer = mark.id == EntryId::ZERO && fewer.is_some_and(|(before, now)| now < before);
        // While nothing of it was to be mirrored, nothing of it has gone.
        fewer || (self.gone && !mark.awaits_start())
    }

    /// Nothing of it is to be mirrored yet.
    fn show_ahead(&mut self, shared: &Shared, entries_added: Option<u64>) {
        shared.board.stream(&self.slot.stream, |cell| {
            cell.added_at_checkpoint = entries_added;
        });
        self.settle();
    }

    fn judge_absent(&mut self, shared: &Shared) -> Verdict {
        if self.absent || self.is_untouched() {
            self.absent = true;
            if self.mark.awaits_start() {
                self.show_ahead(shared, Some(0));
            } else {
                self.mark.added.get_or_insert(0);
            }
            self.show_empty(shared);
            self.settle();
            return Verdict::Go(None);
        }
        let cause = if shared.redis_evicts() {
            GapCause::Evicted
        } else {
            GapCause::Deleted
        };
        let verdict = self.began_anew(shared, cause, self.seen_added, Some(0));
        self.absent = !self.halted;
        if self.absent {
            self.show_empty(shared);
        }
        verdict
    }

    /// There is nothing to read: what was seen before was of a stream that is counted as gone, or all of it is read.
    fn show_empty(&mut self, shared: &Shared) {
        let entries_added = self.mark.added.unwrap_or(0);
        self.seen_added = Some(entries_added);
        let seen = Observation {
            at_ms: super::shared::now_ms(),
            entries_added,
            length: 0,
        };
        let begun = self.looked;
        shared
            .board
            .stream(&self.slot.stream, |cell| cell.observe(seen, begun));
    }

    /// The stream was deleted, perhaps made again: what was unread is gone, ids and counts begin again, and the next
    /// generation tells its entries from those of the same ids before. `seen`: entries ever added to the old one, at the last
    /// look at it; `history`: to the new one, that are gone already.
    fn began_anew(
        &mut self,
        shared: &Shared,
        cause: GapCause,
        seen: Option<u64>,
        history: Option<u64>,
    ) -> Verdict {
        let mut seen = seen;
        // Others look too, and a later term has nothing left to count: of a halted stream, or where this gap is not committed.
        shared.board.stream(&self.slot.stream, |cell| {
            if let Some(added) = seen {
                cell.note_gone(self.generation, added);
            }
            seen = cell.gone(self.generation);
        });
        let unread = seen.zip(self.mark.added);
        let gap = Gap {
            cause,
            entries: unread.map_or(0, |(seen, read)| seen.saturating_sub(read)),
        };
        if !self.may_pass(shared, gap, true) {
            return Verdict::Halt;
        }
        self.generation += 1;
        self.began = EntryId::ZERO;
        self.remade = Remade::default();
        self.mark = Mark {
            id: EntryId::ZERO,
            added: history,
            exact: EntryId::ZERO,
            start: false,
        };
        self.seen_added = None;
        self.gone = false;
        self.settle();
        Verdict::Anew(gap)
    }

    fn settle(&mut self) {
        self.open = false;
        // What the operator accepted is behind us, or there was nothing to accept.
        self.forgiving = false;
        self.mark.exact = self.mark.id;
        self.exact_at = Instant::now();
    }

    /// `gone`: the whole stream is.
    fn may_pass(&mut self, shared: &Shared, gap: Gap, gone: bool) -> bool {
        let reason = match gap.cause {
            GapCause::Deleted if gone => Reason::StreamDeleted,
            cause => Reason::of_gap(cause),
        };
        let forgiven = std::mem::take(&mut self.forgiving) && self.slot.forgives(reason);
        if forgiven || self.slot.on_gap == OnTrouble::Record {
            warn!(
                stream = %self.slot.stream.name, database = %self.slot.stream.database, cause = gap.cause.as_str(),
                entries = gap.entries, after = %self.mark.exact, accepted_by_operator = forgiven,
                "entries were gone before they were read; counted, going on"
            );
            return true;
        }
        let text = self.explain(gap);
        self.halt(shared, reason, text);
        false
    }

    fn explain(&self, gap: Gap) -> String {
        let what = match gap.cause {
            GapCause::Trimmed => format!(
                "{} entries after {} were trimmed before they were read",
                gap.entries, self.mark.exact
            ),
            GapCause::Deleted | GapCause::Evicted => format!(
                "at least {} entries after {} were {} before they were read",
                gap.entries,
                self.mark.exact,
                if gap.cause == GapCause::Evicted {
                    "evicted with their stream"
                } else {
                    "deleted"
                }
            ),
            GapCause::Recreated => {
                format!(
                    "the stream was deleted and made anew; at least {} entries after {} were unread",
                    gap.entries, self.mark.id
                )
            }
            GapCause::Failover => format!("a failover lost history after {}", self.mark.exact),
        };
        format!(
            "{what}; to count them and go on: lockgate streams resume --database {} '{}' --reason TEXT",
            self.slot.stream.database, self.slot.stream.name
        )
    }

    fn halt(&mut self, shared: &Shared, reason: Reason, text: String) -> Verdict {
        // A later term finds the same again; it is said once.
        let mut known = self.halted;
        shared.board.stream(&self.slot.stream, |cell| {
            known |= cell.halt() == Some(reason);
            cell.halted(reason, text.clone());
        });
        if !known {
            error!(
                stream = %self.slot.stream.name, database = %self.slot.stream.database, reason = reason.as_str(), runbook = reason.runbook(),
                "{text}"
            );
        }
        self.halted = true;
        Verdict::Halt
    }

    /// Shows that entries behind the checkpoint are in hand.
    pub fn show_unmirrored(&self, shared: &Shared, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        let now_ms = super::shared::now_ms();
        shared.board.stream(&self.slot.stream, |cell| {
            // Of an id that is no time only the time of reading is known.
            cell.oldest_unmirrored_ms
                .get_or_insert_with(|| first.id.plausible_time_ms(now_ms).unwrap_or(now_ms));
        });
    }
}

#[cfg(test)]
pub(super) mod tests;
