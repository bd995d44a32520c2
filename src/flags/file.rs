//! The flags as a file in flagd's format, for providers that read files.
//!
//! The file is replaced whole: written beside itself, made durable, and moved into place, so that a reader finds the old flags
//! or the new ones and nothing between. Until this process is told anything the file stays as the last one left it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Flags, FlagsReader, flagd};

const PAUSE: Duration = Duration::from_secs(1);

/// Keeps the file as applications are told, until stopped. A file that cannot be written is tried again.
///
/// # Errors
/// None; it is a task like others.
pub async fn keep(
    path: PathBuf,
    mut told: FlagsReader,
    stop: CancellationToken,
) -> Result<(), io::Error> {
    let mut written = None;
    loop {
        let flags = *told.borrow_and_update();
        if let Some(flags) = flags.filter(|flags| written != Some(*flags)) {
            let to = path.clone();
            let writing = tokio::task::spawn_blocking(move || replace(&to, &flags));
            match crate::tasks::passed_on(writing.await) {
                Ok(()) => {
                    info!(path = %path.display(), version = flags.version, "the flags' file is written");
                    written = Some(flags);
                }
                Err(error) => {
                    warn!(path = %path.display(), %error, "flags.file cannot be written; its readers keep what they have");
                }
            }
        }
        let behind = flags != written && flags.is_some();
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = told.changed() => if changed.is_err() { return Ok(()) },
            () = tokio::time::sleep(PAUSE), if behind => {}
        }
    }
}

fn replace(path: &Path, flags: &Flags) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let mut file = File::create(&part)?;
    let text = serde_json::to_vec_pretty(&flagd(flags))?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    // The move itself is durable only with its folder.
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("flags.json");
        for version in 1..4 {
            replace(&path, &Flags::redis_only(version, 1)).expect("written");
            let text = fs::read_to_string(&path).expect("there");
            let found: serde_json::Value = serde_json::from_str(&text).expect("whole");
            assert_eq!(found["metadata"]["version"], version);
        }
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }
}
