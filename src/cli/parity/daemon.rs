//! What the running daemon says of parity: the section `parity` of `GET /v1/status`, and how it is shown.
//!
//! Read for itself and leniently, so that a daemon of another version is shown as far as it can be understood; what it does
//! not say is left out, never shown as 0.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::text::{self, Look, moment};
use super::words;
use crate::cli::Exit;
use crate::cli::output::{counted, grouped};
use crate::cli::status::{Page, Paint, spoken};
use crate::parity::{Class, Difference};
use crate::status::ParityState;

/// The whole answer, as far as it is about parity.
#[derive(Clone, Debug, Deserialize)]
pub struct Told {
    pub migration: String,
    pub as_of: String,
    pub seq: u64,
    /// Absent where the daemon does not audit.
    #[serde(default)]
    pub parity: Option<Section>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Section {
    pub state: ParityState,
    #[serde(default)]
    pub since: Option<String>,
    #[serde(default)]
    pub verified_through: Option<String>,
    #[serde(default)]
    pub compared: Option<u64>,
    #[serde(default)]
    pub open: BTreeMap<String, u64>,
    #[serde(default)]
    pub unverifiable: Option<u64>,
    #[serde(default)]
    pub lower_bound: Option<f64>,
    #[serde(default)]
    pub reason: Option<String>,
    #[serde(default)]
    pub was_level_seconds: Option<f64>,
    #[serde(default)]
    pub open_differences: Vec<Difference>,
    #[serde(default)]
    pub windows: BTreeMap<String, u64>,
    #[serde(default)]
    pub behind_seconds: Option<f64>,
    #[serde(default)]
    pub routes: BTreeMap<String, RouteSection>,
    #[serde(default)]
    pub shards: Vec<u32>,
    #[serde(default)]
    pub shards_in_all: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RouteSection {
    pub verified_through: Option<String>,
    pub compared: Option<u64>,
    pub open: BTreeMap<String, u64>,
    pub windows: BTreeMap<String, u64>,
}

/// What is said where a daemon does not audit.
pub const SILENT: &str = "this daemon does not audit ([parity] enabled = false, or another version); \
lockgate parity verify reads both stores itself";

impl Told {
    /// # Errors
    /// In words: this is no status that can be read.
    pub fn read(body: &str) -> Result<Self, String> {
        serde_json::from_str(body).map_err(|error| {
            format!("the daemon's status cannot be read by this version ({error}); see it with lockgate status --output json")
        })
    }

    /// What the state ends with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.parity
            .as_ref()
            .map_or(Exit::Unknown, |section| super::exit(section.state))
    }

    /// The whole screen.
    #[must_use]
    pub fn page(&self, look: Look) -> String {
        let mut page = look.page();
        self.head(&mut page);
        let Some(section) = &self.parity else {
            return page.finish();
        };
        section.figures(&mut page);
        for (name, route) in &section.routes {
            page.line("ROUTE", &route.line(name), Paint::Plain);
        }
        text::differences(&mut page, &section.open_differences, section.not_listed());
        if let Some(first) = section.open_differences.first() {
            page.line("NEXT", &text::explain(first), Paint::Plain);
        }
        page.finish()
    }

    /// The open differences, each with what to do.
    #[must_use]
    pub fn open(&self, look: Look) -> String {
        let mut page = look.page();
        self.head(&mut page);
        let Some(section) = &self.parity else {
            return page.finish();
        };
        for one in &section.open_differences {
            let title = format!("{} · {}", one.class, words::identity(one));
            page.line("DIFFERS", &title, Paint::Bad);
            page.line("", &words::sentence(one), Paint::Plain);
            page.line(
                "",
                &format!("do: {}", words::advice(one.class, one.why)),
                Paint::Plain,
            );
        }
        if section.open_differences.is_empty() {
            page.line("", "no difference is open", Paint::Plain);
        }
        if section.not_listed() > 0 {
            let more = format!(
                "and {} more; all of them: lockgate parity verify",
                grouped(section.not_listed())
            );
            page.line("", &more, Paint::Plain);
        }
        if let Some(first) = section.open_differences.first() {
            page.line("NEXT", &text::explain(first), Paint::Plain);
        }
        page.finish()
    }

    /// The same in one line, for places that cannot be redrawn.
    #[must_use]
    pub fn line(&self, ascii: bool) -> String {
        let text = match &self.parity {
            None => "parity unknown: this daemon does not audit".to_owned(),
            Some(section) => {
                let mut parts = vec![format!("parity {}", word(section.state))];
                parts.extend(section.compared.map(|n| format!("{} compared", grouped(n))));
                parts.push(format!("{} open", grouped(section.open_count())));
                parts.extend(
                    section
                        .verified_through
                        .as_ref()
                        .map(|time| format!("verified to {}", moment(time))),
                );
                parts.extend(section.reason.clone());
                parts.join(" · ")
            }
        };
        if ascii {
            crate::cli::status::ascii(&text)
        } else {
            text
        }
    }

    fn head(&self, page: &mut Page) {
        let (word, paint) = match &self.parity {
            Some(section) => text::word(section.state),
            None => ("? DOES NOT AUDIT", Paint::Warn),
        };
        let clock = self.as_of.get(11..19).unwrap_or(&self.as_of);
        let right = format!("{clock}Z  seq {}", self.seq);
        page.ends(&self.migration, word, paint, "", &right);
        match &self.parity {
            Some(section) => {
                section.since(page);
                section.partial(page);
            }
            None => page.line("", SILENT, Paint::Plain),
        }
    }
}

impl Section {
    fn since(&self, page: &mut Page) {
        let since = self
            .since
            .as_ref()
            .map(|since| format!("since {}", moment(since)));
        let was = self
            .was_level_seconds
            .map(|seconds| format!("was level for {}", spoken(seconds)));
        let parts = since.into_iter().chain(self.reason.clone()).chain(was);
        let parts: Vec<String> = parts.collect();
        if !parts.is_empty() {
            page.line("", &parts.join(" · "), Paint::Plain);
        }
    }

