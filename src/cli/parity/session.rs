//! A verification from the command line: configuration, both stores, streams, and running it with its progress and its
//! state file until it ends or a signal stops it.
//!
//! The order is that of what can go wrong: what the command line and the configuration tell comes before the first
//! connection, and a state file of another run before the first read.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;

use super::interrupt::Interrupt;
use super::progress::{self, Line};
use super::select::Select;
use super::state_file::{Run, StateFile, Stores};
use crate::cli::{ConfigArgs, Exit};
use crate::config;
use crate::flags;
use crate::parity::{self, Edges, Pace, Ran, Request, Sample, Verification};
use crate::placement::KafkaBorn;
use crate::routing::Routes;
use crate::streams::Redis;
use crate::topics::{Admin, Kafka};

/// How hard and how long a verification may work.
#[derive(Debug, Default, clap::Args)]
pub struct Effort {
    /// Read at most so many entries a second, of both stores together
    #[arg(long, value_name = "ENTRIES/S")]
    pub rate: Option<NonZeroU32>,
    /// Keep in FILE where it stands, about every second; the same command goes on from there
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
}

/// Runs what a verb waits for on several threads: the engine digests on one while another fetches.
///
/// # Errors
/// The runtime cannot start, or the future's own.
pub fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let outcome = runtime.block_on(future);
    // Blocking calls into librdkafka that are still out must not hold the process.
    runtime.shutdown_background();
    outcome
}

/// What is compared, and in which way.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    pub select: Select,
    pub sample: Option<Sample>,
    pub full: bool,
    /// Missing entries that are named in any case.
    pub for_repair: u64,
}

/// A configuration, and both stores as it names them.
pub struct Session {
    pub config: config::Config,
    pub edges: Arc<Edges>,
    kafka_born: Arc<OnceLock<KafkaBorn>>,
}

/// Why there is no answer: said already, and its exit code.
pub type Unanswered = Exit;

impl Session {
    /// Loads the configuration. Connects nowhere yet.
    ///
    /// # Errors
    /// `Ok(Err(_))`: the configuration has problems, which are said.
    pub fn load(args: &ConfigArgs) -> anyhow::Result<Result<Self, Unanswered>> {
        let (loaded, routes) = match args.load() {
            Ok(loaded) => loaded,
            Err(exit) => return Ok(Err(exit)),
        };
        let config = loaded.config;
        let kafka = Kafka::new(&config.kafka)?;
        let kafka_born = Arc::new(OnceLock::new());
        let edges = Edges {
            migration: config.name.clone(),
            routes: Arc::new(routes),
            redis: Redis::new(&config.redis)?,
            admin: Admin::new(&kafka)?,
            kafka,
            told_every: Duration::ZERO,
            kafka_born: {
                let known = Arc::clone(&kafka_born);
                Box::new(move || (known.get().copied().into(), Some(Instant::now())))
            },
        };
        Ok(Ok(Self {
            config,
            edges: Arc::new(edges),
            kafka_born,
        }))
    }

    /// Finds out when applications may have written to Kafka themselves. Who may not read that may still compare.
    async fn learn_kafka_born(&self) {
        let redis = &self.edges.redis;
        let asked = async {
            let mut connection = redis.connect(redis.default_database()).await?;
            flags::kafka_born(&mut connection, &self.config.name).await
        };
        match asked.await {
            Ok(born) => drop(born.map(|born| self.kafka_born.set(born))),
            Err(error) => eprintln!(
                "lockgate: what the migration's flags say in Redis is not known ({error}); records that applications wrote to \
                 Kafka themselves count as extra"
            ),
        }
    }

    #[must_use]
    pub fn routes(&self) -> &Routes {
        &self.edges.routes
    }

    /// What the engine is asked for; what is wrong with it is said.
    ///
    /// # Errors
    /// [`Exit::Usage`].
    pub fn request(&self, scope: &Scope) -> Result<Request, Unanswered> {
        scope
            .select
            .request(self.routes(), scope.sample, scope.full, SystemTime::now())
            .map_err(|why| usage(&why))
    }

