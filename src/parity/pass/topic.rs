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
