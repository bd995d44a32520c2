//! What can go wrong with Kafka, named by what it means for the caller and not by where it was met.
//!
//! librdkafka reports one trouble under many codes (a fenced producer alone has four). Here each meaning has one variant,
//! so that the mirror decides once per meaning. No variant carries a payload or the value of a configuration property.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::placement::{Partition, Topic};

/// An error of the Kafka edge.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A younger writer of the same transactional id exists, or the broker gave up this one's transaction. Nothing more
    /// can be written; what of the last transaction was committed is told by the checkpoint alone.
    #[error("another writer took over this transactional id")]
    Fenced,
    /// It is not known whether the transaction was committed. Drop the writer, open anew, read the checkpoint.
    #[error("the outcome of the commit is not known: {cause}")]
    CommitUnknown { cause: String },
    /// One record is at fault and would be refused again. From the local client: the rest of the transaction is untouched.
    /// From the broker: the whole transaction has failed.
    #[error("{topic}/{partition} refused a record: {cause}")]
    Refused {
        topic: Topic,
        partition: Partition,
        /// The record's tag, where it is known which record is at fault. It is not when the broker refused a batch of several
        /// (the client library hides which one it named, too): then it is one of those sent to this partition.
        tag: Option<u64>,
        cause: Refusal,
        /// Met before the record was part of the transaction, which goes on without it.
        local: bool,
    },
    #[error("Kafka is out of reach: {cause}")]
    Unreachable { cause: String },
    #[error("Kafka did not answer in time: {what}: {cause}")]
    Timeout { what: &'static str, cause: String },
    /// Authentication failed, or an access rule is missing.
    #[error("Kafka refuses access: {what}")]
    Unauthorised {
        what: String,
        /// The topic that it is about, where it is about one.
        topic: Option<Topic>,
    },
    #[error("topic {topic} does not exist")]
    TopicMissing {
        topic: Topic,
        /// As in [`Error::Refused`].
        local: bool,
    },
    #[error("topic {topic} has no partition {partition}")]
    PartitionMissing {
        topic: Topic,
        partition: Partition,
        /// As in [`Error::Refused`].
        local: bool,
    },
    /// A broker's quota or policy forbids it.
    #[error(
        "a quota or policy of the cluster forbids it: {cause}; see lockgate runbook kafka-refuses"
    )]
    Quota { cause: String },
    /// A broker's log directory failed.
    #[error("a broker cannot write its disk: {cause}; see lockgate runbook LockgateKafkaDiskHigh")]
    Disk { cause: String },
    /// A topic cannot have its replicas now.
    #[error("too few brokers: {cause}")]
    TooFewBrokers { cause: String },
    /// A property of the client, or one that the brokers do not accept.
    #[error("kafka configuration: {cause}")]
    Config { cause: String },
    #[error("kafka: {what}: {source}")]
    Other {
        what: &'static str,
        #[source]
        source: KafkaError,
    },
}

/// Why a record is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    TooLarge,
    Timestamp,
    Invalid,
}

impl Refusal {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too large",
            Self::Timestamp => "timestamp out of bounds",
            Self::Invalid => "invalid record",
        }
    }

    pub(super) const fn of(code: Code) -> Option<Self> {
        match code {
            Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
                Some(Self::TooLarge)
            }
            Code::InvalidTimestamp => Some(Self::Timestamp),
            Code::InvalidRecord | Code::InvalidMessage => Some(Self::Invalid),
            _ => None,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error's kind: the name of the state that it puts a shard or stream into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    Fenced,
    CommitUnknown,
    Refused,
    Unreachable,
    Timeout,
    Unauthorised,
    TopicMissing,
    PartitionMissing,
    Quota,
    Disk,
    TooFewBrokers,
    Config,
    Other,
}

