//! Reads both stores whole: Redis by XRANGE, Kafka as a read_committed consumer of every partition.

use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::judge::{Judge, Record, Verdict};
use super::workload::STREAMS;
use crate::entry::{Database, EntryId, StreamName};
use crate::placement::{Partition, Topic};
use crate::streams::Redis;
use crate::topics::{From, Kafka, read_partitions};

const CHUNK: usize = 2_000;
const TIMEOUT: Duration = Duration::from_secs(20);

/// `added`: as many entries as the producer was told are written must be in Redis.
pub async fn compare(redis: &Redis, kafka: Kafka, added: u64) -> anyhow::Result<Verdict> {
    let judge = entries(redis).await?;
    let verdict = tokio::task::spawn_blocking(move || records(&kafka, judge))
        .await
        .context("reading Kafka")??;
    ensure!(
        verdict.entries == added,
        "Redis holds {} entries, and confirmed {added}",
        verdict.entries
    );
    Ok(verdict)
}

async fn entries(redis: &Redis) -> anyhow::Result<Judge> {
    let mut judge = Judge::default();
    let mut connection = redis.connect(Database(1)).await?;
    for number in 0..u32::from(STREAMS) {
        let stream = StreamName::from(format!("msg:stream:{number}").as_str());
        let mut from = Some(EntryId::ZERO);
        while let Some(first) = from {
            let chunk = connection
                .range(&stream, first, EntryId::MAX, CHUNK)
                .await?;
            chunk.iter().for_each(|entry| judge.entry(number, entry));
            from = chunk
                .last()
                .and_then(|last| last.id.next())
                .filter(|_| chunk.len() == CHUNK);
        }
    }
    Ok(judge)
}

fn records(kafka: &Kafka, mut judge: Judge) -> anyhow::Result<Verdict> {
    let starts: Vec<_> = (0..i32::from(STREAMS))
        .map(|partition| (Partition(partition), From::Beginning))
        .collect();
    read_partitions(
        kafka,
        &Topic::from("messages.v1"),
        &starts,
        TIMEOUT,
        |record| {
            let id = record
                .header("redis-id")
                .and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
            judge.record(&Record {
                partition: record.partition.0,
                stream: record.header("redis-stream"),
                id,
                key: record.key.unwrap_or_default(),
                value: record.value.unwrap_or_default(),
                correlation_id: record.header("correlation-id").unwrap_or_default(),
                idempotency_key: record.header("idempotency-key").unwrap_or_default(),
            });
            ControlFlow::Continue(())
        },
    )?;
    Ok(judge.finish())
}
