//! Verification on demand: both stores over a range, from the first look to the verdict.
//!
//! ```text
//!   begin ─▶ pass: Redis ─▶ pass: Kafka ─▶ look at unequal windows ─▶ rest ─▶ look again at those with faults ─▶ outcome
//! ```
//!
//! What a verification knows is plain data at every step, cursors and counts together, so that it can be written down, and
//! gone on with by another process. A window that was looked at is judged by the last look alone; its counts replace those of
//! the look before and are never added to them.

mod begin;
mod request;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::bound::lower_bound;
use crate::entry::{Database, EntryId, StreamRef};
use crate::placement::Topic;

use super::census::Census;
use super::class::{Class, Counts, Difference, Read};
use super::digest::hexadecimal;
use super::edges::Edges;
use super::error::Error;
use super::look::{Looked, Span, Strangers, View, Wanted, logs_now, look};
use super::pace::Pace;
use super::pass::Pass;

pub(super) use self::begin::lots;
pub use self::begin::{Checkpoints, checkpoints, fingerprint};
pub use self::request::{Bound, Request, Sample};

/// Differences that an outcome names.
const SHOWN: usize = 1_000;
/// What was in flight at the first look has arrived by then.
const REST: Duration = Duration::from_secs(2);

/// A verification, as far as it has come.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Verification {
    request: Request,
    fingerprint: String,
    began_at: String,
    ended_at: Option<String>,
    /// The share of the entries that is compared, where it is a sample.
    sampled: Option<f64>,
    pass: Pass,
    /// By stream and window, in their order.
    #[serde(with = "pairs")]
    looked: BTreeMap<(usize, usize), LookedWindow>,
    looks: Looks,
    /// Missing entries to be kept for a repair, whatever else there is.
    #[serde(default)]
    for_repair: u64,
}

/// A map whose keys are no strings, for JSON.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Vec::<(K, V)>::deserialize(deserializer).map(BTreeMap::from_iter)
    }
}

/// Where looking stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Looks {
    /// Finished looks at all that was unequal.
    rounds: u32,
    /// Entries and records read, and about to be read, in the look under way.
    done: u64,
    total: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct LookedWindow {
    round: u32,
    counts: Counts,
    #[serde(default)]
    read: Read,
    differences: Vec<Difference>,
    not_kept: u64,
    shares_history: bool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    Finished,
    Interrupted,
}

/// What a verification is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    Redis,
    Kafka,
    Looking,
    Done,
}

/// How far it has come. `done` and `total` are of the step: entries of Redis, offsets of Kafka's logs, entries and
/// offsets of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    pub step: Step,
    pub done: u64,
    pub total: u64,
    pub redis_entries: u64,
    pub kafka_records: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Level,
    Apart,
    Unknown,
}

impl Verdict {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Level => "level",
            Self::Apart => "apart",
            Self::Unknown => "unknown",
        }
    }
}

/// What came out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    pub verdict: Verdict,
    pub unknown_because: Option<String>,
    pub counts: Counts,
    pub routes: BTreeMap<String, Counts>,
    pub streams: u64,
    /// The first ones.
    pub differences: Vec<Difference>,
    pub differences_not_shown: u64,
    pub windows: Vec<WindowDigest>,
    /// With 95 % confidence at least this share of what could be verified matches.
    pub lower_bound: Option<f64>,
    pub sampled: Option<f64>,
    pub began_at: String,
    pub ended_at: Option<String>,
}

/// One window, so that it can be compared again later with the same seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowDigest {
    pub database: u32,
    pub stream: String,
    pub after: EntryId,
    pub through: EntryId,
    pub entries: u64,
    pub records: u64,
    /// Of Redis's entries, as the records that the route makes of them.
    pub digest: String,
    pub kafka_digest: String,
    pub level: bool,
}

impl Verification {
    #[must_use]
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// Of what must be the same when it is gone on with: the migration and its routes.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Names so many missing entries, beside what it names anyway: for a plan of repair.
    #[must_use]
    pub const fn for_repair(mut self, missing: u64) -> Self {
        self.for_repair = missing;
        self
    }

