//! What a ledger found: how much it compared, and each fault with where it is.

use std::collections::BTreeMap;
use std::fmt;

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// An entry without a record.
    Missing,
    /// A record without an entry.
    Extra,
    /// A second record of one entry.
    Duplicate,
    /// In its partition behind a record of the same stream and key with a greater id.
    Reordered,
    /// On another topic or partition than expected.
    Misplaced,
    Key,
    Value,
    Headers,
    Timestamp,
}

/// The outcome: how much was compared, and what was wrong.
#[derive(Debug, Default)]
pub struct Report {
    pub entries: usize,
    pub records: usize,
    /// Entries whose record is there once and right in every way but perhaps its order.
    pub matching: usize,
    pub faults: BTreeMap<Class, Vec<String>>,
}

impl Report {
    pub fn of(&self, class: Class) -> usize {
        self.faults.get(&class).map_or(0, Vec::len)
    }

    pub fn is_level(&self) -> bool {
        self.verdict().is_ok()
    }

    /// Everything is there exactly once, in order, in its place, byte for byte; and there was something to compare.
    pub fn verdict(&self) -> Result<(), String> {
        if !self.faults.is_empty() {
            Err(format!("the stores are not level: {self}"))
        } else if self.entries == 0 {
            Err("nothing was compared".to_owned())
        } else {
            Ok(())
        }
    }

    #[track_caller]
    pub fn assert_level(&self) {
        self.verdict().unwrap_or_else(|why| panic!("{why}"));
    }

    pub(super) fn note(&mut self, class: Class, what: String) {
        self.faults.entry(class).or_default().push(what);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const EXAMPLES: usize = 5;
        writeln!(
            f,
            "{} entries, {} records, {} matching",
            self.entries, self.records, self.matching
        )?;
        for (class, all) in &self.faults {
            writeln!(f, "  {class:?}: {}", all.len())?;
            for example in all.iter().take(EXAMPLES) {
                writeln!(f, "    {example}")?;
            }
        }
        Ok(())
    }
}
