//! The one place where Snowflake's refusals become the product's errors.
//!
//! Snowflake's messages quote parts of the statement, and a statement of ours holds values of a
//! spine or of pushed rows only as bindings or in short texts; only the first lines are kept.

use provender_core::{Code, Error, ErrorKind, codes};

use crate::session::Settings;
use crate::session::protocol::{Envelope, code};

/// The longest message of Snowflake's that is passed on.
const LONGEST_MESSAGE: usize = 600;

/// What a refused login means.
pub(crate) fn login_error(settings: &Settings, envelope: &Envelope) -> Error {
    let number = envelope.code();
    let help = match number.as_str() {
        "390100" | "390422" => {
            "check user and password, and that a network policy lets this machine in"
        }
        "390144" => {
            "check that the user's RSA_PUBLIC_KEY is that of the private key, that account is spelled as \
             SELECT CURRENT_ORGANIZATION_NAME() || '-' || CURRENT_ACCOUNT_NAME() answers, and this machine's clock"
        }
        "390303" | "390318" => "the OAuth token is wrong or has run out; get a new one",
        "390186" | "390189" => "the role is not granted to the user; grant it, or set another role",
        "390201" => {
            "the warehouse, database or schema does not exist or may not be used by the role"
        }
        _ => "the documentation of type snowflake lists codes and what to do",
    };
    Error::new(
        &codes::WAREHOUSE_LOGIN,
        format!(
            "Snowflake account {} does not let {} in by {}: {}",
            settings.account,
            match settings.user.as_str() {
                "" => "the holder of the token".to_owned(),
                user => format!("user {user}"),
            },
            settings.credentials,
            message(envelope),
        ),
    )
    .help(help)
    .context("snowflake_code", number)
}

/// What a refused statement means. The codes are those of Snowflake's drivers.
pub(crate) fn statement_error(settings: &Settings, envelope: &Envelope) -> Error {
    let number = envelope.code();
    // A token that has run out again right after it was renewed is no better than none.
    if code::SESSION_GONE.contains(&number.as_str()) || number == code::TOKEN_EXPIRED {
        return Error::new(
            &codes::WAREHOUSE_SESSION_LOST,
            "the Snowflake session has ended",
        )
        .help("try again: a new session is opened")
        .context("snowflake_code", number);
    }
    let sql_state = envelope
        .data
        .get("sqlState")
        .and_then(serde_json::Value::as_str);
    let (code, help): (&Code, Option<String>) = match number.as_str() {
        "000606" | "090073" => (
            &codes::OFFLINE_REQUEST,
            Some("set warehouse, or give the user a default one, and grant USAGE on it to the role".to_owned()),
        ),
        "003001" | "003041" | "003079" => (
            &codes::WAREHOUSE_DENIED,
            Some(format!(
                "grant it to {}; the documentation of type snowflake has a script",
                settings.role.as_deref().map_or("the user's role".to_owned(), |role| format!("role {role}"))
            )),
        ),
        // The same code for what is not there and for what the role may not see.
        "002003" | "002043" => (
            &codes::OFFLINE_REQUEST,
            Some("check the name, and that the role may see it".to_owned()),
        ),
        "000707" | "002066" => (
            &codes::VERSION_GONE,
            Some(
                "the table was made later, or its DATA_RETENTION_TIME_IN_DAYS is over; ask for a newer state"
                    .to_owned(),
            ),
        ),
        "000604" => (
            &codes::CANCELLED,
            Some("somebody cancelled the statement in Snowflake".to_owned()),
        ),
        "000630" => (
            &codes::OFFLINE_REQUEST,
            Some("raise STATEMENT_TIMEOUT_IN_SECONDS of the user or warehouse, or ask for less at a time".to_owned()),
        ),
        "000625" => (
            &codes::OFFLINE_UNAVAILABLE,
            Some("another transaction holds the table; try again".to_owned()),
        ),
        _ => (&codes::OFFLINE_REQUEST, None),
    };
    let mut error = Error::new(
        code,
        format!("Snowflake refuses a statement: {}", message(envelope)),
    );
    if let Some(help) = help {
        error = error.help(help);
    }
    if let Some(state) = sql_state {
        error = error.context("sql_state", state);
    }
    if let Some(id) = envelope
        .data
        .get("queryId")
        .and_then(serde_json::Value::as_str)
    {
        error = error.context("query_id", id);
    }
    error.context("snowflake_code", number)
}

/// Snowflake's own code of an error, if it has one.
pub(crate) fn snowflake_code(error: &Error) -> Option<&str> {
    let mut pairs = error.context_pairs().iter();
    pairs
        .find(|(key, _)| key == "snowflake_code")
        .map(|(_, value)| value.as_str())
}

/// Whether a statement failed because something it names is not there (or may not be seen).
pub(crate) fn is_missing(error: &Error) -> bool {
    matches!(snowflake_code(error), Some("002003" | "002043"))
}

/// Whether the session has ended, so that what needs nothing of it can be run in another.
pub(crate) fn is_session_lost(error: &Error) -> bool {
    error.code() == codes::WAREHOUSE_SESSION_LOST.id
}

/// A failure on a source of the user's own SQL.
pub(crate) fn on_query(error: Error, query: &str) -> Error {
    if !matches!(
        error.kind(),
        ErrorKind::InvalidArgument | ErrorKind::NotFound
    ) {
        return error;
    }
    let message = format!("the query {query:?} fails: {}", error.message());
    let mut mapped = Error::new(&codes::BAD_QUERY, message).context("query", query);
    if matches!(snowflake_code(&error), Some("002003" | "002043" | "000904")) {
        mapped = mapped.help(
            "check the name and the role's grants; a name in double quotes must be spelled as Snowflake has it, \
             which is upper case for what was made without quotes",
        );
    }
    if let Some(number) = snowflake_code(&error) {
        mapped = mapped.context("snowflake_code", number.to_owned());
    }
    mapped.source(error)
}

/// A defect of ours.
pub(crate) fn internal(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(&codes::INTERNAL, what.to_owned()).source(error)
}

fn message(envelope: &Envelope) -> String {
    let text = envelope.message.as_deref().unwrap_or("it gives no reason");
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = text.char_indices().nth(LONGEST_MESSAGE) {
        text.truncate(end);
        text.push_str("...");
    }
    text.trim_end_matches('.').to_owned()
}
