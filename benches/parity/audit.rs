//! The continuous auditor: what it costs beside the mirror, how fast it works off a backlog, and whether it keeps up with a
//! mirror that runs at half of its full speed.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Daemon, eventually};
use crate::measured::{Measured, peak_resident_bytes, processor_time};
use crate::mirror::{self, pid};

const PATIENCE: Duration = Duration::from_secs(3_600);

/// Until everything is in Kafka, without an auditor; then the daemon is stopped, so that it costs nothing while others are
/// measured. What it took is the mirror's own cost.
pub fn mirror(config: &str, entries: u64) -> Measured {
    let mut daemon = Daemon::ready(config);
    let first = eventually(Duration::from_secs(60), "the first entries", || {
        mirrored(&daemon).filter(|count| *count > 0)
    });
    let measured = until(&daemon, first, || mirrored(&daemon), entries);
    daemon.term();
    daemon.wait(Duration::from_secs(60));
    measured
}

/// The same daemon again, with the auditor, which finds all of it unaudited and nothing to do for the mirror.
pub fn backlog(config: &str, entries: u64, shards: u32) -> Measured {
    let daemon = Daemon::ready(&mirror::as_shipped(config));
    // Starting and joining the group are not counted, as they are not for the mirror.
    eventually(Duration::from_secs(60), "the shards are owned", || {
        let status = daemon.status()?;
        let running = status["mirror"]["forward"]["shards"]["running"].as_u64()?;
        (running == u64::from(shards)).then_some(())
    });
    until(&daemon, 0, || compared(&daemon), entries)
}

/// How an auditor followed a mirror that ran at half of its speed.
pub struct Behind {
    /// What the mirror made of its limit.
    pub per_second: f64,
    /// How much longer than the mirror the auditor would have taken, half way through.
    pub half_way_seconds: f64,
    /// From the mirror's last entry to the auditor's.
    pub seconds: f64,
}

/// A mirror of the backlog, held to `per_second` entries a second by its own throttle, with the auditor beside it. Nothing
/// is added meanwhile: who writes to Redis costs more on two processors than what is measured.
pub fn keeping_up(config: &str, entries: u64, per_second: f64) -> Behind {
    let limited = format!("[throttle]\nentries_per_second = {per_second:.0}\n");
    let daemon = Daemon::ready(&config.replace(mirror::NO_AUDIT, &limited));
    let reaches = |goal: u64| {
        eventually(PATIENCE, "the mirror", || {
            thread::sleep(Duration::from_millis(30));
            mirrored(&daemon).filter(|count| *count >= goal)
        })
    };
    let first = reaches(1);
    let begun = Instant::now();
    let half_way = reaches(entries / 2);
    let half_way_seconds = half_way.saturating_sub(compared(&daemon).unwrap()) as f64 / per_second;
    reaches(entries);
    let took = begun.elapsed().as_secs_f64();
    eventually(PATIENCE, "all of it is compared", || {
        (compared(&daemon)? >= entries).then_some(())
    });
    Behind {
        per_second: (entries - first) as f64 / took,
        half_way_seconds,
        seconds: begun.elapsed().as_secs_f64() - took,
    }
}

fn until(daemon: &Daemon, first: u64, count: impl Fn() -> Option<u64>, entries: u64) -> Measured {
    let pid = pid(daemon);
    let (begun, processor) = (Instant::now(), processor_time(pid));
    eventually(PATIENCE, "the whole backlog", || {
        // Seldom: a status costs the daemon processor time too.
        thread::sleep(Duration::from_millis(30));
        count().filter(|count| *count >= entries)
    });
    Measured {
        entries: entries - first,
        seconds: begun.elapsed().as_secs_f64(),
        processor_seconds: (processor_time(pid) - processor).as_secs_f64(),
        resident_bytes: peak_resident_bytes(pid),
    }
}

fn mirrored(daemon: &Daemon) -> Option<u64> {
    daemon.status()?["routes"][0]["mirrored_entries"].as_u64()
}

fn compared(daemon: &Daemon) -> Option<u64> {
    daemon.status()?["parity"]["compared"].as_u64()
}
