//! A route whose value is changed goes on (decision 0006), and what was mirrored before cannot be held against what the route
//! makes now: it is unverifiable and says so, never a mismatch. What comes after the change is compared as ever. Nor does a
//! new name hide what was found.

use serde_json::{Value, json};

use crate::harness::{Daemon, kafka, redis};
use crate::parity::hand::{Hand, Outgoing};
use crate::parity_audit::await_parity;
use crate::parity_unread::verify;
use crate::plan::{Plan, add, await_level};
use crate::rig::now_ms;

/// The same migration with its route's value made in this way, audited or not.
fn config(plan: &Plan, value: &str, audited: bool) -> String {
    let mut same = Plan::on("same", redis(), plan.database, kafka());
    same.name.clone_from(&plan.name);
    same.more = format!("[parity]\nwindow = \"300ms\"\nenabled = {audited}\n");
    same.route("r", &["a"], &format!("value = {value}\n"))
        .toml()
}

fn restart_as(daemon: &mut Daemon, config: &str) {
    daemon.reconfigure(config);
    daemon.restart();
    daemon.wait_ready();
}

const OLD: &str = "{ field = \"data\" }";
const NEW: &str = "{ json = [\"data\"] }";

#[test]
fn what_was_mirrored_before_a_change_of_the_route_is_unverifiable_and_no_mismatch() {
    let plan = Plan::new("changed");
    kafka().create_topic(&plan.topic("r"), 1, &[]);
    let more = |count| add(redis(), plan.database, "a", "x", count);
    more(10);
    let mut daemon = Daemon::ready(&config(&plan, OLD, true));
    await_parity(&daemon, "level before the change", |seen| {
        seen["state"] == "level" && seen["compared"] == 10
    });
    println!("ten that nobody has compared when the route changes");
    restart_as(&mut daemon, &config(&plan, OLD, false));
    more(10);
    await_level(&daemon, "a");
    restart_as(&mut daemon, &config(&plan, NEW, true));
    more(30);
    let is_told = |seen: &Value| {
        seen["state"] == "level"
            && seen["classes"]["match"] == 40
            && seen["classes"]["unverifiable"] == 10
            && seen["open"]["mismatch"] == 0
    };
    await_parity(&daemon, "level, and ten that cannot be told", is_told);

    println!("a verification has no state of its own: it learns of the change from the checkpoint");
    let told = |daemon: &Daemon| {
        let (code, outcome) = verify(daemon, &[]);
        assert_eq!(code, Some(0), "{outcome:#}");
        let classes = &outcome["counts"]["classes"];
        assert_eq!(
            (&classes["match"], &classes["unverifiable"]),
            (&json!(30), &json!(20))
        );
        let first = &outcome["differences"][0];
        assert_eq!(first["why"], "route-changed");
        assert_eq!(first["records"].as_array().unwrap().len(), 1);
    };
    told(&daemon);
    println!("the change is remembered by the checkpoints that come after it");
    restart_as(&mut daemon, &config(&plan, NEW, true));
    await_level(&daemon, "a");
    told(&daemon);
}

#[test]
fn faults_of_a_route_that_was_renamed_are_shown_by_its_new_name() {
    let plan = Plan::new("renamed");
    let topic = plan.topic("r");
    kafka().create_topic(&topic, 1, &[]);
    let config = |name: &str| {
        let mut same = Plan::on("same", redis(), plan.database, kafka());
        same.name.clone_from(&plan.name);
        same.more = "[parity]\nwindow = \"300ms\"\n".to_owned();
        same.route(name, &["a"], &format!("topic = \"{topic}\"\n"))
            .toml()
    };
    add(redis(), plan.database, "a", "x", 10);
    let mut daemon = Daemon::ready(&config("r"));
    let mut record = Outgoing {
        topic: topic.clone(),
        partition: 0,
        key: None,
        value: Some(b"a stranger".to_vec()),
        headers: Vec::new(),
        timestamp_ms: i64::try_from(now_ms()).unwrap(),
    };
    let hand = Hand::new(kafka());
    hand.commit([&record]);
    await_parity(&daemon, "ten, and a record without identity", |seen| {
        seen["compared"] == 11 && seen["routes"]["r"]["open"]["extra"] == 1
    });
    restart_as(&mut daemon, &config("r2"));
    record.set_header("redis-stream", b"a");
    record.set_header("redis-id", b"7-0");
    hand.commit([&record]);
    let seen = await_parity(&daemon, "both by the new name", |seen| {
        seen["routes"]["r2"]["open"]["extra"] == 2
    });
    assert_eq!(
        (&seen["compared"], &seen["classes"]["match"]),
        (&json!(12), &json!(10))
    );
    let mut open = seen["open_differences"].as_array().unwrap().iter();
    assert!(open.all(|one| one["route"] == "r2"), "{seen:#}");
}
