//! How many members the application's Kafka groups have, for people alone.
//!
//! Every broker is asked which groups it coordinates, so it takes a while where one is away: it is done seldom and by a task of
//! its own, and holds up no lag. A group that its coordinator does not know, as it says of groups of the newer protocol too, is
//! left out: not known is not 0.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tracing::debug;

use super::steers;
use crate::config;
use crate::migration::driver::Handle;
use crate::topics::{self, Group, Kafka};

const EVERY: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(5);

/// By group.
pub type Members = BTreeMap<String, u64>;

pub struct Counting {
    groups: Vec<Group>,
    found: watch::Sender<Members>,
}

impl Counting {
    pub fn new(
        groups: &[config::migration::Group],
        kafka: &Kafka,
    ) -> Result<(Self, watch::Receiver<Members>), topics::Error> {
        let (found, seen) = watch::channel(Members::new());
        let groups = groups.iter();
        let groups = groups.map(|group| Group::new(kafka, &group.name, TIMEOUT));
        let groups = groups.collect::<Result<_, _>>()?;
        Ok((Self { groups, found }, seen))
    }

    /// Counts for as long as this instance steers; ends with the future.
    pub async fn run(mut self, handle: Handle) {
        loop {
            let mut found = Members::new();
            if steers(&handle) {
                for group in std::mem::take(&mut self.groups) {
                    let (group, members) = count(group).await;
                    found.extend(members.map(|members| (group.name().to_owned(), members)));
                    self.groups.push(group);
                }
            }
            self.found.send_replace(found);
            tokio::time::sleep(EVERY).await;
        }
    }
}

async fn count(group: Group) -> (Group, Option<u64>) {
    let counted = tokio::task::spawn_blocking(move || {
        let members = group.members();
        (group, members)
    });
    let (group, members) = crate::tasks::passed_on(counted.await);
    let members = members.unwrap_or_else(|error| {
        debug!(%error, group = group.name(), "a group's members cannot be counted");
        None
    });
    (group, members)
}
