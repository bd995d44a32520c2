//! After a failover in which Redis lost the end of a stream: what was mirrored and is gone is extra and says why, and the
//! newest record of an id stands for its entry, also where the ids began again below those that were lost.

use std::collections::BTreeSet;

use super::hand::Hand;
use super::script::Script;
use super::stage::{Id, Stage, entries};
use crate::harness::{Entry, kafka};

/// A later entry under this id: the same stream and form, another message.
fn anew(lost: &Entry, id: Id) -> Entry {
    let mut entry = Entry { id, ..lost.clone() };
    entry.fields[0].1.extend(b"-anew");
    entry
}

#[test]
fn history_that_redis_lost_is_extra_and_the_new_generation_stands_for_its_ids() {
    let mut stage = Stage::new("lost-history", 2);
    stage.generation = 1;
    let mut kept = entries(51, &[100, 100]);
    let of_stream = kept
        .iter()
        .rposition(|entry| entry.stream == "msg:stream:0");
    let mut lost = Vec::new();
    let mut at = of_stream.unwrap();
    while lost.len() < 5 {
        if kept[at].stream == "msg:stream:0" {
            lost.insert(0, kept.remove(at));
        }
        at -= 1;
    }
    // Two ids come again, one is new, and two of those lost lie above all that is left.
    let (second, third) = (lost[1].id, lost[2].id);
    let new = [
        anew(&lost[0], lost[0].id),
        anew(&lost[1], (second.0 + 1, 0)),
        anew(&lost[2], third),
    ];
    let old = kept.len();
    kept.extend(new);
    let mut sorted = kept.clone();
    sorted.sort_by_key(|entry| entry.id);
    stage.add(&sorted);

    let mut twins = stage.twins(&kept);
    for twin in &mut twins[old..] {
        twin.record.set_header("redis-gen", b"1");
    }
    let mut script = Script::new(&stage, &twins);
    for entry in &lost {
        script.foreign(old - 1, stage.twin(entry), "redis-lost-history");
    }
    // A fault of each kind of history, so that neither hides the other's.
    script.missing(40);
    script.missing(old + 1);
    let expected = script.play(&Hand::new(kafka()), &BTreeSet::new());
    assert_eq!(expected.faults(), 7);
    stage.verify(&[]).assert_is(&expected);
}
