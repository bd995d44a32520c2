//! What a shard keeps from one term to the next: nothing that safety needs, only what would otherwise be found out again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::aside::Aside;
use super::places::Places;
use super::writer::{self, Careful};
use crate::config::Start;
use crate::entry::StreamRef;
use crate::placement::Topic;
use crate::status::Reason;

/// For how long a topic that refused is left alone before its streams are tried again.
const BARRED_FOR: Duration = Duration::from_secs(10);

struct Bar {
    until: Instant,
    reason: Reason,
    error: String,
}

#[derive(Default)]
pub struct Memory {
    pub careful: Option<Careful>,
    /// Entries whose records the broker refused one by one, and its words.
    pub poison: HashMap<writer::Place, String>,
    /// Streams whose dead-letter topic refused them.
    pub refused: HashMap<StreamRef, String>,
    /// The topics as the term found them.
    pub places: Places,
    /// A checkpoint that there should be was not found: it is looked for once more, with patience.
    pub doubts: bool,
    /// What Redis refuses, and the present term leaves out.
    pub aside: Aside,
    /// Topics that are left alone for a while, and why.
    barred: HashMap<Topic, Bar>,
    /// Streams whose halt the operator has lifted.
    pub lifted: HashMap<StreamRef, Lifted>,
}

/// A halt that the operator has lifted.
#[derive(Clone, Copy, Debug)]
pub struct Lifted {
    pub halt: Reason,
    /// Where to begin, for a stream whose checkpoint is lost.
    pub from: Option<Start>,
}

impl Memory {
    pub fn bar(&mut self, topic: Topic, reason: Reason, error: String) {
        let until = Instant::now() + BARRED_FOR;
        let bar = Bar {
            until,
            reason,
            error,
        };
        self.barred.insert(topic, bar);
    }

    #[must_use]
    pub fn barred(&self, topic: &Topic) -> Option<(Reason, String)> {
        let bar = self.barred.get(topic)?;
        (bar.until > Instant::now()).then(|| (bar.reason, bar.error.clone()))
    }

    /// When the next bar falls: the shard begins a new term then.
    pub fn bars_fall_at(&self) -> Option<Instant> {
        self.barred
            .values()
            .map(|bar| bar.until)
            .filter(|until| *until > Instant::now())
            .min()
    }

    /// A transaction of `entries` was refused for one of its records: look for it in smaller steps, an eighth each time;
    /// in a transaction of one it is found. `false`: that says nothing new, and the next one will be refused as well.
    #[must_use]
    pub fn narrow(&mut self, places: Vec<writer::Place>, entries: usize, why: &str) -> bool {
        if entries <= 1 {
            let known = self.poison.len();
            let places = places.into_iter();
            self.poison
                .extend(places.map(|place| (place, why.to_owned())));
            return self.poison.len() > known;
        }
        let careful = self.careful.get_or_insert_with(|| Careful {
            limit: entries,
            until: HashMap::new(),
            left: entries,
        });
        careful.limit = (entries / 8).max(1);
        careful.left = careful.left.max(entries);
        for (stream, at) in places {
            let until = careful.until.entry(stream).or_insert(at);
            *until = (*until).max(at);
        }
        true
    }

    /// Forgets streams that are not mirrored now: they would keep their neighbours going in small steps for ever.
    pub fn keep_careful(&mut self, is_mirrored: impl Fn(&StreamRef) -> bool) {
        if let Some(careful) = &mut self.careful {
            careful.until.retain(|stream, _| is_mirrored(stream));
        }
        self.careful = self
            .careful
            .take()
            .filter(|careful| !careful.until.is_empty());
    }

    /// Forgets entries that the streams of a term are past: no term reads them again.
    pub fn forget_passed(&mut self, position: impl Fn(&StreamRef) -> Option<writer::At>) {
        self.poison
            .retain(|(stream, at), _| position(stream).is_none_or(|passed| *at > passed));
    }

    /// A halt that was lifted stays so for a stream that the term leaves out.
    pub fn keep_lifted_aside(&mut self) {
        let aside = &self.aside;
        self.lifted.retain(|stream, _| aside.holds(stream));
    }

    pub fn lift(&mut self, stream: StreamRef, lifted: Lifted) {
        self.refused.remove(&stream);
        self.lifted.insert(stream, lifted);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::entry::{Database, EntryId};
    use crate::streams::{Error, Peer};

    #[test]
    fn a_lifted_halt_stays_for_what_is_left_out_and_for_nothing_else() {
        let stream = |database, name: &str| StreamRef::new(Database(database), name);
        let mut memory = Memory::default();
        let lifted = Lifted {
            halt: Reason::StreamDeleted,
            from: None,
        };
        let (refused, full, shut) = (stream(0, "refused"), stream(0, "full"), stream(1, "shut"));
        for stream in [&refused, &full, &shut, &stream(0, "running")] {
            memory.lift(stream.clone(), lifted);
        }
        let message = "refused".to_owned();
        memory.aside.stream(&refused, &Error::Config { message });
        let peer = Arc::new(Peer {
            at: "redis".to_owned(),
            user: "default".to_owned(),
        });
        let command = "SADD";
        let oom = Error::OutOfMemory { peer, command };
        memory.aside.stream(&full, &oom);
        memory.aside.database(Database(1));
        memory.keep_lifted_aside();
        let mut left: Vec<_> = memory.lifted.into_keys().collect();
        left.sort();
        assert_eq!(left, [full, refused, shut]);
    }

    #[test]
    fn an_entry_that_was_refused_is_remembered_until_its_stream_is_past_it() {
        let stream = |name: &str| StreamRef::new(Database(0), name);
        let at = |ms| (0, EntryId::new(ms, 0));
        let mut memory = Memory::default();
        for place in [
            (stream("s"), at(8)),
            (stream("s"), at(9)),
            (stream("s"), at(10)),
            (stream("halted"), at(1)),
        ] {
            assert!(memory.narrow(vec![place], 1, "too large"));
        }
        memory.forget_passed(|of| (*of == stream("s")).then_some(at(9)));
        let mut left: Vec<_> = memory.poison.into_keys().collect();
        left.sort();
        assert_eq!(left, [(stream("halted"), at(1)), (stream("s"), at(10))]);
    }

    #[test]
    fn steps_shrink_until_the_one_is_found() {
        let place = (StreamRef::new(Database(0), "s"), (0, EntryId::new(9, 0)));
        let mut memory = Memory::default();
        let mut entries = 50_000;
        let mut rounds = 0;
        while memory.poison.is_empty() {
            assert!(memory.narrow(vec![place.clone()], entries, "too large"));
            entries = memory.careful.as_ref().map_or(1, |careful| careful.limit);
            rounds += 1;
        }
        assert_eq!(memory.poison[&place], "too large");
        assert!(rounds <= 7, "{rounds} transactions fail at most");
        assert!(
            !memory.narrow(vec![place], 1, "too large"),
            "it is known already"
        );
        assert!(!memory.narrow(Vec::new(), 0, ""), "no entry is at fault");
    }
}
