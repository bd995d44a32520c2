//! The driver: one task that owns the whole of the migration's state, does what its mind commands and tells it what came of it.
//!
//! ```text
//!   no lease ──taken──▶ load (Redis, copy in Kafka) ──▶ steer: ask, tick, outcome ──▶ step ──▶ save, act, answer
//!      ▲                                                  │
//!      └──────────── another holds the lease ◀────────────┘
//! ```
//! Each instance has one; the holder of the lease steers, the others show what is stored. The lease only spares duels: a driver
//! that lost it without knowing is refused by the store, which compares versions.
//!
//! A save is awaited before anything else happens, so nothing is acted on that is not stored. Who asks and goes away cancels
//! nothing: the answer is dropped, the work goes on.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::gate::{Measure, Reading, Sample, Verdict, millis};
use super::measure::{Measurements, SinceStep, from_status};
use super::phase::Step;
use super::seen::Seen;
use super::step::{
    Acted, Action, Answer, Ask, Command, Event, Machine, NotSaved, Observation, Outcome, Record,
    Refusal, State, Trouble, Who, further,
};
use super::store::{Copy, Error, Store};
use crate::config;
use crate::flags::{Flags, FlagsWriter};
use crate::status::Board;
use crate::streams::{DriverSaved, Redis};
use crate::topics::{Admin, Kafka};

/// Requests that may wait; more are refused.
const WAITING: usize = 64;
/// Records that the view shows.
const TAIL: u64 = 20;

/// What a driver is made of.
pub struct Parts {
    pub migration: String,
    pub instance: String,
    pub config: config::Migration,
    /// How many shards there are in all.
    pub shards: u32,
    pub redis: Redis,
    pub kafka: Kafka,
    pub board: Arc<Board>,
}

/// What may be asked of the driver's task.
pub enum Request {
    Ask(Who, Ask, oneshot::Sender<Reply>),
    /// Try the way back from a step against the live stores.
    Rehearse(Who, Step, oneshot::Sender<Reply>),
    /// Note what was asked of Lockgate elsewhere, and what came of it.
    Note(Who, Outcome, String),
    /// Records after a number, so many at most.
    Journal(u64, u64, oneshot::Sender<Records>),
}

/// Records, and how many there are in all; or why they cannot be read.
pub type Records = Result<(Vec<Record>, u64), String>;

pub type Reply = Result<Box<Answer>, Box<Refusal>>;

/// The driver as it is seen from outside.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// `None`: nothing was read yet.
    pub state: Option<State>,
    pub verdicts: Vec<Verdict>,
    pub next: Option<Step>,
    pub waiting: Option<String>,
    pub trouble: Option<Trouble>,
    /// Who steers, where it is not this instance.
    pub holder: Option<String>,
    /// Why the store could not be read or written last.
    pub error: Option<String>,
    pub journal: Vec<Record>,
    pub margins: std::collections::BTreeMap<Measure, Option<f64>>,
}

/// The outside's way to a driver.
#[derive(Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    view: watch::Receiver<Arc<View>>,
    pub measurements: Measurements,
}

impl Handle {
    /// Asks, and waits for the answer. Dropping the call cancels nothing.
    pub async fn ask(&self, who: Who, ask: Ask) -> Reply {
        self.request(|reply| Request::Ask(who, ask, reply)).await
    }

    /// Tries the way back from a step.
    pub async fn rehearse(&self, who: Who, step: Step) -> Reply {
        self.request(|reply| Request::Rehearse(who, step, reply))
            .await
    }

    /// Notes what was asked of Lockgate elsewhere. Only the one who steers keeps the journal: where this instance does not, or
    /// is busy, the log alone has it.
    pub fn note(&self, who: Who, outcome: Outcome, note: String) {
        // The caller has logged it.
        let _ = self.requests.try_send(Request::Note(who, outcome, note));
    }

    /// Records of the journal after a number, in order.
    pub async fn journal(&self, after: u64, most: u64) -> Records {
        let (reply, records) = oneshot::channel();
        let busy = || "the driver is busy".to_owned();
        self.requests
            .try_send(Request::Journal(after, most, reply))
            .map_err(|_full| busy())?;
        records.await.map_err(|_gone| busy())?
    }

