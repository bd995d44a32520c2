//! Whether the topics are there to take a shard's records, before a term begins.
//!
//! A topic of a route is the operator's: `lockgate topics apply` makes it, and what differs is said, never changed. A
//! topic that a capture names is made when its first stream is found, because nobody can make it beforehand. Dead-letter
//! topics are Lockgate's own and made here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tracing::{info, warn};

use super::opening::{Candidate, halt};
use super::shard::{ShardWorker, TermEnd};
use super::shared::Shared;
use crate::checkpoint;
use crate::config::OnTrouble;
use crate::placement::Topic;
use crate::routing::Route;
use crate::status::Reason;
use crate::topics::{self, ErrorKind, TopicSpec, TopicState};

/// How often a term looks at its topics again.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What was found of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Missing,
    Partitions(u32),
    /// Kafka does not show it, or nobody leads a part of it: by what its streams halt or wait, and why.
    Refused(Reason, String),
}

/// The topics of a term.
pub type Places = BTreeMap<Topic, Place>;

/// Keeps the streams whose records have somewhere to go; the others are halted, each with its reason.
pub async fn keep_placeable(
    worker: &mut ShardWorker,
    candidates: &mut Vec<Candidate>,
) -> Result<(), TermEnd> {
    let wanted = wanted(candidates);
    let made = look_and_make(&worker.shared, &wanted).await;
    let (places, refused) =
        made.map_err(|error| TermEnd::Checkpoint(checkpoint::Error::Topics(error)))?;
    // To a look such a topic is missing, now and when it could be made: only to try again tells.
    for (topic, reason, cause) in refused {
        worker.memory.bar(topic, reason, cause);
    }
    show_surplus(worker, candidates, &places);
    candidates.retain(|candidate| {
        let Some((reason, text)) = trouble(worker, candidate, &places) else {
            return true;
        };
        if reason.halts() {
            halt(worker, &candidate.slot, reason, text);
        } else {
            worker.shared.show_waiting(&candidate.slot, reason, text);
        }
        false
    });
    worker.memory.places = places;
    Ok(())
}

/// Whether any topic of the term is another than it was: made, gone, grown, permitted.
pub async fn changed(shared: &Shared, before: &Places) -> bool {
    let topics: Vec<Topic> = before.keys().cloned().collect();
    matches!(look(shared, &topics).await, Ok(now) if now != *before)
}

fn trouble(
    worker: &ShardWorker,
    candidate: &Candidate,
    places: &Places,
) -> Option<(Reason, String)> {
    let binding = &candidate.slot.binding;
    if let Some(fault) = binding.fault() {
        return Some((Reason::TopicInvalid, fault.to_owned()));
    }
    if let Some(text) = worker.memory.refused.get(&candidate.slot.stream) {
        return Some((Reason::DeadLetterRefused, text.clone()));
    }
    let (topic, letters) = (binding.topic(), binding.route().dead_letters());
    worker
        .memory
        .barred(topic)
        .or_else(|| worker.memory.barred(letters))
        .or_else(|| judge(binding.route(), topic, places.get(topic)))
        .or_else(|| match places.get(letters) {
            Some(Place::Partitions(_)) => None,
            other => judge_missing(letters, other),
        })
}

/// Says of each stream how many partitions its topic has that its route goes on without.
fn show_surplus(worker: &ShardWorker, candidates: &[Candidate], places: &Places) {
    for candidate in candidates {
        let binding = &candidate.slot.binding;
        let surplus = surplus(binding.route(), places.get(binding.topic()));
        worker.shared.board.stream(&candidate.slot.stream, |cell| {
            cell.surplus_partitions = surplus;
        });
    }
}

/// The partitions of a topic that grew and whose route goes on with its own count.
fn surplus(route: &Route, place: Option<&Place>) -> u32 {
    match place {
        Some(Place::Partitions(count))
            if route.config().on_partition_change == OnTrouble::Record =>
        {
            count.saturating_sub(route.partitions())
        }
        _ => 0,
    }
}