    /// What the digests are keyed with.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.pass.seed
    }

    /// Goes on until the end or until stopped. `each` is called a few times a second.
    ///
    /// Needs a runtime of several threads.
    ///
    /// # Errors
    /// A store gave no answer; what was done stands, and can be gone on with.
    pub async fn run(
        &mut self,
        edges: &Arc<Edges>,
        pace: Pace,
        stop: &CancellationToken,
        each: &mut (dyn FnMut(&Self) + Send),
    ) -> Result<Ran, Error> {
        self.pass.bind(&edges.routes)?;
        if !self.read(edges, &pace, stop, each).await? {
            return Ok(Ran::Interrupted);
        }
        while let Some(windows) = self.to_look_at() {
            if self.looks.rounds > 0 {
                tokio::select! {
                    () = stop.cancelled() => return Ok(Ran::Interrupted),
                    () = tokio::time::sleep(REST) => {}
                }
            }
            if !self.look(edges, &windows, &pace, stop, each).await? {
                return Ok(Ran::Interrupted);
            }
            self.looks.rounds += 1;
        }
        self.account()?;
        self.ended_at = Some(now());
        each(self);
        Ok(Ran::Finished)
    }

    /// Every entry and record that was read is in one class, or this is no answer.
    fn account(&self) -> Result<(), Error> {
        let mut read = self.pass.read();
        for (&(stream, window), looked) in &self.looked {
            // Each window counts by its last look, which read it again.
            let before = &self.pass.streams[stream].windows[window];
            read.redis = read.redis + looked.read.redis - before.redis.count;
            read.kafka = read.kafka + looked.read.kafka - before.kafka.count;
        }
        let unaccounted = self.pass.unaccounted();
        match unaccounted.or_else(|| self.outcome().counts.unaccounted(read)) {
            Some(why) => Err(Error::Unaccounted(why)),
            None => Ok(()),
        }
    }

    /// The pass, both sides.
    async fn read(
        &mut self,
        edges: &Arc<Edges>,
        pace: &Pace,
        stop: &CancellationToken,
        each: &mut (dyn FnMut(&Self) + Send),
    ) -> Result<bool, Error> {
        let mut pass = std::mem::take(&mut self.pass);
        let mut seldom = Seldom::default();
        let mut seen = |pass: &Pass| {
            if seldom.now() {
                self.pass = pass.clone();
                each(self);
            }
        };
        let mut read = pass.read_redis(&edges.redis, pace, stop, &mut seen).await;
        if let Ok(true) = read {
            read = tokio::task::block_in_place(|| {
                pass.read_kafka(edges, &mut Census::default(), pace, stop, &mut seen)
            });
        }
        self.pass = pass;
        each(self);
        read
    }

    /// What the next round looks at, unless there is none: first all that is unequal, or all there is; then what has faults.
    fn to_look_at(&self) -> Option<Vec<(usize, usize)>> {
        let windows: Vec<(usize, usize)> = match self.looks.rounds {
            0 => self
                .all()
                .filter(|&(stream, window)| {
                    self.request.full || !self.pass.streams[stream].windows[window].is_level()
                })
                .collect(),
            1 => self
                .looked
                .iter()
                .filter(|(_, looked)| looked.counts.faults() > 0)
                .map(|(&at, _)| at)
                .collect(),
            _ => Vec::new(),
        };
        (!windows.is_empty()).then_some(windows)
    }

    fn all(&self) -> impl Iterator<Item = (usize, usize)> {
        let streams = self.pass.streams.iter().enumerate();
        streams.flat_map(|(at, stream)| (0..stream.windows.len()).map(move |window| (at, window)))
    }

    async fn look(
        &mut self,
        edges: &Arc<Edges>,
        windows: &[(usize, usize)],
        pace: &Pace,
        stop: &CancellationToken,
        each: &mut (dyn FnMut(&Self) + Send),
    ) -> Result<bool, Error> {
        let round = self.looks.rounds + 1;
        let mut rest: Vec<(usize, usize)> = windows
            .iter()
            .filter(|at| {
                self.looked
                    .get(at)
                    .is_none_or(|looked| looked.round < round)
            })
            .copied()
            .collect();
        let committed = begin::checkpoints(edges).await?;
        let logs = logs_now(edges, &self.topics(&rest), self.span()).await?;
        let length: u64 = logs.iter().map(|log| begin::offsets(&log.extents)).sum();
        self.looks.done = 0;
        self.looks.total = rest
            .chunks(1)
            .map(|at| self.wanted(at[0], &committed).entries)
            .sum::<u64>()
            + length;
        let mut seldom = Seldom::default();
        while !rest.is_empty() {
            let (group, later) = rest.split_at(self.group(&rest));
            let wanted: Vec<Wanted> = group
                .iter()
                .map(|&at| self.wanted(at, &committed))
                .collect();
            let strangers = self.strangers();
            let view = View {
                seed: self.pass.seed,
                logs: &logs,
                strangers: &strangers,
                lots: self.pass.lots,
            };
            let mut progressed = |amount| {
                self.looks.done += amount;
                self.looks.total = self.looks.total.max(self.looks.done);
                if seldom.now() {
                    each(self);
                }
            };
            let Some(looked) = look(edges, view, &wanted, pace, stop, &mut progressed).await?
            else {
                return Ok(false);
            };
            for (&at, looked) in group.iter().zip(looked) {
                self.looked.remove(&at);
                let room = self.room_for_missing();
                let looked = LookedWindow::new(round, looked, room);
                self.looked.insert(at, looked);
            }
            each(self);
            rest = later.to_vec();
        }
        Ok(true)
    }

    /// How many more missing entries a repair is to have.
    fn room_for_missing(&self) -> u64 {
        if self.for_repair == 0 {
            return 0;
        }
        let kept = self.looked.values().flat_map(|looked| &looked.differences);
        let missing = kept.filter(|one| one.class == Class::Missing).count();
        self.for_repair.saturating_sub(missing as u64)
    }

    /// As many windows as one reading of the logs is to serve.
    fn group(&self, windows: &[(usize, usize)]) -> usize {
        let mut entries = 0;
        let fitting = windows.iter().take_while(|&&(stream, window)| {
            let window = &self.pass.streams[stream].windows[window];
            entries += window.redis.count.max(window.kafka.count).max(1);
            entries <= super::look::GROUP
        });
        fitting.count().max(1)
    }

    fn wanted(&self, (stream, window): (usize, usize), committed: &begin::Checkpoints) -> Wanted {
        let pass = &self.pass.streams[stream];
        let window_after = pass
            .spans()
            .nth(window)
            .map_or(pass.scope.after, |(after, _)| after);
        let here = &pass.windows[window];
        let checkpoint = committed.get(&pass.stream);
        Wanted {
            stream: pass.stream.clone(),
            binding: pass.binding().clone(),
            after: window_after,
            through: here.through,
            entries: here.redis.count.max(here.kafka.count),
            committed: checkpoint.map_or(EntryId::ZERO, |checkpoint| checkpoint.id),
            generation: checkpoint.map_or(0, |checkpoint| checkpoint.generation),
            shared_history: pass.shares_history(),
        }
    }

    /// What was found to be extra so far, by streams of the pass.
    fn strangers(&self) -> Strangers {
        let streams: HashMap<(Database, String), &StreamRef> = self
            .pass
            .streams
            .iter()
            .map(|pass| {
                (
                    (pass.stream.database, pass.stream.name.to_string()),
                    &pass.stream,
                )
            })
            .collect();
        let looked = self.looked.values().flat_map(|looked| &looked.differences);
        let outside = self.pass.streams.iter().flat_map(|one| one.outside(false));
        looked
            .cloned()
            .chain(outside)
            .filter(|difference| difference.class == Class::Extra)
            .filter_map(|difference| {
                let of = (difference.database?, difference.stream.clone()?);
                let stream = (*streams.get(&of)?).clone();
                Some((
                    stream,
                    difference.records.first()?.generation,
                    difference.id?,
                ))
            })
            .collect()
    }

    fn topics(&self, windows: &[(usize, usize)]) -> Vec<(Topic, bool)> {
        let mut topics: Vec<(Topic, bool)> = windows
            .iter()
            .flat_map(|&(stream, _)| {
                let stream = &self.pass.streams[stream];
                [(&stream.topic, false), (&stream.letters, true)]
            })
            .map(|(topic, letters)| (Topic::from(topic.as_str()), letters))
            .collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    /// From where a look reads: everything, unless the request begins later.
    fn span(&self) -> Span {
        let least = self
            .pass
            .streams
            .iter()
            .map(|stream| stream.scope.after)
            .min();
        match (self.request.from, least) {
            (Some(_), Some(after)) => Span::Since(after),
            _ => Span::All,
        }
    }

    #[must_use]
    pub fn progress(&self) -> Progress {
        let redis_entries = self.pass.streams.iter().map(|stream| stream.read).sum();
        let (step, (done, total)) = if self.ended_at.is_some() {
            (Step::Done, self.pass.kafka_progress())
        } else if !self.pass.redis_is_read() {
            (Step::Redis, self.pass.redis_progress())
        } else if !self.pass.is_done() {
            (Step::Kafka, self.pass.kafka_progress())
        } else {
            (Step::Looking, (self.looks.done, self.looks.total))
        };
        Progress {
            step,
            done,
            total,
            redis_entries,
            kafka_records: self.pass.kafka_records,
        }
    }

    /// What is known now; final when the run has finished.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let mut routes: BTreeMap<String, Counts> = BTreeMap::new();
        let mut differences = Vec::new();
        let mut not_kept = 0;
        for (at, stream) in self.pass.streams.iter().enumerate() {
            let counts = routes.entry(stream.route.clone()).or_default();
            let windows = || self.looked.range((at, 0)..(at + 1, 0));
            let shares =
                stream.shares_history() || windows().any(|(_, looked)| looked.shares_history);
            let looked = |window| self.looked.contains_key(&(at, window));
            counts.add(&stream.counts_but(looked, shares));
            for (_, looked) in windows() {
                counts.add(&looked.counts);
                differences.extend(looked.differences.iter().cloned());
                not_kept += looked.not_kept;
            }
            differences.extend(stream.outside(shares));
        }
        for (route, by_why) in &self.pass.strays.counts {
            not_kept += by_why.values().sum::<u64>();
            let counts = routes.entry(route.clone()).or_default();
            counts.add(&self.pass.strays.of_route(route));
        }
        not_kept -= self.pass.strays.examples.len() as u64;
        differences.extend(self.pass.strays.examples.iter().cloned());
        not_kept += shorten(&mut differences, self.for_repair);
        let mut counts = Counts::default();
        routes.values().for_each(|route| counts.add(route));
        let unknown_because = self.unknown_because(&counts);
        Outcome {
            verdict: if counts.faults() > 0 {
                Verdict::Apart
            } else if unknown_because.is_some() {
                Verdict::Unknown
            } else {
                Verdict::Level
            },
            unknown_because,
            lower_bound: lower_bound(counts.verified(), counts.faults()),
            counts,
            routes,
            streams: self.pass.streams.len() as u64,
            differences,
            differences_not_shown: not_kept,
            windows: self.digests(),
            sampled: self.sampled,
            began_at: self.began_at.clone(),
            ended_at: self.ended_at.clone(),
        }
    }

    fn unknown_because(&self, counts: &Counts) -> Option<String> {
        if self.ended_at.is_none() {
            return Some("the verification has not finished".to_owned());
        }
        (counts.verified() == 0).then(|| match counts.total() {
            0 => "nothing was there to compare, and nothing is no evidence".to_owned(),
            _ => format!(
                "of {} identities none could be verified: {} pending, {} unverifiable",
                counts.total(),
                counts.of(Class::Pending),
                counts.of(Class::Unverifiable)
            ),
        })
    }

    fn digests(&self) -> Vec<WindowDigest> {
        let windows = self
            .pass
            .streams
            .iter()
            .enumerate()
            .flat_map(|(at, stream)| {
                stream
                    .spans()
                    .enumerate()
                    .map(move |(nth, (after, window))| {
                        let looked = self.looked.get(&(at, nth));
                        WindowDigest {
                            database: stream.stream.database.0,
                            stream: stream.stream.name.to_string(),
                            after,
                            through: window.through,
                            entries: window.redis.count,
                            records: window.kafka.count,
                            digest: hexadecimal::text(window.redis.digest),
                            kafka_digest: hexadecimal::text(window.kafka.digest),
                            level: looked
                                .map_or(window.is_level(), |looked| looked.counts.faults() == 0),
                        }
                    })
            });
        windows.collect()
    }
}

