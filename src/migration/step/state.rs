//! What the driver remembers: the whole of it is stored at every change, and nothing that matters is anywhere else.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::journal::Who;
use super::lineage::Lineage;
use super::tally::{Lot, Reached, Tally};
use crate::migration::gate::{GateName, Held, Measure, Reading, Sample};
use crate::migration::phase::{Share, Step};
use crate::migration::tripwire::Trip;
use crate::placement::KafkaBorn;

/// The driver's state. `version` grows with every save and is what the store compares; `epoch` grows with every change of
/// course and is what plans, commands and copies are told apart by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub v: u32,
    pub version: u64,
    pub epoch: u64,
    pub lineage: Lineage,
    /// Where it stands; while something moves: where that began.
    pub step: Step,
    pub since_ms: i64,
    pub by: String,
    pub motion: Option<Motion>,
    pub held: Option<Stop>,
    pub frozen: Option<Stop>,
    pub told: Told,
    /// Proofs of the way back, by the step that it leads back from.
    pub rehearsed: BTreeMap<Step, Rehearsal>,
    pub baseline: Option<Baseline>,
    /// The settings as they were last seen, and how often they have changed.
    pub settings: Settings,
    pub settings_number: u64,
    pub holding: BTreeMap<GateName, Held>,
    pub trips: BTreeMap<Measure, Trip>,
    /// What only applications know, as they last said.
    #[serde(default)]
    pub pushed: BTreeMap<Measure, Sample>,
    /// Who said it.
    #[serde(default)]
    pub pushed_by: BTreeMap<Measure, Who>,
    #[serde(default)]
    pub tally: Tally,
    /// What the tally has verified, by route.
    #[serde(default)]
    pub verified: BTreeMap<String, u64>,
    /// The newest of what is in the sums, the oldest at the front.
    #[serde(default)]
    pub recent: VecDeque<Lot>,
    /// For how long it was looked at at this step, and when last (0: a version stored it that only knew `since_ms`).
    #[serde(default)]
    pub soaked_ms: i64,
    #[serde(default)]
    pub looked_ms: i64,
    /// How far the counters of each process are in the sums.
    #[serde(default)]
    pub processes: BTreeMap<u64, Reached>,
    /// Since when Kafka has been out of reach, or a routed partition without one of its replicas.
    #[serde(default)]
    pub unwell_since_ms: Option<i64>,
    /// When applications may have written to Kafka themselves.
    #[serde(default)]
    pub kafka_born: Option<KafkaBorn>,
    /// When they may have been told to: a hold alone sends nobody to Kafka.
    #[serde(default)]
    pub kafka_written: Option<KafkaBorn>,
    /// When the last reader had left Kafka, the last time that all were told to.
    #[serde(default)]
    pub readers_left_ms: Option<i64>,
    /// Records in the journal.
    pub journal: u64,
}

/// What readers who leave Kafka do not get.
const LEFT: &str = "what applications wrote to Kafka and its readers have not read is not in Redis; at consumers:100 they can read to \
                    the end first";

/// Settings by name, as texts. Shared: a state is copied at every change, and they hardly ever change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings(pub Arc<BTreeMap<String, String>>);

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(|settings| Self(Arc::new(settings)))
    }
}

/// What applications are told: a function of where the driver stands, numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    pub version: u64,
    pub epoch: u64,
    pub share: Share,
    /// Buckets from `share.ingress` up to this percentage are written by nobody for a moment.
    pub hold_ingress_to: Option<u8>,
}

/// Why nothing is promoted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    pub at_ms: i64,
    pub by: String,
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Forward,
    Back,
}

/// A change of course on its way: what is done, in order, and how far it is. Stored before each action is begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Motion {
    pub verb: Verb,
    pub direction: Direction,
    pub from: Step,
    pub to: Step,
    pub actions: Vec<Action>,
    /// The action that is being done; all before it are.
    pub at: usize,
    pub begun_ms: i64,
    /// Forward: when it is given up. Back: when it no longer waits for those who do not answer.
    pub deadline_ms: i64,
    pub by: String,
    pub reason: String,
    /// The step that could not be reached, where this leads back from the attempt: it is as if it had not been begun.
    #[serde(default)]
    pub undoes: Option<Step>,
}

