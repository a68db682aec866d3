//! Options of a configuration against the JSON Schema that a plug-in declares for them.
//!
//! Decides which part of JSON Schema that is, how a mistake is told, and that a schema which asks for
//! anything else is refused when the plug-in is loaded: a rule that is not checked would be worse than
//! none. Messages never show a value, since it may be a secret.

use provender_core::names::{did_you_mean, nearest};
use provender_core::provider::ProviderConfig;
use provender_core::{Error, Result, codes};
use regex::Regex;
use serde_json::{Map, Value};

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

/// How deep schemas may refer to each other.
const MAX_DEPTH: usize = 64;

/// A schema of options, known to be one that can be checked.
#[derive(Clone, Debug)]
pub(super) struct OptionsSchema(Value);

impl OptionsSchema {
    /// Accepts a schema of the supported part of JSON Schema.
    ///
    /// # Errors
    /// A text that names the place and the keyword.
    pub(super) fn new(schema: &Value) -> Result<Self, String> {
        let checked = Self(schema.clone());
        checked.understood(schema, "options_schema", 0)?;
        Ok(checked)
    }

    /// The options of a block with the defaults of those that are left out.
    ///
    /// # Errors
    /// `InvalidArgument` (`P203`) that names the block and the option.
    pub(super) fn check(&self, mut config: ProviderConfig) -> Result<ProviderConfig> {
        let mut options = Value::Object(std::mem::take(&mut config.options));
        self.fill_in(&self.0, &mut options, 0);
        let found = self.faults(&self.0, &options, &Place(Vec::new()), 0);
        if let Value::Object(options) = options {
            config.options = options;
        }
        match found.into_iter().next() {
            None => Ok(config),
            Some(fault) => {
                let block = format!("{} (type {})", config.block, config.scheme);
                let message = match fault.option.as_str() {
                    "" => format!("{block} {}", fault.what),
                    option => format!("{block}: option {option} {}", fault.what),
                };
                let mut error = Error::new(&codes::BAD_CONFIG, message)
                    .context("block", config.block)
                    .context("option", fault.option);
                if !fault.help.is_empty() {
                    error = error.help(fault.help);
                }
                Err(error)
            }
        }
    }

    /// Whether options that it does not name are let through.
    pub(super) fn is_open(&self) -> bool {
        match self.0.as_object() {
            Some(schema) => schema
                .get("additionalProperties")
                .is_none_or(|more| more.as_bool() != Some(false)),
            None => true,
        }
    }

