//! The demo's folder: made new, removed at the end.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

pub struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    pub fn make(keep: bool) -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("lockgate-demo-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("folder {}", path.display()))?;
        Ok(Self { path, keep })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.log"))
    }

    /// It is worth a look.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    pub fn kept(&self) -> Option<&Path> {
        self.keep.then_some(&*self.path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed lies in the temporary folder, where it bothers nobody.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
