//! What Snowflake's own protocol of its drivers says, as far as this crate reads it.
//!
//! Fields that are not read are not listed, and unknown column types stay text, so that an answer
//! with something new in it is still understood.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// The answer to any request.
#[derive(Debug, Deserialize)]
pub(crate) struct Envelope {
    #[serde(default)]
    pub success: bool,
    #[serde(default)]
    pub code: Option<Value>,
    #[serde(default)]
    pub message: Option<String>,
    #[serde(default)]
    pub data: Value,
}

impl Envelope {
    /// The code as text, that of the data if there is none outside.
    pub(crate) fn code(&self) -> String {
        let inner = self.data.get("errorCode");
        match self.code.as_ref().filter(|code| !code.is_null()).or(inner) {
            Some(Value::String(code)) => code.clone(),
            Some(Value::Number(code)) => format!("{code:0>6}"),
            _ => String::new(),
        }
    }
}

/// A login that succeeded.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LoginData {
    pub token: String,
    pub master_token: String,
}

/// A session token that was renewed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RenewData {
    pub session_token: String,
    pub master_token: String,
}

/// The result of a statement.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueryData {
    #[serde(default)]
    pub rowtype: Vec<RowType>,
    #[serde(default)]
    pub rowset: Option<Vec<Vec<Value>>>,
    #[serde(default)]
    pub rowset_base64: Option<String>,
    #[serde(default)]
    pub chunks: Vec<Chunk>,
    #[serde(default)]
    pub chunk_headers: Option<BTreeMap<String, String>>,
    /// The key of chunks that carry no headers of their own.
    #[serde(default)]
    pub qrmk: Option<String>,
}

/// One column of a result.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RowType {
    pub name: String,
    #[serde(rename = "type")]
    pub type_name: String,
    #[serde(default)]
    pub precision: Option<i64>,
    #[serde(default)]
    pub scale: Option<i64>,
    #[serde(default)]
    pub vector_dimension: Option<i64>,
    #[serde(default)]
    pub fields: Option<Vec<FieldType>>,
}

impl RowType {
    /// Whether an OBJECT or ARRAY holds whatever it likes, and not parts of declared types.
    pub(crate) fn is_unstructured(&self) -> bool {
        self.fields.as_ref().is_none_or(Vec::is_empty)
    }
}

/// The type of a nested column's items.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct FieldType {
    #[serde(rename = "type", default)]
    pub type_name: String,
}

/// A part of a result that is downloaded apart.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Chunk {
    pub url: String,
    #[serde(default)]
    pub uncompressed_size: u64,
}

/// Codes of the protocol that are states and no failures.
pub(crate) mod code {
    /// A statement is still running; the answer says where to ask again.
    pub(crate) const IN_PROGRESS: [&str; 2] = ["333333", "333334"];
    /// The session's token has run out and can be renewed.
    pub(crate) const TOKEN_EXPIRED: &str = "390112";
    /// The session is gone, and with it everything temporary.
    pub(crate) const SESSION_GONE: [&str; 6] =
        ["390104", "390110", "390111", "390113", "390114", "390115"];
}
