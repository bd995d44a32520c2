//! The forward mirror: Redis Streams into Kafka, exactly once, in order, onto the partition that the route gives.
//!
//! ```text
//!   discovery ──streams──▶ shard ─▶ term ─▶ opening (fence, checkpoints, audit)
//!   group ────assignment──▶  │         ├──▶ reader (one a database) ──batches──▶ writer (a thread)
//!                            │         └──◀ ends: stopped, changed, failed, fenced
//!   survey ──looks at streams that nobody reads just now──▶ board
//! ```
//!
//! An instance runs a worker for each shard that the group assigns to it. Nothing here decides who owns a shard: the
//! opening of the shard's transactional producer does.

mod amendment;
mod aside;
mod audit;
mod dead_letter;
mod discovery;
mod first;
mod gaps;
mod lane;
mod layout;
mod memory;
mod mend;
mod opening;
mod pace;
mod places;
mod reader;
mod refusal;
mod shard;
mod shared;
mod slot;
mod source;
mod started;
mod survey;
mod term;
mod throttle;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::discovery::{Discovery, Streams};
use self::layout::LayoutWatch;
use self::memory::Memory;
use self::shard::ShardWorker;
use self::survey::Survey;
use crate::backoff::Backoff;
use crate::checkpoint::{Admission, Layout};
use crate::entry::StreamRef;
use crate::placement::Shard;
use crate::tasks::passed_on;
use crate::topics::{self, Assignment, Membership};

pub use self::shard::Lift;
pub use self::shared::Shared;
pub use self::throttle::Throttle;

/// How long a shard may drain before the group takes it away all the same.
const LIFTS_QUEUED: usize = 16;

/// The mirror of one instance.
pub struct Mirror {
    shared: Arc<Shared>,
    lifts: mpsc::Receiver<Lift>,
    admissions: mpsc::Receiver<Admission>,
}

/// What all shards watch.
#[derive(Clone)]
pub struct Seen {
    streams: watch::Receiver<Option<Streams>>,
    layout: watch::Receiver<Option<Layout>>,
}

struct Running {
    stop: CancellationToken,
    lifts: mpsc::Sender<Lift>,
    admissions: mpsc::Sender<Admission>,
    task: JoinHandle<()>,
}

