//! Where records stand that a look finds only when it reads all of a log.

use super::subject::tests::wanted;
use super::*;
use crate::parity::class::Location;
use crate::parity::pass::Extent;
use crate::placement::{Offset, Partition};

fn found(what: What, offset: i64) -> Found {
    Found {
        id: EntryId::new(5, 0),
        at: Location {
            partition: Partition(0),
            offset: Offset(offset),
            generation: 0,
        },
        what,
        behind: false,
        more: 0,
    }
}

/// A log that is read from this offset on.
fn log(topic: &str, letters: bool, start: i64) -> TopicPass {
    let extent = Extent {
        partition: Partition(0),
        low: Offset(0),
        start: Offset(start),
        next: Offset(start),
        end: Offset(90),
        counted: Offset(0),
        intact: true,
    };
    TopicPass {
        topic: topic.to_owned(),
        letters,
        answers: true,
        extents: vec![extent],
    }
}

#[test]
fn a_record_stands_before_a_log_by_the_log_that_it_is_in() {
    let wanted = wanted(0, 9);
    let letters = wanted.binding.route().dead_letters().as_str().to_owned();
    let logs = [log("t", false, 50), log(&letters, true, 10)];
    let before = |what, offset| stands_before(&wanted, &[found(what, offset)], &logs);
    let record = || What::Record(crate::parity::digest::Parts::default());
    assert!(before(record(), 49) && !before(record(), 50));
    assert!(before(What::Letter(1), 9) && !before(What::Letter(1), 10));
    let former = Wanted {
        generation: 1,
        ..wanted.clone()
    };
    let old = stands_before(&former, &[found(record(), 49)], &logs);
    assert!(!old, "of the stream that there was before");
}
