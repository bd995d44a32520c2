//! Which shards are this instance's: the assignment of Kafka's own group protocol on the checkpoint topic.
//!
//! An assignment is a hint and never a permission: two owners may be alive, and the writer's fence decides between them.
//! It is used for its spreading and its failure detection. No record is fetched here: the partitions are paused as they
//! arrive.
//!
//! ```text
//!   assigned ──▶ shards grow                planned revocation ──▶ shards shrink, wait for `released`, give up
//!                                           lost (no heartbeat came through) ──▶ no shards, `lost`
//! ```

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset as ListOffset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::watch;

use super::error::Error;
use super::kafka::{Complaint, Context, Kafka};
use crate::placement::{Shard, Topic};

/// Longest wait for shards to be drained before a planned rebalance goes on without them.
const DRAIN: Duration = Duration::from_secs(1);

/// Longest wait for the coordinator's word.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);

/// How soon a stop is noticed at the latest.
const POLL: Duration = Duration::from_millis(50);

/// Longest wait for leaving the group.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The shards of this instance as last heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Counts every change that the group made known, also one that took nothing and gave nothing. 0: none yet.
    pub generation: u64,
    pub shards: BTreeSet<Shard>,
    /// The shards that went with this generation were not given up: the coordinator counts this instance no more, or could
    /// not be reached for a session's time. False again with the next assignment.
    pub lost: bool,
}

