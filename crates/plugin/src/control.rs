//! What the control bytes of calls say: JSON that a person can read.
//!
//! Requests are those of `provender-core`, as serde writes them. This module decides what is around
//! them: who calls, how errors are told, what a library declares of itself.

use provender_core::provider::{
    Author, Change, Interval, Lease, OfflineCapabilities, OnlineCapabilities, ProviderConfig,
    ProviderInfo, Revision, ViewVersion,
};
use provender_core::request::{SourceRef, ViewLayout};
use provender_core::{Context, Error, ErrorKind, Result, codes};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::columns::broken;

/// What a library says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The library's name, for messages and metrics.
    pub name: String,
    /// The library's version.
    pub version: String,
    /// What it offers.
    pub providers: Vec<ManifestProvider>,
}

/// One `type:` that a library offers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManifestProvider {
    /// The `type:` of the configuration.
    pub scheme: String,
    /// One line for people.
    pub description: String,
    /// The roles: `offline_store`, `online_store`, `registry`.
    pub roles: Vec<Role>,
    /// Its options as a JSON Schema.
    pub options_schema: Value,
}

/// What a provider can be opened as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// An offline store.
    OfflineStore,
    /// An online store.
    OnlineStore,
    /// A registry.
    Registry,
}

impl Role {
    /// As a configuration spells it, such as `offline_store`.
    pub fn name(self) -> &'static str {
        match self {
            Self::OfflineStore => "offline_store",
            Self::OnlineStore => "online_store",
            Self::Registry => "registry",
        }
    }
}

/// Who calls, and why; the deadline is a field of the call itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Caller {
    pub(crate) project: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) trace_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<String>,
}

impl Caller {
    #[cfg(feature = "load")]
    pub(crate) fn of(cx: &Context) -> Self {
        Self {
            project: cx.project().to_owned(),
            trace_id: cx.trace_id().to_owned(),
            identity: cx.identity().map(|identity| identity.name.clone()),
        }
    }

    pub(crate) fn context(self, timeout_us: u64) -> Context {
        let mut cx = Context::new(self.project).with_trace_id(self.trace_id);
        if let Some(name) = self.identity {
            cx = cx.with_identity(name);
        }
        if timeout_us == u64::MAX {
            cx
        } else {
            cx.with_timeout(std::time::Duration::from_micros(timeout_us))
        }
    }
}

/// The control bytes of every call.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Control<A> {
    pub(crate) caller: Caller,
    pub(crate) arguments: A,
}

/// Of `open`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Open {
    pub(crate) role: Role,
    pub(crate) config: ProviderConfig,
}

/// What `open` answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Opened {
    pub(crate) instance: u64,
    pub(crate) info: ProviderInfo,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) offline: Option<OfflineCapabilities>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) online: Option<OnlineCapabilities>,
}

/// What `prepare` answers, beside the schema of reads.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Prepared {
    pub(crate) instance: u64,
}

/// What `read` answers beside its rows, if there is anything to say.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ReadNotes {
    /// View, row, reason.
    #[serde(default)]
    pub(crate) unreadable: Vec<(usize, usize, String)>,
}

/// How a spine that crosses as a stream calls its columns.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SpineColumns {
    pub(crate) timestamp: String,
    pub(crate) row_number: String,
}

/// Of `point_in_time_join`: the rows are the call's one stream, or a relation of the store.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SpineControl {
    Rows(SpineColumns),
    Sql(provender_core::request::SqlSpine),
}

/// Of `point_in_time_join`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct JoinControl {
    pub(crate) join: provender_core::request::PointInTimeJoin,
    pub(crate) spine: SpineControl,
}

/// Of an offline `delete`; the keys are the call's stream.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DeleteControl {
    pub(crate) source: SourceRef,
}

/// Of online writes and deletes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LayoutControl {
    pub(crate) view: ViewLayout,
}

/// Of calls about a version of a view.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ViewControl {
    pub(crate) view: ViewVersion,
}

/// Of `checkpoint`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CheckpointControl {
    pub(crate) view: ViewVersion,
    pub(crate) since: Option<i64>,
}

/// Of `holds`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HoldsControl {
    pub(crate) view: ViewVersion,
    pub(crate) checkpoint: i64,
}

/// Of `snapshot`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotControl {
    pub(crate) at: Option<Revision>,
}

/// Of `commit`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CommitControl {
    pub(crate) base: Revision,
    pub(crate) changes: Vec<Change>,
    pub(crate) by: Author,
}

/// Of `history`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HistoryControl {
    pub(crate) after: Revision,
    pub(crate) limit: usize,
}

/// Of `record_interval`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct IntervalControl {
    pub(crate) view: ViewVersion,
    pub(crate) interval: Interval,
}

