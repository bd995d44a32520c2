//! A topic's part of a pass: which stretch of each partition is read, and how far that has come.

use serde::{Deserialize, Serialize};

use crate::placement::{Offset, Partition, Topic};

/// A partition's part of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    pub partition: Partition,
    /// Where the log began.
    pub low: Offset,
    pub start: Offset,
    /// The next offset to read.
    pub next: Offset,
    pub end: Offset,
    /// Records before it that are no entry's are counted already.
    #[serde(default)]
    pub counted: Offset,
    /// What is compared stands behind a place that the log still had when it was read on from there: retention has taken none
    /// of it.
    #[serde(default)]
    pub intact: bool,
}

impl Extent {
    /// Whether something that is not found may have been where the log begins no more. That takes what is left of it to be
    /// read whole: an older record of the same stream there says that it should be there too.
    #[must_use]
    pub fn may_have_expired(&self) -> bool {
        self.low > Offset(0) && self.start <= self.low && !self.intact
    }
}

/// A topic's part of a pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicPass {
    pub topic: String,
    pub letters: bool,
    /// What is of no stream is counted here, and not by another pass.
    #[serde(default = "yes")]
    pub answers: bool,
    pub extents: Vec<Extent>,
}

const fn yes() -> bool {
    true
}

impl TopicPass {
    pub(super) fn name(&self) -> Topic {
        Topic::from(self.topic.as_str())
    }

    pub(super) fn is_read(&self) -> bool {
        self.extents.iter().all(|extent| extent.next >= extent.end)
    }

    /// Whether it begins where the log does.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.extents.iter().all(|extent| extent.start <= extent.low)
    }

    /// Lets it begin where the log does.
    pub fn widen(&mut self) {
        for extent in &mut self.extents {
            (extent.start, extent.next) = (extent.low, extent.low);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_log_that_lost_its_beginning_and_is_read_from_there_may_have_expired() {
        let extent = |low: i64, start: i64, intact: bool| Extent {
            partition: Partition(0),
            low: Offset(low),
            start: Offset(start),
            next: Offset(start),
            end: Offset(90),
            counted: Offset(0),
            intact,
        };
        assert!(extent(10, 10, false).may_have_expired());
        assert!(!extent(0, 0, false).may_have_expired(), "it lost nothing");
        assert!(
            !extent(10, 10, true).may_have_expired(),
            "it was read on from what it still has"
        );
        let mut log = TopicPass {
            topic: "t".to_owned(),
            letters: false,
            answers: true,
            extents: vec![extent(10, 50, false)],
        };
        assert!(!log.extents[0].may_have_expired(), "it is read in part");
        log.widen();
        assert!(log.is_whole() && log.extents[0].may_have_expired());
    }
}
