//! The table and `target/bench/summary.json`.

use serde_json::{Value, json};

use crate::idle::Idle;
use crate::latency::Latency;
use crate::measured::Measured;

pub struct Report {
    summary: Value,
}

impl Report {
    pub fn new(entries: u64) -> Self {
        let machine =
            json!({ "cores": std::thread::available_parallelism().map_or(0, usize::from) });
        Self {
            summary: json!({ "entries": entries, "machine": machine }),
        }
    }

    fn row(&self, what: impl std::fmt::Display, figure: &str, goal: &str, met: bool) {
        let met = match (goal.is_empty(), met) {
            (true, _) => "",
            (false, true) => "reached",
            (false, false) => "FALLS SHORT",
        };
        println!("{what:<46} {figure:>28}  {goal:<8} {met}");
    }

    fn at_least(&mut self, key: &str, what: &str, value: f64, goal: f64) {
        self.summary[key] = json!({ "value": value, "at_least": goal, "met": value >= goal });
        self.row(
            what,
            &format!("{value:.2}"),
            &format!(">= {goal}"),
            value >= goal,
        );
    }

    fn at_most(&mut self, key: &str, what: &str, value: f64, goal: f64) {
        self.summary[key] = json!({ "value": value, "at_most": goal, "met": value <= goal });
        self.row(
            what,
            &format!("{value:.2}"),
            &format!("<= {goal}"),
            value <= goal,
        );
    }

    /// A figure without a goal.
    fn shown(&mut self, key: &str, what: &str, value: f64) {
        self.summary[key] = json!({ "value": value });
        self.row(what, &format!("{value:.2}"), "", true);
    }

    pub fn throughput(
        &mut self,
        produce: &Measured,
        read: &Measured,
        one: &Measured,
        spread: &Measured,
        shipped: &Measured,
    ) {
        for (key, what, measured) in [
            ("produce_only", "produce only, transactional", produce),
            ("read_only", "XREAD only", read),
            ("mirror_one", "mirror, one stream, one shard", one),
            ("mirror_spread", "mirror, 16 streams, 4 shards", spread),
            (
                "as_shipped",
                "the same with the auditor, as shipped",
                shipped,
            ),
        ] {
            self.summary[key] = json!({
                "entries_per_second": measured.per_second(),
                "processor_micros_per_entry": measured.processor_micros_per_entry(),
                "resident_bytes": measured.resident_bytes,
            });
            let figure = format!(
                "{:.0}/s, {:.2} us, {} MB",
                measured.per_second(),
                measured.processor_micros_per_entry(),
                measured.resident_bytes >> 20
            );
            self.row(what, &figure, "", true);
        }
        let megabytes = |bytes: u64| bytes as f64 / (1 << 20) as f64;
        self.at_least(
            "ratio_to_produce",
            "mirror to produce only",
            one.per_second() / produce.per_second(),
            0.5,
        );
        self.shown(
            "ratio_to_read",
            "mirror to XREAD only",
            one.per_second() / read.per_second(),
        );
        let cost = one.processor_micros_per_entry() / produce.processor_micros_per_entry();
        self.at_most(
            "processor_ratio",
            "processor time to produce only",
            cost,
            2.1,
        );
        self.at_least(
            "spread_ratio",
            "16 streams over 4 shards to one",
            spread.per_second() / one.per_second(),
            0.8,
        );
        self.at_most(
            "resident_mb",
            "resident MB on a backlog, one shard",
            megabytes(one.resident_bytes),
            100.0,
        );
        self.at_most(
            "resident_spread_mb",
            "resident MB on a backlog, 4 shards",
            megabytes(spread.resident_bytes),
            100.0,
        );
    }

    pub fn idle(&mut self, idle: &Idle, shipped: &Idle) {
        let megabytes = |idle: &Idle| idle.resident_bytes as f64 / (1 << 20) as f64;
        self.at_most(
            "resident_idle_mb",
            "resident MB idle",
            megabytes(idle),
            40.0,
        );
        self.shown(
            "resident_idle_shipped_mb",
            "the same with the auditor, as shipped",
            megabytes(shipped),
        );
        self.at_most(
            "idle_core_share",
            "share of a core, 2 000 mostly idle streams",
            idle.core_share,
            0.05,
        );
        self.shown(
            "idle_core_share_shipped",
            "the same with the auditor, as shipped",
            shipped.core_share,
        );
    }

    pub fn latency(&mut self, rate: &str, alone: &Latency, mirrored: &Latency) {
        let figure = |latency: &Latency| {
            format!("p50 {:.1} ms, p99 {:.1} ms", latency.p50_ms, latency.p99_ms)
        };
        self.row(
            "a transaction of one record alone",
            &figure(alone),
            "",
            true,
        );
        self.row(
            format!("XADD to consumer at {rate}"),
            &figure(mirrored),
            "",
            true,
        );
        let key = |point: &str| format!("latency_{}_{point}", rate.trim_end_matches("/s"));
        self.at_most(
            &key("p50"),
            &format!("p50 at {rate} to alone"),
            mirrored.p50_ms / alone.p50_ms,
            1.7,
        );
        self.at_most(
            &key("p99"),
            &format!("p99 at {rate} to alone"),
            mirrored.p99_ms / alone.p99_ms,
            2.3,
        );
    }

    pub fn finish(self) {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("target")
            .join("bench");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("summary.json");
        std::fs::write(&file, serde_json::to_string_pretty(&self.summary).unwrap()).unwrap();
        println!("\nwritten to target/bench/summary.json");
    }
}
