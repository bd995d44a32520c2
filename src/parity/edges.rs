//! The two stores and the routes, as a comparison needs them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::entry::StreamRef;
use crate::placement::{KafkaBorn, Partition, Topic};
use crate::routing::Routes;
use crate::streams::{self, Redis};
use crate::tasks::passed_on;
use crate::topics::{self, Admin, Bounds, Ends, Kafka};

/// How long Kafka may take for one step before it counts as out of reach.
pub(super) const KAFKA_TIMEOUT: Duration = Duration::from_secs(15);

/// A dead writer's transaction is aborted by its broker after `transaction.timeout.ms` (10 s) and up to 10 s more.
const DECIDED_WITHIN: Duration = Duration::from_secs(30);
/// So long at least what the driver knows is waited for.
const TOLD_WITHIN: Duration = Duration::from_secs(15);
const DECISION_LOOK: Duration = Duration::from_millis(20);

/// Clients of both stores, and the routes between them.
pub struct Edges {
    pub migration: String,
    pub routes: Arc<Routes>,
    pub redis: Redis,
    pub kafka: Kafka,
    pub admin: Admin,
    pub kafka_born: KafkaBornSource,
    /// How often that is looked at anew.
    pub told_every: Duration,
}

/// Tells when applications may have written to Kafka themselves, as far as it is known now, and as of when that is how things
/// stand; `None`: of no time.
pub type KafkaBornSource = Box<dyn Fn() -> (Born, Option<Instant>) + Send + Sync>;

/// When applications may have written to Kafka themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Born {
    /// Nobody has said yet whether they may.
    NotKnown,
    Never,
    In(KafkaBorn),
}

impl From<Option<KafkaBorn>> for Born {
    fn from(told: Option<KafkaBorn>) -> Self {
        told.map_or(Self::Never, Self::In)
    }
}

impl Edges {
    /// When applications may have written to Kafka themselves, not as of earlier than now: who steers may have opened the
    /// ingress since this instance was told last. Blocks for as long as the driver takes to look.
    pub(super) fn kafka_born_now(&self, stop: &CancellationToken) -> Born {
        let asked = Instant::now();
        let within = TOLD_WITHIN.max(self.told_every * 2);
        while !stop.is_cancelled() && asked.elapsed() < within {
            let (born, as_of) = (self.kafka_born)();
            if as_of.is_some_and(|at| at >= asked) {
                return born;
            }
            std::thread::sleep(DECISION_LOOK);
        }
        Born::NotKnown
    }

    /// Whether Redis holds that the stream's mirror has begun: it was one even where Kafka has lost its checkpoint. Blocks; to be
    /// called where blocking is allowed.
    ///
    /// # Errors
    /// Redis gave no answer.
    pub(super) fn has_begun(&self, stream: &StreamRef) -> Result<bool, streams::Error> {
        let key = streams::started_key(&self.migration);
        let asked = async {
            let mut connection = self.redis.connect(stream.database).await?;
            let name = std::slice::from_ref(&stream.name);
            connection.started(&key, name).await
        };
        Ok(Handle::current().block_on(asked)?.contains(&true))
    }

    /// Where each partition of the topic begins and ends now; none for a topic that does not exist.
    ///
    /// What stood in the log when this was called lies before the end that it gives: where a transaction was open then,
    /// perhaps of another writer, what was committed behind its beginning cannot be read until it is decided, and this waits
    /// for that.
    ///
    /// # Errors
    /// Kafka gave no answer, or a transaction stays open for longer than a mirror's can.
    pub(super) async fn bounds(
        self: &Arc<Self>,
        topic: &Topic,
    ) -> Result<Vec<Bounds>, topics::Error> {
        let found = self.admin.layouts(std::slice::from_ref(topic)).await?;
        let count = found
            .get(topic)
            .map_or(0, topics::TopicState::partition_count);
        if count == 0 {
            return Ok(Vec::new());
        }
        let partitions: Vec<Partition> = (0..i32::try_from(count).unwrap_or(i32::MAX))
            .map(Partition)
            .collect();
        let (edges, topic) = (Arc::clone(self), topic.clone());
        let asked = tokio::task::spawn_blocking(move || {
            await_decisions(&edges.kafka, &topic, &partitions)?;
            topics::bounds(&edges.kafka, &topic, &partitions, KAFKA_TIMEOUT)
        });
        passed_on(asked.await)
    }
}

/// Waits until everything that the partitions hold now is committed or aborted. Blocks.
fn await_decisions(
    kafka: &Kafka,
    topic: &Topic,
    partitions: &[Partition],
) -> Result<(), topics::Error> {
    let ends = Ends::new(kafka, KAFKA_TIMEOUT)?;
    let places: Vec<(Topic, Partition)> = partitions
        .iter()
        .map(|partition| (topic.clone(), *partition))
        .collect();
    let mut open = ends.undecided(&places)?;
    let deadline = Instant::now() + DECIDED_WITHIN;
    while let Some(first) = open.first() {
        if Instant::now() >= deadline {
            return Err(topics::Error::Timeout {
                what: "decide a transaction",
                cause: format!(
                    "one that began at offset {} of {}/{} is still open; what was committed behind it cannot be read",
                    first.from, first.topic, first.partition
                ),
            });
        }
        std::thread::sleep(DECISION_LOOK);
        ends.narrow(&mut open)?;
    }
    Ok(())
}
