//! From the text of one YAML file to a tree of located nodes.
//!
//! Decides the dialect: YAML 1.2's truth values and numbers, anchors, aliases and merge keys, one
//! document a file, every key once. It does not know what the file is about.

use std::fmt;
use std::sync::Arc;

use provender_core::{Error, codes};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{
    DefaultMessageFormatter, Error as YamlError, MessageFormatter, Options, Spanned,
};

use crate::locations::Location;
use crate::node::{Key, Node, Value};
use crate::problems::Problems;

/// Deeper than any definition or sensible option, and shallow enough for a small thread's stack.
const MAX_DEPTH: usize = 32;
/// Bounds what aliases can blow a file up to.
const MAX_REPLAYED_EVENTS: usize = 100_000;
const MAX_EVENTS: usize = 4_000_000;

/// Reads one file. An empty file is a null node; `None` means that it is not valid YAML, which is
/// then among the problems.
pub(crate) fn read(file: &str, text: &str, problems: &mut Problems) -> Option<Node> {
    // A byte order mark is no text, and some editors write one.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let file: Arc<str> = file.into();
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options()) {
        Ok(raw) => {
            let mut located = Locating {
                file,
                text,
                problems,
            };
            Some(located.node(raw))
        }
        Err(_) if is_empty(text) => {
            let at = place(&file, serde_saphyr::Location::UNKNOWN);
            Some(Node {
                at,
                value: Value::Null,
                expanded: false,
            })
        }
        Err(error) => {
            let (at, error) = explain(&file, &error);
            problems.at(&at, error);
            None
        }
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_events: MAX_EVENTS,
            max_nodes: MAX_EVENTS,
            // One anchor may well serve hundreds of views; the replay limit bounds the work.
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPLAYED_EVENTS,
        },
        // Told by us, with the place of the first one.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    }
}

fn is_empty(text: &str) -> bool {
    text.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---"
    })
}

fn place(file: &Arc<str>, at: serde_saphyr::Location) -> Location {
    Location {
        file: Arc::clone(file),
        line: u32::try_from(at.line()).unwrap_or(u32::MAX).max(1),
        column: u32::try_from(at.column()).unwrap_or(u32::MAX).max(1),
    }
}

/// The parser's errors in words for people.
fn explain(file: &Arc<str>, error: &YamlError) -> (Location, Error) {
    let mut inner = error;
    while let YamlError::AliasError { error, .. } | YamlError::WithSnippet { error, .. } = inner {
        inner = error;
    }
    let at = inner.location().or_else(|| error.location());
    let at = place(file, at.unwrap_or(serde_saphyr::Location::UNKNOWN));
    let (message, help) = match inner {
        YamlError::MultipleDocuments { .. } => (
            "the file holds a second document after ---".to_owned(),
            "write one document, or a file for each",
        ),
        YamlError::UnknownAnchor { .. } => (
            "an alias (*name) has no anchor (&name) before it".to_owned(),
            "define the anchor earlier in the same file; text that starts with * needs quotes",
        ),
        YamlError::RecursiveReferencesRequireWeakTypes { .. } => (
            "an alias refers to a value that contains it".to_owned(),
            "write the value out",
        ),
        YamlError::AliasReplayLimitExceeded { .. }
        | YamlError::AliasReplayStackDepthExceeded { .. }
        | YamlError::AliasExpansionLimitExceeded { .. }
        | YamlError::AliasReplayCounterOverflow { .. } => (
            "the file's aliases repeat too much".to_owned(),
            "use fewer aliases (*name), or write several files",
        ),
        YamlError::Budget { breach, .. } => (
            if matches!(breach, serde_saphyr::budget::BudgetBreach::Depth { .. }) {
                format!("the file is nested more than {MAX_DEPTH} levels deep")
            } else {
                "the file is larger than a definition file may be".to_owned()
            },
            "write several smaller files",
        ),
        YamlError::MergeValueNotMapOrSeqOfMaps { .. } => (
            "<< merges something that is no mapping".to_owned(),
            "write <<: *name, where &name is a mapping",
        ),
        other => (
            format!(
                "not valid YAML: {}",
                DefaultMessageFormatter.format_message(other)
            ),
            "the mistake is here or just before: look for a missing colon, a tab used as indentation, an unclosed bracket or quote",
        ),
    };
    (at, Error::new(&codes::SYNTAX, message).help(help))
}

/// A node as the parser hands it over.
enum Raw {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(serde_json::Number::from_f64(value)
            .map_or_else(|| Raw::Text(value.to_string()), Raw::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

struct Locating<'a> {
    file: Arc<str>,
    text: &'a str,
    problems: &'a mut Problems,
}

impl Locating<'_> {
    fn node(&mut self, raw: Spanned<Raw>) -> Node {
        // Where the text stands: an alias is told at its anchor, since there it can be mended.
        let at = place(&self.file, raw.defined);
        let spelling = |otherwise: String| self.spelling(raw.defined).unwrap_or(otherwise);
        let value = match raw.value {
            Raw::Null => Value::Null,
            Raw::Bool(value) => Value::Bool(value, spelling(value.to_string())),
            Raw::Number(number) => {
                let spelling = spelling(number.to_string());
                Value::Number(number, spelling)
            }
            Raw::Text(text) => Value::Text(text),
            Raw::List(items) => {
                Value::List(items.into_iter().map(|item| self.node(item)).collect())
            }
            Raw::Map(entries) => Value::Map(self.entries(entries)),
        };
        Node {
            at,
            value,
            expanded: false,
        }
    }

    fn entries(&mut self, raw: Vec<(Spanned<String>, Spanned<Raw>)>) -> Vec<(Key, Node)> {
        let mut entries: Vec<(Key, Node)> = Vec::with_capacity(raw.len());
        let mut places = std::collections::HashMap::with_capacity(raw.len());
        for (key, value) in raw {
            let at = place(&self.file, key.defined);
            if let Some(first) = places.get(&key.value) {
                let error = Error::new(
                    &codes::SYNTAX,
                    format!("the key {:?} is given twice, first at {first}", key.value),
                );
                self.problems
                    .at(&at, error.help("keep one of them, or merge their values"));
                continue;
            }
            places.insert(key.value.clone(), at.clone());
            let key = Key {
                text: key.value,
                at,
            };
            entries.push((key, self.node(value)));
        }
        entries
    }

    /// A plain scalar as it is written, such as `1.10`.
    fn spelling(&self, at: serde_saphyr::Location) -> Option<String> {
        let start = usize::try_from(at.span().byte_offset()?).ok()?;
        let len = usize::try_from(at.span().byte_len()?).ok()?;
        let written = self.text.get(start..start.checked_add(len)?)?.trim();
        // A scalar with a tag or in quotes spans more than its own text.
        (!written.is_empty()
            && written
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-' | '_')))
        .then(|| written.to_owned())
    }
}
