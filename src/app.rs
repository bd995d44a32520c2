//! Wires every part, starts them, and stops them in the order of the data.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::checkpoint;
use crate::config::Config;
use crate::flags::{self, FlagsWriter};
use crate::http::{self, Access, Api, Migration, Tls};
use crate::logging::LogLevel;
use crate::metrics::Metrics;
use crate::migration::driver::{Driver, Parts};
use crate::migration::evidence::{self, Gatherer};
use crate::migration::step::{Sections, beside};
use crate::mirror::{Mirror, Shared, Throttle};
use crate::parity::{Auditor, Born, Edges};
use crate::routing::Routes;
use crate::status::Board;
use crate::streams::Redis;
use crate::tasks::Tasks;
use crate::topics::{self, Admin, Kafka};

/// How long a process that has drained waits for its clients to close.
const CLIENTS: Duration = Duration::from_millis(250);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Asked to stop; all that was taken is committed.
    Drained,
    /// The grace time was over, or a second signal came, before everything was drained.
    LeftSomething,
}

/// Runs the daemon until a signal stops it.
///
/// # Errors
/// A listener or a client could not be made, or a task failed.
pub async fn run(
    config: Config,
    routes: Routes,
    tls: Option<Tls>,
    log_level: LogLevel,
) -> anyhow::Result<Ended> {
    let routes = Arc::new(routes);
    // Two containers on one host's network have its name both, and the same process id.
    let instance = format!(
        "{}-{}-{:04x}",
        hostname(),
        std::process::id(),
        rand::random::<u16>()
    );
    let named = routes
        .iter()
        .map(|route| (route.name(), route.config().topic.as_str()));
    let board = Arc::new(Board::new(&config.name, &instance, named));
    let metrics = Arc::new(Metrics::new(Arc::clone(&board), &config.name).context("metrics")?);
    let throttle = Arc::new(Throttle::new(config.throttle));
    board.throttle(
        config.throttle.entries_per_second,
        config.throttle.bytes_per_second,
    );
    let smallest = routes
        .iter()
        .map(|route| route.max_message_bytes())
        .min()
        .unwrap_or(1 << 20);
    let kafka = Kafka::new(&config.kafka)
        .context("kafka")?
        .with_smallest_limit(smallest)
        .with_writers(config.shards.count);
    let redis = Redis::new(&config.redis).context("redis")?;
    let (writer, told) = FlagsWriter::new(&config.name);
    let as_of = writer.as_of();
    let settings = Sections {
        redis: &config.redis,
        kafka: &config.kafka,
        routes: &config.routes,
        prometheus: &config.prometheus,
        flags: &config.flags,
    };
    let parts = Parts {
        migration: config.name.clone(),
        instance: instance.clone(),
        config: config.migration.clone(),
        flags: config.flags.clone(),
        beside: beside(&settings),
        shards: config.shards.count,
        looks_every: if routes.iter().any(|route| !route.globs().is_empty()) {
            config.redis.discovery_interval
        } else {
            Duration::ZERO
        },
        redis: redis.clone(),
        kafka: kafka.clone(),
        board: Arc::clone(&board),
    };
    let (driver, handle) = Driver::new(parts, writer).context("the migration driver")?;
    let measuring = evidence::Parts {
        config: config.migration.clone(),
        prometheus: config.prometheus.clone(),
        kafka: kafka.clone(),
        redis: redis.clone(),
        board: Arc::clone(&board),
    };
    let gatherer = Gatherer::new(measuring, handle.clone()).context("the migration's evidence")?;
    let shared = Arc::new(Shared {
        admin: Admin::new(&kafka).context("kafka")?,
        migration: config.name.clone(),
        checkpoints: checkpoint::topic(&config.name),
        routes: Arc::clone(&routes),
        redis,
        kafka,
        shards: config.shards.clone(),
        discovery_interval: config.redis.discovery_interval,
        session_timeout: config.kafka.session_timeout,
        throttle: Arc::clone(&throttle),
        board: Arc::clone(&board),
        metrics: Arc::clone(&metrics),
        told: told.clone(),
    });

    let listener = TcpListener::bind(config.http.listen)
        .await
        .with_context(|| {
            format!(
                "http.listen: cannot listen on {}; is another lockgate running there?",
                config.http.listen
            )
        })?;
    info!(
        migration = %config.name, instance, version = env!("CARGO_PKG_VERSION"),
        http = %listener.local_addr().context("http.listen")?, "starting"
    );
    let stop = CancellationToken::new();
    let edges = Arc::new(Edges {
        migration: config.name.clone(),
        routes: Arc::clone(&routes),
        redis: shared.redis.clone(),
        kafka: shared.kafka.clone(),
        admin: Admin::new(&shared.kafka).context("kafka")?,
        told_every: config.migration.evaluate_every,
        kafka_born: {
            let told = told.clone();
            Box::new(move || {
                // In this order: what is shown is at least as new.
                let as_of = *as_of.borrow();
                let told = *told.borrow();
                let born = told.map_or(Born::NotKnown, |flags| flags.kafka_born.into());
                (born, as_of)
            })
        },
    });
    let (mirror, lifts, admissions) = Mirror::new(shared);
    let (auditor, repairs) = Auditor::new(edges, Arc::clone(&board), config.parity, admissions);
    let access = Arc::new(Access::new(&config.http));
    let api = Api {
        access: Arc::clone(&access),
        board: Arc::clone(&board),
        metrics,
        throttle,
        lifts,
        repairs,
        log_level,
        migration: Migration::new(handle.clone(), told.clone()),
    };
    let mut tasks = Tasks::new(Arc::clone(&board), stop.clone());
    // All tasks are on the board before the first scrape is answered.
    tasks.start("mirror", mirror.run(stop.clone()));
    tasks.start("driver", driver.run(stop.clone()));
    tasks.start("evidence", gatherer.run(stop.clone()));
    if let Some(file) = config.flags.file {
        tasks.start("flags", flags::file::keep(file, told, stop.clone()));
    }
    if let Some(file) = config.http.tokens_file.clone() {
        let board = Arc::clone(&board);
        let keeping = http::keep_tokens(file, access, board, handle.clone(), stop.clone());
        tasks.start("tokens", keeping);
    }
    if let Some(tls) = tls.clone() {
        let keeping = http::keep_certificate(tls, Arc::clone(&board), handle, stop.clone());
        tasks.start("certificate", keeping);
    }
    tasks.start("parity", auditor.run(stop.clone()));
    // The API outlives the mirror, so that draining can be watched.
    let http_stop = CancellationToken::new();
    let stopping = http_stop.clone();
    let serving =
        tokio::spawn(async move { http::serve(listener, tls, &config.http, api, stopping).await });

    let ended = until_drained(tasks, &board, &stop, config.shutdown.grace).await;
    http_stop.cancel();
    // Connections that stay open do not hold the process.
    let _ = tokio::time::timeout(Duration::from_secs(1), serving).await;
    if matches!(ended, Ok(Ended::Drained)) {
        // What is under way behind a grace time that is over, or a second signal, is not waited for.
        let _ = tokio::task::spawn_blocking(|| topics::await_closed(CLIENTS)).await;
    }
    ended
}