    /// An instance audits its own shards, and says nothing of others.
    fn partial(&self, page: &mut Page) {
        let own = self.shards.len();
        if let Some(all) = self.shards_in_all.filter(|all| own < *all as usize) {
            let text = format!(
                "this instance's {own} of {all} shards: ask each instance (--url), or lockgate parity verify"
            );
            page.line("SHARDS", &text, Paint::Warn);
        }
    }

    fn figures(&self, page: &mut Page) {
        let through = self
            .verified_through
            .as_ref()
            .map(|time| format!("to {}", moment(time)));
        let behind = self
            .behind_seconds
            .map(|seconds| format!("{} behind", spoken(seconds)));
        let verified: Vec<String> = through.into_iter().chain(behind).collect();
        if !verified.is_empty() {
            page.line("VERIFIED", &verified.join(" · "), Paint::Plain);
        }
        let mut compared: Vec<String> = Vec::new();
        compared.extend(self.compared.map(|n| format!("{} compared", grouped(n))));
        compared.push(format!("{} differ", grouped(self.open_count())));
        compared.extend(
            self.unverifiable
                .map(|n| format!("{} unverifiable", grouped(n))),
        );
        compared.extend(
            self.lower_bound
                .map(|bound| format!(">= {}", words::percent(bound))),
        );
        page.line("COMPARED", &compared.join(" · "), Paint::Plain);
        let windows = named(&self.windows);
        if !windows.is_empty() {
            page.line("WINDOWS", &windows, Paint::Plain);
        }
    }

    fn open_count(&self) -> u64 {
        faults(&self.open).values().sum()
    }

    fn not_listed(&self) -> u64 {
        self.open_count()
            .saturating_sub(self.open_differences.len() as u64)
    }
}

impl RouteSection {
    fn line(&self, name: &str) -> String {
        let mut parts = vec![name.to_owned()];
        parts.extend(
            self.verified_through
                .as_ref()
                .map(|time| format!("to {}", moment(time))),
        );
        parts.extend(self.compared.map(|n| format!("{} compared", grouped(n))));
        let open = faults(&self.open);
        parts.push(if open.is_empty() {
            "0 differ".to_owned()
        } else {
            named(&open)
        });
        parts.extend(
            self.windows
                .get("sealed")
                .map(|n| format!("{} sealed", counted(*n, "window"))),
        );
        parts.join(" · ")
    }
}

/// What stands open and is a fault; what is pending is open too, and none.
fn faults(open: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let is_fault = |name: &String| {
        let class = Class::ALL.iter().find(|class| class.as_str() == name);
        class.is_none_or(|class| class.is_fault())
    };
    open.iter()
        .filter(|(name, count)| **count > 0 && is_fault(name))
        .map(|(name, count)| (name.clone(), *count))
        .collect()
}

const fn word(verdict: ParityState) -> &'static str {
    match verdict {
        ParityState::Level => "level",
        ParityState::Apart => "APART",
        ParityState::Unknown => "unknown",
    }
}

