//! A migration of its own on the shared servers, driven in this process, and a world around it in which all is well but for
//! what a test says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockgate::config::{self, Migration};
use lockgate::flags::{FlagsReader, FlagsWriter};
use lockgate::migration::driver::{Driver, Handle, Parts, now_ms};
use lockgate::migration::evidence::{self, Gatherer};
use lockgate::migration::gate::{Measure, Reading, Sample, Verdict};
use lockgate::migration::phase::Step;
use lockgate::migration::step::{
    Answer, Ask, Name, Plan, Refusal, Sections, Settings, State, Verb, Who, beside,
};
use lockgate::migration::store::{Copy, Store};
use lockgate::status::{Board, ParityState};
use lockgate::streams::Redis;
use lockgate::topics::Kafka;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::harness::{eventually_async, kafka, redis, unique};

pub const LONG: Duration = Duration::from_secs(60);

pub struct Site {
    pub name: String,
    pub database: u32,
    pub config: Migration,
    pub prometheus: config::Prometheus,
    pub flags: config::Flags,
    /// A test may put a proxy, or servers of its own, here.
    pub redis_url: String,
    pub bootstrap: String,
    pub looks_every: Duration,
    /// Where the one route leads; it exists where a test makes it.
    pub topic: String,
    /// What the world leaves alone: it is measured in earnest.
    pub real: &'static [Measure],
}

pub struct Running {
    pub handle: Handle,
    pub flags: FlagsReader,
    pub board: Arc<Board>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    gathering: Option<JoinHandle<()>>,
    /// What measures and follows, a few times a second.
    pub world: JoinHandle<()>,
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

pub fn who() -> Who {
    Who {
        name: "ana".to_owned(),
        origin: "127.0.0.1".to_owned(),
    }
}

pub const WHY: &str = "the test asks for it";

impl Site {
    pub fn new(what: &str) -> Self {
        let mut config = Migration {
            evaluate_every: Duration::from_millis(50),
            settle: Duration::ZERO,
            lease: Duration::from_secs(2),
            ..Migration::default()
        };
        let short = Duration::from_millis(200);
        config.soak = config::migration::Soak {
            shadow: short,
            consumers: short,
            ingress: short,
            last: short,
        };
        config.gates.mirror_lag_window = short;
        config.gates.incidents_window = short;
        config.gates.groups_window = short;
        config.gates.duplicate_hits_window = short;
        let (name, database) = (unique(what), redis().own_database());
        Self {
            topic: format!("{name}.v1"),
            name,
            database,
            config,
            prometheus: config::Prometheus::default(),
            flags: config::Flags::default(),
            redis_url: redis().url(database),
            bootstrap: kafka().bootstrap(),
            looks_every: Duration::ZERO,
            real: &[],
        }
    }

    pub fn redis(&self) -> Redis {
        let config = config::Redis {
            url: self.redis_url.clone(),
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
            ..config::Redis::default()
        };
        Redis::new(&config).expect("configuration")
    }

    pub fn kafka(&self) -> Kafka {
        Kafka::new(&config::Kafka {
            bootstrap_servers: self.bootstrap.split(',').map(str::to_owned).collect(),
            ..config::Kafka::default()
        })
        .expect("configuration")
    }

    fn beside(&self) -> Settings {
        beside(&Sections {
            redis: &config::Redis::default(),
            kafka: &config::Kafka::default(),
            routes: &[],
            prometheus: &self.prometheus,
            flags: &self.flags,
        })
    }

    pub fn store(&self, holder: &str) -> Store {
        Store::new(self.redis(), &self.name, holder)
    }

    pub fn copy(&self) -> Copy {
        Copy::new(&self.kafka(), &self.name).expect("configuration")
    }

