//! A client whose failures are told in the product's words and never hold a secret.
//!
//! Object stores put whole requests into their errors, signatures in URLs included, and those errors
//! travel through several crates before they are told. So they are cleaned here, where they arise.
//! The kinds that others decide by (not found, exists already, a failed condition) stay what they are.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::ready;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result, UploadPart,
};
use provender_core::codes;

/// How much of a server's answer is repeated.
const MAX_TEXT: usize = 400;

/// Takes secrets out of texts. Clones know the same ones.
#[derive(Clone)]
pub(super) struct Scrubber(Arc<RwLock<Vec<String>>>);

/// Secrets that are renewed are forgotten when there are so many newer ones.
const MAX_LEARNED: usize = 64;

impl Scrubber {
    pub(super) fn new(secrets: Vec<String>) -> Self {
        let scrubber = Self(Arc::default());
        scrubber.learn(secrets);
        scrubber
    }

    /// Takes these out as well from now on.
    pub(super) fn learn(&self, secrets: Vec<String>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut new: Vec<String> = Vec::new();
        for secret in secrets {
            // As it is, and as a URL or a quoted text spells it.
            let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            let quoted = secret.escape_debug().to_string();
            for form in [secret, encoded, quoted] {
                if form.len() > 3 && !all.contains(&form) && !new.contains(&form) {
                    new.push(form);
                }
            }
        }
        all.append(&mut new);
        let n_forgotten = all.len().saturating_sub(MAX_LEARNED);
        all.drain(..n_forgotten);
    }

    /// The text without secrets, without the queries of URLs (signatures stand there), on one line.
    pub(super) fn text(&self, text: &str) -> String {
        let mut clean = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut secrets: Vec<&String> = known.iter().collect();
        // A secret that is a part of another must not leave the rest of that one behind.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        for secret in secrets {
            clean = clean.replace(secret.as_str(), "***");
        }
        let mut shown = String::with_capacity(clean.len());
        let mut rest = clean.as_str();
        while let Some(start) = rest.find("://") {
            let (before, url) = rest.split_at(start + 3);
            shown.push_str(before);
            let end = url
                .find(|c: char| c.is_whitespace() || "\"')<>,".contains(c))
                .unwrap_or(url.len());
            let (url, after) = url.split_at(end);
            shown.push_str(url.split('?').next().unwrap_or_default());
            rest = after;
        }
        shown.push_str(rest);
        if shown.len() > MAX_TEXT {
            let end = (0..=MAX_TEXT).rev().find(|at| shown.is_char_boundary(*at));
            shown.truncate(end.unwrap_or(0));
            shown.push_str("...");
        }
        shown
    }
}

/// A cleaned text as an error of its own.
#[derive(Debug)]
struct Told(String);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Told {}

#[derive(Clone)]
struct Teller {
    name: Arc<str>,
    scrubber: Scrubber,
}

impl Teller {
    fn tell(&self, error: Error) -> Error {
        let told = |error: &dyn StdError| {
            Box::new(Told(self.scrubber.text(&innermost(error)))) as Box<dyn StdError + Send + Sync>
        };
        match error {
            Error::NotFound { path, source } => Error::NotFound {
                path: self.object(&path),
                source: told(source.as_ref()),
            },
            Error::AlreadyExists { path, source } => Error::AlreadyExists {
                path,
                source: told(source.as_ref()),
            },
            Error::Precondition { path, source } => Error::Precondition {
                path,
                source: told(source.as_ref()),
            },
            Error::NotModified { path, source } => Error::NotModified {
                path,
                source: told(source.as_ref()),
            },
            // What was said in the product's words already, by whoever hands out keys.
            Error::Generic { store, source } if source.is::<provender_core::Error>() => {
                Error::Generic { store, source }
            }
            other => Error::Generic {
                store: "storage",
                source: Box::new(self.own(&other)),
            },
        }
    }

    fn object(&self, path: &str) -> String {
        format!(
            "{}/{}",
            self.name,
            self.scrubber.text(path).trim_start_matches('/')
        )
    }

    /// A failure as the product's own error, which everything above hands on as it is.
    fn own(&self, error: &Error) -> provender_core::Error {
        let why = self.scrubber.text(&innermost(error));
        let is_refusal =
            matches!(error, Error::PermissionDenied { .. }) || why.contains("403 Forbidden");
        let is_stranger =
            matches!(error, Error::Unauthenticated { .. }) || why.contains("401 Unauthorized");
        if is_stranger || (is_refusal && is_bad_key(&why)) {
            return provender_core::Error::new(
                &codes::STORAGE_CREDENTIALS,
                format!("{} does not take the credentials: {why}", self.name),
            )
            .help(
                "check the `storage:` options of the block, or the variables of the environment",
            );
        }
        match error {
            Error::PermissionDenied { path, .. } => self.refused(&self.object(path), &why),
            _ if is_refusal => self.refused(&self.name, &why),
            _ => provender_core::Error::new(
                &codes::OFFLINE_UNAVAILABLE,
                format!("{} cannot be used: {why}", self.name),
            )
            .help("check the URL, the `storage:` options of the block, and the network")
            .retryable(true),
        }
    }

    fn refused(&self, what: &str, why: &str) -> provender_core::Error {
        provender_core::Error::new(&codes::STORAGE_DENIED, format!("{what} is refused: {why}"))
            .help(
                "grant the user of these credentials what the documentation of `type: delta` lists",
            )
    }
}

