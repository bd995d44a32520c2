//! A child process that cannot outlive the demo.
//!
//! `setpriv --pdeathsig KILL` has the kernel kill it when the thread that started it ends, which is the main thread: so
//! children are started from there alone. What is dropped is killed at once. None of them inherits a `LOCKGATE_` variable:
//! those are of the user's own daemon and beat a file, so that the demo's would mirror the user's streams.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::sleep;

pub struct Child {
    name: &'static str,
    process: Process,
    log: PathBuf,
}

impl Child {
    /// Starts a program with its output at the end of `log`.
    pub fn start(
        name: &'static str,
        program: &Path,
        arguments: &[String],
        log: &Path,
    ) -> anyhow::Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("log {}", log.display()))?;
        let inherited = std::env::vars_os().map(|(name, _)| name);
        let process = command(program, arguments, inherited)
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("a second handle on a log")?)
            .stderr(file)
            // Ctrl-C is the demo's alone: it ends its children in its own order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("{name} does not start"))?;
        Ok(Self {
            name,
            process,
            log: log.to_owned(),
        })
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// # Errors
    /// It ended; with the end of its log.
    pub fn still_runs(&mut self) -> anyhow::Result<()> {
        match self.process.try_wait().context("waiting for a child")? {
            None => Ok(()),
            Some(status) => bail!(
                "{} ended by itself ({status}); its log ends:\n{}",
                self.name,
                tail(&self.log)
            ),
        }
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        // One that is gone already does not mind.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    pub fn terminate(&self) {
        if let Ok(pid) = i32::try_from(self.process.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }

    /// How it ended, or `None` when it did not within the time.
    pub async fn ended(&mut self, within: Duration) -> anyhow::Result<Option<ExitStatus>> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().context("waiting for a child")? {
                return Ok(Some(status));
            }
            if begin.elapsed() > within {
                return Ok(None);
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

fn command(
    program: &Path,
    arguments: &[String],
    inherited: impl Iterator<Item = OsString>,
) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--"])
        .arg(program)
        .args(arguments);
    for name in inherited.filter(|name| name.as_encoded_bytes().starts_with(b"LOCKGATE_")) {
        command.env_remove(name);
    }
    command
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    const BYTES: u64 = 2_000;
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let begin = file.metadata()?.len().saturating_sub(BYTES);
        file.seek(SeekFrom::Start(begin))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error| format!("(no log: {error})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_setting_of_the_users_own_daemon_reaches_a_child() {
        let inherited = [
            "HOME",
            "LOCKGATE_CONFIG",
            "LOCKGATE_REDIS__URL",
            "LOCKGATE_ROUTES__0__TOPIC",
            "PATH",
        ];
        let command = command(
            Path::new("lockgate"),
            &["run".to_owned()],
            inherited.into_iter().map(OsString::from),
        );
        let taken: Vec<_> = command
            .get_envs()
            .map(|(name, value)| (name.to_str().unwrap(), value.is_none()))
            .collect();
        assert_eq!(
            taken,
            [
                ("LOCKGATE_CONFIG", true),
                ("LOCKGATE_REDIS__URL", true),
                ("LOCKGATE_ROUTES__0__TOPIC", true)
            ]
        );
    }
}
