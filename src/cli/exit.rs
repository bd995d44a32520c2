//! The exit codes that scripts rely on.

use std::process::ExitCode;

/// How a verb ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    /// Or somebody who was asked said no.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// The daemon does not answer; what changes something may be done all the same where it was reached.
    NotReached = 3,
    /// A gate, or where the migration stands, forbids it.
    Refused = 4,
    /// `--check`: something is halted or waits. `parity`: the stores are apart.
    Troubled = 5,
    /// `--check` and `parity`: it cannot be told. `gates`: another instance judges them, or none yet.
    Unknown = 6,
    /// `--until`: it did not come about in time.
    TimedOut = 7,
    /// No token, one that is not known, or one whose role is not enough.
    Role = 8,
    /// The state moved since the plan was made.
    Moved = 9,
}

/// For `--help`.
pub const HELP: &str = "Exit codes: 0 done (promote, rollback and complete: accepted, `lockgate status --until step=STEP` waits for it), 1 failed or not confirmed, 2 usage or configuration, 3 daemon not reached, \
4 refused by a gate or by where the migration stands, \
5 with status --check: apart, frozen, halted or waiting, by parity: apart, \
6 with status --check: unknown, by parity: could not tell, by gates: another instance steers or none has read the state yet, 7 --until timed out, 8 no token or not the role, \
9 the state moved since the plan";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
