//! `lockgate run`: the daemon.

use std::io;

use tokio::runtime::Runtime;

use super::{ConfigArgs, Exit};
use crate::app::{self, Ended};
use crate::http::Tls;
use crate::logging;

/// Run the daemon: mirror, serve the API, stop on SIGTERM.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: lockgate run --config /etc/lockgate/lockgate.toml\n\nSIGTERM drains, commits and leaves the \
group within shutdown.grace; a second signal leaves at once."
)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Log level or filter, over log.level
    #[arg(long, value_name = "FILTER")]
    log_level: Option<String>,
}

/// Threads that may block at once. A shard's writer keeps one for its whole term, and an instance may run all of the 1024 shards
/// that there can be; with tokio's 512 the later ones, and every question to Kafka behind them, would wait for ever. What else
/// blocks does so for a while, and never needs more than tokio gives by itself. Threads are made as they are needed.
const BLOCKING_THREADS: usize = 1_024 + 512;

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
}

pub fn run(args: &Args) -> Exit {
    let (loaded, routes) = match args.config.load() {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let config = loaded.config;
    let level = args.log_level.as_deref().unwrap_or(&config.log.level);
    let log_level = match logging::start(level, config.log.format) {
        Ok(log_level) => log_level,
        Err(error) => {
            eprintln!("lockgate: log.level: {error}");
            return Exit::Usage;
        }
    };
    let tls = match Tls::load(&config.http) {
        Ok(tls) => tls,
        Err(why) => {
            eprintln!("lockgate: {why}");
            return Exit::Usage;
        }
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("lockgate: cannot start: {error}");
            return Exit::Failed;
        }
    };
    let ended = runtime.block_on(app::run(config, routes, tls, log_level));
    // Blocking calls into librdkafka that are still out must not hold the process.
    runtime.shutdown_background();
    match ended {
        Ok(Ended::Drained) => Exit::Done,
        Ok(Ended::LeftSomething) => Exit::Failed,
        Err(error) => {
            tracing::error!("{error:#}");
            Exit::Failed
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Condvar, Mutex};
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_of_the_most_shards_has_a_thread_to_write_on_and_there_are_others() {
        let runtime = runtime().unwrap();
        let running = Arc::new((Mutex::new(0), Condvar::new()));
        for _ in 0..1_100 {
            let running = Arc::clone(&running);
            runtime.spawn_blocking(move || {
                let (count, changed) = &*running;
                *count.lock().unwrap() += 1;
                changed.notify_all();
                let all = |count: &mut i32| *count < 1_100;
                drop(changed.wait_while(count.lock().unwrap(), all).unwrap());
            });
        }
        let (count, changed) = &*running;
        let count = count.lock().unwrap();
        let all = |count: &mut i32| *count < 1_100;
        let long = Duration::from_secs(60);
        let (count, late) = changed.wait_timeout_while(count, long, all).unwrap();
        drop(count);
        runtime.shutdown_background();
        assert!(!late.timed_out(), "some wait for the others to end");
    }
}
