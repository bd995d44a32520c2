//! Notices that the shards were resized.
//!
//! A resize fences every shard's producer, but a shard with nothing to write would not meet the fence, and would go on
//! believing in a layout that is no more. So each instance looks at the stored layout every few seconds, and a term
//! ends when it is no longer the one that it began with.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::shared::{KAFKA_TIMEOUT, Shared};
use crate::checkpoint::{self, Layout};
use crate::tasks::passed_on;

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
                    Ok(layout) => {
                        self.out.send_if_modified(|seen| {
                            let changed = *seen != layout;
                            *seen = layout;
                            changed
                        });
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
}
