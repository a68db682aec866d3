//! Clients of object stores from options: which cloud takes which, and what the environment adds.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, RetryConfig, StaticCredentialProvider,
};
use provender_core::time::parse_duration;
use provender_core::{Error, Result, codes};
use url::Url;

use super::guarded::{Guarded, Scrubber};
use super::temporary::{AzureKeys, GoogleKeys, KeySource, Renewing, S3Keys};
use super::{Cloud, StorageOptions, canonical};

const TIMEOUT: &str = "30s";
const CONNECT_TIMEOUT: &str = "5s";
/// With the pauses between them, about ten seconds.
const RETRIES: usize = 6;

/// Options by the names that the object_store crate parses.
type Pairs = Vec<(&'static str, String)>;

/// A client of the bucket of a canonical URL, whose failures are told in the product's words and hold
/// no secret.
pub(super) fn client(
    block: &str,
    bucket: &Url,
    options: &StorageOptions,
    keys: Option<&Arc<dyn KeySource>>,
) -> Result<Arc<dyn ObjectStore>> {
    let Some((cloud, _)) = canonical(bucket.as_str()) else {
        return Err(Error::new(
            &codes::INTERNAL,
            "a bucket's URL is of an unknown kind",
        ));
    };
    let bad = |what: String| Error::new(&codes::BAD_CONFIG, format!("{block}: storage: {what}"));
    if let Some(endpoint) = &options.endpoint {
        let known = Url::parse(endpoint).ok().filter(|url| url.has_host());
        match known.as_ref().map(Url::scheme) {
            Some("https") => {}
            Some("http") if options.allow_http => {}
            Some("http") => {
                return Err(bad(format!(
                    "the endpoint {} is without TLS",
                    super::shown(endpoint)
                ))
                .help("name an https:// endpoint, or set `allow_http: true`"));
            }
            _ => {
                return Err(bad(format!(
                    "the endpoint {:?} is no http:// or https:// URL",
                    super::shown(endpoint)
                )));
            }
        }
    }
    let duration = |name: &str, given: &Option<String>, default: &str| -> Result<Duration> {
        let us = parse_duration(given.as_deref().unwrap_or(default))
            .map_err(|error| bad(format!("{name}: {}", error.message())))?;
        Ok(Duration::from_micros(us.unsigned_abs()))
    };
    let timeout = duration("timeout", &options.timeout, TIMEOUT)?;
    let http = ClientOptions::new()
        .with_timeout(timeout)
        .with_connect_timeout(duration(
            "connect_timeout",
            &options.connect_timeout,
            CONNECT_TIMEOUT,
        )?)
        .with_allow_http(options.allow_http);
    let retry = RetryConfig {
        backoff: BackoffConfig {
            max_backoff: Duration::from_secs(5),
            ..BackoffConfig::default()
        },
        max_retries: options.retries.unwrap_or(RETRIES),
        retry_timeout: timeout.max(Duration::from_secs(60)),
    };
    let (pairs, mut secrets) = match cloud {
        Cloud::S3 => with_environment("AWS_", s3(options), &S3_CREDENTIALS, keys.is_some()),
        Cloud::Azure => with_environment(
            "AZURE_",
            azure(options, bucket),
            &AZURE_CREDENTIALS,
            keys.is_some(),
        ),
        Cloud::Google => with_environment(
            "GOOGLE_",
            google(options),
            &GOOGLE_CREDENTIALS,
            keys.is_some(),
        ),
    };
    secrets.extend(options.secrets());
    let scrubber = Scrubber::new(secrets);
    let keys = keys.map(|keys| Renewing::new(keys.clone(), scrubber.clone()));
    let name = bucket.as_str().trim_end_matches('/').to_owned();
    let store = match cloud {
        Cloud::S3 => build_s3(bucket, http, retry, pairs, keys),
        Cloud::Azure => build_azure(bucket, http, retry, pairs, keys),
        Cloud::Google => build_google(bucket, http, retry, pairs, keys),
    };
    let store = store.map_err(|error| {
        bad(format!(
            "{name} cannot be reached with these options: {}",
            scrubber.text(&error.to_string())
        ))
        .help("the documentation of `type: delta` has an example for each cloud")
    })?;
    // Servers that are like Azure's, emulators above all, answer nothing when asked to list from a name.
    let lists_from = cloud != Cloud::Azure || options.endpoint.is_none();
    Ok(Arc::new(Guarded::new(name, store, lists_from, scrubber)))
}

fn build_s3(
    bucket: &Url,
    http: ClientOptions,
    retry: RetryConfig,
    pairs: Vec<(String, String)>,
    keys: Option<Renewing>,
) -> object_store::Result<Arc<dyn ObjectStore>> {
    let builder = AmazonS3Builder::new()
        .with_url(bucket.as_str())
        .with_client_options(http)
        .with_retry(retry);
    let builder =
        pairs.into_iter().fold(builder, |builder, (key, value)| {
            match key.parse::<AmazonS3ConfigKey>() {
                Ok(key) => builder.with_config(key, value),
                Err(_) => builder,
            }
        });
    let builder = match keys {
        Some(keys) => builder.with_credentials(Arc::new(S3Keys(keys))),
        None => builder,
    };
    Ok(Arc::new(builder.build()?))
}

fn build_azure(
    bucket: &Url,
    http: ClientOptions,
    retry: RetryConfig,
    pairs: Vec<(String, String)>,
    keys: Option<Renewing>,
) -> object_store::Result<Arc<dyn ObjectStore>> {
    let host = bucket.host_str().unwrap_or_default();
    let url = match host.split_once('.') {
        Some((container, account)) => format!("abfss://{container}@{account}/"),
        None => format!("az://{host}/"),
    };
    let builder = MicrosoftAzureBuilder::new()
        .with_url(url)
        .with_client_options(http)
        .with_retry(retry);
    let builder = pairs.into_iter().fold(builder, |builder, (key, value)| {
        match key.parse::<AzureConfigKey>() {
            Ok(key) => builder.with_config(key, value),
            Err(_) => builder,
        }
    });
    let builder = match keys {
        Some(keys) => builder.with_credentials(Arc::new(AzureKeys(keys))),
        None => builder,
    };
    Ok(Arc::new(builder.build()?))
}

fn build_google(
    bucket: &Url,
    http: ClientOptions,
    retry: RetryConfig,
    pairs: Vec<(String, String)>,
    keys: Option<Renewing>,
) -> object_store::Result<Arc<dyn ObjectStore>> {
    let builder = GoogleCloudStorageBuilder::new()
        .with_url(bucket.as_str())
        .with_client_options(http)
        .with_retry(retry);
    let is_anonymous = pairs
        .iter()
        .any(|(key, value)| key == "google_skip_signature" && value == "true");
    let builder = pairs.into_iter().fold(builder, |builder, (key, value)| {
        match key.parse::<GoogleConfigKey>() {
            Ok(key) => builder.with_config(key, value),
            Err(_) => builder,
        }
    });
    let builder = match keys {
        Some(keys) => builder.with_credentials(Arc::new(GoogleKeys(keys))),
        // Puts are signed even so, and the machine would be asked for credentials.
        None if is_anonymous => {
            let nobody = GcpCredential {
                bearer: String::new(),
            };
            builder.with_credentials(Arc::new(StaticCredentialProvider::new(nobody)))
        }
        None => builder,
    };
    Ok(Arc::new(builder.build()?))
}

const S3_CREDENTIALS: [&str; 3] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
];
const AZURE_CREDENTIALS: [&str; 6] = [
    "azure_storage_account_key",
    "azure_storage_sas_token",
    "azure_client_id",
    "azure_client_secret",
    "azure_tenant_id",
    "azure_use_azure_cli",
];
const GOOGLE_CREDENTIALS: [&str; 2] = ["google_service_account", "google_service_account_key"];

