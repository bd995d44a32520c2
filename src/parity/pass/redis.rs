//! The Redis side of a pass: each stream once, page by page, cut into windows.
//!
//! The next page is fetched while the last one is digested. Nothing but the page in hand is in memory.

use std::ops::ControlFlow;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::entry::{Entry, EntryId, StreamRef};
use crate::streams::{self, Redis};

use super::super::error::Error;
use super::super::pace::{CHUNK, Pace};
use super::super::sides::RedisSide;
use super::{Pass, StreamPass, WINDOW_ENTRIES, Window};

/// Pages on their way.
const AHEAD: usize = 2;

impl Pass {
    /// Reads what is left of Redis; `each` is called after every page and may break off there. `false`: not all is read.
    ///
    /// # Errors
    /// What was read before the error is in the pass.
    pub async fn read_redis(
        &mut self,
        redis: &Redis,
        pace: &Pace,
        stop: &CancellationToken,
        each: &mut (dyn FnMut(&Self) -> ControlFlow<()> + Send),
    ) -> Result<bool, Error> {
        let mut side = RedisSide::new(self.seed);
        for at in 0..self.streams.len() {
            if self.streams[at].is_read() {
                continue;
            }
            let mut pages = Pages::of(redis, &self.streams[at]);
            loop {
                let began = Instant::now();
                let page = tokio::select! {
                    () = stop.cancelled() => return Ok(false),
                    page = pages.next() => page?,
                };
                let Some(page) = page else { break };
                let amount = u32::try_from(page.len()).unwrap_or(u32::MAX);
                let lots = self.lots;
                let stream = &mut self.streams[at];
                for entry in &page {
                    stream.digest(entry, &mut side, lots);
                }
                let goes_on = each(self);
                pace.keep(amount, began, stop).await;
                if goes_on.is_break() {
                    return Ok(false);
                }
            }
            self.streams[at].close();
        }
        Ok(true)
    }
}

impl StreamPass {
    fn digest(&mut self, entry: &Entry, side: &mut RedisSide, lots: u64) {
        if self.cuts.is_empty() {
            let full = self.read > 0 && self.read.is_multiple_of(WINDOW_ENTRIES);
            if self.windows.is_empty() || full {
                self.windows.push(Window::default());
            }
        } else {
            self.cut_before(entry.id);
        }
        self.read += 1;
        self.cursor = entry.id.next().unwrap_or(EntryId::MAX);
        let Some(window) = self.windows.last_mut() else {
            return;
        };
        window.through = window.through.max(entry.id);
        if lots == u64::MAX || side.lot(self.stream.name.as_bytes(), entry.id) <= lots {
            let binding = self.binding.as_ref().expect("bound before it is read");
            let (hash, partition) = side.hash(&self.stream, binding, entry);
            window.redis.add(hash);
            window.letters += u64::from(partition.is_none());
            if let Some(partition) = partition.filter(|_| !self.cuts.is_empty()) {
                self.first.entry(partition.0).or_default();
            }
        } else {
            self.passed_over += 1;
        }
    }

    /// Begins the windows that were cut before this id, and the one that holds it.
    pub(super) fn cut_before(&mut self, id: EntryId) {
        while let Some(&through) = self.cuts.get(self.windows.len())
            && self.windows.last().is_none_or(|window| window.through < id)
        {
            self.windows.push(Window {
                through,
                ..Window::default()
            });
        }
    }

    /// All is read: the last window reaches to the end of the scope.
    pub(super) fn close(&mut self) {
        self.cut_before(EntryId::MAX);
        if self.windows.is_empty() {
            self.windows.push(Window::default());
        }
        if let Some(window) = self.windows.last_mut() {
            window.through = self.scope.through;
        }
    }
}

/// The pages of one stream, fetched by a task of their own.
struct Pages(mpsc::Receiver<Result<Vec<Entry>, streams::Error>>);

impl Pages {
    fn of(redis: &Redis, pass: &StreamPass) -> Self {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let (redis, stream) = (redis.clone(), pass.stream.clone());
        let (from, to) = (pass.cursor, pass.scope.through);
        tokio::spawn(async move {
            if from <= to
                && let Err(error) = fetch(&redis, &stream, (from, to), &sender).await
            {
                // A receiver that is gone wants no error either.
                let _ = sender.send(Err(error)).await;
            }
        });
        Self(receiver)
    }

    async fn next(&mut self) -> Result<Option<Vec<Entry>>, Error> {
        Ok(self.0.recv().await.transpose()?)
    }
}

async fn fetch(
    redis: &Redis,
    stream: &StreamRef,
    range: (EntryId, EntryId),
    pages: &mpsc::Sender<Result<Vec<Entry>, streams::Error>>,
) -> Result<(), streams::Error> {
    let mut connection = None;
    let mut found = streams::Pages::new(redis, stream, &mut connection, range, CHUNK as usize);
    while let Some(page) = found.next().await? {
        if pages.send(Ok(page)).await.is_err() {
            break;
        }
    }
    Ok(())
}
