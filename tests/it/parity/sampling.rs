//! A sample says how much it looked at and what that proves, finds what it meets, and says nothing of the rest; `--full`
//! looks at every entry and comes to the same.

use std::collections::BTreeSet;

use super::hand::Hand;
use super::scene::flip;
use super::script::{Script, Twin};
use super::stage::{Stage, entries};
use crate::harness::kafka;

const ENTRIES: usize = 20_000;

fn scene(what: &str) -> (Stage, Vec<Twin>) {
    let stage = Stage::new(what, 2);
    let all = entries(61, &[ENTRIES / 2; 2]);
    stage.add(&all);
    let twins = stage.twins(&all);
    (stage, twins)
}

#[test]
fn a_sample_of_level_stores_is_level_and_says_what_it_proves() {
    let (stage, twins) = scene("sampled");
    Script::new(&stage, &twins).play(&Hand::new(kafka()), &BTreeSet::new());
    // Drawn by lot: five standard deviations on either side.
    for (sample, share, spread) in [("10%", 0.1, 215), ("3000", 0.15, 255)] {
        let verified = stage.verify(&["--sample", sample]);
        assert_eq!(verified.code, Some(0), "{}", verified.said);
        let compared = verified.count("match");
        let wanted = (share * ENTRIES as f64) as u64;
        assert!(compared.abs_diff(wanted) < spread, "{compared} of {wanted}");
        let counts = &verified.json["counts"];
        assert_eq!(counts["adds_up"], true);
        assert_eq!(counts["redis_entries"].as_u64(), Some(compared));
        let said = verified.json["sampled"].as_f64().unwrap();
        assert!((said - share).abs() < 1e-9, "{said}");
        // Without a fault among n, the bound is the n-th root of 5 %.
        let proved = verified.json["lower_bound"].as_f64().unwrap();
        let bound = 0.05_f64.powf(1.0 / compared as f64);
        assert!((proved - bound).abs() < 1e-9, "{proved} for {compared}");
    }
}

#[test]
fn a_sample_of_stores_that_are_apart_finds_what_it_meets_and_invents_nothing() {
    let (stage, twins) = scene("sampled-apart");
    let mut script = Script::new(&stage, &twins);
    for at in (0..ENTRIES).step_by(40) {
        script.altered(at, "value", |record| flip(record.value.as_mut().unwrap()));
    }
    let expected = script.play(&Hand::new(kafka()), &BTreeSet::new());
    let verified = stage.verify(&["--sample", "20%"]);
    assert_eq!(verified.code, Some(5), "{}", verified.said);
    let found = verified.findings();
    assert!(!found.is_empty());
    assert!(found.iter().all(|one| expected.findings.contains(one)));
    assert_eq!(verified.count("mismatch"), found.len() as u64);
    let counts = &verified.json["counts"];
    assert_eq!(counts["adds_up"], true);
    // What was compared is a sample still, faults or not.
    let compared = counts["redis_entries"].as_u64().unwrap();
    assert!(compared.abs_diff(ENTRIES as u64 / 5) < 300, "{compared}");
}

#[test]
fn entry_by_entry_from_the_beginning_the_same_is_found() {
    let (stage, twins) = scene("full");
    let mut script = Script::new(&stage, &twins);
    script.missing(0);
    script.twice(7_000, 9_000);
    script.misplaced(13_000, (twins[13_000].record.partition + 3) % 12);
    script.deleted_after(17_001);
    let expected = script.play(&Hand::new(kafka()), &BTreeSet::new());
    stage.verify(&["--full"]).assert_is(&expected);
}

#[test]
fn what_was_drawn_is_out_of_order_also_where_what_stands_before_it_was_not_drawn() {
    let (stage, twins) = scene("sampled-order");
    let mut script = Script::new(&stage, &twins);
    let (mut swaps, mut taken) = (0_u64, BTreeSet::new());
    for at in 0..ENTRIES {
        if let Some(next) = script.next_of_key(at)
            && next - at < 100
            && !taken.contains(&at)
            && taken.insert(next)
        {
            taken.insert(at);
            script.swapped(at, next);
            swaps += 1;
        }
    }
    assert!(swaps > 1_000, "{swaps}");
    let expected = script.play(&Hand::new(kafka()), &BTreeSet::new());
    let verified = stage.verify(&["--sample", "30%"]);
    assert_eq!(verified.code, Some(5), "{}", verified.said);
    let found = verified.findings();
    assert!(found.iter().all(|one| expected.findings.contains(one)));
    // One entry of each pair is late. Of three it would be one, and not the one in eleven of which both were drawn.
    let reordered = verified.count("reordered");
    assert!(reordered * 5 > swaps, "{reordered} of {swaps}");
}