    fn understood(&self, schema: &Value, at: &str, depth: usize) -> Result<(), String> {
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

    fn target(&self, reference: &str) -> Option<&Value> {
        self.0.pointer(reference.strip_prefix('#')?)
    }

    /// Puts declared defaults where nothing is written.
    fn fill_in(&self, schema: &Value, value: &mut Value, depth: usize) {
        let (Some(schema), true) = (schema.as_object(), depth <= MAX_DEPTH) else {
            return;
        };
        if let Some(target) = schema.get("$ref").and_then(Value::as_str)
            && let Some(target) = self.target(target)
        {
            self.fill_in(target, value, depth + 1);
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        if let (Some(properties), Value::Object(options)) = (properties, value) {
            for (name, schema) in properties {
                if let Some(option) = options.get_mut(name) {
                    self.fill_in(schema, option, depth + 1);
                } else if let Some(default) = schema.get("default") {
                    options.insert(name.clone(), default.clone());
                }
            }
        }
    }

    fn faults(&self, schema: &Value, value: &Value, at: &Place, depth: usize) -> Vec<Fault> {
        let schema = match schema {
            Value::Object(schema) if depth <= MAX_DEPTH => schema,
            Value::Bool(false) => return vec![at.fault("may not be given")],
            _ => return Vec::new(),
        };
        let mut faults = Vec::new();
        if let Some(target) = schema.get("$ref").and_then(Value::as_str)
            && let Some(target) = self.target(target)
        {
            faults.extend(self.faults(target, value, at, depth + 1));
        }
        if let Some(types) = schema.get("type") {
            let names = names_of(types);
            if !names.iter().any(|name| is_of(value, name)) {
                let wanted: Vec<String> = names.iter().map(|name| with_article(name)).collect();
                faults.push(at.fault(format!(
                    "must be {}, not {}",
                    wanted.join(" or "),
                    with_article(type_of(value))
                )));
                return faults;
            }
        }
        faults.extend(values(schema, value, at));
        match value {
            Value::Object(options) => {
                faults.extend(self.properties(schema, options, at, depth));
            }
            Value::Array(items) => {
                if let Some(schema) = schema.get("items") {
                    for (index, item) in items.iter().enumerate() {
                        faults.extend(self.faults(schema, item, &at.item(index), depth + 1));
                    }
                }
            }
            _ => {}
        }
        for schema in list(schema, "allOf") {
            faults.extend(self.faults(schema, value, at, depth + 1));
        }
        for keyword in ["anyOf", "oneOf"] {
            faults.extend(self.choice(keyword, schema, value, at, depth));
        }
        faults
    }

    fn properties(
        &self,
        schema: &Map<String, Value>,
        options: &Map<String, Value>,
        at: &Place,
        depth: usize,
    ) -> Vec<Fault> {
        let mut faults = Vec::new();
        let none = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object);
        let properties = properties.unwrap_or(&none);
        for (name, value) in options {
            match (properties.get(name), schema.get("additionalProperties")) {
                (Some(schema), _) => {
                    faults.extend(self.faults(schema, value, &at.property(name), depth + 1));
                }
                (None, Some(Value::Bool(false))) => {
                    let known = properties.keys().map(String::as_str);
                    faults.push(Fault {
                        option: at.text(),
                        what: format!("has the unknown option {name:?}"),
                        help: did_you_mean(name, known),
                    });
                }
                (None, Some(more)) => {
                    faults.extend(self.faults(more, value, &at.property(name), depth + 1));
                }
                (None, None) => {}
            }
        }
        for name in list(schema, "required").iter().filter_map(Value::as_str) {
            if !options.contains_key(name) {
                // What is missing is often there under a name that is spelt wrongly, told above.
                let mut fault = at.fault(format!("lacks the option {name:?}"));
                let about = properties
                    .get(name)
                    .and_then(|schema| schema.get("description"));
                if let Some(about) = about.and_then(Value::as_str) {
                    fault.help = format!("{name}: {about}");
                }
                faults.push(fault);
            }
        }
        faults
    }

    /// A value that must be of one schema out of several. The least wrong of them says what is wrong.
    fn choice(
        &self,
        keyword: &str,
        schema: &Map<String, Value>,
        value: &Value,
        at: &Place,
        depth: usize,
    ) -> Option<Fault> {
        let schemas = list(schema, keyword);
        if schemas.is_empty() {
            return None;
        }
        let mut tried: Vec<Vec<Fault>> = schemas
            .iter()
            .map(|schema| self.faults(schema, value, at, depth + 1))
            .collect();
        let n_right = tried.iter().filter(|faults| faults.is_empty()).count();
        match (n_right, keyword) {
            (0, _) => {
                // A schema of the value's own type knows best what is wrong with it.
                tried.sort_by_key(|faults| {
                    let is_type = faults
                        .iter()
                        .any(|fault| fault.what.starts_with("must be "));
                    (is_type, faults.len())
                });
                tried.into_iter().next()?.into_iter().next()
            }
            (1, _) | (_, "anyOf") => None,
            _ => Some(at.fault("fits several of the forms that exclude each other")),
        }
    }
}

/// What is wrong with one option.
struct Fault {
    option: String,
    what: String,
    help: String,
}

/// Where in the options a value stands.
struct Place(Vec<String>);

impl Place {
    fn text(&self) -> String {
        self.0.concat()
    }

    fn property(&self, name: &str) -> Self {
        let dot = if self.0.is_empty() { "" } else { "." };
        self.with(format!("{dot}{name}"))
    }

    fn item(&self, index: usize) -> Self {
        self.with(format!("[{index}]"))
    }

    fn with(&self, part: String) -> Self {
        let mut parts = self.0.clone();
        parts.push(part);
        Self(parts)
    }