fn judge(route: &Route, topic: &Topic, place: Option<&Place>) -> Option<(Reason, String)> {
    let wanted = route.partitions();
    let Some(Place::Partitions(count)) = place else {
        return judge_missing(topic, place);
    };
    if *count == wanted {
        return None;
    }
    if surplus(route, place) > 0 {
        warn!(%topic, count, wanted, route = route.name(), "the topic has more partitions than the route places records on; going on with the route's count");
        return None;
    }
    let text = format!(
        "topic {topic} has {count} partitions, route {} places records on {wanted}: keys would move; set routes.partitions to what the \
         application hashes over, or on_partition_change = \"record\" to go on with {wanted}",
        route.name()
    );
    Some((Reason::PartitionCountChanged, text))
}

fn judge_missing(topic: &Topic, place: Option<&Place>) -> Option<(Reason, String)> {
    Some(match place {
        Some(Place::Refused(reason, cause)) => (*reason, cause.clone()),
        _ => (
            Reason::TopicMissing,
            format!("topic {topic} does not exist; make it: lockgate topics apply"),
        ),
    })
}

/// A topic that streams of a term write to, and whether Lockgate may make it.
struct Wanted {
    topic: Topic,
    make: Option<TopicSpec>,
}

fn wanted(candidates: &[Candidate]) -> Vec<Wanted> {
    let mut seen = BTreeSet::new();
    let mut wanted = Vec::new();
    for candidate in candidates {
        let route = candidate.slot.binding.route();
        let topic = candidate.slot.binding.topic();
        if binding_is_sound(candidate) && seen.insert(topic.clone()) {
            let make = route.config().topic.contains('$').then(|| {
                TopicSpec::records(
                    topic.clone(),
                    route.partitions(),
                    route.config().retention,
                    route.config().retention_bytes,
                    route.config().max_message_bytes,
                )
            });
            wanted.push(Wanted {
                topic: topic.clone(),
                make,
            });
        }
        if seen.insert(route.dead_letters().clone()) {
            let make = Some(TopicSpec::dead_letters(route.dead_letters().clone(), 1));
            wanted.push(Wanted {
                topic: route.dead_letters().clone(),
                make,
            });
        }
    }
    wanted
}

fn binding_is_sound(candidate: &Candidate) -> bool {
    candidate.slot.binding.fault().is_none()
}

/// A topic that could not be made: by what its streams halt or wait, and why.
type Unmade = (Topic, Reason, String);

/// What there is now, with what was missing and could be made; and what could not.
async fn look_and_make(
    shared: &Shared,
    wanted: &[Wanted],
) -> Result<(Places, Vec<Unmade>), topics::Error> {
    let names: Vec<Topic> = wanted.iter().map(|wanted| wanted.topic.clone()).collect();
    let mut places = look(shared, &names).await?;
    let to_make = wanted.iter().filter_map(|wanted| wanted.make.as_ref());
    let to_make: Vec<&TopicSpec> = to_make
        .filter(|spec| places.get(&spec.name) == Some(&Place::Missing))
        .collect();
    let mut refused = Vec::new();
    if to_make.is_empty() {
        return Ok((places, refused));
    }
    let replication = shared.kafka.config().replication_factor;
    let brokers = shared.admin.brokers_for_replicas(replication).await;
    for spec in to_make {
        let made = match &brokers {
            Ok(brokers) => make(shared, spec.clone().for_cluster(replication, *brokers)).await,
            Err(error) => Err(error.clone()),
        };
        match made {
            Ok(()) => {
                places.insert(spec.name.clone(), Place::Partitions(spec.partitions));
            }
            Err(error) if is_out_of_reach(&error) => return Err(error),
            Err(error) => {
                let text = format!("topic {} cannot be made: {error}", spec.name);
                refused.push((spec.name.clone(), reason(&error), text));
            }
        }
    }
    Ok((places, refused))
}

