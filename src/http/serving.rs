//! The connections of the API: so many at once, and each with an end that does not depend on who called.
//!
//! ```text
//!   listener ──a place is free──▶ connection ──head in time──▶ guard ──body in time──▶ door ──answer taken in time──┐
//!                                     ▲                                                                             │
//!                                     └─────────────────────────────────────────────────────────────────────────────┘
//! ```
//! A caller who sends a byte now and then, or none, or who does not take his answer, loses the connection after
//! `http.client_timeout`, and its place is free. Beyond `http.connections` callers wait in the kernel's queue: they are
//! answered as places come free. How long a door works on an answer has no limit here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use super::access::Peer;
use super::tls::Tls;
use super::{Api, router};
use crate::config;
use crate::metrics::{Denied, Metrics};

/// What connections are held to.
struct Limits {
    places: Arc<Semaphore>,
    patience: Duration,
}

/// Serves until stopped, by TLS where there is any.
///
/// # Errors
/// The listener cannot be told how long to wait for callers.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    config: &config::Http,
    api: Api,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let limits = Limits {
        places: Arc::new(Semaphore::new(config.connections)),
        patience: config.client_timeout,
    };
    give_up_on_deaf_callers(&listener, limits.patience)?;
    match tls {
        Some(tls) => accept(tls.over(listener), limits, api, stop).await,
        None => accept(listener, limits, api, stop).await,
    }
    Ok(())
}

/// Connections inherit it: an answer that the other end neither takes nor acknowledges for so long ends them.
fn give_up_on_deaf_callers(listener: &TcpListener, patience: Duration) -> std::io::Result<()> {
    SockRef::from(listener).set_tcp_user_timeout(Some(patience))
}

async fn accept<L>(mut listener: L, limits: Limits, api: Api, stop: CancellationToken)
where
    L: Listener<Addr = SocketAddr>,
{
    let closing = GracefulShutdown::new();
    let metrics = Arc::clone(&api.metrics);
    let router = router(api);
    loop {
        let (place, (stream, from)) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = next(&mut listener, &limits.places) => accepted,
        };
        let connection = Connection {
            stream,
            from,
            patience: limits.patience,
            metrics: Arc::clone(&metrics),
            _place: place,
            _counted: Counted::new(&metrics),
        };
        tokio::spawn(connection.serve(router.clone(), closing.watcher()));
    }
    drop(listener);
    closing.shutdown().await;
}

/// The next connection, once there is a place for it.
async fn next<L: Listener>(
    listener: &mut L,
    places: &Arc<Semaphore>,
) -> (OwnedSemaphorePermit, (L::Io, L::Addr)) {
    if places.available_permits() == 0 {
        warn!("http.connections are open; more callers wait until one ends");
    }
    let place = Arc::clone(places).acquire_owned().await;
    let place = place.expect("nobody closes the semaphore");
    (place, listener.accept().await)
}

struct Connection<S> {
    stream: S,
    from: SocketAddr,
    patience: Duration,
    metrics: Arc<Metrics>,
    _place: OwnedSemaphorePermit,
    _counted: Counted,
}

/// A connection in the gauge, for as long as this lives: also where a door panics.
struct Counted(Arc<Metrics>);

impl Counted {
    fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.connections.inc();
        Self(Arc::clone(metrics))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Connection<S> {
    async fn serve(self, router: Router, closing: Watcher) {
        let asked = Arc::new(AtomicBool::new(false));
        let (from, noticed) = (self.from, Arc::clone(&asked));
        let service = router.map_request(move |mut request: Request<Incoming>| {
            noticed.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(ConnectInfo(Peer(from)));
            request.map(Body::new)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.patience)
            // Who has sent all and goes away has asked.
            .half_close(true)
            .serve_connection(TokioIo::new(self.stream), TowerToHyperService::new(service));
        if let Err(error) = closing.watch(connection).await {
            debug!(%from, %error, "a connection to the API ended early");
            // Who had asked before has only been idle.
            if error.is_timeout() && !asked.load(Ordering::Relaxed) {
                self.metrics.denied(Denied::Slow);
            }
        }
    }
}
