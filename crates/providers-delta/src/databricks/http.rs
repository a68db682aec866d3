//! Requests to a workspace, repeated while the failure is one that passes.
//!
//! Decides which failures pass, how long is waited, and what may be sent twice. Links to results are
//! followed by a client of their own, which knows no token.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use provender_core::{Context, Error, Result, codes};
use provender_engine::parts::{pause, within};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::auth::Login;
use super::error;

/// How often a request is sent before its failure is told.
const MAX_ATTEMPTS: u32 = 8;
/// A server that asks for more is asked again after this time.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Statements are held by the server for some seconds before it answers that they are in progress.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// The connections of a store. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: reqwest::Client,
    base: Url,
    login: Arc<Login>,
}

/// One request to the workspace.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub method: Method,
    /// Path and query, without a slash at its start.
    pub path: String,
    pub body: Option<Value>,
    /// Whether it may be sent again when it is not known whether it was received.
    pub is_repeatable: bool,
}

impl Ask {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            body: None,
            is_repeatable: true,
        }
    }

    pub(crate) fn post(path: impl Into<String>, body: Value) -> Self {
        Self {
            method: Method::POST,
            path: path.into(),
            body: Some(body),
            is_repeatable: true,
        }
    }
}

/// A request that was sent once and failed.
struct Failure {
    error: Error,
    /// Whether sending it again may help.
    passes: bool,
    /// Whether the server may have done what it was asked.
    is_unknown: bool,
    is_stranger: bool,
    wait: Option<Duration>,
}

impl Http {
    /// Connections to `base`, through proxies that the environment names.
    ///
    /// # Errors
    /// `P203` if the TLS of this machine cannot be set up.
    pub(crate) fn new(base: Url, login: Login) -> Result<Self> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("provender/", env!("CARGO_PKG_VERSION")))
            .gzip(true)
            .referer(false)
            // A redirect would carry the token along, or a body that was not meant for it.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(ANSWER_TIMEOUT)
            .build()
            .map_err(|error| {
                Error::new(
                    &codes::BAD_CONFIG,
                    "connections to Databricks cannot be set up",
                )
                .source(error)
            })?;
        Ok(Self {
            client,
            base,
            login: Arc::new(login),
        })
    }

    /// The host that is asked, for messages.
    pub(crate) fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }

    /// Sends a request until it is answered, fails for good, or the call ends.
    ///
    /// # Errors
    /// `P503` if no answer came that can be read, `P530` and `P531` for refusals, `P507` for others.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, cx: &Context, ask: &Ask) -> Result<T> {
        cx.check()?;
        within(cx, self.send(ask)).await?
    }

    /// [`Self::ask`] whatever becomes of the call.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(crate) async fn send<T: DeserializeOwned>(&self, ask: &Ask) -> Result<T> {
        let mut attempt = 0;
        let mut was_renewed = false;
        loop {
            let failure = match self.send_once(ask).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            attempt += 1;
            if failure.is_stranger && self.login.renews() && !was_renewed {
                was_renewed = true;
                self.login.forget().await;
                continue;
            }
            if failure.is_unknown && !ask.is_repeatable {
                return Err(failure.error.retryable(false).help(
                    "it is not known whether the statement ran; look at the warehouse's query history before it is made again",
                ));
            }
            if !failure.passes || attempt >= MAX_ATTEMPTS {
                return Err(failure.error);
            }
            let wait = failure.wait.unwrap_or_else(|| pause(attempt));
            tracing::debug!(
                attempt,
                path = ask.path.split('?').next(),
                "a request to Databricks is repeated"
            );
            tokio::time::sleep(wait).await;
        }
    }

    async fn send_once<T: DeserializeOwned>(&self, ask: &Ask) -> std::result::Result<T, Failure> {
        let fatal = |error| Failure {
            error,
            passes: false,
            is_unknown: false,
            is_stranger: false,
            wait: None,
        };
        let url = self.base.join(&ask.path).map_err(|error| {
            fatal(Error::new(&codes::INTERNAL, "an address of Databricks is none").source(error))
        })?;
        let token = self.login.token(&self.client, &self.base).await;
        let token = token.map_err(fatal)?;
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
            .map_err(|_| {
                let message = "the token for Databricks holds letters that no token has";
                fatal(Error::new(&codes::WAREHOUSE_LOGIN, message).help("check token"))
            })?;
        authorization.set_sensitive(true);
        let mut request = self
            .client
            .request(ask.method.clone(), url)
            .header(reqwest::header::AUTHORIZATION, authorization);
        if let Some(body) = &ask.body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| Failure {
            is_unknown: !error.is_connect(),
            ..self.lost(error)
        })?;
        let status = response.status();
        let wait = retry_after(response.headers());
        let body = response.bytes().await.map_err(|error| Failure {
            is_unknown: true,
            ..self.lost(error)
        })?;
        if !status.is_success() {
            return Err(Failure {
                error: error::refused(self.host(), self.login.what(), status, &body),
                passes: passes(status),
                // What is refused for now was not begun; other failures of a server say nothing.
                is_unknown: status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE,
                is_stranger: status == StatusCode::UNAUTHORIZED,
                wait,
            });
        }
        let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
        serde_json::from_slice(body).map_err(|error| Failure {
            error: Error::new(
                &codes::OFFLINE_UNAVAILABLE,
                format!(
                    "Databricks at {} answers something that is not the API's",
                    self.host()
                ),
            )
            .help("check host and endpoint")
            .source(error),
            passes: true,
            is_unknown: true,
            is_stranger: false,
            wait: None,
        })
    }

    fn lost(&self, error: reqwest::Error) -> Failure {
        // Addresses of results carry signatures.
        let error = error.without_url();
        Failure {
            error: Error::new(
                &codes::OFFLINE_UNAVAILABLE,
                format!("Databricks at {} cannot be reached", self.host()),
            )
            .help(
                "check host, endpoint and the network; proxies are taken from HTTPS_PROXY and NO_PROXY",
            )
            .source(error),
            passes: true,
            is_unknown: true,
            is_stranger: false,
            wait: None,
        }
    }
}

