//! How many replicas in sync Kafka wants of each routed topic before it takes a record, read off the topics' settings.
//!
//! Settings change seldom and take a question of their own, so they are asked for by a task of its own now and then: whoever may
//! not read them, or waits for an answer, holds up nothing else. What is not known is left out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{routed, steers};
use crate::migration::driver::Handle;
use crate::migration::measure::Measurements;
use crate::placement::Topic;
use crate::status::Board;
use crate::topics::{self, Admin, Kafka, Setting};

const EVERY: Duration = Duration::from_secs(10);
const SETTING: &str = "min.insync.replicas";

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
        loop {
            if steers(&handle)
                && let Ok(topics) = routed(&self.measurements, &self.board.snapshot(), |_| true)
            {
                self.ask(&topics).await;
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// One topic that is missing fails the question for all, so only those are asked about that exist.
    async fn ask(&self, topics: &[Topic]) {
        let asked = self.admin.describe(topics).await;
        let found = asked.unwrap_or_default().into_iter();
        let known = found.filter_map(|(topic, state)| {
            let wanted = minimum(state.settings.get(SETTING)?)?;
            Some((topic, wanted))
        });
        self.found.send_replace(known.collect());
    }
}

fn minimum(setting: &Setting) -> Option<usize> {
    setting.value.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_is_hidden_or_no_number_is_not_known() {
        let said = |value: Option<&str>| {
            minimum(&Setting {
                value: value.map(str::to_owned),
                is_default: true,
            })
        };
        assert_eq!(said(Some("2")), Some(2));
        assert_eq!(said(Some("two")), None);
        assert_eq!(said(None), None);
    }
}
