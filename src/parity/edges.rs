//! The two stores and the routes, as a comparison needs them.

use std::sync::Arc;
use std::time::Duration;

use crate::placement::{Partition, Topic};
use crate::routing::Routes;
use crate::streams::Redis;
use crate::tasks::passed_on;
use crate::topics::{self, Admin, Bounds, Kafka};

/// How long Kafka may take for one step before it counts as out of reach.
pub(super) const KAFKA_TIMEOUT: Duration = Duration::from_secs(15);

/// Clients of both stores, and the routes between them.
pub struct Edges {
    pub migration: String,
    pub routes: Arc<Routes>,
    pub redis: Redis,
    pub kafka: Kafka,
    pub admin: Admin,
}

impl Edges {
    /// Where each partition of the topic begins and ends now; none for a topic that does not exist.
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
            topics::bounds(&edges.kafka, &topic, &partitions, KAFKA_TIMEOUT)
        });
        passed_on(asked.await)
    }
}
