//! A look at windows entry by entry: both sides are read again, and each identity gets its class.
//!
//! Bounded: windows are taken in groups of at most [`GROUP`] entries, of each entry and record only hashes are kept, and of an
//! entry's records the first few, however many there are. A group costs one reading of the logs that it needs, so many groups over long logs take their time; that is what is
//! paid where the stores differ, and nowhere else.
//!
//! Redis is read first and asked for its first entry and its deletions afterwards: what was trimmed or deleted in between is
//! then known to be so. The logs are read up to ends that the caller asked for after the checkpoints. Where the caller's logs
//! begin later than what Kafka holds, whatever is missing there is looked for once more in all of it.

mod logs;
mod subject;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::entry::{Database, EntryId, StreamName, StreamRef};
use crate::placement::Remade;
use crate::routing::Binding;
use crate::streams::{Connection, Inspected, Pages};

use self::logs::LogFacts;
use self::subject::{Course, Courses, Subject};
use super::class::{Class, Counts, Difference, Read};
use super::compare::{Facts, Finding, Found, What, compare};
use super::edges::Edges;
use super::error::Error;
use super::pace::{CHUNK, Pace};
use super::pass::TopicPass;
use super::sides::RedisSide;

pub use self::logs::{Span, logs_now};

/// Entries of both sides that are in memory at once, about.
pub const GROUP: u64 = 200_000;

/// A window to look at.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub stream: StreamRef,
    pub binding: Binding,
    /// Not included.
    pub after: EntryId,
    pub through: EntryId,
    /// About how many entries it holds.
    pub entries: u64,
    /// The stream's checkpoint, read before the ends of the logs.
    pub committed: EntryId,
    pub generation: u32,
    /// Entries of older generations are known to match: see `Facts::shared_history`.
    pub shared_history: bool,
    /// Up to where its records were made under other settings of its route.
    pub remade: Remade,
}

/// What was found in one window.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    pub counts: Counts,
    pub read: Read,
    /// What is no match, as far as it was to be named.
    pub differences: Vec<Difference>,
    /// Some entry that Redis still holds was mirrored in an older generation: the history broke and was not begun anew.
    pub shares_history: bool,
    /// Some record of it stands before where the view's logs begin.
    pub stands_before: bool,
}

/// Records known to be no entry's, by stream, generation and id: they stand in nobody's order.
pub type Strangers = HashSet<(StreamRef, u32, EntryId)>;

/// What a look is made with.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// For the hashes.
    pub seed: u64,
    /// How far to read.
    pub logs: &'a [TopicPass],
    /// What earlier looks found to be extra.
    pub strangers: &'a Strangers,
    /// The upper end of the lots that are looked at; `u64::MAX`: all.
    pub lots: u64,
    pub named: Named,
}

/// What a look names of each window; it counts everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    All,
    /// So many faults. A topic that has expired whole must not fill the memory with names that nobody asks for.
    Faults(usize),
}

impl View<'_> {
    /// Whether the id is in the sample.
    fn takes(&self, lot: impl FnOnce() -> u64) -> bool {
        self.lots == u64::MAX || lot() <= self.lots
    }
}

/// Looks at each window. `each` is called now and then with the entries and records read since.
/// `None`: stopped before the end.
///
/// # Errors
/// A store gave no answer.
pub async fn look(
    edges: &Arc<Edges>,
    view: View<'_>,
    wanted: &[Wanted],
    pace: &Pace,
    stop: &CancellationToken,
    each: &mut (dyn FnMut(u64) + Send),
) -> Result<Option<Vec<Looked>>, Error> {
    let mut looked = Vec::with_capacity(wanted.len());
    let mut rest = wanted;
    while !rest.is_empty() {
        let (group, later) = rest.split_at(group_of(rest));
        rest = later;
        let mut looking = Looking {
            edges,
            view,
            pace,
            stop,
            each,
        };
        match looking.group(group).await? {
            Some(more) => looked.extend(more),
            None => return Ok(None),
        }
    }
    Ok(Some(looked))
}

/// How many of these make a group: one at least.
fn group_of(wanted: &[Wanted]) -> usize {
    let mut entries = 0;
    let fitting = wanted
        .iter()
        .take_while(|window| {
            entries += window.entries.max(1);
            entries <= GROUP
        })
        .count();
    fitting.max(1)
}

