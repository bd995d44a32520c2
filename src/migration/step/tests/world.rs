//! A world for the driver's mind: a store that compares versions, flags that only go forward, drivers that crash, sleep and
//! wake, and acts whose answers get lost. Everything that must always hold is checked at every turn.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::*;
use crate::migration::gate::{Answer as Verdict, Reading};
use crate::migration::phase::{Share, Step};

/// Windows of a second or two, so that a sequence gets far.
pub fn config() -> Migration {
    let mut config = Migration::default();
    let short = Duration::from_secs(1);
    config.soak.shadow = short;
    config.soak.consumers = short;
    config.soak.ingress = short;
    config.soak.last = short;
    config.gates.mirror_lag_window = short;
    config.gates.incidents_window = short;
    config.gates.groups_window = short;
    config.gates.duplicate_hits_window = short;
    config.tripwires.rearm_evaluations = 2;
    config
}

/// splitmix64: repeatable from its seed.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    pub fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

/// What the measurements say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weather {
    Good,
    Unknown,
    Old,
    /// Good but for one, which is bad.
    Bad(Measure),
}

pub struct Driver {
    pub machine: Machine,
    pub acts: Vec<(u64, usize, Action)>,
    pub answers: Vec<Result<Box<Answer>, Box<Refusal>>>,
    /// What is stored could not be read when it was asked for.
    pub unread: bool,
    /// Whether the last observation, and each of the last seconds, said that all is well.
    all_good: bool,
}

pub struct World {
    pub dice: Dice,
    pub now_ms: i64,
    pub store: Option<State>,
    /// What the copy holds: some save, not necessarily the last.
    pub copy: Option<State>,
    pub records: u64,
    pub last_records: Vec<Record>,
    pub flags: Option<Told>,
    pub drivers: Vec<Driver>,
    given: BTreeMap<(u64, usize), Action>,
    pub transitions: BTreeSet<(Name, &'static str, Name)>,
    salt: u64,
    /// Every save succeeds.
    pub sure: bool,
    /// Applications are slow to follow.
    pub slow: bool,
    /// The next save is stored, and its answer is lost.
    pub mute: bool,
    /// Redis takes no writes.
    pub refusing: bool,
    /// The flags are of this version, which no state told.
    pub leftover: Option<u64>,
    /// Redis lost records of the journal with the state.
    pub lossy: bool,
}

pub fn who() -> Who {
    Who {
        name: "ana".to_owned(),
        origin: "127.0.0.1".to_owned(),
    }
}

pub const WHY: &str = "because the test says so";

impl World {
    /// One driver that has loaded a state at `step`, its flags published.
    pub fn at(step: Step, seed: u64) -> Self {
        let now_ms = 1_800_000_000_000;
        let mut state = State::first(now_ms, "test");
        state.step = step;
        state.told.share = step.share();
        state.epoch = 1;
        state.version = 1;
        state.lineage.grow(1, now_ms, 0);
        state.baseline = Some(Baseline {
            at_ms: now_ms,
            by: "ana".to_owned(),
            throughput: 1_000.0,
            duplicate_hits: Some(0.02),
            beside: BTreeMap::new(),
        });
        let mut world = Self {
            dice: Dice(seed),
            now_ms,
            flags: Some(state.told),
            copy: Some(state.clone()),
            store: Some(state),
            records: 0,
            last_records: Vec::new(),
            drivers: Vec::new(),
            given: BTreeMap::new(),
            transitions: BTreeSet::new(),
            salt: 0,
            sure: seed == 0,
            slow: false,
            mute: false,
            refusing: false,
            leftover: None,
            lossy: false,
        };
        world.start();
        world
    }

    /// Starts another driver; answers its number.
    pub fn start(&mut self) -> usize {
        self.start_remembering(None)
    }

    /// The same, in a process that saw a state before.
    pub fn start_remembering(&mut self, seen: Option<State>) -> usize {
        self.salt += 1;
        let mut config = config();
        config.tripwires.group_lag.action = crate::config::migration::Action::Freeze;
        self.drivers.push(Driver {
            machine: Machine::new(config, "demo", "test", self.salt).remembering(seen),
            acts: Vec::new(),
            answers: Vec::new(),
            unread: false,
            all_good: false,
        });
        let number = self.drivers.len() - 1;
        self.load(number);
        number
    }

    /// Flags that somebody else told, in a later version.
    pub fn leave_flags(&mut self) {
        let version = self.state().told.version + 40;
        self.leftover = Some(version);
        self.flags = Some(Told {
            version,
            epoch: 900,
            share: Share {
                consumers: 100,
                ingress: 100,
            },
            hold_ingress_to: None,
        });
    }

