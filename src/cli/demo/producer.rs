//! The application of the demo: adds messages with XADD, from a thread of its own, at a pace.
//!
//! It speaks to Redis by itself: the Redis edge has no command that writes a user's stream, and is to have none.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::workload::message;

/// The load lasts about so long, so that the kill comes in its middle.
const LASTS: Duration = Duration::from_secs(12);
const BATCH: u64 = 200;

pub struct Producer {
    added: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<u64>>>,
}

impl Producer {
    pub fn start(redis_port: u16, entries: u64) -> Self {
        let (added, stop) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (counter, stopped) = (Arc::clone(&added), Arc::clone(&stop));
        let thread = std::thread::spawn(move || produce(redis_port, entries, &counter, &stopped));
        Self {
            added,
            stop,
            thread: Some(thread),
        }
    }

    pub fn added(&self) -> u64 {
        self.added.load(Ordering::Relaxed)
    }

    /// # Errors
    /// It gave up before it was done. [`finish`](Self::finish) says why.
    pub fn still_well(&self) -> anyhow::Result<()> {
        let over = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
        if over && self.stop.load(Ordering::Relaxed) {
            bail!("the demo's producer lost its Redis");
        }
        Ok(())
    }

    /// Waits for its end; the entries that Redis confirmed.
    pub async fn finish(mut self) -> anyhow::Result<u64> {
        let Some(thread) = self.thread.take() else {
            return Ok(self.added());
        };
        while !thread.is_finished() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        match thread.join() {
            Ok(added) => added.context("the demo's producer"),
            Err(_) => bail!("the demo's producer panicked"),
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn produce(port: u16, entries: u64, added: &AtomicU64, stop: &AtomicBool) -> anyhow::Result<u64> {
    let outcome = add_all(port, entries, added, stop);
    if outcome.is_err() {
        stop.store(true, Ordering::Relaxed);
    }
    outcome
}

fn add_all(port: u16, entries: u64, added: &AtomicU64, stop: &AtomicBool) -> anyhow::Result<u64> {
    let mut redis = Redis::connect(port)?;
    let begin = Instant::now();
    let mut n = 0;
    while n < entries && !stop.load(Ordering::Relaxed) {
        let due = begin.elapsed().as_secs_f64() / LASTS.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a pace")]
        let ahead = n as f64 / entries as f64 > due;
        if ahead {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        }
        let end = (n + BATCH).min(entries);
        redis.add(n, end)?;
        n = end;
        added.store(n, Ordering::Relaxed);
    }
    Ok(n)
}

struct Redis {
    stream: BufReader<TcpStream>,
    commands: Vec<u8>,
}

impl Redis {
    fn connect(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .context("connecting to the demo's Redis")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut redis = Self {
            stream: BufReader::new(stream),
            commands: Vec::new(),
        };
        command(&mut redis.commands, &["SELECT", "1"]);
        redis.send(1)?;
        Ok(redis)
    }

    /// Adds messages `from` to before `end`, in one pipeline.
    fn add(&mut self, from: u64, end: u64) -> anyhow::Result<()> {
        for n in from..end {
            let message = message(n);
            let stream = format!("msg:stream:{}", message.stream);
            let mut words = vec!["XADD", stream.as_str(), "*"];
            words.extend(
                message
                    .fields
                    .iter()
                    .flat_map(|(name, value)| [*name, value.as_str()]),
            );
            command(&mut self.commands, &words);
        }
        self.send(end - from)
    }

    fn send(&mut self, answers: u64) -> anyhow::Result<()> {
        self.stream.get_mut().write_all(&self.commands)?;
        self.commands.clear();
        let mut line = Vec::new();
        for _ in 0..answers {
            line.clear();
            self.stream.read_until(b'\n', &mut line)?;
            match line.split_first() {
                Some((b'+', _)) => {}
                Some((b'$', length)) => {
                    let length: usize = std::str::from_utf8(length)?.trim().parse()?;
                    line.resize(length + 2, 0);
                    self.stream.read_exact(&mut line)?;
                }
                _ => bail!("Redis answered {}", String::from_utf8_lossy(&line).trim()),
            }
        }
        Ok(())
    }
}

fn command(out: &mut Vec<u8>, words: &[&str]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_written_with_their_lengths_in_bytes() {
        let mut out = Vec::new();
        command(&mut out, &["XADD", "é"]);
        assert_eq!(out, "*2\r\n$4\r\nXADD\r\n$2\r\né\r\n".as_bytes());
    }
}
