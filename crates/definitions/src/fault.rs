//! What can be wrong with the shape of a node, and how it is told.

use std::fmt;

use provender_core::names::{did_you_mean, nearest};
use provender_core::{Error, codes};
use serde::de;

use crate::locations::Location;

/// A node that is not what its place takes.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Set by the innermost reader that knows it.
    pub(crate) at: Option<Location>,
    /// The way from the object to the value, such as `features[0].type`; empty for the object.
    pub(crate) path: Option<String>,
    pub(crate) problem: Problem,
}

#[derive(Debug)]
pub(crate) enum Problem {
    UnknownKey {
        key: String,
        known: &'static [&'static str],
    },
    MissingKey(&'static str),
    WrongType {
        expected: String,
        found: String,
    },
    Other(String),
    /// Already told.
    Told,
}

impl Fault {
    pub(crate) fn new(problem: Problem) -> Self {
        Self {
            at: None,
            path: None,
            problem,
        }
    }

    /// Fills in the place, unless something further inside did.
    pub(crate) fn located(mut self, at: &Location, path: &str) -> Self {
        self.at.get_or_insert_with(|| at.clone());
        self.path.get_or_insert_with(|| path.to_owned());
        self
    }

    /// The error; `subject` names the object, such as `feature view "wind"`.
    pub(crate) fn into_error(self, subject: &str) -> Option<Error> {
        let path = self.path.unwrap_or_default();
        let place = if path.is_empty() {
            subject.to_owned()
        } else {
            format!("{path} of {subject}")
        };
        Some(match self.problem {
            Problem::Told => return None,
            Problem::UnknownKey { key, known } => {
                let error = Error::new(
                    &codes::UNKNOWN_KEY,
                    format!("{place} has the unknown key {key:?}"),
                );
                let hint = match nearest(&key, known.iter().copied()) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("known are {}", known.join(", ")),
                };
                error.help(hint)
            }
            Problem::MissingKey(key) => {
                Error::new(&codes::WRONG_TYPE, format!("{place} lacks the key {key:?}"))
                    .help(format!("add {key}, which is required"))
            }
            Problem::WrongType { expected, found } => Error::new(
                &codes::WRONG_TYPE,
                format!("{place} must be {expected}, not {found}"),
            ),
            Problem::Other(message) => {
                Error::new(&codes::WRONG_TYPE, format!("{place}: {message}"))
            }
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.problem)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Problem::Other(message.to_string()))
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(Problem::WrongType {
            expected: plain_words(&expected.to_string()),
            found: match found {
                de::Unexpected::Other(found) => found.to_owned(),
                other => other.to_string(),
            },
        })
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!(
            "{variant:?} is unknown; {}",
            did_you_mean(variant, expected.iter().copied())
        ))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownKey {
            key: field.to_owned(),
            known: expected,
        })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Problem::MissingKey(field))
    }
}

/// What derived readers say they expect, for people who write YAML.
fn plain_words(expected: &str) -> String {
    match expected {
        "a string" => "text",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        "a map" => "a mapping",
        "u32" | "u64" | "usize" => "a whole number, zero or more",
        other if other.starts_with("struct ") => "a mapping",
        other => other,
    }
    .to_owned()
}
