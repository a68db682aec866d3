//! Object stores by URL: which URLs are known, and one client for each bucket.
//!
//! A bucket's URL becomes a canonical one, whose host alone tells it from all others: sessions and
//! logs find a client by scheme and host, and Azure's own URLs name the container elsewhere.

mod clouds;
mod guarded;
mod options;
mod temporary;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use object_store::ObjectStore;
use provender_core::{Error, Result, codes};
use url::Url;

pub use self::options::StorageOptions;
pub(crate) use self::options::schema;
pub(crate) use self::temporary::{CloudKey, KeySource, TemporaryKey};

/// What [`canonical`] takes, for messages.
pub(crate) const KNOWN_URLS: &str = "s3://bucket/..., s3a://bucket/..., abfss://container@account.dfs.core.windows.net/..., az://container/..., gs://bucket/... and file:///...";

/// The clouds whose object stores are read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cloud {
    S3,
    Azure,
    Google,
}

/// Clients of object stores, made when a bucket is first asked for and kept.
pub(crate) struct Storage {
    block: String,
    options: StorageOptions,
    /// Who hands out keys, where it is not the options that hold them.
    keys: Option<Arc<dyn KeySource>>,
    clients: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Storage {
    pub(crate) fn new(block: &str, options: StorageOptions) -> Self {
        Self {
            block: block.to_owned(),
            options,
            keys: None,
            clients: Mutex::default(),
        }
    }

    /// Storage that is opened by keys which somebody hands out.
    pub(crate) fn with_keys(
        block: &str,
        options: StorageOptions,
        keys: Arc<dyn KeySource>,
    ) -> Self {
        Self {
            keys: Some(keys),
            ..Self::new(block, options)
        }
    }

    /// The client of the bucket of a canonical URL.
    ///
    /// # Errors
    /// `P203` for options that contradict themselves or that the bucket's cloud lacks.
    pub(crate) fn client(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let bucket = bucket_url(url);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = clients.get(bucket.as_str()) {
            return Ok(known.clone());
        }
        let client = clouds::client(&self.block, &bucket, &self.options, self.keys.as_ref())?;
        clients.insert(bucket.into(), client.clone());
        Ok(client)
    }
}

/// The URL of the bucket that a canonical URL lies in.
pub(crate) fn bucket_url(url: &Url) -> Url {
    let mut bucket = url.clone();
    bucket.set_path("/");
    bucket
}

/// The canonical form of a URL of an object store; `None` for a URL of another kind.
///
/// `s3a` is `s3`. Azure's container and account become the host, `az://container.account.domain`,
/// or `az://container` where the account is an option.
pub(crate) fn canonical(text: &str) -> Option<(Cloud, Url)> {
    let url = Url::parse(text).ok()?;
    let host = url.host_str().filter(|host| !host.is_empty())?;
    let path = url.path();
    let (cloud, text) = match url.scheme() {
        "s3" | "s3a" => (Cloud::S3, format!("s3://{host}{path}")),
        "gs" => (Cloud::Google, format!("gs://{host}{path}")),
        "az" | "abfs" | "abfss" if url.username().is_empty() => {
            (Cloud::Azure, format!("az://{host}{path}"))
        }
        "abfs" | "abfss" => {
            let container = url.username();
            (Cloud::Azure, format!("az://{container}.{host}{path}"))
        }
        _ => return None,
    };
    let canonical = Url::parse(&text).ok()?;
    Some((cloud, canonical))
}

/// A URL without what could be a secret, for messages.
pub(crate) fn shown(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    match text.split_once("://") {
        // A container stands before the @ of Azure's URLs; a password would stand after a colon.
        Some((scheme, rest)) => match rest.split_once('@') {
            Some((user, host)) => {
                let user = user.split(':').next().unwrap_or_default();
                format!("{scheme}://{user}@{host}")
            }
            None => text.to_owned(),
        },
        None => text.to_owned(),
    }
}

/// The answer to a URL of a kind that is not known.
pub(crate) fn unknown_url(code: &'static codes::Code, what: &str, text: &str) -> Error {
    let scheme = text.split("://").next().unwrap_or_default();
    Error::new(
        code,
        format!("{what} in storage of the unsupported kind {scheme}://"),
    )
    .help(format!("known are {KNOWN_URLS}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn urls_of_all_clouds_get_a_host_that_tells_buckets_apart() {
        for (text, cloud, expected) in [
            ("s3://lake/a/b c", Cloud::S3, "s3://lake/a/b%20c"),
            ("s3a://lake/a", Cloud::S3, "s3://lake/a"),
            ("gs://lake", Cloud::Google, "gs://lake"),
            ("az://box/a", Cloud::Azure, "az://box/a"),
            ("abfs://box/a", Cloud::Azure, "az://box/a"),
            (
                "abfss://box@acme.dfs.core.windows.net/a",
                Cloud::Azure,
                "az://box.acme.dfs.core.windows.net/a",
            ),
        ] {
            let (found, url) = canonical(text).unwrap();
            assert_eq!((found, url.as_str()), (cloud, expected), "{text}");
        }
        for text in [
            "ftp://x/y",
            "https://x/y",
            "s3:///a",
            "weather",
            "file:///a",
        ] {
            assert!(canonical(text).is_none(), "{text}");
        }
    }

    #[test]
    fn shown_urls_hold_no_secret() {
        assert_eq!(
            shown("s3://key:canary@lake/a?sig=canary"),
            "s3://key@lake/a"
        );
        assert_eq!(
            shown("abfss://box@acme.dfs.core.windows.net/a"),
            "abfss://box@acme.dfs.core.windows.net/a"
        );
    }
}
