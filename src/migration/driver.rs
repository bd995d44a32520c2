//! The driver: one task that owns the whole of the migration's state, does what its mind commands and tells it what came of it.
//!
//! ```text
//!   no lease ──taken──▶ load (Redis) ──▶ steer: ask, tick, outcome, copy in Kafka read ──▶ step ──▶ save, act, answer
//!      ▲                                   │
//!      └───── another holds the lease ◀────┘
//! ```
//! Each instance has one; the holder of the lease steers, the others show what is stored. The lease only spares duels: a driver
//! that lost it without knowing is refused by the store, which compares versions.
//!
//! A save is awaited before anything else happens, so nothing is acted on that is not stored. Who asks and goes away cancels
//! nothing: the answer is dropped, the work goes on.

mod acts;
mod asked;
mod copying;
mod handle;
mod instances;
mod keeping;
mod notes;
mod observe;
mod precheck;
mod stored;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::gate::{Limits, Measure, millis};
use super::measure::Measurements;
use super::seen::{self, Seen};
use super::step::{Command, Event, Machine, NotSaved, Record, Settings, State, Told};
use super::store::{Copy, Error, Store};
use crate::config;
use crate::failpoint;
use crate::flags::{Flags, FlagsWriter};
use crate::placement::KafkaBorn;
use crate::status::Board;
use crate::streams::{DriverSaved, Lease, Redis};
use crate::topics::{Admin, Kafka};

use instances::Table;
use notes::Notes;
use stored::Reading;

pub use copying::Copied;
pub use handle::{Handle, Records, Reply, Request, View};

/// Requests that may wait; more are refused.
const WAITING: usize = 64;
/// Records that the view shows.
const TAIL: u64 = 20;

/// What a driver is made of.
pub struct Parts {
    pub migration: String,
    pub instance: String,
    pub config: config::Migration,
    pub flags: config::Flags,
    /// Settings from outside the migration's section, as [`step::beside`](super::step::beside) gives them.
    pub beside: Settings,
    /// How many shards there are in all.
    pub shards: u32,
    /// How often streams are looked for that no route names; zero: each is named.
    pub looks_every: Duration,
    pub redis: Redis,
    pub kafka: Kafka,
    pub board: Arc<Board>,
}

/// The task.
pub struct Driver {
    parts: Parts,
    store: Store,
    admin: Arc<Admin>,
    flags: FlagsWriter,
    measurements: Measurements,
    requests: mpsc::Receiver<Request>,
    outcomes: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    copies: watch::Sender<Option<Arc<State>>>,
    copied: watch::Receiver<Option<Arc<State>>>,
    /// How far the copy is.
    kept: (watch::Sender<Copied>, watch::Receiver<Copied>),
    view: watch::Sender<Arc<View>>,
    /// While this instance steers.
    machine: Option<Machine>,
    /// What is stored is to be read again as soon as it can be.
    unread: bool,
    /// A state was read that may have been told by nobody, or not to this process's readers.
    untold: bool,
    /// When the lease was last known to be ours.
    renewed: Option<Instant>,
    /// The furthest state that this process saw.
    furthest: Option<State>,
    /// The copy is being read.
    reading: bool,
    readings: (mpsc::Sender<Reading>, mpsc::Receiver<Reading>),
    /// It was said that it cannot be.
    blind: bool,
    /// It was read because Redis holds nothing.
    copy: Option<Option<State>>,
    /// Redis answered at the last look.
    answers: bool,
    hears: Hears,
    /// The action that waits for the mirror, by its epoch and number, and since when it does.
    draining: Option<((u64, usize), i64)>,
    table: Table,
    notes: Notes,
    now: View,
    seen: Seen,
}

/// Whether the last look at what applications acknowledged brought an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hears {
    /// It has not looked since it began to steer.
    NotYet,
    Nothing,
    All,
}

impl Driver {
    /// # Errors
    /// A client's configuration.
    pub fn new(parts: Parts, flags: FlagsWriter) -> Result<(Self, Handle), Error> {
        let (asked, requests) = mpsc::channel(WAITING);
        let (view, seen) = watch::channel(Arc::new(View::default()));
        let (copies, copied) = watch::channel(None);
        let measurements = Measurements::expecting(&parts.flags.clients);
        let handle = Handle {
            requests: asked,
            view: seen,
            measurements: measurements.clone(),
            limits: Limits::of(&parts.config),
        };
        let driver = Self {
            store: Store::new(parts.redis.clone(), &parts.migration, &parts.instance),
            admin: Arc::new(Admin::new(&parts.kafka)?),
            flags,
            measurements,
            requests,
            outcomes: mpsc::channel(WAITING),
            copies,
            copied,
            kept: watch::channel(Copied::default()),
            view,
            machine: None,
            unread: false,
            untold: false,
            renewed: None,
            furthest: None,
            reading: false,
            readings: mpsc::channel(WAITING),
            blind: false,
            copy: None,
            answers: false,
            hears: Hears::NotYet,
            draining: None,
            table: Table::default(),
            notes: Notes::default(),
            now: View::default(),
            seen: Seen::default(),
            parts,
        };
        Ok((driver, handle))
    }

