//! The whole report, as data and as text.

use serde::Serialize;

use super::finding::{Finding, Level};
use super::placement::Placement;
use super::sample::Sample;
use crate::cli::output::{counted, grouped};
use crate::config::Config;
use crate::routing::Routes;

#[derive(Debug, Serialize)]
pub struct Report {
    pub migration: String,
    pub routes: Vec<RouteSeen>,
    pub redis: Option<String>,
    pub kafka: Option<String>,
    /// Streams that the routes take, and how many of them were looked at.
    pub streams_found: usize,
    pub streams_looked_at: usize,
    pub streams: Vec<StreamSeen>,
    pub placements: Vec<Placement>,
    pub findings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
pub struct RouteSeen {
    pub route: String,
    pub database: u32,
    pub streams: Vec<String>,
    pub topic: String,
    pub partitions: u32,
    pub dead_letters: String,
}

#[derive(Debug, Serialize)]
pub struct StreamSeen {
    pub database: u32,
    pub stream: String,
    pub route: String,
    pub topic: String,
    pub entries: u64,
    pub samples: Vec<Sample>,
}

impl Report {
    #[must_use]
    pub fn new(config: &Config, routes: &Routes) -> Self {
        let routes = routes.iter().map(|route| RouteSeen {
            route: route.name().to_owned(),
            database: route.database().0,
            streams: route.config().streams.clone(),
            topic: route.config().topic.clone(),
            partitions: route.partitions(),
            dead_letters: route.dead_letters().to_string(),
        });
        Self {
            migration: config.name.clone(),
            routes: routes.collect(),
            redis: None,
            kafka: None,
            streams_found: 0,
            streams_looked_at: 0,
            streams: Vec::new(),
            placements: Vec::new(),
            findings: Vec::new(),
        }
    }

    #[must_use]
    pub fn text(&self, offline: bool) -> String {
        let mut lines = vec![format!(
            "{}: {}",
            self.migration,
            counted(self.routes.len() as u64, "route")
        )];
        for route in &self.routes {
            lines.push(format!(
                "  {}: {} of database {} → {}, {}",
                route.route,
                route.streams.join(", "),
                route.database,
                route.topic,
                counted(route.partitions.into(), "partition")
            ));
        }
        if offline {
            lines.push("offline: neither store was asked".to_owned());
        } else {
            self.seen(&mut lines);
        }
        lines.push(String::new());
        lines.extend(self.findings.iter().map(ToString::to_string));
        let count = |level| {
            self.findings
                .iter()
                .filter(|finding| finding.level == level)
                .count() as u64
        };
        lines.push(format!(
            "{}, {}, {}",
            counted(count(Level::Error), "error"),
            counted(count(Level::Warning), "warning"),
            counted(count(Level::Note), "note")
        ));
        lines.join("\n") + "\n"
    }

    fn seen(&self, lines: &mut Vec<String>) {
        let or_away =
            |store: &Option<String>| store.clone().unwrap_or_else(|| "not reached".to_owned());
        lines.push(format!("redis: {}", or_away(&self.redis)));
        lines.push(format!("kafka: {}", or_away(&self.kafka)));
        let looked = match self.streams_looked_at {
            all if all == self.streams_found => String::new(),
            some => format!(", {some} of them looked at"),
        };
        lines.push(format!(
            "{}{looked}",
            counted(self.streams_found as u64, "stream")
        ));
        for stream in &self.streams {
            lines.push(format!(
                "  {}/{} → {}: {} entries, {} sampled",
                stream.database,
                stream.stream,
                stream.topic,
                grouped(stream.entries),
                stream.samples.len()
            ));
            // One is enough for the eye; --output json has all.
            if let Some(sample) = stream.samples.first() {
                lines.push(format!("    {sample}"));
            }
        }
        lines.extend(
            self.placements
                .iter()
                .map(|placement| placement.to_string().trim_end().to_owned()),
        );
    }
}
