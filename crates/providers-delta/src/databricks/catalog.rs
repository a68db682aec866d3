//! Unity Catalog: what is known of a table, and temporary credentials for where it lies.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use provender_core::{Context, Error, Result, Secret, codes};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::is_missing;
use super::http::{Ask, Http};
use super::tables::Namespace;
use crate::storage::{CloudKey, KeySource, TemporaryKey};

const PATH: &str = "api/2.1/unity-catalog";
/// For so long it is not asked again what is known of a table.
const KNOWN_FOR: Duration = Duration::from_secs(30);
/// How many names are looked through for one that was meant.
const MAX_NAMES: usize = 1_000;

/// A table as Unity Catalog knows it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct CatalogTable {
    #[serde(default)]
    pub table_id: String,
    #[serde(default)]
    pub table_type: String,
    #[serde(default)]
    data_source_format: String,
    #[serde(default)]
    pub storage_location: Option<String>,
    #[serde(default)]
    row_filter: Option<Value>,
    #[serde(default)]
    columns: Vec<CatalogColumn>,
}

#[derive(Clone, Debug, Deserialize)]
struct CatalogColumn {
    #[serde(default)]
    mask: Option<Value>,
}

impl CatalogTable {
    /// Why the table cannot be read from its storage, to be read after its name; `None` if it can,
    /// as far as the catalog tells.
    pub(crate) fn not_direct(&self) -> Option<String> {
        if !matches!(self.table_type.as_str(), "MANAGED" | "EXTERNAL") {
            let kind = self.table_type.to_lowercase().replace('_', " ");
            return Some(format!("is a {kind}"));
        }
        if self.data_source_format != "DELTA" {
            return Some(format!("is of format {}", self.data_source_format));
        }
        if self.row_filter.is_some() {
            return Some("has a row filter".to_owned());
        }
        if self.columns.iter().any(|column| column.mask.is_some()) {
            return Some("has column masks".to_owned());
        }
        match &self.storage_location {
            Some(location) if !location.is_empty() => None,
            _ => Some("has no storage location that this login may see".to_owned()),
        }
    }

    /// Whether rows may be written straight to its storage.
    pub(crate) fn is_external(&self) -> bool {
        self.table_type == "EXTERNAL"
    }
}

/// The tables of a metastore.
#[derive(Debug)]
pub(crate) struct UnityCatalog {
    pub http: Http,
    known: Mutex<HashMap<String, (Instant, Arc<CatalogTable>)>>,
}

impl UnityCatalog {
    pub(crate) fn new(http: Http) -> Self {
        Self {
            http,
            known: Mutex::default(),
        }
    }

    /// What is known of a table by its whole name; `None` if there is none that the login may see.
    ///
    /// # Errors
    /// As [`Http::ask`].
    pub(crate) async fn table(
        &self,
        cx: &Context,
        full_name: &str,
    ) -> Result<Option<Arc<CatalogTable>>> {
        if let Some((asked, known)) = self.lock().get(full_name)
            && asked.elapsed() < KNOWN_FOR
        {
            return Ok(Some(known.clone()));
        }
        let path = format!("{PATH}/tables/{}", encoded(full_name));
        match self.http.ask::<CatalogTable>(cx, &Ask::get(path)).await {
            Ok(found) => {
                let found = Arc::new(found);
                let entry = (Instant::now(), found.clone());
                self.lock().insert(full_name.to_owned(), entry);
                Ok(Some(found))
            }
            Err(error) if is_missing(&error) || is_not_found(&error) => {
                self.forget(full_name);
                Ok(None)
            }
            Err(error) => Err(error.context("table", full_name.to_owned())),
        }
    }

    /// Asks anew what is known of a table.
    pub(crate) fn forget(&self, full_name: &str) {
        self.lock().remove(full_name);
    }

