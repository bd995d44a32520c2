//! A small scene for one fault: both stores level but for what a test does to them.

use std::collections::BTreeSet;

use super::hand::{Hand, Outgoing};
use super::script::{Script, Twin};
use super::stage::{Stage, entries_of, spoil};
use super::verdict::Verified;
use crate::harness::{Entry, Workload, kafka};

/// Three streams of a hundred entries, each with an entry that only a dead letter can stand for.
pub struct Scene {
    pub stage: Stage,
    pub entries: Vec<Entry>,
    pub twins: Vec<Twin>,
    pub hand: Hand,
}

impl Scene {
    pub fn new(what: &str) -> Self {
        // Few keys, so that each has several entries.
        let load = Workload::new(11).conversations(20);
        let mut entries = entries_of(load, &[100, 100, 100]);
        let stage = Stage::new(what, 3);
        for n in [40, 41, 42] {
            spoil(&mut entries[n]);
        }
        stage.add(&entries);
        Self {
            twins: stage.twins(&entries),
            stage,
            entries,
            hand: Hand::new(kafka()),
        }
    }

    /// Plays the script with these faults in it and verifies: exactly they are found.
    #[track_caller]
    pub fn check(&self, sabotage: impl FnOnce(&mut Script<'_>)) -> Verified {
        let mut script = Script::new(&self.stage, &self.twins);
        sabotage(&mut script);
        let expected = script.play(&self.hand, &BTreeSet::new());
        let verified = self.stage.verify(&[]);
        verified.assert_is(&expected);
        verified
    }
}

/// The same on a scene of its own.
#[track_caller]
pub fn sabotage(what: &str, sabotage: impl FnOnce(&mut Script<'_>, &Scene)) -> Verified {
    let scene = Scene::new(what);
    scene.check(|script| sabotage(script, &scene))
}

/// One byte of some bytes, changed.
pub fn flip(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
}

/// A record that names this identity, in the partition and with the bytes of that one.
pub fn false_identity(of: &Outgoing, stream: &str, id: &str) -> Outgoing {
    let mut record = of.clone();
    record.set_header("redis-stream", stream.as_bytes());
    record.set_header("redis-id", id.as_bytes());
    record
}

/// The id that lies between this entry's and the next one's, and that no entry has.
pub fn id_behind(twin: &Twin) -> String {
    format!("{}-0", twin.id.0 + 1)
}
