//! Which schemas are understood: those whose every rule is checked.

use provender_core::names::nearest;
use regex::Regex;
use serde_json::Value;

use super::{MAX_DEPTH, OptionsSchema, names_of};

/// Keywords that say something to people or editors and rule nothing out.
const NOTES: &[&str] = &[
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "default",
    "definitions",
    "deprecated",
    "description",
    "examples",
    "format",
    "readOnly",
    "title",
    "writeOnly",
];

/// Keywords that are checked.
const RULES: &[&str] = &[
    "$ref",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "items",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "oneOf",
    "pattern",
    "properties",
    "required",
    "type",
];

const TYPES: &[&str] = &[
    "array", "boolean", "integer", "null", "number", "object", "string",
];

impl OptionsSchema {
    /// A text that names the first place and keyword of a schema that cannot be checked.
    pub(super) fn understood(&self, schema: &Value, at: &str, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("{at} is nested too deeply"));
        }
        let schema = match schema {
            Value::Bool(_) => return Ok(()),
            Value::Object(schema) => schema,
            _ => return Err(format!("{at} is no JSON Schema")),
        };
        for (keyword, rule) in schema {
            let here = format!("{at}.{keyword}");
            let bad = |what: &str| Err(format!("{here} must be {what}"));
            match keyword.as_str() {
                "type" => {
                    let names = names_of(rule);
                    if names.is_empty() || names.iter().any(|name| !TYPES.contains(name)) {
                        return bad("one of the types of JSON Schema, or a list of them");
                    }
                }
                "properties" | "$defs" | "definitions" => match rule {
                    Value::Object(properties) => {
                        for (name, schema) in properties {
                            self.understood(schema, &format!("{here}.{name}"), depth + 1)?;
                        }
                    }
                    _ => return bad("an object"),
                },
                "additionalProperties" | "items" => self.understood(rule, &here, depth + 1)?,
                "allOf" | "anyOf" | "oneOf" => match rule {
                    Value::Array(schemas) if !schemas.is_empty() => {
                        for schema in schemas {
                            self.understood(schema, &here, depth + 1)?;
                        }
                    }
                    _ => return bad("a list of schemas"),
                },
                "required" => match rule {
                    Value::Array(names) if names.iter().all(Value::is_string) => {}
                    _ => return bad("a list of names"),
                },
                "enum" => match rule {
                    Value::Array(values) if !values.is_empty() => {}
                    _ => return bad("a list of values"),
                },
                "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => {
                    if !rule.is_number() {
                        return bad("a number");
                    }
                }
                "minLength" | "maxLength" | "minItems" | "maxItems" => {
                    if rule.as_u64().is_none() {
                        return bad("a whole number");
                    }
                }
                "pattern" => {
                    let pattern = rule
                        .as_str()
                        .ok_or_else(|| format!("{here} must be text"))?;
                    if let Err(error) = Regex::new(pattern) {
                        return Err(format!("{here} is no regular expression: {error}"));
                    }
                }
                "$ref" => {
                    let target = rule.as_str().and_then(|target| self.target(target));
                    if target.is_none() {
                        return bad("a reference into the same schema, such as #/$defs/name");
                    }
                }
                "const" => {}
                other if NOTES.contains(&other) => {}
                other => {
                    let near = nearest(other, RULES.iter().copied());
                    let help = near.map(|near| format!("; did you mean {near:?}?"));
                    let help = help.unwrap_or_default();
                    return Err(format!(
                        "{at} has the keyword {other:?}, which is not supported{help}"
                    ));
                }
            }
        }
        Ok(())
    }
}
