//! Entries are read byte for byte, in order, whole or not at all.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use lockgate::config;
use lockgate::entry::{Database, Entry, EntryId, StreamName, StreamRef};
use lockgate::streams::{PAGE_BYTES, Pages, Redis, Role};

use super::{config_of, connect, id, name, plain, tell};

#[tokio::test]
async fn a_read_gives_what_lies_after_each_position_byte_for_byte() {
    let server = plain();
    tell(
        server.port,
        &[
            b"XADD",
            b"a\xff",
            b"5-1",
            b"f\x00",
            b"\r\n\xfe",
            b"f\x00",
            b"",
            b"",
            b"x",
        ],
    );
    tell(server.port, &[b"XADD", b"a\xff", b"5-2", b"k", b"v"]);
    tell(server.port, &[b"XADD", b"c", b"7-0", b"k", b"v"]);
    tell(server.port, &[b"XADD", b"c", b"8-0", b"k", b"gone"]);
    tell(server.port, &[b"XDEL", b"c", b"8-0"]);
    let mut redis = connect(&config_of(&server)).await;
    let streams = [
        (StreamName::from(&b"a\xff"[..]), EntryId::ZERO),
        (name("b"), EntryId::ZERO),
        (name("c"), id("6-0")),
    ];
    let read = redis.read(&streams, 100, None).await.expect("read");
    assert_eq!(read.streams.len(), 2, "streams without entries are absent");
    let (index, entries) = &read.streams[0];
    assert_eq!((*index, entries.len()), (0, 2));
    let fields: Vec<_> = entries[0]
        .fields
        .iter()
        .map(|f| (f.name, f.value))
        .collect();
    assert_eq!(
        fields,
        [(&b"f\0"[..], &b"\r\n\xfe"[..]), (b"f\0", b""), (b"", b"x")]
    );
    assert_eq!(
        (read.streams[1].0, read.streams[1].1.len()),
        (2, 1),
        "the deleted entry is not there"
    );
    assert_eq!(read.replication.role, Role::Master);
    assert_eq!(read.replication, redis.replication().await.expect("read"));

    let read = redis.read(&streams, 1, None).await.expect("read");
    assert_eq!(read.streams[0].1.len(), 1, "count is per stream");
    let behind = [(name("c"), id("7-0"))];
    assert!(
        redis
            .read(&behind, 10, None)
            .await
            .expect("read")
            .streams
            .is_empty()
    );
    assert!(
        redis
            .read(&[], 10, None)
            .await
            .expect("read")
            .streams
            .is_empty()
    );
}

#[tokio::test]
async fn large_entries_and_long_backlogs_come_whole() {
    let server = plain();
    let large = vec![b'x'; 3 << 20];
    tell(server.port, &[b"XADD", b"s", b"1-0", b"large", &large]);
    for seq in 2..700 {
        tell(
            server.port,
            &[
                b"XADD",
                b"s",
                format!("{seq}-0").as_bytes(),
                b"n",
                seq.to_string().as_bytes(),
            ],
        );
    }
    let mut redis = connect(&config_of(&server)).await;
    let read = redis
        .read(&[(name("s"), EntryId::ZERO)], 1000, None)
        .await
        .expect("read");
    let entries = &read.streams[0].1;
    assert_eq!(entries.len(), 699);
    let first = entries[0].fields.iter().next().unwrap();
    assert_eq!(first.value, &large[..]);
    assert!(entries.windows(2).all(|pair| pair[0].id < pair[1].id));
    let some = redis
        .range(&name("s"), id("3-0"), id("600-0"), 10)
        .await
        .expect("range");
    assert_eq!((some.len(), some[0].id), (10, id("3-0")));
    let back = redis
        .range_back(&name("s"), EntryId::MAX, id("690-0"), 4)
        .await
        .expect("range");
    assert_eq!((back.len(), back[0].id), (4, id("699-0")));
    assert!(
        redis
            .range(&name("none"), EntryId::ZERO, EntryId::MAX, 10)
            .await
            .expect("range")
            .is_empty()
    );
}

#[tokio::test]
async fn a_blocked_read_wakes_at_once_and_outlasts_the_response_timeout() {
    let server = plain();
    let config = config::Redis {
        response_timeout: Duration::from_millis(300),
        ..config_of(&server)
    };
    let mut redis = connect(&config).await;
    let streams = [(name("quiet"), EntryId::ZERO), (name("s"), EntryId::ZERO)];
    let began = Instant::now();
    let read = redis
        .read(&streams, 10, Some(Duration::from_secs(1)))
        .await
        .expect("no timeout");
    assert!(read.streams.is_empty() && began.elapsed() >= Duration::from_millis(900));

    let port = server.port;
    let writer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        tell(port, &[b"XADD", b"s", b"1-1", b"k", b"v"]);
        Instant::now()
    });
    let read = redis
        .read(&streams, 10, Some(Duration::from_secs(20)))
        .await
        .expect("woken");
    let woken = Instant::now();
    assert_eq!(read.streams[0].0, 1);
    assert!(
        woken.saturating_duration_since(writer.join().expect("wrote")) < Duration::from_millis(500)
    );
}