/// One thing to do. Each may be done again after a crash, and has the same effect then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Both stores answer, and every routed partition takes records.
    Precheck,
    /// Publish what applications are told.
    Tell(Told),
    /// Every known application follows this version.
    Converge { version: u64 },
    /// Both mirrors have carried what was written before.
    Drain,
}

impl Action {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Precheck => {
                "look whether both stores answer and every routed partition takes records"
            }
            Self::Tell(Told {
                hold_ingress_to: Some(_),
                ..
            }) => "tell applications to hold the buckets that move",
            Self::Tell(_) => "tell applications",
            Self::Converge { .. } => "wait until every application follows",
            Self::Drain => "wait until the mirror is level",
        }
    }
}

/// What moves or stops a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    Promote,
    Hold,
    Resume,
    Rollback,
    Complete,
    Tripwire,
    Rehearse,
    Baseline,
    Evidence,
    Configure,
    /// The first start, and taking over a state.
    Start,
    /// A call of the API that was turned away, or that changed something beside the migration.
    Call,
}

impl Verb {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Hold => "hold",
            Self::Resume => "resume",
            Self::Rollback => "rollback",
            Self::Complete => "complete",
            Self::Tripwire => "tripwire",
            Self::Rehearse => "rehearse",
            Self::Baseline => "baseline",
            Self::Evidence => "evidence",
            Self::Configure => "configure",
            Self::Start => "start",
            Self::Call => "call",
        }
    }
}

/// A proof that the way back from a step is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehearsal {
    pub at_ms: i64,
    pub passed: bool,
    pub note: String,
    pub took_ms: i64,
    /// The settings that it was made under.
    pub settings_number: u64,
}

/// How Redis alone did, recorded before the start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    pub at_ms: i64,
    pub by: String,
    /// Entries a second.
    pub throughput: f64,
    /// Share of writes that the application knew already, where it reports that.
    pub duplicate_hits: Option<f64>,
    /// Latency and lag as they were then, for people to hold against what comes later.
    #[serde(default)]
    pub beside: BTreeMap<Measure, Reading>,
}

/// The word for where the driver stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    Steady,
    Moving,
    Held,
    Frozen,
    RollingBack,
}

impl Name {
    pub const ALL: [Self; 5] = [
        Self::Steady,
        Self::Moving,
        Self::Held,
        Self::Frozen,
        Self::RollingBack,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Moving => "moving",
            Self::Held => "held",
            Self::Frozen => "frozen",
            Self::RollingBack => "rolling_back",
        }
    }
}

impl State {
    /// Since when it is as it is: stopped, under way, or at its step.
    #[must_use]
    pub fn stands_since_ms(&self) -> i64 {
        let stop = self.frozen.as_ref().or(self.held.as_ref());
        stop.map(|stop| stop.at_ms)
            .or(self.motion.as_ref().map(|motion| motion.begun_ms))
            .unwrap_or(self.since_ms)
    }

