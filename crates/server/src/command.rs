//! What clients ask: the JSON of tickets and descriptors.
//!
//! Decides how commands are spelled, and that every mistake in one names its field. What a command means
//! is the verbs' business; `meaning` has the store's terms for it, so that this reads without a store.

use std::collections::BTreeMap;
use std::fmt;

use provender_core::model::{FeatureRef, split_version};
use provender_core::names::did_you_mean;
use provender_core::{Error, Result, codes};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// The longest command that is read.
const MAX_COMMAND_BYTES: usize = 8 << 20;
/// The values of `op`.
const OPERATIONS: [&str; 5] = ["online", "historical", "spine", "read", "push"];

/// A ticket, or the command of a descriptor.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Latest values.
    Online(OnlineCommand),
    /// Values as they were.
    Historical(HistoricalCommand),
    /// Rows for a later historical call.
    Spine,
    /// Offline rows of a view.
    Read(ReadCommand),
    /// Rows for a view's stores.
    Push(PushCommand),
}

/// `{"op":"online",...}`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OnlineCommand {
    /// `s` or `s@3`.
    pub service: Option<String>,
    /// Instead of a service.
    pub features: Option<Vec<FeatureItem>>,
    /// The values of each join key, one for each row.
    pub entities: Option<Map<String, Value>>,
    /// The values of each request field: one for each row, or one for all.
    pub request: Option<Map<String, Value>>,
    /// Names features `view__feature`.
    pub full_feature_names: bool,
    /// Adds status and event time of each view.
    pub status: bool,
}

/// `{"op":"historical",...}`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HistoricalCommand {
    /// `s` or `s@3`.
    pub service: Option<String>,
    /// Instead of a service.
    pub features: Option<Vec<FeatureItem>>,
    /// The spine's timestamp column.
    pub timestamp: Option<String>,
    /// Only rows that were known at the spine's time.
    pub as_known: bool,
    /// Names features `view__feature`.
    pub full_feature_names: bool,
    /// A spine that the server or the offline store holds.
    pub spine: Option<SpineSource>,
}

/// Where a spine is, if the client does not stream it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum SpineSource {
    /// Rows that were put before.
    Handle(String),
    /// One SELECT in the offline store's SQL.
    Sql(String),
    /// A table of the offline store.
    Table(String),
}

/// `{"op":"read",...}`: rows of `start < event time <= end`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadCommand {
    /// `v` or `v@2`.
    pub view: String,
    /// RFC 3339 or microseconds; none is the beginning.
    #[serde(default)]
    pub start: Option<Value>,
    /// RFC 3339 or microseconds; none is the end.
    #[serde(default)]
    pub end: Option<Value>,
}

/// `{"op":"push",...}`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushCommand {
    /// `v` or `v@2`.
    pub view: String,
    /// Which stores.
    pub to: Target,
    /// Makes a retry count once.
    #[serde(default)]
    pub id: Option<String>,
}

/// The stores that rows are pushed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Target {
    Online,
    Offline,
    Both,
}

/// One entry of `features`: `view:feature`, or an object as in services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeatureItem {
    /// `view`, `view@2`, `view:feature`, `view:a,b`.
    Short(String),
    /// With alias, key mapping and a list of features.
    Long(LongFeatures),
}

/// By hand, so that a mistake names its field: an untagged enum only says that no form fits.
impl<'de> Deserialize<'de> for FeatureItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Item;

        impl<'de> Visitor<'de> for Item {
            type Value = FeatureItem;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#""view:feature" or an object with the field "view""#)
            }

            fn visit_str<E>(self, text: &str) -> std::result::Result<FeatureItem, E> {
                Ok(FeatureItem::Short(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                fields: A,
            ) -> std::result::Result<FeatureItem, A::Error> {
                let long = LongFeatures::deserialize(MapAccessDeserializer::new(fields))?;
                Ok(FeatureItem::Long(long))
            }
        }

        deserializer.deserialize_any(Item)
    }
}