/// A place in the consumer group.
pub struct Membership {
    /// The thread owns it: its end closes the consumer, which is what leaves the group.
    consumer: Weak<BaseConsumer<Member>>,
    member: Arc<Member>,
    assignment: watch::Receiver<Assignment>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Membership {
    /// Joins `group`; the first assignment arrives in [`assignment`](Self::assignment).
    ///
    /// # Errors
    /// [`Error::Config`]. An unreachable or unwilling cluster is no error here: see [`trouble`](Self::trouble).
    pub fn join(
        kafka: &Kafka,
        group: &str,
        topic: &Topic,
        session_timeout: Duration,
    ) -> Result<Self, Error> {
        let (changes, assignment) = watch::channel(Assignment::default());
        let member = Member {
            client: kafka.context(),
            topic: topic.clone(),
            changes,
            leaving: AtomicBool::new(false),
            draining: Mutex::new(BTreeSet::new()),
            drained: Condvar::new(),
        };
        let consumer: BaseConsumer<Member> = kafka
            .member(group, session_timeout)
            .create_with_context(member)
            .map_err(|error| Error::of("create a group member", error))?;
        consumer
            .subscribe(&[topic.as_str()])
            .map_err(|error| Error::of("subscribe", error))?;
        let member = Arc::clone(consumer.context());
        let owned = Arc::new(consumer);
        let consumer = Arc::downgrade(&owned);
        let thread = thread::Builder::new()
            .name("membership".to_owned())
            .spawn(move || poll(&owned))
            .map_err(|error| Error::Config {
                cause: format!("no thread for the group membership: {error}"),
            })?;
        Ok(Self {
            consumer,
            member,
            assignment,
            thread: Some(thread),
        })
    }

    #[must_use]
    pub fn assignment(&self) -> watch::Receiver<Assignment> {
        self.assignment.clone()
    }

    /// Says that a shard which an [`Assignment`] took away is drained. To be called for every such shard, whether or not
    /// anything was running for it; a planned rebalance waits for it, at most a second.
    pub fn released(&self, shard: Shard) {
        self.member.released(shard);
    }

    /// The coordinator's own word that this instance owns `shard` now: it accepted an offset commit that carries this
    /// member's id and generation. `Ok(false)`: it did not, or the shard is not assigned here.
    ///
    /// The committed offset itself (0) means nothing and is never read.
    ///
    /// # Errors
    /// The coordinator gave no answer.
    pub async fn confirm(&self, shard: Shard) -> Result<bool, Error> {
        let Some(consumer) = self.consumer.upgrade() else {
            return Ok(false);
        };
        if !self.holds(&consumer, shard) {
            return Ok(false);
        }
        let mut offsets = TopicPartitionList::with_capacity(1);
        let Ok(partition) = i32::try_from(shard.0) else {
            return Ok(false);
        };
        offsets
            .add_partition_offset(self.member.topic.as_str(), partition, ListOffset::Offset(0))
            .map_err(|error| Error::of("confirm", error))?;
        let asking = Arc::clone(&consumer);
        let asked = tokio::task::spawn_blocking(move || asking.commit(&offsets, CommitMode::Sync));
        let answer = match tokio::time::timeout(CONFIRM_TIMEOUT, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(KafkaError::ConsumerCommit(Code::OperationTimedOut)),
        };
        match answer {
            // The answer may have crossed a revocation on its way.
            Ok(()) => Ok(self.holds(&consumer, shard)),
            Err(error) if is_refusal(&error) => Ok(false),
            Err(error) => Err(self.member.client.explain(Error::of("confirm", error))),
        }
    }

    /// What the group's client last complained of. Worth showing while there is no assignment.
    #[must_use]
    pub fn trouble(&self) -> Option<Complaint> {
        self.member.client.last_error()
    }

    /// Planned stop, after all shards are drained: others take over at once. Returns when the coordinator knows, or after
    /// two seconds.
    pub fn leave(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        self.member.leave();
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        while !thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn holds(&self, consumer: &BaseConsumer<Member>, shard: Shard) -> bool {
        !consumer.assignment_lost() && self.assignment.borrow().shards.contains(&shard)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Serves the consumer until the membership ends. Then its drop closes it, which revokes, and tells the coordinator. To
/// unsubscribe first would be quicker, but where the closing meets the revocation half done, the client library now and
/// then ends without having told anybody, and the shards stand still for a session.
fn poll(consumer: &BaseConsumer<Member>) {
    let member = consumer.context();
    while !member.leaving.load(Relaxed) {
        if let Some(Err(error)) = consumer.poll(POLL) {
            member
                .client
                .remember(error.rdkafka_error_code(), &error.to_string());
        }
        // Asked anything, the client's own thread looks at its clock. Left alone it does so every half second or second, and the
        // heartbeat, which brings the news of another's leaving, waits for it.
        let _ = consumer.subscription();
    }
}

fn is_refusal(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::IllegalGeneration
                | Code::UnknownMemberId
                | Code::RebalanceInProgress
                | Code::FencedInstanceId
                | Code::AssignmentLost
                | Code::State
        )
    )
}

/// The consumer's context: runs on the membership's thread, except where it says otherwise.
struct Member {
    client: Context,
    topic: Topic,
    changes: watch::Sender<Assignment>,
    leaving: AtomicBool,
    /// Shards that are being given up and are not yet drained.
    draining: Mutex<BTreeSet<Shard>>,
    drained: Condvar,
}

impl Member {
    /// Called from any thread.
    fn released(&self, shard: Shard) {
        let mut draining = self.draining.lock().unwrap_or_else(PoisonError::into_inner);
        draining.remove(&shard);
        self.drained.notify_all();
    }

    /// Called from any thread.
    fn leave(&self) {
        self.leaving.store(true, Relaxed);
        let _draining = self.draining.lock().unwrap_or_else(PoisonError::into_inner);
        self.drained.notify_all();
    }

    fn assigned(&self, shards: &BTreeSet<Shard>) {
        self.changes.send_modify(|assignment| {
            assignment.generation += 1;
            assignment.shards.extend(shards);
            assignment.lost = false;
        });
    }

    fn revoked(&self, shards: &BTreeSet<Shard>, lost: bool) {
        // Before it is made known, or a quick answer would come before the question.
        if !lost {
            self.draining
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(shards);
        }
        self.changes.send_modify(|assignment| {
            assignment.generation += 1;
            assignment.shards.retain(|shard| !shards.contains(shard));
            assignment.lost = lost;
        });
        if !lost {
            self.wait_until_drained();
        }
    }

    fn wait_until_drained(&self) {
        let draining = self.draining.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut draining, _) = self
            .drained
            .wait_timeout_while(draining, DRAIN, |draining| {
                !draining.is_empty() && !self.leaving.load(Relaxed)
            })
            .unwrap_or_else(PoisonError::into_inner);
        if !draining.is_empty() && !self.leaving.load(Relaxed) {
            tracing::warn!(shards = ?*draining, "given up before they were drained");
        }
        draining.clear();
    }

    fn shards(&self, partitions: &TopicPartitionList) -> BTreeSet<Shard> {
        partitions
            .elements_for_topic(self.topic.as_str())
            .iter()
            .filter_map(|element| u32::try_from(element.partition()).ok())
            .map(Shard)
            .collect()
    }
}

impl ConsumerContext for Member {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let shards = self.shards(partitions);
        let result = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            // With a place to begin given, no committed offset is asked for.
            let result = partitions
                .set_all_offsets(ListOffset::End)
                .and_then(|()| consumer.incremental_assign(partitions))
                .and_then(|()| consumer.pause(partitions));
            tracing::info!(?shards, "shards assigned");
            self.assigned(&shards);
            result
        } else {
            let lost = consumer.assignment_lost();
            tracing::info!(?shards, lost, "shards revoked");
            self.revoked(&shards, lost);
            consumer.incremental_unassign(partitions)
        };
        if let Err(error) = result {
            self.client
                .remember(error.rdkafka_error_code(), &error.to_string());
            tracing::warn!(%error, ?shards, "the group's change could not be applied");
        }
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.client.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.client.error(error, reason);
    }

    fn stats_raw(&self, _: &[u8]) {}
}
