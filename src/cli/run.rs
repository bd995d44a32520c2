//! `lockgate run`: the daemon.

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
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()
    {
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
