//! How many entries stand behind those that an audit compares, and how many had been added when the last of these was the last.
//!
//! Redis counts what was ever added to a stream, and nothing else; what stands behind an id is counted by reading it. Each read
//! is one atomic look with Redis's count beside it, and the last of them brings less than it asked for, so that nothing stands
//! behind it at that instant:
//!
//! ```text
//!   added at `after` = entries-added of the last look − entries read on the way
//! ```
//!
//! What is removed meanwhile, or later, behind what was read of it makes no difference to this number, so it is missing from
//! then on, and counted by whoever reads on from there (gaps.rs). Nor is the number ever too great: each entry read is one that
//! was added behind `after`.

use super::super::pace::Pace;
use super::super::shard::TermEnd;
use super::super::shared::Shared;
use super::super::slot::Slot;
use super::super::source::Source;
use crate::entry::EntryId;
use crate::streams::{Error, Inspected};

/// `None`: Redis does not count, or the stream has gone meanwhile.
pub async fn added_at(
    shared: &Shared,
    slot: &Slot,
    source: &mut Source,
    after: EntryId,
) -> Result<Option<u64>, TermEnd> {
    let bound = shared.shards.buffer_bytes / 2;
    source.connection.bound_entries(bound);
    let (mut pace, mut after, mut behind) = (Pace::new(), after, 0);
    loop {
        let fit = (bound / pace.entry_bytes().max(1)).max(1);
        let asked = pace.most().min(fit);
        let look = source.connection.stocktake(&slot.stream.name, after, asked);
        match look.await {
            Ok((Inspected::Stream(state), entries)) => {
                let Some(added) = state.entries_added else {
                    return Ok(None);
                };
                pace.brought(&entries, asked);
                behind += entries.len() as u64;
                after = entries.last().map_or(after, |last| last.id);
                if entries.len() < asked {
                    source.keep_history().await?;
                    return Ok(added.checked_sub(behind));
                }
            }
            Ok((Inspected::Absent | Inspected::NotAStream(_), _)) => return Ok(None),
            Err(Error::Oversized { entries, .. }) => {
                pace.broken_off(asked, entries);
                source.connect_again(shared).await?;
                source.connection.bound_entries(bound);
            }
            Err(error) => return Err(TermEnd::Redis(error)),
        }
    }
}
