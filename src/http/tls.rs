//! The API by TLS: connections whose handshake is done, from the same listener.
//!
//! Handshakes go on side by side and each has an end, so that one that stalls keeps nobody out.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::serve::Listener;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::{self, Digest};

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Handshakes that may be under way; more connections wait to be accepted.
const AT_ONCE: usize = 64;
const CERTIFICATE: &str = "http.tls_cert_file";
const KEY: &str = "http.tls_key_file";

/// The certificate that is shown, and its key: for each handshake those that were taken over last.
#[derive(Clone)]
pub struct Tls {
    pub(super) files: Files,
    shown: Arc<RwLock<Arc<ServerConfig>>>,
}

/// Where they are.
#[derive(Clone)]
pub(super) struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// What the files hold. The key is in it: it is not printed.
pub(super) struct Texts {
    certificate: String,
    key: String,
}

impl Tls {
    /// Reads the files; `None`: none are configured.
    ///
    /// # Errors
    /// What is wrong with which of them.
    pub fn load(config: &config::Http) -> Result<Option<Self>, String> {
        let (Some(certificate), Some(key)) = (&config.tls_cert_file, &config.tls_key_file) else {
            return Ok(None);
        };
        let files = Files {
            certificate: certificate.clone(),
            key: key.clone(),
        };
        let server = files.read()?.server(&files)?;
        Ok(Some(Self {
            files,
            shown: Arc::new(RwLock::new(Arc::new(server))),
        }))
    }

    /// Whoever connects from now on is shown this.
    pub(super) fn show(&self, server: ServerConfig) {
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(server);
    }

    fn acceptor(&self) -> TlsAcceptor {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&shown))
    }

    /// What this listener accepts, after its handshake.
    #[must_use]
    pub fn over(self, listener: TcpListener) -> Secured {
        Secured {
            listener,
            tls: self,
            shaking: JoinSet::new(),
        }
    }
}

impl Files {
    pub(super) fn read(&self) -> Result<Texts, String> {
        let read = |key: &str, path: &Path| {
            let text = std::fs::read_to_string(path);
            text.map_err(|error| unreadable(key, path, &error))
        };
        Ok(Texts {
            certificate: read(CERTIFICATE, &self.certificate)?,
            key: read(KEY, &self.key)?,
        })
    }
}

impl Texts {
    /// Tells one pair from another.
    pub(super) fn digest(&self) -> Digest {
        Digest::of(&format!("{}\0{}", self.certificate, self.key))
    }

    pub(super) fn server(&self, files: &Files) -> Result<ServerConfig, String> {
        let not_pem = |error| unreadable(CERTIFICATE, &files.certificate, &error);
        let certificates = CertificateDer::pem_slice_iter(self.certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(not_pem)?;
        if certificates.is_empty() {
            return Err(format!(
                "{CERTIFICATE} {} holds no certificate; give a PEM file",
                files.certificate.display()
            ));
        }
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())
            .map_err(|error| unreadable(KEY, &files.key, &error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .map_err(|error| format!("{CERTIFICATE} and {KEY} do not go together: {error}"))?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(server)
    }
}

fn unreadable(key: &str, path: &Path, error: &dyn std::fmt::Display) -> String {
    let path = path.display();
    format!("{key} {path} cannot be read: {error}; give a PEM file")
}

type Shaken = io::Result<(TlsStream<TcpStream>, SocketAddr)>;

/// A listener whose connections have their handshake behind them.
pub struct Secured {
    listener: TcpListener,
    tls: Tls,
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
                    self.shaking.spawn(shake(self.tls.acceptor(), stream, peer));
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