    async fn request(&self, make: impl FnOnce(oneshot::Sender<Reply>) -> Request) -> Reply {
        let (reply, answer) = oneshot::channel();
        let not_ready = || Box::new(Refusal::NotReady);
        self.requests
            .try_send(make(reply))
            .map_err(|_full| not_ready())?;
        answer.await.map_err(|_gone| not_ready())?
    }

    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }
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
    view: watch::Sender<Arc<View>>,
    /// While this instance steers.
    machine: Option<Machine>,
    since_step: SinceStep,
    kafka_down_since_ms: Option<i64>,
    /// What is stored is to be read again as soon as it can be.
    unread: bool,
    now: View,
    seen: Seen,
}

impl Driver {
    /// # Errors
    /// A client's configuration.
    pub fn new(parts: Parts, flags: FlagsWriter) -> Result<(Self, Handle), Error> {
        let (asked, requests) = mpsc::channel(WAITING);
        let (view, seen) = watch::channel(Arc::new(View::default()));
        let (copies, copied) = watch::channel(None);
        let measurements = Measurements::default();
        let handle = Handle {
            requests: asked,
            view: seen,
            measurements: measurements.clone(),
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
            view,
            machine: None,
            since_step: SinceStep::default(),
            kafka_down_since_ms: None,
            unread: false,
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
        let copying = tokio::spawn(copy(
            Copy::new(&self.parts.kafka, &self.parts.migration)?,
            Store::new(
                self.parts.redis.clone(),
                &self.parts.migration,
                &self.parts.instance,
            ),
            self.copied.clone(),
            stop.clone(),
        ));
        let mut ticks = tokio::time::interval(self.parts.config.evaluate_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(request) = self.requests.recv() => self.on_request(request).await,
                Some(outcome) = self.outcomes.1.recv() => drop(self.take(outcome).await),
                _ = ticks.tick() => self.on_tick().await,
            }
            self.show();
        }
        if self.machine.is_some()
            && let Err(error) = self.store.release().await
        {
            info!(%error, "the lease ends by itself");
        }
        crate::tasks::passed_on(copying.await);
        Ok(())
    }

    async fn on_tick(&mut self) {
        match self.store.lease(self.parts.config.lease).await {
            Ok(None) => {
                self.now.holder = None;
                if self.machine.is_none() {
                    self.begin().await;
                } else if !self.unread {
                    // The store answers again.
                    self.now.error = None;
                }
            }
            Ok(Some(holder)) => self.stand_by(holder).await,
            Err(error) => self.now.error = Some(error.to_string()),
        }
        let trouble = self
            .machine
            .as_ref()
            .is_some_and(|machine| machine.trouble().is_some());
        if self.unread || trouble {
            self.reload().await;
        }
        if self.machine.is_some() {
            let observation = self.observe();
            self.take(Event::Observed(observation)).await;
            self.take(Event::Tick).await;
        }
    }

    /// Another steers: what it stored is shown here, and told to this instance's readers.
    async fn stand_by(&mut self, holder: String) {
        if self.machine.take().is_some() {
            warn!(holder, "another instance steers now");
        }
        self.now.holder = Some(holder);
        self.now.verdicts = Vec::new();
        match self.store.load().await {
            Ok(found) => {
                if let Some((state, _)) = found {
                    self.flags.show(flags(&state));
                    self.now.state = Some(state);
                }
                self.now.error = None;
            }
            Err(error) => self.now.error = Some(error.to_string()),
        }
    }

    /// Reads what is stored, on both sides, and begins to steer.
    async fn begin(&mut self) {
        match self.loaded().await {
            Ok(event) => {
                let salt = rand::random();
                let parts = &self.parts;
                let machine = Machine::new(
                    parts.config.clone(),
                    &parts.migration,
                    &parts.instance,
                    salt,
                );
                self.machine = Some(machine);
                info!("this instance steers the migration");
                self.recall(&event).await;
                self.take(event).await;
                self.retell().await;
            }
            Err(error) => {
                warn!(%error, "the driver cannot read its state yet");
                self.now.error = Some(error.to_string());
            }
        }
    }

    /// The last records of those who steered before, for the view alone.
    async fn recall(&mut self, event: &Event) {
        let Event::Loaded {
            state: Some(state), ..
        } = event
        else {
            return;
        };
        let last = state.journal;
        match self
            .store
            .journal(last.saturating_sub(TAIL - 1).max(1)..=last)
            .await
        {
            Ok(records) => self.now.journal = records,
            Err(error) => warn!(%error, "the last records of the journal cannot be read"),
        }
        self.seen.begin_after(last);
    }