    /// When a step forward gives up.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<i64> {
        let motion = self.motion.as_ref()?;
        (motion.direction == Direction::Forward).then_some(motion.deadline_ms)
    }

    /// Where every migration begins: all is Redis's.
    #[must_use]
    pub fn first(now_ms: i64, by: &str) -> Self {
        Self {
            v: 1,
            version: 0,
            epoch: 0,
            lineage: Lineage::default(),
            step: Step::SHADOW,
            since_ms: now_ms,
            by: by.to_owned(),
            motion: None,
            held: None,
            frozen: None,
            told: Told {
                version: 1,
                epoch: 1,
                share: Share::REDIS_ONLY,
                hold_ingress_to: None,
            },
            rehearsed: BTreeMap::new(),
            baseline: None,
            settings: Settings::default(),
            settings_number: 0,
            holding: BTreeMap::new(),
            trips: BTreeMap::new(),
            pushed: BTreeMap::new(),
            pushed_by: BTreeMap::new(),
            tally: Tally::default(),
            verified: BTreeMap::new(),
            recent: VecDeque::new(),
            soaked_ms: 0,
            looked_ms: now_ms,
            processes: BTreeMap::new(),
            unwell_since_ms: None,
            kafka_born: None,
            kafka_written: None,
            readers_left_ms: None,
            journal: 0,
        }
    }

    /// Of two states of one history the greater is the further.
    #[must_use]
    pub const fn rank(&self) -> (u64, u64) {
        (self.epoch, self.version)
    }

    #[must_use]
    pub fn name(&self) -> Name {
        match &self.motion {
            _ if self.frozen.is_some() => Name::Frozen,
            Some(motion) if motion.direction == Direction::Forward => Name::Moving,
            Some(_) => Name::RollingBack,
            None if self.held.is_some() => Name::Held,
            None => Name::Steady,
        }
    }

    /// The furthest step that anybody may have been told of.
    #[must_use]
    pub fn furthest(&self) -> Step {
        match &self.motion {
            Some(motion) => motion.from.max(motion.to),
            None => self.step,
        }
    }

    /// The furthest step whose rules hold. What is being completed is not done until all of it is: there is a way back, and
    /// what is wrong is acted on.
    #[must_use]
    pub fn watched(&self) -> Step {
        if self.step == Step::DONE {
            Step::DONE
        } else {
            self.furthest().min(Step::CLEANUP)
        }
    }

    /// Nobody is told yet, and what is told is part of the state from before the telling on.
    pub(super) fn tell(&mut self, told: Told, now_ms: i64) {
        let writes = |told: Told| told.share.ingress > 0 || told.hold_ingress_to.is_some();
        // Those who do not follow yet go by what was told before.
        let before = std::mem::replace(&mut self.told, told);
        if writes(before) || writes(told) {
            self.kafka_born = Some(KafkaBorn::opened(self.kafka_born, now_ms));
        }
        if before.share.ingress > 0 || told.share.ingress > 0 {
            self.kafka_written = Some(KafkaBorn::opened(self.kafka_written, now_ms));
        }
    }

    /// Every application that answers follows what is told.
    pub(super) fn followed(&mut self, now_ms: i64) {
        if self.told.share.ingress == 0 && self.told.hold_ingress_to.is_none() {
            let close = |open: KafkaBorn| open.closed(now_ms);
            self.kafka_born = self.kafka_born.map(close);
            self.kafka_written = self.kafka_written.map(close);
        }
        if self.told.share.consumers == 0 {
            self.readers_left_ms = Some(now_ms);
        }
    }

    /// Whether any application may write to Kafka itself.
    pub(super) fn may_write_kafka(&self) -> bool {
        let open = |written: KafkaBorn| written.until_ms.is_none();
        self.told.share.ingress > 0 || self.kafka_written.is_some_and(open)
    }

    /// Whether Kafka may hold what applications wrote there and its readers have not read yet: nothing brings it into Redis.
    /// Once all readers had left, what they did not read is left already.
    #[must_use]
    pub fn may_hold_unread(&self) -> bool {
        let since_left = |written: KafkaBorn| match (written.until_ms, self.readers_left_ms) {
            (Some(until_ms), Some(left_ms)) => until_ms > left_ms,
            _ => true,
        };
        self.may_write_kafka() || self.kafka_written.is_some_and(since_left)
    }

    /// What going back to a step leaves behind, for people.
    #[must_use]
    pub fn leaves(&self, to: Step) -> Option<&'static str> {
        (to.share().consumers < 100 && self.may_hold_unread()).then_some(LEFT)
    }

    /// Whether more than this step's share was told, or something to hold.
    #[must_use]
    pub fn tells_only(&self, step: Step) -> bool {
        self.told.share == step.share() && self.told.hold_ingress_to.is_none()
    }
}

impl Motion {
    #[must_use]
    pub fn action(&self) -> Option<Action> {
        self.actions.get(self.at).copied()
    }
}
