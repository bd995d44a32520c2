//! What is asked of Kafka: how far the application's groups are behind, and which routed partitions lack a replica.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::dated;
use super::members::Members;
use super::minimums::Minimums;
use crate::config;
use crate::flags::below;
use crate::migration::driver::{Handle, now_ms};
use crate::migration::gate::{Measure, Reading, Sample};
use crate::migration::measure::{Measurements, routed};
use crate::migration::view::time;
use crate::placement::{Partition, Topic};
use crate::status::{Board, GroupStatus, KafkaStatus, Status};
use crate::topics::{self, Admin, Group, GroupLag, Kafka, TopicState};

/// How long one question to a group's coordinator or a leader may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What is asked: the topics' partitions, and the groups' offsets with the logs' ends.
const METADATA: &str = "metadata";
const GROUPS: &str = "groups";
/// Partitions that are named where some cannot be told of.
const NAMED: usize = 3;

type Layouts = BTreeMap<Topic, TopicState>;

/// What others ask for now and then.
pub struct Seldom {
    pub minimums: watch::Receiver<Minimums>,
    pub members: watch::Receiver<Members>,
}

pub struct Looks {
    admin: Admin,
    /// Each with the routes that it reads; none: all.
    groups: Vec<(Group, Vec<String>)>,
    /// Above this a group is behind too far whatever is not known.
    too_far: u64,
    measurements: Measurements,
    board: Arc<Board>,
    seldom: Seldom,
    /// Why the last question failed, if it did; what there is no cause to ask is not here.
    probes: BTreeMap<String, Option<String>>,
    answered_at: BTreeMap<String, String>,
}

impl Looks {
    pub fn new(
        config: config::Migration,
        measurements: Measurements,
        kafka: &Kafka,
        board: Arc<Board>,
        seldom: Seldom,
    ) -> Result<Self, topics::Error> {
        let groups = config.groups.into_iter().map(|group| {
            let looks = Group::new(kafka, &group.name, TIMEOUT)?;
            Ok((looks, group.routes))
        });
        Ok(Self {
            admin: Admin::new(kafka)?,
            groups: groups.collect::<Result<_, topics::Error>>()?,
            too_far: config.gates.group_lag,
            measurements,
            board,
            seldom,
            probes: BTreeMap::new(),
            answered_at: BTreeMap::new(),
        })
    }

    /// Looks once and puts down what was found.
    pub async fn look(&mut self, handle: &Handle) {
        let status = self.board.snapshot();
        let (layouts, asked_ms) = dated(self.layouts(&status)).await;
        let mut shown = match &layouts {
            Ok(layouts) => self.brokers(layouts).await,
            Err(_) => KafkaStatus::default(),
        };
        shown.probes = self.probes.clone();
        shown.probes_answered_at = self.answered_at.clone();
        self.board.kafka(Some(shown));
        let lacking = match &layouts {
            Ok(layouts) => lacking(layouts),
            Err(why) => Reading::Unknown(why.clone()),
        };
        let put = |measure, (reading, at_ms)| {
            handle.measurements.put(Sample {
                measure,
                reading,
                at_ms,
            });
        };
        put(Measure::UnderReplicated, (lacking, asked_ms));
        let share = handle
            .view()
            .state
            .as_ref()
            .map_or(0, |state| state.told.share.consumers);
        if share == 0 || layouts.is_err() {
            self.board.groups(Vec::new());
            self.probes.remove(GROUPS);
        }
        let asked_ms = now_ms();
        let lag = |reading| put(Measure::GroupLag, (reading, asked_ms));
        match layouts {
            _ if share == 0 => lag(Reading::Unknown(
                "no partition is read from Kafka yet".to_owned(),
            )),
            Ok(layouts) => self.lag(&status, &layouts, share, lag).await,
            Err(why) => lag(Reading::Unknown(why)),
        }
    }

