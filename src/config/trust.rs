//! Whose word is taken for a server's certificate: the authorities of a file, or the system's.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// How a client of the `https` kind checks whom it speaks to. `named`: what the file is called where it is configured.
///
/// # Errors
/// The file cannot be read, or there is no authority at all.
pub fn client_tls(authorities: Option<&Path>, named: &str) -> Result<ureq::tls::TlsConfig, String> {
    let certificates: Vec<CertificateDer<'static>> = match authorities {
        Some(file) => {
            let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
            read.map_err(|error| {
                format!(
                    "{named} {} cannot be read: {error}; give a PEM file",
                    file.display()
                )
            })?
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    if certificates.is_empty() {
        return Err(format!(
            "there is no authority to believe the server's certificate by; name one with {named}"
        ));
    }
    let certificates: Vec<_> = certificates
        .iter()
        .map(|certificate| ureq::tls::Certificate::from_der(certificate).to_owned())
        .collect();
    Ok(ureq::tls::TlsConfig::builder()
        .root_certs(ureq::tls::RootCerts::new_with_certs(&certificates))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}
