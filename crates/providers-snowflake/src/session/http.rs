//! Requests over HTTP, repeated while the failure is one that passes.
//!
//! Repeating is safe whatever the statement: Snowflake knows a request by its id, and answers a
//! request that it has seen with what came of it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, RETRY_AFTER};
use http::{Method, StatusCode};
use provender_core::{Error, Result, codes};
use provender_engine::parts::pause;
use url::Url;
use uuid::Uuid;

use super::protocol::Envelope;

/// How often a request is sent before its failure is told.
const MAX_ATTEMPTS: u32 = 8;
const LONGEST_WAIT: Duration = Duration::from_secs(16);
/// Statements may be held by the server for 45 seconds before it answers that they are in progress.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// The drivers' own sign that an answer may come as Arrow.
const ACCEPT: &str = "application/snowflake";

/// The connections of a store. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    pub client: reqwest::Client,
    base: Url,
}

/// One request to the account.
pub(crate) struct Ask<'a> {
    pub method: Method,
    /// Path and query as Snowflake gave them, or a path of our own.
    pub path: &'a str,
    pub query: Vec<(&'static str, String)>,
    /// The token, if the request needs one.
    pub token: Option<&'a str>,
    pub body: Option<&'a serde_json::Value>,
}

impl Http {
    /// Connections to `base`, through a proxy, else through those that the environment names.
    ///
    /// # Errors
    /// `P203` if the TLS of this machine cannot be set up.
    pub(crate) fn new(base: Url, proxy: Option<reqwest::Proxy>) -> Result<Self> {
        let mut builder = reqwest::Client::builder();
        if let Some(proxy) = proxy {
            builder = builder.proxy(proxy);
        }
        let client = builder
            .user_agent(concat!("provender/", env!("CARGO_PKG_VERSION")))
            .gzip(true)
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(ANSWER_TIMEOUT)
            .build()
            .map_err(|error| {
                Error::new(
                    &codes::BAD_CONFIG,
                    "connections to Snowflake cannot be set up",
                )
                .source(error)
            })?;
        Ok(Self { client, base })
    }

    /// The host that is asked, for messages.
    pub(crate) fn host(&self) -> String {
        self.base.host_str().unwrap_or_default().to_owned()
    }

    /// Sends a request until it is answered in the protocol's own form, or fails for good.
    ///
    /// # Errors
    /// `P503` if no answer came that can be read.
    pub(crate) async fn ask(&self, ask: Ask<'_>) -> Result<Envelope> {
        let mut attempt = 0;
        loop {
            let failure = match self.send_once(&ask, attempt).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            attempt += 1;
            if !failure.passes || attempt >= MAX_ATTEMPTS {
                return Err(failure.error);
            }
            tracing::debug!(
                attempt,
                path = ask.path.split('?').next(),
                "a request to Snowflake is repeated"
            );
            tokio::time::sleep(failure.wait.unwrap_or_else(|| pause(attempt))).await;
        }
    }

    async fn send_once(
        &self,
        ask: &Ask<'_>,
        attempt: u32,
    ) -> std::result::Result<Envelope, Failure> {
        let mut url = self.base.join(ask.path).map_err(|error| Failure {
            error: Error::new(
                &codes::OFFLINE_UNAVAILABLE,
                format!("Snowflake named an address that is none: {error}"),
            ),
            passes: false,
            wait: None,
        })?;
        {
            let mut pairs = url.query_pairs_mut();
            for (name, value) in &ask.query {
                pairs.append_pair(name, value);
            }
            // Each sending has an id of its own beside the request's, which stays.
            pairs.append_pair("request_guid", &Uuid::new_v4().to_string());
            if attempt > 0 {
                pairs.append_pair("retryCount", &attempt.to_string());
            }
        }
        let mut request = self
            .client
            .request(ask.method.clone(), url)
            .header(http::header::ACCEPT, ACCEPT);
        if let Some(token) = ask.token {
            request = request.header(http::header::AUTHORIZATION, bearer(token));
        }
        if let Some(body) = ask.body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| self.lost(error))?;
        let status = response.status();
        let wait = retry_after(response.headers());
        if passes(status) {
            return Err(Failure {
                error: self.refused(status),
                passes: true,
                wait,
            });
        }
        let body = response.bytes().await.map_err(|error| self.lost(error))?;
        // Refusals of the protocol itself may come with any status.
        match serde_json::from_slice::<Envelope>(&body) {
            Ok(envelope) if status.is_success() || !envelope.code().is_empty() => Ok(envelope),
            _ => Err(Failure {
                error: self.refused(status),
                // A proxy in between, or half an answer.
                passes: status.is_success(),
                wait: None,
            }),
        }
    }

    /// Downloads one chunk of a result, once.
    pub(crate) async fn chunk(
        &self,
        url: &str,
        headers: &HeaderMap,
    ) -> std::result::Result<Bytes, Failure> {
        let sent = self.client.get(url).headers(headers.clone()).send().await;
        let response = sent.map_err(|error| self.lost(error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(Failure {
                error: Error::new(
                    &codes::OFFLINE_UNAVAILABLE,
                    format!("a part of a result cannot be downloaded: the storage behind Snowflake answers {status}"),
                )
                .help("check that the network lets the account's storage hosts through (SYSTEM$ALLOWLIST lists them)"),
                passes: passes(status),
                wait: retry_after(response.headers()),
            });
        }
        response.bytes().await.map_err(|error| self.lost(error))
    }

    fn lost(&self, error: reqwest::Error) -> Failure {
        // The address carries ids, and chunks' addresses carry signatures.
        let error = error.without_url();
        Failure {
            error: Error::new(
                &codes::OFFLINE_UNAVAILABLE,
                format!("Snowflake at {} cannot be reached", self.host()),
            )
            .help("check account, endpoint and the network; proxies are taken from the option proxy, else from HTTPS_PROXY and NO_PROXY")
            .source(error),
            passes: true,
            wait: None,
        }
    }

    fn refused(&self, status: StatusCode) -> Error {
        Error::new(
            &codes::OFFLINE_UNAVAILABLE,
            format!("Snowflake at {} answers {status}", self.host()),
        )
        .help(match status.as_u16() {
            403 | 404 => {
                "check account and endpoint, and that a network policy lets this machine in"
            }
            429 => "the account takes no more requests now; try again later",
            _ => "try again later; https://status.snowflake.com tells of outages",
        })
        .context("status", status.as_u16().to_string())
        .retryable(passes(status))
    }
}

/// A request that was sent once and failed.
pub(crate) struct Failure {
    pub error: Error,
    /// Whether sending it again may help.
    pub passes: bool,
    pub wait: Option<Duration>,
}

/// How often a chunk is asked for.
pub(crate) const MAX_CHUNK_ATTEMPTS: u32 = MAX_ATTEMPTS;

fn bearer(token: &str) -> http::HeaderValue {
    let text = format!("Snowflake Token=\"{token}\"");
    let mut value =
        http::HeaderValue::from_str(&text).unwrap_or_else(|_| http::HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

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
