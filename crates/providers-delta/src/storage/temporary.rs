//! Credentials that somebody hands out for a while, renewed before they end.
//!
//! Decides when a key is too old to be used. Does not know who hands it out.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use object_store::azure::AzureCredential;
use object_store::gcp::GcpCredential;
use provender_core::Secret;
use provender_core::time::now_us;
use tokio::sync::Mutex;

use super::guarded::Scrubber;

/// A key that ends sooner than this is renewed before it is used, or one of short life at its half.
const LEAST_LEFT: Duration = Duration::from_secs(300);
/// For how long a key is used whose end is not told.
const UNKNOWN_LIFE: Duration = Duration::from_secs(600);

/// What opens a cloud's storage. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub(crate) enum CloudKey {
    S3 {
        access_key_id: String,
        secret_access_key: Secret,
        session_token: Option<Secret>,
    },
    AzureSas(Secret),
    AzureToken(Secret),
    GoogleToken(Secret),
}

/// A key and when it ends (microseconds since the epoch).
#[derive(Clone, Debug)]
pub(crate) struct TemporaryKey {
    pub key: CloudKey,
    pub ends_us: Option<i64>,
}

/// Who hands out keys.
#[async_trait]
pub(crate) trait KeySource: fmt::Debug + Send + Sync + 'static {
    /// A new key.
    async fn key(&self) -> provender_core::Result<TemporaryKey>;
}

/// A key that is renewed. One for all clouds: each client asks for its own kind.
#[derive(Clone)]
pub(super) struct Renewing {
    source: Arc<dyn KeySource>,
    held: Arc<Mutex<Option<(CloudKey, Instant)>>>,
    scrubber: Scrubber,
}

impl fmt::Debug for Renewing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewing")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl Renewing {
    pub(super) fn new(source: Arc<dyn KeySource>, scrubber: Scrubber) -> Self {
        Self {
            source,
            held: Arc::default(),
            scrubber,
        }
    }

    async fn key(&self) -> object_store::Result<CloudKey> {
        // Whoever comes second waits for the key that the first one asks for.
        let mut held = self.held.lock().await;
        if let Some((key, until)) = &*held
            && Instant::now() < *until
        {
            return Ok(key.clone());
        }
        let renewed = self.source.key().await.map_err(generic)?;
        let life = match renewed.ends_us {
            Some(ends) => Duration::from_micros(u64::try_from(ends - now_us()).unwrap_or(0)),
            None => UNKNOWN_LIFE,
        };
        self.scrubber.learn(renewed.key.secrets());
        let until = Instant::now() + life.saturating_sub(LEAST_LEFT.min(life / 2));
        *held = Some((renewed.key.clone(), until));
        Ok(renewed.key)
    }

    fn wrong_cloud(&self) -> object_store::Error {
        generic(provender_core::Error::new(
            &provender_core::codes::OFFLINE_DATA,
            "the credentials that were handed out are those of another cloud",
        ))
    }
}

impl CloudKey {
    fn secrets(&self) -> Vec<String> {
        let secrets = match self {
            Self::S3 {
                secret_access_key,
                session_token,
                ..
            } => [Some(secret_access_key), session_token.as_ref()],
            Self::AzureSas(secret) | Self::AzureToken(secret) | Self::GoogleToken(secret) => {
                [Some(secret), None]
            }
        };
        let secrets = secrets.into_iter().flatten();
        secrets.map(|secret| secret.reveal().to_owned()).collect()
    }
}

fn generic(error: provender_core::Error) -> object_store::Error {
    object_store::Error::Generic {
        store: "storage",
        source: Box::new(error),
    }
}

/// The key of S3.
#[derive(Debug)]
pub(super) struct S3Keys(pub Renewing);

#[async_trait]
impl CredentialProvider for S3Keys {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        match self.0.key().await? {
            CloudKey::S3 {
                access_key_id,
                secret_access_key,
                session_token,
            } => Ok(Arc::new(AwsCredential {
                key_id: access_key_id,
                secret_key: secret_access_key.reveal().to_owned(),
                token: session_token.map(|token| token.reveal().to_owned()),
            })),
            _ => Err(self.0.wrong_cloud()),
        }
    }
}

/// The key of Azure.
#[derive(Debug)]
pub(super) struct AzureKeys(pub Renewing);

#[async_trait]
impl CredentialProvider for AzureKeys {
    type Credential = AzureCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AzureCredential>> {
        match self.0.key().await? {
            CloudKey::AzureSas(sas) => {
                let query = sas.reveal().trim_start_matches('?').as_bytes();
                let pairs = url::form_urlencoded::parse(query).into_owned().collect();
                Ok(Arc::new(AzureCredential::SASToken(pairs)))
            }
            CloudKey::AzureToken(token) => {
                let token = token.reveal().to_owned();
                Ok(Arc::new(AzureCredential::BearerToken(token)))
            }
            _ => Err(self.0.wrong_cloud()),
        }
    }
}

/// The key of Google.
#[derive(Debug)]
pub(super) struct GoogleKeys(pub Renewing);

#[async_trait]
impl CredentialProvider for GoogleKeys {
    type Credential = GcpCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<GcpCredential>> {
        match self.0.key().await? {
            CloudKey::GoogleToken(token) => Ok(Arc::new(GcpCredential {
                bearer: token.reveal().to_owned(),
            })),
            _ => Err(self.0.wrong_cloud()),
        }
    }
}