    /// What the brokers' metadata says, for the status.
    async fn brokers(&self, layouts: &Layouts) -> KafkaStatus {
        let asked = self.admin.cluster().await.ok();
        let up = asked.as_ref().map(|found| {
            let up = found.brokers.iter().map(|one| one.id);
            up.collect::<BTreeSet<i32>>()
        });
        let partitions = || layouts.values().flat_map(|topic| &topic.partitions);
        let replicas = partitions().flat_map(|partition| partition.replicas.iter().copied());
        let all = up.as_ref().map(|up| {
            up.iter()
                .copied()
                .chain(replicas)
                .collect::<BTreeSet<i32>>()
        });
        let known = !layouts.is_empty();
        let minimums = self.seldom.minimums.borrow();
        let every = asked.as_ref().map(|found| &found.topics);
        KafkaStatus {
            brokers: all.map(|all| all.len() as u64),
            brokers_up: up.map(|up| up.len() as u64),
            under_replicated_partitions: known.then(|| lacks(layouts)),
            offline_partitions: known.then(|| offline(layouts)),
            under_min_isr_partitions: starved(layouts, &minimums),
            all_under_replicated_partitions: every.map(lacks),
            all_offline_partitions: every.map(offline),
            all_under_min_isr_partitions: every.and_then(|all| starved(all, &minimums)),
            ..KafkaStatus::default()
        }
    }

    async fn layouts(&mut self, status: &Status) -> Result<Layouts, String> {
        let topics = self.topics(status, &[])?;
        let asked = self.admin.layouts(&topics).await;
        let asked = asked.map_err(|error| error.to_string());
        self.probed(METADATA, asked.as_ref().err().cloned());
        asked
    }

    fn probed(&mut self, probe: &str, failed: Option<String>) {
        if failed.is_none() {
            self.answered_at.insert(probe.to_owned(), time(now_ms()));
        }
        self.probes.insert(probe.to_owned(), failed);
    }

    /// The topics of these routes; of all, where none is named.
    fn topics(&self, status: &Status, routes: &[String]) -> Result<Vec<Topic>, String> {
        let wanted = |name: &str| routes.is_empty() || routes.iter().any(|route| route == name);
        routed(&self.measurements, status, wanted)
    }

    /// Puts down the greatest lag of all groups over the partitions that are Kafka's; not known where that of one is not. What
    /// is too much does not wait for groups that are slow to tell.
    async fn lag(&mut self, status: &Status, layouts: &Layouts, share: u8, put: impl Fn(Reading)) {
        if self.groups.is_empty() {
            put(Reading::Unknown(
                "no Kafka group is configured; name them under migration.groups".to_owned(),
            ));
            return;
        }
        let mut asking = JoinSet::new();
        for (number, (mut group, routes)) in
            std::mem::take(&mut self.groups).into_iter().enumerate()
        {
            let places = self
                .topics(status, &routes)
                .map(|topics| places(&topics, layouts, share));
            asking.spawn_blocking(move || {
                let asked = places.and_then(|places| {
                    if places.is_empty() {
                        return Err("no routed topic exists yet".to_owned());
                    }
                    Ok(group.lag(&places).map_err(|error| error.to_string()))
                });
                (number, (group, routes, asked))
            });
        }
        let mut answered = BTreeMap::new();
        while let Some(looked) = asking.join_next().await {
            let (number, answer) = crate::tasks::passed_on(looked);
            if let Ok(Ok(lag)) = &answer.2
                && lag.entries >= self.too_far
            {
                put(value(lag.entries));
            }
            answered.insert(number, answer);
        }
        let mut lags = Vec::new();
        let mut shown = Vec::new();
        let mut failed = None;
        for (group, routes, asked) in answered.into_values() {
            failed = failed.or(match &asked {
                Ok(Err(why)) => Some(format!("group {}: {why}", group.name())),
                Ok(Ok(lag)) => unread(group.name(), lag),
                Err(_) => None,
            });
            let lag = asked.flatten();
            let members = self.seldom.members.borrow().get(group.name()).copied();
            shown.push(GroupStatus {
                members,
                ..told(group.name(), lag.as_ref().ok())
            });
            lags.push((group.name().to_owned(), lag));
            self.groups.push((group, routes));
        }
        self.board.groups(shown);
        self.probed(GROUPS, failed);
        put(greatest(&lags, self.too_far));
    }
}

