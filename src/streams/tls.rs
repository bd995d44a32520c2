//! The TLS side of `rediss://`: which authorities are believed, and which certificate is shown.
//!
//! Files are read anew for each connection, so that certificates can be renewed while Lockgate runs. Authorities are
//! those of `redis.tls_ca_file` and no others; without it, those of the system.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config;

/// Where the PEM files lie.
#[derive(Clone, Debug)]
pub(super) struct Files {
    authorities: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Files {
    pub(super) fn from_config(config: &config::Redis) -> Self {
        Self {
            authorities: config.tls_ca_file.clone(),
            certificate: config.tls_cert_file.clone(),
            key: config.tls_key_file.clone(),
        }
    }

    /// Reads the files. Blocks on the disk. `Err`: what is wrong with which of them.
    pub(super) fn load(&self) -> Result<Arc<ClientConfig>, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?
            .with_root_certificates(self.roots()?);
        let config = match (&self.certificate, &self.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificate), Some(key)) => builder
                .with_client_auth_cert(
                    certificates("redis.tls_cert_file", certificate)?,
                    private_key(key)?,
                )
                .map_err(|error| {
                    format!(
                        "`redis.tls_cert_file` and `redis.tls_key_file` do not go together: {error}"
                    )
                })?,
            _ => {
                return Err(
                    "`redis.tls_cert_file` and `redis.tls_key_file` need each other; set both or neither"
                        .to_owned(),
                );
            }
        };
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let mut store = RootCertStore::empty();
        match &self.authorities {
            Some(path) => {
                for certificate in certificates("redis.tls_ca_file", path)? {
                    store.add(certificate).map_err(|error| {
                        format!(
                            "`redis.tls_ca_file` {} holds a certificate that is no authority: {error}",
                            path.display()
                        )
                    })?;
                }
            }
            None => {
                store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if store.is_empty() {
                    return Err(
                        "this system has no certificate authorities; name one in `redis.tls_ca_file`".to_owned(),
                    );
                }
            }
        }
        Ok(store)
    }
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error: rustls::pki_types::pem::Error| {
        format!("`{key}` {} cannot be read: {error}", path.display())
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    if certificates.is_empty() {
        return Err(format!("`{key}` {} holds no certificate", path.display()));
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| {
        format!(
            "`redis.tls_key_file` {} cannot be read: {error}",
            path.display()
        )
    })
}
