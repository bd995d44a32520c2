//! Those whom the tests' daemons know, one of each role; their tokens lie in `tests/tokens`.

use std::path::{Path, PathBuf};

/// A role, and the one who has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// ada
    Admin,
    /// ana
    Operator,
    /// vic
    Viewer,
    /// billing
    Flags,
}

impl Role {
    /// Where the token lies, for `--token-file`.
    pub fn token_file(self) -> PathBuf {
        let name = match self {
            Self::Admin => "admin.token",
            Self::Operator => "operator.token",
            Self::Viewer => "viewer.token",
            Self::Flags => "flags.token",
        };
        folder().join(name)
    }

    /// The header that shows it.
    pub fn authorization(self) -> String {
        let token = std::fs::read_to_string(self.token_file()).expect("the tests' tokens");
        format!("Bearer {}", token.trim())
    }
}

/// For `http.tokens_file`.
pub fn file() -> PathBuf {
    folder().join("tokens")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokens")
}
