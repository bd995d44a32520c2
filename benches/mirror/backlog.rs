//! Entries of seed 003's form, about 230 bytes each, written as fast as Redis takes them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use crate::harness::RedisServer;

const AT_ONCE: u64 = 1_000;

/// The fields of the n-th entry, in order.
pub fn fields(n: u64) -> [(&'static str, String); 8] {
    [
        ("messageId", format!("m{n:010}")),
        ("conversationId", format!("conv_{:05}", n % 5_000)),
        ("senderId", format!("user_{:04}", n % 1_000)),
        ("createdAt", "2025-03-07T14:01:50.123Z".to_owned()),
        ("payloadKey", String::new()),
        ("idempotencyKey", format!("idem-{n:010}")),
        ("correlationId", format!("corr-{n:010}")),
        (
            "metadata",
            r#"{"content":"hello","contentType":"text/plain","priority":1,"retryCount":0}"#
                .to_owned(),
        ),
    ]
}

pub fn stream(database: u32, n: u64) -> String {
    format!("bench:{database}:{n}")
}

/// Fills `streams` streams of a database with `entries` entries in all. Answers are read on a thread of their own, so that
/// nothing waits for them.
pub fn fill(redis: &RedisServer, database: u32, streams: u64, entries: u64) {
    let mut socket = TcpStream::connect(("127.0.0.1", redis.port)).unwrap();
    let answers = socket.try_clone().unwrap();
    let answered = thread::spawn(move || await_answers(answers, entries));
    write!(
        socket,
        "*2\r\n$6\r\nSELECT\r\n${}\r\n{database}\r\n",
        database.to_string().len()
    )
    .unwrap();
    let mut buffer = Vec::new();
    for n in 0..entries {
        add(&mut buffer, &stream(database, n % streams), n);
        if (n + 1) % AT_ONCE == 0 || n + 1 == entries {
            socket.write_all(&buffer).unwrap();
            buffer.clear();
        }
    }
    answered.join().unwrap();
}

/// An id is two lines, the OK before them one.
fn await_answers(mut socket: TcpStream, entries: u64) {
    let mut answer = [0_u8; 65_536];
    let mut left = 1 + 2 * usize::try_from(entries).unwrap();
    let mut before = b'\n';
    while left > 0 {
        let read = socket.read(&mut answer).unwrap();
        assert!(read > 0, "redis closes");
        for &byte in &answer[..read] {
            assert!((before, byte) != (b'\n', b'-'), "redis refuses");
            left -= usize::from(byte == b'\n');
            before = byte;
        }
    }
}

fn add(out: &mut Vec<u8>, stream: &str, n: u64) {
    let fields = fields(n);
    write!(out, "*{}\r\n$4\r\nXADD\r\n", 3 + 2 * fields.len()).unwrap();
    let mut bulk = |text: &str| write!(out, "${}\r\n{text}\r\n", text.len()).unwrap();
    bulk(stream);
    bulk("*");
    for (name, value) in &fields {
        bulk(name);
        bulk(value);
    }
}
