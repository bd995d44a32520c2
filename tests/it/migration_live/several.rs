//! Two instances share the shards: what both see together opens gates, what one of them sees alone does not, and either can
//! go on without the other.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::live::{Api, Live};
use crate::harness::{eventually, lockgate};
use crate::rig::{LONG, running_shards, shared_out};

/// A gate of the next step, as the one who steers shows it.
fn gate(api: &Api, name: &str) -> Option<Value> {
    let shown = api.shown()?;
    let mut gates = shown["gates"].as_array()?.iter();
    gates.find(|gate| gate["name"] == name).cloned()
}

#[track_caller]
fn conclusive(api: &Api, gates: &[&str]) {
    for name in gates {
        eventually(LONG, "the gate is conclusive", || {
            let gate = gate(api, name).ok_or("not shown")?;
            (gate["verdict"] == "pass")
                .then_some(())
                .ok_or(gate.to_string())
        });
    }
}

/// A gate does not know, and names a shard of these.
#[track_caller]
fn names_a_shard(api: &Api, name: &str, shards: &BTreeSet<u64>) {
    let said = eventually(LONG, "it says whom it lacks", || {
        let gate = gate(api, name).ok_or("not shown")?;
        let reason = gate["reason"].as_str().unwrap_or_default().to_owned();
        let of = reason.split_once("shard").map(|(_, of)| of.to_owned());
        let numbers = of.unwrap_or_default();
        let mut numbers = numbers
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|number| number.parse::<u64>().ok());
        let names = numbers.any(|shard| shards.contains(&shard));
        (gate["verdict"] == "inconclusive" && names)
            .then_some(reason)
            .ok_or(gate.to_string())
    });
    println!("{name}: {said}");
}

#[test]
#[ignore = "long: make soak"]
fn what_two_instances_see_together_opens_the_gates_and_either_goes_on_alone() {
    let mut live = Live::start_unhurried("liveseveral");
    let mut other = live.another();
    shared_out(&[&live.daemon, &other]);
    let steered_by = live.api.shown().expect("shown")["steered_by"].clone();
    assert!(steered_by.is_null(), "who holds the lease keeps it");
    conclusive(&live.api, &["mirror-lag", "parity"]);

    let gone = running_shards(&other);
    other.kill9();
    names_a_shard(&live.api, "mirror-lag", &gone);
    names_a_shard(&live.api, "parity", &gone);
    conclusive(&live.api, &["mirror-lag", "parity"]);

    other.restart();
    other.wait_ready();
    shared_out(&[&live.daemon, &other]);
    live.promote().expect("it lives");
    live.reach("consumers:100").expect("it lives");
    assert!(!running_shards(&other).is_empty(), "both had shards");
    conclusive(&live.api, &["parity", "dead-letters"]);
    live.only_from(512);
    // Held buckets are let go when both have carried over what was written before.
    live.promote().expect("it lives");
    live.reach("ingress:50").expect("it lives");

    // What is asked of the one that stands by is refused, and in the journal.
    let hold = json!({ "reason": "asked of the wrong one" });
    let (code, answer) = other.post("/v1/hold", &hold).expect("answered");
    assert_eq!(code, 503, "{answer}");
    eventually(LONG, "the attempt is journaled", || {
        let shown = live.api.shown()?;
        let mut records = shown["journal"].as_array()?.iter();
        let noted = |record: &Value| {
            let note = record["note"].as_str().unwrap_or_default();
            record["outcome"] == "refused" && note.contains("steers; ask")
        };
        records.any(noted).then_some(())
    });
    let gates = lockgate(&["gates", "--url", &other.url()]);
    assert_eq!(gates.status.code(), Some(6), "{gates:?}");

    let mut steered = live.turn_to(other);
    steered.kill9();
    eventually(LONG, "the other steers", || {
        let shown = live.api.shown()?;
        let steers = shown["steered_by"].is_null() && shown["gates"] != serde_json::json!([]);
        steers.then_some(())
    });
    conclusive(&live.api, &["parity"]);
    live.promote().expect("it lives");
    live.reach("ingress:100").expect("it lives");
}
