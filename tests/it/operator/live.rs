//! Every query of every dashboard, run by a Prometheus that scrapes a daemon at work: each gives numbers.
//!
//! A query may be empty only if `dashboards/may-be-empty.toml` says why, and then it must be: a reason that no longer holds
//! is taken out.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::harness::{Prometheus, Rules, eventually};
use crate::plan::await_state;

use super::dashboards::{self, Target};
use super::registry::Shown;

const EXCEPTIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards/may-be-empty.toml");

/// In `shadow` nobody reads Kafka and there is nothing to take back.
const EMPTY_IN_SHADOW: &[(&str, &str)] = &[
    ("Groups: how far behind", "{{group}}"),
    ("Groups: how far behind", "{{group}}: oldest"),
    (
        "Groups: how far behind",
        "{{group}}: partitions with nothing committed",
    ),
    ("Way back", "takes"),
];

/// From `done` no step leads on and none back, and there is nothing that a tripwire could take back.
const EMPTY_IN_DONE: &[(&str, &str)] = &[
    ("Gates of the next step", "{{gate}} {{verdict}}"),
    ("Tripwires, margin, and pace", "{{tripwire}}"),
    ("Way back", "proven, age"),
    ("Way back", "takes"),
];

/// Dashboard, panel and legend of a query.
type Place = (String, String, String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exceptions {
    #[serde(default)]
    query: Vec<Exception>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    dashboard: String,
    panel: String,
    legend: String,
    reason: String,
}

fn exceptions() -> BTreeMap<Place, String> {
    let text = fs::read_to_string(EXCEPTIONS).unwrap();
    let read: Exceptions = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}"));
    let named = read.query.into_iter();
    named
        .map(|one| ((one.dashboard, one.panel, one.legend), one.reason))
        .collect()
}

/// As Grafana asks it, of one migration over a short time.
fn asked(expr: &str, migration: &str) -> String {
    expr.replace("$migration", migration)
        .replace("$instance", ".*")
        .replace("$__rate_interval", "5s")
        .replace("$__range", "1m")
}

/// Numbers among the samples of an answer, of an instant or over a range.
fn finite(data: &Value) -> usize {
    let series = data["result"].as_array().map_or(&[][..], Vec::as_slice);
    let samples = series.iter().flat_map(|one| {
        let range = one["values"].as_array().cloned().unwrap_or_default();
        range.into_iter().chain(one.get("value").cloned())
    });
    let number = |sample: &Value| sample[1].as_str()?.parse::<f64>().ok();
    samples
        .filter_map(|sample| number(&sample))
        .filter(|value| value.is_finite())
        .count()
}

fn answers(prometheus: &Prometheus, target: &Target, migration: &str) -> Result<usize, String> {
    let expr = asked(&target.expr, migration);
    let data = if target.instant {
        prometheus.query(&expr)
    } else {
        prometheus.query_range(&expr)
    };
    Ok(finite(&data?))
}

#[test]
fn every_query_of_every_dashboard_has_numbers_under_load() {
    has_numbers("consumers:5");
}

#[test]
#[ignore = "long: make soak"]
fn every_query_of_every_dashboard_has_numbers_in_every_other_phase() {
    for step in ["ingress:10", "cleanup", "done", "shadow"] {
        println!("{step}");
        has_numbers(step);
    }
}

#[track_caller]
fn has_numbers(step: &str) {
    let mut shown = Shown::at("dashboards", step);
    // Something that stands still, so that what shows such things has something to show.
    shown
        .redis
        .command::<()>(shown.plan.database, "SET standing text");
    await_state(&shown.daemon, "standing", "halted", "not-a-stream");
    let prometheus = Prometheus::watching(&[shown.daemon.port], Rules::AsTheyAre);
    let mut waiting: BTreeMap<Place, Target> = BTreeMap::new();
    for dashboard in dashboards::all() {
        for target in dashboard.targets() {
            let place = (
                dashboard.name.clone(),
                target.panel.clone(),
                target.legend.clone(),
            );
            let twice = waiting.insert(place, target);
            assert!(twice.is_none(), "two queries of one panel have one legend");
        }
    }
    assert!(waiting.len() > 20, "{} queries", waiting.len());
    let mut exceptions = exceptions();
    let (empty, reason) = match step {
        "shadow" => (EMPTY_IN_SHADOW, "it is about Kafka's readers"),
        "done" => (
            EMPTY_IN_DONE,
            "it is about what is to come, or the way back",
        ),
        _ => (&[][..], ""),
    };
    exceptions.extend(empty.iter().map(|(panel, legend)| {
        let place = ["cutover", panel, legend].map(str::to_owned);
        (place.into(), reason.to_owned())
    }));
    let mut excused: BTreeMap<Place, Target> = BTreeMap::new();
    for (place, reason) in &exceptions {
        assert!(!reason.trim().is_empty(), "{place:?} without a reason");
        if let Some(target) = waiting.remove(place) {
            excused.insert(place.clone(), target);
        }
    }
    let migration = shown.plan.name.clone();
    eventually(
        Duration::from_secs(120),
        "every query has finite data",
        || {
            for stream in ["a", "b", "c"] {
                shown.add(stream, 20);
            }
            assert!(shown.daemon.exited().is_none(), "{}", shown.daemon.log());
            let mut first = None;
            waiting.retain(
                |place, target| match answers(&prometheus, target, &migration) {
                    Ok(0) => {
                        first.get_or_insert(format!("{place:?}: no number of {}", target.expr));
                        true
                    }
                    Ok(_) => false,
                    Err(why) => panic!("{place:?}: {why}"),
                },
            );
            // The stores are not called level while a stream stands still.
            if waiting.keys().all(|(dashboard, ..)| dashboard == "parity") {
                shown
                    .redis
                    .command::<()>(shown.plan.database, "DEL standing");
            }
            first.map_or(Ok(()), |first| {
                let status = shown.daemon.status().unwrap_or_default();
                let why = &status["parity"]["reason"];
                let places: Vec<&Place> = waiting.keys().collect();
                Err(format!("{places:?} wait: {first}; parity: {why}"))
            })
        },
    );
    for (place, target) in excused {
        let found = answers(&prometheus, &target, &migration).unwrap();
        let reason = exceptions.remove(&place);
        assert_eq!(found, 0, "{place:?} has data, although {reason:?}");
    }
    assert!(
        exceptions.is_empty(),
        "of no query: {:?}",
        exceptions.keys()
    );
}

#[test]
fn numbers_are_counted_and_others_are_not() {
    let range = serde_json::json!({"result": [{"values": [[1, "NaN"], [2, "0"]]}, {"values": [[1, "+Inf"]]}]});
    assert_eq!(finite(&range), 1);
    let instant = serde_json::json!({"result": [{"value": [1, "2.5"]}, {"value": [1, "NaN"]}]});
    assert_eq!(finite(&instant), 1);
    assert_eq!(finite(&serde_json::json!({"result": []})), 0);
}