    pub fn start(&self, instance: &str) -> Running {
        let board = Arc::new(Board::new(
            &self.name,
            instance,
            [("r", self.topic.as_str())],
        ));
        // Its one stream, where there is one, is known by name.
        board.found(None, 0);
        let parts = Parts {
            migration: self.name.clone(),
            instance: instance.to_owned(),
            config: self.config.clone(),
            flags: self.flags.clone(),
            beside: self.beside(),
            shards: 1,
            looks_every: self.looks_every,
            redis: self.redis(),
            kafka: self.kafka(),
            board: Arc::clone(&board),
        };
        let (writer, flags) = FlagsWriter::new(&self.name);
        let (driver, handle) = Driver::new(parts, writer).expect("configuration");
        let stop = CancellationToken::new();
        let run = driver.run(stop.clone());
        let task = tokio::spawn(async move { run.await.expect("the driver runs") });
        let world = well(self.real, handle.clone(), Arc::clone(&board), flags.clone());
        let world = tokio::spawn(world);
        let gathering = (!self.real.is_empty()).then(|| {
            let parts = evidence::Parts {
                config: self.config.clone(),
                prometheus: self.prometheus.clone(),
                kafka: self.kafka(),
                redis: self.redis(),
                board: Arc::clone(&board),
            };
            let gatherer = Gatherer::new(parts, handle.clone()).expect("configuration");
            let run = gatherer.run(stop.clone());
            tokio::spawn(async move { run.await.expect("it does not fail") })
        });
        Running {
            gathering,
            handle,
            flags,
            board,
            stop,
            task,
            world,
        }
    }