/// Follows links to results, without a token: the link itself is the permission, and storage refuses
/// a request that brings two.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    client: reqwest::Client,
}

/// Why a link gave nothing.
pub(crate) enum LinkFailure {
    /// It has expired, or is refused for another reason that a new link may mend.
    Stale(Error),
    /// It may be followed again, after this time if one is named.
    Passing(Error, Option<Duration>),
}

impl Links {
    /// # Errors
    /// `P203` if the TLS of this machine cannot be set up.
    pub(crate) fn new() -> Result<Self> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("provender/", env!("CARGO_PKG_VERSION")))
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(ANSWER_TIMEOUT)
            .build();
        let client = client.map_err(|error| {
            Error::new(
                &codes::BAD_CONFIG,
                "connections to storage cannot be set up",
            )
            .source(error)
        })?;
        Ok(Self { client })
    }

    /// What a link points to, asked for once.
    pub(crate) async fn follow(
        &self,
        link: &str,
        headers: &HeaderMap,
    ) -> std::result::Result<Bytes, LinkFailure> {
        let lost = |error: reqwest::Error| {
            let error = Error::new(
                &codes::OFFLINE_UNAVAILABLE,
                "a part of a result cannot be downloaded",
            )
            .help("check that the network lets the workspace's storage hosts through")
            .source(error.without_url());
            LinkFailure::Passing(error, None)
        };
        let sent = self.client.get(link).headers(headers.clone()).send().await;
        let response = sent.map_err(lost)?;
        let status = response.status();
        if status.is_success() {
            return response.bytes().await.map_err(lost);
        }
        let error = Error::new(
            &codes::OFFLINE_UNAVAILABLE,
            format!("a part of a result cannot be downloaded: the storage behind Databricks answers {status}"),
        )
        .help("check that the network lets the workspace's storage hosts through")
        .context("status", status.as_u16().to_string());
        Err(match passes(status) {
            true => LinkFailure::Passing(error, retry_after(response.headers())),
            false => LinkFailure::Stale(error),
        })
    }
}

/// Headers that a link must be followed with.
pub(crate) fn link_headers(pairs: impl IntoIterator<Item = (String, String)>) -> Result<HeaderMap> {
    let bad = || Error::new(&codes::OFFLINE_DATA, "a result names headers that are none");
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let mut value = HeaderValue::from_str(&value).map_err(|_| bad())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// How often a link is followed.
pub(crate) const MAX_LINK_ATTEMPTS: u32 = MAX_ATTEMPTS;

fn passes(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 429)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}
