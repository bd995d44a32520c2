//! Loads the configuration for a verb, and says everything that is wrong with it at once.

use std::path::PathBuf;

use clap::Args;

use super::Exit;
use crate::config::{self, Loaded, Sources};
use crate::routing::Routes;
use crate::topics::Kafka;

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
        let loaded = config::load_with(&sources, |config| {
            let mut problems = compile(config).err().unwrap_or_default();
            problems.extend(Kafka::problems(&config.kafka));
            problems
        });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_that_the_client_does_not_take_is_a_problem_of_the_configuration() {
        let folder = tempfile::tempdir().expect("a folder");
        let load = |linger: &str| {
            let file = folder.path().join("lockgate.toml");
            let text = format!(
                "name = 'm'\n[kafka.properties]\n'linger.ms' = '{linger}'\n[[routes]]\nname = 'r'\nstreams = ['s']\n\
                 topic = 't'\npartitions = 1\nvalue = {{ field = 'data' }}\n"
            );
            std::fs::write(&file, text).expect("writes");
            let args = ConfigArgs {
                files: vec![file],
                overrides: Vec::new(),
            };
            args.load()
        };
        assert!(load("5").is_ok());
        assert_eq!(load("soon").map(drop), Err(Exit::Usage));
    }
}
