//! A transactional producer: what it writes becomes visible all at once, and only if no younger writer of its id exists.
//!
//! ```text
//!   open ──▶ idle ──begin──▶ in transaction ──send*──▶ commit ──▶ idle
//!    ▲                             └─────────── abort ──────────▶ idle
//!    └── any error but a local refusal: drop the writer, open anew, read the checkpoint
//! ```
//!
//! `open` is the fence: when it returns, older writers of the id can commit nothing more, a commit that was decided is
//! complete and a transaction that was open is aborted. It is therefore the only way on after an error. An empty
//! transaction commits even when fenced and proves nothing. One thing it cannot do: end what a broker completed without
//! writing its markers; the mirror's opening sees to that, and a writer that has lost all brokers begins nothing more.
//!
//! Why it waits for deliveries by itself: the client library's `flush` and `commit_transaction` wait in steps of 100 ms, in
//! which a transaction of one record takes 101 ms instead of 3.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, PurgeConfig};

use super::closing::Closing;
use super::delivery::{Deliveries, LatencyObserver, WriterStatistics};
use super::error::{Error, Refusal, is_fenced};
use super::kafka::Kafka;
use super::places::{self, Places};
use super::record::Record;
use crate::placement::{Partition, Topic};

/// A transaction that begins sooner after a commit meets its markers still being written, and is put off by 20 ms.
const REST_AFTER_COMMIT: Duration = Duration::from_millis(2);

/// Records between two looks at the broker's answers.
const RECORDS_PER_POLL: u32 = 512;

/// How long a failed transaction's other records are waited for, so that the one at fault is told from the rest.
const FAILED_DRAIN: Duration = Duration::from_secs(1);

/// Kafka's own topic of transactions. What is in it is of no interest.
const COORDINATORS: &str = "__transaction_state";

/// What is left of an opening's time at least, when the brokers are known.
const LEAST: Duration = Duration::from_secs(1);

/// How long an abort may take.
const ABORT_TIMEOUT: Duration = Duration::from_secs(10);

const _: () = assert!(
    usize::BITS >= 64,
    "a tag travels through librdkafka in a pointer"
);

/// The one writer of a transactional id. Its calls block: it belongs on a thread of its own. An idle writer wants
/// [`check_whole`](Writer::check_whole) once in a while.
pub struct Writer {
    /// An open transaction is left to the next writer of the id, or to the broker's time limit.
    producer: Closing<BaseProducer<Deliveries>>,
    /// Records handed to the client since the writer was opened.
    sent: u64,
    /// Records of the present transaction.
    records: u64,
    unpolled: u32,
    in_transaction: bool,
    last_commit: Option<Instant>,
    places: Places,
    /// Losses of every broker that opening has seen.
    isolations: u64,
}

impl Writer {
    /// Makes the producer and fences every older writer of `transactional_id`.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Timeout`], [`Error::Unauthorised`] and [`Error::Config`] tell why it could not;
    /// nothing was written and it can be tried again.
    pub fn open(kafka: &Kafka, transactional_id: &str, timeout: Duration) -> Result<Self, Error> {
        let producer: BaseProducer<Deliveries> = kafka
            .producer(transactional_id)
            .create_with_context(Deliveries::new(kafka.context()))
            .map_err(|error| Error::of("create a producer", error))?;
        let mut writer = Self {
            producer: Closing::new(producer),
            sent: 0,
            records: 0,
            unpolled: 0,
            in_transaction: false,
            last_commit: None,
            places: Places::default(),
            isolations: 0,
        };
        // A client asks who coordinates by whatever connection stands. That of a bootstrap server ends when the brokers are
        // known, the question with it, and it is asked again half a second later. So the brokers are made known first, and one
        // of them is connected.
        let begun = Instant::now();
        let left = || timeout.saturating_sub(begun.elapsed()).max(LEAST);
        let client = writer.producer.client();
        let known = client.fetch_metadata(Some(COORDINATORS), left());
        let _ = known.and_then(|_| client.fetch_metadata(Some(COORDINATORS), left()));
        match writer.producer.init_transactions(left()) {
            Ok(()) => {
                writer.serve();
                writer.isolations = writer.producer.context().client().isolations();
                Ok(writer)
            }
            Err(error) => {
                writer.serve();
                let error = Error::of("initialise transactions", error);
                Err(writer.producer.context().client().explain(error))
            }
        }
    }

    /// # Errors
    /// [`Error::Fenced`] where that is known already. [`Error::Unreachable`] where all brokers were lost since the writer was
    /// opened: they may have lost the end of an earlier transaction, and what follows would decide it.
    pub fn begin(&mut self) -> Result<(), Error> {
        self.check_whole()?;
        self.producer
            .begin_transaction()
            .map_err(|error| self.classify("begin a transaction", error))?;
        self.producer.context().begin();
        self.records = 0;
        self.in_transaction = true;
        Ok(())
    }

