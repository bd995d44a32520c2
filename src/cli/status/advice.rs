//! What to do about a stream or a shard that does not go on: one sentence for each reason, before the runbook.

use crate::status::Reason;

/// The next thing to do. `resume`: the command that lifts this halt.
#[must_use]
pub fn advice(reason: Reason, resume: &str) -> String {
    let sentence = match reason {
        Reason::Starting | Reason::Unassigned => "wait: it takes up its work within seconds",
        Reason::Fenced => "nothing: another instance has it now",
        Reason::Resizing => "wait for `lockgate shards resize`, or run it again if it broke off",
        Reason::CommitUnknown => "wait: the checkpoint is read again and tells",
        Reason::KafkaUnreachable => {
            "bring Kafka back; nothing is lost while Redis holds the entries (see TRIM)"
        }
        Reason::KafkaUnauthorised => {
            "give this user the rights on the group, transactional ids and topics that the log names"
        }
        Reason::KafkaQuota => {
            "raise the quota of Lockgate's user or client id, or hold the mirror below it: lockgate throttle"
        }
        Reason::KafkaRefused => {
            "see the broker's answer: a policy, a full disk, or too few brokers"
        }
        Reason::RedisUnreachable => "bring Redis back; mirroring goes on by itself",
        Reason::RedisLoading => "wait: Redis is loading its data",
        Reason::RedisAuth => "correct redis.username and redis.password_file, then restart",
        Reason::RedisNoPermission => {
            "grant the command with ACL SETUSER; `lockgate check` names all that are missing"
        }
        Reason::RedisReadOnly => "point redis.url at the master",
        Reason::RedisOutOfMemory => "free memory in Redis or raise maxmemory",
        Reason::RedisCluster => "use a Redis that is not a cluster",
        Reason::RedisRefused => "see Redis's answer",
        Reason::EntriesTrimmed | Reason::EntriesDeleted => {
            return format!(
                "stop what removes entries before they are mirrored; then count the loss and go on: {resume}"
            );
        }
        Reason::StreamDeleted | Reason::StreamEvicted => {
            return format!("restore it, or count the loss and go on with what comes: {resume}");
        }
        Reason::StreamRecreated => {
            return format!("if the new stream is meant to follow, go on with it: {resume}");
        }
        Reason::FailoverHistoryTrimmed => {
            return format!(
                "entries may be lost with the old master; count them and go on: {resume}"
            );
        }
        Reason::NotAStream => "rename the key, or take it out of the route",
        Reason::TopicMissing => "make it: lockgate topics apply",
        Reason::TopicInvalid => "change the route's topic template, or leave the stream out of it",
        Reason::CheckpointUnreadable => "run the lockgate version that wrote the checkpoints",
        Reason::PartitionCountChanged => {
            "set partitions of the route to what the application hashes over, or on_partition_change = \"record\""
        }
        Reason::TopicUnauthorised => "give this user write access to the topic",
        Reason::DeadLetterRefused => {
            "make room for the dead letter: raise max.message.bytes of the dead-letter topic"
        }
        Reason::CheckpointLost => {
            return format!("say where to begin again: {resume} --from earliest|latest|ID");
        }
        Reason::PlacementChanged => {
            return format!(
                "keys move to other partitions; put the old settings back, or accept it: {resume}"
            );
        }
    };
    sentence.to_owned()
}
