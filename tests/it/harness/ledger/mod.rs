//! The judge: reads both stores on its own and says what is missing, extra, twice, out of order, out of place or altered.
//!
//! It shares no code with Lockgate: own readers (`XRANGE`; a read_committed consumer over all partitions), own hash, own
//! idea of what a record must look like. So a mistake in the mirror is not repeated in what judges it. `sabotage` shows
//! that each kind of fault is found.

mod compare;
pub mod messages;
mod murmur;
mod readers;
mod report;
#[cfg(test)]
mod sabotage;

use std::time::{Duration, Instant};

pub use compare::{Entry, Expected, Record, compare};
pub use murmur::{murmur3_x86_32, placed_by_abs};
pub use readers::KafkaReader;
pub use report::{Class, Report};

type Mapping = Box<dyn Fn(&Entry) -> Option<Expected>>;

/// Streams of one database, the topics they go to, and what each entry must become there.
pub struct Ledger {
    redis_url: String,
    streams: Vec<String>,
    kafka: KafkaReader,
    expected: Mapping,
}

impl Ledger {
    /// `redis_url` with password and database, as `RedisServer::url` gives it. The topics are read whole: every record on
    /// them must have its entry. `expected` gives `None` for an entry that must have no record there.
    pub fn new(
        redis_url: &str,
        streams: &[String],
        bootstrap: &str,
        topics: &[&str],
        expected: impl Fn(&Entry) -> Option<Expected> + 'static,
    ) -> Self {
        Self {
            redis_url: redis_url.to_owned(),
            streams: streams.to_vec(),
            kafka: KafkaReader::new(bootstrap, topics),
            expected: Box::new(expected),
        }
    }

    /// The messaging platform's sixteen streams and their topic, as `Workload` fills them.
    pub fn messages(redis_url: &str, bootstrap: &str, topic: &str) -> Self {
        let name = topic.to_owned();
        let expected = move |entry: &Entry| Some(messages::expected(&name, entry));
        Self::new(
            redis_url,
            &messages::streams(),
            bootstrap,
            &[topic],
            expected,
        )
    }

    /// One look at both stores as they are now. What is still on its way counts as missing.
    #[track_caller]
    pub fn look(&mut self) -> Report {
        self.try_look()
            .unwrap_or_else(|error| panic!("the ledger cannot read: {error}"))
    }

    /// Looks until nothing is missing, at most until `deadline`; gives the last look.
    #[track_caller]
    pub fn settle(&mut self, deadline: Duration) -> Report {
        let begin = Instant::now();
        loop {
            let look = self.try_look();
            match look {
                Ok(report) if report.of(Class::Missing) == 0 => return report,
                Ok(report) if begin.elapsed() >= deadline => return report,
                Err(error) if begin.elapsed() >= deadline => {
                    panic!("the ledger cannot read: {error}")
                }
                Ok(_) | Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// All entries of its streams as they are now, stream by stream.
    #[track_caller]
    pub fn entries(&self) -> Vec<Entry> {
        readers::entries(&self.redis_url, &self.streams).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Kafka first: an entry mirrored between the two readings is missing for now. The other way round it would be extra.
    fn try_look(&mut self) -> Result<Report, String> {
        self.kafka.read_to_end()?;
        let entries = readers::entries(&self.redis_url, &self.streams)?;
        Ok(compare(&entries, self.kafka.records(), &self.expected))
    }
}
