//! What must not be between two routes: a stream that both could match, a topic with two partition counts or two ways to be
//! kept, records or dead letters of two streams that could not be told apart, a dead-letter topic that records are written to.

use std::collections::HashSet;

use crate::config::{self, Problem};
use crate::entry::{Database, StreamName};
use crate::placement::Topic;

use super::pattern::Pattern;
use super::template::{OWN_TOPICS, Template};

/// A route as far as comparing it needs.
pub(super) struct Outline<'c> {
    pub(super) config: &'c config::Route,
    pub(super) database: Database,
    pub(super) patterns: Vec<Pattern>,
    /// `None` where it cannot be read.
    pub(super) topic: Option<Template>,
    pub(super) dead_letters: Topic,
}

pub(super) fn compare(outlines: &[Outline<'_>], problems: &mut Vec<Problem>) {
    for (i, later) in outlines.iter().enumerate() {
        for earlier in &outlines[..i] {
            compare_two(earlier, later, &format!("routes[{i}]"), problems);
        }
        for other in outlines {
            check_dead_letters(other, later, &format!("routes[{i}]"), problems);
        }
    }
}

fn compare_two(earlier: &Outline<'_>, later: &Outline<'_>, at: &str, problems: &mut Vec<Problem>) {
    let other = &earlier.config.name;
    let shared = shared_stream(&earlier.patterns, &later.patterns);
    if let Some(shared) = &shared
        && earlier.database == later.database
    {
        problems.push(Problem::new(
            format!("{at}.streams"),
            format!("{shared} could be matched here and in route `{other}`; a stream belongs to one route, so make the patterns exclude each other"),
        ));
    }
    if let Some(shared) = &shared
        && earlier.database != later.database
        && earlier.dead_letters == later.dead_letters
    {
        problems.push(Problem::new(
            format!("{at}.dead_letters"),
            format!(
                "{shared} could be in database {} for route `{other}` and in database {} here, and their dead letters could not be told apart in `{}`; choose different topics",
                earlier.database, later.database, later.dead_letters
            ),
        ));
    }
    let (Some(earlier_topic), Some(later_topic)) = (&earlier.topic, &later.topic) else {
        return;
    };
    if !earlier_topic.overlaps(later_topic) {
        return;
    }
    let (topic, other_topic) = (&later.config.topic, &earlier.config.topic);
    if earlier.config.partitions != later.config.partitions {
        problems.push(Problem::new(
            format!("{at}.partitions"),
            format!(
                "{} here, but {} in route `{other}`, whose topic `{other_topic}` can be the same as `{topic}`; give both routes the same number, or different topics",
                later.config.partitions, earlier.config.partitions
            ),
        ));
    }
    // A topic is made once: of two wishes the first would win, and nobody would hear of the other.
    for (key, here, there) in kept_differently(earlier.config, later.config) {
        problems.push(Problem::new(
            format!("{at}.{key}"),
            format!(
                "{here} here, but {there} in route `{other}`, whose topic `{other_topic}` can be the same as `{topic}`; a topic has one, so give both routes the same, or different topics"
            ),
        ));
    }
    if let Some(shared) = shared
        && earlier.database != later.database
    {
        problems.push(Problem::new(
            format!("{at}.topic"),
            format!(
                "{shared} could be in database {} for route `{other}` and in database {} here, and their records could not be told apart in `{topic}`; choose different topics",
                earlier.database, later.database
            ),
        ));
    }
}

/// The settings of the topic itself in which two routes differ: the key, the later route's value, the earlier one's.
fn kept_differently(
    earlier: &config::Route,
    later: &config::Route,
) -> Vec<(&'static str, String, String)> {
    let written = |route| serde_json::to_value(route).expect("plain configuration serialises");
    let (earlier, later) = (written(earlier), written(later));
    let shown = |value: &serde_json::Value| match value {
        serde_json::Value::Null => "none".to_owned(),
        value => value.to_string(),
    };
    ["retention", "retention_bytes", "max_message_bytes"]
        .into_iter()
        .filter(|key| earlier[key] != later[key])
        .map(|key| (key, shown(&later[key]), shown(&earlier[key])))
        .collect()
}

fn check_dead_letters(
    records: &Outline<'_>,
    letters: &Outline<'_>,
    at: &str,
    problems: &mut Vec<Problem>,
) {
    // No route's topic can begin as Lockgate's own do.
    if letters.dead_letters.as_str().starts_with(OWN_TOPICS) {
        return;
    }
    let (Some(topic), Ok(own)) = (
        &records.topic,
        Template::parse(letters.dead_letters.as_str()),
    ) else {
        return;
    };
    if topic.overlaps(&own) {
        problems.push(Problem::new(
            format!("{at}.dead_letters"),
            format!(
                "`{}` can be the topic of records of route `{}`; choose one that no route writes to",
                letters.dead_letters, records.config.name
            ),
        ));
    }
}

/// A stream that both could match, in words. Exact, see [`Glob::overlaps`](super::glob::Glob::overlaps).
fn shared_stream(a: &[Pattern], b: &[Pattern]) -> Option<String> {
    let names = |patterns: &[Pattern]| -> Vec<StreamName> {
        patterns
            .iter()
            .flat_map(|p| p.names.iter().cloned())
            .collect()
    };
    let (names_a, names_b) = (names(a), names(b));
    let set: HashSet<&StreamName> = names_a.iter().collect();
    if let Some(name) = names_b.iter().find(|name| set.contains(name)) {
        return Some(format!("`{name}`"));
    }
    for (names, patterns) in [(&names_a, b), (&names_b, a)] {
        for glob in patterns.iter().flat_map(|p| &p.globs) {
            if let Some(name) = names.iter().find(|name| glob.matches(name.as_bytes())) {
                return Some(format!("`{name}`"));
            }
        }
    }
    for glob in a.iter().flat_map(|p| &p.globs) {
        let other = b
            .iter()
            .flat_map(|p| &p.globs)
            .find(|other| glob.overlaps(other));
        if let Some(other) = other {
            let show = |bytes: &[u8]| StreamName::from(bytes).to_string();
            return Some(format!(
                "a stream of both `{}` and `{}`",
                show(glob.scan_pattern()),
                show(other.scan_pattern())
            ));
        }
    }
    None
}