/// What the names of variables have in them that say who asks, and what those that say it in secret.
const CREDENTIAL_WORDS: [&str; 8] = [
    "key",
    "secret",
    "token",
    "credential",
    "role",
    "client",
    "tenant",
    "service_account",
];
const SECRET_WORDS: [&str; 4] = ["secret", "token", "key", "sas"];

fn put(pairs: &mut Pairs, key: &'static str, value: Option<&str>) {
    if let Some(value) = value {
        pairs.push((key, value.to_owned()));
    }
}

fn s3(options: &StorageOptions) -> Pairs {
    let mut pairs = Pairs::new();
    put(
        &mut pairs,
        "aws_endpoint",
        trimmed(options.endpoint.as_ref()),
    );
    put(&mut pairs, "aws_region", options.region.as_deref());
    put(
        &mut pairs,
        "aws_access_key_id",
        options.access_key_id.as_deref(),
    );
    let secret = options.secret_access_key.as_ref();
    put(
        &mut pairs,
        "aws_secret_access_key",
        secret.map(|s| s.reveal()),
    );
    let token = options.session_token.as_ref();
    put(&mut pairs, "aws_session_token", token.map(|s| s.reveal()));
    let encryption = options.server_side_encryption.as_deref();
    put(&mut pairs, "aws_server_side_encryption", encryption);
    put(
        &mut pairs,
        "aws_sse_kms_key_id",
        options.kms_key_id.as_deref(),
    );
    if options.virtual_hosted_style {
        put(&mut pairs, "aws_virtual_hosted_style_request", Some("true"));
    }
    if options.anonymous {
        put(&mut pairs, "aws_skip_signature", Some("true"));
    }
    pairs
}