    /// The further of the two stored states. Where Redis holds one, Kafka may be out of reach: rolling back must be possible
    /// then. Where it holds none, the copy decides whether this is a first start.
    async fn loaded(&mut self) -> Result<Event, Error> {
        let (in_redis, stored) = match self.store.load().await? {
            Some((state, version)) => (Some(state), version),
            None => (None, 0),
        };
        let copy = Copy::new(&self.parts.kafka, &self.parts.migration)?;
        let in_kafka = match copy.read().await {
            Ok(found) => found,
            Err(error) if in_redis.is_some() => {
                warn!(%error, "the copy of the state in Kafka cannot be read; going on with what Redis holds");
                None
            }
            Err(error) => return Err(error),
        };
        Ok(match further(in_redis, in_kafka) {
            Ok(state) => Event::Loaded {
                state: state.map(Box::new),
                stored,
            },
            Err(trouble) => {
                error!(%trouble, "the stored states do not agree");
                Event::Unfollowable(trouble)
            }
        })
    }

    /// A driver that died between storing and telling told nothing: tell again what is stored.
    async fn retell(&mut self) {
        let Some(state) = self.machine.as_ref().and_then(Machine::stored) else {
            return;
        };
        let flags = flags(state);
        if let Acted::Failed(why) = self.tell(flags).await {
            self.now.error = Some(why);
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
            for command in machine.step(event, now_ms()) {
                match command {
                    Command::Save {
                        state,
                        over,
                        records,
                    } => todo.push(self.save(&state, over, &records).await),
                    Command::Load => match self.loaded().await {
                        Ok(event) => todo.push(event),
                        Err(error) => {
                            self.unread = true;
                            self.now.error = Some(error.to_string());
                        }
                    },
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

    /// The mind keeps what it knew, so that a store that came back with less is noticed.
    async fn reload(&mut self) {
        match self.loaded().await {
            Ok(event) => {
                self.unread = false;
                self.take(event).await;
            }
            Err(error) => self.now.error = Some(error.to_string()),
        }
    }

    async fn save(&mut self, state: &State, over: u64, records: &[Record]) -> Event {
        match self.store.save(state, over, records).await {
            Ok(DriverSaved::Saved) => {
                self.now.error = None;
                for record in records {
                    info!(
                        n = record.n, epoch = record.epoch, who = record.who, verb = record.verb.as_str(),
                        outcome = record.outcome.as_str(), to = %record.to, note = record.note, "journal"
                    );
                }
                self.now.journal.extend_from_slice(records);
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

    /// Does an action; `None`: its outcome comes later.
    async fn act(&mut self, epoch: u64, at: usize, action: Action) -> Option<Acted> {
        Some(match action {
            Action::Precheck => {
                self.precheck(epoch, at);
                return None;
            }
            Action::Tell(told) => {
                let flags = Flags {
                    version: told.version,
                    epoch: told.epoch,
                    consumers: told.share.consumers,
                    ingress: told.share.ingress,
                    hold_ingress_to: told.hold_ingress_to,
                };
                self.tell(flags).await
            }
            Action::Converge { version } => self.converged(version),
            Action::Drain => self.drained(),
        })
    }

    /// Redis has just stored the move; so it is Kafka that is asked.
    fn precheck(&self, epoch: u64, at: usize) {
        let (admin, outcomes) = (Arc::clone(&self.admin), self.outcomes.0.clone());
        tokio::spawn(async move {
            let outcome = match admin.brokers().await {
                Ok(_) => Acted::Done,
                Err(error) => Acted::Failed(format!("Kafka: {error}")),
            };
            // The driver has ended where nobody listens.
            let _ = outcomes.send(Event::Acted { epoch, at, outcome }).await;
        });
    }

    async fn tell(&mut self, flags: Flags) -> Acted {
        let connection = match self.store.connection().await {
            Ok(connection) => connection,
            Err(error) => return Acted::Failed(error.to_string()),
        };
        match self.flags.tell(connection, flags).await {
            // A newer version was told by a newer driver; the store will say so at the next save.
            Ok(_) => Acted::Done,
            Err(error) => Acted::Failed(error.to_string()),
        }
    }

    fn converged(&self, version: u64) -> Acted {
        let now = now_ms();
        let following = self.measurements.following(version, now);
        if following.known == 0 {
            return Acted::NotYet(
                "an application that follows the flags; none is known".to_owned(),
            );
        }
        if !following.behind.is_empty() {
            return Acted::NotYet(format!(
                "{} to follow version {version}",
                following.behind.join(", ")
            ));
        }
        let settled = following
            .last_ms
            .unwrap_or(now)
            .saturating_add(millis(self.parts.config.settle));
        if now < settled {
            return Acted::NotYet("what was begun before the change".to_owned());
        }
        Acted::Done
    }

    fn drained(&self) -> Acted {
        let undrained = self
            .measurements
            .all()
            .into_iter()
            .find(|sample| sample.measure == Measure::Undrained);
        let fresh = undrained.filter(|sample| {
            now_ms().saturating_sub(sample.at_ms) <= millis(self.parts.config.evidence_freshness)
        });
        match fresh.map(|sample| sample.reading) {
            Some(Reading::Value(left)) if left <= 0.0 => Acted::Done,
            Some(Reading::Value(left)) => Acted::NotYet(format!("{left} entries to be mirrored")),
            Some(Reading::Unknown(why)) => Acted::NotYet(format!("the mirror's lag: {why}")),
            Some(Reading::Counted { .. }) | None => {
                Acted::NotYet("the mirror's lag, which is not known".to_owned())
            }
        }
    }

    /// What is measured now, with what was pushed.
    fn observe(&mut self) -> Observation {
        let now = now_ms();
        let status = self.parts.board.snapshot();
        let kafka_up = status.edges.get("kafka").and_then(|edge| edge.up);
        self.kafka_down_since_ms = match kafka_up {
            Some(false) => self.kafka_down_since_ms.or(Some(now)),
            _ => None,
        };
        let down = self
            .kafka_down_since_ms
            .map(|since| now.saturating_sub(since));
        for sample in from_status(&status, self.parts.shards, down, now) {
            self.measurements.put(sample);
        }
        let state = self.machine.as_ref().and_then(Machine::stored);
        let (told, step_since) =
            state.map_or((0, now), |state| (state.told.version, state.since_ms));
        for sample in self.since_step.samples(&status, step_since, now) {
            self.measurements.put(sample);
        }
        let following = self.measurements.following(told, now);
        self.measurements.put(Sample {
            measure: Measure::Clients,
            reading: Reading::Counted {
                faults: following.behind.len() as u64,
                total: following.known,
                since_ms: now,
            },
            at_ms: now,
        });
        let settle = millis(self.parts.config.settle);
        #[expect(clippy::cast_possible_truncation, reason = "saturates")]
        let drain_ms = status
            .mirror
            .forward
            .lag_seconds
            .map(|seconds| (seconds * 1_000.0) as i64);
        Observation {
            samples: self.measurements.all(),
            converge_ms: following
                .period_ms
                .map(|period| period.saturating_add(settle)),
            drain_ms,
        }
    }

    async fn on_request(&mut self, request: Request) {
        let (reply, answer) = match request {
            Request::Ask(who, ask, reply) => (reply, self.ask(who, ask).await),
            Request::Rehearse(who, step, reply) => (reply, self.rehearse(who, step).await),
            Request::Note(who, outcome, note) => {
                drop(self.ask(who, Ask::Note { outcome, note }).await);
                return;
            }
            Request::Journal(after, most, reply) => {
                let _ = reply.send(self.journal(after, most).await);
                return;
            }
        };
        // Who asked may have gone.
        let _ = reply.send(answer);
    }

    /// Whoever steers writes the journal; everybody may read it.
    async fn journal(&mut self, after: u64, most: u64) -> Records {
        let stored = self.store.load().await.map_err(|error| error.to_string())?;
        let total = stored.map_or(0, |(state, _)| state.journal);
        let first = after.saturating_add(1);
        let last = total.min(after.saturating_add(most));
        let records = self.store.journal(first..=last).await;
        Ok((records.map_err(|error| error.to_string())?, total))
    }

    async fn ask(&mut self, who: Who, ask: Ask) -> Reply {
        if self.machine.is_none() {
            let refusal = match &self.now.holder {
                Some(holder) => Refusal::Elsewhere(holder.clone()),
                None => Refusal::NotReady,
            };
            return Err(Box::new(refusal));
        }
        let answer = self.take(Event::Asked(who, ask)).await;
        answer.unwrap_or_else(|| Err(Box::new(Refusal::NotReady)))
    }

    /// The actions of the way back, each as far as it can be done without moving anybody: the flags are written under a name
    /// that nobody reads, and read again.
    async fn rehearse(&mut self, who: Who, step: Step) -> Reply {
        let begun = std::time::Instant::now();
        let way = self
            .machine
            .as_ref()
            .and_then(|machine| machine.way_back_from(step));
        let mut passed = way.is_some();
        let mut note = String::new();
        for action in way.map(|(_, actions)| actions).unwrap_or_default() {
            if let Err(why) = self.try_out(action).await {
                passed = false;
                note = why;
                break;
            }
        }
        let took_ms = millis(begun.elapsed());
        let ask = Ask::Rehearsed {
            step,
            passed,
            note,
            took_ms,
        };
        self.ask(who, ask).await
    }

    async fn try_out(&mut self, action: Action) -> Result<(), String> {
        match action {
            Action::Tell(told) => {
                let key = format!("lockgate:{}:flags-rehearsal", self.parts.migration).into_bytes();
                let fields = [("share".to_owned(), told.share.ingress.to_string())];
                let connection = self
                    .store
                    .connection()
                    .await
                    .map_err(|error| error.to_string())?;
                // Versions of rehearsals only grow, as those of the flags do: the time is one.
                let version = now_ms().cast_unsigned();
                let written = connection
                    .flags_write(&key, version, &fields)
                    .await
                    .map_err(|error| error.to_string())?;
                let read = connection
                    .own_fields(&key)
                    .await
                    .map_err(|error| error.to_string())?;
                let same = read
                    .iter()
                    .any(|(name, value)| name == "version" && *value == version.to_string());
                if written && same {
                    Ok(())
                } else {
                    Err("the flags were not there after writing them".to_owned())
                }
            }
            Action::Converge { .. } => {
                let known = self.measurements.following(0, now_ms()).known;
                if known > 0 {
                    Ok(())
                } else {
                    Err("no application is known that would follow".to_owned())
                }
            }
            Action::Precheck | Action::Drain => Ok(()),
        }
    }

    fn show(&mut self) {
        if let Some(machine) = &self.machine {
            let now = now_ms();
            self.now.state = machine.stored().cloned();
            self.now.verdicts = machine.verdicts(now);
            self.now.margins = machine.margins();
            self.now.waiting = machine.waiting().map(str::to_owned);
            self.now.trouble = machine.trouble().cloned();
            self.now.next = self
                .now
                .state
                .as_ref()
                .and_then(|state| machine.course().next(state.step));
        }
        self.post();
        self.view.send_replace(Arc::new(self.now.clone()));
    }

    /// What every view of the status shows.
    fn post(&mut self) {
        let state = self.now.state.as_ref();
        let machine = self.machine.as_ref();
        let following = machine
            .and(state)
            .map(|state| self.measurements.following(state.told.version, now_ms()));
        let back = machine
            .zip(state)
            .and_then(|(machine, state)| machine.way_back_from(state.furthest()))
            .map(|(to, _)| to);
        let steers = machine.is_some();
        let status = self
            .seen
            .status(&self.now, following.as_ref(), steers, back);
        self.parts.board.driver(status);
    }
}

/// Copies the newest state to Kafka, until stopped. It never holds the driver up.
async fn copy(
    mut copy: Copy,
    mut store: Store,
    mut newest: watch::Receiver<Option<Arc<State>>>,
    stop: CancellationToken,
) {
    const PAUSE: Duration = Duration::from_secs(1);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = newest.changed() => if changed.is_err() { return },
        }
        loop {
            let state = newest.borrow_and_update().clone();
            let Some(state) = state else { break };
            match copy.write(&mut store, &state).await {
                Ok(_) => break,
                Err(error) => {
                    warn!(%error, "the copy of the driver's state was not written; trying again")
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}

/// What a state tells applications.
#[must_use]
pub fn flags(state: &State) -> Flags {
    let told = &state.told;
    Flags {
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