    /// Takes in what librdkafka has to say (log lines, errors, statistics). Sending and committing do it too; an idle writer
    /// wants this every few seconds, or those lines wait in memory.
    ///
    /// # Errors
    /// [`Error::Unreachable`] where all brokers were lost since the writer was opened.
    pub fn check_whole(&self) -> Result<(), Error> {
        self.serve();
        if self.producer.context().client().isolations() == self.isolations {
            return Ok(());
        }
        Err(Error::Unreachable {
            cause: "every broker was lost for a while; what they decided is looked at first"
                .to_owned(),
        })
    }

    /// Queues one record; waits while the client's queue is full. `tag` comes back in [`Error::Refused`] and so should
    /// differ from the other tags of the transaction.
    ///
    /// The first record for a topic asks the cluster for its partitions.
    ///
    /// # Errors
    /// Where [`Error::is_local`] says so (a record too large for any topic, a topic or partition that is not there), the
    /// error concerns this record alone and the transaction goes on without it. Any other is the transaction's end.
    pub fn send(&mut self, record: Record<'_>, tag: u64) -> Result<(), Error> {
        self.check_place(record.topic, record.partition)?;
        if self.records == 0 {
            self.rest();
        }
        let mut queued = BaseRecord {
            topic: record.topic.as_str(),
            partition: Some(record.partition.0),
            key: record.key,
            payload: record.value,
            timestamp: Some(record.timestamp_ms),
            headers: record.headers.0,
            delivery_opaque: tag as usize,
        };
        loop {
            match self.producer.send(queued) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(Code::QueueFull), returned)) => {
                    queued = returned;
                    self.wait_for_room()?;
                }
                Err((error, _)) => {
                    return Err(self.not_queued(error, record.topic, record.partition, tag));
                }
            }
        }
        self.sent += 1;
        self.records += 1;
        self.producer.context().sample(tag);
        self.unpolled += 1;
        if self.unpolled >= RECORDS_PER_POLL {
            self.poll();
            self.unpolled = 0;
            if self.producer.context().has_failed() {
                return Err(self.failure());
            }
        }
        Ok(())
    }

    /// Waits until the broker has answered for every record, then commits.
    ///
    /// # Errors
    /// [`Error::CommitUnknown`]: the outcome is not known. [`Error::Fenced`] says nothing about it either. All others:
    /// it was not committed. After each of them the writer is of no use.
    pub fn commit(&mut self, timeout: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + timeout;
        self.drain(deadline)?;
        let remaining = deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1));
        self.producer
            .commit_transaction(remaining)
            .map_err(|error| self.commit_failed(&error))?;
        self.in_transaction = false;
        self.last_commit = Some(Instant::now());
        Ok(())
    }

    /// Gives the transaction up: nothing of it will be visible.
    ///
    /// # Errors
    /// The transaction stays open until the broker's own time limit, or until this id is opened anew.
    pub fn abort(&mut self) -> Result<(), Error> {
        self.producer.purge(PurgeConfig::default().queue());
        let deadline = Instant::now() + ABORT_TIMEOUT;
        while self.outstanding() > 0 && Instant::now() < deadline {
            self.wait_for_answers(Duration::from_micros(200));
        }
        self.producer
            .abort_transaction(ABORT_TIMEOUT)
            .map_err(|error| self.classify("abort", error))?;
        self.in_transaction = false;
        self.last_commit = Some(Instant::now());
        Ok(())
    }

    /// Gives the transaction up only when the broker has every record of it: each partition sent to gets the marker, which
    /// also ends whatever an earlier transaction of this id left undecided there.
    ///
    /// # Errors
    /// As [`commit`](Self::commit) and [`abort`](Self::abort); partitions may be without the marker.
    pub fn abort_delivered(&mut self, timeout: Duration) -> Result<(), Error> {
        self.drain(Instant::now() + timeout)?;
        self.abort()
    }

    #[must_use]
    pub const fn in_transaction(&self) -> bool {
        self.in_transaction
    }

    /// How long ago this writer last ended a transaction.
    #[must_use]
    pub fn since_commit(&self) -> Option<Duration> {
        self.last_commit.map(|at| at.elapsed())
    }

    #[must_use]
    pub fn statistics(&self) -> WriterStatistics {
        self.producer.context().statistics(self.sent)
    }

    /// Tells `observer` how long one record at a time took to be acknowledged: one per round trip, not one per record.
    pub fn observe_latency(&mut self, observer: LatencyObserver) {
        self.producer.context().observe(observer);
    }

    /// A missing topic would otherwise be met after seconds, and cost the whole transaction.
    fn check_place(&mut self, topic: &Topic, partition: Partition) -> Result<(), Error> {
        let checked = self.places.check(topic, partition, self.producer.client());
        checked.map_err(|error| {
            self.serve();
            self.producer.context().client().explain(error)
        })
    }

    fn outstanding(&self) -> u64 {
        self.sent.saturating_sub(self.producer.context().settled())
    }

    fn poll(&self) {
        self.producer.poll(Duration::ZERO);
    }

    /// Handles all events that are there now.
    fn serve(&self) {
        // Each poll handles one event; the limit is for a queue that fills as fast as it is read.
        for _ in 0..1_000 {
            let waiting = u64::try_from(self.producer.in_flight_count()).unwrap_or(0);
            if waiting <= self.outstanding() {
                break;
            }
            self.poll();
        }
    }

    fn rest(&self) {
        if let Some(since) = self.since_commit() {
            let rest = REST_AFTER_COMMIT.saturating_sub(since);
            if !rest.is_zero() {
                thread::sleep(rest);
            }
        }
    }

    /// Takes in answers; sleeps when there are none. (Polling with a timeout would spin through its last millisecond.)
    fn wait_for_answers(&self, nap: Duration) -> bool {
        let before = self.producer.context().settled();
        self.poll();
        let progress = self.producer.context().settled() != before;
        if !progress {
            thread::sleep(nap);
        }
        progress
    }

    fn wait_for_room(&mut self) -> Result<(), Error> {
        self.unpolled = 0;
        self.wait_for_answers(Duration::from_micros(200));
        if self.producer.context().has_failed() {
            return Err(self.failure());
        }
        Ok(())
    }

    fn drain(&mut self, deadline: Instant) -> Result<(), Error> {
        let mut deadline = deadline;
        let mut nap = Duration::from_micros(50);
        let mut failed = false;
        while self.outstanding() > 0 {
            if Instant::now() >= deadline {
                break;
            }
            if self.wait_for_answers(nap) {
                nap = Duration::from_micros(50);
            } else {
                nap = (nap * 2).min(Duration::from_micros(400));
            }
            if !failed && self.producer.context().has_failed() {
                failed = true;
                // What was not sent will not be: a failed transaction sends nothing more.
                self.producer.purge(PurgeConfig::default().queue());
                deadline = deadline.min(Instant::now() + FAILED_DRAIN);
            }
        }
        self.unpolled = 0;
        if failed || self.producer.context().has_failed() {
            return Err(self.failure());
        }
        if self.outstanding() > 0 {
            self.serve();
            let error = Error::Timeout {
                what: "acknowledge records",
                cause: format!("{} records without an answer", self.outstanding()),
            };
            return Err(self.producer.context().client().explain(error));
        }
        Ok(())
    }

    fn failure(&self) -> Error {
        // The line that names a denied topic may stand behind the deliveries that failed for it.
        self.serve();
        if self.fatally_fenced() {
            return Error::Fenced;
        }
        let error = self.producer.context().failure().unwrap_or(Error::Other {
            what: "deliver",
            source: KafkaError::MessageProduction(Code::Unknown),
        });
        if let Error::PartitionMissing { topic, .. } = &error
            && let Err(Error::TopicMissing { topic, .. }) =
                places::ask(topic, self.producer.client())
        {
            // The broker's answer does not tell the two apart.
            return Error::TopicMissing {
                topic,
                local: false,
            };
        }
        self.producer.context().client().explain(error)
    }

    fn fatally_fenced(&self) -> bool {
        self.producer
            .client()
            .fatal_error()
            .is_some_and(|(code, _)| is_fenced(code))
    }

    fn not_queued(
        &self,
        error: KafkaError,
        topic: &Topic,
        partition: Partition,
        tag: u64,
    ) -> Error {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        if let Some(cause) = Refusal::of(code) {
            return Error::Refused {
                topic: topic.clone(),
                partition,
                tag: Some(tag),
                cause,
                local: true,
            };
        }
        if matches!(code, Code::State | Code::Fatal) {
            // The transaction has failed already: say why.
            self.serve();
            if self.fatally_fenced() || self.producer.context().has_failed() {
                return self.failure();
            }
            return self.classify("send", error);
        }
        Error::on_topic("send", error, topic, Some(partition))
    }

    /// The meaning of an error of a transactional call.
    fn classify(&self, what: &'static str, error: KafkaError) -> Error {
        self.serve();
        if self.fatally_fenced() {
            return Error::Fenced;
        }
        if let Some((code, text)) = self.producer.client().fatal_error()
            && let Some(error) = Error::of_code(what, code, || text.clone())
        {
            return error;
        }
        self.producer
            .context()
            .client()
            .explain(Error::of(what, error))
    }

    /// What a commit that did not succeed means: unknown, unless it is certain that it was refused.
    fn commit_failed(&self, error: &KafkaError) -> Error {
        if let Some(failure) = self.producer.context().failure() {
            return failure;
        }
        match self.classify("commit", error.clone()) {
            known @ (Error::Fenced | Error::Unauthorised { .. }) => known,
            _ => Error::CommitUnknown {
                cause: error.to_string(),
            },
        }
    }
}