    /// Names of the tables of a schema, as many as are looked through.
    ///
    /// # Errors
    /// As [`Http::ask`].
    pub(crate) async fn names(&self, cx: &Context, namespace: &Namespace) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            tables: Vec<Named>,
            #[serde(default)]
            next_page_token: Option<String>,
        }
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        let mut names = Vec::new();
        let mut page_token: Option<String> = None;
        while names.len() < MAX_NAMES {
            let mut path = format!(
                "{PATH}/tables?catalog_name={}&schema_name={}&omit_columns=true&omit_properties=true",
                encoded(&namespace.catalog),
                encoded(&namespace.schema)
            );
            if let Some(token) = &page_token {
                path.push_str(&format!("&page_token={}", encoded(token)));
            }
            let page: Page = self.http.ask(cx, &Ask::get(path)).await?;
            names.extend(page.tables.into_iter().map(|table| table.name));
            page_token = page.next_page_token.filter(|token| !token.is_empty());
            if page_token.is_none() {
                break;
            }
        }
        Ok(names)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, Arc<CatalogTable>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_not_found(error: &Error) -> bool {
    let mut pairs = error.context_pairs().iter();
    pairs.any(|(key, value)| key == "status" && value == "404")
}

fn encoded(text: &str) -> String {
    let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    encoded.replace('+', "%20")
}

/// Credentials for one table, by which its files are read, or written too.
#[derive(Debug)]
pub(crate) struct TableKeys {
    pub http: Http,
    pub table_id: String,
    pub full_name: String,
    pub is_write: bool,
}

#[derive(Deserialize)]
struct KeysAnswer {
    #[serde(default)]
    aws_temp_credentials: Option<AwsKeys>,
    #[serde(default)]
    azure_user_delegation_sas: Option<AzureSas>,
    #[serde(default)]
    azure_aad: Option<AzureToken>,
    #[serde(default)]
    gcp_oauth_token: Option<GoogleToken>,
    #[serde(default)]
    expiration_time: Option<i64>,
}

#[derive(Deserialize)]
struct AwsKeys {
    access_key_id: String,
    secret_access_key: String,
    #[serde(default)]
    session_token: Option<String>,
}

#[derive(Deserialize)]
struct AzureSas {
    sas_token: String,
}

#[derive(Deserialize)]
struct AzureToken {
    aad_token: String,
}

#[derive(Deserialize)]
struct GoogleToken {
    oauth_token: String,
}

#[async_trait]
impl KeySource for TableKeys {
    async fn key(&self) -> Result<TemporaryKey> {
        let operation = if self.is_write { "READ_WRITE" } else { "READ" };
        let body = json!({"table_id": self.table_id, "operation": operation});
        let ask = Ask::post(format!("{PATH}/temporary-table-credentials"), body);
        let answer: KeysAnswer = self.http.send(&ask).await.map_err(|error| {
            let what = if self.is_write { "written to" } else { "read" };
            error
                .prefixed(format!("table {:?} cannot be {what} directly: ", self.full_name))
                .help("grant EXTERNAL USE SCHEMA and have external data access turned on in the metastore; see the documentation of type databricks")
                .context("table", self.full_name.clone())
        })?;
        let key = match answer {
            KeysAnswer {
                aws_temp_credentials: Some(keys),
                ..
            } => CloudKey::S3 {
                access_key_id: keys.access_key_id,
                secret_access_key: Secret::new(keys.secret_access_key),
                session_token: keys.session_token.map(Secret::new),
            },
            KeysAnswer {
                azure_user_delegation_sas: Some(sas),
                ..
            } => CloudKey::AzureSas(Secret::new(sas.sas_token)),
            KeysAnswer {
                azure_aad: Some(token),
                ..
            } => CloudKey::AzureToken(Secret::new(token.aad_token)),
            KeysAnswer {
                gcp_oauth_token: Some(token),
                ..
            } => CloudKey::GoogleToken(Secret::new(token.oauth_token)),
            _ => {
                return Err(Error::new(
                    &codes::UNSUPPORTED,
                    format!(
                        "the credentials of table {:?} are for a storage that is not known",
                        self.full_name
                    ),
                ));
            }
        };
        Ok(TemporaryKey {
            key,
            ends_us: answer.expiration_time.map(|ms| ms.saturating_mul(1_000)),
        })
    }
}
