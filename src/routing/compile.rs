//! From configuration to routes, with every problem found on the way.
//!
//! First each route alone, then each against the others. A route that cannot be compiled still takes part in the
//! comparisons as far as its patterns and its topic can be read, so that one round of corrections is enough.

use crate::config::{self, Fold, Hash, Problem, Reading};
use crate::entry::Database;
use crate::placement::Topic;

use super::compare::{self, Outline};
use super::headers::HeaderRules;
use super::partition::{Placer, stream_index};
use super::pattern::Pattern;
use super::route::{KeyRule, Route};
use super::routes::OWN_STREAMS;
use super::source::Source;
use super::template::{OWN_TOPICS, Template};
use super::value::ValueRule;

pub(super) fn compile(
    name: &str,
    configs: &[config::Route],
    default_database: Database,
) -> Result<Vec<Route>, Vec<Problem>> {
    let mut problems = Vec::new();
    let outlines: Vec<Outline<'_>> = configs
        .iter()
        .enumerate()
        .map(|(i, config)| outline(name, i, config, default_database, &mut problems))
        .collect();
    let mut routes = Vec::with_capacity(configs.len());
    for (index, outline) in outlines.iter().enumerate() {
        routes.extend(route(index, outline, &mut problems));
    }
    compare::compare(&outlines, &mut problems);
    if problems.is_empty() {
        Ok(routes)
    } else {
        Err(problems)
    }
}

/// What the comparison of routes needs: streams, topics, database.
fn outline<'c>(
    name: &str,
    index: usize,
    config: &'c config::Route,
    default_database: Database,
    problems: &mut Vec<Problem>,
) -> Outline<'c> {
    let at = format!("routes[{index}]");
    let topic = Template::parse(&config.topic)
        .map_err(|invalid| problems.push(Problem::new(format!("{at}.topic"), invalid.to_string())))
        .ok();
    let dead_letters = match &config.dead_letters {
        None => Topic::from(format!("{OWN_TOPICS}{name}.dead-letters.{}", config.name)),
        Some(topic) => {
            if !Topic::is_valid(topic) || topic.starts_with(OWN_TOPICS) {
                problems.push(Problem::new(
                    format!("{at}.dead_letters"),
                    format!("`{topic}` is no topic name, or one of Lockgate's own; choose another of a-z A-Z 0-9 . _ -, or leave it out"),
                ));
            }
            Topic::from(topic.as_str())
        }
    };
    Outline {
        config,
        database: config.database.unwrap_or(default_database),
        patterns: patterns(config, &at, problems),
        topic,
        dead_letters,
    }
}

fn patterns(config: &config::Route, at: &str, problems: &mut Vec<Problem>) -> Vec<Pattern> {
    if config.streams.is_empty() {
        problems.push(Problem::new(
            format!("{at}.streams"),
            "the route has no streams; name at least one",
        ));
    }
    let mut patterns = Vec::with_capacity(config.streams.len());
    for (i, text) in config.streams.iter().enumerate() {
        let key = format!("{at}.streams[{i}]");
        match Pattern::parse(text) {
            Ok(pattern) => {
                let own =
                    |name: &&crate::entry::StreamName| name.as_bytes().starts_with(OWN_STREAMS);
                if let Some(name) = pattern.names.iter().find(own) {
                    problems.push(Problem::new(
                        key,
                        format!("`{name}` begins as Lockgate's own keys do; it cannot be mirrored"),
                    ));
                }
                patterns.push(pattern);
            }
            Err(invalid) => problems.push(Problem::new(key, invalid.to_string())),
        }
    }
    patterns
}

fn route(index: usize, outline: &Outline<'_>, problems: &mut Vec<Problem>) -> Option<Route> {
    let config = outline.config;
    let at = format!("routes[{index}]");
    // What every stream of the route offers: the fewest stars of its patterns.
    let captures = outline
        .patterns
        .iter()
        .map(|p| p.captures)
        .min()
        .unwrap_or(0);
    let partitions_fit = (1..=i32::MAX as u32).contains(&config.partitions);
    if !partitions_fit {
        problems.push(Problem::new(
            format!("{at}.partitions"),
            format!(
                "{} is no number of partitions; give at least 1",
                config.partitions
            ),
        ));
    }
    if let Some(topic) = &outline.topic {
        check_capture(topic.captures(), captures, format!("{at}.topic"), problems);
    }
    let key = key(config, captures, &at, problems);
    check_partitioner(outline, &at, problems);
    let headers = HeaderRules::compile(config, &at, problems);
    let value = ValueRule::compile(&config.value, &at, problems);
    Some(Route {
        index,
        config: config.clone(),
        database: outline.database,
        dead_letters: outline.dead_letters.clone(),
        patterns: outline.patterns.clone(),
        topic: outline.topic.clone()?,
        key: key?,
        placer: partitions_fit.then(|| Placer::new(config.partition, config.partitions))?,
        headers,
        value,
        hash: settings_hash(config),
    })
}

