//! What the daemon costs when there is nothing to do: with 16 streams, and with 2 000 of which a few move.

use std::time::{Duration, Instant};

use crate::PARTITIONS;
use crate::harness::{Daemon, eventually, unique};
use crate::measured::{Stores, processor_time};
use crate::mirror::{config, pid};

const DATABASE: u32 = 3;
const STREAMS: u64 = 2_000;
const WATCHED: Duration = Duration::from_secs(20);

pub struct Idle {
    pub resident_bytes: u64,
    /// Share of one core with 2 000 streams, of which ten get an entry a second.
    pub core_share: f64,
}

/// `configured` has the last word on the configuration.
pub fn run(configured: fn(&str) -> String, stores: &Stores<'_>) -> Idle {
    Idle {
        resident_bytes: resident(configured, stores),
        core_share: core_share(configured, stores),
    }
}

fn resident(configured: fn(&str) -> String, stores: &Stores<'_>) -> u64 {
    let daemon = start(configured, stores, 16, 4);
    let since = Instant::now();
    eventually(Duration::from_secs(60), "ten quiet seconds", || {
        since.elapsed() > Duration::from_secs(10)
    });
    daemon.process().resident_bytes()
}

fn core_share(configured: fn(&str) -> String, stores: &Stores<'_>) -> f64 {
    let daemon = start(configured, stores, STREAMS, 4);
    let mut redis = stores.redis.connection(DATABASE);
    let (begun, processor) = (Instant::now(), processor_time(pid(&daemon)));
    let mut added = 0;
    eventually(WATCHED * 2, "the watched time", || {
        let due = begun.elapsed().as_millis() as u64 / 100;
        while added < due {
            let stream = format!("idle:{}", added % 10 * 191);
            let _: String = redis::cmd("XADD")
                .arg(stream)
                .arg("*")
                .arg("f")
                .arg(added)
                .query(&mut redis)
                .unwrap();
            added += 1;
        }
        begun.elapsed() >= WATCHED
    });
    (processor_time(pid(&daemon)) - processor).as_secs_f64() / begun.elapsed().as_secs_f64()
}

fn start(configured: fn(&str) -> String, stores: &Stores<'_>, streams: u64, shards: u32) -> Daemon {
    let topic = unique("bench-idle");
    stores.kafka.create_topic(&topic, PARTITIONS, &[]);
    let config = config(
        stores,
        &unique("idle"),
        &topic,
        DATABASE,
        &format!("idle:{{0..{}}}", streams - 1),
        shards,
    );
    // Plain entries: the value is one field.
    let (head, _) = config.split_once("key =").unwrap();
    let daemon = Daemon::ready(&configured(&format!("{head}value = {{ all = true }}\n")));
    eventually(Duration::from_secs(60), "all streams run", || {
        daemon.status().is_some_and(|status| {
            status["routes"][0]["streams_by_state"]["running"].as_u64() == Some(streams)
        })
    });
    daemon
}
