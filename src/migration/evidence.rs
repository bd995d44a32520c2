//! Measures what lies outside this process: Kafka's groups and replicas, and what a Prometheus knows.
//!
//! ```text
//!   Kafka: committed offsets, log ends, replicas ──┐
//!   Prometheus: one query for each measure ────────┴──▶ samples, dated when they were asked for
//! ```
//! Only the instance that steers asks these; at the groups in Redis each looks for itself, for people alone. Whatever cannot be asked, or gives no single number, becomes a sample that says why:
//! nothing is guessed, and an old answer is never given a new date.

mod kafka;
mod members;
mod minimums;
mod prometheus;
mod redis;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::driver::{Handle, now_ms};
use crate::config;
use crate::status::Board;
use crate::streams::Redis;
use crate::topics::{self, Kafka};

/// What measuring is made of.
pub struct Parts {
    pub config: config::Migration,
    pub prometheus: config::Prometheus,
    pub kafka: Kafka,
    pub redis: Redis,
    pub board: Arc<Board>,
}

/// The task.
pub struct Gatherer {
    kafka: kafka::Looks,
    minimums: minimums::Asking,
    members: members::Counting,
    prometheus: prometheus::Queries,
    redis: redis::Looks,
    handle: Handle,
    every: Duration,
}

impl Gatherer {
    /// # Errors
    /// A client's configuration.
    pub fn new(parts: Parts, handle: Handle) -> Result<Self, topics::Error> {
        // Twice an evaluation, so that what crosses a threshold is acted on within two of them.
        let every = parts.config.evaluate_every / 2;
        let board = Arc::clone(&parts.board);
        let (minimums, known) =
            minimums::Asking::new(&parts.kafka, handle.measurements.clone(), board)?;
        let (members, counted) = members::Counting::new(&parts.config.groups, &parts.kafka)?;
        let redis = redis::Looks::new(&parts.config, parts.redis, Arc::clone(&parts.board));
        Ok(Self {
            redis,
            prometheus: prometheus::Queries::new(parts.prometheus),
            kafka: kafka::Looks::new(
                parts.config,
                handle.measurements.clone(),
                &parts.kafka,
                parts.board,
                kafka::Seldom {
                    minimums: known,
                    members: counted,
                },
            )?,
            minimums,
            members,
            handle,
            every,
        })
    }

    /// Measures until stopped; Prometheus and Kafka never wait for each other.
    ///
    /// # Errors
    /// None: what cannot be measured is said in its sample.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Infallible> {
        let asking = kafka(self.kafka, self.handle.clone(), self.every);
        let learning = self.minimums.run(self.handle.clone());
        let counting = self.members.run(self.handle.clone());
        let querying = prometheus(self.prometheus, self.handle);
        tokio::select! {
            () = stop.cancelled() => {}
            () = asking => {}
            () = learning => {}
            () = counting => {}
            () = querying => {}
            () = self.redis.run() => {}
        }
        Ok(())
    }
}

async fn kafka(mut looks: kafka::Looks, handle: Handle, every: Duration) {
    loop {
        if steers(&handle) {
            looks.look(&handle).await;
        }
        tokio::time::sleep(every).await;
    }
}

async fn prometheus(queries: prometheus::Queries, handle: Handle) {
    loop {
        if steers(&handle) {
            queries.ask(&handle).await;
        }
        tokio::time::sleep(queries.every()).await;
    }
}

/// Whether this instance steers, as far as its view says.
fn steers(handle: &Handle) -> bool {
    let view = handle.view();
    view.holder.is_none() && view.state.is_some()
}

/// What is answered, and when it was asked for (ms since 1970): an answer that takes long is no younger by it.
async fn dated<T>(asking: impl Future<Output = T>) -> (T, i64) {
    let asked_ms = now_ms();
    (asking.await, asked_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_dated_when_it_was_asked_for() {
        let slow = async {
            let begun = now_ms();
            while now_ms() <= begun {
                tokio::task::yield_now().await;
            }
            begun
        };
        let (begun, asked_ms) = dated(slow).await;
        assert!(asked_ms <= begun, "{asked_ms} is after {begun}");
    }
}
