//! `lockgate topics`: the topics that the routes need, what is missing, what differs; and making what is missing.
//!
//! Nothing that exists is ever changed here: a partition more moves keys, a setting may be somebody's intention.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Serialize;

use super::output::{Output, block_on, counted, print, print_json};
use super::{ConfigArgs, Exit, discover};
use crate::checkpoint;
use crate::config::Config;
use crate::entry::StreamRef;
use crate::migration::store;
use crate::parity;
use crate::placement::Topic;
use crate::routing::{Binding, Routes};
use crate::streams::Redis;
use crate::topics::{Admin, Difference, Kafka, TopicSpec, TopicState, plan};

/// Show or create the topics that the routes need
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show what would be created and what differs; changes nothing
    #[command(after_help = "Example: lockgate topics plan --config lockgate.toml")]
    Plan(Common),
    /// Create the topics that are missing; what exists and differs is told and left, with exit code 1
    #[command(after_help = "Example: lockgate topics apply --config lockgate.toml")]
    Apply(Common),
}

#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    config: ConfigArgs,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Why a topic is wanted.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "purpose", content = "route", rename_all = "kebab-case")]
pub enum Purpose {
    /// Records of a route.
    Records(String),
    /// Dead letters of a route.
    DeadLetters(String),
    Checkpoints,
    Parity,
    State,
}

impl std::fmt::Display for Purpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Records(route) => write!(f, "records of route {route}"),
            Self::DeadLetters(route) => write!(f, "dead letters of route {route}"),
            Self::Checkpoints => f.write_str("checkpoints"),
            Self::Parity => f.write_str("what the auditor has compared"),
            Self::State => f.write_str("the driver's state"),
        }
    }
}

/// A topic that there should be.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub purpose: Purpose,
    pub spec: TopicSpec,
    /// The daemon makes it by itself when it first needs it.
    pub made_by_daemon: bool,
}

/// Every topic that the routes need for these streams. `shards`: how many partitions the checkpoint topic has or is to have.
#[must_use]
pub fn wanted(
    config: &Config,
    routes: &Routes,
    streams: &BTreeMap<StreamRef, Binding>,
    shards: u32,
    brokers: usize,
) -> Vec<Wanted> {
    let mut wanted: BTreeMap<Topic, Wanted> = BTreeMap::new();
    let mut want = |spec: TopicSpec, purpose, made_by_daemon| {
        let spec = spec.for_cluster(config.kafka.replication_factor, brokers);
        wanted.entry(spec.name.clone()).or_insert(Wanted {
            purpose,
            spec,
            made_by_daemon,
        });
    };
    for route in routes.iter() {
        let of_streams = streams.values().filter(|binding| {
            binding.route().index() == route.index() && binding.fault().is_none()
        });
        let topics = route
            .fixed_topic()
            .into_iter()
            .chain(of_streams.map(|binding| binding.topic().clone()));
        let (name, settings) = (route.name().to_owned(), route.config());
        for topic in topics {
            let spec = TopicSpec::records(
                topic,
                route.partitions(),
                settings.retention,
                settings.retention_bytes,
                route.max_message_bytes(),
            );
            want(
                spec,
                Purpose::Records(name.clone()),
                route.fixed_topic().is_none(),
            );
        }
        want(
            TopicSpec::dead_letters(route.dead_letters().clone(), 1),
            Purpose::DeadLetters(name),
            true,
        );
    }
    want(
        TopicSpec::checkpoints(checkpoint::topic(&config.name), shards),
        Purpose::Checkpoints,
        true,
    );
    want(
        parity::topic_spec(&config.name, shards),
        Purpose::Parity,
        true,
    );
    want(
        store::topic_spec(&store::topic(&config.name)),
        Purpose::State,
        true,
    );
    wanted.into_values().collect()
}

/// What there is of what is wanted.
pub struct Seen {
    pub wanted: Vec<Wanted>,
    pub actual: BTreeMap<Topic, TopicState>,
    pub differences: Vec<Difference>,
    /// Why nothing is to be made now: it would have too few replicas.
    pub not_now: Option<crate::topics::Error>,
}

impl Seen {
    #[must_use]
    pub fn missing(&self) -> Vec<&Wanted> {
        self.wanted
            .iter()
            .filter(|wanted| !self.actual.contains_key(&wanted.spec.name))
            .collect()
    }
}

