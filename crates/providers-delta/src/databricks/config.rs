//! The options of a `type: databricks` block.

use provender_core::size::parse_size;
use provender_core::{Error, Result, Secret, codes};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::storage::{self, StorageOptions};

/// How much a join may read from the object store before a warehouse is the better place for it.
const DIRECT_LIMIT: &str = "2GiB";

/// Where work on tables is done.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Execution {
    /// On this machine, if the tables can be read from their storage and are small enough; else in
    /// the warehouse.
    #[default]
    Auto,
    /// Always on this machine; no warehouse runs.
    Direct,
    /// Always in the warehouse.
    Warehouse,
}

/// Which workspace, who logs in how, and where tables lie. `Debug` shows no secret.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabricksConfig {
    /// The workspace's host, such as `dbc-1234.cloud.databricks.com`. Default: `DATABRICKS_HOST`.
    #[serde(default)]
    pub host: Option<String>,
    /// The SQL warehouse that statements run in. Default: none, and then tables are only read directly.
    #[serde(default)]
    pub warehouse_id: Option<String>,
    /// The catalog of the tables.
    pub catalog: String,
    /// The schema of the tables. Default: `default`.
    #[serde(default = "default_schema")]
    pub schema: String,
    /// A personal access token. Default: `DATABRICKS_TOKEN`.
    #[serde(default)]
    pub token: Option<Secret>,
    /// The service principal's application id (OAuth). Default: `DATABRICKS_CLIENT_ID`.
    #[serde(default)]
    pub client_id: Option<String>,
    /// The service principal's secret (OAuth). Default: `DATABRICKS_CLIENT_SECRET`.
    #[serde(default)]
    pub client_secret: Option<Secret>,
    /// Where the workspace is reached instead of `https://HOST`: a URL. Default: none.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Where work is done. Default: `auto`.
    #[serde(default)]
    pub execution: Execution,
    /// With `auto`: up to which size of their files tables are read directly, such as `500MiB`.
    /// Default: `2GiB`.
    #[serde(default)]
    pub direct_limit: Option<String>,
    /// The URL under which new tables are made as external ones. Default: none; they are managed.
    #[serde(default)]
    pub location: Option<String>,
    /// How the storage of tables is reached; credentials come from Unity Catalog. Default: as the
    /// cloud's own.
    #[serde(default)]
    pub storage: StorageOptions,
    /// How many chunks of a result are downloaded at once. Default: 4.
    #[serde(default = "n_downloads")]
    pub parallel_downloads: usize,
    /// Spines of at most so many rows travel inside the statement; larger ones go through a table
    /// that is removed afterwards. Default: 100.
    #[serde(default = "inline_rows")]
    pub inline_rows: usize,
    /// How many bytes of rows one INSERT carries. Default: 4,000,000.
    #[serde(default = "insert_bytes")]
    pub insert_bytes: usize,
}

impl DatabricksConfig {
    /// The limit of `auto`, in bytes.
    ///
    /// # Errors
    /// `P203` for a text that is no size.
    pub(crate) fn direct_limit_bytes(&self, block: &str) -> Result<u64> {
        let text = self.direct_limit.as_deref().unwrap_or(DIRECT_LIMIT);
        parse_size(text).map_err(|why| {
            bad(block, format!("direct_limit {text:?}: {why}")).help("write a size such as 500MiB")
        })
    }
}

/// A mistake in a block.
pub(crate) fn bad(block: &str, message: impl std::fmt::Display) -> Error {
    Error::new(
        &codes::BAD_CONFIG,
        format!("{block} (type databricks): {message}"),
    )
}

fn default_schema() -> String {
    "default".to_owned()
}

fn n_downloads() -> usize {
    4
}

fn inline_rows() -> usize {
    100
}

fn insert_bytes() -> usize {
    4_000_000
}

pub(crate) fn options_schema() -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["catalog"],
        "properties": {
            "host": text("The workspace's host; by default DATABRICKS_HOST."),
            "warehouse_id": text("The SQL warehouse that statements run in; without one, tables are only read directly."),
            "catalog": text("The catalog of the tables."),
            "schema": {"type": "string", "default": "default", "description": "The schema of the tables."},
            "token": text("A personal access token; write ${NAME}. By default DATABRICKS_TOKEN."),
            "client_id": text("The service principal's application id; by default DATABRICKS_CLIENT_ID."),
            "client_secret": text("The service principal's secret; write ${NAME}. By default DATABRICKS_CLIENT_SECRET."),
            "endpoint": text("A URL to reach the workspace at instead of https://HOST."),
            "execution": {
                "type": "string", "enum": ["auto", "direct", "warehouse"], "default": "auto",
                "description": "Where work is done: on this machine, reading from the object store, or in the warehouse."
            },
            "direct_limit": {"type": "string", "default": DIRECT_LIMIT, "description": "With auto: up to which size of their files tables are read directly."},
            "location": text("The URL under which new tables are made as external ones; without it they are managed."),
            "storage": storage::schema(),
            "parallel_downloads": {
                "type": "integer", "minimum": 1, "default": 4,
                "description": "How many chunks of a result are downloaded at once."
            },
            "inline_rows": {
                "type": "integer", "minimum": 0, "default": 100,
                "description": "Spines of at most so many rows travel inside the statement."
            },
            "insert_bytes": {
                "type": "integer", "minimum": 1, "default": 4_000_000,
                "description": "How many bytes of rows one INSERT carries."
            }
        }
    })
}
