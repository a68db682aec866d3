//! Who asks: a personal access token, or a service principal whose OAuth tokens are renewed.
//!
//! Decides that exactly one way is configured, and when a token is too old to be sent. Secrets leave
//! this module only for a request's `Authorization` header.

use std::fmt;
use std::time::{Duration, Instant};

use provender_core::{Error, Result, Secret, codes};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

use super::config::{DatabricksConfig, bad};

/// A token that ends sooner than this is renewed before it is sent.
const LEAST_LEFT: Duration = Duration::from_secs(60);

/// One way to prove who asks. `Debug` shows no secret.
pub(crate) enum Login {
    /// A personal access token.
    Token(Secret),
    /// A service principal.
    ServicePrincipal {
        client_id: String,
        secret: Secret,
        renewed: Mutex<Option<Renewed>>,
    },
}

/// An OAuth token, and until when it is sent.
pub(crate) struct Renewed {
    token: Secret,
    until: Instant,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what())
    }
}

impl Login {
    /// The way that the block configures, or else the environment.
    ///
    /// # Errors
    /// `P203` if there is none, more than one, or half of one.
    pub(crate) fn new(config: &DatabricksConfig, block: &str) -> Result<Self> {
        let given =
            config.token.is_some() || config.client_id.is_some() || config.client_secret.is_some();
        let (token, client_id, secret) = if given {
            (
                config.token.clone(),
                config.client_id.clone(),
                config.client_secret.clone(),
            )
        } else {
            let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
            (
                variable("DATABRICKS_TOKEN").map(Secret::new),
                variable("DATABRICKS_CLIENT_ID"),
                variable("DATABRICKS_CLIENT_SECRET").map(Secret::new),
            )
        };
        match (token, client_id, secret) {
            (Some(token), None, None) => Ok(Self::Token(token)),
            (None, Some(client_id), Some(secret)) => Ok(Self::ServicePrincipal {
                client_id,
                secret,
                renewed: Mutex::default(),
            }),
            (Some(_), _, _) => Err(bad(
                block,
                "token and client_id or client_secret are given together",
            )
            .help("keep the one that logs in")),
            (None, None, None) => Err(bad(block, "there is nothing to log in with").help(
                "set token, or client_id and client_secret, for example token: ${DATABRICKS_TOKEN}",
            )),
            (None, id, _) => {
                let missing = if id.is_some() {
                    "client_secret"
                } else {
                    "client_id"
                };
                Err(bad(block, format!("{missing} is missing"))
                    .help("a service principal needs client_id and client_secret"))
            }
        }
    }

    /// What this way is called in messages.
    pub(crate) fn what(&self) -> &'static str {
        match self {
            Self::Token(_) => "personal access token",
            Self::ServicePrincipal { .. } => "service principal",
        }
    }

    /// Whether a refused token may be one that has to be renewed.
    pub(crate) fn renews(&self) -> bool {
        matches!(self, Self::ServicePrincipal { .. })
    }

    /// Does not send the present token again.
    pub(crate) async fn forget(&self) {
        if let Self::ServicePrincipal { renewed, .. } = self {
            *renewed.lock().await = None;
        }
    }

    /// The token to send now.
    ///
    /// # Errors
    /// `P530` if the service principal is refused, `P503` without an answer.
    pub(crate) async fn token(&self, client: &reqwest::Client, base: &Url) -> Result<Secret> {
        let (client_id, secret, renewed) = match self {
            Self::Token(token) => return Ok(token.clone()),
            Self::ServicePrincipal {
                client_id,
                secret,
                renewed,
            } => (client_id, secret, renewed),
        };
        // Whoever comes second waits for the token that the first one asks for.
        let mut renewed = renewed.lock().await;
        if let Some(known) = &*renewed
            && Instant::now() < known.until
        {
            return Ok(known.token.clone());
        }
        let answer = ask(client, base, client_id, secret).await?;
        let lasts = Duration::from_secs(answer.expires_in);
        let token = Secret::new(answer.access_token);
        *renewed = Some(Renewed {
            token: token.clone(),
            until: Instant::now() + lasts.saturating_sub(LEAST_LEFT.min(lasts / 2)),
        });
        Ok(token)
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    #[serde(default = "an_hour")]
    expires_in: u64,
}

fn an_hour() -> u64 {
    3_600
}

async fn ask(
    client: &reqwest::Client,
    base: &Url,
    client_id: &str,
    secret: &Secret,
) -> Result<TokenAnswer> {
    let host = base.host_str().unwrap_or_default();
    let lost = |error: reqwest::Error| {
        Error::new(
            &codes::OFFLINE_UNAVAILABLE,
            format!("Databricks at {host} cannot be reached for a token"),
        )
        .help("check host, endpoint and the network")
        .source(error.without_url())
    };
    let url = base.join("oidc/v1/token").map_err(|error| {
        Error::new(&codes::INTERNAL, "the address of tokens is none").source(error)
    })?;
    let form = [("grant_type", "client_credentials"), ("scope", "all-apis")];
    let mut attempt = 0;
    loop {
        attempt += 1;
        let sent = client
            .post(url.clone())
            .basic_auth(client_id, Some(secret.reveal()))
            .form(&form)
            .send()
            .await;
        let error = match sent {
            Ok(response) if response.status().is_success() => {
                return response.json().await.map_err(|error| {
                    Error::new(
                        &codes::OFFLINE_UNAVAILABLE,
                        format!("Databricks at {host} answers no token"),
                    )
                    // What it answers instead may be half a token.
                    .context("reason", if error.is_decode() { "decode" } else { "body" })
                });
            }
            Ok(response) => {
                let status = response.status();
                if status.as_u16() != 429 && !status.is_server_error() {
                    return Err(Error::new(
                        &codes::WAREHOUSE_LOGIN,
                        format!("Databricks at {host} does not let service principal {client_id:?} in: it answers {status}"),
                    )
                    .help("check client_id and client_secret, and that the principal is assigned to the workspace")
                    .context("status", status.as_u16().to_string()));
                }
                Error::new(
                    &codes::OFFLINE_UNAVAILABLE,
                    format!("Databricks at {host} answers {status} when asked for a token"),
                )
            }
            Err(error) => lost(error),
        };
        if attempt >= 5 {
            return Err(error);
        }
        tokio::time::sleep(provender_engine::parts::pause(attempt)).await;
    }
}
