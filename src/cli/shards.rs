//! `lockgate shards`: how the streams are spread, read from Kafka itself, and spreading them anew.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::output::{Output, block_on, counted, print, print_json};
use super::{ConfigArgs, Exit};
use crate::checkpoint::{self, Layout, LayoutState, Resized};
use crate::config::Config;
use crate::placement::Topic;
use crate::routing::shard_of;
use crate::topics::{Admin, Kafka, TopicSpec, TopicState};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Show or change how many shards the streams are spread over
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show the stored layout, and each shard's streams and checkpoints
    #[command(
        after_help = "Example: lockgate shards show --config lockgate.toml\n\nRead from Kafka: no daemon needs to run."
    )]
    Show {
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print it
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Spread the streams over COUNT shards
    ///
    /// Exact while daemons run: they are fenced for the moment of the change and go on under the new layout. Safe to run
    /// again, also after it broke off.
    #[command(
        after_help = "Example: lockgate shards resize 8 --config lockgate.toml\n\nSet shards.count to the same number \
        afterwards; until then the stored one holds and the daemon says so."
    )]
    Resize {
        /// Shards from now on
        #[arg(value_parser = clap::value_parser!(u32).range(1..=1024))]
        count: u32,
        #[command(flatten)]
        config: ConfigArgs,
        /// How to print it
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
}

#[derive(Debug, Serialize)]
struct Shown {
    topic: String,
    partitions: u32,
    layout: Option<Layout>,
    shards: Vec<ShardShown>,
}

#[derive(Debug, Serialize)]
struct ShardShown {
    shard: u32,
    streams: Vec<StreamShown>,
}

#[derive(Debug, Serialize)]
struct StreamShown {
    database: u32,
    stream: String,
    checkpoint: String,
    generation: u32,
    began: String,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let config = match &args.verb {
        Verb::Show { config, .. } | Verb::Resize { config, .. } => config,
    };
    let loaded = match config.load() {
        Ok((loaded, _)) => loaded,
        Err(exit) => return Ok(exit),
    };
    match args.verb {
        Verb::Show { output, .. } => block_on(show(&loaded.config, output)),
        Verb::Resize { count, output, .. } => block_on(resize(&loaded.config, count, output)),
    }
}

async fn show(config: &Config, output: Output) -> anyhow::Result<Exit> {
    let kafka = Kafka::new(&config.kafka)?;
    let topic = checkpoint::topic(&config.name);
    let Some(partitions) = partitions(&Admin::new(&kafka)?, &topic).await? else {
        bail!(
            "topic {topic} does not exist: nothing was mirrored under the name `{}` yet; `lockgate run` makes it",
            config.name
        );
    };
    let shown = read(&kafka, &topic, partitions).await?;
    match output {
        Output::Text => print(&text(&shown))?,
        Output::Json => print_json(&shown)?,
    }
    Ok(Exit::Done)
}

async fn partitions(admin: &Admin, topic: &Topic) -> anyhow::Result<Option<u32>> {
    let found = admin.layouts(std::slice::from_ref(topic)).await?;
    Ok(found.get(topic).map(TopicState::partition_count))
}

async fn read(kafka: &Kafka, topic: &Topic, partitions: u32) -> anyhow::Result<Shown> {
    let (kafka, topic) = (kafka.clone(), topic.clone());
    let reading = tokio::task::spawn_blocking(move || -> anyhow::Result<Shown> {
        let layout = checkpoint::load_layout(&kafka, &topic, TIMEOUT)?;
        let all = checkpoint::read_all(&kafka, &topic, partitions, TIMEOUT)?;
        let mut shards: BTreeMap<u32, Vec<StreamShown>> =
            (0..partitions).map(|shard| (shard, Vec::new())).collect();
        for (stream, places) in all {
            for (shard, at) in places {
                shards.entry(shard.0).or_default().push(StreamShown {
                    database: stream.database.0,
                    stream: stream.name.to_string(),
                    checkpoint: at.id.to_string(),
                    generation: at.generation,
                    began: at.began.to_string(),
                });
            }
        }
        let shards = shards
            .into_iter()
            .map(|(shard, streams)| ShardShown { shard, streams })
            .collect();
        Ok(Shown {
            topic: topic.to_string(),
            partitions,
            layout,
            shards,
        })
    });
    reading.await.context("reading the checkpoints")?
}

