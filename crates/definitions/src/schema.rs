//! JSON Schemas of both kinds of files, from the types that read them, so that editors complete and
//! check what users write.

use provender_core::ValueType;
use provender_core::model::AggregateFunction;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::config::ConfigSpec;
use crate::spec::DefinitionsSpec;

/// The JSON Schema (draft 2020-12) of definition files.
pub fn definitions_schema() -> Value {
    of::<DefinitionsSpec>("Provender definitions")
}

/// The JSON Schema (draft 2020-12) of `provender.yaml` and its overlays. The options of a store's
/// block are its provider's and left open.
pub fn config_schema() -> Value {
    of::<ConfigSpec>("Provender store configuration")
}

fn of<T: JsonSchema>(title: &str) -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<T>();
    schema.insert("title".to_owned(), json!(title));
    schema.to_value()
}

pub(crate) fn name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": "^(?!.*__)[A-Za-z_][A-Za-z0-9_]*$"})
}

pub(crate) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": "^0*[1-9][0-9]*(us|ms|s|m|h|d)$",
        "examples": ["90s", "3h", "7d"],
    })
}

pub(crate) fn value_type(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": "^(bool|u?int(8|16|32|64)|float(32|64)|decimal\\(.+\\)|string|binary|date|timestamp|json|(list|struct|map|embedding)<.+>)$",
        "examples": [
            "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
            "float32", "float64", "decimal(10,2)", "string", "binary", "date", "timestamp", "json",
            "list<string>", "struct<a: int64, b: string>", "map<string, float64>", "embedding<128>",
        ],
    })
}

/// The types of join keys, as definitions write them.
pub(crate) fn key_types() -> Vec<String> {
    const PLAIN: [ValueType; 16] = [
        ValueType::Bool,
        ValueType::Int8,
        ValueType::Int16,
        ValueType::Int32,
        ValueType::Int64,
        ValueType::UInt8,
        ValueType::UInt16,
        ValueType::UInt32,
        ValueType::UInt64,
        ValueType::Float32,
        ValueType::Float64,
        ValueType::String,
        ValueType::Binary,
        ValueType::Date,
        ValueType::Timestamp,
        ValueType::Json,
    ];
    PLAIN
        .iter()
        .filter(|value_type| value_type.is_key_type())
        .map(ValueType::to_string)
        .collect()
}

pub(crate) fn key_type(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": key_types()})
}

pub(crate) fn function(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<&str> = AggregateFunction::ALL.iter().map(|f| f.name()).collect();
    json_schema!({"type": "string", "enum": names})
}

pub(crate) fn cast(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["checked"]})
}

pub(crate) fn source_version(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}],
        "examples": [3, "2013-01-01T05:00:00Z"],
    })
}

pub(crate) fn reference(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "description": "view, view:feature, view:a,b or view@2",
        "pattern": "^[A-Za-z_][A-Za-z0-9_]*(@[0-9]+)?(:.+)?$",
        "examples": ["airport_weather", "airport_weather:temp,wind_speed", "airport_weather@2"],
    })
}

pub(crate) fn size(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["string", "integer"],
        "pattern": "^[0-9]+ ?([KMGT]i?B|B)?$|\\$\\{",
        "examples": ["512MiB", "2GiB", 2_000_000_000_u64],
    })
}

pub(crate) fn address(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "examples": ["127.0.0.1:8815", "0.0.0.0:8815"]})
}

pub(crate) fn open_block(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "additionalProperties": true})
}
