//! A byte stream to Redis: TCP, TLS or a Unix socket, set so that a dead peer is noticed.

use std::io;
use std::time::Duration;

use redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};

use super::address::{Address, Way};
use super::error::Error;

/// A quiet connection is probed after this, so that a peer that went away without a word is noticed while nothing is
/// asked of it.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;

pub(super) trait Bytes: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Bytes for T {}

pub(super) type Socket = Box<dyn Bytes>;

/// Connects, by `until` at the latest; where a name has several addresses each gets its share of the time.
pub(super) async fn open(address: &Address, until: Instant) -> Result<Socket, Error> {
    let patience = address.response_timeout;
    let unreachable = |cause| Error::unreachable(&address.peer, cause);
    match &address.way {
        Way::Unix(path) => {
            let stream = by(until, UnixStream::connect(path)).await;
            Ok(Box::new(stream.map_err(unreachable)?))
        }
        Way::Tcp { host, port } => {
            let stream = by(until, tcp(host, *port, until, patience)).await;
            Ok(Box::new(stream.map_err(unreachable)?))
        }
        Way::Tls { host, port, files } => {
            let files = files.clone();
            let config = tokio::task::spawn_blocking(move || files.load())
                .await
                .map_err(|_| "reading the TLS files was broken off".to_owned())
                .flatten()
                .map_err(|message| Error::Config { message })?;
            let name = ServerName::try_from(host.clone()).map_err(|_| Error::Config {
                message: format!(
                    "`{host}` in `redis.url` is not a name that a certificate can be checked against"
                ),
            })?;
            let stream = by(until, tcp(host, *port, until, patience))
                .await
                .map_err(unreachable)?;
            let handshake = tokio_rustls::TlsConnector::from(config).connect(name, stream);
            let stream = by(until, handshake).await;
            Ok(Box::new(
                stream.map_err(|cause| during_handshake(address, cause))?,
            ))
        }
    }
}

/// The outcome, or that it did not come in time.
async fn by<T>(until: Instant, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout_at(until, work).await.unwrap_or_else(|_| {
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "not done within `redis.connect_timeout`",
        ))
    })
}

/// A peer that hangs up in the middle of the handshake, or waits for ever, mostly speaks no TLS on that port.
fn during_handshake(address: &Address, cause: io::Error) -> Error {
    match Error::unreachable(&address.peer, cause) {
        Error::Unreachable { peer, cause } => Error::Tls {
            peer,
            detail: format!("the handshake failed ({cause}); does the port speak TLS?"),
        },
        other => other,
    }
}

async fn tcp(host: &str, port: u16, until: Instant, patience: Duration) -> io::Result<TcpStream> {
    let addresses: Vec<_> = tokio::net::lookup_host((host, port))
        .await
        .map_err(|cause| io::Error::new(cause.kind(), format!("the name has no address: {cause}")))?
        .collect();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (tried, socket_address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(1);
        match by(Instant::now() + share, TcpStream::connect(socket_address)).await {
            Ok(stream) => {
                settle(&stream, patience)?;
                return Ok(stream);
            }
            Err(cause) => failure = cause,
        }
    }
    Err(failure)
}

fn settle(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE_AFTER)
            .with_interval(KEEPALIVE_EVERY)
            .with_retries(KEEPALIVE_PROBES),
    )?;
    // What was sent and is not confirmed by the peer's kernel in this time breaks the connection.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(patience.max(KEEPALIVE_EVERY)))?;
    #[cfg(not(target_os = "linux"))]
    let _ = patience;
    Ok(())
}
