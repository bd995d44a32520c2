//! What the server says in words: refusals, INFO, XINFO STREAM.

use std::sync::Arc;

use super::super::error::{Error, ErrorKind, Peer};
use super::super::info::{self, Role};
use super::super::wire::{Cursor, Stop};
use super::INFO;
use crate::entry::EntryId;

#[test]
fn refusals_are_told_apart_and_never_repeat_a_password() {
    let peer = Arc::new(Peer {
        at: "cache:6379".to_owned(),
        user: "lockgate".to_owned(),
    });
    let answered = |command, line: &str| Error::answered(&peer, command, line.as_bytes());
    for (line, kind, lost) in [
        ("NOAUTH Authentication required.", ErrorKind::Auth, true),
        (
            "WRONGPASS invalid username-password pair",
            ErrorKind::Auth,
            true,
        ),
        (
            "DENIED Redis is running in protected mode",
            ErrorKind::Auth,
            true,
        ),
        (
            "LOADING Redis is loading the dataset in memory",
            ErrorKind::Loading,
            false,
        ),
        (
            "READONLY You can't write against a read only replica.",
            ErrorKind::ReadOnly,
            false,
        ),
        (
            "OOM command not allowed when used memory > 'maxmemory'.",
            ErrorKind::OutOfMemory,
            false,
        ),
        (
            "WRONGTYPE Operation against a key",
            ErrorKind::WrongType,
            false,
        ),
        (
            "MASTERDOWN Link with MASTER is down",
            ErrorKind::MasterDown,
            false,
        ),
        ("MOVED 3999 127.0.0.1:6381", ErrorKind::Cluster, false),
        ("ASK 3999 127.0.0.1:6381", ErrorKind::Cluster, false),
        ("CLUSTERDOWN The cluster is down", ErrorKind::Cluster, false),
        (
            "CROSSSLOT Keys in request don't hash to the same slot",
            ErrorKind::Cluster,
            false,
        ),
        ("ERR something else", ErrorKind::Refused, false),
    ] {
        let error = answered("XREAD", line);
        assert_eq!(error.kind(), kind, "{line}");
        assert_eq!(error.is_connection_lost(), lost, "{line}");
        assert!(error.to_string().contains("cache:6379"), "{error}");
    }
    let error = answered(
        "XINFO STREAM",
        "NOPERM this user has no permissions to run the 'xinfo|stream' command",
    );
    assert_eq!(error.kind(), ErrorKind::NoPermission);
    assert!(
        error.to_string().contains("the command `xinfo|stream`"),
        "{error}"
    );
    let error = answered(
        "XREAD",
        "NOPERM this user has no permissions to access one of the keys used as arguments",
    );
    assert!(
        error.to_string().contains("one of the keys of XREAD"),
        "{error}"
    );
    let error = answered(
        "AUTH",
        "ERR unknown command `AUTH`, with args beginning with: `hunter2`",
    );
    assert_eq!(error.kind(), ErrorKind::Auth);
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[test]
fn info_and_xinfo_are_read_whatever_else_they_hold() {
    let promoted = INFO
        .replace(
            "0000000000000000000000000000000000000000",
            "1111111111111111111111111111111111111111",
        )
        .replace("second_repl_offset:-1", "second_repl_offset:77")
        .replace("role:master", "role:slave");
    let replication = info::replication(promoted.as_bytes()).expect("whole");
    assert_eq!(
        (replication.role, replication.second_offset),
        (Role::Replica, Some(77))
    );
    assert!(replication.replid2.is_some_and(|id| id.starts_with("11")));
    assert!(info::replication(b"# Replication\r\nrole:master\r\n").is_err());

    let old = b"*8\r\n$6\r\nlength\r\n:2\r\n$17\r\nlast-generated-id\r\n$3\r\n5-1\r\n$6\r\ngroups\r\n:3\r\n\
        $11\r\nfirst-entry\r\n*2\r\n$3\r\n4-0\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n";
    let state = info::stream_state(&mut Cursor::new(old)).expect("Redis 6");
    assert_eq!((state.length, state.groups), (2, 3));
    assert_eq!(state.first, Some(EntryId::new(4, 0)));
    assert_eq!(
        (state.entries_added, state.max_deleted_entry_id),
        (None, None)
    );
    let map = b"%2\r\n$6\r\nlength\r\n:0\r\n$17\r\nlast-generated-id\r\n$3\r\n5-1\r\n";
    assert!(info::stream_state(&mut Cursor::new(map)).is_ok());
    assert_eq!(
        info::stream_state(&mut Cursor::new(b"*0\r\n")).err(),
        Some(Stop::Malformed("XINFO STREAM without `last-generated-id`"))
    );
}