    /// Steers until stopped. What goes wrong at the stores is shown and tried again.
    ///
    /// # Errors
    /// A client's configuration.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        let copying = tokio::spawn(copying::copy(
            Copy::new(&self.parts.kafka, &self.parts.migration)?,
            Store::new(
                self.parts.redis.clone(),
                &self.parts.migration,
                &self.parts.instance,
            ),
            self.copied.clone(),
            self.readings.0.clone(),
            self.kept.0.clone(),
            stop.clone(),
        ));
        // Whoever drops this driver ends it as well.
        let keeping_stop = stop.child_token();
        let _dropped = keeping_stop.clone().drop_guard();
        let keeping = tokio::spawn(keeping::keep(
            self.measurements.followers.clone(),
            Store::new(
                self.parts.redis.clone(),
                &self.parts.migration,
                &self.parts.instance,
            ),
            keeping_stop,
        ));
        let mut ticks = tokio::time::interval(self.parts.config.evaluate_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(request) = self.requests.recv() => self.on_request(request).await,
                Some(outcome) = self.outcomes.1.recv() => drop(self.take(outcome).await),
                Some(reading) = self.readings.1.recv() => self.on_copy(reading).await,
                _ = ticks.tick() => self.on_tick().await,
            }
            self.retell().await;
            self.show();
        }
        self.take_leave().await;
        if self.machine.is_some()
            && let Err(error) = self.store.release().await
        {
            info!(%error, "the lease ends by itself");
        }
        crate::tasks::passed_on(copying.await);
        crate::tasks::passed_on(keeping.await);
        Ok(())
    }

    async fn on_tick(&mut self) {
        let asked = Instant::now();
        let lease = self.store.lease(self.parts.config.lease).await;
        self.answers = lease.is_ok();
        // What takes no writes can be read all the same.
        let reads = !matches!(&lease, Err(Error::Redis(error)) if error.is_connection_lost());
        match lease {
            Ok(Lease::Other(holder)) => self.stand_by(holder).await,
            Ok(lease) => {
                self.lead(lease).await;
                let calm = self.machine.as_ref().filter(|one| one.trouble().is_none());
                let stored = calm.and_then(Machine::stored).filter(|_| !self.unread);
                if stored.is_some_and(|state| self.flags.says(&flags(state))) {
                    self.flags.confirm(asked);
                }
            }
            Err(error) => {
                self.now.error = Some(error.to_string());
                self.hears = Hears::Nothing;
                self.show();
            }
        }
        // Whoever does not answer one question is not asked the others: each would be waited for in vain.
        if self.unread && self.machine.is_some() && reads {
            self.reload().await;
        }
        self.compare();
        if self.answers {
            self.pass_notes().await;
        }
        let sight = self.confer(self.answers).await;
        if self.machine.is_some() {
            let told = self.machine.as_ref().and_then(Machine::stored);
            if let Some(told) = told.map(|state| state.told.version)
                && self.answers
            {
                self.hear(told).await;
                self.compare_flags(told).await;
            }
            let observation = self.observe(sight);
            self.take(Event::Observed(observation)).await;
            self.take(Event::Tick).await;
        }
    }

    /// The lease is ours.
    async fn lead(&mut self, lease: Lease) {
        self.renewed = Some(Instant::now());
        self.now.holder = None;
        if self.machine.is_none() {
            self.begin().await;
            return;
        }
        if lease == Lease::Taken {
            // It had run out, and another may have steered in between.
            self.unread = true;
            self.hears = Hears::NotYet;
        }
        if !self.unread {
            // The store answers again.
            self.now.error = None;
        }
    }

    /// Whether this instance may call itself the one who steers: it has a state, and its lease cannot have run out.
    fn steers(&self) -> bool {
        let lease = self.parts.config.lease;
        let ours = self.renewed.is_some_and(|at| at.elapsed() < lease);
        self.machine.is_some() && ours
    }

    /// Another steers: what it stored is shown here, and told to this instance's readers.
    async fn stand_by(&mut self, holder: String) {
        if self.machine.take().is_some() {
            warn!(holder, "another instance steers now");
        }
        self.renewed = None;
        self.copy = None;
        // What this instance saw when it steered is not how things stand.
        self.now = View {
            state: self.now.state.take(),
            holder: Some(holder),
            ..View::default()
        };
        let asked = Instant::now();
        match self.store.load().await {
            Ok(found) => {
                if let Some((state, _)) = found {
                    self.flags.show(flags(&state));
                    self.flags.confirm(asked);
                    self.now.state = Some(state);
                    self.remember();
                }
                self.now.error = None;
            }
            Err(error) => self.now.error = Some(error.to_string()),
        }
    }

    /// Gives the mind an event and does what it commands; answers the last answer.
    async fn take(&mut self, event: Event) -> Option<Reply> {
        let mut todo = vec![event];
        let mut reply = None;
        while let Some(event) = todo.pop() {
            let Some(machine) = self.machine.as_mut() else {
                break;
            };
            let failed = matches!(event, Event::NotSaved(NotSaved::Unreachable));
            self.untold |= matches!(event, Event::Loaded { .. });
            for command in machine.step(event, now_ms()) {
                match command {
                    Command::Save {
                        state,
                        over,
                        records,
                    } => todo.push(self.save(&state, over, &records).await),
                    // A store that takes no writes may be read all the while: it is read at the next tick, or this would
                    // go round for as long as it refuses.
                    Command::Load if failed => self.unread = true,
                    Command::Load => todo.extend(self.loaded().await),
                    Command::Act { epoch, at, action } => {
                        if let Some(outcome) = self.act(epoch, at, action).await {
                            todo.push(Event::Acted { epoch, at, outcome });
                        }
                    }
                    Command::Answer(answer) => reply = Some(answer),
                }
            }
        }
        reply
    }

    async fn save(&mut self, state: &State, over: u64, records: &[Record]) -> Event {
        if !records.is_empty() {
            failpoint::hit(failpoint::BEFORE_JOURNAL);
        }
        let saved = self.store.save(state, over, records).await;
        if !records.is_empty() {
            failpoint::hit(failpoint::AFTER_JOURNAL);
        }
        match saved {
            Ok(DriverSaved::Saved) => {
                self.now.error = None;
                // Those that are written again are known, and were told.
                let last = self.now.journal.last().map_or(0, |record| record.n);
                for record in records.iter().filter(|record| record.n > last) {
                    info!(
                        n = record.n, epoch = record.epoch, who = record.who, verb = record.verb.as_str(),
                        outcome = record.outcome.as_str(), to = %record.to, note = record.note, "journal"
                    );
                    self.now.journal.push(record.clone());
                }
                let excess = self.now.journal.len().saturating_sub(TAIL as usize);
                self.now.journal.drain(..excess);
                self.copies.send_replace(Some(Arc::new(state.clone())));
                Event::Saved
            }
            Ok(DriverSaved::Conflict { found }) => {
                warn!(over, found, "another driver changed the state");
                Event::NotSaved(NotSaved::Conflict)
            }
            Err(error) => {
                warn!(%error, "the state was not stored, or Redis did not say so");
                self.parts.board.journal_error();
                self.now.error = Some(error.to_string());
                Event::NotSaved(NotSaved::Unreachable)
            }
        }
    }

    fn show(&mut self) {
        if let Some(machine) = &self.machine {
            let now = now_ms();
            if let Some(trouble) = machine.trouble()
                && self.now.trouble.is_none()
            {
                error!(%trouble, "the stored states do not agree");
            }
            self.now.state = machine.stored().cloned();
            self.now.verdicts = machine.verdicts(now);
            self.now.margins = machine.margins();
            self.now.pace = machine.pace(now);
            self.now.disk = machine.said_of(Measure::Disk, now);
            self.now.replication = machine.said_of(Measure::ReplicationLag, now);
            self.now.way_back_ms = machine.way_back_ms();
            self.now.unfit = machine.unfit();
            self.now.waiting = machine.waiting().map(str::to_owned);
            self.now.trouble = machine.trouble().cloned();
            self.now.copied = self.kept.1.borrow().clone();
            self.now.next = self
                .now
                .state
                .as_ref()
                .and_then(|state| machine.course().next(state.step));
        }
        self.remember();
        self.post();
        self.view.send_replace(Arc::new(self.now.clone()));
    }

    /// What every view of the status shows.
    fn post(&mut self) {
        let state = self.now.state.as_ref();
        let machine = self.machine.as_ref();
        let following = machine.and(state).map(|state| {
            self.measurements
                .followers
                .following(state.told.version, now_ms())
        });
        self.now.back = machine
            .zip(state)
            .and_then(|(machine, state)| machine.way_back_from(state.watched()))
            .map(|(to, _)| to);
        self.now.steers = self.steers();
        let status = self.seen.status(&self.now, following.as_ref());
        self.parts.board.driver(status);
        self.parts.board.brokers_said(seen::brokers(&self.now));
    }
}

/// What a state tells applications.
#[must_use]
pub fn flags(state: &State) -> Flags {
    as_flags(&state.told, state.kafka_born)
}

fn as_flags(told: &Told, kafka_born: Option<KafkaBorn>) -> Flags {
    Flags {
        kafka_born,
        version: told.version,
        epoch: told.epoch,
        consumers: told.share.consumers,
        ingress: told.share.ingress,
        hold_ingress_to: told.hold_ingress_to,
    }
}

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    millis(since)
}
