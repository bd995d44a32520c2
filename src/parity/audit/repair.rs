//! The daemon's side of a repair: missing entries are produced again by the owner of their shard.
//!
//! ```text
//!   admission to the shard's term ─▶ look: is it missing? ─▶ journal: asked ─▶ amendment ─▶ committed ─▶ journal: done
//! ```
//!
//! The order makes it idempotent: whatever an earlier repair did was decided before the term that admits this one began, so
//! the look sees it; and while this one is under way, no other is, because one task does them all. Nothing is undone when
//! whoever asked goes away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::checkpoint::{Admission, Amendment};
use crate::entry::{Database, StreamRef};
use crate::placement::{Shard, Topic};

use super::super::class::Class;
use super::super::error::Error;
use super::super::look::{Looked, Named, Span, Strangers, View, Wanted, logs_now, look};
use super::super::repair::Target;
use super::super::store::{Batch, Repaired};
use super::{Auditor, Seen, now_ms};

/// How long a shard may take to admit: it may be between two terms.
const ADMISSION: Duration = Duration::from_secs(10);
/// Amendments handed over at once.
const AT_ONCE: usize = 16;

/// What became of the entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Produced again.
    pub repaired: u64,
    /// Found in Kafka.
    pub already_there: u64,
    pub refused: Vec<Refused>,
}

/// An entry that was not produced again, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    #[serde(flatten)]
    pub target: Target,
    pub why: String,
}

/// An order of repair.
#[derive(Debug)]
pub struct Order {
    pub entries: Vec<Target>,
    pub reason: String,
    pub reply: oneshot::Sender<Report>,
}

/// An entry on its way through a repair.
struct Case {
    target: Target,
    seen: Seen,
    way_in: mpsc::Sender<Amendment>,
}

impl Report {
    fn refuse(&mut self, target: Target, why: impl Into<String>) {
        let why = why.into();
        self.refused.push(Refused { target, why });
    }
}

impl Auditor {
    /// Serves an order to its end.
    pub(super) async fn repair(&mut self, order: Order, stop: &CancellationToken) {
        let mut report = Report::default();
        let asked = order.entries.len();
        if let Err(error) = self.holding.follow(&self.board.owned_shards()).await {
            tracing::warn!(%error, "the stores of owned shards cannot be opened for a repair");
        }
        let cases = self.admit(order.entries, &mut report).await;
        if let Err((cases, error)) = self
            .repair_missing(cases, &order.reason, &mut report, stop)
            .await
        {
            for case in cases {
                report.refuse(case.target, error.to_string());
            }
        }
        info!(
            asked,
            repaired = report.repaired,
            already_there = report.already_there,
            refused = report.refused.len(),
            reason = order.reason,
            "repair"
        );
        // Whoever asked may have gone; what was done is in the journal.
        let _ = order.reply.send(report);
    }

    /// Finds each entry's stream and a way into its shard's present term.
    async fn admit(&self, targets: Vec<Target>, report: &mut Report) -> Vec<Case> {
        let mut ways: BTreeMap<StreamRef, Option<(mpsc::Sender<Amendment>, Seen)>> =
            BTreeMap::new();
        let mut known = BTreeSet::new();
        let mut cases = Vec::new();
        for target in targets {
            let found = self.board.find(Database(target.database), &target.stream);
            let Some(stream) = found else {
                report.refuse(
                    target,
                    "this instance owns no such stream; ask the one that does",
                );
                continue;
            };
            if !known.insert((stream.clone(), target.id)) {
                continue;
            }
            if !ways.contains_key(&stream) {
                let way_in = self.way_in(&stream).await;
                // Read after the admission: what this term has committed is the least that the look has to know of.
                let seen = self.seen().into_iter().find(|seen| seen.stream == stream);
                ways.insert(stream.clone(), way_in.zip(seen));
            }
            match ways.get(&stream).cloned().flatten() {
                Some((way_in, seen)) => cases.push(Case {
                    target,
                    seen,
                    way_in,
                }),
                None => report.refuse(
                    target,
                    "the stream's shard does not run here just now, or is not audited yet; ask again",
                ),
            }
        }
        cases
    }

    async fn way_in(&self, stream: &StreamRef) -> Option<mpsc::Sender<Amendment>> {
        let (reply, answer) = oneshot::channel();
        let stream = stream.clone();
        self.admissions
            .send(Admission { stream, reply })
            .await
            .ok()?;
        tokio::time::timeout(ADMISSION, answer).await.ok()?.ok()
    }