impl LookedWindow {
    fn new(round: u32, mut looked: Looked, missing: u64) -> Self {
        let not_kept = shorten(&mut looked.differences, missing);
        Self {
            round,
            counts: looked.counts,
            read: looked.read,
            differences: looked.differences,
            not_kept,
            shares_history: looked.shares_history,
        }
    }
}

/// Leaves those that are named, and says how many went: faults first, for they are what one looks for; before them as many
/// missing entries as a repair is to have.
fn shorten(differences: &mut Vec<Difference>, missing: u64) -> u64 {
    let all = differences.len();
    let (mut kept, mut others) = (Vec::new(), Vec::new());
    for difference in differences.drain(..) {
        if difference.class == Class::Missing && (kept.len() as u64) < missing {
            kept.push(difference);
        } else {
            others.push(difference);
        }
    }
    others.sort_by_key(|difference| !difference.class.is_fault());
    others.truncate(SHOWN);
    kept.append(&mut others);
    *differences = kept;
    (all - differences.len()) as u64
}

/// True a few times a second.
#[derive(Default)]
struct Seldom(Option<std::time::Instant>);

impl Seldom {
    fn now(&mut self) -> bool {
        let due = self
            .0
            .is_none_or(|last| last.elapsed() >= Duration::from_millis(250));
        if due {
            self.0 = Some(std::time::Instant::now());
        }
        due
    }
}

fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_was_read_and_is_in_no_class_ends_in_an_error_of_our_own() {
        let mut verification = Verification::default();
        assert!(verification.account().is_ok());
        verification.pass.kafka_records = 1;
        let error = verification.account().unwrap_err();
        assert!(!error.is_out_of_reach());
        assert!(
            error.to_string().contains("a fault of lockgate's own"),
            "{error}"
        );
    }

    #[test]
    fn a_repair_has_the_missing_entries_that_it_asks_for_whatever_else_there_is() {
        let difference = |class| Difference {
            class,
            route: String::new(),
            database: None,
            stream: None,
            id: None,
            parts: Vec::new(),
            why: None,
            topic: String::new(),
            expected_partition: None,
            records: Vec::new(),
        };
        let all = |class, count| std::iter::repeat_n(difference(class), count);
        let found = || -> Vec<Difference> {
            let gone = all(Class::Unverifiable, 10).chain(all(Class::Duplicate, SHOWN));
            gone.chain(all(Class::Missing, 3_000)).collect()
        };
        let of = |differences: &[Difference], class| {
            let named = differences.iter();
            named.filter(|one| one.class == class).count()
        };
        let mut plan = found();
        assert_eq!(shorten(&mut plan, 2_500), 510);
        assert_eq!(of(&plan, Class::Missing), 2_500);
        assert_eq!(of(&plan, Class::Duplicate), SHOWN);
        let mut shown = found();
        assert_eq!(shorten(&mut shown, 0), 3_010);
        assert_eq!((shown.len(), of(&shown, Class::Duplicate)), (SHOWN, SHOWN));
    }

    #[test]
    fn what_was_looked_at_is_kept_and_read_back() {
        let looked = LookedWindow {
            round: 2,
            not_kept: 7,
            ..LookedWindow::default()
        };
        let verification = Verification {
            looked: BTreeMap::from([((0, 1), looked.clone()), ((3, 0), looked)]),
            ..Verification::default()
        };
        let text = serde_json::to_string(&verification).unwrap();
        let read: Verification = serde_json::from_str(&text).unwrap();
        assert_eq!(
            read.looked.keys().collect::<Vec<_>>(),
            [&(0, 1), &(3, 0)],
            "{text}"
        );
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }
}