    /// Runs a verification to its end.
    ///
    /// # Errors
    /// `Ok(Err(_))`: it came to no end; why is said, and how to go on.
    pub async fn verify(
        &self,
        scope: &Scope,
        effort: &Effort,
    ) -> anyhow::Result<Result<Verification, Unanswered>> {
        let request = match self.request(scope) {
            Ok(request) => request,
            Err(exit) => return Ok(Err(exit)),
        };
        let mut file = effort.state.as_deref().map(|path| self.state(path, scope));
        let kept = match file.as_ref().map(StateFile::load).transpose() {
            Ok(kept) => kept.flatten(),
            Err(why) => return Ok(Err(usage(&why))),
        };
        self.learn_kafka_born().await;
        let begun = match kept {
            Some(verification) => Ok(verification),
            None => self.begin(scope, request).await,
        };
        let mut verification: Verification = match begun {
            Ok(verification) => verification,
            Err(exit) => return Ok(Err(exit)),
        };
        // Before anything is saved: who sees the file may signal, and the signal must find its listener.
        let interrupt = Interrupt::listen()?;
        if let Some(file) = &mut file {
            save(file, &verification)?;
        }
        let pace = Pace::new(effort.rate);
        let ran = self
            .run(&mut verification, pace, file.as_mut(), &interrupt)
            .await?;
        if matches!(ran, Ok(Ran::Finished)) {
            if let Some(file) = &file {
                let path = file.path().display().to_string();
                file.remove()
                    .with_context(|| format!("cannot remove {path}"))?;
            }
            return Ok(Ok(verification));
        }
        if let Some(file) = &mut file {
            save(file, &verification)?;
        }
        Ok(Err(unfinished(
            ran,
            &verification.progress(),
            file.as_ref(),
        )))
    }

    fn state(&self, path: &Path, scope: &Scope) -> StateFile {
        let run = Run {
            migration: self.config.name.clone(),
            fingerprint: parity::fingerprint(&self.config.name, self.routes()),
            stores: Some(Stores::at(
                &self.config.redis.url,
                &self.config.kafka.bootstrap_servers,
            )),
            asked: scope.select.asked(scope.sample, scope.full),
        };
        StateFile::new(path, run)
    }

    /// The state of checking a report, which its last link tells from every other.
    #[must_use]
    pub fn state_against(&self, path: &Path, chain: &str) -> StateFile {
        let mut file = self.state(path, &Scope::default());
        file.is_against(chain);
        file
    }

    async fn begin(&self, scope: &Scope, request: Request) -> Result<Verification, Unanswered> {
        let streams = scope.select.streams(&self.edges.redis, self.routes()).await;
        let streams = streams.map_err(|error| told(&error.into()))?;
        Verification::begin(&self.edges, streams, request)
            .await
            .map(|verification| verification.for_repair(scope.for_repair))
            .map_err(|error| told(&error))
    }

    /// Runs until the end or the first signal.
    async fn run(
        &self,
        verification: &mut Verification,
        pace: Pace,
        mut file: Option<&mut StateFile>,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Result<Ran, parity::Error>> {
        let mut line = Line::new();
        let mut unsaved = false;
        let mut each = |verification: &Verification| {
            line.show(&verification.progress());
            let Some(file) = file.as_mut() else { return };
            if let Err(error) = file.keep(verification)
                && !std::mem::replace(&mut unsaved, true)
            {
                eprintln!(
                    "lockgate: {}: {error}; going on without saving",
                    file.path().display()
                );
            }
        };
        let ran = verification
            .run(&self.edges, pace, interrupt.stop(), &mut each)
            .await;
        line.clear();
        Ok(ran)
    }
}

/// # Errors
/// The file cannot be written.
pub fn save(file: &mut StateFile, state: &impl serde::Serialize) -> anyhow::Result<()> {
    let path = file.path().display().to_string();
    file.save(state)
        .with_context(|| format!("cannot write the state file {path}"))
}

/// Says why there is no outcome and how to go on.
pub fn unfinished(
    ran: Result<Ran, parity::Error>,
    progress: &parity::Progress,
    file: Option<&StateFile>,
) -> Unanswered {
    let exit = match &ran {
        Ok(Ran::Finished | Ran::Interrupted) => Exit::Unknown,
        Err(error) => exit_of(error),
    };
    if let Err(error @ parity::Error::Unaccounted(_)) = &ran {
        return told(error);
    }
    let what = match ran {
        Ok(_) => "interrupted".to_owned(),
        Err(error) => error.to_string(),
    };
    let stood = progress::line(progress, None);
    let next = file.map_or_else(
        || "nothing was kept; with --state FILE it goes on where it stopped".to_owned(),
        |file| {
            format!(
                "the same command goes on from there (kept in {})",
                file.path().display()
            )
        },
    );
    eprintln!("lockgate: {what}\nlockgate: it stood at {stood}; {next}");
    exit
}

/// Says what is wrong with the command.
pub fn usage(why: &str) -> Unanswered {
    eprintln!("lockgate: {why}");
    Exit::Usage
}

/// Says an error, and names its exit code.
pub fn told(error: &parity::Error) -> Unanswered {
    eprintln!("lockgate: {error}");
    exit_of(error)
}

/// A store that is out of reach leaves the question open; what a store refuses is a failure of the command.
fn exit_of(error: &parity::Error) -> Exit {
    match error {
        parity::Error::Usage(_) => Exit::Usage,
        error if error.is_out_of_reach() => Exit::Unknown,
        _ => Exit::Failed,
    }
}