struct Looking<'a> {
    edges: &'a Arc<Edges>,
    view: View<'a>,
    pace: &'a Pace,
    stop: &'a CancellationToken,
    each: &'a mut (dyn FnMut(u64) + Send),
}

impl Looking<'_> {
    async fn group(&mut self, group: &[Wanted]) -> Result<Option<Vec<Looked>>, Error> {
        let mut subjects = Vec::with_capacity(group.len());
        let mut connections: BTreeMap<Database, Option<Connection>> = BTreeMap::new();
        for wanted in group {
            let connection = connections.entry(wanted.stream.database).or_default();
            let Some(subject) = self.read_redis(wanted, connection).await? else {
                return Ok(None);
            };
            subjects.push(subject);
        }
        let facts = facts_of(self.edges, group).await?;
        let mut logs: Vec<TopicPass> = (self.view.logs.iter())
            .filter(|log| group.iter().any(|wanted| is_of(log, wanted)))
            .cloned()
            .collect();
        let mut courses = Courses::new(group, &subjects);
        let mut looked = self
            .read_logs(&logs, group, &mut subjects, &mut courses, &facts)
            .await?;
        // An id's time says where its record should stand. It stands before that where its clock ran so far ahead that the
        // mirror dated it otherwise: nothing is called missing, or expired, before all that is there was read.
        let misses = |looked: &Vec<Looked>| {
            (looked.iter()).any(|window| window.counts.of(Class::Missing) > 0)
        };
        if looked.as_ref().is_some_and(misses) && !logs.iter().all(TopicPass::is_whole) {
            let narrow = logs.clone();
            logs.iter_mut().for_each(TopicPass::widen);
            subjects.iter_mut().for_each(Subject::forget_logs);
            courses.forget_logs();
            looked = self
                .read_logs(&logs, group, &mut subjects, &mut courses, &facts)
                .await?;
            let found = group.iter().zip(&subjects);
            let windows = looked.iter_mut().flatten();
            for (looked, (wanted, subject)) in windows.zip(found) {
                looked.stands_before = stands_before(wanted, subject.sides().1, &narrow);
            }
        }
        Ok(looked)
    }

    /// Reads the logs into the subjects, and concludes. `None`: stopped.
    async fn read_logs(
        &mut self,
        logs: &[TopicPass],
        group: &[Wanted],
        subjects: &mut [Subject],
        courses: &mut Courses,
        facts: &[Facts],
    ) -> Result<Option<Vec<Looked>>, Error> {
        let mut log_facts = BTreeMap::new();
        for log in logs {
            if !tokio::task::block_in_place(|| self.read_log(log, group, subjects, courses))? {
                return Ok(None);
            }
            log_facts.insert(log.topic.clone(), LogFacts::of(self.edges, log).await?);
        }
        let looked = group.iter().zip(&*subjects).zip(&courses.of).zip(facts);
        let looked = looked.map(|(((wanted, subject), &course), facts)| {
            let sides = (subject, &courses.all[course]);
            conclude(wanted, sides, facts, &log_facts, self.view.named)
        });
        Ok(Some(looked.collect()))
    }

    async fn read_redis(
        &mut self,
        wanted: &Wanted,
        connection: &mut Option<Connection>,
    ) -> Result<Option<Subject>, Error> {
        let mut subject = Subject::default();
        let Some(from) = wanted.after.next().filter(|from| *from <= wanted.through) else {
            return Ok(Some(subject));
        };
        let mut side = RedisSide::new(self.view.seed);
        let range = (from, wanted.through);
        let redis = &self.edges.redis;
        let mut pages = Pages::new(redis, &wanted.stream, connection, range, CHUNK as usize);
        loop {
            if self.stop.is_cancelled() {
                return Ok(None);
            }
            let began = Instant::now();
            let Some(page) = pages.next().await? else {
                return Ok(Some(subject));
            };
            for entry in &page {
                if !self
                    .view
                    .takes(|| side.lot(wanted.stream.name.as_bytes(), entry.id))
                {
                    continue;
                }
                subject.hold(side.held(&wanted.stream, &wanted.binding, entry));
            }
            (self.each)(page.len() as u64);
            let amount = u32::try_from(page.len()).unwrap_or(u32::MAX);
            self.pace.keep(amount, began, self.stop).await;
        }
    }
}

