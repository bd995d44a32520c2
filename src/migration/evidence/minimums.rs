//! How many replicas in sync Kafka wants of each topic before it takes a record, read off the topics' settings.
//!
//! Settings change seldom and take a question of their own, so they are asked for by a task of its own now and then: whoever may
//! not read them, or waits for an answer, holds up nothing else. What is not known is left out. Those of other topics than the
//! routed ones are for people alone and are asked for more seldom; a cluster of very many topics is spared the question.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::steers;
use crate::migration::driver::Handle;
use crate::migration::measure::{Measurements, routed};
use crate::placement::Topic;
use crate::status::Board;
use crate::topics::{self, Admin, Kafka};

const EVERY: Duration = Duration::from_secs(10);
/// Topics that are not routed are asked for every so many times, up to so many of them.
const OTHERS_EVERY: u32 = 6;
const OTHERS: usize = 1_000;

/// By topic; a topic that is not here is one whose setting is not known.
pub type Minimums = BTreeMap<Topic, usize>;

pub struct Asking {
    admin: Admin,
    measurements: Measurements,
    board: Arc<Board>,
    found: watch::Sender<Minimums>,
}

impl Asking {
    pub fn new(
        kafka: &Kafka,
        measurements: Measurements,
        board: Arc<Board>,
    ) -> Result<(Self, watch::Receiver<Minimums>), topics::Error> {
        let (found, seen) = watch::channel(Minimums::new());
        let admin = Admin::new(kafka)?;
        let asking = Self {
            admin,
            measurements,
            board,
            found,
        };
        Ok((asking, seen))
    }

    /// Asks for as long as this instance steers; ends with the future.
    pub async fn run(self, handle: Handle) {
        let (mut others, mut turn) = (Minimums::new(), 0_u32);
        loop {
            if steers(&handle)
                && let Ok(topics) = routed(&self.measurements, &self.board.snapshot(), |_| true)
            {
                let known = self.ask(&topics).await;
                if turn.is_multiple_of(OTHERS_EVERY) {
                    others = self.others(&topics).await;
                }
                turn = turn.wrapping_add(1);
                let all = others.clone().into_iter().chain(known);
                self.found.send_replace(all.collect());
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// By itself, so that whoever may not ask about these still learns of the routed ones.
    async fn others(&self, routed: &[Topic]) -> Minimums {
        let Ok(cluster) = self.admin.cluster().await else {
            return Minimums::new();
        };
        let others = cluster.topics.into_keys();
        let others: Vec<Topic> = others.filter(|topic| !routed.contains(topic)).collect();
        if others.len() > OTHERS {
            return Minimums::new();
        }
        self.ask(&others).await
    }

    /// One topic that is missing fails the question for all, so only those are asked about that exist.
    async fn ask(&self, topics: &[Topic]) -> Minimums {
        let asked = self.admin.describe(topics).await;
        let found = asked.unwrap_or_default().into_iter();
        let known = found.filter_map(|(topic, state)| Some((topic, state.wanted_in_sync()?)));
        known.collect()
    }
}