/// Compares what the routes need with what the cluster has.
///
/// # Errors
/// The cluster gave no answer.
pub async fn look(
    config: &Config,
    routes: &Routes,
    streams: &BTreeMap<StreamRef, Binding>,
    admin: &Admin,
) -> Result<Seen, crate::topics::Error> {
    let cluster = admin.cluster().await?;
    let not_now = match config.kafka.replication_factor {
        Some(_) => None,
        None => cluster.brokers_for_replicas().err(),
    };
    let brokers = cluster.brokers.len() + cluster.away.len();
    let checkpoints = checkpoint::topic(&config.name);
    // The checkpoint topic may have more partitions than there are shards, after a resize down: the stored layout counts.
    let layouts = admin.layouts(std::slice::from_ref(&checkpoints)).await?;
    let shards = layouts
        .get(&checkpoints)
        .map_or(config.shards.count, TopicState::partition_count);
    let wanted = wanted(config, routes, streams, shards, brokers);
    let names: Vec<Topic> = wanted
        .iter()
        .map(|wanted| wanted.spec.name.clone())
        .collect();
    let actual = admin.describe(&names).await?;
    let specs: Vec<TopicSpec> = wanted.iter().map(|wanted| wanted.spec.clone()).collect();
    let differences = plan(&specs, &actual);
    Ok(Seen {
        wanted,
        actual,
        differences,
        not_now,
    })
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let (common, apply) = match &args.verb {
        Verb::Plan(common) => (common, false),
        Verb::Apply(common) => (common, true),
    };
    let (loaded, routes) = match common.config.load() {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    block_on(plan_or_apply(&loaded.config, &routes, apply, common.output))
}

async fn plan_or_apply(
    config: &Config,
    routes: &Routes,
    apply: bool,
    output: Output,
) -> anyhow::Result<Exit> {
    let mut streams = discover::named(routes);
    if discover::has_globs(routes) {
        let redis = Redis::new(&config.redis)?;
        let found = discover::matching(&redis, routes, &mut streams).await;
        found.context("the topics of routes with globs depend on the streams that there are")?;
    }
    let kafka = Kafka::new(&config.kafka)?;
    let admin = Admin::new(&kafka)?;
    let seen = look(config, routes, &streams, &admin).await?;
    let missing = seen.missing();
    if apply && !missing.is_empty() {
        if let Some(error) = &seen.not_now {
            return Err(error.clone().into());
        }
        let specs: Vec<TopicSpec> = missing.iter().map(|wanted| wanted.spec.clone()).collect();
        admin.create(&specs).await?;
    }
    let left = seen
        .differences
        .iter()
        .any(|difference| !difference.is_missing());
    match output {
        Output::Text => print(&text(&seen, apply))?,
        Output::Json => print_json(&json(&seen, apply))?,
    }
    Ok(if apply && left {
        Exit::Failed
    } else {
        Exit::Done
    })
}

fn text(seen: &Seen, apply: bool) -> String {
    let mut text = String::new();
    let missing = seen.missing();
    for wanted in &missing {
        let spec = &wanted.spec;
        let word = if apply { "created" } else { "create " };
        text.push_str(&format!(
            "{word} {}  {}, {}; {}\n",
            spec.name,
            counted(spec.partitions.into(), "partition"),
            counted(spec.replication.unwrap_or(1).into(), "replica"),
            wanted.purpose
        ));
        for (name, value) in &spec.config {
            text.push_str(&format!("          {name}={value}\n"));
        }
    }
    let differing: Vec<&Difference> = seen
        .differences
        .iter()
        .filter(|difference| !difference.is_missing())
        .collect();
    for difference in &differing {
        text.push_str(&format!("differs {difference}\n"));
    }
    if !differing.is_empty() {
        text.push_str(
            "What differs is left as it is: change the configuration to what the topic has, or the topic with your own tools\n\
             (kafka-configs.sh; partitions added to a topic that has keys move them).\n",
        );
    }
    if let Some(error) = seen.not_now.as_ref().filter(|_| !missing.is_empty()) {
        text.push_str(&format!("not now: {error}\n"));
    }
    let as_wanted = seen.wanted.len() - missing.len();
    let done = if apply { "created" } else { "to create" };
    text.push_str(&format!(
        "{}: {} {done}, {as_wanted} there already, {}\n",
        counted(seen.wanted.len() as u64, "topic"),
        missing.len(),
        counted(differing.len() as u64, "difference"),
    ));
    text
}

fn json(seen: &Seen, apply: bool) -> serde_json::Value {
    let topics = seen.wanted.iter().map(|wanted| {
        let spec = &wanted.spec;
        let missing = !seen.actual.contains_key(&spec.name);
        let differences = seen.differences.iter().filter(|d| !d.is_missing() && *d.topic() == spec.name);
        serde_json::json!({
            "topic": spec.name.as_str(),
            "for": wanted.purpose,
            "partitions": spec.partitions,
            "replication": spec.replication,
            "config": spec.config.iter().cloned().collect::<BTreeMap<String, String>>(),
            "state": match (missing, apply) { (true, true) => "created", (true, false) => "missing", (false, _) => "present" },
            "differences": differences.map(ToString::to_string).collect::<Vec<_>>(),
        })
    });
    serde_json::json!({
        "topics": topics.collect::<Vec<_>>(),
        "not_now": seen.not_now.as_ref().map(ToString::to_string),
    })
}