#[tokio::test]
async fn an_abandoned_read_leaves_the_connection_as_it_was() {
    let server = plain();
    let mut redis = connect(&config_of(&server)).await;
    let streams = [(name("s"), EntryId::ZERO)];
    for _ in 0..3 {
        let blocked = redis.read(&streams, 10, Some(Duration::from_millis(400)));
        assert!(
            tokio::time::timeout(Duration::from_millis(50), blocked)
                .await
                .is_err()
        );
        assert!(
            redis
                .server()
                .await
                .expect("its own answer")
                .version
                .starts_with(|c: char| c.is_ascii_digit())
        );
    }
    tell(server.port, &[b"XADD", b"s", b"1-1", b"k", b"v"]);
    assert_eq!(
        redis
            .read(&streams, 10, None)
            .await
            .expect("read")
            .streams
            .len(),
        1
    );
}

/// A real server's real answer, cut after each of its bytes in turn by a proxy that then hangs up.
#[tokio::test]
async fn a_connection_cut_at_any_byte_gives_an_error_and_never_entries() {
    let server = plain();
    for n in 1..4 {
        tell(
            server.port,
            &[
                b"XADD",
                b"s",
                format!("{n}-0").as_bytes(),
                b"field",
                b"value\r\n",
            ],
        );
    }
    let port = server.port;
    let proxy = TcpListener::bind("127.0.0.1:0").expect("bound");
    let config = config::Redis {
        url: format!("redis://{}", proxy.local_addr().expect("bound")),
        ..config_of(&server)
    };
    let (cuts, next_cut) = std::sync::mpsc::channel::<usize>();
    std::thread::spawn(move || {
        for cut in next_cut {
            let Ok((client, _)) = proxy.accept() else {
                return;
            };
            let up = TcpStream::connect(("127.0.0.1", port)).expect("it runs");
            let (mut asks, mut to_server) = (
                client.try_clone().expect("open"),
                up.try_clone().expect("open"),
            );
            std::thread::spawn(move || std::io::copy(&mut asks, &mut to_server));
            let mut to_client = client.try_clone().expect("open");
            let _ = std::io::copy(&mut up.take(cut as u64), &mut to_client);
            let _ = client.shutdown(std::net::Shutdown::Both);
        }
    });
    let redis = Redis::new(&config).expect("configuration");
    let streams = [(name("s"), EntryId::ZERO)];
    let mut cut = 0;
    loop {
        cuts.send(cut).expect("the proxy runs");
        match redis.connect(Database(0)).await {
            Err(error) => assert!(error.is_connection_lost(), "{error}"),
            Ok(mut connection) => match connection.read(&streams, 10, None).await {
                Err(error) => assert!(
                    error.is_connection_lost() && !connection.is_usable(),
                    "{error}"
                ),
                Ok(read) => {
                    assert_eq!(read.streams[0].1.len(), 3, "whole, or not at all");
                    break;
                }
            },
        }
        cut += 1;
    }
    assert!(
        cut > 600,
        "the cuts went through two INFO answers and the entries: {cut}"
    );
}

#[tokio::test]
async fn pages_of_a_range_are_bounded_by_bytes_whatever_entries_weigh() {
    let server = plain();
    // Small ones, then large ones, one that no page holds beside another, and small ones again.
    let sizes = (0..3_000).map(|_| 50);
    let sizes = sizes.chain([700_000; 30]).chain([6 << 20]);
    let sizes: Vec<usize> = sizes.chain((0..3_000).map(|_| 50)).collect();
    let mut adding = server.connection(0);
    let mut ids = (1..).map(|ms: u64| format!("{ms}-0"));
    for some in sizes.chunks(500) {
        let mut pipe = redis::pipe();
        for &bytes in some {
            let id = ids.next().unwrap();
            pipe.cmd("XADD")
                .arg("s")
                .arg(id)
                .arg("n")
                .arg("x".repeat(bytes));
        }
        pipe.query::<()>(&mut adding).unwrap();
    }
    let redis = Redis::new(&config_of(&server)).expect("configuration");
    let stream = StreamRef::new(redis.default_database(), "s");
    let mut connection = None;
    let all = (EntryId::ZERO, EntryId::MAX);
    let mut pages = Pages::new(&redis, &stream, &mut connection, all, 2_000);
    let (mut seen, mut count, mut most) = (Vec::new(), 0, 0);
    while let Some(page) = pages.next().await.expect("read") {
        let bytes: usize = page.iter().map(Entry::bytes).sum();
        let heaviest = page.iter().map(Entry::bytes).max().unwrap();
        let but_one = bytes - heaviest;
        assert!(but_one <= PAGE_BYTES, "{} of {bytes}", page.len());
        most = most.max(page.len());
        count += 1;
        seen.extend(page.iter().map(|entry| (entry.id.ms, entry.bytes() - 1)));
    }
    let expected: Vec<_> = (1..).zip(sizes).collect();
    assert!(seen == expected, "every entry once and in order");
    assert!(
        (2_000, 40) >= (most, count) && most == 2_000,
        "{count} pages of up to {most}"
    );
}
