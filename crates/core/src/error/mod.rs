//! How calls fail: one error type for every crate and every provider.
//!
//! An error says what happened, to which object, and what to do next. It carries a stable [`Code`]
//! (which `provender explain CODE` tells about) and an [`ErrorKind`] (which front ends map to their
//! own status, such as gRPC's). It never holds a secret.

pub mod codes;

use std::borrow::Cow;
use std::fmt;

pub use codes::Code;
use serde::{Deserialize, Serialize};

/// The result of every fallible call of the product.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of failure this is, for programs. The list only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller's input is wrong, whatever the state of the system.
    InvalidArgument,
    /// The named object does not exist.
    NotFound,
    /// The input is right, but the system is not in a state for it.
    FailedPrecondition,
    /// Somebody else changed the same thing first; read again and retry.
    Conflict,
    /// A limit (memory, disk, message size, calls) was reached.
    ResourceExhausted,
    /// A store cannot be reached now.
    Unavailable,
    /// The call's deadline passed.
    DeadlineExceeded,
    /// The caller went away or cancelled.
    Cancelled,
    /// Stored data is damaged or lost.
    DataLoss,
    /// The provider does not offer this.
    Unsupported,
    /// Who calls is not known.
    Unauthenticated,
    /// Who calls may not do this.
    PermissionDenied,
    /// A defect of ours or of a provider.
    Internal,
}

/// One failure. Cheap to move (one pointer).
pub struct Error(Box<Inner>);

struct Inner {
    code: Cow<'static, str>,
    kind: ErrorKind,
    retryable: bool,
    message: String,
    help: Option<String>,
    context: Vec<(Cow<'static, str>, String)>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of a catalogued code: `message` says what happened to which object, without a
    /// trailing period. Kind and retryability are the code's until overridden.
    pub fn new(code: &'static Code, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code: Cow::Borrowed(code.id),
            kind: code.kind,
            retryable: matches!(code.kind, ErrorKind::Unavailable | ErrorKind::Conflict),
            message: message.into(),
            help: None,
            context: Vec::new(),
            source: None,
        }))
    }

    /// An error with a code that is not in our catalogue: a vendor's, or one that crossed the
    /// plugin ABI.
    pub fn foreign(code: impl Into<String>, kind: ErrorKind, message: impl Into<String>) -> Self {
        let mut error = Self::new(&codes::INTERNAL, message);
        error.0.code = Cow::Owned(code.into());
        error.0.kind = kind;
        error.0.retryable = false;
        error
    }

    /// What the caller can do next, as one sentence without a trailing period.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Puts text before the message, such as the place in a file that the failure concerns.
    #[must_use]
    pub fn prefixed(mut self, prefix: impl fmt::Display) -> Self {
        self.0.message = format!("{prefix}{}", self.0.message);
        self
    }

    /// Names an object that the failure concerns, such as `("view", "airport_weather")`.
    #[must_use]
    pub fn context(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.0.context.push((key.into(), value.into()));
        self
    }

    /// The error underneath, shown as the cause chain with `-v`.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Whether the same call may succeed later without any change by the caller.
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = retryable;
        self
    }

    /// Replaces the kind that the code implies.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The stable code, for example `P104`.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The kind, for programs.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// What happened, without help, context or cause.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do next, if there is something to say.
    pub fn help_text(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// The objects the failure concerns.
    pub fn context_pairs(&self) -> &[(Cow<'static, str>, String)] {
        &self.0.context
    }

    /// The messages of the errors underneath, outermost first.
    pub fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        causes
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if let Some(help) = &self.0.help {
            write!(f, "; {help}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} {:?}] {self}", self.0.code, self.0.kind)?;
        for (key, value) in &self.0.context {
            write!(f, " {key}={value:?}")?;
        }
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source.as_ref() as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_appends_help_and_keeps_message_apart() {
        let error = Error::new(
            &codes::UNDEFINED_REFERENCE,
            "view \"a\" names an undefined entity",
        )
        .help("define it");
        assert_eq!(
            error.to_string(),
            "view \"a\" names an undefined entity; define it"
        );
        assert_eq!(error.message(), "view \"a\" names an undefined entity");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