    fn fault(&self, what: impl Into<String>) -> Fault {
        Fault {
            option: self.text(),
            what: what.into(),
            help: String::new(),
        }
    }
}

/// Whether a number keeps to a bound.
type Holds = fn(f64, f64) -> bool;

/// What rules about a value itself say.
fn values(schema: &Map<String, Value>, value: &Value, at: &Place) -> Vec<Fault> {
    let mut faults = Vec::new();
    let allowed = match (schema.get("enum"), schema.get("const")) {
        (Some(Value::Array(allowed)), _) => Some(allowed.clone()),
        (_, Some(only)) => Some(vec![only.clone()]),
        _ => None,
    };
    if let Some(allowed) = allowed
        && !allowed.contains(value)
    {
        let list: Vec<String> = allowed.iter().map(Value::to_string).collect();
        let mut fault = at.fault(match list.as_slice() {
            [only] => format!("must be {only}"),
            several => format!("must be one of {}", several.join(", ")),
        });
        let texts = allowed.iter().filter_map(Value::as_str);
        if let Some(near) = value.as_str().and_then(|text| nearest(text, texts)) {
            fault.help = format!("did you mean {near:?}?");
        }
        faults.push(fault);
    }
    if let Some(number) = value.as_f64() {
        let bounds: [(&str, &str, Holds); 4] = [
            ("minimum", "at least", |n, bound| n >= bound),
            ("maximum", "at most", |n, bound| n <= bound),
            ("exclusiveMinimum", "greater than", |n, bound| n > bound),
            ("exclusiveMaximum", "less than", |n, bound| n < bound),
        ];
        for (keyword, words, holds) in bounds {
            if let Some(bound) = schema.get(keyword)
                && !bound.as_f64().is_some_and(|bound| holds(number, bound))
            {
                faults.push(at.fault(format!("must be {words} {bound}")));
            }
        }
    }
    let length = |least: &str, most: &str, n: usize, unit: &str| {
        let bound = |keyword: &str| schema.get(keyword).and_then(Value::as_u64);
        let n = n as u64;
        let short = bound(least).filter(|least| n < *least);
        let long = bound(most).filter(|most| n > *most);
        let short = short.map(|least| format!("must have at least {least} {unit}"));
        short.or_else(|| long.map(|most| format!("must have at most {most} {unit}")))
    };
    match value {
        Value::String(text) => {
            let n = text.chars().count();
            faults.extend(length("minLength", "maxLength", n, "characters").map(|w| at.fault(w)));
            if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
                && !Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
            {
                faults.push(at.fault(format!("must match the pattern {pattern}")));
            }
        }
        Value::Array(items) => {
            faults
                .extend(length("minItems", "maxItems", items.len(), "items").map(|w| at.fault(w)));
        }
        _ => {}
    }
    faults
}

fn list<'a>(schema: &'a Map<String, Value>, keyword: &str) -> &'a [Value] {
    schema
        .get(keyword)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The names of a `type`, which is one or a list.
