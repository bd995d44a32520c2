//! Where each key's value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::path;

/// Where a value came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    #[default]
    Default,
    /// A configuration file, and the line there.
    File { path: PathBuf, line: usize },
    /// A variable of the environment.
    Variable(String),
    /// The command line.
    Flag,
    /// A secret's file.
    SecretFile(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment {name}"),
            Self::Flag => f.write_str("command line"),
            Self::SecretFile(path) => write!(f, "secret file {}", path.display()),
        }
    }
}

/// The origin of every key that somebody set, tables and items of arrays included.
pub(super) type Origins = BTreeMap<String, Origin>;

/// The origin of a key, or of the nearest thing that holds it.
pub(super) fn nearest<'a>(origins: &'a Origins, key: &str) -> Option<&'a Origin> {
    let mut key = key;
    loop {
        if let Some(origin) = origins.get(key) {
            return Some(origin);
        }
        key = path::parent(key)?;
    }
}
