//! The one place where errors of Arrow and of the operating system become ours.

use std::io;
use std::path::Path;

use arrow_schema::ArrowError;
use provender_core::{Error, codes};

/// An Arrow kernel failed. Kernels are called with types that fit, so all but I/O is a defect.
pub(crate) fn arrow(error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, source) => spill(source, None),
        other => Error::new(&codes::INTERNAL, format!("an Arrow kernel failed: {other}")),
    }
}

/// Writing or reading spilled rows failed.
pub(crate) fn spill(error: io::Error, path: Option<&Path>) -> Error {
    let place = path.map_or_else(
        || "the spill folder".to_owned(),
        |path| format!("{}", path.display()),
    );
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Error::new(
                &codes::NO_SPACE,
                format!("no space left to spill rows to {place}"),
            )
            .help("free space, or point limits.spill_path in provender.yaml elsewhere")
        }
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory => Error::new(
            &codes::NOT_WRITABLE,
            format!("rows cannot be spilled to {place}"),
        )
        .help(
            "point limits.spill_path in provender.yaml to a folder that exists and can be written",
        ),
        _ => Error::new(&codes::IO, format!("spilling rows to {place} failed")),
    }
    .source(error)
}

/// A defect: something that the types above rule out.
pub(crate) fn defect(what: impl Into<String>) -> Error {
    Error::new(&codes::INTERNAL, what)
}
