//! Sessions: logging in, running statements, and what a session is told of time zone and formats.
//!
//! Decides what every session is set to and how one statement runs from its text to its undecoded
//! result. Does not know what statements mean or what results hold.

mod credentials;
mod http;
pub(crate) mod protocol;
mod seam;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use provender_core::{Error, Result, codes};
use reqwest_middleware::ClientBuilder;
use serde_json::Value;
use snowflake_api::{
    AuthArgs, AuthType, CertificateArgs, PasswordArgs, SnowflakeApi, SnowflakeApiBuilder,
};
use url::Url;

use self::credentials::Credentials;
pub(crate) use self::http::{Http, MAX_CHUNK_ATTEMPTS};
use self::protocol::QueryData;
use self::seam::{CALL, Call, Seam, SeamMiddleware};
use crate::config::SnowflakeConfig;

/// What all sessions of a store have in common. `Debug` shows no secret.
pub(crate) struct Settings {
    /// The account as it was configured, for messages and addresses.
    pub account: String,
    pub user: String,
    pub credentials: Credentials,
    pub role: Option<String>,
    pub warehouse: Option<String>,
    pub database: String,
    pub schema: String,
    pub session_parameters: serde_json::Map<String, Value>,
    /// Where requests go.
    pub base: Url,
    /// What they go through; `None` for what the environment names.
    pub proxy: Option<reqwest::Proxy>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("account", &self.account)
            .field("user", &self.user)
            .field("credentials", &self.credentials.to_string())
            .field("role", &self.role)
            .field("warehouse", &self.warehouse)
            .field("base", &self.base.as_str())
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// The settings of a configuration block.
    ///
    /// # Errors
    /// `P203` for options that contradict each other or cannot be read.
    pub(crate) fn new(config: &SnowflakeConfig, block: &str, base_path: &Path) -> Result<Self> {
        let bad = |message: String| {
            Error::new(
                &codes::BAD_CONFIG,
                format!("{block} (type snowflake): {message}"),
            )
        };
        let account = config.account.trim();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if account.is_empty() || !account.chars().all(is_plain) {
            return Err(bad(format!("account {account:?} is no account identifier"))
                .help("write organisation-account, for example myorg-prod"));
        }
        let base = base_url(config.endpoint.as_deref(), account).map_err(|why| {
            bad(format!("endpoint {why}")).help("write a host name or an https:// URL")
        })?;
        let proxy = match &config.proxy {
            Some(url) => Some(proxy(url.reveal()).ok_or_else(|| {
                bad("proxy is no address of a proxy".to_owned())
                    .help("write http://HOST:PORT or http://USER:PASSWORD@HOST:PORT")
            })?),
            None => None,
        };
        let mut session_parameters = default_parameters(&config.query_tag);
        session_parameters.extend(config.session_parameters.clone());
        Ok(Self {
            account: account.to_owned(),
            user: config.user.clone().unwrap_or_default(),
            credentials: Credentials::new(config, block, base_path)?,
            role: config.role.clone(),
            warehouse: config.warehouse.clone(),
            database: config.database.clone(),
            schema: config.schema.clone(),
            session_parameters,
            base,
            proxy,
        })
    }
}

/// The proxy at an address, which may carry a password and so is never told.
fn proxy(text: &str) -> Option<reqwest::Proxy> {
    let url = Url::parse(text.trim()).ok()?;
    let is_proxy = matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some_and(|host| !host.is_empty());
    is_proxy.then(|| reqwest::Proxy::all(url).ok()).flatten()
}