/// Clouds answer a wrong key with 403, as they do a missing grant.
fn is_bad_key(answer: &str) -> bool {
    [
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "InvalidToken",
        "TokenRefreshRequired",
        "AuthenticationFailed",
        "failed to authenticate",
    ]
    .iter()
    .any(|code| answer.contains(code))
}

/// The whole of what an error and its causes say, each thing once.
fn innermost(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}

/// A client of a bucket.
pub(super) struct Guarded {
    inner: Arc<dyn ObjectStore>,
    /// Whether the server is asked to leave out what lies before a name.
    lists_from: bool,
    teller: Teller,
}

impl Guarded {
    /// `lists_from`: whether the server can be asked to list from a name on.
    pub(super) fn new(
        name: String,
        inner: Arc<dyn ObjectStore>,
        lists_from: bool,
        scrubber: Scrubber,
    ) -> Self {
        Self {
            inner,
            lists_from,
            teller: Teller {
                name: name.into(),
                scrubber,
            },
        }
    }
}

// What lies below holds credentials, and not all of it hides them.
impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guarded").field(&self.teller.name).finish()
    }
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.teller.name)
    }
}

#[async_trait]
impl ObjectStore for Guarded {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let put = self.inner.put_opts(location, payload, options).await;
        put.map_err(|error| self.teller.tell(error))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.inner.put_multipart_opts(location, options).await;
        let inner = upload.map_err(|error| self.teller.tell(error))?;
        Ok(Box::new(GuardedUpload {
            inner,
            teller: self.teller.clone(),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let got = self.inner.get_opts(location, options).await;
        let mut got = got.map_err(|error| self.teller.tell(error))?;
        if let GetResultPayload::Stream(bytes) = got.payload {
            let teller = self.teller.clone();
            got.payload =
                GetResultPayload::Stream(bytes.map_err(move |error| teller.tell(error)).boxed());
        }
        Ok(got)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let got = self.inner.get_ranges(location, ranges).await;
        got.map_err(|error| self.teller.tell(error))
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let teller = self.teller.clone();
        let deleted = self.inner.delete_stream(locations);
        deleted.map_err(move |error| teller.tell(error)).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let teller = self.teller.clone();
        let listed = self.inner.list(prefix);
        listed.map_err(move |error| teller.tell(error)).boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let teller = self.teller.clone();
        let listed = if self.lists_from {
            self.inner.list_with_offset(prefix, offset)
        } else {
            let offset = offset.clone();
            let is_after = move |object: &ObjectMeta| ready(object.location > offset);
            self.inner.list(prefix).try_filter(is_after).boxed()
        };
        listed.map_err(move |error| teller.tell(error)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let listed = self.inner.list_with_delimiter(prefix).await;
        listed.map_err(|error| self.teller.tell(error))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let copied = self.inner.copy_opts(from, to, options).await;
        copied.map_err(|error| self.teller.tell(error))
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let renamed = self.inner.rename_opts(from, to, options).await;
        renamed.map_err(|error| self.teller.tell(error))
    }
}

struct GuardedUpload {
    inner: Box<dyn MultipartUpload>,
    teller: Teller,
}

impl fmt::Debug for GuardedUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GuardedUpload")
            .field(&self.teller.name)
            .finish()
    }
}

#[async_trait]
impl MultipartUpload for GuardedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let teller = self.teller.clone();
        let part = self.inner.put_part(data);
        part.map(move |done| done.map_err(|error| teller.tell(error)))
            .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let completed = self.inner.complete().await;
        completed.map_err(|error| self.teller.tell(error))
    }

    async fn abort(&mut self) -> Result<()> {
        let aborted = self.inner.abort().await;
        aborted.map_err(|error| self.teller.tell(error))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn told_failures_hold_neither_secrets_nor_queries() {
        let scrubber = Scrubber::new(vec!["can/ary+1".to_owned(), "can/ary+12".to_owned()]);
        let text = scrubber.text(
            "GET \"http://h:1/box?sig=other&x=can%2Fary%2B12\" with can/ary+12\n and can%2Fary%2B1",
        );
        assert_eq!(text, "GET \"http://h:1/box\" with *** and ***");
        let teller = Teller {
            name: "s3://lake".into(),
            scrubber,
        };
        let error = teller.tell(Error::Unauthenticated {
            path: "a".to_owned(),
            source: "key can/ary+1 is unknown".into(),
        });
        let whole = format!("{error} {error:?}");
        assert!(!whole.contains("can/ary"), "{whole}");
        assert!(whole.contains("does not take the credentials"), "{whole}");
        for (answer, code) in [
            ("403 Forbidden: <Code>AccessDenied</Code>", "P514"),
            ("403 Forbidden: <Code>SignatureDoesNotMatch</Code>", "P513"),
            ("503 Slow Down", "P503"),
        ] {
            let own = teller.own(&Error::Generic {
                store: "S3",
                source: answer.into(),
            });
            assert_eq!(own.code(), code, "{own}");
        }
        let error = teller.tell(Error::NotFound {
            path: "a/b".to_owned(),
            source: "http://h/a/b?sig=1 404".into(),
        });
        assert!(matches!(&error, Error::NotFound { path, .. } if path == "s3://lake/a/b"));
        assert!(!error.to_string().contains("sig"), "{error}");
    }
}
