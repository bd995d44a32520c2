//! What a refusal is called, on the board and in the log: of one stream, or of Redis as a whole.

use tracing::warn;

use super::shared::Shared;
use super::slot::Slot;
use crate::status::Reason;
use crate::streams::{Error, ErrorKind};

impl Shared {
    /// Writes onto the board that Redis refuses one stream, and says it once.
    pub fn show_refused(&self, slot: &Slot, error: &Error) {
        self.show_waiting(slot, reason_of(error.kind()), error.to_string());
    }

    /// Writes onto the board that a stream's database is out of reach; who calls says it once for all of them.
    pub fn show_left_out(&self, slot: &Slot, error: &Error) {
        self.board.stream(&slot.stream, |cell| {
            cell.waiting(reason_of(error.kind()));
            cell.last_error = Some(error.to_string());
        });
    }

    /// One stream waits, and its neighbours go on.
    pub fn show_waiting(&self, slot: &Slot, reason: Reason, text: String) {
        let mut known = false;
        self.board.stream(&slot.stream, |cell| {
            known = cell.last_error.as_ref() == Some(&text);
            cell.waiting(reason);
            cell.last_error = Some(text.clone());
        });
        if !known {
            warn!(
                stream = %slot.stream.name, database = %slot.stream.database, reason = reason.as_str(), runbook = reason.runbook(),
                "{text}; this stream waits, its neighbours go on"
            );
        }
    }

    /// Writes a failure of Redis onto the board and names it.
    pub fn redis_failed(&self, error: &Error) -> Reason {
        let reason = reason_of(error.kind());
        let down = matches!(reason, Reason::RedisUnreachable | Reason::RedisLoading);
        self.board
            .edge_error("redis", error.edge_kind(), error.to_string(), down);
        warn!(reason = reason.as_str(), %error, "redis failed");
        reason
    }
}

pub const fn reason_of(kind: ErrorKind) -> Reason {
    match kind {
        ErrorKind::Unreachable
        | ErrorKind::Timeout
        | ErrorKind::Malformed
        | ErrorKind::Oversized
        | ErrorKind::Tls
        | ErrorKind::MasterDown => Reason::RedisUnreachable,
        ErrorKind::Auth => Reason::RedisAuth,
        ErrorKind::NoPermission => Reason::RedisNoPermission,
        ErrorKind::Loading => Reason::RedisLoading,
        ErrorKind::ReadOnly => Reason::RedisReadOnly,
        ErrorKind::OutOfMemory => Reason::RedisOutOfMemory,
        ErrorKind::Cluster => Reason::RedisCluster,
        ErrorKind::WrongType | ErrorKind::Refused | ErrorKind::Config => Reason::RedisRefused,
    }
}
