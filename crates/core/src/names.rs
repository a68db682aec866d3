//! Rules for the names of definitions, and the nearest known name for a wrong one.

use crate::error::{Error, Result, codes};

/// Joins a view (or alias) and a feature in an output column.
pub const SEPARATOR: &str = "__";
/// Names that no feature may have, since statuses and event times are answered beside features.
pub const RESERVED_FEATURES: [&str; 2] = ["status", "event_timestamp"];

/// Accepts letters, digits and `_`, not starting with a digit, without `__`.
///
/// # Errors
/// `InvalidArgument` that says which rule `name` breaks; `what` names the kind of object.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    let problem = if name.is_empty() {
        "it is empty"
    } else if name.starts_with(|c: char| c.is_ascii_digit()) {
        "it starts with a digit"
    } else if name.contains(SEPARATOR) {
        "it holds __, which joins a view and a feature in output columns"
    } else if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        "it holds something other than letters, digits and _"
    } else {
        return Ok(());
    };
    Err(Error::new(
        &codes::BAD_NAME,
        format!("{what} cannot be named {name:?}: {problem}"),
    ))
}

/// [`check_name`], and no reserved name.
///
/// # Errors
/// As [`check_name`].
pub fn check_feature_name(name: &str) -> Result<()> {
    if RESERVED_FEATURES
        .iter()
        .any(|reserved| reserved.eq_ignore_ascii_case(name))
    {
        return Err(Error::new(
            &codes::BAD_NAME,
            format!("a feature cannot be named {name:?}: the name is taken by status columns"),
        ));
    }
    check_name("a feature", name)
}

/// The candidate nearest to `name`, if one is near enough to be a likely slip.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= 1 + name.len().max(candidate.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A hint that names the nearest candidate, or lists the candidates if there are few, or is empty.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    match nearest(name, candidates.iter().copied()) {
        Some(near) => format!("did you mean {near:?}?"),
        None if candidates.is_empty() => String::new(),
        None if candidates.len() <= 12 => format!("known are {}", candidates.join(", ")),
        None => String::new(),
    }
}

/// Finds a column: exactly, else by the only match that ignores case.
///
/// # Errors
/// `InvalidArgument` (`P121`) that names the nearest column, or the several that differ only in case.
pub fn find_column<'a>(
    name: &str,
    columns: impl IntoIterator<Item = &'a str> + Clone,
) -> Result<&'a str> {
    if let Some(exact) = columns.clone().into_iter().find(|column| *column == name) {
        return Ok(exact);
    }
    let lower = name.to_lowercase();
    let close: Vec<&str> = columns
        .clone()
        .into_iter()
        .filter(|column| column.to_lowercase() == lower)
        .collect();
    match close.as_slice() {
        [only] => Ok(only),
        [] => Err(Error::new(
            &codes::MISSING_COLUMN,
            format!("there is no column {name:?}"),
        )
        .help(did_you_mean(name, columns))),
        several => Err(Error::new(
            &codes::MISSING_COLUMN,
            format!(
                "column {name:?} is not clear: {} differ only in case",
                several.join(", ")
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules() {
        for good in ["a", "_a", "airport_weather", "A1"] {
            assert!(check_name("a view", good).is_ok(), "{good}");
        }
        for bad in ["", "1a", "a__b", "a-b", "é", "a b"] {
            assert!(check_name("a view", bad).is_err(), "{bad}");
        }
        assert!(check_feature_name("Status").is_err());
    }

    #[test]
    fn nearest_is_a_likely_slip_only() {
        assert_eq!(nearest("wether", ["weather", "planes"]), Some("weather"));
        assert_eq!(nearest("zebra", ["weather", "planes"]), None);
    }

    #[test]
    fn columns_match_exactly_else_by_the_only_other_case() {
        assert_eq!(find_column("a", ["A", "a"]).ok(), Some("a"));
        assert_eq!(find_column("b", ["B"]).ok(), Some("B"));
        assert!(find_column("c", ["C", "c "]).is_ok());
        assert!(find_column("aA", ["AA", "aa"]).is_err());
    }
}
