//! The one place where Databricks' refusals become the product's errors.
//!
//! Databricks' messages begin with a class in brackets, `[TABLE_OR_VIEW_NOT_FOUND]`, by which they are
//! told apart, and may go on with a whole plan; only their beginning is kept.

use provender_core::{Code, Error, ErrorKind, codes};
use reqwest::StatusCode;
use serde::Deserialize;

/// The longest message of Databricks' that is passed on.
const LONGEST_MESSAGE: usize = 600;

/// How Databricks tells a failure.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Told {
    #[serde(default)]
    error_code: serde_json::Value,
    #[serde(default)]
    message: Option<String>,
}

impl Told {
    fn code(&self) -> String {
        match &self.error_code {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Null => String::new(),
            other => other.to_string(),
        }
    }

    /// The class in brackets, else the API's own code.
    fn class(&self) -> String {
        let message = self.message.as_deref().unwrap_or_default();
        let inside = message
            .split_once('[')
            .and_then(|(_, rest)| rest.split_once(']'));
        match inside {
            Some((class, _)) if is_class(class) => {
                class.split('.').next().unwrap_or(class).to_owned()
            }
            _ => self.code(),
        }
    }

    fn text(&self) -> String {
        let text = self.message.as_deref().unwrap_or("it gives no reason");
        let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        text.truncate(text.trim_end_matches('.').len());
        if let Some((end, _)) = text.char_indices().nth(LONGEST_MESSAGE) {
            text.truncate(end);
            text.push_str("...");
        }
        text
    }
}

fn is_class(text: &str) -> bool {
    text.len() > 3
        && text
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.'))
}

/// What a refused request means.
pub(crate) fn refused(host: &str, login: &str, status: StatusCode, body: &[u8]) -> Error {
    let told: Told = serde_json::from_slice(body).unwrap_or_default();
    let said = match &told.message {
        Some(_) => format!("{status}: {}", told.text()),
        None => status.to_string(),
    };
    let is_stranger = status == StatusCode::UNAUTHORIZED
        || (status == StatusCode::FORBIDDEN && said.contains("nvalid access token"));
    let (code, message, help): (&Code, String, &str) = if is_stranger {
        (
            &codes::WAREHOUSE_LOGIN,
            format!("Databricks at {host} does not take the {login}: {said}"),
            "the token is wrong, was revoked or has run out; get a new one",
        )
    } else if status == StatusCode::FORBIDDEN {
        (
            &codes::WAREHOUSE_DENIED,
            format!("Databricks at {host} refuses access: {said}"),
            "the documentation of type databricks has the grants that are needed",
        )
    } else if status == StatusCode::TOO_MANY_REQUESTS {
        (
            &codes::OFFLINE_UNAVAILABLE,
            format!("Databricks at {host} takes no more requests now: {said}"),
            "try again later",
        )
    } else if status.is_server_error() {
        (
            &codes::OFFLINE_UNAVAILABLE,
            format!("Databricks at {host} answers {said}"),
            "try again later; https://status.databricks.com tells of outages",
        )
    } else {
        (
            &codes::OFFLINE_REQUEST,
            format!("Databricks at {host} refuses a request: {said}"),
            "check host, warehouse_id, catalog and schema",
        )
    };
    Error::new(code, message)
        .help(help)
        .context("databricks_code", told.class())
        .context("status", status.as_u16().to_string())
}

/// What a statement that failed means.
pub(crate) fn statement_error(told: &Told, statement_id: &str) -> Error {
    let class = told.class();
    let text = told.text();
    let is_denied = matches!(
        class.as_str(),
        "INSUFFICIENT_PERMISSIONS" | "PERMISSION_DENIED" | "UNAUTHORIZED_ACCESS"
    ) || text.contains("PERMISSION_DENIED");
    let (code, help): (&Code, Option<&str>) = if is_denied {
        (
            &codes::WAREHOUSE_DENIED,
            Some("the documentation of type databricks has the grants that are needed"),
        )
    } else if is_missing_class(&class) {
        (
            &codes::OFFLINE_REQUEST,
            Some("check the name, and that the login may see it"),
        )
    } else if is_in_the_way_text(&class, &text) {
        (
            &codes::OFFLINE_UNAVAILABLE,
            Some("another writer was first; try again"),
        )
    } else {
        match class.as_str() {
            "TEMPORARILY_UNAVAILABLE"
            | "SERVICE_UNDER_MAINTENANCE"
            | "RESOURCE_EXHAUSTED"
            | "WORKSPACE_TEMPORARILY_UNAVAILABLE"
            | "IO_ERROR" => (&codes::OFFLINE_UNAVAILABLE, Some("try again later")),
            "DELTA_VERSION_NOT_FOUND"
            | "DELTA_TIMESTAMP_GREATER_THAN_COMMIT"
            | "DELTA_TIMESTAMP_EARLIER_THAN_COMMIT_RETENTION" => (&codes::VERSION_GONE, None),
            "DEADLINE_EXCEEDED" => (
                &codes::OFFLINE_REQUEST,
                Some("raise STATEMENT_TIMEOUT of the warehouse, or ask for less at a time"),
            ),
            _ => (&codes::OFFLINE_REQUEST, None),
        }
    };
    let mut error = Error::new(code, format!("Databricks refuses a statement: {text}"));
    if let Some(help) = help {
        error = error.help(help);
    }
    error
        .context("databricks_code", class)
        .context("statement_id", statement_id)
}

