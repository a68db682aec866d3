//! `${NAME}` and `${NAME:-default}` in the texts of a configuration.

use provender_core::{Error, codes};

use crate::node::{Node, Value};
use crate::problems::Problems;

/// What is wrong with a text's variables.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unexpanded {
    Missing(String),
    Malformed(String),
}

/// Replaces variables in every text of a tree, keys left alone. Each failure becomes a problem.
pub(super) fn expand(
    node: &mut Node,
    variables: &dyn Fn(&str) -> Option<String>,
    problems: &mut Problems,
) {
    match &mut node.value {
        Value::Text(text) => match expand_text(text, variables) {
            Ok(None) => {}
            Ok(Some(expanded)) => {
                *text = expanded;
                node.expanded = true;
            }
            Err(failures) => {
                for failure in failures {
                    problems.at(&node.at, failure.into_error());
                }
            }
        },
        Value::List(items) => {
            for item in items {
                expand(item, variables, problems);
            }
        }
        Value::Map(entries) => {
            for (_, value) in entries {
                expand(value, variables, problems);
            }
        }
        Value::Null | Value::Bool(..) | Value::Number(..) => {}
    }
}

/// The text with its variables replaced; `None` if it has none. A variable's value is taken as it
/// is: it is not searched for further variables. A variable that is set but empty takes the default.
pub(super) fn expand_text(
    text: &str,
    variables: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<String>, Vec<Unexpanded>> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut expanded = String::with_capacity(text.len());
    let mut failures = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = rest.split_at(at);
        let after = after.get(2..).unwrap_or_default();
        if let Some(literal) = before.strip_suffix('$') {
            expanded.push_str(literal);
            expanded.push_str("${");
            rest = after;
            continue;
        }
        expanded.push_str(before);
        let Some(end) = after.find('}') else {
            failures.push(Unexpanded::Malformed("${ has no closing }".to_owned()));
            rest = "";
            break;
        };
        let (inside, after) = after.split_at(end);
        rest = after.get(1..).unwrap_or_default();
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let is_name = !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name {
            let why = format!("{name:?} cannot name a variable");
            failures.push(Unexpanded::Malformed(why));
            continue;
        }
        let value = variables(name);
        match (value, default) {
            (Some(value), Some(default)) if value.is_empty() => expanded.push_str(default),
            (Some(value), _) => expanded.push_str(&value),
            (None, Some(default)) => expanded.push_str(default),
            (None, None) => failures.push(Unexpanded::Missing(name.to_owned())),
        }
    }
    expanded.push_str(rest);
    if failures.is_empty() {
        Ok(Some(expanded))
    } else {
        Err(failures)
    }
}

impl Unexpanded {
    fn into_error(self) -> Error {
        match self {
            Self::Missing(name) => Error::new(
                &codes::MISSING_ENV,
                format!("the environment variable {name} is not set"),
            )
            .help(format!(
                "set {name}, or give a default: ${{{name}:-default}}"
            ))
            .context("variable", name),
            Self::Malformed(why) => Error::new(&codes::BAD_CONFIG, why)
                .help("write ${NAME} or ${NAME:-default}, and $${ for a plain ${"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<Option<String>, Vec<Unexpanded>> {
        expand_text(text, &|name| match name {
            "A" => Some("1".to_owned()),
            "NESTED" => Some("${A}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn variables_in_text_are_replaced() {
        for (text, result) in [
            ("plain $A", None),
            ("${A}", Some("1")),
            ("x${A}y${A}z", Some("x1y1z")),
            ("${B:-two}", Some("two")),
            ("${B:-}", Some("")),
            ("${A:-two}", Some("1")),
            ("${EMPTY:-two}", Some("two")),
            ("${EMPTY}", Some("")),
            ("${NESTED}", Some("${A}")),
            ("$${A}", Some("${A}")),
            ("$${", Some("${")),
            ("a$${A}${A}", Some("a${A}1")),
            ("é${A}é", Some("é1é")),
            ("${B:-http://x:-1}", Some("http://x:-1")),
        ] {
            assert_eq!(expanded(text), Ok(result.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn every_failure_of_a_text_is_told() {
        assert_eq!(
            expanded("${B} ${C} ${1} ${A"),
            Err(vec![
                Unexpanded::Missing("B".to_owned()),
                Unexpanded::Missing("C".to_owned()),
                Unexpanded::Malformed("\"1\" cannot name a variable".to_owned()),
                Unexpanded::Malformed("${ has no closing }".to_owned()),
            ])
        );
    }
}
