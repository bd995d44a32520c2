//! The alert rules, as Prometheus reads them, held against panels, runbooks and their own tests.
//!
//! An alert that nobody can see coming, that leads nowhere, or whose boundary was never tried is a promise that nobody keeps.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::harness::{Prometheus, Rules};

use super::{dashboards, promql};

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    pub name: String,
    pub expr: String,
    pub severity: String,
    pub annotations: Value,
}

/// Every rule of `config/prometheus/alerts.yml`.
pub fn read(prometheus: &Prometheus) -> Vec<Rule> {
    let rules: Vec<Rule> = prometheus
        .rules()
        .iter()
        .map(|rule| Rule {
            name: rule["name"].as_str().unwrap().to_owned(),
            expr: rule["query"].as_str().unwrap().to_owned(),
            severity: rule["labels"]["severity"].as_str().unwrap_or("").to_owned(),
            annotations: rule["annotations"].clone(),
        })
        .collect();
    assert!(!rules.is_empty());
    rules
}

/// Names that a text links to as runbooks: `${runbooks}/NAME`.
pub fn runbooks_in(text: &str) -> Vec<String> {
    let linked = text.split("${runbooks}/").skip(1);
    linked
        .map(|rest| {
            let end = rest.find(')').unwrap_or(rest.len());
            rest[..end].to_owned()
        })
        .collect()
}

/// Thresholds of a panel, those of single series too, and the least numbers that its words name (`at least 10`).
fn drawn(panel: &Value) -> Vec<f64> {
    let config = &panel["fieldConfig"];
    let overrides = config["overrides"].as_array().unwrap();
    let single = overrides
        .iter()
        .flat_map(|one| one["properties"].as_array().unwrap())
        .filter(|property| property["id"] == "thresholds")
        .map(|property| &property["value"]);
    let steps = single.chain([&config["defaults"]["thresholds"]]);
    let mut found: Vec<f64> = steps
        .flat_map(|thresholds| thresholds["steps"].as_array().unwrap())
        .filter_map(|step| step["value"].as_f64())
        .collect();
    let words = panel["description"].as_str().unwrap();
    found.extend(words.split("at least ").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit());
        rest[..end.unwrap_or(rest.len())].parse::<f64>().ok()
    }));
    found
}

/// A threshold is the first value that is wrong, an alert compares with the last that is right: `> 0` of a count is drawn
/// at 1, and what is 0 where it should be 1 is drawn at 1 too.
fn stands_for(drawn: f64, compared: f64) -> bool {
    let wanted = if compared == 0.0 { 1.0 } else { compared };
    (drawn - wanted).abs() < 1e-9
}

/// Comparisons with 1 ask whether something is so, and are no thresholds.
fn thresholds(rule: &Rule) -> Vec<f64> {
    let all = promql::compared_with(&rule.expr);
    all.into_iter().filter(|number| *number != 1.0).collect()
}

#[test]
fn every_threshold_is_drawn_where_the_runbook_is_linked() {
    let prometheus = Prometheus::watching(&[], Rules::AsTheyAre);
    let rules = read(&prometheus);
    let dashboards = dashboards::all();
    let panels: Vec<&Value> = dashboards.iter().flat_map(|one| one.panels()).collect();
    let mut drawn_at_all = 0;
    for rule in &rules {
        let about: Vec<&&Value> = panels
            .iter()
            .filter(|panel| {
                let linked = runbooks_in(panel["description"].as_str().unwrap());
                // The ticket in shadow and the page in use are drawn as one.
                let family = |name: &String| rule.name.starts_with(name.as_str());
                linked.iter().any(family)
            })
            .collect();
        for threshold in thresholds(rule) {
            drawn_at_all += 1;
            let seen: Vec<f64> = about.iter().flat_map(|panel| drawn(panel)).collect();
            assert!(
                seen.iter().any(|one| stands_for(*one, threshold)),
                "{}: {threshold} is drawn on no panel that leads to its runbook; they draw {seen:?}",
                rule.name
            );
        }
    }
    // Some alerts ask only whether something is so.
    assert!(drawn_at_all > 20, "{drawn_at_all} thresholds");
}