fn named(counts: &BTreeMap<String, u64>) -> String {
    let parts: Vec<String> = counts
        .iter()
        .map(|(name, number)| format!("{} {name}", grouped(*number)))
        .collect();
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parity::samples::difference;

    fn told(change: impl FnOnce(&mut serde_json::Value)) -> Told {
        let mut json = serde_json::json!({
            "migration": "messages", "as_of": "2026-03-12T14:04:00.000Z", "seq": 12, "ready": true,
            "parity": {
                "state": "level", "since": "2026-03-08T12:02:00Z", "verified_through": "2026-03-12T14:03:40Z",
                "compared": 18_402_113_u64, "classes": {"match": 18_402_113_u64}, "open": {"missing": 0, "pending": 7, "unverifiable": 2}, "unverifiable": 0,
                "lower_bound": 0.999_999_837, "reason": null, "open_differences": [], "behind_seconds": 20.0,
                "windows": {"sealed": 184, "unequal": 0, "unverifiable": 0},
                "routes": {"chat": {"verified_through": "2026-03-12T14:03:40Z", "compared": 18_402_113_u64,
                    "open": {"missing": 0}, "windows": {"sealed": 184}, "read": {"redis": 1, "kafka": 1}}}
            }
        });
        change(&mut json);
        Told::read(&json.to_string()).unwrap()
    }

    fn apart(json: &mut serde_json::Value) {
        json["parity"]["state"] = "apart".into();
        json["parity"]["open"] = serde_json::json!({"missing": 2, "duplicate": 1, "pending": 7});
        json["parity"]["reason"] = "2 missing, 1 duplicate".into();
        json["parity"]["open_differences"] =
            serde_json::to_value([difference(Class::Missing, &[])]).unwrap();
        json["parity"]["routes"]["chat"]["open"] =
            serde_json::json!({"missing": 2, "duplicate": 1});
    }

    #[track_caller]
    fn is(shown: &str, expected: &str) {
        assert_eq!(shown, expected, "\n{shown}");
        for line in shown.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn level_is_shown_with_since_when_and_how_far() {
        is(
            &told(|_| ()).page(Look::default()),
            "\
messages  = LEVEL                                              14:04:00Z  seq 12
          since 2026-03-08 12:02:00Z
VERIFIED  to 2026-03-12 14:03:40Z · 0m20s behind
COMPARED  18,402,113 compared · 0 differ · 0 unverifiable · >= 99.99998 %
WINDOWS   184 sealed · 0 unequal · 0 unverifiable
ROUTE     chat · to 2026-03-12 14:03:40Z · 18,402,113 compared · 0 differ
          184 windows sealed
",
        );
        assert_eq!(told(|_| ()).exit(), Exit::Done);
        assert_eq!(
            told(|_| ()).line(false),
            "parity level · 18,402,113 compared · 0 open · verified to 2026-03-12 14:03:40Z"
        );
    }

    #[test]
    fn what_is_open_is_explained_one_by_one() {
        let told = told(apart);
        is(
            &told.open(Look::default()),
            "\
messages  ≠ APART                                              14:04:00Z  seq 12
          since 2026-03-08 12:02:00Z · 2 missing, 1 duplicate
DIFFERS   missing · 0/msg:stream:7 1741356110123-0
          belongs in messages.v1/3; Kafka has neither a record nor a dead letter
          of it
          do: produce it again: lockgate parity repair --apply --reason TEXT
          and 2 more; all of them: lockgate parity verify
NEXT      lockgate parity explain 'msg:stream:7' 1741356110123-0 --database 0
",
        );
        assert_eq!(told.exit(), Exit::Troubled);
        assert!(told.page(Look::default()).contains("2 missing"));
    }

    #[test]
    fn one_instance_of_several_says_that_it_speaks_of_its_own_shards() {
        let partial = |own: &[u32]| {
            let told = told(|json| {
                json["parity"]["shards"] = own.into();
                json["parity"]["shards_in_all"] = 4.into();
            });
            told.open(Look::default())
        };
        is(
            &partial(&[0, 2]),
            "\
messages  = LEVEL                                              14:04:00Z  seq 12
          since 2026-03-08 12:02:00Z
SHARDS    this instance's 2 of 4 shards: ask each instance (--url), or lockgate
          parity verify
          no difference is open
",
        );
        assert!(!partial(&[0, 1, 2, 3]).contains("SHARDS"));
    }

    #[test]
    fn a_daemon_that_does_not_audit_is_no_daemon_that_is_level() {
        let told = told(|json| json["parity"] = serde_json::Value::Null);
        let shown = told.page(Look::default());
        assert!(shown.contains("? DOES NOT AUDIT") && shown.contains("parity verify"));
        assert!(!shown.contains("LEVEL"));
        assert_eq!(told.exit(), Exit::Unknown);
        assert!(told.line(true).is_ascii());
    }

    #[test]
    fn what_a_daemon_does_not_say_is_left_out() {
        let told = told(|json| json["parity"] = serde_json::json!({"state": "unknown"}));
        let shown = told.page(Look::default());
        assert!(shown.contains("? COULD NOT TELL"), "{shown}");
        assert!(!shown.contains("was level"), "{shown}");
        assert!(
            !shown.contains("VERIFIED") && !shown.contains("compared"),
            "{shown}"
        );
    }
}
