//! A readable difference between two definitions.
//!
//! Works on the definitions' JSON, so that it never forgets a field. Lists of named things are
//! compared by name, durations are written as durations.

use provender_core::time::format_duration;
use serde::Serialize;
use serde_json::{Map, Value};

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldChange {
    /// Where, such as `features.temp.type`, `ttl` or `source.table`.
    pub path: String,
    /// What was there; `None` if nothing was.
    pub before: Option<String>,
    /// What is there now; `None` if nothing is.
    pub after: Option<String>,
}

/// The differences between two definitions of one kind, in the order of their fields. Definitions
/// that cannot be written as JSON differ in nothing that could be shown.
pub(crate) fn diff(before: &impl Serialize, after: &impl Serialize) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    if let (Ok(before), Ok(after)) = (serde_json::to_value(before), serde_json::to_value(after)) {
        compare("", Some(&before), Some(&after), &mut changes);
    }
    changes
}

fn compare(
    path: &str,
    before: Option<&Value>,
    after: Option<&Value>,
    changes: &mut Vec<FieldChange>,
) {
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            compare_objects(path, before, after, changes);
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            compare_lists(path, before, after, changes);
        }
        (Some(Value::Array(items)), None) if named(items).is_some() => {
            compare_lists(path, items, &[], changes);
        }
        (None, Some(Value::Array(items))) if named(items).is_some() => {
            compare_lists(path, &[], items, changes);
        }
        (before, after) if before == after => {}
        (before, after) => changes.push(FieldChange {
            path: path.strip_suffix("_us").unwrap_or(path).to_owned(),
            before: before.map(|value| show(path, value)),
            after: after.map(|value| show(path, value)),
        }),
    }
}

fn compare_objects(
    path: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    changes: &mut Vec<FieldChange>,
) {
    let new = after.keys().filter(|key| !before.contains_key(*key));
    for key in before.keys().chain(new) {
        compare(&join(path, key), before.get(key), after.get(key), changes);
    }
}

fn compare_lists(path: &str, before: &[Value], after: &[Value], changes: &mut Vec<FieldChange>) {
    let (Some(names_before), Some(names_after)) = (named(before), named(after)) else {
        if before != after {
            changes.push(FieldChange {
                path: path.to_owned(),
                before: Some(show_list(before)),
                after: Some(show_list(after)),
            });
        }
        return;
    };
    let at = |names: &[String], items: &[Value], name: &str| {
        let index = names.iter().position(|known| known == name)?;
        items.get(index).cloned()
    };
    for name in &names_before {
        let (old, new) = (
            at(&names_before, before, name),
            at(&names_after, after, name),
        );
        compare(&join(path, name), old.as_ref(), new.as_ref(), changes);
    }
    for name in names_after
        .iter()
        .filter(|name| !names_before.contains(name))
    {
        compare(
            &join(path, name),
            None,
            at(&names_after, after, name).as_ref(),
            changes,
        );
    }
    // The order of columns is part of the meaning, so a change of it alone must be seen.
    let kept = |names: &[String], others: &[String]| {
        let kept = names.iter().filter(|name| others.contains(name));
        kept.cloned().collect::<Vec<_>>()
    };
    let (order_before, order_after) = (
        kept(&names_before, &names_after),
        kept(&names_after, &names_before),
    );
    if order_before != order_after {
        changes.push(FieldChange {
            path: join(path, "(order)"),
            before: Some(order_before.join(", ")),
            after: Some(order_after.join(", ")),
        });
    }
}

/// The names of a list of named things, if all have one and no two the same.
fn named(items: &[Value]) -> Option<Vec<String>> {
    let mut names: Vec<String> = Vec::with_capacity(items.len());
    for item in items {
        let item = item.as_object()?;
        // References in services are known by their alias, aggregations by their feature.
        let keys = ["name", "as", "view", "feature"];
        let name = keys.iter().find_map(|key| item.get(*key)?.as_str())?;
        if names.iter().any(|known| known == name) {
            return None;
        }
        names.push(name.to_owned());
    }
    Some(names)
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn show(path: &str, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if path.ends_with("_us") => number
            .as_i64()
            .map_or_else(|| number.to_string(), format_duration),
        Value::Array(items) => show_list(items),
        Value::Object(fields) => {
            let shown = fields
                .iter()
                .filter(|(key, _)| *key != "name")
                .map(|(key, value)| {
                    let name = key.strip_suffix("_us").unwrap_or(key);
                    format!("{name}: {}", show(key, value))
                });
            format!("{{{}}}", shown.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn show_list(items: &[Value]) -> String {
    let shown: Vec<String> = items.iter().map(|item| show("", item)).collect();
    format!("[{}]", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(before: Value, after: Value) -> Vec<String> {
        diff(&before, &after)
            .into_iter()
            .map(|change| {
                let text = |side: Option<String>| side.unwrap_or_else(|| "-".to_owned());
                format!(
                    "{}: {} -> {}",
                    change.path,
                    text(change.before),
                    text(change.after)
                )
            })
            .collect()
    }

    #[test]
    fn named_things_are_compared_by_name() {
        let before =
            json!({"features": [{"name": "a", "type": "int64"}, {"name": "b", "type": "bool"}]});
        let after = json!({"features": [{"name": "b", "type": "string"}, {"name": "c", "type": "date", "column": "C"}]});
        assert_eq!(
            lines(before, after),
            [
                "features.a: {type: int64} -> -",
                "features.b.type: bool -> string",
                "features.c: - -> {column: C, type: date}",
            ]
        );
    }

    #[test]
    fn durations_are_written_as_durations() {
        let before = json!({"ttl_us": 10_800_000_000_i64, "source": {"table": "a"}});
        let after = json!({"source": {"table": "b"}});
        assert_eq!(
            lines(before, after),
            ["source.table: a -> b", "ttl: 3h -> -"]
        );
    }

    #[test]
    fn a_changed_order_is_seen() {
        let before = json!({"features": [{"name": "a"}, {"name": "b"}]});
        let after = json!({"features": [{"name": "b"}, {"name": "a"}]});
        assert_eq!(lines(before, after), ["features.(order): a, b -> b, a"]);
        assert_eq!(
            lines(json!({"inputs": ["v@1"]}), json!({"inputs": ["v@2"]})),
            ["inputs: [v@1] -> [v@2]"]
        );
    }
}