/// Whether the window's records, or its dead letters, are in the log.
fn is_of(log: &TopicPass, wanted: &Wanted) -> bool {
    let topic = if log.letters {
        wanted.binding.route().dead_letters()
    } else {
        wanted.binding.topic()
    };
    topic.as_str() == log.topic
}

/// Whether some of the window's records stand before where these logs begin.
fn stands_before(wanted: &Wanted, found: &[Found], logs: &[TopicPass]) -> bool {
    // A stream that was made anew has the records of the old one there.
    let now = |found: &&Found| found.at.generation == wanted.generation;
    found.iter().filter(now).any(|found| {
        let letters = matches!(found.what, What::Letter(_));
        let mut logs = logs.iter().filter(|log| log.letters == letters);
        let log = logs.find(|log| is_of(log, wanted));
        let mut extents = log.into_iter().flat_map(|log| &log.extents);
        let extent = extents.find(|extent| extent.partition == found.at.partition);
        extent.is_some_and(|extent| found.at.offset < extent.start)
    })
}

/// What the streams look like after they were read.
async fn facts_of(edges: &Edges, group: &[Wanted]) -> Result<Vec<Facts>, Error> {
    let mut seen: BTreeMap<StreamRef, Inspected> = BTreeMap::new();
    let mut by_database: BTreeMap<Database, Vec<StreamName>> = BTreeMap::new();
    for wanted in group {
        let names = by_database.entry(wanted.stream.database).or_default();
        if names.last() != Some(&wanted.stream.name) {
            names.push(wanted.stream.name.clone());
        }
    }
    for (database, names) in by_database {
        let looks = edges.redis.connect(database).await?.inspect(&names).await?;
        for (name, look) in names.into_iter().zip(looks) {
            seen.insert(StreamRef { database, name }, look);
        }
    }
    Ok(group
        .iter()
        .map(|wanted| facts(wanted, seen.get(&wanted.stream)))
        .collect())
}

fn facts(wanted: &Wanted, look: Option<&Inspected>) -> Facts {
    let Some(Inspected::Stream(state)) = look else {
        return Facts {
            absent: true,
            committed: wanted.committed,
            generation: wanted.generation,
            remade: wanted.remade,
            ..Facts::default()
        };
    };
    Facts {
        absent: false,
        first: state.first,
        last: Some(state.last_generated_id),
        max_deleted: state.max_deleted_entry_id,
        whole: state.entries_added == Some(state.length),
        committed: wanted.committed,
        generation: wanted.generation,
        shared_history: wanted.shared_history,
        remade: wanted.remade,
    }
}

fn conclude(
    wanted: &Wanted,
    (subject, course): (&Subject, &Course),
    facts: &Facts,
    logs: &BTreeMap<String, LogFacts>,
    named: Named,
) -> Looked {
    let route = wanted.binding.route();
    let (topic, letters) = (wanted.binding.topic(), route.dead_letters());
    let mut facts = *facts;
    facts.shared_history |= subject.shares_history(facts.generation);
    let (held, found) = subject.sides();
    let read = Read {
        redis: held.len() as u64,
        kafka: subject.records(),
    };
    let found = &mut found.clone();
    let now_ms = logs::now_ms();
    let (counts, findings) = compare(&facts, held, found, |entry| {
        let log = match entry.record {
            Some(_) => topic,
            None => letters,
        };
        logs.get(log.as_str())
            .and_then(|log| log.lost(entry, course, now_ms))
    });
    let most = match named {
        Named::All => usize::MAX,
        Named::Faults(most) => most,
    };
    let differences = findings
        .into_iter()
        .filter(|finding| named == Named::All || finding.class.is_fault())
        .take(most)
        .map(|finding| difference(wanted, finding));
    Looked {
        counts,
        read,
        differences: differences.collect(),
        shares_history: facts.shared_history,
        stands_before: false,
    }
}

fn difference(wanted: &Wanted, finding: Finding) -> Difference {
    let topic = if finding.letters {
        wanted.binding.route().dead_letters()
    } else {
        wanted.binding.topic()
    };
    Difference {
        class: finding.class,
        route: wanted.binding.route().name().to_owned(),
        database: Some(wanted.stream.database),
        stream: Some(wanted.stream.name.to_string()),
        id: Some(finding.id),
        parts: finding.parts,
        why: finding.why,
        topic: topic.as_str().to_owned(),
        expected_partition: finding.expected,
        letters: finding.beside,
        records: finding.records,
        more: finding.more,
    }
}

#[cfg(test)]
mod tests;
