//! What can go wrong at the Redis edge: what happened, to what, and what to do next.
//!
//! Nothing here retries or decides; [`Error::kind`] names the state that an operator sees, and
//! [`Error::is_connection_lost`] says whether the connection can still be used. No text ever holds a secret: what the
//! server answers to AUTH is never repeated, only its code.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::entry::StreamName;

/// Where a connection goes and as whom, for the texts of errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// `host:port`, or the path of a Unix socket.
    pub at: String,
    /// The ACL user; `default` unless one is configured.
    pub user: String,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.at)
    }
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("the Redis configuration cannot be used: {message}")]
    Config { message: String },
    #[error("Redis at {peer} cannot be reached: {cause}; check that it runs, and `redis.url`")]
    Unreachable { peer: Arc<Peer>, cause: io::Error },
    #[error("the connection to Redis at {peer} broke during {doing}: {cause}; connect again")]
    Lost {
        peer: Arc<Peer>,
        doing: &'static str,
        cause: io::Error,
    },
    #[error(
        "Redis at {peer} did not answer {doing} within {after:?}; check its load (SLOWLOG GET) and the network, or raise the timeout"
    )]
    Timeout {
        peer: Arc<Peer>,
        doing: &'static str,
        after: Duration,
    },
    #[error(
        "no TLS with Redis at {peer}: {detail}; check `redis.tls_ca_file`, `redis.tls_cert_file` and the name in `redis.url`"
    )]
    Tls { peer: Arc<Peer>, detail: String },
    #[error(
        "Redis at {peer} does not accept user `{}` ({code}); check `redis.username` and `redis.password_file`", peer.user
    )]
    Auth { peer: Arc<Peer>, code: String },
    #[error(
        "Redis at {peer} does not permit user `{}` {what}; grant it with ACL SETUSER (ACL LOG on the server shows the refusal)", peer.user
    )]
    NoPermission {
        peer: Arc<Peer>,
        /// The command that was sent.
        command: &'static str,
        /// What was denied, in words.
        what: String,
        /// Not the command as such, but a key that it was asked for.
        of_key: bool,
    },
    #[error(
        "Redis at {peer} is still loading its data; it will answer when that is done (INFO persistence, loading_eta_seconds)"
    )]
    Loading { peer: Arc<Peer> },
    #[error(
        "Redis at {peer} is a read-only replica and refuses {command}; point `redis.url` at the master"
    )]
    ReadOnly {
        peer: Arc<Peer>,
        command: &'static str,
    },
    #[error(
        "Redis at {peer} has no memory left for {command} (maxmemory); free memory or raise maxmemory"
    )]
    OutOfMemory {
        peer: Arc<Peer>,
        command: &'static str,
    },
    #[error(
        "a key that {command} was asked for on Redis at {peer} is not of the right type; `TYPE <key>` shows which, take it out of the routes or rename it"
    )]
    WrongType {
        peer: Arc<Peer>,
        command: &'static str,
    },
    #[error(
        "Redis at {peer} is a replica that lost its master and serves no reads; wait for the link, or point `redis.url` at the master"
    )]
    MasterDown { peer: Arc<Peer> },
    #[error(
        "Redis at {peer} is a node of a Redis Cluster ({code}), which Lockgate does not mirror yet; use a Redis that is not a cluster"
    )]
    Cluster { peer: Arc<Peer>, code: String },
    #[error(
        "Redis at {peer} answered {command} with something unreadable: {what}; check that `redis.url` leads to a Redis and not through a proxy that changes it"
    )]
    Malformed {
        peer: Arc<Peer>,
        command: &'static str,
        what: &'static str,
    },
    #[error(
        "the answer of Redis at {peer} to {command} passes {limit} bytes; it is asked for in smaller parts, and where one entry alone is larger, `shards.buffer_bytes` must be"
    )]
    Oversized {
        peer: Arc<Peer>,
        command: &'static str,
        limit: usize,
        /// The stream whose entries were arriving; empty where only one was asked for.
        stream: StreamName,
        /// How many of that stream had come.
        entries: usize,
    },
    #[error("Redis at {peer} refused {command}: {answer}")]
    Refused {
        peer: Arc<Peer>,
        command: &'static str,
        answer: String,
    },
}

/// The state that an error puts its streams in; the text is what metrics, status and runbooks call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    Config,
    Unreachable,
    Timeout,
    Tls,
    Auth,
    NoPermission,
    Loading,
    ReadOnly,
    OutOfMemory,
    WrongType,
    MasterDown,
    Cluster,
    Malformed,
    Oversized,
    Refused,
}

impl ErrorKind {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "redis-config",
            Self::Unreachable => "redis-unreachable",
            Self::Timeout => "redis-timeout",
            Self::Tls => "redis-tls",
            Self::Auth => "redis-auth",
            Self::NoPermission => "redis-noperm",
            Self::Loading => "redis-loading",
            Self::ReadOnly => "redis-readonly",
            Self::OutOfMemory => "redis-oom",
            Self::WrongType => "redis-wrongtype",
            Self::MasterDown => "redis-masterdown",
            Self::Cluster => "redis-cluster",
            Self::Malformed => "redis-malformed",
            Self::Oversized => "redis-oversized",
            Self::Refused => "redis-refused",
        }
    }
}

