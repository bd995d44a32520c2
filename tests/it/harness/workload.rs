//! A load of the messaging platform's messages: the same for the same seed, with everything in it that is hard to carry.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::ledger::{messages, murmur3_x86_32, placed_by_abs};

const BATCH: u64 = 500;

/// Which messages: the n-th is always the same.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    seed: u64,
    conversations: u64,
    /// Bytes of text in each message's metadata, about.
    content: usize,
}

/// One message: the stream it belongs to and its fields in the platform's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub stream: String,
    pub fields: [(&'static str, String); 8],
}

/// What was added.
#[derive(Clone, Debug, Default)]
pub struct Added {
    /// Entries that Redis confirmed.
    pub count: u64,
    /// Entries of which nobody knows, because Redis was gone before it answered.
    pub unknown: u64,
    /// Ids that Redis gave, per stream, in the order they were added.
    pub ids: BTreeMap<String, Vec<String>>,
}

impl Workload {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            conversations: 200,
            content: 40,
        }
    }

    pub fn conversations(self, conversations: u64) -> Self {
        Self {
            conversations,
            ..self
        }
    }

    pub fn content(self, content: usize) -> Self {
        Self { content, ..self }
    }

    pub fn message(&self, n: u64) -> Sent {
        /// What breaks a careless JSON writer, a careless hash, or a careless reader of lines.
        const HARD: [&str; 8] = [
            "plain",
            "a \"quoted\" word",
            "back\\slash",
            "line\nbreak\tand\r",
            "\u{1}\u{1f}\u{7f}",
            "é 漢字",
            "😀👩\u{200d}👩\u{200d}👧",
            "\u{2028}\u{2029}</script>",
        ];
        let mut random = Random(self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ n);
        let mut pick = |below: u64| random.next() % below;
        let number = pick(self.conversations);
        let conversation = match number % 5 {
            0 => format!("conv_é{number}😀"),
            _ => format!("conv_{number:03}"),
        };
        let hard = HARD[usize::try_from(pick(HARD.len() as u64)).unwrap()];
        let payload = match pick(3) {
            0 => format!("payload/{n}"),
            _ => String::new(),
        };
        let metadata = format!(
            "{{\"content\":\"{}\",\"contentType\": \"text\",\"priority\":{},\"retryCount\":0,\"recipientIds\":[\"u{}\"]}}",
            "x".repeat(self.content),
            pick(3),
            pick(1000),
        );
        let index = placed_by_abs(conversation.as_bytes(), messages::STREAMS);
        Sent {
            stream: format!("msg:stream:{index}"),
            fields: [
                ("messageId", format!("msg-{}-{n}", self.seed)),
                ("conversationId", conversation),
                ("senderId", format!("user {} {hard}", pick(100))),
                ("createdAt", created_at(n)),
                ("payloadKey", payload),
                ("idempotencyKey", format!("idem-{}-{n}", self.seed)),
                ("correlationId", format!("corr-{n}-{hard}")),
                ("metadata", metadata),
            ],
        }
    }

    /// Adds messages `from` to `from + count`, as fast as Redis takes them.
    #[track_caller]
    pub fn add(&self, url: &str, from: u64, count: u64) -> Added {
        let mut line = Line::new(*self, url);
        let end = from + count;
        let mut n = from;
        while n < end {
            let batch = BATCH.min(end - n);
            line.send(n, batch);
            n += batch;
        }
        assert_eq!(line.added.unknown, 0, "Redis was gone while adding");
        line.added
    }

    /// Adds messages in the background until stopped, so many a second, or as fast as Redis takes them.
    /// While Redis is away it tries on, with the next messages.
    pub fn run(&self, url: &str, per_second: Option<u32>) -> Running {
        let (stop, stopped) = mpsc::channel();
        let count = Arc::new(AtomicU64::new(0));
        let mut line = Line::new(*self, url);
        let shown = Arc::clone(&count);
        let from_bucket = Arc::clone(&line.from_bucket);
        let thread = std::thread::spawn(move || {
            let begin = Instant::now();
            let mut n = 0;
            loop {
                let due = per_second.map_or(n + BATCH, |rate| {
                    u64::try_from(begin.elapsed().as_millis()).unwrap() * u64::from(rate) / 1000
                });
                let batch = BATCH.min(due.saturating_sub(n));
                line.send(n, batch);
                n += batch;
                shown.store(line.added.count, Ordering::Relaxed);
                let pause = if batch == BATCH { 0 } else { 5 };
                match stopped.recv_timeout(Duration::from_millis(pause)) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return line.added,
                }
            }
        });
        Running {
            stop,
            count,
            thread,
            from_bucket,
        }
    }
}