/// Databricks' own class of an error, if it has one.
pub(crate) fn databricks_code(error: &Error) -> Option<&str> {
    let mut pairs = error.context_pairs().iter();
    pairs
        .find(|(key, _)| key == "databricks_code")
        .map(|(_, value)| value.as_str())
}

/// Whether a failure is that of something which is not there (or may not be seen).
pub(crate) fn is_missing(error: &Error) -> bool {
    databricks_code(error).is_some_and(is_missing_class)
}

/// Whether another writer was first, so that the same work may succeed after it.
pub(crate) fn is_in_the_way(error: &Error) -> bool {
    databricks_code(error).is_some_and(|class| is_in_the_way_text(class, error.message()))
}

/// Whether something is made that is there already.
pub(crate) fn is_there(error: &Error) -> bool {
    databricks_code(error) == Some("TABLE_OR_VIEW_ALREADY_EXISTS")
}

fn is_missing_class(class: &str) -> bool {
    matches!(
        class,
        "TABLE_OR_VIEW_NOT_FOUND"
            | "SCHEMA_NOT_FOUND"
            | "CATALOG_NOT_FOUND"
            | "NO_SUCH_CATALOG_EXCEPTION"
            | "TABLE_DOES_NOT_EXIST"
            | "SCHEMA_DOES_NOT_EXIST"
            | "CATALOG_DOES_NOT_EXIST"
    )
}

fn is_in_the_way_text(class: &str, text: &str) -> bool {
    class.starts_with("DELTA_CONCURRENT") || text.contains("ConcurrentModification")
}

/// A failure on a source of the user's own SQL.
pub(crate) fn on_query(error: Error, query: &str) -> Error {
    if error.kind() != ErrorKind::InvalidArgument {
        return error;
    }
    let message = format!("the query {query:?} fails: {}", error.message());
    let mut mapped = Error::new(&codes::BAD_QUERY, message).context("query", query);
    if let Some(class) = databricks_code(&error) {
        mapped = mapped.context("databricks_code", class.to_owned());
    }
    mapped.source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_by_their_class() {
        let told = |code: &str, message: &str| Told {
            error_code: code.into(),
            message: Some(message.to_owned()),
        };
        for (code, message, expected, class) in [
            (
                "BAD_REQUEST",
                "[TABLE_OR_VIEW_NOT_FOUND] The table or view `x` cannot be found. Verify",
                "P507",
                "TABLE_OR_VIEW_NOT_FOUND",
            ),
            (
                "BAD_REQUEST",
                "[INSUFFICIENT_PERMISSIONS] User does not have SELECT",
                "P531",
                "INSUFFICIENT_PERMISSIONS",
            ),
            (
                "BAD_REQUEST",
                "[DELTA_CONCURRENT_APPEND.WITH_HINT] Transaction conflict",
                "P503",
                "DELTA_CONCURRENT_APPEND",
            ),
            (
                "TEMPORARILY_UNAVAILABLE",
                "later",
                "P503",
                "TEMPORARILY_UNAVAILABLE",
            ),
            ("BAD_REQUEST", "[x] odd", "P507", "BAD_REQUEST"),
        ] {
            let error = statement_error(&told(code, message), "01ef");
            assert_eq!(error.code(), expected, "{message}");
            assert_eq!(databricks_code(&error), Some(class), "{message}");
        }
        let long = "word ".repeat(400);
        let error = statement_error(&told("BAD_REQUEST", &long), "01ef");
        assert!(error.message().len() < 700 && error.message().ends_with("..."));
    }
}