/// The greatest of these lags; not known where one is not, unless what is known is too much already.
fn greatest(lags: &[(String, Result<GroupLag, String>)], too_far: u64) -> Reading {
    let known = lags.iter().filter_map(|(_, lag)| lag.as_ref().ok());
    let greatest = known.map(|lag| lag.entries).max().unwrap_or(0);
    let unknown = lags.iter().find_map(|(group, lag)| match lag {
        Ok(lag) => untold(group, lag),
        Err(why) => Some(format!("group {group}: {why}")),
    });
    match unknown {
        Some(why) if greatest < too_far => Reading::Unknown(why),
        _ => value(greatest),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "compared with thresholds far below 2^53"
)]
fn value(entries: u64) -> Reading {
    Reading::Value(entries as f64)
}

/// The partitions of these topics that are Kafka's consumers' at this share.
fn places(topics: &[Topic], layouts: &Layouts, share: u8) -> Vec<(Topic, Partition)> {
    let found = topics
        .iter()
        .filter_map(|topic| layouts.get_key_value(topic));
    let partitions = found.flat_map(|(topic, state)| {
        let read = below(share, state.partition_count());
        let read = i32::try_from(read).unwrap_or(i32::MAX);
        (0..read).map(|partition| (topic.clone(), Partition(partition)))
    });
    partitions.collect()
}

/// A group as the status shows it.
fn told(group: &str, lag: Option<&GroupLag>) -> GroupStatus {
    let known = lag.filter(|lag| untold(group, lag).is_none());
    GroupStatus {
        store: "kafka".to_owned(),
        group: group.to_owned(),
        lag_entries: known.map(|lag| lag.entries),
        lag_seconds: known.and_then(|lag| late(lag, now_ms())),
        uncommitted_partitions: lag
            .filter(|lag| lag.unread.is_empty())
            .map(|lag| lag.uncommitted.len() as u64),
        ..GroupStatus::default()
    }
}

/// The age of the oldest entry that the group has not done, 0 if there is none.
fn late(lag: &GroupLag, now_ms: i64) -> Option<f64> {
    if lag.entries == 0 {
        return Some(0.0);
    }
    // A producer's clock may be ahead of ours.
    let age = now_ms.saturating_sub(lag.oldest_ms?).max(0);
    #[expect(clippy::cast_precision_loss, reason = "ages lie far below 2^53 ms")]
    let seconds = age as f64 / 1_000.0;
    Some(seconds)
}

/// Why a group's lag is not known.
fn untold(group: &str, lag: &GroupLag) -> Option<String> {
    if !lag.uncommitted.is_empty() {
        let places = named(lag.uncommitted.iter());
        return Some(format!("group {group} has committed nothing on {places}"));
    }
    if !lag.beyond.is_empty() {
        let places = named(lag.beyond.iter());
        return Some(format!(
            "group {group} has committed offsets beyond the end of {places}"
        ));
    }
    unread(group, lag)
}

/// The partitions that could not be told of, and why the first could not.
fn unread(group: &str, lag: &GroupLag) -> Option<String> {
    let (_, why) = lag.unread.first()?;
    let places = named(lag.unread.iter().map(|(place, _)| place));
    Some(format!("group {group} on {places}: {why}"))
}

fn named<'a>(places: impl ExactSizeIterator<Item = &'a (Topic, Partition)>) -> String {
    let more = places.len().saturating_sub(NAMED);
    let names: Vec<_> = places
        .take(NAMED)
        .map(|(topic, partition)| format!("{topic}/{partition}"))
        .collect();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{more}", names.join(", "))
}

/// How many partitions lack a replica.
fn lacking(layouts: &Layouts) -> Reading {
    if layouts.is_empty() {
        return Reading::Unknown("no routed topic exists yet".to_owned());
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "compared with thresholds far below 2^53"
    )]
    let lacking = lacks(layouts) as f64;
    Reading::Value(lacking)
}

/// How many partitions have fewer replicas in sync than their topic wants before it takes a record; not known where that of one
/// topic is not.
fn starved(layouts: &Layouts, minimums: &Minimums) -> Option<u64> {
    let mut starved = 0;
    for (topic, state) in layouts {
        let wanted = *minimums.get(topic)?;
        let below = state.partitions.iter();
        starved += below.filter(|one| !one.takes_records(wanted)).count() as u64;
    }
    (!layouts.is_empty()).then_some(starved)
}

