//! Notices that the shards were resized.
//!
//! A resize fences every shard's producer, but a shard with nothing to write would not meet the fence, and would go on
//! believing in a layout that is no more. So each instance looks at the stored layout every few seconds, and a term
//! ends when it is no longer the one that it began with.
//!
//! The layout stands in the checkpoint topic, so this is also where it shows that the topic itself is gone. It is made again with
//! the layout that was last seen: a resize may have made it another than the configured one, and running terms go by it. A running
//! term goes on and commits into it, unless Kafka fails its transaction over it; streams of which it commits nothing halt in the
//! next term, their checkpoints lost, and none begins anew by itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::shared::{KAFKA_TIMEOUT, Shared};
use crate::checkpoint::{self, Layout};
use crate::status::Reason;
use crate::tasks::passed_on;
use crate::topics::{self, TopicSpec, TopicState};

const EVERY: Duration = Duration::from_secs(3);

pub struct LayoutWatch {
    shared: Arc<Shared>,
    out: watch::Sender<Option<Layout>>,
}

impl LayoutWatch {
    /// The receiver holds `None` until the layout has been read once.
    pub fn new(shared: Arc<Shared>) -> (Self, watch::Receiver<Option<Layout>>) {
        let (out, layout) = watch::channel(None);
        (Self { shared, out }, layout)
    }

    /// Looks until stopped; what cannot be read just now stays as it was last seen.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let shared = Arc::clone(&self.shared);
            let read = tokio::task::spawn_blocking(move || {
                checkpoint::load_layout(&shared.kafka, &shared.checkpoints, KAFKA_TIMEOUT)
            });
            tokio::select! {
                () = stop.cancelled() => return,
                read = read => match passed_on(read) {
                    Ok(Some(layout)) => {
                        self.out.send_if_modified(|seen| {
                            let changed = seen.as_ref() != Some(&layout);
                            *seen = Some(layout);
                            changed
                        });
                    }
                    // Whoever has made the topic again has not come to store it.
                    Ok(None) => self.make().await,
                    Err(checkpoint::Error::Topics(topics::Error::TopicMissing { .. })) => {
                        self.make_again().await;
                    }
                    Err(error) => debug!(%error, "the layout cannot be read just now"),
                },
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    async fn make_again(&self) {
        let topic = &self.shared.checkpoints;
        // Whoever has just come to know a topic is told so of one that is only new.
        let found = self.shared.admin.layouts(std::slice::from_ref(topic)).await;
        if !found.is_ok_and(|found| found.is_empty()) {
            return;
        }
        error!(%topic, runbook = Reason::CheckpointLost.runbook(), "the checkpoint topic is gone, and with it how far each stream is mirrored");
        self.make().await;
    }

    async fn make(&self) {
        let seen = self.out.borrow().clone();
        if let Err(error) = self.shared.make_checkpoint_topic(seen).await {
            let topic = &self.shared.checkpoints;
            warn!(%topic, %error, "the checkpoint topic cannot be made again yet");
        }
    }
}

impl Shared {
    /// The stored layout; where there is none, the one that was last `seen` is stored again, or the configured one for the first
    /// time. Blocks.
    ///
    /// # Errors
    /// Kafka gave no answer, or what is stored cannot be read.
    pub fn ensure_layout(&self, seen: Option<&Layout>) -> Result<Layout, checkpoint::Error> {
        checkpoint::ensure_layout(
            &self.kafka,
            &self.migration,
            &self.checkpoints,
            self.first_layout(seen),
            KAFKA_TIMEOUT,
        )
    }

    fn first_layout(&self, seen: Option<&Layout>) -> Layout {
        seen.map_or_else(|| Layout::first(self.shards.count), Layout::again)
    }

    /// Makes the checkpoint topic unless it is there, and gives it its layout unless it has one: the one last `seen`, or the
    /// configured one. Every shard of the layout has its partition then, whoever made the topic.
    ///
    /// # Errors
    /// Kafka is out of reach, or refuses it.
    pub async fn make_checkpoint_topic(
        self: &Arc<Self>,
        seen: Option<Layout>,
    ) -> Result<(), topics::Error> {
        let topic = &self.checkpoints;
        let admin = &self.admin;
        if admin.layouts(std::slice::from_ref(topic)).await?.is_empty() {
            let replication = self.kafka.config().replication_factor;
            let brokers = admin.brokers_for_replicas(replication).await?;
            let count = self.first_layout(seen.as_ref()).count;
            let spec =
                TopicSpec::checkpoints(topic.clone(), count).for_cluster(replication, brokers);
            info!(%topic, partitions = spec.partitions, "making the checkpoint topic");
            admin.create(&[spec]).await?;
        }
        let shared = Arc::clone(self);
        let layout = tokio::task::spawn_blocking(move || shared.ensure_layout(seen.as_ref()));
        let layout = passed_on(layout.await);
        let layout = layout.map_err(|error| match error {
            checkpoint::Error::Topics(error) => error,
            error @ checkpoint::Error::Unreadable { .. } => topics::Error::Config {
                cause: error.to_string(),
            },
        })?;
        let found = admin.layouts(std::slice::from_ref(topic)).await?;
        let partitions = found.get(topic).map(TopicState::partition_count);
        if partitions.is_some_and(|partitions| partitions < layout.count) {
            info!(%topic, ?partitions, shards = layout.count, "giving each shard its partition of the checkpoint topic");
            admin.add_partitions(topic, layout.count).await?;
        }
        if layout.count != self.shards.count {
            warn!(
                stored = layout.count,
                configured = self.shards.count,
                "the stored shard count holds; to change it: lockgate shards resize"
            );
        }
        Ok(())
    }
}