async fn until_drained(
    tasks: Tasks,
    board: &Board,
    stop: &CancellationToken,
    grace: Duration,
) -> anyhow::Result<Ended> {
    let mut terminate = signal(SignalKind::terminate()).context("signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals")?;
    let mut joined = Box::pin(tasks.join());
    tokio::select! {
        joined = &mut joined => {
            joined?;
            return Ok(Ended::Drained);
        }
        _ = terminate.recv() => info!("SIGTERM: draining"),
        _ = interrupt.recv() => info!("SIGINT: draining"),
    }
    stop.cancel();
    tokio::select! {
        joined = &mut joined => {
            joined?;
            if board.has_left_something() {
                warn!("left the group, and not all was committed; the next owner mirrors it");
                return Ok(Ended::LeftSomething);
            }
            info!("drained and left the group");
            Ok(Ended::Drained)
        }
        () = tokio::time::sleep(grace) => {
            warn!(?grace, "the grace time is over; what is not committed is mirrored by the next owner");
            Ok(Ended::LeftSomething)
        }
        _ = terminate.recv() => Ok(at_once()),
        _ = interrupt.recv() => Ok(at_once()),
    }
}

fn at_once() -> Ended {
    warn!("second signal: leaving at once; what is not committed is mirrored by the next owner");
    Ended::LeftSomething
}

fn hostname() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| "localhost".to_owned())
}