fn offline(layouts: &Layouts) -> u64 {
    let partitions = layouts.values().flat_map(|topic| &topic.partitions);
    partitions.filter(|one| one.leader.is_none()).count() as u64
}

fn lacks(layouts: &Layouts) -> u64 {
    let partitions = layouts.values().flat_map(|topic| &topic.partitions);
    let lacking = partitions.filter(|partition| partition.lacks_a_replica());
    lacking.count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topics::PartitionState;

    fn topic(name: &str, in_sync: &[usize]) -> (Topic, TopicState) {
        let partition = |in_sync: &usize| PartitionState {
            leader: (*in_sync > 0).then_some(1),
            replicas: vec![1, 2, 3],
            in_sync: (1..=i32::try_from(*in_sync).expect("few")).collect(),
        };
        let state = TopicState {
            partitions: in_sync.iter().map(partition).collect(),
            ..TopicState::default()
        };
        (Topic::from(name), state)
    }

    #[test]
    fn partitions_without_a_replica_or_a_leader_are_counted() {
        let layouts = Layouts::from([topic("a", &[3, 2, 3]), topic("b", &[0])]);
        assert_eq!(lacking(&layouts), Reading::Value(2.0));
        assert!(matches!(lacking(&Layouts::new()), Reading::Unknown(_)));
    }

    #[test]
    fn partitions_that_take_no_records_are_counted_where_all_settings_are_known() {
        let layouts = Layouts::from([topic("a", &[3, 2, 1]), topic("b", &[0, 3])]);
        let wanting = |minimums: &[(&str, usize)]| {
            let known = minimums.iter();
            let known = known.map(|(topic, wanted)| (Topic::from(*topic), *wanted));
            starved(&layouts, &known.collect())
        };
        assert_eq!(wanting(&[("a", 2), ("b", 1)]), Some(2));
        assert_eq!(wanting(&[("a", 5), ("b", 1)]), Some(3), "3 of 3 are enough");
        assert_eq!(wanting(&[("a", 2)]), None);
        assert_eq!(starved(&Layouts::new(), &Minimums::new()), None);
    }

    #[test]
    fn a_lag_in_seconds_is_the_oldest_entrys_age() {
        let lag = |entries, oldest_ms| GroupLag {
            entries,
            oldest_ms,
            ..GroupLag::default()
        };
        assert_eq!(late(&lag(0, None), 9_000), Some(0.0));
        assert_eq!(late(&lag(3, Some(1_500)), 9_000), Some(7.5));
        assert_eq!(late(&lag(3, Some(9_500)), 9_000), Some(0.0));
        assert_eq!(late(&lag(3, None), 9_000), None, "not known is not 0");
    }

    #[test]
    fn what_is_known_of_a_group_is_too_much_whatever_could_not_be_asked() {
        let lag = |entries| GroupLag {
            entries,
            unread: (0..5)
                .map(|at| ((Topic::from("a"), Partition(at)), "no leader".to_owned()))
                .collect(),
            ..GroupLag::default()
        };
        let judged = |entries| greatest(&[("workers".to_owned(), Ok(lag(entries)))], 500);
        assert_eq!(judged(500), Reading::Value(500.0));
        let why = "group workers on a/0, a/1, a/2 and 2 more: no leader";
        assert_eq!(judged(499), Reading::Unknown(why.to_owned()));
        assert_eq!(told("workers", Some(&lag(500))).lag_entries, None);
    }

    #[test]
    fn a_group_is_held_against_the_partitions_that_are_kafkas() {
        let layouts = Layouts::from([topic("a", &[3; 16]), topic("b", &[3; 3])]);
        let topics = [Topic::from("a"), Topic::from("b"), Topic::from("absent")];
        let counts = [5, 25, 100].map(|share| places(&topics, &layouts, share).len());
        assert_eq!(counts, [1 + 1, 4 + 1, 16 + 3]);
    }
}