    /// On an error the cases that nothing was done about are given back.
    async fn repair_missing(
        &mut self,
        cases: Vec<Case>,
        reason: &str,
        report: &mut Report,
        stop: &CancellationToken,
    ) -> Result<(), (Vec<Case>, Error)> {
        let looked = match self.look_at(&cases, stop).await {
            Ok(looked) => looked,
            Err(error) => return Err((cases, error)),
        };
        let mut missing = Vec::new();
        for (case, looked) in cases.into_iter().zip(looked) {
            if looked.counts.of(Class::Missing) > 0 {
                missing.push(case);
            } else if looked.counts.kafka_records > 0 {
                report.already_there += 1;
            } else {
                report.refuse(case.target, why_not(&looked));
            }
        }
        if let Err(error) = self.journal(&missing, reason, "asked").await {
            return Err((missing, error));
        }
        let mut left = missing.into_iter();
        loop {
            let some: Vec<Case> = left.by_ref().take(AT_ONCE).collect();
            if some.is_empty() {
                return Ok(());
            }
            let done = self.produce(some, report).await;
            if let Err(error) = self.journal(&done, reason, "produced").await {
                // They are in Kafka; the journal says that they were asked for.
                tracing::warn!(%error, "the end of a repair could not be journaled");
            }
        }
    }

    async fn look_at(
        &self,
        cases: &[Case],
        stop: &CancellationToken,
    ) -> Result<Vec<Looked>, Error> {
        let Some(first) = cases.iter().map(|case| case.target.id).min() else {
            return Ok(Vec::new());
        };
        let topics: BTreeSet<(Topic, bool)> =
            cases.iter().flat_map(|case| case.seen.topics()).collect();
        let topics: Vec<(Topic, bool)> = topics.into_iter().collect();
        let logs = logs_now(&self.edges, &topics, Span::Since(first)).await?;
        let wanted: Vec<Wanted> = cases
            .iter()
            .map(|case| Wanted {
                stream: case.seen.stream.clone(),
                binding: case.seen.binding.clone(),
                after: case.target.id.previous().unwrap_or_default(),
                through: case.target.id,
                entries: 2,
                committed: case.seen.committed,
                generation: case.seen.generation,
                shared_history: false,
                remade: case.seen.remade,
            })
            .collect();
        let looked = look(
            &self.edges,
            View {
                seed: self.seed,
                logs: &logs,
                strangers: &Strangers::new(),
                lots: u64::MAX,
                named: Named::All,
            },
            &wanted,
            &self.pace,
            stop,
            &mut |_| (),
        )
        .await?;
        looked.ok_or_else(|| Error::Usage("the daemon is stopping".to_owned()))
    }

    /// Writes down what is about to be done, or what was, in the shard's own partition.
    async fn journal(&mut self, cases: &[Case], reason: &str, outcome: &str) -> Result<(), Error> {
        let mut batches: BTreeMap<Shard, Batch> = BTreeMap::new();
        for case in cases {
            let repaired = Repaired {
                id: case.target.id,
                reason: reason.to_owned(),
                at_ms: now_ms(),
                outcome: outcome.to_owned(),
            };
            let batch = batches.entry(case.seen.shard).or_default();
            batch.repaired(&case.seen.stream, &repaired);
        }
        for (shard, batch) in batches {
            self.holding.note(shard, batch).await?;
        }
        Ok(())
    }

    /// Hands the entries over and waits for each; gives those back that are in Kafka now.
    async fn produce(&self, cases: Vec<Case>, report: &mut Report) -> Vec<Case> {
        let mut waiting = Vec::with_capacity(cases.len());
        for case in cases {
            match self.hand_over(&case).await {
                Ok(done) => waiting.push((case, done)),
                Err(why) => report.refuse(case.target, why),
            }
        }
        let mut produced = Vec::with_capacity(waiting.len());
        for (case, done) in waiting {
            match done.await {
                Ok(Ok(())) => {
                    report.repaired += 1;
                    produced.push(case);
                }
                Ok(Err(why)) => report.refuse(case.target, why),
                Err(_dropped) => report.refuse(
                    case.target,
                    "the shard began anew meanwhile; ask again, what is there already is found",
                ),
            }
        }
        produced
    }

    async fn hand_over(
        &self,
        case: &Case,
    ) -> Result<oneshot::Receiver<Result<(), String>>, String> {
        let (stream, id) = (&case.seen.stream, case.target.id);
        let connection = self.edges.redis.connect(stream.database).await;
        let mut connection = connection.map_err(|error| error.to_string())?;
        let read = connection.range(&stream.name, id, id, 1).await;
        let entry = read.map_err(|error| error.to_string())?.pop();
        let entry = entry.ok_or("Redis no longer has the entry")?;
        let (done, waiting) = oneshot::channel();
        let amendment = Amendment {
            stream: stream.clone(),
            entry,
            generation: case.seen.generation,
            done,
        };
        let sent = case.way_in.send(amendment).await;
        sent.map_err(|_closed| "the shard began anew meanwhile; ask again".to_owned())?;
        Ok(waiting)
    }
}

fn why_not(looked: &Looked) -> String {
    if looked.counts.of(Class::Pending) > 0 {
        return "it is not mirrored yet: it lies behind the checkpoint".to_owned();
    }
    if looked.counts.of(Class::Unverifiable) > 0 {
        return "Kafka no longer holds the part of the log where it would be, so that it may have been there".to_owned();
    }
    "Redis does not have the entry".to_owned()
}
