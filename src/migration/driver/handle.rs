//! The outside's way to a driver: requests in, a view of what stands out.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::copying::Copied;
use crate::migration::gate::{Limits, Measure, Verdict};
use crate::migration::measure::Measurements;
use crate::migration::phase::Step;
use crate::migration::step::{Answer, Ask, Outcome, Record, Refusal, Said, State, Trouble, Who};

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
    /// Why an attempt at it would not be begun, though all gates be open.
    pub unfit: Option<Refusal>,
    /// How long going back from here is likely to take; `None`: it cannot be reckoned, or another instance's to say.
    pub way_back_ms: Option<i64>,
    pub waiting: Option<String>,
    pub trouble: Option<Trouble>,
    /// Who steers, where it is not this instance.
    pub holder: Option<String>,
    /// Whether this instance does: one that neither does nor knows who does has lost its lease, or has no state yet.
    pub steers: bool,
    /// Where rolling back leads from here.
    pub back: Option<Step>,
    /// Why the store could not be read or written last.
    pub error: Option<String>,
    /// How far the copy in Kafka is, where this instance writes it.
    pub copied: Copied,
    pub journal: Vec<Record>,
    pub margins: BTreeMap<Measure, Option<f64>>,
    /// Of the baseline's throughput.
    pub pace: Option<f64>,
    /// Of the brokers, as a Prometheus or an application last said: the fullest one's share of its disk, and how many seconds a
    /// follower is behind.
    pub disk: Option<Said>,
    pub replication: Option<Said>,
}

/// The outside's way to a driver.
#[derive(Clone)]
pub struct Handle {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) view: watch::Receiver<Arc<View>>,
    pub measurements: Measurements,
    /// What latencies are held against.
    pub limits: Limits,
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

    /// Notes what was asked of this instance beside the migration: the one who steers takes it into the journal. Where this
    /// instance is too busy to listen, the log alone has it.
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

    /// For who waits until something else is seen.
    #[must_use]
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }
}
