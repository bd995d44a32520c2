//! An amendment in the shard's transaction: a record, or a dead letter, marked as produced again, and no checkpoint.

use super::super::dead_letter::DeadLetter;
use super::super::shared::now_ms;
use super::super::slot::Amended;
use super::records::record_headers;
use super::{Ended, Pipeline};
use crate::topics::{self, Record};

/// Says when a record was produced again, in milliseconds since 1970.
pub const REPAIR: &str = "lockgate-repair";

impl Pipeline {
    /// Puts the entry into the open transaction; whoever asked is told when it is committed.
    pub(super) fn amend(&mut self, amended: Amended) -> Result<(), Box<Ended>> {
        let Amended { slot, amendment } = amended;
        if amendment.done.is_closed() {
            return Ok(());
        }
        self.begin()?;
        // It counts as an entry: a transaction that is refused for it must not be laid to the one entry beside it.
        self.open.entries += 1;
        self.open.bytes += amendment.entry.bytes();
        let entry = &amendment.entry;
        let now_ms = now_ms();
        let timestamp_ms = entry.id.plausible_time_ms(now_ms).unwrap_or(now_ms);
        let mark = now_ms.to_string();
        let tag = self.open.entries as u64;
        let encoded = match self.poison(&slot, (amendment.generation, entry.id)) {
            Some(why) => Err(why),
            None => slot.binding.encode(&slot.stream, entry, &mut self.scratch),
        };
        let sent = match encoded {
            Ok(()) => {
                let mut headers =
                    record_headers(&slot, entry.id, amendment.generation, &self.scratch);
                headers.insert(REPAIR, mark.as_bytes());
                let record = Record {
                    topic: slot.binding.topic(),
                    partition: self.scratch.partition,
                    key: self.scratch.key(),
                    value: Some(&self.scratch.value),
                    headers,
                    timestamp_ms,
                };
                self.writer.send(record, tag)
            }
            Err(why) => {
                let mut letter = DeadLetter::new(&slot, entry, amendment.generation, &why);
                let mut record = letter.record(&slot, timestamp_ms);
                record.headers.insert(REPAIR, mark.as_bytes());
                self.writer.send(record, tag)
            }
        };
        self.settle(amendment.done, sent)?;
        if self.careful_step() {
            self.commit()
        } else {
            Ok(())
        }
    }

    fn settle(
        &mut self,
        done: tokio::sync::oneshot::Sender<Result<(), String>>,
        sent: Result<(), topics::Error>,
    ) -> Result<(), Box<Ended>> {
        match sent {
            Ok(()) => self.open.amended.push(done),
            Err(error) if error.is_local() => {
                // Who asked may have gone.
                let _ = done.send(Err(error.to_string()));
            }
            Err(error) => return Err(Box::new(self.failed(error))),
        }
        Ok(())
    }
}
