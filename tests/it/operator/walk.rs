//! Walking through a runbook: its commands are run as the operator would run them, against a daemon in trouble.
//!
//! A scenario brings the trouble about, walks section by section, does by its own means what stands in the blocks by hand,
//! and is over when every command under Verify has passed. `finish` fails where a command was left out.

use std::collections::BTreeSet;
use std::process::{Command, Output, Stdio};

use crate::harness::{Daemon, Role, eventually};
use crate::plan::{Plan, SOON};

use super::book::{Book, Step, matches};

/// A runbook being walked through.
pub struct Walk {
    book: Book,
    env: Vec<(&'static str, String)>,
    /// Lines of the commands that were run.
    done: BTreeSet<usize>,
}

impl Walk {
    /// With the environment that the runbook's commands ask for: this daemon's configuration, this stream.
    pub fn new(name: &str, plan: &Plan, daemon: &Daemon, stream: &str) -> Self {
        let config = daemon.config_file().display().to_string();
        let env = vec![
            ("LOCKGATE_CONFIG", config.clone()),
            (
                "LOCKGATE_TOKEN_FILE",
                Role::Admin.token_file().display().to_string(),
            ),
            ("CONFIG", config),
            ("NAME", plan.name.clone()),
            ("BROKERS", plan.bootstrap.clone()),
            ("DATABASE", plan.database.to_string()),
            ("STREAM", stream.to_owned()),
            ("USER", "ana".to_owned()),
        ];
        Self {
            book: Book::find(name),
            env,
            done: BTreeSet::new(),
        }
    }

    /// A further variable.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.env.push((name, value.to_owned()));
        self
    }

    /// Runs every command under a heading, in order.
    #[track_caller]
    pub fn through(&mut self, heading: &str) {
        for step in self.steps(heading) {
            self.run(&step);
        }
    }

    /// Runs a command that stands in no runbook and brings the trouble about.
    #[track_caller]
    pub fn prepare(&self, command: &str) {
        let output = self.shell(command);
        assert!(output.status.success(), "{command}: {output:?}");
    }

    /// The same for one that may be refused.
    pub fn attempt(&self, command: &str) {
        let _ = self.shell(command);
    }

    /// Runs the commands under a heading until each passes.
    #[track_caller]
    pub fn until(&mut self, heading: &str) {
        for step in self.steps(heading) {
            eventually(SOON, &format!("{}: {heading}", self.book.name), || {
                self.check(&step)
            });
            self.done.insert(step.line);
        }
    }

    /// Over: Verify has passed, and no command was left out.
    #[track_caller]
    pub fn finish(self) {
        let left_out: Vec<&Step> = self
            .book
            .steps()
            .into_iter()
            .filter(|step| !self.done.contains(&step.line))
            .collect();
        assert!(left_out.is_empty(), "{}: {left_out:?}", self.book.name);
    }

    fn steps(&self, heading: &str) -> Vec<Step> {
        let steps: Vec<Step> = self.book.section(heading).steps().cloned().collect();
        assert!(
            !steps.is_empty(),
            "{}: nothing to run under {heading}",
            self.book.name
        );
        steps
    }

    #[track_caller]
    fn run(&mut self, step: &Step) {
        if let Err(fault) = self.check(step) {
            panic!("{fault}");
        }
        self.done.insert(step.line);
    }

    fn check(&self, step: &Step) -> Result<(), String> {
        let output = self.shell(&step.command);
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let place = format!(
            "runbooks/{}.md:{}: {}",
            self.book.name, step.line, step.command
        );
        if output.status.code() != Some(step.exit) {
            return Err(format!(
                "{place}: ended with {}, not {}:\n{said}",
                output.status, step.exit
            ));
        }
        match &step.expect {
            Some(regex) if !matches(regex, &said)? => {
                Err(format!("{place}: `{regex}` is not in:\n{said}"))
            }
            _ => Ok(()),
        }
    }

    /// In a shell that has the binary on its path and nothing of this run's own settings.
    fn shell(&self, command: &str) -> Output {
        let binary = std::path::Path::new(env!("CARGO_BIN_EXE_lockgate"));
        let folder = binary.parent().expect("the binary lies in a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("sh");
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("LOCKGATE_") {
                shell.env_remove(key);
            }
        }
        shell
            .args(["-c", command])
            .env("PATH", format!("{}:{path}", folder.display()))
            .envs(self.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .output()
            .expect("sh starts")
    }
}