fn key(
    config: &config::Route,
    captures: usize,
    at: &str,
    problems: &mut Vec<Problem>,
) -> Option<KeyRule> {
    match &config.key {
        config::Key::None => Some(KeyRule::None),
        config::Key::Source(source) => match Source::compile(source) {
            Ok(source) => Some(KeyRule::Source(source)),
            Err(invalid) => {
                problems.push(Problem::new(
                    format!("{at}.key.pointer"),
                    invalid.to_string(),
                ));
                None
            }
        },
        config::Key::Capture(config::Capture { capture: 0 }) => {
            problems.push(Problem::new(
                format!("{at}.key.capture"),
                "captures are counted from 1; write the number of a `*`",
            ));
            None
        }
        config::Key::Capture(config::Capture { capture }) => {
            check_capture(*capture, captures, format!("{at}.key.capture"), problems);
            Some(KeyRule::Capture(*capture))
        }
    }
}

fn check_capture(asked: usize, offered: usize, key: String, problems: &mut Vec<Problem>) {
    if asked > offered {
        problems.push(Problem::new(
            key,
            format!("capture {asked} does not exist for all streams of the route, which have {offered}; write a pattern with as many `*`"),
        ));
    }
}

fn check_partitioner(outline: &Outline<'_>, at: &str, problems: &mut Vec<Problem>) {
    let config = outline.config;
    let partitioner = &config.partition;
    let no_key = config.key == config::Key::None;
    match partitioner.hash {
        Hash::Murmur3 if no_key => problems.push(Problem::new(
            format!("{at}.partition.hash"),
            "murmur3 places keys, and the route has none; set `key`, or leave `partition` out",
        )),
        Hash::None if !no_key && config.partitions > 1 => problems.push(Problem::new(
            format!("{at}.partition.hash"),
            "without a hash the entries of one key are spread over all partitions and lose their order; \
             set the application's own hash, or `partitions = 1`",
        )),
        Hash::StreamIndex => check_stream_index(outline, at, problems),
        Hash::Murmur3 | Hash::Murmur2 | Hash::Crc32 | Hash::Fnv1a | Hash::None => {}
    }
    if partitioner.hash != Hash::Murmur3 {
        for (set, setting) in [
            (partitioner.fold != Fold::default(), "fold"),
            (partitioner.seed != 0, "seed"),
            (partitioner.reading != Reading::default(), "reading"),
        ] {
            if set {
                problems.push(Problem::new(
                    format!("{at}.partition.{setting}"),
                    "this is of murmur3 alone; remove it, or set `hash = \"murmur3\"`",
                ));
            }
        }
    }
}

fn check_stream_index(outline: &Outline<'_>, at: &str, problems: &mut Vec<Problem>) {
    let partitions = outline.config.partitions;
    for (i, pattern) in outline.patterns.iter().enumerate() {
        let misfit = pattern
            .names
            .iter()
            .find(|name| stream_index(name.as_bytes()).is_none_or(|index| index >= partitions));
        if let Some(name) = misfit {
            problems.push(Problem::new(
                format!("{at}.streams[{i}]"),
                format!("`{name}` does not end in a number below partitions = {partitions}, which `hash = \"stream-index\"` needs"),
            ));
        }
    }
}

/// The settings that decide a record's bytes and place. Streams are among them only where they give captures.
fn settings_hash(config: &config::Route) -> u64 {
    #[derive(serde::Serialize)]
    struct Settings<'c> {
        topic: &'c str,
        partitions: u32,
        key: &'c config::Key,
        partition: &'c config::Partitioner,
        headers: &'c std::collections::BTreeMap<String, config::Source>,
        headers_from: &'c Option<config::Source>,
        value: &'c config::Value,
        capturing: Vec<&'c str>,
    }
    let captures = config.topic.contains('$') || matches!(config.key, config::Key::Capture(_));
    let capturing = config.streams.iter().filter(|_| captures);
    let settings = Settings {
        topic: &config.topic,
        partitions: config.partitions,
        key: &config.key,
        partition: &config.partition,
        headers: &config.headers,
        headers_from: &config.headers_from,
        value: &config.value,
        capturing: capturing.map(String::as_str).collect(),
    };
    let bytes = serde_json::to_vec(&settings).expect("plain data can be written as JSON");
    xxhash_rust::xxh3::xxh3_64(&bytes)
}
