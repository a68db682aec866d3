//! What is wrong with options, as the schema says it.

use provender_core::names::{did_you_mean, nearest};
use regex::Regex;
use serde_json::{Map, Value};

use super::{MAX_DEPTH, OptionsSchema, names_of};

impl OptionsSchema {
    /// All that is wrong with the value at a place.
    pub(super) fn faults(
        &self,
        schema: &Value,
        value: &Value,
        at: &Place,
        depth: usize,
    ) -> Vec<Fault> {
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
pub(super) struct Fault {
    pub option: String,
    pub what: String,
    pub help: String,
}

/// Where in the options a value stands.
#[derive(Default)]
pub(super) struct Place(Vec<String>);

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