async fn make(shared: &Shared, spec: TopicSpec) -> Result<(), topics::Error> {
    info!(topic = %spec.name, partitions = spec.partitions, "making a topic");
    shared.admin.create(&[spec]).await
}

/// All topics at once; one by one where Kafka refuses some, so that these do not hide the others.
pub async fn look(shared: &Shared, names: &[Topic]) -> Result<Places, topics::Error> {
    match ask(shared, names).await {
        Err(error) if !is_out_of_reach(&error) => {}
        other => return other,
    }
    let mut places = Places::new();
    for name in names {
        match ask(shared, std::slice::from_ref(name)).await {
            Ok(found) => places.extend(found),
            Err(error) if is_out_of_reach(&error) => return Err(error),
            Err(error) => {
                let refused = Place::Refused(reason(&error), error.to_string());
                places.insert(name.clone(), refused);
            }
        }
    }
    Ok(places)
}

/// By what the streams of a topic halt or wait that Kafka does not show or make. Only a permission is somebody's to give; all
/// else may pass.
const fn reason(error: &topics::Error) -> Reason {
    match error.kind() {
        ErrorKind::Unauthorised => Reason::TopicUnauthorised,
        ErrorKind::Quota => Reason::KafkaQuota,
        _ => Reason::KafkaRefused,
    }
}

const fn is_out_of_reach(error: &topics::Error) -> bool {
    matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Timeout)
}

async fn ask(shared: &Shared, names: &[Topic]) -> Result<Places, topics::Error> {
    let found = shared.admin.layouts(names).await?;
    Ok(names
        .iter()
        .map(|topic| (topic.clone(), place(topic, found.get(topic))))
        .collect())
}

/// Without one of its leaders a topic holds back its own streams alone: in a transaction its records would hold up all others.
fn place(topic: &Topic, state: Option<&TopicState>) -> Place {
    let Some(state) = state else {
        return Place::Missing;
    };
    let leaderless = state.partitions.iter().position(|one| one.leader.is_none());
    match leaderless {
        Some(partition) => Place::Refused(
            Reason::KafkaUnreachable,
            format!("partition {partition} of topic {topic} has no leader"),
        ),
        None => Place::Partitions(state.partition_count()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topics::PartitionState;

    #[test]
    fn a_topic_without_one_of_its_leaders_is_waited_for() {
        let topic = Topic::from("t");
        let led_by = |leaders: &[Option<i32>]| TopicState {
            partitions: leaders
                .iter()
                .map(|&leader| PartitionState {
                    leader,
                    replicas: vec![1],
                    in_sync: vec![1],
                })
                .collect(),
            ..TopicState::default()
        };
        assert_eq!(place(&topic, None), Place::Missing);
        let led = led_by(&[Some(1), Some(2)]);
        assert_eq!(place(&topic, Some(&led)), Place::Partitions(2));
        let Place::Refused(reason, why) = place(&topic, Some(&led_by(&[Some(1), None]))) else {
            panic!("nobody leads partition 1");
        };
        assert!(!reason.halts());
        assert_eq!(why, "partition 1 of topic t has no leader");
    }

    #[test]
    fn what_may_pass_is_waited_for_and_what_is_not_permitted_halts() {
        let cause = || "its words".to_owned();
        let waits = [
            (topics::Error::Quota { cause: cause() }, Reason::KafkaQuota),
            (topics::Error::Disk { cause: cause() }, Reason::KafkaRefused),
            (
                topics::Error::TooFewBrokers { cause: cause() },
                Reason::KafkaRefused,
            ),
        ];
        for (error, expected) in waits {
            assert_eq!(reason(&error), expected);
            assert!(!expected.halts(), "{expected}");
        }
        let denied = reason(&topics::Error::Unauthorised {
            what: "a topic".to_owned(),
            topic: Some(Topic::from("t")),
        });
        assert_eq!((denied, denied.halts()), (Reason::TopicUnauthorised, true));
    }
}
