//! What is shown of a transaction once it is durable, and of the client at any time.
//!
//! Counts move behind the commit alone, so that nothing is counted that a crash takes back.

use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::super::shared::{Shared, now_ms};
use super::{Pipeline, Touched};
use crate::metrics::Produced;
use crate::status::Reason;

/// A quota that has held nothing back for so long is news when it does again.
const QUOTA_OVER: Duration = Duration::from_secs(60);

impl Pipeline {
    pub(super) fn count_produced(&mut self) {
        let now = self.writer.statistics();
        let before = std::mem::replace(&mut self.counted, now);
        self.shared.metrics.produced(Produced {
            acked: now.acked.saturating_sub(before.acked),
            errors: now.errors.saturating_sub(before.errors),
            retries: now.retries.saturating_sub(before.retries),
        });
        // The client tells the longest pause of each second once.
        if !now.throttle.is_zero() {
            self.shared.board.kafka_throttles(self.shard, now.throttle);
            if self.quota_at.is_none_or(|at| at.elapsed() > QUOTA_OVER) {
                let reason = Reason::KafkaQuota;
                warn!(
                    shard = %self.shard, reason = reason.as_str(), runbook = reason.runbook(), pause_ms = now.throttle.as_millis(),
                    "a broker's quota holds the producer back; raise the quota of Lockgate's user or client id, or hold the mirror below it: lockgate throttle"
                );
            }
            self.quota_at = Some(Instant::now());
        }
    }

    pub(super) fn committed(&mut self, began: Instant) {
        let open = std::mem::take(&mut self.open);
        let now_ms = now_ms();
        let step = open.times_ms.len().div_ceil(200).max(1);
        for &time_ms in open.times_ms.iter().step_by(step) {
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of an age")]
            let seconds = (now_ms - time_ms).max(0) as f64 / 1_000.0;
            self.shared.metrics.end_to_end.observe(seconds);
        }
        self.shared
            .metrics
            .transaction
            .observe(began.elapsed().as_secs_f64());
        debug!(shard = %self.shard, entries = open.entries, streams = open.touched.len(), took_ms = began.elapsed().as_millis(), "committed");
        for touched in open.touched.values() {
            self.shared.show_committed(touched);
        }
        if let Some(careful) = &mut self.careful {
            let streams = open.touched.values();
            let streams = streams.map(|touched| (&touched.slot.stream, touched.position.at()));
            careful.committed(open.entries, streams);
        }
        self.careful = self.careful.take().filter(|careful| !careful.is_over());
        for done in open.amended {
            // Who asked may have gone; the record stands.
            let _ = done.send(Ok(()));
        }
        self.shared.board.shard_committed(self.shard);
        self.shared.board.edge_up("kafka");
    }
}

impl Shared {
    fn show_committed(&self, touched: &Touched) {
        let slot = &touched.slot;
        for (version, bucket) in &touched.strays {
            if self.board.stray(*version, &slot.stream, *bucket) {
                warn!(
                    stream = %slot.stream.name, database = %slot.stream.database, bucket, version,
                    "a stray: an application wrote to Redis what the flags give to Kafka; its order is not kept"
                );
            }
        }
        if let Some((version, bucket)) = touched.held {
            self.board.held(version, &slot.stream, bucket);
        }
        let letters: u64 = touched.dead_letters.values().sum();
        let missing: u64 = touched.gaps.iter().map(|gap| gap.entries).sum();
        let position = &touched.position;
        self.board.route(slot.binding.route().name(), |route| {
            route.mirrored_entries += touched.entries - letters;
            route.mirrored_bytes += touched.bytes;
            route.strays += touched.strays.len() as u64;
            route.held_writes += touched.held_writes;
            touched
                .gaps
                .iter()
                .for_each(|gap| route.count_gap(gap.cause, gap.entries));
            touched
                .dead_letters
                .iter()
                .for_each(|(reason, count)| route.count_dead_letters(*reason, *count));
        });
        self.board.stream(&slot.stream, |stream| {
            stream.mirrored_entries += touched.entries - letters;
            stream.dead_letters += letters;
            stream.gap_entries += missing;
            stream.checkpoint = Some(position.id);
            stream.generation = position.generation;
            stream.added_at_checkpoint = position.entries_added;
            let seen = stream.seen.map(|seen| seen.entries_added);
            stream.oldest_unmirrored_ms = match (seen, position.entries_added) {
                (Some(seen), Some(added)) if seen <= added => None,
                // Without Redis's count there is no telling whether anything is left.
                (_, None) => None,
                // Not an exact age but a bound: what comes next is younger than the last that went.
                _ => position
                    .id
                    .plausible_time_ms(now_ms())
                    .or(stream.oldest_unmirrored_ms),
            };
        });
    }
}
