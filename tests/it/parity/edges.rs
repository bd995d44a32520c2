//! Where one window ends and the next begins, at 100 000 entries, and at both ends of a stream: nothing falls between.

use std::collections::BTreeSet;

use super::hand::Hand;
use super::scene::{false_identity, flip, id_behind};
use super::script::Script;
use super::stage::{Stage, entries};
use crate::harness::kafka;

/// A window holds so many entries at most.
const WINDOW: usize = 100_000;

#[test]
fn faults_at_the_edges_of_windows_and_of_streams_are_found() {
    let stage = Stage::new("edges", 1);
    let all = entries(21, &[WINDOW + 500]);
    stage.add(&all);
    let twins = stage.twins(&all);
    let hand = Hand::new(kafka());
    let mut script = Script::new(&stage, &twins);
    script.missing(0);
    script.altered(1, "value", |record| flip(record.value.as_mut().unwrap()));
    // The last two of the first window and the first two of the second, each with a fault of another kind.
    script.altered(WINDOW - 2, "headers", |record| {
        flip(&mut record.headers[3].1)
    });
    script.missing(WINDOW - 1);
    script.twice(WINDOW, WINDOW + 300);
    script.misplaced(WINDOW + 1, (twins[WINDOW + 1].record.partition + 1) % 12);
    let between = &twins[WINDOW - 1];
    let stranger = false_identity(&between.record, &between.stream, &id_behind(between));
    script.foreign(WINDOW - 1, stranger, "unknown-id");
    // One key's records swapped over the edge.
    let over = |at: &usize| {
        script
            .next_of_key(*at)
            .is_some_and(|next| next > WINDOW + 1)
    };
    let before = (WINDOW - 400..WINDOW - 2).rev().find(over).unwrap();
    let behind = script.next_of_key(before).unwrap();
    script.swapped(before, behind);
    script.missing(twins.len() - 1);
    let expected = script.play(&hand, &BTreeSet::new());
    assert_eq!(expected.faults(), 9);
    stage.verify(&[]).assert_is(&expected);
}

#[test]
fn a_stream_of_exactly_one_window_and_one_of_one_entry_more_are_level() {
    let stage = Stage::new("exactly", 2);
    let all = entries(22, &[WINDOW, WINDOW + 1]);
    stage.add(&all);
    let twins = stage.twins(&all);
    let script = Script::new(&stage, &twins);
    let expected = script.play(&Hand::new(kafka()), &BTreeSet::new());
    let verified = stage.verify(&[]);
    verified.assert_is(&expected);
    assert_eq!(verified.count("match"), 2 * WINDOW as u64 + 1);
}