fn names_of(types: &Value) -> Vec<&str> {
    match types {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => names
            .iter()
            .map(|name| name.as_str().unwrap_or(""))
            .collect(),
        _ => Vec::new(),
    }
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "number" => value.is_number(),
        // 3.0 is a whole number as JSON Schema counts.
        "integer" => {
            value.is_i64()
                || value.is_u64()
                || value.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        name => type_of(value) == name,
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn with_article(name: &str) -> String {
    match name {
        "null" => "null".to_owned(),
        "integer" | "array" | "object" => format!("an {name}"),
        name => format!("a {name}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use provender_core::provider::Resources;
    use serde_json::json;

    use super::*;

    fn config(options: Value) -> ProviderConfig {
        ProviderConfig {
            scheme: "acme".to_owned(),
            block: "online_stores.fast".to_owned(),
            options: options.as_object().unwrap().clone(),
            base_path: ".".into(),
            resources: Resources::default(),
        }
    }

    fn schema() -> OptionsSchema {
        OptionsSchema::new(&json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "address": {"type": "string", "pattern": "^[a-z]+:[0-9]+$", "description": "host:port"},
                "retries": {"type": "integer", "minimum": 0, "maximum": 9, "default": 3},
                "mode": {"enum": ["fast", "safe"]},
                "ratio": {"type": "number", "exclusiveMinimum": 0},
                "password": {"type": ["string", "null"], "minLength": 8},
                "nodes": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/node"}},
                "size": {"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 4}]},
            },
            "required": ["address"],
            "additionalProperties": false,
            "$defs": {"node": {
                "type": "object",
                "properties": {"port": {"type": "integer"}, "weight": {"type": "number", "default": 1.5}},
                "required": ["port"],
                "additionalProperties": false,
            }},
        }))
        .unwrap()
    }

    #[test]
    fn right_options_pass_with_the_defaults_of_those_left_out() {
        let options = json!({
            "address": "a:1", "mode": "safe", "ratio": 1, "password": null, "size": "4k",
            "nodes": [{"port": 1}, {"port": 2.0, "weight": 2}],
        });
        let passed = schema().check(config(options)).unwrap().options;
        assert_eq!(passed["retries"], 3);
        assert_eq!(passed["nodes"][1]["weight"], 2);
        // A default within an item of a list is the item's own business.
        assert_eq!(passed["nodes"][0].get("weight"), None);
        assert_eq!(passed.len(), 7);
    }

    #[test]
    fn mistakes_name_block_and_option_and_the_nearest_known() {
        let cases = [
            (
                json!({"address": "a:1", "retrys": 1}),
                r#"online_stores.fast (type acme) has the unknown option "retrys""#,
                r#"did you mean "retries"?"#,
            ),
            (
                json!({}),
                r#"online_stores.fast (type acme) lacks the option "address""#,
                "address: host:port",
            ),
            (
                json!({"address": "a:1", "retries": "many"}),
                "online_stores.fast (type acme): option retries must be an integer, not a string",
                "",
            ),
            (
                json!({"address": "a:1", "retries": 10}),
                "online_stores.fast (type acme): option retries must be at most 9",
                "",
            ),
            (
                json!({"address": "a:1", "ratio": 0.0}),
                "online_stores.fast (type acme): option ratio must be greater than 0",
                "",
            ),
            (
                json!({"address": "nowhere"}),
                "online_stores.fast (type acme): option address must match the pattern ^[a-z]+:[0-9]+$",
                "",
            ),
            (
                json!({"address": "a:1", "mode": "fats"}),
                r#"online_stores.fast (type acme): option mode must be one of "fast", "safe""#,
                r#"did you mean "fast"?"#,
            ),
            (
                json!({"address": "a:1", "password": "short"}),
                "online_stores.fast (type acme): option password must have at least 8 characters",
                "",
            ),
            (
                json!({"address": "a:1", "nodes": []}),
                "online_stores.fast (type acme): option nodes must have at least 1 items",
                "",
            ),
            (
                json!({"address": "a:1", "nodes": [{"port": 1}, {"prt": 2, "port": 1}]}),
                r#"online_stores.fast (type acme): option nodes[1] has the unknown option "prt""#,
                r#"did you mean "port"?"#,
            ),
            (
                json!({"address": "a:1", "nodes": [{"port": true}]}),
                "online_stores.fast (type acme): option nodes[0].port must be an integer, not a boolean",
                "",
            ),
            (
                json!({"address": "a:1", "size": "too long"}),
                "online_stores.fast (type acme): option size must have at most 4 characters",
                "",
            ),
        ];
        for (options, message, help) in cases {
            let error = schema().check(config(options)).unwrap_err();
            assert_eq!((error.code(), error.message()), ("P203", message));
            assert_eq!(error.help_text().unwrap_or_default(), help, "{message}");
            assert!(!error.to_string().contains("short"), "{error}");
        }
    }

    #[test]
    fn schema_that_cannot_be_checked_whole_is_refused() {
        let cases = [
            (
                json!({"type": "obect"}),
                "options_schema.type must be one of the types",
            ),
            (
                json!({"propertys": {}}),
                "the keyword \"propertys\", which is not supported; did you mean",
            ),
            (
                json!({"properties": {"a": {"dependentRequired": {}}}}),
                "options_schema.properties.a has the keyword",
            ),
            (
                json!({"properties": {"a": {"pattern": "("}}}),
                "is no regular expression",
            ),
            (
                json!({"$ref": "#/$defs/nowhere"}),
                "must be a reference into the same schema",
            ),
            (
                json!({"$ref": "https://example.com/s"}),
                "must be a reference into the same schema",
            ),
            (json!(7), "is no JSON Schema"),
        ];
        for (schema, message) in cases {
            let error = OptionsSchema::new(&schema).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        // One that refers to itself ends.
        let schema = OptionsSchema::new(&json!({"$ref": "#"})).unwrap();
        assert!(schema.check(config(json!({"a": 1}))).is_ok());
        assert!(schema.is_open());
    }
}
