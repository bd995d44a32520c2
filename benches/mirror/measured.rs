//! What a child process cost: time, processor time, the most memory it held.

use std::time::Duration;

use crate::harness::{KafkaCluster, RedisServer};

/// The servers of this run.
pub struct Stores<'a> {
    pub redis: &'a RedisServer,
    pub kafka: &'a KafkaCluster,
}

/// A stretch of work of a process.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub struct Measured {
    pub entries: u64,
    pub seconds: f64,
    pub processor_seconds: f64,
    pub resident_bytes: u64,
}

impl Measured {
    pub fn per_second(&self) -> f64 {
        self.entries as f64 / self.seconds
    }

    pub fn processor_micros_per_entry(&self) -> f64 {
        self.processor_seconds * 1e6 / self.entries as f64
    }

    /// Of two runs, the quicker one; with the lower cost and the larger memory of both.
    pub fn better(self, other: Self) -> Self {
        let (quicker, slower) = if self.per_second() >= other.per_second() {
            (self, other)
        } else {
            (other, self)
        };
        let micros = quicker
            .processor_micros_per_entry()
            .min(slower.processor_micros_per_entry());
        Self {
            processor_seconds: micros * quicker.entries as f64 / 1e6,
            resident_bytes: quicker.resident_bytes.max(slower.resident_bytes),
            ..quicker
        }
    }
}

/// Processor time that a process has used, user and system.
pub fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // The kernel shows it in hundredths of a second on every platform.
    Duration::from_millis(ticks * 10)
}

/// The most memory that a process has held so far.
pub fn peak_resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim()
        .strip_suffix(" kB")
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1_024
}
