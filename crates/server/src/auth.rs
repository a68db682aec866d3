//! Who may call: bearer tokens and what each allows.
//!
//! Decides how `server.tokens` is read and how a token is compared (in constant time). Roles per project
//! and view, OIDC and client certificates are not here.

use std::path::Path;

use provender_core::{Error, Result, codes};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tonic::codegen::http::HeaderMap;

/// What a token allows; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reading values and definitions.
    Read,
    /// Pushing rows too.
    Write,
    /// Applying definitions and materialising too.
    Admin,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// One entry of `server.tokens`: where the token is (never the token itself), and what it allows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenEntry {
    /// The environment variable that holds it.
    env: Option<String>,
    /// The file that holds it.
    file: Option<String>,
    /// What it allows.
    role: Role,
    /// Who uses it, for logs and the registry's history.
    name: Option<String>,
}

/// A token that is known: its hash alone.
#[derive(Clone)]
struct Known {
    hash: [u8; 32],
    role: Role,
    name: String,
}

/// Who may call.
#[derive(Clone, Default)]
pub struct Guard {
    tokens: Vec<Known>,
    /// Whether there are tokens at all; without, everybody may do everything.
    is_closed: bool,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard")
            .field("n_tokens", &self.tokens.len())
            .finish_non_exhaustive()
    }
}

impl Guard {
    /// Reads `server.tokens`. Relative files start at `base`.
    ///
    /// # Errors
    /// `InvalidArgument` (`P203`, `P202`) for an entry that is none, and for a token that is not there
    /// or empty.
    pub fn read(
        tokens: Option<&serde_json::Value>,
        base: &Path,
        variables: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let Some(tokens) = tokens else {
            return Ok(Self::default());
        };
        let entries: Vec<TokenEntry> = serde_json::from_value(tokens.clone()).map_err(|error| {
            config(format!("server.tokens: {error}"))
                .help("write a list such as `- {env: PROVENDER_READ_TOKEN, role: read}`")
        })?;
        let mut known = Vec::with_capacity(entries.len());
        for (index, entry) in entries.into_iter().enumerate() {
            let place = format!("server.tokens[{index}]");
            let token = match (&entry.env, &entry.file) {
                (Some(name), None) => variables(name).ok_or_else(|| {
                    Error::new(
                        &codes::MISSING_ENV,
                        format!("{place} refers to the variable {name}, which is not set"),
                    )
                })?,
                (None, Some(file)) => {
                    std::fs::read_to_string(base.join(file)).map_err(|error| {
                        config(format!("{place}: the file {file} cannot be read")).source(error)
                    })?
                }
                _ => return Err(config(format!("{place} needs one of `env` and `file`"))),
            };
            let token = token.trim();
            if token.is_empty() {
                return Err(config(format!("{place}: the token is empty")));
            }
            known.push(Known {
                hash: Sha256::digest(token.as_bytes()).into(),
                role: entry.role,
                name: entry.name.unwrap_or_else(|| entry.role.name().to_owned()),
            });
        }
        Ok(Self {
            tokens: known,
            is_closed: true,
        })
    }

    /// Whether tokens are asked for.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Who calls; `None` where nobody is asked for a token.
    ///
    /// # Errors
    /// `Unauthenticated` (`P705`).
    pub fn admit(&self, headers: &HeaderMap) -> Result<Option<Caller>> {
        if !self.is_closed {
            return Ok(None);
        }
        let token = headers
            .get("authorization")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| {
                let (scheme, token) = value.split_once(' ')?;
                scheme
                    .eq_ignore_ascii_case("bearer")
                    .then_some(token.trim())
            })
            .ok_or_else(|| {
                Error::new(&codes::NOT_AUTHENTICATED, "the call brings no bearer token")
                    .help("send the header `authorization: Bearer TOKEN`")
            })?;
        // Hashes are compared, so how long it takes tells nothing about a token.
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let known = self
            .tokens
            .iter()
            .find(|known| known.hash == hash)
            .ok_or_else(|| {
                Error::new(&codes::NOT_AUTHENTICATED, "the bearer token is not known")
                    .help("check server.tokens, and that the token is the one that was meant")
            })?;
        Ok(Some(Caller {
            role: known.role,
            name: known.name.clone(),
        }))
    }
}

/// Whom a token belongs to.
#[derive(Clone, Debug)]
pub struct Caller {
    role: Role,
    /// The token's name.
    pub name: String,
}

impl Caller {
    /// Fails unless the token allows what needs `role`.
    ///
    /// # Errors
    /// `PermissionDenied` (`P706`).
    pub fn may(&self, role: Role) -> Result<()> {
        if self.role >= role {
            return Ok(());
        }
        Err(Error::new(
            &codes::NOT_ALLOWED,
            format!(
                "the token {:?} allows {}, and this call needs {}",
                self.name,
                self.role.name(),
                role.name()
            ),
        ))
    }
}

fn config(message: String) -> Error {
    Error::new(&codes::BAD_CONFIG, message)
}