fn azure(options: &StorageOptions, bucket: &Url) -> Pairs {
    let mut pairs = Pairs::new();
    put(
        &mut pairs,
        "azure_endpoint",
        trimmed(options.endpoint.as_ref()),
    );
    // The URL's own account is the one that is meant.
    if !bucket.host_str().unwrap_or_default().contains('.') {
        let account = options.account_name.as_deref();
        put(&mut pairs, "azure_storage_account_name", account);
    }
    let key = options.account_key.as_ref();
    put(
        &mut pairs,
        "azure_storage_account_key",
        key.map(|s| s.reveal()),
    );
    let sas = options.sas_token.as_ref();
    put(
        &mut pairs,
        "azure_storage_sas_token",
        sas.map(|s| s.reveal()),
    );
    put(&mut pairs, "azure_tenant_id", options.tenant_id.as_deref());
    put(&mut pairs, "azure_client_id", options.client_id.as_deref());
    let secret = options.client_secret.as_ref();
    put(
        &mut pairs,
        "azure_client_secret",
        secret.map(|s| s.reveal()),
    );
    if options.use_azure_cli {
        put(&mut pairs, "azure_use_azure_cli", Some("true"));
    }
    if options.anonymous {
        put(&mut pairs, "azure_skip_signature", Some("true"));
    }
    pairs
}

fn google(options: &StorageOptions) -> Pairs {
    let mut pairs = Pairs::new();
    put(
        &mut pairs,
        "google_base_url",
        trimmed(options.endpoint.as_ref()),
    );
    let path = options.service_account.as_deref();
    put(&mut pairs, "google_service_account", path);
    let key = options.service_account_key.as_ref();
    put(
        &mut pairs,
        "google_service_account_key",
        key.map(|s| s.reveal()),
    );
    if options.anonymous {
        put(&mut pairs, "google_skip_signature", Some("true"));
    }
    pairs
}

fn trimmed(url: Option<&String>) -> Option<&str> {
    url.map(|url| url.trim_end_matches('/'))
}

/// The variables of the environment with a prefix, and after them the block's own options, which win;
/// and the variables' values that nobody may see. Credentials are taken from one place alone, for a
/// token of the one and a key of the other do not belong together.
fn with_environment(
    prefix: &str,
    given: Pairs,
    credentials: &[&str],
    has_keys: bool,
) -> (Vec<(String, String)>, Vec<String>) {
    let has_credentials = has_keys
        || given
            .iter()
            .any(|(key, _)| credentials.contains(key) || key.ends_with("skip_signature"));
    let mut pairs = Vec::new();
    let mut secrets = Vec::new();
    for (name, value) in std::env::vars_os() {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else {
            continue;
        };
        if !name.starts_with(prefix) || value.is_empty() {
            continue;
        }
        let name = name.to_ascii_lowercase();
        let has_word = |words: &[&str]| words.iter().any(|word| name.contains(word));
        if has_credentials && has_word(&CREDENTIAL_WORDS) && !name.contains("_sse_") {
            continue;
        }
        if has_word(&SECRET_WORDS) {
            secrets.push(value.to_owned());
        }
        pairs.push((name, value.to_owned()));
    }
    pairs.extend(
        given
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value)),
    );
    (pairs, secrets)
}
