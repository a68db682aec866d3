//! Certificates of the server.

use std::path::Path;
use std::sync::Arc;

use provender_core::{Error, Result, codes};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use serde_json::{Map, Value};

/// `server.tls`: files in PEM.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsFiles {
    /// The certificate, then those of its issuers.
    cert: String,
    /// Its private key.
    key: String,
}

/// Reads `server.tls`; none serves plain text. Relative files start at `base`.
///
/// # Errors
/// `InvalidArgument` (`P203`) for other options and for files that cannot be read or used.
pub(crate) fn server_config(
    tls: Option<&Map<String, Value>>,
    base: &Path,
) -> Result<Option<Arc<ServerConfig>>> {
    let Some(tls) = tls else {
        return Ok(None);
    };
    let files: TlsFiles = serde_json::from_value(Value::Object(tls.clone())).map_err(|error| {
        Error::new(&codes::BAD_CONFIG, format!("server.tls: {error}"))
            .help("write {cert: server.pem, key: server.key}")
    })?;
    let read = |option: &str, file: &str| {
        std::fs::read(base.join(file)).map_err(|error| {
            Error::new(
                &codes::BAD_CONFIG,
                format!("server.tls.{option}: the file {file} cannot be read"),
            )
            .source(error)
        })
    };
    // The process may be built with several implementations of ciphers, and then has none by default.
    // Whoever has chosen one before is not overruled.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cert = read("cert", &files.cert)?;
    let key = read("key", &files.key)?;
    let unusable = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(
            &codes::BAD_CONFIG,
            "server.tls: the certificate cannot be used",
        )
        .source(error)
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&cert)
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| unusable(error.into()))?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| unusable(error.into()))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| unusable(error.into()))?;
    config.alpn_protocols.push(b"h2".to_vec());
    Ok(Some(Arc::new(config)))
}
