//! Where a server is, and what a URL says of it.

use std::fmt;

use provender_core::Secret;
use url::Url;

use super::Login;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What one URL says.
pub(super) struct Place {
    pub(super) address: Address,
    pub(super) is_tls: bool,
    pub(super) login: Login,
    pub(super) database: Option<u32>,
}

impl Place {
    /// # Errors
    /// What is wrong, without a word of the URL.
    pub(super) fn parse(text: &str, default_port: u16) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "is no URL")?;
        let is_tls = match url.scheme() {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return Err("starts with neither redis:// nor rediss://"),
        };
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or("names no host")?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if url.query().is_some() || url.fragment().is_some() {
            return Err("has a query or fragment, which have no meaning here");
        }
        let decoded = |text: &str| percent_decode(text).ok_or("has an escape that is not UTF-8");
        let username = match url.username() {
            "" => None,
            name => Some(decoded(name)?),
        };
        let password = url.password().map(decoded).transpose()?;
        let password = password.as_deref().map(Secret::new);
        let database = match url.path().trim_matches('/') {
            "" => None,
            path => Some(
                path.parse()
                    .map_err(|_| "has a path that is no database number")?,
            ),
        };
        Ok(Self {
            address: Address {
                host: host.to_owned(),
                port: url.port().unwrap_or(default_port),
            },
            is_tls,
            login: Login { username, password },
            database,
        })
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}