impl Mirror {
    /// The senders lift halts of streams, and ask for a way into their shards' transactions, for whichever shard owns them
    /// here.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> (Self, mpsc::Sender<Lift>, mpsc::Sender<Admission>) {
        let (lift, lifts) = mpsc::channel(LIFTS_QUEUED);
        let (admit, admissions) = mpsc::channel(LIFTS_QUEUED);
        let mirror = Self {
            shared,
            lifts,
            admissions,
        };
        (mirror, lift, admit)
    }

    /// Mirrors until stopped; then drains, commits and leaves the group, so that others take over at once.
    ///
    /// # Errors
    /// Kafka's client cannot be made from the configuration. Stores out of reach are waited for.
    pub async fn run(self, stop: CancellationToken) -> Result<(), topics::Error> {
        let (discovery, streams) = Discovery::new(Arc::clone(&self.shared));
        let mut helpers = JoinSet::new();
        // What Redis has to say is worth the most where Kafka is away from the beginning.
        helpers.spawn(discovery.run(stop.clone()));
        helpers.spawn(Survey::new(Arc::clone(&self.shared)).run(stop.clone()));
        let Some(()) = self.make_topic(&stop).await? else {
            return Ok(());
        };
        let (layout, layouts) = LayoutWatch::new(Arc::clone(&self.shared));
        helpers.spawn(layout.run(stop.clone()));
        let group = format!("lockgate.{}", self.shared.migration);
        let membership = Arc::new(Membership::join(
            &self.shared.kafka,
            &group,
            &self.shared.checkpoints,
            self.shared.session_timeout,
        )?);
        self.shared.board.set_ready(true);
        let seen = Seen {
            streams,
            layout: layouts,
        };
        self.supervise(&membership, &seen, &mut helpers, &stop)
            .await;
        if let Some(membership) = Arc::into_inner(membership) {
            let left = tokio::task::spawn_blocking(move || membership.leave());
            passed_on(left.await);
        }
        while let Some(helper) = helpers.join_next().await {
            passed_on(helper);
        }
        Ok(())
    }

    /// Makes the checkpoint topic unless it is there. `None`: stopped before it could.
    async fn make_topic(&self, stop: &CancellationToken) -> Result<Option<()>, topics::Error> {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        // Ready to go on: what is configured is valid, and stores out of reach are waited for.
        self.shared.board.set_ready(true);
        loop {
            let made = tokio::select! {
                () = stop.cancelled() => return Ok(None),
                made = self.shared.make_checkpoint_topic(None) => made,
            };
            match made {
                Ok(()) => return Ok(Some(())),
                Err(error @ topics::Error::Config { .. }) => return Err(error),
                Err(error) => {
                    self.shared.board.edge_error(
                        "kafka",
                        error.edge_kind(),
                        error.to_string(),
                        true,
                    );
                    warn!(%error, "the checkpoint topic cannot be read or made yet");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(None),
                () = tokio::time::sleep(backoff.next()) => {}
            }
        }
    }

    async fn supervise(
        mut self,
        membership: &Arc<Membership>,
        seen: &Seen,
        helpers: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) {
        let mut assignment = membership.assignment();
        let mut look = tokio::time::interval(Duration::from_secs(1));
        let mut running: BTreeMap<Shard, Running> = BTreeMap::new();
        let mut told: Option<SystemTime> = None;
        let now = assignment.borrow_and_update().clone();
        self.follow(&now, &mut running, membership, seen).await;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                changed = assignment.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let now = assignment.borrow_and_update().clone();
                    self.follow(&now, &mut running, membership, seen).await;
                }
                Some(helper) = helpers.join_next() => passed_on(helper),
                Some(lift) = self.lifts.recv() => self.hand_on(lift, &running),
                Some(admission) = self.admissions.recv() => self.usher(admission, &running),
                _ = look.tick() => {
                    pass_on_panics(&mut running).await;
                    if running.is_empty() {
                        self.show_trouble(membership, &mut told);
                    }
                }
            }
        }
        let all: Vec<Shard> = running.keys().copied().collect();
        release(&all, &mut running, membership, &self.shared).await;
    }

    /// Without a shard nothing else says why the group does not let this instance in.
    fn show_trouble(&self, membership: &Membership, told: &mut Option<SystemTime>) {
        let Some(trouble) = membership.trouble().filter(|new| Some(new.at) != *told) else {
            return;
        };
        *told = Some(trouble.at);
        let text = format!("no shard is assigned: {}", trouble.text);
        self.shared
            .board
            .edge_error("kafka", trouble.edge_kind(), text, false);
    }

    /// Starts what is newly assigned, ends what was taken away. A shard that was lost because Kafka is out of reach keeps
    /// its worker: it waits, and opening the producer anew will tell whose the shard is.
    async fn follow(
        &self,
        now: &Assignment,
        running: &mut BTreeMap<Shard, Running>,
        membership: &Arc<Membership>,
        seen: &Seen,
    ) {
        if now.lost {
            warn!("the group could not be reached for a session's time; the shards wait");
            return;
        }
        let gone: Vec<Shard> = running
            .keys()
            .filter(|shard| !now.shards.contains(shard))
            .copied()
            .collect();
        release(&gone, running, membership, &self.shared).await;
        for &shard in &now.shards {
            running.entry(shard).or_insert_with(|| {
                info!(%shard, "assigned");
                let (sender, lifts) = mpsc::channel(LIFTS_QUEUED);
                let (admit, admissions) = mpsc::channel(LIFTS_QUEUED);
                let stop = CancellationToken::new();
                let worker = ShardWorker {
                    shared: Arc::clone(&self.shared),
                    shard,
                    membership: Arc::clone(membership),
                    seen: seen.clone(),
                    lifts,
                    admissions,
                    memory: Memory::default(),
                };
                let task = tokio::spawn(worker.run(stop.clone()));
                Running {
                    stop,
                    lifts: sender,
                    admissions: admit,
                    task,
                }
            });
        }
    }

    /// An admission that nobody takes is dropped, which tells who asked.
    fn usher(&self, admission: Admission, running: &BTreeMap<Shard, Running>) {
        if let Some(worker) = self.owner(&admission.stream, running) {
            let _ = worker.admissions.try_send(admission);
        }
    }

    fn owner<'a>(
        &self,
        stream: &StreamRef,
        running: &'a BTreeMap<Shard, Running>,
    ) -> Option<&'a Running> {
        let mut owner = None;
        self.shared
            .board
            .stream(stream, |cell| owner = Some(cell.shard));
        running.get(&owner?)
    }

    fn hand_on(&self, lift: Lift, running: &BTreeMap<Shard, Running>) {
        if let Some(worker) = self.owner(&lift.stream, running)
            && worker.lifts.try_send(lift).is_err()
        {
            warn!("a halt could not be lifted: too many at once; ask again");
        }
    }
}

/// A worker ends only when it is told to: one that ended by itself panicked, and so does the mirror, and the process ends.
async fn pass_on_panics(running: &mut BTreeMap<Shard, Running>) {
    let ended: Vec<Shard> = running
        .iter()
        .filter(|(_, worker)| worker.task.is_finished())
        .map(|(shard, _)| *shard)
        .collect();
    for shard in ended {
        if let Some(worker) = running.remove(&shard) {
            passed_on(worker.task.await);
        }
    }
}

async fn release(
    shards: &[Shard],
    running: &mut BTreeMap<Shard, Running>,
    membership: &Membership,
    shared: &Shared,
) {
    for shard in shards {
        if let Some(worker) = running.get(shard) {
            worker.stop.cancel();
        }
    }
    for shard in shards {
        let Some(worker) = running.remove(shard) else {
            continue;
        };
        passed_on(worker.task.await);
        membership.released(*shard);
        shared.board.disown_shard(*shard);
        info!(%shard, "released");
    }
}
