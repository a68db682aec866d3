//! What a YAML file says, as a tree in which every key and value knows its place.

use crate::locations::Location;

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: Location,
    pub(crate) value: Value,
    /// Whether the text comes from the environment: then it is never quoted in a message, and it
    /// may stand for a number or a truth value.
    pub(crate) expanded: bool,
}

/// What a node holds. Scalars that are no text keep their spelling, since text is often written
/// without quotes (`description: 2013`).
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool, String),
    Number(serde_json::Number, String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping and its place.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) at: Location,
}

impl Node {
    /// The value of a mapping's key.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries
                .iter()
                .find(|(known, _)| known.text == key)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// The spelling of a scalar; `None` for nulls, lists and mappings.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) | Value::Bool(_, text) | Value::Number(_, text) => Some(text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// What this is, in plain words for a message.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value, _) => value.to_string(),
            Value::Number(_, spelling) => format!("the number {spelling}"),
            Value::Text(_) if self.expanded => "text".to_owned(),
            Value::Text(text) if text.chars().count() <= 40 => format!("the text {text:?}"),
            Value::Text(_) => "text".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }
}