#[test]
fn every_alert_leads_to_its_runbook_and_every_such_runbook_to_an_alert() {
    let prometheus = Prometheus::watching(&[], Rules::AsTheyAre);
    let rules = read(&prometheus);
    for rule in &rules {
        let note = |name: &str| rule.annotations[name].as_str().unwrap_or("").to_owned();
        let name = &rule.name;
        assert!(name.starts_with("Lockgate"), "{name}");
        assert!(
            ["critical", "warning"].contains(&rule.severity.as_str()),
            "{name}: {}",
            rule.severity
        );
        assert_eq!(note("runbook"), format!("lockgate runbook {name}"));
        assert_eq!(
            note("runbook_url"),
            format!("http://127.0.0.1:8474/runbooks/{name}")
        );
        let summary = note("summary");
        assert!(
            summary.starts_with("{{ $labels.migration }}: ") && summary.contains("$value"),
            "{name}: {summary}"
        );
        assert!(
            lockgate::runbooks::find(name).is_some(),
            "no runbook {name}"
        );
    }
    let alerts: BTreeSet<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    for (book, _) in lockgate::runbooks::all() {
        assert!(
            !book.starts_with("Lockgate") || alerts.contains(book),
            "runbooks/{book}.md is about no alert"
        );
    }
}

#[test]
fn every_alert_is_tried_at_its_boundary_over_a_restart_and_without_data() {
    let prometheus = Prometheus::watching(&[], Rules::AsTheyAre);
    for rule in read(&prometheus) {
        let name = &rule.name;
        let file = format!("{}/tests/alerts/{name}.yml", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
        let fires = format!("alertname=\"{name}\"");
        assert!(text.contains(&fires), "{name} never fires in its test");
        assert!(
            text.contains("exp_samples: []"),
            "{name} always fires in its test"
        );
        let cases: Vec<&str> = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- name: "))
            .collect();
        for needed in ["restart", "no data"] {
            assert!(
                cases.iter().any(|case| case.contains(needed)),
                "{name}: no case `{needed}` among {cases:?}"
            );
        }
        assert!(cases.len() >= 4, "{name}: {cases:?}");
    }
}

/// Names of alerts in the lines of Alertmanager's example that begin so, or stand under one that does.
fn inhibition(side: &str) -> BTreeSet<String> {
    let example = include_str!("../../../config/prometheus/alertmanager.yml");
    let mut within = false;
    let mut names = BTreeSet::new();
    for line in example.lines().filter(|line| !line.trim().starts_with('#')) {
        let line = line.trim().trim_start_matches("- ");
        if let Some((key, _)) = line.split_once(':') {
            within = key == side;
        }
        if within {
            let words = line.split(|c: char| !c.is_ascii_alphanumeric());
            names.extend(
                words
                    .filter(|word| word.starts_with("Lockgate"))
                    .map(str::to_owned),
            );
        }
    }
    assert!(names.len() > 3, "{names:?}");
    names
}

#[test]
fn what_is_silenced_is_known_and_never_a_loss() {
    let prometheus = Prometheus::watching(&[], Rules::AsTheyAre);
    let rules = read(&prometheus);
    let known: BTreeSet<String> = rules.iter().map(|rule| rule.name.clone()).collect();
    let silenced = inhibition("target_matchers");
    for named in silenced.union(&inhibition("source_matchers")) {
        assert!(known.contains(named), "{named} is no alert");
    }
    for grave in [
        "LockgateEntriesLost",
        "LockgateStoresApart",
        "LockgateFrozen",
        "LockgateRollbackStuck",
        "LockgateRollbackNotReady",
        "LockgateKafkaOffline",
        "LockgateRedisEvicting",
        "LockgateAbsent",
    ] {
        assert!(
            known.contains(grave) && !silenced.contains(grave),
            "{grave}"
        );
    }
}

#[test]
fn thresholds_are_found_in_panels_and_words() {
    let panel: Value = serde_json::json!({
        "description": "Alert above 0.1 % and at least 10. [Runbook A](${runbooks}/A), or `lockgate runbook A`.",
        "fieldConfig": {
            "defaults": {"thresholds": {"steps": [{"value": null}, {"value": 0.001}]}},
            "overrides": [{"properties": [{"id": "unit", "value": "s"},
                {"id": "thresholds", "value": {"steps": [{"value": 60}]}}]}],
        },
    });
    assert_eq!(drawn(&panel), [60.0, 0.001, 10.0]);
    assert_eq!(runbooks_in(panel["description"].as_str().unwrap()), ["A"]);
    assert!(stands_for(1.0, 0.0) && stands_for(60.0, 60.0) && !stands_for(60.0, 61.0));
}
