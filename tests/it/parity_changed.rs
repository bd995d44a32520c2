//! A route whose value is changed goes on (decision 0006), and what was mirrored before cannot be held against what the route
//! makes now: it is unverifiable and says so, never a mismatch. What comes after the change is compared as ever.

use serde_json::{Value, json};

use crate::harness::{Daemon, kafka, redis};
use crate::parity_audit::await_parity;
use crate::parity_unread::verify;
use crate::plan::{Plan, add, await_level};

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
