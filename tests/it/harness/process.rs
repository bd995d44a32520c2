//! Child processes that cannot outlive the run.
//!
//! Each child asks the kernel for SIGKILL at its parent's death (`setpriv --pdeathsig`), so that even a killed test run
//! leaves nothing behind. The kernel means the parent *thread*: children are therefore started by one thread that lives
//! until the end, not by the threads of tests. What lies on disk is removed by a shell that waits for the run's end.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::logs;
use super::wait::eventually;

/// A running child, killed when dropped.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output in `log` (appended: a restarted server goes on in the same file).
    pub fn start(name: &str, command: &Command, log: &Path) -> Self {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .unwrap_or_else(|error| panic!("log {}: {error}", log.display()));
        let mut bound = Command::new("setpriv");
        bound.args(["--pdeathsig", "KILL", "--"]);
        bound
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle on a log"))
            .stderr(file);
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => bound.env(key, value),
                None => bound.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            bound.current_dir(folder);
        }
        let child = spawn(bound).unwrap_or_else(|error| {
            panic!("{name}: setpriv (of util-linux) does not start: {error}")
        });
        Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"))
    }

    /// Sends a signal; a process that is gone already does not mind.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(self.pid(), signal);
    }

    /// How it ended, or `None` while it runs.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("waiting for an own child")
    }

    /// Waits for its end; panics with the end of its log when it does not come.
    #[track_caller]
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        eventually(within, &what, || {
            self.exited()
                .ok_or_else(|| format!("still running; its log ends:\n{}", tail(&self.log)))
        })
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }

    /// Resident memory now, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most memory that was resident so far, in bytes.
    pub fn peak_resident_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, which: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        status
            .unwrap_or_default()
            .lines()
            .find_map(|line| line.strip_prefix(which))
            .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok())
            .map_or(0, |kib| kib * 1024)
    }

    /// A panic's words for a process that ended although it should run.
    pub fn explain_end(&self, status: ExitStatus) -> String {
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "no status".to_owned(),
        };
        format!(
            "{} ended by itself ({how}); its log ends:\n{}",
            self.name,
            self.log_tail()
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn tail(log: &Path) -> String {
    const BYTES: u64 = 6000;
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let begin = file.metadata()?.len().saturating_sub(BYTES);
        file.seek(SeekFrom::Start(begin))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error| format!("(no log: {error})"))
}

/// A folder of this run, removed when dropped, and at the latest when the run ends.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    pub fn new(what: &str) -> Self {
        let run = run_folder();
        std::fs::create_dir_all(run).expect("a folder for this run");
        let folder = tempfile::Builder::new()
            .prefix(&format!("{what}-"))
            .tempdir_in(run);
        Self(folder.expect("a folder for a server"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

fn run_folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("it-{}", std::process::id()));
        clear_at_the_end(&folder);
        folder
    })
}

/// A shell whose standard input ends when this process does, in whatever way, and that then tidies.
fn clear_at_the_end(folder: &Path) {
    static SHELL: Mutex<Option<Child>> = Mutex::new(None);
    const SCRIPT: &str = r#"
        cat >/dev/null
        [ -e "$3" ] || rm -rf "$2"
        n=0
        while [ -e "$1" ] && [ $n -lt 50 ]; do rm -rf "$1"; n=$((n + 1)); done
    "#;
    let shell = Command::new("sh")
        .args(["-c", SCRIPT, "sh"])
        .args([folder, &logs::shared_logs(), &logs::failure_mark()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("sh starts");
    *SHELL.lock().unwrap() = Some(shell);
}

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts a child from the thread that lives until the end of the run.
fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let orders = SPAWNER.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Order>();
        std::thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                for (mut command, answer) in receiver {
                    let _ = answer.send(command.spawn());
                }
            })
            .expect("a thread");
        Mutex::new(sender)
    });
    let (answer, child) = mpsc::channel();
    orders
        .lock()
        .unwrap()
        .send((command, answer))
        .expect("the spawner lives until the end");
    child.recv().expect("the spawner answers")
}
