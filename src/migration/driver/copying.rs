//! Copies the newest state to Kafka, beside the driver: Kafka out of reach holds nothing up but a promotion, which is not to
//! be known to Redis alone. What is in the way there is kept, and the driver is told of it, and of how far the copy is.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::stored::Reading;
use crate::migration::step::{Acted, State};
use crate::migration::store::{Copy, Error, Store};

/// How long a look at the copy waits for it.
const COPIED_WITHIN: Duration = Duration::from_secs(2);

/// How far the copy is, as this process wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// The epoch and version that were written last; `None`: none yet.
    pub last: Option<(u64, u64)>,
    /// Why what is newer could not be.
    pub error: Option<String>,
}

/// Waits a moment until a state of this epoch or a later one is copied.
pub(super) async fn reaches(mut copied: watch::Receiver<Copied>, epoch: u64) -> Acted {
    let there = |copied: &Copied| copied.last.is_some_and(|(last, _)| last >= epoch);
    let waited = tokio::time::timeout(COPIED_WITHIN, copied.wait_for(there)).await;
    if waited.is_ok_and(|found| found.is_ok()) {
        return Acted::Done;
    }
    let why = copied.borrow().error.clone();
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    Acted::NotYet(format!("the copy of the state in Kafka to be written{why}"))
}

/// Copies the newest state to Kafka, until stopped. It never holds the driver up.
pub(super) async fn copy(
    mut copy: Copy,
    mut store: Store,
    mut newest: watch::Receiver<Option<Arc<State>>>,
    readings: mpsc::Sender<Reading>,
    copied: watch::Sender<Copied>,
    stop: CancellationToken,
) {
    const PAUSE: Duration = Duration::from_secs(1);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = newest.changed() => if changed.is_err() { return },
        }
        loop {
            let state = newest.borrow_and_update().clone();
            let Some(state) = state else { break };
            let error = match copy.write(&mut store, &state).await {
                Ok(wrote) => {
                    copied.send_modify(|copied| {
                        copied.error = None;
                        copied.last = copied.last.max(wrote.then_some(state.rank()));
                    });
                    break;
                }
                Err(error) => error,
            };
            copied.send_modify(|copied| copied.error = Some(error.to_string()));
            match error {
                // Where it is busy it is told at the next turn.
                Error::Further(found) => drop(readings.try_send(Ok(Some(*found)))),
                error => {
                    warn!(%error, "the copy of the driver's state was not written; trying again")
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}
