//! Values inside definitions: durations, types, texts, and what documents a definition.

use provender_core::model::Documentation;
use provender_core::time::parse_duration;
use provender_core::{Error, ValueType, codes};

use super::{Lowering, Subject};
use crate::located::{Located, Pairs};

impl Lowering {
    /// A duration in microseconds.
    pub(super) fn duration(
        &mut self,
        subject: &Subject,
        key: &str,
        text: &Located<String>,
    ) -> Option<i64> {
        match parse_duration(&text.value) {
            Ok(duration_us) => Some(duration_us),
            Err(error) => {
                let error = error.prefixed(format_args!("{key} of {subject}: "));
                self.fault(subject, &text.at, error);
                None
            }
        }
    }

    /// A value type.
    pub(super) fn value_type(
        &mut self,
        subject: &Subject,
        of: &str,
        text: &Located<String>,
    ) -> Option<ValueType> {
        match text.value.parse::<ValueType>() {
            Ok(value_type) => Some(value_type),
            Err(error) => {
                let error = error.prefixed(format_args!("type of {of} of {subject}: "));
                self.fault(subject, &text.at, error);
                None
            }
        }
    }

    /// A text that says something.
    pub(super) fn filled(
        &mut self,
        subject: &Subject,
        key: &str,
        text: &Located<String>,
    ) -> Option<String> {
        if text.value.trim().is_empty() {
            let error = Error::new(
                &codes::BAD_DEFINITION,
                format!("{key} of {subject} is empty"),
            );
            self.fault(subject, &text.at, error.help(format!("fill {key} in")));
            return None;
        }
        Some(text.value.clone())
    }

    /// [`Self::filled`] where there may be none; the inner `None` is no text, the outer a bad one.
    #[allow(clippy::option_option)]
    pub(super) fn filled_if_any(
        &mut self,
        subject: &Subject,
        key: &str,
        text: Option<&Located<String>>,
    ) -> Option<Option<String>> {
        match text {
            None => Some(None),
            Some(text) => self.filled(subject, key, text).map(Some),
        }
    }
}

/// Description, owner and tags.
pub(super) fn documentation(
    description: Option<&String>,
    owner: Option<&String>,
    tags: Option<&Pairs>,
) -> Documentation {
    Documentation {
        description: description.cloned().unwrap_or_default(),
        owner: owner.cloned().unwrap_or_default(),
        tags: tags.map_or_else(Default::default, |tags| {
            tags.0
                .iter()
                .map(|(key, value)| (key.value.clone(), value.value.clone()))
                .collect()
        }),
    }
}