    /// Redis comes back from a backup, and everybody dies.
    pub fn restore(&mut self, backup: State) {
        self.lossy = true;
        self.records = backup.journal;
        self.flags = Some(backup.told);
        self.store = Some(backup);
        self.drivers.clear();
        self.given.clear();
    }

    /// The copy is read, and with it what is stored.
    pub fn compare(&mut self, number: usize) {
        let copy = self.copy.clone().map(Box::new);
        self.give(number, Event::Copied(copy), "copied");
        self.load(number);
    }

    pub fn load(&mut self, number: usize) {
        self.drivers[number].unread = false;
        let stored = self.store.as_ref().map_or(0, |state| state.version);
        let state = self.store.clone().map(Box::new);
        self.give(number, Event::Loaded { state, stored }, "loaded");
        self.retell(number);
    }

    /// What was read is told again.
    fn retell(&mut self, number: usize) {
        for _ in 0..2 {
            let machine = &self.drivers[number].machine;
            let told = machine.stored().map(|state| state.told);
            let Some(told) = told.filter(|_| machine.trouble().is_none()) else {
                return;
            };
            match self.tell(told) {
                Some(later) => self.give(number, Event::Outrun(later), "outrun"),
                None => return,
            }
        }
    }

    pub fn state(&self) -> &State {
        self.store.as_ref().expect("stored")
    }

    pub fn give(&mut self, number: usize, event: Event, cause: &'static str) {
        let commands = self.drivers[number].machine.step(event, self.now_ms);
        self.obey(number, commands, cause);
    }

    fn obey(&mut self, number: usize, commands: Vec<Command>, cause: &'static str) {
        for command in commands {
            match command {
                Command::Save {
                    state,
                    over,
                    records,
                } => {
                    let event = self.save(number, *state, over, records, cause);
                    self.give(number, event, "saved");
                }
                // Redis does not answer either, or takes no writes; it is asked again at the next turn.
                Command::Load if self.refusing || !self.sure && self.dice.one_in(3) => {
                    self.drivers[number].unread = true;
                }
                Command::Load => self.load(number),
                Command::Act { epoch, at, action } => {
                    let before = self.given.insert((epoch, at), action);
                    assert!(
                        before.is_none_or(|before| before == action),
                        "{epoch}/{at} was {before:?} and is {action:?}"
                    );
                    let now = self.state();
                    assert!(now.epoch >= epoch, "acted on what was not stored");
                    self.drivers[number].acts.push((epoch, at, action));
                }
                Command::Answer(answer) => self.drivers[number].answers.push(answer),
            }
        }
    }

    fn save(
        &mut self,
        number: usize,
        state: State,
        over: u64,
        records: Vec<Record>,
        cause: &'static str,
    ) -> Event {
        let reached = match std::mem::take(&mut self.mute) {
            _ if self.refusing => 0,
            true => 1,
            false if self.sure => 9,
            false => self.dice.roll(20),
        };
        if reached == 0 {
            return Event::NotSaved(NotSaved::Unreachable);
        }
        if over != self.state().version {
            return Event::NotSaved(NotSaved::Conflict);
        }
        self.check_save(number, &state, &records);
        let (before, after) = (self.state().name(), state.name());
        if before != after {
            self.transitions.insert((before, cause, after));
        }
        self.records = state.journal;
        self.last_records = records;
        self.store = Some(state);
        if self.sure || self.dice.one_in(3) {
            self.copy.clone_from(&self.store);
        }
        if reached == 1 {
            // It is stored, and the answer was lost.
            return Event::NotSaved(NotSaved::Unreachable);
        }
        Event::Saved
    }

