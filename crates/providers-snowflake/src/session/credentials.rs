//! Who logs in, and how: password, key pair, OAuth or programmatic access token.
//!
//! Decides that exactly one way is configured, and turns an encrypted private key into a plain one.
//! Secrets leave this module only for a login request.

use std::fmt;
use std::path::{Path, PathBuf};

use pkcs8::der::pem::PemLabel;
use pkcs8::{EncryptedPrivateKeyInfo, LineEnding, PrivateKeyInfo, SecretDocument};
use provender_core::{Error, Result, Secret, codes};

use crate::config::SnowflakeConfig;

/// One way to prove who the user is. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub(crate) enum Credentials {
    /// A password, or a programmatic access token in the place of one.
    Password(Secret),
    /// A private key as PEM, decrypted.
    KeyPair(Secret),
    /// An OAuth token.
    OAuth(Secret),
    /// A file that holds an OAuth token, which somebody else renews.
    OAuthFile(PathBuf),
    /// A programmatic access token.
    AccessToken(Secret),
}

impl Credentials {
    /// The configured way.
    ///
    /// # Errors
    /// `P203` if there is none or more than one, a user is missing, or the key cannot be read.
    pub(crate) fn new(config: &SnowflakeConfig, block: &str, base: &Path) -> Result<Self> {
        let bad = |message: String| {
            Error::new(
                &codes::BAD_CONFIG,
                format!("{block} (type snowflake): {message}"),
            )
        };
        let mut ways: Vec<(&str, Self)> = Vec::new();
        if let Some(password) = &config.password {
            ways.push(("password", Self::Password(password.clone())));
        }
        if let Some(pem) = &config.private_key {
            let key = private_key(pem.reveal(), config.private_key_passphrase.as_ref())
                .map_err(|why| bad(format!("private_key {why}")))?;
            ways.push(("private_key", Self::KeyPair(key)));
        }
        if let Some(path) = &config.private_key_path {
            let path = base.join(path);
            let pem = std::fs::read_to_string(&path).map_err(|error| {
                bad(format!(
                    "private_key_path {} cannot be read: {error}",
                    path.display()
                ))
            })?;
            let key = private_key(&pem, config.private_key_passphrase.as_ref())
                .map_err(|why| bad(format!("the key in {} {why}", path.display())))?;
            ways.push(("private_key_path", Self::KeyPair(key)));
        }
        if let Some(token) = &config.oauth_token {
            ways.push(("oauth_token", Self::OAuth(token.clone())));
        }
        if let Some(path) = &config.oauth_token_path {
            ways.push(("oauth_token_path", Self::OAuthFile(base.join(path))));
        }
        if let Some(token) = &config.access_token {
            ways.push(("access_token", Self::AccessToken(token.clone())));
        }
        let names: Vec<&str> = ways.iter().map(|(name, _)| *name).collect();
        if names.len() > 1 {
            return Err(bad(format!("{} are given together", names.join(" and ")))
                .help("keep the one that logs in"));
        }
        let Some((name, way)) = ways.pop() else {
            return Err(bad("there is nothing to log in with".to_owned()).help(
                "set password, private_key or private_key_path, oauth_token or access_token, for example \
                 password: ${SNOWFLAKE_PASSWORD}",
            ));
        };
        let needs_user = matches!(way, Self::Password(_) | Self::KeyPair(_));
        if needs_user && config.user.as_deref().is_none_or(str::is_empty) {
            return Err(bad(format!("{name} needs a user")).help("set user"));
        }
        Ok(way)
    }
}

/// The key as unencrypted PEM, or what is wrong with it, to be read after its name.
fn private_key(pem: &str, passphrase: Option<&Secret>) -> std::result::Result<Secret, String> {
    let (label, document) = SecretDocument::from_pem(pem.trim())
        .map_err(|_| "is not PEM: it should start with -----BEGIN PRIVATE KEY-----".to_owned())?;
    if PrivateKeyInfo::validate_pem_label(label).is_ok() {
        return Ok(Secret::new(pem.trim()));
    }
    if EncryptedPrivateKeyInfo::validate_pem_label(label).is_err() {
        return Err(format!(
            "is a {label:?}, not a PKCS#8 key; `openssl pkcs8 -topk8` converts it"
        ));
    }
    let Some(passphrase) = passphrase else {
        return Err("is encrypted, and private_key_passphrase is not set".to_owned());
    };
    let encrypted = EncryptedPrivateKeyInfo::try_from(document.as_bytes())
        .map_err(|_| "is not an encrypted PKCS#8 key that can be read".to_owned())?;
    let plain = encrypted
        .decrypt(passphrase.reveal())
        .map_err(|_| "cannot be decrypted with private_key_passphrase".to_owned())?;
    let pem = plain
        .to_pem(PrivateKeyInfo::PEM_LABEL, LineEnding::LF)
        .map_err(|_| "cannot be decrypted to a key".to_owned())?;
    Ok(Secret::new(pem.as_str()))
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "password",
            Self::KeyPair(_) => "key pair",
            Self::OAuth(_) | Self::OAuthFile(_) => "OAuth token",
            Self::AccessToken(_) => "programmatic access token",
        })
    }
}
