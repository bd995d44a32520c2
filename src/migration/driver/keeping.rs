//! Keeps in Redis what this instance hears of applications, beside the driver: as soon as it is heard, whoever steers.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::now_ms;
use crate::migration::measure::Followers;
use crate::migration::store::Store;

/// How often names are struck out whose keys have ended.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// Keeps what is heard, until stopped; while Redis does not answer it is tried again.
pub(super) async fn keep(followers: Followers, mut store: Store, stop: CancellationToken) {
    const PAUSE: Duration = Duration::from_millis(500);
    let mut tidying = tokio::time::interval(TIDY_EVERY);
    let mut warned = false;
    loop {
        let kept = tokio::select! {
            () = stop.cancelled() => return,
            _ = tidying.tick() => store.forget_gone().await,
            () = followers.unkept() => keep_some(&followers, &mut store).await,
        };
        if let Err(error) = &kept
            && !warned
        {
            warn!(%error, "what is heard of applications cannot be kept in Redis");
        }
        warned = kept.is_err();
        if warned {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}

async fn keep_some(
    followers: &Followers,
    store: &mut Store,
) -> Result<(), crate::migration::store::Error> {
    let keeping = followers.to_keep(now_ms());
    if !keeping.batch.is_empty() {
        store.keep_heard(&keeping.batch).await?;
    }
    followers.keep(&keeping);
    Ok(())
}
