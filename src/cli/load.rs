//! Loads the configuration for a verb, and says everything that is wrong with it at once.

use std::path::PathBuf;

use clap::Args;

use super::Exit;
use crate::config::{self, Loaded, Sources};
use crate::routing::Routes;

/// Where the configuration comes from.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Configuration file; may be given more than once, later files override earlier ones
    #[arg(
        short,
        long = "config",
        value_name = "FILE",
        env = "LOCKGATE_CONFIG",
        value_delimiter = ':'
    )]
    files: Vec<PathBuf>,
    /// Override one key, for example --set kafka.session_timeout=10s
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    overrides: Vec<(String, String)>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not of the form KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

impl ConfigArgs {
    /// Whether any of it was given: without, there is nothing to load.
    #[must_use]
    pub fn is_given(&self) -> bool {
        !self.files.is_empty() || !self.overrides.is_empty()
    }

    /// The configuration and its compiled routes; all problems go to standard error.
    ///
    /// # Errors
    /// [`Exit::Usage`].
    pub fn load(&self) -> Result<(Loaded, Routes), Exit> {
        let compile = |config: &config::Config| {
            Routes::compile(
                &config.name,
                &config.routes,
                config.redis.default_database(),
            )
        };
        let sources = Sources::from_process(self.files.clone(), self.overrides.clone());
        let loaded =
            config::load_with(&sources, |config| compile(config).err().unwrap_or_default());
        let problems = match loaded {
            Ok(loaded) => match compile(&loaded.config) {
                Ok(routes) => return Ok((loaded, routes)),
                Err(problems) => problems,
            },
            Err(problems) => problems,
        };
        let count = problems.len();
        for problem in problems {
            eprintln!("lockgate: {problem}");
        }
        eprintln!(
            "lockgate: the configuration has {count} problem{}; nothing was started",
            if count == 1 { "" } else { "s" }
        );
        Err(Exit::Usage)
    }
}
