//! How errors travel: gRPC status with our code, and the way out in the text.

use provender_core::{Error, ErrorKind, codes};
use tonic::{Code, Status};

/// The metadata key of the stable code.
pub(crate) const CODE: &str = "provender-code";

/// The status of an error. The message is the error's own, its way out included; the metadata key
/// `provender-code` has the stable code, and `provender-retryable` says whether to try again.
pub fn status(error: &Error) -> Status {
    let code = match error.kind() {
        ErrorKind::InvalidArgument => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::FailedPrecondition => Code::FailedPrecondition,
        ErrorKind::ResourceExhausted => Code::ResourceExhausted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorKind::DataLoss => Code::DataLoss,
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::Unsupported => Code::Unimplemented,
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::PermissionDenied => Code::PermissionDenied,
        _ => Code::Internal,
    };
    let mut message = format!("{} [{}]", error.message(), error.code());
    if let Some(help) = error.help_text()
        && !help.is_empty()
    {
        message.push_str("; ");
        message.push_str(help);
    }
    let mut status = Status::new(code, message);
    if let Ok(value) = error.code().parse() {
        status.metadata_mut().insert(CODE, value);
    }
    // A limit that is reached now may not be later.
    let is_limit = error.code() == codes::CALL_LIMIT.id;
    let retryable = if error.is_retryable() || is_limit {
        "true"
    } else {
        "false"
    };
    if let Ok(value) = retryable.parse() {
        status.metadata_mut().insert("provender-retryable", value);
    }
    status
}