    pub async fn fields(&self) -> BTreeMap<String, String> {
        let key = format!("lockgate:{}:flags", self.name);
        let mut connection = self
            .redis()
            .connect(self.redis().default_database())
            .await
            .expect("connected");
        let fields = connection.own_fields(key.as_bytes()).await.expect("read");
        fields.into_iter().collect()
    }
}

/// Everything is well: the mirror is level, measurements are good, one application follows the flags.
async fn well(real: &'static [Measure], handle: Handle, board: Arc<Board>, flags: FlagsReader) {
    let shard = lockgate::placement::Shard(0);
    loop {
        // Of several, the one that steers has the shard.
        let steers = handle.view().holder.is_none();
        if steers {
            let running = lockgate::status::StateName::Running;
            board.shard(shard, running, None, None);
        } else {
            board.disown_shard(shard);
        }
        board.edge_up("kafka");
        board.route("r", |route| route.mirrored_entries += 3_000);
        board.parity(|cell| {
            cell.found(ParityState::Level, cell.since, None, None);
            cell.shards = steers.then_some(shard).into_iter().collect();
            for route in cell.routes.values_mut() {
                *route.found.classes.entry("match".to_owned()).or_default() += 3_000;
            }
        });
        let at_ms = now_ms();
        let since_ms = at_ms;
        for measure in Measure::ALL {
            let reading = match measure {
                // The driver measures these itself.
                Measure::MirrorLag
                | Measure::Undrained
                | Measure::Incident
                | Measure::Clients
                | Measure::Strays
                | Measure::Parity
                | Measure::Inconsistency
                | Measure::RedisGroupLag
                | Measure::RedisGroupPending
                | Measure::DeadLetters => {
                    continue;
                }
                measured if real.contains(measured) => continue,
                Measure::Throughput => Reading::Value(900.0),
                Measure::DuplicateHits => Reading::Value(0.02),
                Measure::GroupLag
                | Measure::Duplicates
                | Measure::UnderReplicated
                | Measure::ReplicationLag
                | Measure::Disk => Reading::Value(0.0),
                _ => Reading::Counted {
                    faults: 0,
                    total: 100_000,
                    since_ms,
                },
            };
            handle.measurements.put(Sample {
                measure: *measure,
                reading,
                at_ms,
            });
        }
        let version = flags.borrow().map_or(0, |told| told.version);
        assert!(
            handle
                .measurements
                .followers
                .acknowledged("billing", version, 5_000, at_ms)
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Running {
    pub async fn stop(self) {
        self.stop.cancel();
        self.world.abort();
        self.task.await.expect("it ends");
        if let Some(gathering) = self.gathering {
            gathering.await.expect("it ends");
        }
    }

    /// It dies: nothing is given back or finished.
    pub fn kill(self) {
        self.task.abort();
        self.world.abort();
        if let Some(gathering) = self.gathering {
            gathering.abort();
        }
    }

    pub fn state(&self) -> Option<State> {
        self.handle.view().state.clone()
    }

    pub async fn at(&self, step: Step, name: Name) {
        eventually_async(LONG, &format!("{step} {}", name.as_str()), async || {
            let state = self.state();
            match &state {
                Some(state) if state.step == step && state.name() == name => Ok(()),
                _ => Err(format!(
                    "{:?} {:?}",
                    state.map(|state| (state.step, state.motion)),
                    self.handle.view().error
                )),
            }
        })
        .await;
    }

    /// Promotes as soon as the gates open.
    pub async fn promote(&self, verb: Verb, name: &str) {
        eventually_async(LONG, "the gates open", async || {
            let plan = match self.handle.ask(who(), Ask::Plan { verb, to: None }).await {
                Ok(answer) => match *answer {
                    Answer::Plan(plan) => plan,
                    Answer::Accepted { .. }
                    | Answer::Recorded { .. }
                    | Answer::Rehearsed { .. } => {
                        return Err("no plan".to_owned());
                    }
                },
                Err(refusal) => return Err(refusal.to_string()),
            };
            let proof = self.handle.rehearse(who(), plan.to).await;
            if plan.to != Step::DONE {
                proof.map_err(|refusal| refusal.to_string())?;
            }
            let typed = Some(name.to_owned());
            let apply = Ask::Apply {
                plan: plan.id,
                reason: WHY.to_owned(),
                typed,
            };
            self.handle
                .ask(who(), apply)
                .await
                .map(drop)
                .map_err(|refusal| refusal.to_string())
        })
        .await;
    }

    /// A plan of a verb.
    pub async fn plan(&self, verb: Verb) -> Result<Plan, Box<Refusal>> {
        let answer = self.handle.ask(who(), Ask::Plan { verb, to: None }).await?;
        match *answer {
            Answer::Plan(plan) => Ok(plan),
            Answer::Accepted { .. } | Answer::Recorded { .. } | Answer::Rehearsed { .. } => {
                panic!("a plan was asked for")
            }
        }
    }

    pub async fn apply(&self, plan: &Plan) -> Result<(), Box<Refusal>> {
        let ask = Ask::Apply {
            plan: plan.id.clone(),
            reason: WHY.to_owned(),
            typed: None,
        };
        self.handle.ask(who(), ask).await.map(drop)
    }

    /// The same for good, with the migration's name typed.
    pub async fn complete(&self, plan: &Plan, name: &str) -> Result<(), Box<Refusal>> {
        let ask = Ask::Apply {
            plan: plan.id.clone(),
            reason: WHY.to_owned(),
            typed: Some(name.to_owned()),
        };
        self.handle.ask(who(), ask).await.map(drop)
    }

    /// Promotes step by step until it stands at `step`.
    pub async fn climb(&self, site: &Site, step: Step) {
        self.at(self.state().expect("known").step, Name::Steady)
            .await;
        if self.state().is_some_and(|state| state.baseline.is_none()) {
            eventually_async(LONG, "a baseline", async || {
                let answer = self.handle.ask(who(), Ask::Baseline).await;
                answer.map(drop).map_err(|refusal| refusal.to_string())
            })
            .await;
        }
        while let Some(here) = self.state().map(|state| state.step)
            && here < step
        {
            self.promote(Verb::Promote, &site.name).await;
            eventually_async(LONG, "the next step", async || {
                self.state()
                    .is_some_and(|state| state.step > here && state.motion.is_none())
            })
            .await;
        }
    }

    pub async fn rollback(&self, to: Option<Step>) -> Result<(), Box<Refusal>> {
        let reason = WHY.to_owned();
        let answer = self.handle.ask(who(), Ask::Rollback { to, reason }).await;
        answer.map(drop)
    }

    /// What a gate of the next step says.
    pub fn gate(&self, name: &str) -> Option<Verdict> {
        let view = self.handle.view();
        let found = view.verdicts.iter().find(|gate| gate.name.as_str() == name);
        found.cloned()
    }

    /// The one application says that it has the newest flags.
    pub fn acknowledge(&self) {
        let version = self.flags.borrow().map_or(0, |told| told.version);
        let followers = &self.handle.measurements.followers;
        assert!(followers.acknowledged("billing", version, 600_000, now_ms()));
    }

    /// All is well again, after the world had ended.
    pub fn with_a_new_world(mut self, site: &Site) -> Self {
        let (handle, flags) = (self.handle.clone(), self.flags.clone());
        let world = well(site.real, handle, Arc::clone(&self.board), flags);
        self.world = tokio::spawn(world);
        self
    }
}