/// A reference to a view in full.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongFeatures {
    /// `view` or `view@2`.
    pub view: String,
    /// Takes the view's place in output names.
    #[serde(rename = "as", default)]
    pub alias: Option<String>,
    /// The view's join key to the column that takes its place.
    #[serde(default)]
    pub join_keys: BTreeMap<String, String>,
    /// The features; none is all.
    #[serde(default)]
    pub features: Option<Vec<String>>,
}

impl Command {
    /// Reads a ticket or command.
    ///
    /// # Errors
    /// `InvalidArgument` (`P406`) that names the field and what was expected.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_COMMAND_BYTES {
            return Err(bad(format!(
                "the command has {} bytes, and at most {MAX_COMMAND_BYTES} are read",
                bytes.len()
            ))
            .help("stream keys through DoExchange instead"));
        }
        let value: Value = serde_json::from_slice(bytes).map_err(|error| {
            bad("the command is no JSON".to_owned())
                .help(r#"send UTF-8 JSON such as {"op":"online","service":"s"}"#)
                .source(error)
        })?;
        let Value::Object(mut fields) = value else {
            return Err(bad("the command is no JSON object".to_owned())
                .help(r#"send an object such as {"op":"online","service":"s"}"#));
        };
        let op = match fields.remove("op") {
            Some(Value::String(op)) => op,
            Some(_) => return Err(bad("the field \"op\" is no string".to_owned()).help(known())),
            None => return Err(bad("the command has no field \"op\"".to_owned()).help(known())),
        };
        Ok(match op.as_str() {
            "online" => {
                // Keys may be many, and have no type yet that they could be read as.
                let entities = object(&op, &mut fields, "entities")?;
                let request = object(&op, &mut fields, "request")?;
                Self::Online(OnlineCommand {
                    entities,
                    request,
                    ..read(&op, fields)?
                })
            }
            "historical" => Self::Historical(read(&op, fields)?),
            "spine" => {
                if let Some(field) = fields.keys().next() {
                    return Err(bad(format!(
                        "the command \"spine\" has the unknown field {field:?}"
                    )));
                }
                Self::Spine
            }
            "read" => Self::Read(read(&op, fields)?),
            "push" => Self::Push(read(&op, fields)?),
            other => {
                let hint = did_you_mean(other, OPERATIONS);
                return Err(bad(format!("there is no operation {other:?}"))
                    .help(if hint.is_empty() { known() } else { hint }));
            }
        })
    }
}

/// The references that the entries of `features` stand for.
///
/// # Errors
/// `InvalidArgument` (`P406`) for an empty list, and for names that are none.
pub fn references(features: &[FeatureItem]) -> Result<Vec<FeatureRef>> {
    if features.is_empty() {
        return Err(bad("the field \"features\" is empty".to_owned()));
    }
    features.iter().map(reference).collect()
}

fn reference(item: &FeatureItem) -> Result<FeatureRef> {
    match item {
        FeatureItem::Short(text) => FeatureRef::parse(text),
        FeatureItem::Long(long) => {
            let (view, version) = split_version(&long.view).ok_or_else(|| {
                bad(format!("{:?} names no view", long.view)).help("write view or view@2")
            })?;
            Ok(FeatureRef {
                view: view.to_owned(),
                version,
                alias: long.alias.clone(),
                join_keys: long.join_keys.clone(),
                features: long.features.clone(),
            })
        }
    }
}

/// Takes a field that is an object of its own out of a command; null is none.
fn object(
    op: &str,
    fields: &mut Map<String, Value>,
    name: &str,
) -> Result<Option<Map<String, Value>>> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(bad(format!(
            "the field {name:?} of the command {op:?} is no object"
        ))
        .help(format!(
            "send an object such as {{{name:?}: {{\"id\": [1, 2]}}}}"
        ))),
    }
}

/// Reads the fields of an operation.
fn read<T: DeserializeOwned>(op: &str, fields: Map<String, Value>) -> Result<T> {
    serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if path == "." || path.is_empty() {
            bad(format!("the command {op:?}: {inner}"))
        } else {
            bad(format!("the field {path:?} of the command {op:?}: {inner}"))
        }
    })
}

fn known() -> String {
    format!("send one of {}", OPERATIONS.join(", "))
}

pub(crate) fn bad(message: String) -> Error {
    Error::new(&codes::BAD_REQUEST, message)
}
