//! The `storage:` options of a block: how object stores are reached and who asks.
//!
//! Decides their names, their defaults and that secrets are never shown. Which of them a cloud takes
//! is decided where its client is built.

use provender_core::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

/// How the storage behind a URL is reached: one block for all clouds, of which each takes the options
/// that it knows. Whatever is left out is taken from the environment as the cloud's own tools name it
/// (`AWS_*`, `AZURE_*`, `GOOGLE_*`), and else from the machine's own identity. `Debug` shows no secret.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageOptions {
    /// The server's URL, for storage that is compatible with a cloud's. Default: the cloud's own.
    pub endpoint: Option<String>,
    /// Whether an endpoint without TLS is allowed. Default: no.
    pub allow_http: bool,
    /// Whether requests are not signed, for public data. Default: no.
    pub anonymous: bool,
    /// How long a request may take, such as `30s`. Default: 30 s.
    pub timeout: Option<String>,
    /// How long connecting may take, such as `5s`. Default: 5 s.
    pub connect_timeout: Option<String>,
    /// How often a request that failed for a passing reason is made again. Default: 6.
    pub retries: Option<usize>,

    /// S3: the bucket's region. Default: `us-east-1`.
    pub region: Option<String>,
    /// S3: the access key's name.
    pub access_key_id: Option<String>,
    /// S3: the access key.
    pub secret_access_key: Option<Secret>,
    /// S3: the token that goes with temporary credentials.
    pub session_token: Option<Secret>,
    /// S3: whether the bucket is part of the host name and not of the path. Default: no.
    pub virtual_hosted_style: bool,
    /// S3: how objects are encrypted on the server: `AES256`, `aws:kms` or `aws:kms:dsse`. Default: as
    /// the bucket says.
    pub server_side_encryption: Option<String>,
    /// S3: the key of `aws:kms`.
    pub kms_key_id: Option<String>,

    /// Azure: the storage account, unless the URL names it.
    pub account_name: Option<String>,
    /// Azure: the account's access key.
    pub account_key: Option<Secret>,
    /// Azure: a shared access signature.
    pub sas_token: Option<Secret>,
    /// Azure: the tenant of a service principal.
    pub tenant_id: Option<String>,
    /// Azure: the service principal.
    pub client_id: Option<String>,
    /// Azure: the service principal's secret.
    pub client_secret: Option<Secret>,
    /// Azure: whether the credentials of the `az` command are taken. Default: no.
    pub use_azure_cli: bool,

    /// Google: the path of a service account's JSON file.
    pub service_account: Option<String>,
    /// Google: a service account's JSON itself.
    pub service_account_key: Option<Secret>,
}

impl StorageOptions {
    /// Whether they say who asks.
    pub(crate) fn has_credentials(&self) -> bool {
        !self.secrets().is_empty()
            || self.anonymous
            || self.access_key_id.is_some()
            || self.client_id.is_some()
            || self.use_azure_cli
            || self.service_account.is_some()
    }

    /// The values that nobody may see.
    pub(crate) fn secrets(&self) -> Vec<String> {
        [
            &self.secret_access_key,
            &self.session_token,
            &self.account_key,
            &self.sas_token,
            &self.client_secret,
            &self.service_account_key,
        ]
        .into_iter()
        .flatten()
        .map(|secret| secret.reveal().to_owned())
        .collect()
    }
}

pub(crate) fn schema() -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    let flag = |description: &str| json!({"type": "boolean", "default": false, "description": description});
    json!({
        "type": "object",
        "additionalProperties": false,
        "description": "How the storage behind a URL is reached. What is left out is taken from the environment (AWS_*, AZURE_*, GOOGLE_*), and else from the machine's own identity.",
        "properties": {
            "endpoint": text("The server's URL, for storage that is compatible with a cloud's."),
            "allow_http": flag("Allows an endpoint without TLS."),
            "anonymous": flag("Does not sign requests, for public data."),
            "timeout": {"type": "string", "default": "30s", "description": "How long a request may take."},
            "connect_timeout": {"type": "string", "default": "5s", "description": "How long connecting may take."},
            "retries": {"type": "integer", "minimum": 0, "default": 6, "description": "How often a request that failed for a passing reason is made again."},
            "region": {"type": "string", "default": "us-east-1", "description": "S3: the bucket's region."},
            "access_key_id": text("S3: the access key's name."),
            "secret_access_key": text("S3: the access key; write ${NAME}."),
            "session_token": text("S3: the token of temporary credentials; write ${NAME}."),
            "virtual_hosted_style": flag("S3: the bucket is part of the host name."),
            "server_side_encryption": {"type": "string", "enum": ["AES256", "aws:kms", "aws:kms:dsse"], "description": "S3: how objects are encrypted on the server."},
            "kms_key_id": text("S3: the key of aws:kms."),
            "account_name": text("Azure: the storage account, unless the URL names it."),
            "account_key": text("Azure: the account's access key; write ${NAME}."),
            "sas_token": text("Azure: a shared access signature; write ${NAME}."),
            "tenant_id": text("Azure: the tenant of a service principal."),
            "client_id": text("Azure: the service principal."),
            "client_secret": text("Azure: the service principal's secret; write ${NAME}."),
            "use_azure_cli": flag("Azure: takes the credentials of the az command."),
            "service_account": text("Google: the path of a service account's JSON file."),
            "service_account_key": text("Google: a service account's JSON itself; write ${NAME}."),
        }
    })
}