impl ErrorKind {
    pub const ALL: [Self; 13] = [
        Self::Fenced,
        Self::CommitUnknown,
        Self::Refused,
        Self::Unreachable,
        Self::Timeout,
        Self::Unauthorised,
        Self::TopicMissing,
        Self::PartitionMissing,
        Self::Quota,
        Self::Disk,
        Self::TooFewBrokers,
        Self::Config,
        Self::Other,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fenced => "kafka-fenced",
            Self::CommitUnknown => "kafka-commit-unknown",
            Self::Refused => "kafka-refused",
            Self::Unreachable => "kafka-unreachable",
            Self::Timeout => "kafka-timeout",
            Self::Unauthorised => "kafka-auth",
            Self::TopicMissing => "topic-missing",
            Self::PartitionMissing => "partition-missing",
            Self::Quota => "kafka-quota",
            Self::Disk => "kafka-disk",
            Self::TooFewBrokers => "kafka-too-few-brokers",
            Self::Config => "kafka-config",
            Self::Other => "kafka-other",
        }
    }
}

impl Error {
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Fenced => ErrorKind::Fenced,
            Self::CommitUnknown { .. } => ErrorKind::CommitUnknown,
            Self::Refused { .. } => ErrorKind::Refused,
            Self::Unreachable { .. } => ErrorKind::Unreachable,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Unauthorised { .. } => ErrorKind::Unauthorised,
            Self::TopicMissing { .. } => ErrorKind::TopicMissing,
            Self::PartitionMissing { .. } => ErrorKind::PartitionMissing,
            Self::Quota { .. } => ErrorKind::Quota,
            Self::Disk { .. } => ErrorKind::Disk,
            Self::TooFewBrokers { .. } => ErrorKind::TooFewBrokers,
            Self::Config { .. } => ErrorKind::Config,
            Self::Other { .. } => ErrorKind::Other,
        }
    }

    /// The value of the metric label `kind`: `connect timeout auth fenced refused other`.
    #[must_use]
    pub const fn edge_kind(&self) -> &'static str {
        match self {
            Self::Fenced => "fenced",
            Self::CommitUnknown { .. } | Self::Timeout { .. } => "timeout",
            Self::Unreachable { .. } => "connect",
            Self::Unauthorised { .. } => "auth",
            Self::Refused { .. }
            | Self::TopicMissing { .. }
            | Self::PartitionMissing { .. }
            | Self::Quota { .. }
            | Self::TooFewBrokers { .. } => "refused",
            Self::Disk { .. } | Self::Config { .. } | Self::Other { .. } => "other",
        }
    }

    /// Whether the error concerns one record alone, so that the transaction goes on without it.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        matches!(
            self,
            Self::Refused { local: true, .. }
                | Self::TopicMissing { local: true, .. }
                | Self::PartitionMissing { local: true, .. }
        )
    }

    /// An error that is about no topic in particular.
    pub(super) fn of(what: &'static str, error: KafkaError) -> Self {
        if let KafkaError::ClientConfig(_, _, key, _) = &error {
            // The error's own text repeats the value, which may be a secret.
            return Self::Config {
                cause: format!(
                    "`{key}` is unknown to the client or has a value that it does not take"
                ),
            };
        }
        if let KafkaError::ClientCreation(cause) = error {
            return Self::Config { cause };
        }
        let code = match &error {
            KafkaError::AdminOp(code) => Some(*code),
            other => other.rdkafka_error_code(),
        };
        match code {
            Some(code) => Self::of_code(what, code, || error.to_string()).unwrap_or(Self::Other {
                what,
                source: error,
            }),
            None => Self::Other {
                what,
                source: error,
            },
        }
    }

    /// An error met while doing something with `topic`.
    pub(super) fn on_topic(
        what: &'static str,
        error: KafkaError,
        topic: &Topic,
        partition: Option<Partition>,
    ) -> Self {
        let code = match &error {
            KafkaError::AdminOp(code) => Some(*code),
            other => other.rdkafka_error_code(),
        };
        match (code, partition) {
            (Some(Code::UnknownTopic), _) | (Some(Code::UnknownTopicOrPartition), None) => {
                Self::TopicMissing {
                    topic: topic.clone(),
                    local: false,
                }
            }
            (Some(Code::UnknownPartition | Code::UnknownTopicOrPartition), Some(partition)) => {
                Self::PartitionMissing {
                    topic: topic.clone(),
                    partition,
                    local: false,
                }
            }
            (Some(Code::TopicAuthorizationFailed), _) => Self::Unauthorised {
                what: format!("topic {topic}"),
                topic: Some(topic.clone()),
            },
            _ => Self::of(what, error),
        }
    }

    pub(super) fn of_code(
        what: &'static str,
        code: Code,
        cause: impl Fn() -> String,
    ) -> Option<Self> {
        if is_fenced(code) {
            return Some(Self::Fenced);
        }
        let unauthorised = |what: &str| {
            Some(Self::Unauthorised {
                what: what.to_owned(),
                topic: None,
            })
        };
        match code {
            Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::NetworkException
            | Code::BrokerNotAvailable
            | Code::SSL
            | Code::DestroyBroker => Some(Self::Unreachable { cause: cause() }),
            Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::MessageTimedOut
            | Code::TimedOutQueue
            | Code::WaitingForCoordinator
            | Code::CoordinatorNotAvailable
            | Code::CoordinatorLoadInProgress
            | Code::NotCoordinator
            | Code::ConcurrentTransactions
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend => Some(Self::Timeout {
                what,
                cause: cause(),
            }),
            Code::TopicAuthorizationFailed => unauthorised("a topic"),
            Code::GroupAuthorizationFailed => unauthorised("the consumer group"),
            Code::ClusterAuthorizationFailed => unauthorised("the cluster"),
            Code::TransactionalIdAuthorizationFailed => unauthorised("the transactional id"),
            Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::IllegalSASLState
            | Code::UnsupportedSASLMechanism => unauthorised("authentication"),
            Code::ThrottlingQuotaExceeded | Code::PolicyViolation => {
                Some(Self::Quota { cause: cause() })
            }
            Code::KafkaStorageError | Code::LogDirNotFound => Some(Self::Disk { cause: cause() }),
            Code::InvalidTransactionTimeout => Some(Self::Config {
                cause: "`kafka.transaction_timeout` is above the brokers' transaction.max.timeout.ms"
                    .to_owned(),
            }),
            Code::InvalidSessionTimeout => Some(Self::Config {
                cause: "`kafka.session_timeout` is outside the brokers' group.min.session.timeout.ms and \
                        group.max.session.timeout.ms"
                    .to_owned(),
            }),
            Code::InvalidConfig
            | Code::InvalidArgument
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature => Some(Self::Config { cause: cause() }),
            Code::InvalidReplicationFactor => Some(Self::TooFewBrokers {
                cause: format!(
                    "the cluster cannot place as many replicas ({}); start more brokers, or set a smaller kafka.replication_factor",
                    cause()
                ),
            }),
            _ => None,
        }
    }
}

