//! The named reasons for which a stream or a shard does not go on, each with its runbook.

use serde::{Deserialize, Serialize};

/// Declares an enum of kebab-case names with `ALL` and `as_str`.
macro_rules! names {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$doc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

names! {
    /// Why entries were gone before they were read.
    GapCause {
        Trimmed = "trimmed",
        Deleted = "deleted",
        Recreated = "recreated",
        Failover = "failover",
        Evicted = "evicted",
    }
}

names! {
    /// Why an entry became a dead letter.
    DeadLetterReason {
        MissingField = "missing_field",
        Encode = "encode",
        TooLarge = "too_large",
        Rejected = "rejected",
    }
}

names! {
    /// Why a stream or a shard does not go on.
    Reason {
        /// The shard has just been assigned and reads its checkpoints.
        Starting = "starting",
        /// The group has not confirmed this shard to this instance.
        Unassigned = "unassigned",
        /// Another instance took the shard over.
        Fenced = "fenced",
        /// `lockgate shards resize` is under way.
        Resizing = "resizing",
        /// The transaction's outcome is not known yet; the checkpoint will say.
        CommitUnknown = "commit-unknown",
        KafkaUnreachable = "kafka-unreachable",
        KafkaUnauthorised = "kafka-unauthorised",
        /// A broker's quota or policy forbids it for now.
        KafkaQuota = "kafka-quota",
        KafkaRefused = "kafka-refused",
        RedisUnreachable = "redis-unreachable",
        RedisAuth = "redis-auth",
        RedisNoPermission = "redis-noperm",
        RedisLoading = "redis-loading",
        RedisReadOnly = "redis-readonly",
        RedisOutOfMemory = "redis-oom",
        RedisCluster = "redis-cluster",
        RedisRefused = "redis-refused",
        EntriesTrimmed = "entries-trimmed",
        EntriesDeleted = "entries-deleted",
        StreamDeleted = "stream-deleted",
        StreamRecreated = "stream-recreated",
        StreamEvicted = "stream-evicted",
        FailoverHistoryTrimmed = "failover-history-trimmed",
        NotAStream = "not-a-stream",
        TopicMissing = "topic-missing",
        PartitionCountChanged = "partition-count-changed",
        TopicUnauthorised = "topic-unauthorised",
        DeadLetterRefused = "dead-letter-refused",
        /// A captured part of the stream's name makes no valid topic name.
        TopicInvalid = "topic-invalid",
        CheckpointLost = "checkpoint-lost",
        CheckpointUnreadable = "checkpoint-unreadable",
        PlacementChanged = "placement-changed",
    }
}

impl Reason {
    /// Whether it stops a stream until somebody acts; the others are waited out.
    #[must_use]
    pub const fn halts(self) -> bool {
        matches!(
            self,
            Self::EntriesTrimmed
                | Self::EntriesDeleted
                | Self::StreamDeleted
                | Self::StreamRecreated
                | Self::StreamEvicted
                | Self::FailoverHistoryTrimmed
                | Self::NotAStream
                | Self::TopicMissing
                | Self::PartitionCountChanged
                | Self::TopicUnauthorised
                | Self::TopicInvalid
                | Self::DeadLetterRefused
                | Self::CheckpointLost
                | Self::PlacementChanged
        )
    }

    /// Whether who lifts the halt `lifted` has accepted this as well: at the next look the same loss may have another name.
    #[must_use]
    pub fn is_accepted_with(self, lifted: Self) -> bool {
        let of_both = |same: fn(Self) -> bool| same(self) && same(lifted);
        let entries_gone = |reason| matches!(reason, Self::EntriesTrimmed | Self::EntriesDeleted);
        let stream_gone = |reason| {
            matches!(
                reason,
                Self::StreamDeleted | Self::StreamRecreated | Self::StreamEvicted
            )
        };
        self == lifted || of_both(entries_gone) || of_both(stream_gone)
    }

    /// The runbook that says what to do, as `lockgate runbook NAME` takes it.
    #[must_use]
    pub const fn runbook(self) -> &'static str {
        match self {
            Self::Starting
            | Self::Unassigned
            | Self::Fenced
            | Self::Resizing
            | Self::CommitUnknown => "LockgateMirrorStalled",
            Self::KafkaUnreachable | Self::RedisUnreachable | Self::RedisLoading => {
                "LockgateEdgeDown"
            }
            Self::KafkaUnauthorised
            | Self::TopicUnauthorised
            | Self::KafkaQuota
            | Self::KafkaRefused => "kafka-refuses",
            Self::RedisAuth
            | Self::RedisNoPermission
            | Self::RedisReadOnly
            | Self::RedisOutOfMemory
            | Self::RedisCluster
            | Self::RedisRefused => "redis-refuses",
            Self::EntriesTrimmed | Self::EntriesDeleted => "LockgateEntriesLost",
            Self::StreamDeleted | Self::StreamRecreated | Self::StreamEvicted => "stream-deleted",
            Self::FailoverHistoryTrimmed => "redis-failover",
            Self::NotAStream => "not-a-stream",
            Self::TopicMissing | Self::TopicInvalid => "topic-missing",
            Self::PartitionCountChanged => "partition-count-changed",
            Self::DeadLetterRefused => "LockgateDeadLetters",
            Self::CheckpointLost | Self::CheckpointUnreadable => "checkpoint-lost",
            Self::PlacementChanged => "placement-changed",
        }
    }

    /// What the reason becomes in the count of gaps, where it is one.
    #[must_use]
    pub const fn of_gap(cause: GapCause) -> Self {
        match cause {
            GapCause::Trimmed => Self::EntriesTrimmed,
            GapCause::Deleted => Self::EntriesDeleted,
            GapCause::Recreated => Self::StreamRecreated,
            GapCause::Failover => Self::FailoverHistoryTrimmed,
            GapCause::Evicted => Self::StreamEvicted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifted_halt_accepts_its_own_trouble_and_no_other() {
        use Reason::*;
        for one in Reason::ALL.iter().copied().filter(|one| one.halts()) {
            assert!(one.is_accepted_with(one), "{one}");
        }
        assert!(EntriesDeleted.is_accepted_with(EntriesTrimmed));
        assert!(StreamRecreated.is_accepted_with(StreamDeleted));
        for (trouble, lifted) in [
            (StreamDeleted, EntriesTrimmed),
            (EntriesTrimmed, TopicMissing),
            (PlacementChanged, TopicMissing),
            (PlacementChanged, EntriesTrimmed),
            (FailoverHistoryTrimmed, EntriesTrimmed),
        ] {
            assert!(!trouble.is_accepted_with(lifted), "{trouble} by {lifted}");
            assert!(!lifted.is_accepted_with(trouble), "{lifted} by {trouble}");
        }
    }
}
