//! That the crash tests can fail: a mirror that is broken on purpose is found out by the same deeds and the same ledger.

use crate::harness::Daemon;
use crate::harness::{Class, Report, eventually};
use crate::rig::{LONG, Random, Rig, armed, pass, running_streams, shared_out};

const ROUNDS: u32 = 12;

#[test]
fn a_checkpoint_outside_the_transaction_is_found_out() {
    let mut random = Random::new();
    let rig = Rig {
        session: "1s",
        ..Rig::new("spoilt-checkpoint")
    };
    let load = rig.load(1_000);
    let witness = rig.witness();
    let mut daemon = rig.daemon_with("mirror-checkpoint-outside=spoil");
    for round in 1..=ROUNDS {
        witness.goes_on(LONG);
        pass(&load, random.below(100));
        daemon.kill9();
        daemon.restart();
        witness.goes_on(LONG);
        let report = rig.ledger().look();
        if report.of(Class::Duplicate) + report.of(Class::Reordered) > 0 {
            println!("found in round {round}: {report}");
            return;
        }
    }
    panic!(
        "{ROUNDS} kills of a mirror whose checkpoint is not in the transaction, and nothing was found"
    );
}

#[test]
fn a_missing_fence_is_found_out() {
    let rig = Rig::new("spoilt-fence");
    let load = rig.load(1_000);
    let witness = rig.witness();
    let config = rig.config();
    let start = || Daemon::start_with(&config, armed("mirror-no-fence=spoil"));
    let daemons = [start(), start()];
    for round in 1..=ROUNDS {
        shared_out(&[&daemons[0], &daemons[1]]);
        pass(&load, 200);
        daemons[0].stop();
        eventually(LONG, "the other has all streams", || {
            running_streams(&daemons[1]).len() == 16
        });
        witness.goes_on(LONG);
        daemons[0].cont();
        witness.goes_on(LONG);
        let report = rig.ledger().look();
        if wrong(&report) {
            println!("found in round {round}: {report}");
            return;
        }
    }
    panic!("{ROUNDS} zombies of a mirror that does not fence, and nothing was found");
}

fn wrong(report: &Report) -> bool {
    report.of(Class::Duplicate) + report.of(Class::Reordered) > 0
}