impl Error {
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Config { .. } => ErrorKind::Config,
            Self::Unreachable { .. } | Self::Lost { .. } => ErrorKind::Unreachable,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Tls { .. } => ErrorKind::Tls,
            Self::Auth { .. } => ErrorKind::Auth,
            Self::NoPermission { .. } => ErrorKind::NoPermission,
            Self::Loading { .. } => ErrorKind::Loading,
            Self::ReadOnly { .. } => ErrorKind::ReadOnly,
            Self::OutOfMemory { .. } => ErrorKind::OutOfMemory,
            Self::WrongType { .. } => ErrorKind::WrongType,
            Self::MasterDown { .. } => ErrorKind::MasterDown,
            Self::Cluster { .. } => ErrorKind::Cluster,
            Self::Malformed { .. } => ErrorKind::Malformed,
            Self::Oversized { .. } => ErrorKind::Oversized,
            Self::Refused { .. } => ErrorKind::Refused,
        }
    }

    /// The user may not touch one of the keys of the command; with other keys it would have been answered.
    #[must_use]
    pub const fn is_of_key(&self) -> bool {
        matches!(self, Self::NoPermission { of_key: true, .. })
    }

    /// Redis does not let it be noted that a stream's mirror begins; what is noted already is read on.
    #[must_use]
    pub fn is_of_note(&self) -> bool {
        matches!(
            self,
            Self::OutOfMemory { command, .. } | Self::NoPermission { command, .. } if *command == "SADD"
        )
    }

    /// The database may not be selected; others may.
    #[must_use]
    pub fn is_of_database(&self) -> bool {
        matches!(
            self,
            Self::Refused { command, .. } | Self::NoPermission { command, .. } if *command == "SELECT"
        )
    }

    /// The connection that gave this error is of no more use. What a server answered in order leaves it usable, except
    /// that it must be told again who we are.
    #[must_use]
    pub const fn is_connection_lost(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Lost { .. }
                | Self::Timeout { .. }
                | Self::Tls { .. }
                | Self::Auth { .. }
                | Self::Malformed { .. }
                | Self::Oversized { .. }
        )
    }

    /// The error's class, as the metrics of both edges label it.
    #[must_use]
    pub const fn edge_kind(&self) -> &'static str {
        match self.kind() {
            ErrorKind::Unreachable | ErrorKind::Tls => "connect",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Auth | ErrorKind::NoPermission => "auth",
            ErrorKind::Loading
            | ErrorKind::ReadOnly
            | ErrorKind::OutOfMemory
            | ErrorKind::WrongType
            | ErrorKind::MasterDown
            | ErrorKind::Cluster
            | ErrorKind::Refused => "refused",
            ErrorKind::Config | ErrorKind::Malformed | ErrorKind::Oversized => "other",
        }
    }

    /// What an error reply means. `line` is the reply without its `-`.
    pub(super) fn answered(peer: &Arc<Peer>, command: &'static str, line: &[u8]) -> Self {
        // An EXEC that failed by itself wraps its reason.
        let line = line
            .strip_prefix(b"EXECABORT Transaction discarded because of: ")
            .unwrap_or(line);
        let peer = Arc::clone(peer);
        let text = printable(line);
        let (code, rest) = text.split_once(' ').unwrap_or((&text, ""));
        match code {
            "NOAUTH" | "WRONGPASS" | "DENIED" => Self::Auth {
                peer,
                code: code.to_owned(),
            },
            // The server repeats the words of an AUTH that it does not understand: the password among them.
            _ if command == "AUTH" => Self::Auth {
                peer,
                code: code.to_owned(),
            },
            "NOPERM" => Self::NoPermission {
                peer,
                command,
                what: denied(command, rest),
                of_key: rest.contains("key") && !rest.contains('\''),
            },
            "LOADING" => Self::Loading { peer },
            "READONLY" => Self::ReadOnly { peer, command },
            "OOM" => Self::OutOfMemory { peer, command },
            "WRONGTYPE" => Self::WrongType { peer, command },
            "MASTERDOWN" => Self::MasterDown { peer },
            "MOVED" | "ASK" | "CLUSTERDOWN" | "CROSSSLOT" | "TRYAGAIN" => Self::Cluster {
                peer,
                code: code.to_owned(),
            },
            _ => Self::Refused {
                peer,
                command,
                answer: text,
            },
        }
    }

    /// What an I/O error on a standing connection means.
    pub(super) fn broken(peer: &Arc<Peer>, doing: &'static str, cause: io::Error) -> Self {
        let peer = Arc::clone(peer);
        match tls_detail(&cause) {
            Some(detail) => Self::Tls { peer, detail },
            None => Self::Lost { peer, doing, cause },
        }
    }

    /// What an I/O error while connecting means.
    pub(super) fn unreachable(peer: &Arc<Peer>, cause: io::Error) -> Self {
        let peer = Arc::clone(peer);
        match tls_detail(&cause) {
            Some(detail) => Self::Tls { peer, detail },
            None => Self::Unreachable { peer, cause },
        }
    }
}

/// The TLS library's own word, where it is what an I/O error is made of.
fn tls_detail(cause: &io::Error) -> Option<String> {
    cause
        .get_ref()?
        .downcast_ref::<rustls::Error>()
        .map(ToString::to_string)
}

/// What a NOPERM denies: Redis names the command, but not the key.
fn denied(command: &'static str, answer: &str) -> String {
    match answer.split('\'').nth(1) {
        Some(name) => format!("the command `{name}`"),
        None if answer.contains("channel") => format!("one of the channels of {command}"),
        None => format!("one of the keys of {command}"),
    }
}

/// A server's answer, fit for a log line.
fn printable(line: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(line).chars().take(300).collect();
    crate::logging::printable(&text)
}