    fn check_save(&self, number: usize, state: &State, records: &[Record]) {
        let old = self.state();
        assert!(state.epoch >= old.epoch, "an epoch went back");
        assert!(state.version > old.version, "a version went back");
        assert!(state.told.version >= old.told.version || state.epoch > old.epoch);
        let numbers: Vec<u64> = records.iter().map(|record| record.n).collect();
        let expected: Vec<u64> = (old.journal + 1..=state.journal).collect();
        assert!(
            self.lossy || numbers == expected,
            "the journal has no gap and no repeat: {numbers:?} {expected:?}"
        );
        if state.epoch != old.epoch || state.step != old.step || state.motion != old.motion {
            assert!(
                self.lossy || !records.is_empty(),
                "a change of course without a record"
            );
        }
        // Nobody is told of more than the state allows.
        match &state.motion {
            None => assert!(state.tells_only(state.step), "{state:?}"),
            Some(motion) => {
                let most = motion.from.max(motion.to).share();
                assert!(
                    state.told.share.ingress <= most.ingress
                        && state.told.share.consumers <= most.consumers
                );
                if motion.direction == Direction::Back {
                    check_way_back(state, motion);
                }
            }
        }
        if state.frozen.is_some() {
            let forward = state
                .motion
                .as_ref()
                .is_some_and(|motion| motion.direction == Direction::Forward);
            assert!(!forward, "nothing goes on while frozen");
        }
        let began = |record: &&Record| {
            record.outcome == Outcome::Begun
                && matches!(record.verb, Verb::Promote | Verb::Complete)
                && record.who == "ana"
        };
        if let Some(record) = records.iter().find(began) {
            assert!(
                !record.evidence.is_empty()
                    && record.evidence.iter().all(|v| v.verdict == Verdict::Pass)
            );
            assert!(
                self.drivers[number].all_good,
                "a gate opened in bad weather"
            );
        }
        let forward = |record: &&Record| matches!(record.verb, Verb::Promote | Verb::Complete);
        for record in records.iter().filter(forward) {
            assert!(
                record.outcome != Outcome::Done || record.to > record.from,
                "what leads back is no promotion that was done: {record:?}"
            );
        }
        if let Some(motion) = &old.motion
            && motion.undoes.is_some()
            && state.motion.is_none()
            && !self.lossy
        {
            let undone = |record: &Record| record.outcome == Outcome::Undone;
            assert!(records.iter().any(undone), "{records:?}");
            assert_eq!(
                (state.step, state.since_ms, state.soaked_ms, &state.holding),
                (old.step, old.since_ms, old.soaked_ms, &old.holding),
                "what was undone took something with it"
            );
        }
        if old.step == Step::DONE {
            assert_eq!(
                (state.step, &state.motion),
                (Step::DONE, &None),
                "complete is for good"
            );
        }
    }

    /// Flags are written as the store's script does it: never back, and the later version is answered.
    pub fn tell(&mut self, told: Told) -> Option<u64> {
        match &self.flags {
            Some(known) if known.version > told.version => return Some(known.version),
            Some(known) if known.version == told.version => {
                assert_eq!(*known, told, "one version, two contents")
            }
            _ => self.flags = Some(told),
        }
        None
    }

    /// What must hold whenever one looks.
    pub fn check(&self) {
        let state = self.state();
        let flags = self.flags.expect("told since the start");
        if self.leftover == Some(flags.version) {
            // Nobody who could be heard has told anything yet.
            return;
        }
        assert!(
            flags.version <= state.told.version,
            "told more than is stored"
        );
        if flags.version == state.told.version {
            assert_eq!(flags, state.told);
        }
        if state.motion.is_none() {
            assert_eq!(
                flags, state.told,
                "steady, and the flags say something else"
            );
            assert_eq!(
                (flags.share, flags.hold_ingress_to),
                (state.step.share(), None)
            );
        }
        assert_eq!(self.records, state.journal);
    }

    pub fn observe(&mut self, number: usize, weather: Weather) {
        let at_ms = if weather == Weather::Old {
            self.now_ms - 60_000
        } else {
            self.now_ms
        };
        let since_ms = self.drivers[number]
            .machine
            .stored()
            .map_or(0, |state| state.since_ms);
        let samples = Measure::ALL
            .iter()
            .map(|measure| Sample {
                measure: *measure,
                reading: match weather {
                    Weather::Unknown => Reading::Unknown("fog".to_owned()),
                    Weather::Bad(bad) if bad == *measure => reading(*measure, false, since_ms),
                    _ => reading(*measure, true, since_ms),
                },
                at_ms,
            })
            .collect();
        self.drivers[number].all_good = weather == Weather::Good;
        let observation = Observation {
            samples,
            counts: None,
            wellness: None,
            converge_ms: Some(if self.slow { 31_000 } else { 1_000 }),
            drain_ms: Some(10),
            looks_ms: 0,
        };
        self.give(number, Event::Observed(observation), "tripwire");
    }

    /// A look at nothing but the counters and Kafka.
    pub fn look(&mut self, number: usize, counts: Counts, wellness: Wellness) {
        let observation = Observation {
            counts: Some(counts),
            wellness: Some(wellness),
            ..Observation::default()
        };
        self.give(number, Event::Observed(observation), "looked");
    }

    pub fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
    }

    /// Executes the oldest act of a driver, and answers it unless the answer is lost.
    pub fn act(&mut self, number: usize, mut outcome: Acted, lost: bool) {
        if self.drivers[number].acts.is_empty() {
            return;
        }
        let (epoch, at, action) = self.drivers[number].acts.remove(0);
        if outcome == Acted::Done
            && let Action::Tell(told) = action
            && let Some(later) = self.tell(told)
        {
            outcome = Acted::Outrun(later);
        }
        let cause = if matches!(outcome, Acted::Failed(_)) {
            "failed"
        } else {
            "arrived"
        };
        if !lost {
            self.give(number, Event::Acted { epoch, at, outcome }, cause);
        }
    }

