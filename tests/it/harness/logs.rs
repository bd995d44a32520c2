//! Where servers and daemons write, and what stays of it.
//!
//! Each test has a folder `target/it-logs/<test>`; it goes when the test's thread ends, unless the test panicked.
//! libtest gives each test a thread with the test's name, so the thread tells whose log it is. The shared servers write to
//! `target/it-logs/shared-<pid>`, which goes at the end of the run unless any test failed.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once};

static FAILED: Mutex<Option<HashSet<String>>> = Mutex::new(None);

/// `target/`, wherever cargo has it.
pub fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("cargo's folder for tests lies in target")
}

/// A new log for a process of the test that this thread runs.
pub fn log_file(name: &str) -> PathBuf {
    watch_failures();
    CURRENT.with_borrow_mut(|current| {
        let folder = current.get_or_insert_with(Folder::new);
        folder.count += 1;
        folder.path.join(format!("{:02}-{name}.log", folder.count))
    })
}

/// The log of a process that all tests share.
pub fn shared_log_file(name: &str) -> PathBuf {
    watch_failures();
    let folder = shared_logs();
    fs::create_dir_all(&folder).expect("a folder for the logs of shared servers");
    folder.join(format!("{name}.log"))
}

pub fn shared_logs() -> PathBuf {
    target()
        .join("it-logs")
        .join(format!("shared-{}", std::process::id()))
}

/// Exists from the first failure on.
pub fn failure_mark() -> PathBuf {
    shared_logs().join("a-test-failed")
}

thread_local! {
    static CURRENT: RefCell<Option<Folder>> = const { RefCell::new(None) };
}

struct Folder {
    test: String,
    path: PathBuf,
    count: u32,
}

impl Folder {
    fn new() -> Self {
        let test = test_name();
        let path = target().join("it-logs").join(test.replace("::", "."));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder for the logs of a test");
        Self {
            test,
            path,
            count: 0,
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let failed = FAILED.lock().unwrap();
        if !failed
            .as_ref()
            .is_some_and(|tests| tests.contains(&self.test))
        {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn test_name() -> String {
    std::thread::current()
        .name()
        .unwrap_or("unnamed")
        .to_owned()
}

/// From here on a panic is noted under the test's name, and says where the logs are.
fn watch_failures() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        forget_earlier_runs();
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            before(info);
            FAILED
                .lock()
                .unwrap()
                .get_or_insert_default()
                .insert(test_name());
            let _ = fs::create_dir_all(shared_logs());
            let _ = fs::write(failure_mark(), "");
            let _ = CURRENT.try_with(|current| {
                if let Ok(current) = current.try_borrow()
                    && let Some(folder) = current.as_ref()
                {
                    eprintln!("logs of this test: {}", folder.path.display());
                }
            });
        }));
    });
}

/// What earlier runs that failed left of their shared servers.
fn forget_earlier_runs() {
    for entry in fs::read_dir(target().join("it-logs"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.strip_prefix("shared-"));
        if run.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
