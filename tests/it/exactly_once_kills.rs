//! `kill -9` and SIGSTOP at random moments under load, with zombies that wake up after their shards have gone elsewhere.

use std::time::Duration;

use crate::harness::{Daemon, eventually, soak};
use crate::rig::{
    LONG, Random, Rig, assert_level_in_the_end, assert_nothing_wrong, pass, running_streams,
    shared_out,
};
use crate::witness::Witness;

#[derive(Clone, Copy, Debug)]
enum Deed {
    /// Killed, and started again at once.
    Kill,
    /// Killed, and started again when the other has all streams.
    KillLong,
    /// Frozen for less than a session.
    Freeze,
    /// Frozen until the other has all streams, and awake again as a zombie.
    FreezeLong,
}

const DEEDS: [Deed; 4] = [Deed::Kill, Deed::KillLong, Deed::Freeze, Deed::FreezeLong];

#[test]
fn random_kills_and_freezes_lose_and_repeat_nothing() {
    let rounds = if soak() { 120 } else { 15 };
    let mut random = Random::new();
    let rig = Rig::new("kills");
    let load = rig.load(1_000);
    let mut daemons = [rig.daemon(), rig.daemon()];
    let witness = rig.witness();
    shared_out(&[&daemons[0], &daemons[1]]);
    for round in 0..rounds {
        pass(&load, 50 + random.below(400));
        let victim = usize::try_from(random.below(2)).unwrap();
        // Each deed comes in any four rounds, at a random moment and to a random instance.
        let deed = DEEDS[round % DEEDS.len()];
        println!("round {round}: {deed:?} to {victim}");
        do_to(&mut daemons, victim, deed, &witness, || {
            pass(&load, 100 + random.below(500))
        });
        if round % 10 == 9 {
            assert_nothing_wrong(&rig.ledger().look());
        }
    }
    witness.goes_on(LONG);
    assert_level_in_the_end(&rig, load);
}

fn do_to(
    daemons: &mut [Daemon; 2],
    victim: usize,
    deed: Deed,
    witness: &Witness,
    briefly: impl FnOnce(),
) {
    let other = 1 - victim;
    match deed {
        Deed::Kill => {
            daemons[victim].kill9();
            daemons[victim].restart();
        }
        Deed::KillLong => {
            daemons[victim].kill9();
            has_all(&daemons[other]);
            daemons[victim].restart();
        }
        Deed::Freeze => {
            daemons[victim].stop();
            briefly();
            daemons[victim].cont();
        }
        Deed::FreezeLong => {
            daemons[victim].stop();
            has_all(&daemons[other]);
            witness.goes_on(LONG);
            daemons[victim].cont();
        }
    }
}

#[track_caller]
fn has_all(daemon: &Daemon) {
    eventually(Duration::from_secs(60), "the other has all streams", || {
        let found = running_streams(daemon);
        (found.len() == 16)
            .then_some(())
            .ok_or_else(|| format!("{found:?}"))
    });
}