    pub fn ask(
        &mut self,
        number: usize,
        ask: Ask,
        cause: &'static str,
    ) -> Option<Result<Box<Answer>, Box<Refusal>>> {
        self.drivers[number].answers.clear();
        self.give(number, Event::Asked(who(), ask), cause);
        self.drivers[number].answers.pop()
    }

    /// Everything that a promotion needs, and the asking.
    pub fn promote(&mut self, number: usize, verb: Verb) -> Result<(), Box<Refusal>> {
        self.open(number);
        self.apply(number, verb)
    }

    /// Everything that a promotion needs.
    pub fn open(&mut self, number: usize) {
        let step = self.state().step;
        if let Some(next) = self.drivers[number].machine.course().next(step) {
            let proof = Ask::Rehearsed {
                step: next,
                passed: true,
                note: String::new(),
                took_ms: 1,
            };
            self.ask(number, proof, "rehearse");
        }
        self.observe(number, Weather::Good);
        self.ask(number, Ask::Baseline, "baseline");
        for _ in 0..3 {
            self.pass(1_000);
            self.observe(number, Weather::Good);
        }
    }

    pub fn apply(&mut self, number: usize, verb: Verb) -> Result<(), Box<Refusal>> {
        let cause = verb.as_str();
        let answered = self.ask(number, Ask::Plan { verb, to: None }, "plan");
        let plan = match answered {
            Some(Ok(answer)) => match *answer {
                Answer::Plan(plan) => plan.id,
                Answer::Accepted { .. } | Answer::Recorded { .. } | Answer::Rehearsed { .. } => {
                    unreachable!("a plan was asked for")
                }
            },
            Some(Err(refusal)) => return Err(refusal),
            None => return Err(Box::new(Refusal::NotReady)),
        };
        let ask = Ask::Apply {
            plan,
            reason: WHY.to_owned(),
            typed: Some("demo".to_owned()),
        };
        match self.ask(number, ask, cause) {
            Some(answer) => answer.map(drop),
            None => Err(Box::new(Refusal::NotReady)),
        }
    }

    /// Lets a driver finish what it does, everything succeeding.
    pub fn finish(&mut self, number: usize) {
        for _ in 0..100 {
            self.give(number, Event::Tick, "deadline");
            while !self.drivers[number].acts.is_empty() {
                self.act(number, Acted::Done, false);
            }
            if self.state().motion.is_none() {
                return;
            }
        }
        panic!("it does not come to an end: {:?}", self.state());
    }
}

/// A reading well on the good or the bad side of every gate and tripwire.
fn reading(measure: Measure, good: bool, since_ms: i64) -> Reading {
    let counted = |faults| Reading::Counted {
        faults: if good { 0 } else { faults },
        total: if good { 100_000 } else { 1_000 },
        since_ms,
    };
    let value = |well, badly| Reading::Value(if good { well } else { badly });
    match measure {
        Measure::Parity | Measure::AddedLatency | Measure::DeadLetters | Measure::ProduceErrors => {
            counted(90)
        }
        Measure::ErrorRate => counted(90),
        Measure::ProduceLatency | Measure::WriteLatency | Measure::EndToEnd | Measure::Archive => {
            counted(90)
        }
        Measure::Clients => counted(1),
        // The baseline is recorded in good weather: a share of 1, or none yet.
        Measure::Throughput => value(1_000.0, 1.0),
        Measure::DuplicateHits => value(0.02, 0.9),
        Measure::MirrorLag | Measure::GroupLag => value(0.0, 1e9),
        Measure::RedisGroupLag | Measure::RedisGroupPending => value(0.0, 1e9),
        Measure::Inconsistency | Measure::Incident | Measure::Duplicates => value(0.0, 1.0),
        Measure::UnderReplicated | Measure::Undrained | Measure::Strays => value(0.0, 1.0),
        Measure::ReplicationLag => value(0.0, 60.0),
        Measure::Disk => value(0.1, 0.99),
    }
}

/// Going back tells writers at once, and readers too, or once nobody is known to write to Kafka.
fn check_way_back(state: &State, motion: &Motion) {
    let (told, to) = (state.told, motion.to.share());
    assert_eq!(
        (told.share.ingress, told.hold_ingress_to),
        (to.ingress, None)
    );
    let tells_readers =
        |action: &Action| matches!(action, Action::Tell(later) if later.share == to);
    let later = motion.actions.iter().skip(motion.at + 1).any(tells_readers);
    assert!(told.share == to || later, "{motion:?}");
}

/// What applications see at the beginning.
pub fn redis_only(told: Told) -> bool {
    told.share == Share::REDIS_ONLY && told.hold_ingress_to.is_none()
}
