//! A connection's answers: whole, torn at every byte, late, never, or another call's.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::connection::Connection;
use super::super::entries::Part;
use super::super::error::{Error, ErrorKind, Peer};
use super::super::info::Role;
use super::{INFO, bulk, xread_reply};
use crate::entry::{Entry, EntryId, Field, StreamName};

/// A connection whose server answers the given bytes, in pieces, and then hangs up.
fn served(reply: Vec<u8>, piece: usize) -> Connection {
    let (client, mut server) = tokio::io::duplex(1 << 16);
    tokio::spawn(async move {
        let mut asked = [0; 1024];
        let _ = server.read(&mut asked).await;
        for piece in reply.chunks(piece.max(1)) {
            if server.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    let peer = Peer {
        at: "test:1".to_owned(),
        user: "default".to_owned(),
    };
    Connection::new(Arc::new(peer), Box::new(client), Duration::from_secs(5))
}

fn request() -> Vec<(StreamName, EntryId)> {
    ["a", "b", "c"]
        .map(|name| (StreamName::from(name), EntryId::ZERO))
        .to_vec()
}

fn real_answer() -> Vec<u8> {
    let field = Field {
        name: b"name\xff".to_vec(),
        value: b"value\r\n".to_vec(),
    };
    let entries = |seq| {
        vec![Entry {
            id: EntryId::new(1_741_356_110_123, seq),
            fields: [field.clone(), field.clone()].into_iter().collect(),
        }]
    };
    let parts = [(b"a", 1), (b"c", 2)].map(|(name, seq)| Part {
        name: name.to_vec(),
        entries: entries(seq),
    });
    let mut answer = xread_reply(&parts, false);
    bulk(&mut answer, INFO.as_bytes());
    answer
}

#[tokio::test]
async fn a_read_gives_entries_by_index_and_the_history_they_came_from() {
    for piece in [1, 7, 1000] {
        let read = served(real_answer(), piece)
            .read(&request(), 10, None)
            .await
            .expect("whole");
        let found: Vec<_> = read
            .streams
            .iter()
            .map(|(index, entries)| (*index, entries.len()))
            .collect();
        assert_eq!(found, [(0, 1), (2, 1)]);
        assert_eq!(read.replication.offset, 1234);
        assert_eq!(read.replication.role, Role::Master);
        assert_eq!(read.replication.replid2, None);
        assert_eq!(read.replication.second_offset, None);
    }
}

/// Two streams: three entries of this many bytes each.
fn heavy_answer(bytes: usize) -> Vec<u8> {
    let entry = |seq| Entry {
        id: EntryId::new(1, seq),
        fields: std::iter::once(Field {
            name: b"f".to_vec(),
            value: vec![b'x'; bytes],
        })
        .collect(),
    };
    let parts = [b"a", b"c"].map(|name| Part {
        name: name.to_vec(),
        entries: vec![entry(1), entry(2), entry(3)],
    });
    let mut answer = xread_reply(&parts, false);
    bulk(&mut answer, INFO.as_bytes());
    answer
}

#[tokio::test]
async fn an_answer_that_passes_its_bound_is_broken_off_before_its_next_entry_is_held() {
    // (bytes of an entry, bound, where it breaks off): six entries, and what surrounds them.
    for (bytes, bound, broken) in [
        (5_000, 40_000, None),
        (5_000, 12_000, Some(("a", 2))),
        (5_000, 22_000, Some(("c", 1))),
        // The first entry passes every bound; what stands behind it does not.
        (500_000, 1_000, Some(("a", 1))),
    ] {
        for piece in [100, 2_000] {
            let mut connection = served(heavy_answer(bytes), piece);
            connection.bound_entries(bound);
            let read = connection.read(&request(), 10, None).await;
            let found = match &read {
                Ok(_) => None,
                Err(Error::Oversized {
                    stream, entries, ..
                }) => Some((stream.to_string(), *entries)),
                Err(error) => panic!("{error}"),
            };
            let broken = broken.map(|(stream, entries)| (stream.to_owned(), entries));
            assert_eq!(found, broken, "{bytes} {bound} in pieces of {piece}");
            assert_eq!(connection.is_usable(), read.is_ok());
        }
    }
}

#[tokio::test]
async fn an_answer_cut_at_any_byte_is_an_error_and_the_end_of_the_connection() {
    let answer = real_answer();
    for cut in 0..answer.len() {
        let mut connection = served(answer[..cut].to_vec(), 64);
        let error = connection
            .read(&request(), 10, None)
            .await
            .expect_err("cut");
        assert_eq!(error.kind(), ErrorKind::Unreachable, "at {cut}: {error}");
        assert!(error.is_connection_lost() && !connection.is_usable());
        let again = connection.read(&request(), 10, None).await;
        assert!(again.is_err(), "no use after an error");
    }
}

#[tokio::test]
async fn streams_not_asked_for_and_bytes_not_understood_end_the_connection() {
    for answer in [
        "*1\r\n*2\r\n$1\r\nz\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*0\r\n$24\r\nrole:master\r\nmaster_repl\r\n",
        "HTTP/1.1 400 Bad Request\r\n\r\n",
    ] {
        let mut connection = served(answer.as_bytes().to_vec(), 1000);
        let error = connection
            .read(&request(), 10, None)
            .await
            .expect_err("no such stream");
        assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
        assert!(!connection.is_usable());
    }
}

#[tokio::test]
async fn silence_is_a_timeout_after_the_block_and_the_response_timeout() {
    let (client, _server) = tokio::io::duplex(1 << 16);
    let peer = Arc::new(Peer {
        at: "test:1".to_owned(),
        user: "default".to_owned(),
    });
    let mut connection = Connection::new(peer, Box::new(client), Duration::from_millis(60));
    let began = tokio::time::Instant::now();
    let error = connection
        .read(&request(), 10, Some(Duration::from_millis(50)))
        .await
        .expect_err("silence");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(began.elapsed() >= Duration::from_millis(110));
    assert!(!connection.is_usable());
}

#[tokio::test]
async fn a_dropped_call_leaves_the_next_one_its_own_answer() {
    let (client, mut server) = tokio::io::duplex(1 << 16);
    let peer = Arc::new(Peer {
        at: "test:1".to_owned(),
        user: "default".to_owned(),
    });
    let mut connection = Connection::new(peer, Box::new(client), Duration::from_secs(5));
    let asked = request();
    let mut asked_bytes = [0; 1024];
    tokio::select! {
        biased;
        _ = connection.read(&asked, 10, Some(Duration::from_secs(9))) => panic!("nobody answered"),
        () = tokio::task::yield_now() => {}
    }
    let _ = server.read(&mut asked_bytes).await.expect("the request");
    let first = real_answer();
    server.write_all(&first[..30]).await.expect("open");
    tokio::select! {
        biased;
        _ = connection.replication() => panic!("half an answer"),
        () = tokio::task::yield_now() => {}
    }
    server.write_all(&first[30..]).await.expect("open");
    let mut second = Vec::new();
    bulk(&mut second, INFO.replace("1234", "5678").as_bytes());
    server.write_all(&second).await.expect("open");
    assert_eq!(
        connection.replication().await.expect("its own").offset,
        5678
    );
}
