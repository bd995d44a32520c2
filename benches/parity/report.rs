//! The table and `target/bench/parity.json`.

use serde_json::{Value, json};

use crate::audit::Behind;
use crate::measured::Measured;

/// Reading both stores alone, to verifying them.
const RATIO: f64 = 0.6;
const RESIDENT_MB: f64 = 200.0;
/// Processor time per entry of the auditor, to that of the mirror.
const AUDIT_COST: f64 = 0.6;
/// Two windows of the configuration's default: one that is open, and one that is being compared.
const BEHIND_SECONDS: f64 = 20.0;

pub struct Report {
    summary: Value,
}

impl Report {
    pub fn new(entries: u64) -> Self {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        Self {
            summary: json!({ "entries": entries, "machine": { "cores": cores } }),
        }
    }

    fn row(what: &str, figure: &str, goal: &str, met: bool) {
        let met = match (goal.is_empty(), met) {
            (true, _) => "",
            (false, true) => "reached",
            (false, false) => "FALLS SHORT",
        };
        println!("{what:<46} {figure:>28}  {goal:<8} {met}");
    }

    fn figures(&mut self, key: &str, what: &str, measured: &Measured) {
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
        Self::row(what, &figure, "", true);
    }

    fn goal(&mut self, key: &str, what: &str, value: f64, goal: f64, at_least: bool) {
        let met = if at_least {
            value >= goal
        } else {
            value <= goal
        };
        let (bound, sign) = if at_least {
            ("at_least", ">=")
        } else {
            ("at_most", "<=")
        };
        self.summary[key] = json!({ "value": value, bound: goal, "met": met });
        Self::row(what, &format!("{value:.2}"), &format!("{sign} {goal}"), met);
    }

    pub fn ceiling(&mut self, reading: &Measured) {
        self.figures("reading", "reading both stores alone", reading);
    }

    pub fn level(&mut self, reading: &Measured, verify: &Measured) {
        self.figures("verify", "verify, stores level", verify);
        let ratio = verify.per_second() / reading.per_second();
        self.goal(
            "ratio_to_reading",
            "verify to reading alone",
            ratio,
            RATIO,
            true,
        );
        self.memory("resident_mb", "resident MB of verify", verify);
    }

    pub fn audit(&mut self, reading: &Measured, mirror: &Measured, audit: &Measured) {
        self.figures("mirror", "mirror, no auditor", mirror);
        self.figures("audit", "auditor, a backlog", audit);
        let ratio = audit.per_second() / reading.per_second();
        self.goal(
            "audit_ratio_to_reading",
            "auditor to reading alone",
            ratio,
            RATIO,
            true,
        );
        let cost = audit.processor_micros_per_entry() / mirror.processor_micros_per_entry();
        self.goal(
            "audit_processor_ratio",
            "auditor's processor time to the mirror's",
            cost,
            AUDIT_COST,
            false,
        );
    }

    pub fn keeping_up(&mut self, mirror: &Measured, behind: &Behind) {
        let share = behind.per_second / mirror.per_second();
        self.summary["half_speed"] = json!({
            "entries_per_second": behind.per_second,
            "share_of_full_speed": share,
            "behind_half_way_seconds": behind.half_way_seconds,
        });
        let figure = format!(
            "{:.0}/s ({share:.2}), {:.1} s",
            behind.per_second, behind.half_way_seconds
        );
        Self::row("mirror at half speed, behind half way", &figure, "", true);
        self.goal(
            "audit_behind_seconds",
            "seconds the auditor is behind it at the end",
            behind.seconds,
            BEHIND_SECONDS,
            false,
        );
    }

    /// What it takes when every window has to be looked at: shown, and held to the same memory.
    pub fn apart(&mut self, reading: &Measured, verify: &Measured) {
        self.figures(
            "verify_looking",
            "verify, a difference in every window",
            verify,
        );
        let ratio = verify.per_second() / reading.per_second();
        self.summary["looking_ratio_to_reading"] = json!({ "value": ratio });
        Self::row(
            "the same to reading alone",
            &format!("{ratio:.2}"),
            "",
            true,
        );
        self.memory("resident_looking_mb", "resident MB of it", verify);
    }

    fn memory(&mut self, key: &str, what: &str, measured: &Measured) {
        let megabytes = measured.resident_bytes as f64 / (1 << 20) as f64;
        self.goal(key, what, megabytes, RESIDENT_MB, false);
    }

    pub fn finish(self) {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("target")
            .join("bench");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("parity.json");
        std::fs::write(&file, serde_json::to_string_pretty(&self.summary).unwrap()).unwrap();
        println!("\nwritten to target/bench/parity.json");
    }
}
