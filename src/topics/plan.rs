//! What differs between the topics as they should be and as they are. Pure: it compares, and changes nothing.

use std::collections::BTreeMap;

use super::admin::TopicState;
use super::spec::TopicSpec;
use crate::placement::Topic;

/// One thing that is not as the spec says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The topic is not there: to be created.
    Missing { topic: Topic },
    /// More or fewer partitions than the route says. More cannot be taken away, and adding some moves keys.
    Partitions {
        topic: Topic,
        wanted: u32,
        actual: u32,
    },
    /// Fewer replicas than wanted, in the partition that has the fewest.
    Replication {
        topic: Topic,
        wanted: u16,
        actual: u16,
    },
    /// A setting with another value.
    Setting {
        topic: Topic,
        name: String,
        wanted: String,
        /// `None`: the brokers do not show it.
        actual: Option<String>,
    },
}

impl Difference {
    #[must_use]
    pub const fn topic(&self) -> &Topic {
        match self {
            Self::Missing { topic }
            | Self::Partitions { topic, .. }
            | Self::Replication { topic, .. }
            | Self::Setting { topic, .. } => topic,
        }
    }

    /// What creating topics mends. All others are for the operator.
    #[must_use]
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing { topic } => write!(f, "{topic}: does not exist"),
            Self::Partitions {
                topic,
                wanted,
                actual,
            } => write!(f, "{topic}: {actual} partitions, should be {wanted}"),
            Self::Replication {
                topic,
                wanted,
                actual,
            } => write!(f, "{topic}: {actual} replicas, should be {wanted}"),
            Self::Setting {
                topic,
                name,
                wanted,
                actual: Some(actual),
            } => write!(f, "{topic}: {name} is {actual}, should be {wanted}"),
            Self::Setting {
                topic,
                name,
                wanted,
                actual: None,
            } => write!(f, "{topic}: {name} cannot be seen, should be {wanted}"),
        }
    }
}

/// Compares each spec with the topic of its name; in the order of the specs.
#[must_use]
pub fn plan(specs: &[TopicSpec], actual: &BTreeMap<Topic, TopicState>) -> Vec<Difference> {
    specs
        .iter()
        .flat_map(|spec| match actual.get(&spec.name) {
            None => vec![Difference::Missing {
                topic: spec.name.clone(),
            }],
            Some(state) => compare(spec, state),
        })
        .collect()
}

fn compare(spec: &TopicSpec, state: &TopicState) -> Vec<Difference> {
    let topic = || spec.name.clone();
    let mut differences = Vec::new();
    let partitions = state.partition_count();
    if partitions != spec.partitions {
        differences.push(Difference::Partitions {
            topic: topic(),
            wanted: spec.partitions,
            actual: partitions,
        });
    }
    if let Some(wanted) = spec.replication
        && state.replication() < wanted
    {
        differences.push(Difference::Replication {
            topic: topic(),
            wanted,
            actual: state.replication(),
        });
    }
    for (name, wanted) in &spec.config {
        let actual = state.settings.get(name).and_then(|s| s.value.clone());
        if actual.as_ref() != Some(wanted) {
            differences.push(Difference::Setting {
                topic: topic(),
                name: name.clone(),
                wanted: wanted.clone(),
                actual,
            });
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topics::{PartitionState, Setting};

    fn spec() -> TopicSpec {
        TopicSpec::checkpoints("c".into(), 2).for_cluster(None, 3)
    }

    fn state_of(spec: &TopicSpec) -> TopicState {
        TopicState {
            partitions: (0..spec.partitions)
                .map(|_| PartitionState {
                    leader: Some(1),
                    replicas: vec![1, 2, 3],
                    in_sync: vec![1, 2, 3],
                })
                .collect(),
            settings: spec
                .config
                .iter()
                .map(|(name, value)| {
                    let setting = Setting {
                        value: Some(value.clone()),
                        is_default: false,
                    };
                    (name.clone(), setting)
                })
                .collect(),
        }
    }

    fn differences(change: impl FnOnce(&mut TopicState)) -> Vec<String> {
        let mut state = state_of(&spec());
        change(&mut state);
        plan(&[spec()], &BTreeMap::from([("c".into(), state)]))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_topic_as_it_should_be_differs_in_nothing() {
        assert!(differences(|_| ()).is_empty());
    }

    #[test]
    fn a_missing_topic_is_told() {
        assert_eq!(
            plan(&[spec()], &BTreeMap::new()),
            [Difference::Missing { topic: "c".into() }]
        );
    }

    #[test]
    fn each_difference_is_told_by_name() {
        let told = differences(|state| {
            state.partitions.push(PartitionState {
                leader: None,
                replicas: vec![1],
                in_sync: vec![],
            });
            state.settings.remove("segment.ms");
            state.settings.insert(
                "cleanup.policy".to_owned(),
                Setting {
                    value: Some("delete".to_owned()),
                    is_default: true,
                },
            );
        });
        assert_eq!(
            told,
            [
                "c: 3 partitions, should be 2",
                "c: 1 replicas, should be 3",
                "c: cleanup.policy is delete, should be compact",
                "c: segment.ms cannot be seen, should be 600000",
            ]
        );
    }

    #[test]
    fn settings_and_replicas_beyond_the_spec_are_the_operators_own() {
        let told = differences(|state| {
            for partition in &mut state.partitions {
                partition.replicas = vec![1, 2, 3, 4, 5];
            }
            state.settings.insert(
                "message.timestamp.type".to_owned(),
                Setting {
                    value: Some("LogAppendTime".to_owned()),
                    is_default: false,
                },
            );
        });
        assert!(told.is_empty(), "{told:?}");
    }
}
