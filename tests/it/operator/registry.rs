//! The metrics that there are: names, labels and label values, read off a daemon.
//!
//! A daemon shows every value of every label from its first scrape, so what it shows is what can be asked for.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::{Daemon, Prometheus, RedisOptions, RedisServer, Rules, eventually, kafka};
use crate::plan::{Plan, SOON, add, await_level, drain};

use super::promql::{self, Selector};
use super::scenarios::groups::{at_the_beginning, record_baseline, tell};
use super::scenarios::steered::{acknowledge, await_step, put_at, told};
use super::walk::Walk;

/// Brought by Prometheus or by a variable of the dashboard.
const NOT_OURS: [&str; 2] = ["instance", "migration"];

/// Label values by metric and label.
pub struct Registry(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Registry {
    /// From the text of `/metrics`.
    pub fn read(text: &str) -> Self {
        let mut metrics: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, _)) = line.rsplit_once(' ') else {
                continue;
            };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels.trim_end_matches('}');
            let known = metrics.entry(name.to_owned()).or_default();
            for label in labels.split("\",").filter(|label| !label.is_empty()) {
                let (label, value) = label.split_once("=\"").expect("label=\"value\"");
                known
                    .entry(label.to_owned())
                    .or_default()
                    .insert(value.trim_end_matches('"').to_owned());
            }
        }
        Self(metrics)
    }

    /// What an expression asks for and no daemon shows.
    pub fn unknown(&self, expr: &str) -> Vec<String> {
        let asked = promql::selectors(expr);
        assert!(!asked.is_empty(), "{expr} asks for nothing of Lockgate's");
        asked.iter().flat_map(|one| self.unknown_in(one)).collect()
    }

    fn unknown_in(&self, asked: &Selector) -> Vec<String> {
        let metric = &asked.metric;
        let Some(labels) = self.0.get(metric) else {
            return vec![format!("no daemon shows {metric}")];
        };
        let mut unknown = Vec::new();
        for matcher in &asked.matchers {
            if NOT_OURS.contains(&matcher.label.as_str()) {
                continue;
            }
            let Some(values) = labels.get(&matcher.label) else {
                unknown.push(format!("{metric} has no label {}", matcher.label));
                continue;
            };
            for value in matcher.values() {
                if !values.contains(value) {
                    unknown.push(format!("{metric} has no {}=\"{value}\"", matcher.label));
                }
            }
        }
        unknown
    }
}

/// A daemon that has something to show, with what it needs around it.
pub struct Shown {
    pub plan: Plan,
    pub redis: RedisServer,
    pub daemon: Daemon,
}

impl Shown {
    /// Two routes, `maxmemory` set, everything mirrored that was added; the migration at this step, its way back proven (in
    /// shadow, that from the next), one application that follows.
    #[track_caller]
    pub fn at(what: &str, step: &str) -> Self {
        let redis = RedisServer::start(RedisOptions {
            maxmemory: Some((256 << 20, "noeviction")),
            ..RedisOptions::default()
        });
        let mut plan = Plan::on(what, &redis, 0, kafka())
            .route("messages", &["a", "b"], "")
            .route("tasks", &["c", "standing"], "");
        for route in ["messages", "tasks"] {
            kafka().create_topic(&plan.topic(route), 1, &[]);
        }
        plan.more = format!(
            "[migration]\nevidence_freshness = \"10m\"\n[[migration.groups]]\nname = \"{}\"\nredis = \"workers\"\n",
            plan.name
        );
        let topics = ["messages", "tasks"].map(|route| plan.topic(route));
        at_the_beginning(&plan.name, &topics);
        redis.command::<()>(plan.database, "XGROUP CREATE a workers 0 MKSTREAM");
        let mut daemon = plan.daemon();
        await_step(&daemon, "shadow", "steady");
        record_baseline(&plan, &daemon, 900.0);
        drain(&mut daemon);
        put_at(&redis, &plan, step);
        daemon.restart();
        daemon.wait_ready();
        await_step(&daemon, step, "steady");
        acknowledge(&daemon, "billing", told(&daemon), 3_000);
        match step {
            "shadow" => rehearse(&plan, &daemon, "consumers:5"),
            // There is no way back from it.
            "done" => {}
            step => rehearse(&plan, &daemon, step),
        }
        tell(&daemon, "disk", 0.41);
        tell(&daemon, "replication-lag", 0.0);
        let shown = Self {
            plan,
            redis,
            daemon,
        };
        for stream in ["a", "b", "c"] {
            shown.add(stream, 10);
            await_level(&shown.daemon, stream);
        }
        shown
    }

    pub fn add(&self, stream: &str, entries: u64) {
        add(&self.redis, self.plan.database, stream, "x", entries);
    }
}

/// Proves the way back from a step.
#[track_caller]
fn rehearse(plan: &Plan, daemon: &Daemon, step: &str) {
    let walk = Walk::new("rollback", plan, daemon, "a");
    walk.prepare(&format!("lockgate rollback --dry-run --to {step}"));
}

/// What a daemon shows once all that the dashboards and rules ask for is there; how long that takes is not the matter.
#[track_caller]
pub fn of_a_daemon(what: &str, expressions: &[String]) -> Registry {
    let shown = Shown::at(what, "consumers:5");
    eventually(SOON, "everything that is asked for is shown", || {
        let registry = Registry::read(&shown.daemon.metrics());
        let unknown: Vec<String> = expressions
            .iter()
            .flat_map(|expr| {
                let unknown = registry.unknown(expr);
                unknown.into_iter().map(move |one| format!("{one}: {expr}"))
            })
            .collect();
        if unknown.is_empty() {
            Ok(registry)
        } else {
            Err(unknown.join("\n"))
        }
    })
}

#[test]
fn every_metric_and_label_value_asked_for_is_one_that_a_daemon_shows() {
    let prometheus = Prometheus::watching(&[], Rules::AsTheyAre);
    let rules = super::alerts::read(&prometheus);
    let mut expressions: Vec<String> = rules.into_iter().map(|rule| rule.expr).collect();
    for dashboard in super::dashboards::all() {
        expressions.extend(dashboard.targets().into_iter().map(|target| target.expr));
        expressions.extend(dashboard.variables());
    }
    assert!(expressions.len() > 40, "{} expressions", expressions.len());
    of_a_daemon("registry", &expressions);
}

#[test]
fn a_misspelt_metric_label_or_value_is_found() {
    let registry = Registry::read(
        "# HELP lockgate_a_total x\nlockgate_a_total{cause=\"x\",route=\"r, 1\"} 3\nlockgate_a_total{cause=\"y\",route=\"r, 1\"} 0\nlockgate_b 1\n",
    );
    for fine in [
        "lockgate_b > 0",
        "sum(lockgate_a_total{cause=~\"x|y\", route=\"r, 1\", migration=~\"$migration\"})",
    ] {
        assert!(registry.unknown(fine).is_empty(), "{fine}");
    }
    for wrong in [
        "lockgate_c",
        "lockgate_b{cause=\"x\"}",
        "lockgate_a_total{cause=\"z\"}",
        "lockgate_a_total{cause!~\"x|z\"}",
    ] {
        assert_eq!(registry.unknown(wrong).len(), 1, "{wrong}");
    }
}