/// A load that runs in the background.
pub struct Running {
    stop: mpsc::Sender<()>,
    count: Arc<AtomicU64>,
    thread: JoinHandle<Added>,
    from_bucket: Arc<AtomicU32>,
}

/// The bucket of a key, by the test's own murmur3: the same for any language that follows docs/flags.md.
pub fn bucket(key: &str) -> u32 {
    let mut h = murmur3_x86_32(key.as_bytes(), 0);
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    (h ^ (h >> 16)) >> 22
}

impl Running {
    /// From now on only conversations of buckets from this one on are written to Redis.
    pub fn only_from(&self, bucket: u32) {
        self.from_bucket.store(bucket, Ordering::Relaxed);
    }

    /// Entries added so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub fn stop(self) -> Added {
        let _ = self.stop.send(());
        self.thread.join().expect("the load did not panic")
    }
}

struct Line {
    workload: Workload,
    url: String,
    connection: Option<redis::Connection>,
    added: Added,
    /// Messages of conversations in buckets below this go elsewhere.
    from_bucket: Arc<AtomicU32>,
}

impl Line {
    fn new(workload: Workload, url: &str) -> Self {
        Self {
            workload,
            url: url.to_owned(),
            connection: None,
            added: Added::default(),
            from_bucket: Arc::default(),
        }
    }

    /// One pipeline of `count` messages.
    fn send(&mut self, from: u64, count: u64) {
        if count == 0 {
            return;
        }
        let mut pipe = redis::pipe();
        let mut streams = Vec::new();
        for n in from..from + count {
            let Sent { stream, fields } = self.workload.message(n);
            if bucket(&fields[1].1) < self.from_bucket.load(Ordering::Relaxed) {
                continue;
            }
            let command = pipe.cmd("XADD").arg(&stream).arg("*");
            for (name, value) in fields {
                command.arg(name).arg(value);
            }
            streams.push(stream);
        }
        if streams.is_empty() {
            return;
        }
        match self.query(&pipe) {
            Ok(ids) => {
                self.added.count += streams.len() as u64;
                for (stream, id) in streams.into_iter().zip(ids) {
                    self.added.ids.entry(stream).or_default().push(id);
                }
            }
            Err(_) => {
                self.connection = None;
                self.added.unknown += streams.len() as u64;
            }
        }
    }

    fn query(&mut self, pipe: &redis::Pipeline) -> redis::RedisResult<Vec<String>> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let client = redis::Client::open(self.url.as_str())?;
                let made = client.get_connection_with_timeout(Duration::from_secs(2))?;
                made.set_read_timeout(Some(Duration::from_secs(10)))?;
                none.insert(made)
            }
        };
        pipe.query(connection)
    }
}

/// A time of day on 7 March 2025, a millisecond further for each message.
fn created_at(n: u64) -> String {
    let (seconds, ms) = (n / 1000 % 86_400, n % 1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("2025-03-07T{hours:02}:{minutes:02}:{seconds:02}.{ms:03}Z")
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[test]
fn a_seed_gives_the_same_messages_on_all_streams() {
    let (one, same, other) = (Workload::new(1), Workload::new(1), Workload::new(2));
    assert_eq!(one.message(7), same.message(7));
    assert_ne!(one.message(7), other.message(7));
    let streams: std::collections::BTreeSet<_> = (0..2000).map(|n| one.message(n).stream).collect();
    assert_eq!(streams.len(), 16);
}
