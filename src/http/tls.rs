//! The API by TLS: connections whose handshake is done, from the same listener.
//!
//! Handshakes go on side by side and each has an end, so that one that stalls keeps nobody out.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config;

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Handshakes that may be under way; more connections wait to be accepted.
const AT_ONCE: usize = 64;
const KEYS: &str = "http.tls_cert_file and http.tls_key_file";

/// The certificate that is shown, and its key.
#[derive(Clone)]
pub struct Tls(Arc<ServerConfig>);

impl Tls {
    /// Reads the files; `None`: none are configured.
    ///
    /// # Errors
    /// What is wrong with which of them.
    pub fn load(config: &config::Http) -> Result<Option<Self>, String> {
        let (Some(certificate), Some(key)) = (&config.tls_cert_file, &config.tls_key_file) else {
            return Ok(None);
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?
            .with_no_client_auth()
            .with_single_cert(certificates(certificate)?, private_key(key)?)
            .map_err(|error| format!("{KEYS} do not go together: {error}"))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Self(Arc::new(config))))
    }

    /// What this listener accepts, after its handshake.
    #[must_use]
    pub fn over(self, listener: TcpListener) -> Secured {
        Secured {
            listener,
            acceptor: TlsAcceptor::from(self.0),
            shaking: JoinSet::new(),
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error: rustls::pki_types::pem::Error| {
        format!(
            "http.tls_cert_file {} cannot be read: {error}; give a PEM file",
            path.display()
        )
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    if certificates.is_empty() {
        return Err(format!(
            "http.tls_cert_file {} holds no certificate; give a PEM file",
            path.display()
        ));
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| {
        format!(
            "http.tls_key_file {} cannot be read: {error}; give a PEM file",
            path.display()
        )
    })
}

type Shaken = io::Result<(TlsStream<TcpStream>, SocketAddr)>;

/// A listener whose connections have their handshake behind them.
pub struct Secured {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    shaking: JoinSet<Shaken>,
}

impl Listener for Secured {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    /// Cancel safe: handshakes under way stay in the set.
    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                // axum's own way of accepting, which waits where there are no more descriptors.
                (stream, peer) = Listener::accept(&mut self.listener), if self.shaking.len() < AT_ONCE => {
                    self.shaking.spawn(shake(self.acceptor.clone(), stream, peer));
                }
                Some(shaken) = self.shaking.join_next() => match crate::tasks::passed_on(shaken) {
                    Ok(connection) => return connection,
                    Err(error) => tracing::debug!(%error, "a connection to the API did not come to stand"),
                },
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

async fn shake(acceptor: TlsAcceptor, stream: TcpStream, peer: SocketAddr) -> Shaken {
    let shaken = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await;
    let stream = shaken.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok((stream, peer))
}
