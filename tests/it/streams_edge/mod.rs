//! The Redis edge against real servers: what it reads, what it calls each trouble, and that it only reads.
//!
//! What a test tells its server goes by hand over a plain socket: it must not lean on the code under test.

mod access;
mod looks;
mod reading;
mod trouble;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use lockgate::config;
use lockgate::entry::{EntryId, StreamName};
use lockgate::streams::{Connection, Redis};

use crate::harness::{RedisOptions, RedisServer};

fn plain() -> RedisServer {
    with(&[])
}

/// A server with more lines of redis.conf.
fn with(lines: &[&str]) -> RedisServer {
    RedisServer::start(RedisOptions {
        config: lines.iter().map(|&line| line.to_owned()).collect(),
        ..RedisOptions::default()
    })
}

fn config_of(server: &RedisServer) -> config::Redis {
    config::Redis {
        url: server.bare_url(0),
        response_timeout: Duration::from_secs(5),
        ..config::Redis::default()
    }
}

fn packed(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend(format!("${}\r\n", word.len()).bytes());
        out.extend_from_slice(word);
        out.extend(b"\r\n");
    }
    out
}

/// The first bytes of the answer.
fn tell(port: u16, words: &[&[u8]]) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("it runs");
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("set");
    socket.write_all(&packed(words)).expect("sent");
    let mut answer = vec![0; 65536];
    let length = socket.read(&mut answer).expect("answered");
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

fn name(text: &str) -> StreamName {
    StreamName::from(text)
}

fn id(text: &str) -> EntryId {
    text.parse().expect("an id")
}

async fn connect(config: &config::Redis) -> Connection {
    let redis = Redis::new(config).expect("configuration");
    redis
        .connect(redis.default_database())
        .await
        .expect("connected")
}
