//! Notes of what was asked of an instance, on their way into the journal, which only the one who steers writes.
//!
//! ```text
//!   call ──▶ this process ──▶ a set in Redis ──▶ the one who steers: saved with the journal and struck out, in one step
//! ```
//! Each note has a number of its own, so leaving it twice leaves it once; and it leaves the set in the step that puts it
//! into the journal, so that it is there once, whoever dies where.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tracing::{error, warn};

use super::{Driver, now_ms};
use crate::migration::step::{Ask, Outcome, Who};
use crate::migration::store::Error;

/// So many wait in this process for Redis; the oldest is given up for another.
const MOST: usize = 1_000;
/// So many go into the journal at one look.
const AT_ONCE: usize = 50;

/// A note as it lies in Redis. In the order in which they are to stand.
#[derive(Serialize, Deserialize)]
struct Note {
    at_ms: i64,
    instance: String,
    boot: u64,
    n: u64,
    who: Who,
    outcome: Outcome,
    note: String,
}

#[derive(Default)]
pub(super) struct Notes {
    n: u64,
    waiting: VecDeque<Vec<u8>>,
    warned: bool,
}

impl Driver {
    /// Notes what was asked of this instance, whoever steers.
    pub(super) async fn note(&mut self, who: Who, outcome: Outcome, note: String) {
        self.notes.n += 1;
        let note = Note {
            at_ms: now_ms(),
            instance: self.parts.instance.clone(),
            boot: self.table.boot(),
            n: self.notes.n,
            who,
            outcome,
            note,
        };
        if self.notes.waiting.len() >= MOST {
            self.notes.waiting.pop_front();
            self.parts.board.journal_error();
            error!("Redis does not take notes for the journal: the oldest stands in the log alone");
        }
        let note = serde_json::to_vec(&note).expect("strings and numbers serialise");
        self.notes.waiting.push_back(note);
        if self.answers {
            self.pass_notes().await;
        }
    }

    /// Leaves what waits here in Redis and, where this instance steers, moves what lies there into the journal.
    pub(super) async fn pass_notes(&mut self) {
        let passed = match self.leave_notes().await {
            Ok(()) if self.machine.is_some() => self.move_notes().await,
            left => left,
        };
        if let Err(error) = &passed
            && !self.notes.warned
        {
            warn!(%error, "notes wait for their way into the journal");
        }
        self.notes.warned = passed.is_err();
    }

    async fn leave_notes(&mut self) -> Result<(), Error> {
        while let Some(note) = self.notes.waiting.front() {
            self.store.leave_note(note).await?;
            self.notes.waiting.pop_front();
        }
        Ok(())
    }

    async fn move_notes(&mut self) -> Result<(), Error> {
        let left = self.store.notes().await?;
        // Notes of another version's form are left to it.
        let read = left.into_iter().filter_map(|raw| {
            let note: Note = serde_json::from_slice(&raw).ok()?;
            Some((note, raw))
        });
        let mut notes: Vec<(Note, Vec<u8>)> = read.collect();
        notes.sort_by_key(|(note, _)| (note.at_ms, note.boot, note.n));
        for (note, raw) in notes.into_iter().take(AT_ONCE) {
            let text = if note.instance == self.parts.instance {
                note.note
            } else {
                format!("{} (asked of {})", note.note, note.instance)
            };
            let ask = Ask::Note {
                outcome: note.outcome,
                note: text,
            };
            self.store.strike_out(Some(raw));
            let noted = self.ask(note.who, ask).await;
            self.store.strike_out(None);
            if noted.is_err() {
                // It lies there still, or the store says later that it does not.
                break;
            }
        }
        Ok(())
    }
}
