//! The options of a `type: snowflake` block.

use std::collections::BTreeMap;
use std::path::PathBuf;

use provender_core::Secret;
use serde::Deserialize;

/// Which account, who logs in how, and where tables lie. `Debug` shows no secret.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnowflakeConfig {
    /// The account's identifier: `organisation-account`, or an account locator with its region.
    pub account: String,
    /// The user who logs in. Default: none, which only tokens allow.
    #[serde(default)]
    pub user: Option<String>,
    /// The user's password. Default: none.
    #[serde(default)]
    pub password: Option<Secret>,
    /// The user's private key as PEM (PKCS#8), encrypted or not. Default: none.
    #[serde(default)]
    pub private_key: Option<Secret>,
    /// The file of the private key; a relative path starts at the configuration file. Default: none.
    #[serde(default)]
    pub private_key_path: Option<PathBuf>,
    /// The passphrase of an encrypted private key. Default: none.
    #[serde(default)]
    pub private_key_passphrase: Option<Secret>,
    /// An OAuth access token. Default: none.
    #[serde(default)]
    pub oauth_token: Option<Secret>,
    /// A programmatic access token. Default: none.
    #[serde(default)]
    pub access_token: Option<Secret>,
    /// A file that holds the OAuth token and is read again at each login. Default: none.
    #[serde(default)]
    pub oauth_token_path: Option<PathBuf>,
    /// The role of the session. Default: the user's.
    #[serde(default)]
    pub role: Option<String>,
    /// The warehouse of the session. Default: the user's.
    #[serde(default)]
    pub warehouse: Option<String>,
    /// The database of the tables; upper-cased as Snowflake does, unless in double quotes.
    pub database: String,
    /// The schema of the tables, spelled like `database`. Default: `PUBLIC`.
    #[serde(default = "public")]
    pub schema: String,
    /// Where the account is reached instead of `https://ACCOUNT.snowflakecomputing.com`: a host name
    /// (PrivateLink) or a URL. Default: none.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The proxy that everything goes through, as `http://[USER:PASSWORD@]HOST:PORT`. Default: those
    /// that the environment names (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`).
    #[serde(default)]
    pub proxy: Option<Secret>,
    /// The query tag of the session. Default: `provender`.
    #[serde(default = "query_tag")]
    pub query_tag: String,
    /// Further session parameters, which win over those that this crate sets. Default: none.
    #[serde(default)]
    pub session_parameters: BTreeMap<String, serde_json::Value>,
    /// Whether tables keep past states that can be read and pinned. Default: true.
    #[serde(default = "yes")]
    pub time_travel: bool,
    /// How many chunks of a result are downloaded at once. Default: 4.
    #[serde(default = "n_downloads")]
    pub parallel_downloads: usize,
    /// Spines of at most so many rows travel inside the statement; larger ones go through a
    /// temporary table. Default: 100.
    #[serde(default = "inline_rows")]
    pub inline_rows: usize,
    /// How many bytes of rows one INSERT carries. Default: 1,000,000.
    #[serde(default = "insert_bytes")]
    pub insert_bytes: usize,
}

fn public() -> String {
    "PUBLIC".to_owned()
}

fn query_tag() -> String {
    "provender".to_owned()
}

fn yes() -> bool {
    true
}

fn n_downloads() -> usize {
    4
}

fn inline_rows() -> usize {
    100
}

fn insert_bytes() -> usize {
    1_000_000
}

pub(crate) fn options_schema() -> serde_json::Value {
    let text =
        |description: &str| serde_json::json!({"type": "string", "description": description});
    serde_json::json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["account", "database"],
        "properties": {
            "account": text("The account's identifier: organisation-account, or a locator with its region."),
            "user": text("The user who logs in; not needed with a token."),
            "password": text("The user's password."),
            "private_key": text("The user's private key as PEM (PKCS#8), encrypted or not."),
            "private_key_path": text("The file of the private key."),
            "private_key_passphrase": text("The passphrase of an encrypted private key."),
            "oauth_token": text("An OAuth access token."),
            "oauth_token_path": text("A file that holds the OAuth token, read at each login."),
            "access_token": text("A programmatic access token."),
            "role": text("The role of the session; by default the user's."),
            "warehouse": text("The warehouse of the session; by default the user's."),
            "database": text("The database of the tables; upper-cased unless in double quotes."),
            "schema": {"type": "string", "default": "PUBLIC", "description": "The schema of the tables."},
            "endpoint": text("A host name or URL to reach the account at, such as that of a PrivateLink."),
            "proxy": text("The proxy that everything goes through, as http://[USER:PASSWORD@]HOST:PORT; by default HTTPS_PROXY and NO_PROXY."),
            "query_tag": {"type": "string", "default": "provender", "description": "The query tag of the session."},
            "session_parameters": {
                "type": "object",
                "additionalProperties": {"type": ["string", "number", "boolean"]},
                "description": "Further session parameters."
            },
            "time_travel": {
                "type": "boolean", "default": true,
                "description": "Whether tables keep past states that can be read and pinned."
            },
            "parallel_downloads": {
                "type": "integer", "minimum": 1, "default": 4,
                "description": "How many chunks of a result are downloaded at once."
            },
            "inline_rows": {
                "type": "integer", "minimum": 0, "default": 100,
                "description": "Spines of at most so many rows travel inside the statement."
            },
            "insert_bytes": {
                "type": "integer", "minimum": 1, "default": 1_000_000,
                "description": "How many bytes of rows one INSERT carries."
            }
        }
    })
}