fn base_url(endpoint: Option<&str>, account: &str) -> std::result::Result<Url, String> {
    let text = match endpoint.map(str::trim) {
        // Host names have no underscore; Snowflake's own have a hyphen for it.
        None => format!(
            "https://{}.snowflakecomputing.com",
            account.to_lowercase().replace('_', "-")
        ),
        Some(endpoint) if endpoint.contains("://") => endpoint.to_owned(),
        Some(endpoint) => format!("https://{endpoint}"),
    };
    let url = Url::parse(&text).map_err(|error| format!("{text:?} is no address: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(format!("{text:?} is no address of a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or password, which belong into options of their own".to_owned());
    }
    Ok(url)
}

/// What statements and results rely on, whatever account and user have been set to.
fn default_parameters(query_tag: &str) -> serde_json::Map<String, Value> {
    let parameters: [(&str, Value); 13] = [
        ("TIMEZONE", "UTC".into()),
        ("QUERY_TAG", query_tag.into()),
        ("AUTOCOMMIT", true.into()),
        // The crate logs in as a client of this name, whose results this sets.
        ("GO_QUERY_RESULT_FORMAT", "ARROW".into()),
        ("TIMESTAMP_TYPE_MAPPING", "TIMESTAMP_NTZ".into()),
        ("QUOTED_IDENTIFIERS_IGNORE_CASE", false.into()),
        ("BINARY_INPUT_FORMAT", "HEX".into()),
        ("BINARY_OUTPUT_FORMAT", "HEX".into()),
        ("JSON_INDENT", 0.into()),
        ("GEOGRAPHY_OUTPUT_FORMAT", "GeoJSON".into()),
        ("GEOMETRY_OUTPUT_FORMAT", "GeoJSON".into()),
        // A killed client's statement does not run on.
        ("ABORT_DETACHED_QUERY", true.into()),
        // A killed client's session ends by itself.
        ("CLIENT_SESSION_KEEP_ALIVE", false.into()),
    ];
    parameters
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// One statement: its text, and texts for its placeholders.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statement {
    pub sql: String,
    pub bindings: Vec<String>,
    /// Only asks for the columns of the result; nothing runs.
    pub is_describe: bool,
}

impl Statement {
    pub(crate) fn new(sql: impl Into<String>) -> Self {
        Self {
            sql: sql.into(),
            ..Self::default()
        }
    }
}

/// One session. It is opened by its first statement, and ended when the value is dropped.
pub(crate) struct Session {
    api: SnowflakeApi,
    seam: Arc<Seam>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// A session that is not open yet.
    ///
    /// # Errors
    /// `P203` if the crate beneath refuses the settings.
    pub(crate) fn new(settings: &Arc<Settings>, http: &Http) -> Result<Self> {
        let seam = Seam::new(http.clone(), settings.clone());
        let client = ClientBuilder::new(http.client.clone())
            .with(SeamMiddleware(seam.clone()))
            .build();
        // A token of a key pair names the account without its region.
        let name = settings.account.split('.').next().unwrap_or_default();
        let auth = AuthArgs {
            account_identifier: name.to_owned(),
            warehouse: None,
            database: None,
            schema: None,
            username: settings.user.clone(),
            role: None,
            auth_type: match &settings.credentials {
                Credentials::KeyPair(pem) => AuthType::Certificate(CertificateArgs {
                    private_key_pem: pem.reveal().to_owned(),
                }),
                // The real one is put in at the seam.
                _ => AuthType::Password(PasswordArgs {
                    password: String::new(),
                }),
            },
        };
        let api = SnowflakeApiBuilder::new(auth)
            .with_client(client)
            .build()
            .map_err(|_| Error::new(&codes::BAD_CONFIG, "a Snowflake session cannot be set up"))?;
        Ok(Self { api, seam })
    }

    /// Runs a statement to its end. Dropping the future aborts the statement in Snowflake.
    ///
    /// # Errors
    /// `P530` for a refused login, `P532` for a session that has ended, `P503` without an answer, and
    /// what [`crate::error::statement_error`] makes of Snowflake's own.
    pub(crate) async fn run(&self, statement: Statement) -> Result<QueryData> {
        let call = Call::new(statement);
        // The text stays here, for the crate would log it; what it sends is made at the seam.
        let ran = CALL
            .scope(call.clone(), self.api.exec_raw("SELECT 1"))
            .await;
        match (call.take(), ran) {
            (Some(outcome), _) => outcome,
            (None, Err(snowflake_api::SnowflakeApiError::AuthError(_))) => Err(Error::new(
                &codes::WAREHOUSE_LOGIN,
                "no login to Snowflake can be made of the credentials",
            )
            .help("a private key must be an RSA key of at least 2048 bits, in PKCS#8")),
            (None, _) => Err(Error::new(
                &codes::INTERNAL,
                "a statement for Snowflake was lost on its way",
            )),
        }
    }

    /// Waits until statements whose futures were dropped have been aborted.
    pub(crate) async fn aborted(&self) {
        self.seam.aborted().await;
    }

    /// Ends the session, and with it everything temporary. Best effort.
    pub(crate) async fn close(&self) {
        self.seam.close().await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.seam.is_open() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let seam = self.seam.clone();
            runtime.spawn(async move { seam.close().await });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_account_is_reached_at_its_own_host_or_wherever_the_endpoint_says() {
        for (endpoint, url) in [
            (None, "https://my-org-prod.snowflakecomputing.com/"),
            (
                Some("prod.eu-west-1.privatelink.snowflakecomputing.com"),
                "https://prod.eu-west-1.privatelink.snowflakecomputing.com/",
            ),
            (Some("http://127.0.0.1:8080"), "http://127.0.0.1:8080/"),
        ] {
            assert_eq!(base_url(endpoint, "My_Org-Prod").unwrap().as_str(), url);
        }
        for endpoint in ["ftp://host", "https://", "a b", "https://user@host"] {
            assert!(base_url(Some(endpoint), "a").is_err(), "{endpoint}");
        }
    }

    #[test]
    fn a_proxy_is_an_http_address_with_or_without_a_password() {
        for text in ["http://proxy:3128", "https://me:secret@proxy:3128"] {
            assert!(proxy(text).is_some(), "{text}");
        }
        for text in ["proxy:3128", "", "ftp://proxy", "socks5://proxy:1080"] {
            assert!(proxy(text).is_none(), "{text}");
        }
    }
}