/// Of `acquire_lease`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AcquireControl {
    pub(crate) name: String,
    pub(crate) holder: String,
    pub(crate) ttl_us: u64,
}

/// Of `renew_lease` and `release_lease`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LeaseControl {
    pub(crate) lease: Lease,
    #[serde(default)]
    pub(crate) ttl_us: u64,
}

/// An error as it crosses.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ErrorControl {
    code: String,
    kind: String,
    message: String,
    help: Option<String>,
    retryable: bool,
    context: Vec<(String, String)>,
    causes: Vec<String>,
}

/// The causes of an error that crossed, as one text.
#[derive(Debug)]
struct Cause(String);

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}

/// Before an error's JSON where an interface has room for text alone.
const MARK: &str = "provender-error:";

pub(crate) fn error_to_json(error: &Error) -> Vec<u8> {
    let kind = serde_json::to_value(error.kind()).unwrap_or_default();
    let pairs = error.context_pairs().iter();
    let control = ErrorControl {
        code: error.code().to_owned(),
        kind: kind.as_str().unwrap_or("internal").to_owned(),
        message: error.message().to_owned(),
        help: error.help_text().map(str::to_owned),
        retryable: error.is_retryable(),
        context: pairs
            .map(|(key, value)| (key.clone().into_owned(), value.clone()))
            .collect(),
        causes: error.causes(),
    };
    serde_json::to_vec(&control).unwrap_or_default()
}

/// Reads an error of the other side; one that cannot be read is told as it stands.
pub(crate) fn error_from_json(bytes: &[u8]) -> Error {
    let Ok(control) = serde_json::from_slice::<ErrorControl>(bytes) else {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim();
        return Error::new(
            &codes::PROVIDER_CONTRACT,
            if text.is_empty() {
                "the plug-in failed without an error text".to_owned()
            } else {
                format!("the plug-in failed and its error cannot be read: {text}")
            },
        );
    };
    let kind = serde_json::from_value(Value::String(control.kind)).unwrap_or(ErrorKind::Internal);
    let message = if control.message.is_empty() {
        "the plug-in failed without a message".to_owned()
    } else {
        control.message
    };
    let code = if control.code.is_empty() {
        codes::PROVIDER_CONTRACT.id.to_owned()
    } else {
        control.code
    };
    let mut error = Error::foreign(code, kind, message).retryable(control.retryable);
    if let Some(help) = control.help {
        error = error.help(help);
    }
    for (key, value) in control.context {
        error = error.context(key, value);
    }
    match control.causes.is_empty() {
        true => error,
        false => error.source(Cause(control.causes.join(": "))),
    }
}

pub(crate) fn error_to_text(error: &Error) -> String {
    format!("{MARK}{}", String::from_utf8_lossy(&error_to_json(error)))
}

pub(crate) fn error_from_text(text: &str) -> Error {
    // Arrow's own error types put words before what they wrap.
    match text.split_once(MARK) {
        Some((_, json)) => error_from_json(json.as_bytes()),
        None => Error::new(
            &codes::PROVIDER_CONTRACT,
            format!("a stream failed: {text}"),
        ),
    }
}

/// Reads control bytes.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| broken(format!("{what} that cannot be read")).source(error))
}

/// Writes control bytes.
pub(crate) fn write<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| {
        Error::new(&codes::INTERNAL, "a request cannot be written as JSON").source(error)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn error_keeps_kind_code_help_context_and_causes() {
        let error = Error::new(&codes::CHECKED_CAST, "the value 7 does not fit")
            .help("widen it")
            .context("view", "a\0b")
            .retryable(true)
            .source(std::io::Error::other("below"));
        for back in [
            error_from_json(&error_to_json(&error)),
            error_from_text(&format!("External error: {}", error_to_text(&error))),
        ] {
            assert_eq!(back.code(), error.code());
            assert_eq!(back.kind(), error.kind());
            assert_eq!(back.message(), error.message());
            assert_eq!(back.help_text(), Some("widen it"));
            assert_eq!(back.context_pairs(), error.context_pairs());
            assert!(back.is_retryable());
            assert_eq!(back.causes(), ["below"]);
        }
    }

    #[test]
    fn unreadable_error_is_told_as_it_stands() {
        let error = error_from_json(b"disk \xff full");
        assert_eq!(error.code(), "P802");
        assert!(error.message().contains("disk \u{fffd} full"), "{error}");
        let error =
            error_from_json(b"{\"kind\":\"of_tomorrow\",\"message\":\"m\",\"code\":\"X1\"}");
        assert_eq!((error.kind(), error.code()), (ErrorKind::Internal, "X1"));
    }
}