async fn resize(config: &Config, count: u32, output: Output) -> anyhow::Result<Exit> {
    let kafka = Kafka::new(&config.kafka)?;
    let admin = Admin::new(&kafka)?;
    let topic = checkpoint::topic(&config.name);
    let before = match partitions(&admin, &topic).await? {
        Some(found) => found,
        None => {
            let replication = config.kafka.replication_factor;
            let brokers = admin.brokers_for_replicas(replication).await?;
            let spec =
                TopicSpec::checkpoints(topic.clone(), count).for_cluster(replication, brokers);
            admin.create(&[spec]).await?;
            count
        }
    };
    let old = read(&kafka, &topic, before).await?;
    if output == Output::Text {
        print(&format!("before: {}\n", layout_line(&old)))?;
    }
    if before < count {
        admin.add_partitions(&topic, count).await?;
    }
    let total = before.max(count);
    let (migration, with, at) = (config.name.clone(), kafka.clone(), topic.clone());
    let resized = tokio::task::spawn_blocking(move || {
        checkpoint::resize(&with, &migration, &at, count, total, shard_of, TIMEOUT)
    });
    let resized = resized.await.context("resizing")?;
    let resized = resized.context("the layout may say `resizing`, in which every shard waits; run the same command again to finish")?;
    if let Resized::Undecided(left) = resized {
        bail!(
            "Kafka has left a transaction undecided in {}/{} from offset {}, so it is not known where its streams stand; nothing was moved. A \
             shard ends its own when it opens: wait until `lockgate status` shows the shards running, then run this again; what then still \
             stands there Kafka's `kafka-transactions.sh find-hanging` names",
            left.topic,
            left.partition,
            left.from.0
        );
    }
    let new = read(&kafka, &topic, total).await?;
    match output {
        Output::Text => {
            print(&format!("after:  {}\n", layout_line(&new)))?;
            if config.shards.count != count {
                print(&format!(
                    "Set shards.count = {count} in the configuration; it says {}.\n",
                    config.shards.count
                ))?;
            }
        }
        Output::Json => print_json(&serde_json::json!({ "before": old, "after": new }))?,
    }
    Ok(Exit::Done)
}

fn layout_line(shown: &Shown) -> String {
    let streams: u64 = shown
        .shards
        .iter()
        .map(|shard| shard.streams.len() as u64)
        .sum();
    let streams = counted(streams, "stream");
    let partitions = counted(shown.partitions.into(), "partition");
    match &shown.layout {
        None => format!("no layout stored yet, {partitions}, {streams}"),
        Some(layout) => {
            let state = match (layout.state, layout.target) {
                (LayoutState::Stable, _) => "stable".to_owned(),
                (LayoutState::Resizing, Some(target)) => {
                    format!(
                        "RESIZING to {target}, every shard waits; finish it: lockgate shards resize {target}"
                    )
                }
                (LayoutState::Resizing, None) => "RESIZING, every shard waits".to_owned(),
            };
            format!(
                "{}, {state} (version {}); {partitions}, {streams}",
                counted(layout.count.into(), "shard"),
                layout.version
            )
        }
    }
}

fn text(shown: &Shown) -> String {
    let mut text = format!("{}: {}\n", shown.topic, layout_line(shown));
    for shard in &shown.shards {
        text.push_str(&format!(
            "shard {}: {}\n",
            shard.shard,
            counted(shard.streams.len() as u64, "stream")
        ));
        for stream in &shard.streams {
            text.push_str(&format!(
                "  {}/{}  at {}",
                stream.database, stream.stream, stream.checkpoint
            ));
            if stream.generation > 0 {
                text.push_str(&format!(", generation {}", stream.generation));
            }
            text.push('\n');
        }
    }
    text
}
