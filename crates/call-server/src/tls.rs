//! TLS for the HTTP port and for TURN on the media port, from a certificate chain and a key in PEM files.
//!
//! The files are read once: a renewed certificate takes a restart. Deliberately not here: obtaining
//! certificates (ACME).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain, PEM, the server's own first.
    pub cert: PathBuf,
    /// Its private key, PEM (PKCS #8, PKCS #1 or SEC 1).
    pub key: PathBuf,
}

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or holds no certificate or key.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// Certificate and key do not fit together, or are of an unknown kind.
    #[error("certificate or key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

pub(crate) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| file_error(&files.cert, source))?;
    if chain.is_empty() {
        return Err(file_error(&files.cert, pem::Error::NoItemsFound));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|source| file_error(&files.key, source))?;
    // Named, because a process may link several providers and then has no default.
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The name under which members may look for this certificate: its first one that is no pattern.
/// `None`: it has none, or cannot be read, which [`acceptor`] reports.
pub(crate) fn name(files: &TlsFiles) -> Option<String> {
    let own = CertificateDer::pem_file_iter(&files.cert)
        .ok()?
        .next()?
        .ok()?;
    let certificate = webpki::EndEntityCert::try_from(&own).ok()?;
    let name = certificate
        .valid_dns_names()
        .find(|name| !name.starts_with('*'));
    name.map(str::to_owned)
}

fn file_error(path: &Path, source: pem::Error) -> TlsError {
    TlsError::File {
        path: path.to_owned(),
        source,
    }
}
