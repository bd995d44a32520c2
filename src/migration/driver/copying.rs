//! Copies the newest state to Kafka, beside the driver: Kafka out of reach holds nothing up.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::migration::step::State;
use crate::migration::store::{Copy, Store};

/// Copies the newest state to Kafka, until stopped. It never holds the driver up.
pub(super) async fn copy(
    mut copy: Copy,
    mut store: Store,
    mut newest: watch::Receiver<Option<Arc<State>>>,
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
