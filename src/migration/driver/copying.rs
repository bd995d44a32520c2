//! Copies the newest state to Kafka, beside the driver: Kafka out of reach holds nothing up. What is in the way there is kept,
//! and the driver is told of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::stored::Reading;
use crate::migration::step::State;
use crate::migration::store::{Copy, Error, Store};

/// Copies the newest state to Kafka, until stopped. It never holds the driver up.
pub(super) async fn copy(
    mut copy: Copy,
    mut store: Store,
    mut newest: watch::Receiver<Option<Arc<State>>>,
    readings: mpsc::Sender<Reading>,
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
            match copy.write(&mut store, &state).await {
                Ok(_) => break,
                // Where it is busy it is told at the next turn.
                Err(Error::Further(found)) => drop(readings.try_send(Ok(Some(*found)))),
                Err(error) => {
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
