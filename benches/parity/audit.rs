//! The continuous auditor: what it costs beside the mirror, how fast it works off a backlog, and whether it keeps up with a
//! mirror that runs at half of its full speed.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::backlog;
use crate::harness::{Daemon, eventually};
use crate::measured::{Measured, Stores, peak_resident_bytes, processor_time};
use crate::mirror::pid;
use crate::{DATABASE, STREAMS};

const PATIENCE: Duration = Duration::from_secs(3_600);
/// How long the mirror runs at half of its speed.
const LOAD: Duration = Duration::from_secs(30);

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
pub fn backlog(config: &str, entries: u64) -> (Daemon, Measured) {
    let daemon = Daemon::ready(config);
    // Starting and joining the group are not counted, as they are not for the mirror.
    eventually(Duration::from_secs(60), "a shard is owned", || {
        let status = daemon.status()?;
        let running = status["mirror"]["forward"]["shards"]["running"].as_u64()?;
        (running > 0).then_some(())
    });
    let measured = until(&daemon, 0, || compared(&daemon), entries);
    (daemon, measured)
}

/// What an auditor was behind after a load.
pub struct Behind {
    pub per_second: f64,
    /// Age of the newest entry before which everything was compared, when the load ended.
    pub seconds: f64,
    /// Half way through it.
    pub half_way_seconds: f64,
}

/// Adds `per_second` entries a second for a while, to what is there already, and looks how far the auditor is behind.
pub fn keeping_up(stores: &Stores<'_>, daemon: &Daemon, before: u64, per_second: f64) -> Behind {
    let entries = (per_second * LOAD.as_secs_f64()) as u64;
    let half = entries / 2;
    let begun = Instant::now();
    let added = |count: u64| backlog::fill_at(stores.redis, DATABASE, STREAMS, count, per_second);
    added(half);
    let half_way_seconds = behind(daemon);
    added(entries - half);
    let (took, seconds) = (begun.elapsed().as_secs_f64(), behind(daemon));
    eventually(PATIENCE, "all of the load is compared", || {
        (compared(daemon)? >= before + entries).then_some(())
    });
    Behind {
        per_second: entries as f64 / took,
        seconds,
        half_way_seconds,
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

fn behind(daemon: &Daemon) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let name = "lockgate_parity_verified_through_timestamp_seconds";
    let text = daemon.get("/metrics").unwrap().1;
    let verified = text
        .lines()
        .find(|line| line.starts_with(name))
        .and_then(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .expect("the auditor has compared a backlog by now");
    now.as_secs_f64() - verified
}
