//! Looks, before a step forward, whether Kafka answers, every routed partition is fit to take records, and the step is in the copy of the
//! state.
//!
//! A step that gives Kafka more is not begun over a partition without a leader, or with fewer replicas in sync than its topic
//! wants: nobody could read it or write to it. It waits for them, and is given up at its deadline with nobody told.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Driver, copying};
use crate::migration::measure::routed;
use crate::migration::step::{Acted, Event, Machine, State};
use crate::placement::Topic;
use crate::topics::{Admin, Error, TopicState};

impl Driver {
    /// Redis has just stored the move; so it is Kafka that is asked, and that has to know of it before anybody is told: of a
    /// promotion that Redis alone knew, nothing would be left with Redis' last writes.
    pub(super) fn precheck(&self, epoch: u64, at: usize) {
        let (admin, outcomes) = (Arc::clone(&self.admin), self.outcomes.0.clone());
        // What was stored and never told so, or by another, is not among the copies yet.
        let stored = self.machine.as_ref().and_then(Machine::stored);
        self.copies.send_if_modified(|newest| {
            let late = newest.as_ref().map(|newest| newest.rank()) < stored.map(State::rank);
            if late {
                *newest = stored.cloned().map(Arc::new);
            }
            late
        });
        let copied = self.kept.1.clone();
        let status = self.parts.board.snapshot();
        let topics = routed(&self.measurements, &status, |_| true);
        tokio::spawn(async move {
            let outcome = match topics {
                Ok(topics) => match look(&admin, &topics).await {
                    Acted::Done => copying::reaches(copied, epoch).await,
                    waits => waits,
                },
                Err(why) => Acted::NotYet(format!("the topics that routes lead to: {why}")),
            };
            // The driver has ended where nobody listens.
            let _ = outcomes.send(Event::Acted { epoch, at, outcome }).await;
        });
    }
}

async fn look(admin: &Admin, topics: &[Topic]) -> Acted {
    match asked(admin, topics).await {
        Ok(found) => unfit(&found).map_or(Acted::Done, Acted::NotYet),
        Err(error) => Acted::Failed(format!("Kafka: {error}")),
    }
}

async fn asked(admin: &Admin, topics: &[Topic]) -> Result<BTreeMap<Topic, TopicState>, Error> {
    // Where no routed topic exists yet, this alone tells that Kafka answers.
    admin.brokers().await?;
    match admin.describe(topics).await {
        // Who may not read the settings is told of leaders all the same.
        Err(Error::Unauthorised { .. }) => admin.layouts(topics).await,
        found => found,
    }
}

/// What is to become well before a step forward: the first partition that takes no records, and how many others do not.
fn unfit(found: &BTreeMap<Topic, TopicState>) -> Option<String> {
    let mut all = found.iter().flat_map(|(topic, state)| {
        // Without a setting that is known, a leader alone is asked for.
        let wanted = state.wanted_in_sync().unwrap_or(0);
        let numbered = state.partitions.iter().enumerate();
        let unfit = numbered.filter(move |(_, partition)| !partition.takes_records(wanted));
        unfit.map(move |(number, partition)| match partition.leader {
            None => format!("a leader of {topic}/{number}, which is offline"),
            Some(_) => format!(
                "replicas of {topic}/{number}: {} in sync, and its topic wants {wanted}",
                partition.in_sync.len()
            ),
        })
    });
    let first = all.next()?;
    Some(match all.count() {
        0 => first,
        more => format!("{first}; and {more} more partitions"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topics::{PartitionState, Setting};

    /// A topic of three replicas that wants so many in sync, with partitions that have so many.
    fn topic(name: &str, wanted: Option<&str>, in_sync: &[i32]) -> (Topic, TopicState) {
        let partition = |in_sync: &i32| PartitionState {
            leader: (*in_sync > 0).then_some(1),
            replicas: vec![1, 2, 3],
            in_sync: (1..=*in_sync).collect(),
        };
        let setting = Setting {
            value: wanted.map(str::to_owned),
            is_default: false,
        };
        let state = TopicState {
            partitions: in_sync.iter().map(partition).collect(),
            settings: BTreeMap::from([("min.insync.replicas".to_owned(), setting)]),
        };
        (Topic::from(name), state)
    }

    fn said(topics: &[(Topic, TopicState)]) -> Option<String> {
        unfit(&topics.iter().cloned().collect())
    }

    #[test]
    fn a_step_forward_waits_for_leaders_and_for_replicas_in_sync() {
        assert_eq!(said(&[]), None);
        assert_eq!(said(&[topic("a", Some("2"), &[3, 2])]), None);
        let short = said(&[topic("a", Some("2"), &[3, 1]), topic("b", Some("1"), &[1])]);
        let says = "replicas of a/1: 1 in sync, and its topic wants 2";
        assert_eq!(short.as_deref(), Some(says));
        let offline = said(&[topic("a", Some("1"), &[3, 0, 0]), topic("b", None, &[0])]);
        let says = "a leader of a/1, which is offline; and 2 more partitions";
        assert_eq!(offline.as_deref(), Some(says));
    }

    #[test]
    fn where_the_setting_is_hidden_or_asks_for_more_than_there_are_a_step_is_not_held_up() {
        assert_eq!(said(&[topic("a", None, &[1])]), None);
        assert_eq!(said(&[topic("a", Some("two"), &[1])]), None);
        assert_eq!(said(&[topic("a", Some("5"), &[3])]), None);
    }
}