pub(super) const fn is_fenced(code: Code) -> bool {
    matches!(
        code,
        Code::Fenced
            | Code::InvalidProducerEpoch
            | Code::ProducerFenced
            | Code::TransactionCoordinatorFenced
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::types::RDKafkaConfRes;

    #[test]
    fn a_secret_in_a_bad_property_does_not_reach_the_text() {
        let error = Error::of(
            "create",
            KafkaError::ClientConfig(
                RDKafkaConfRes::RD_KAFKA_CONF_INVALID,
                "Invalid value \"hunter2\"".into(),
                "sasl.password".into(),
                "hunter2".into(),
            ),
        );
        let text = format!("{error} {error:?}");
        assert!(text.contains("sasl.password"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(error.kind(), ErrorKind::Config);
    }

    #[test]
    fn each_code_of_a_fence_is_a_fence() {
        for code in [
            Code::Fenced,
            Code::ProducerFenced,
            Code::InvalidProducerEpoch,
        ] {
            let error = Error::of("produce", KafkaError::MessageProduction(code));
            assert_eq!(error.kind(), ErrorKind::Fenced, "{code:?}");
        }
    }

    #[test]
    fn a_missing_topic_and_a_missing_partition_are_told_apart() {
        let topic = Topic::from("t");
        let error = |code, partition| {
            Error::on_topic("read", KafkaError::MetadataFetch(code), &topic, partition).kind()
        };
        assert_eq!(
            error(Code::UnknownTopic, Some(Partition(1))),
            ErrorKind::TopicMissing
        );
        assert_eq!(
            error(Code::UnknownTopicOrPartition, None),
            ErrorKind::TopicMissing
        );
        assert_eq!(
            error(Code::UnknownPartition, Some(Partition(9))),
            ErrorKind::PartitionMissing
        );
    }

    #[test]
    fn kinds_have_names_of_their_own() {
        let names: std::collections::BTreeSet<_> =
            ErrorKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), ErrorKind::ALL.len());
    }
}
