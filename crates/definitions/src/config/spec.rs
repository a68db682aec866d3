//! `provender.yaml` as it is written.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value as Json};
use std::borrow::Cow;

use crate::located::{Attempt, Located};
use crate::schema;

/// The store configuration of a Provender project. Every key has a default: without any, a project
/// runs on Delta tables in a folder, a local online store and a SQLite registry. `${NAME}` and
/// `${NAME:-default}` in texts read the environment.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "store")]
pub(crate) struct ConfigSpec {
    /// The project's name: letters, digits and `_`, not starting with a digit, without `__`. By
    /// default the name of its folder.
    #[serde(default)]
    #[schemars(schema_with = "schema::name")]
    pub(crate) project: Option<Located<String>>,
    /// The offline store: `type` (delta, snowflake, databricks or a plugin's) and the options of
    /// that type. By default `{type: delta, location: ./data}`.
    pub(crate) offline_store: Option<BlockSpec>,
    /// Further offline stores by name, for sources that say `store:`.
    pub(crate) offline_stores: Option<Blocks>,
    /// The online store: `type` (local, redis or a plugin's) and the options of that type. By
    /// default `{type: local, path: .provender/online}`.
    pub(crate) online_store: Option<BlockSpec>,
    /// Further online stores by name, for views that say `online_store:`.
    pub(crate) online_stores: Option<Blocks>,
    /// The registry: `type` (sqlite, postgres or a plugin's) and the options of that type. By
    /// default `{type: sqlite, path: .provender/registry.db}`.
    pub(crate) registry: Option<BlockSpec>,
    /// Shared libraries to load, relative to this file; none by default.
    pub(crate) plugins: Option<Vec<Attempt<Located<PluginSpec>>>>,
    /// What `provender serve` listens on, and who may call.
    pub(crate) server: Option<ServerSpec>,
    /// Limits on this machine.
    pub(crate) limits: Option<LimitsSpec>,
}

/// A provider's type, and its options, which are the provider's own.
#[derive(Debug)]
pub(crate) struct BlockSpec {
    pub(crate) scheme: Located<String>,
    pub(crate) options: Map<String, Json>,
}

impl<'de> Deserialize<'de> for BlockSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TypeAndOptions;

        impl<'de> Visitor<'de> for TypeAndOptions {
            type Value = BlockSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping with the key type")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BlockSpec, A::Error> {
                let mut scheme = None;
                let mut options = Map::new();
                while let Some(key) = map.next_key::<String>()? {
                    if key == "type" {
                        scheme = Some(map.next_value()?);
                    } else {
                        options.insert(key, map.next_value()?);
                    }
                }
                Ok(BlockSpec {
                    scheme: scheme.ok_or_else(|| A::Error::missing_field("type"))?,
                    options,
                })
            }
        }

        deserializer.deserialize_map(TypeAndOptions)
    }
}

impl JsonSchema for BlockSpec {
    fn schema_name() -> Cow<'static, str> {
        "block".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": "object",
            "description": "A provider's type and its own options.",
            "properties": {
                "type": {"type": "string", "description": "The provider's type."},
            },
            "required": ["type"],
            "additionalProperties": true,
        })
    }
}

/// Blocks by name, in the order they are written.
#[derive(Debug)]
pub(crate) struct Blocks(pub(crate) Vec<(Located<String>, Attempt<BlockSpec>)>);

impl<'de> Deserialize<'de> for Blocks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Named;

        impl<'de> Visitor<'de> for Named {
            type Value = Blocks;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of names to stores")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Blocks, A::Error> {
                let mut blocks = Vec::new();
                while let Some(block) = map.next_entry()? {
                    blocks.push(block);
                }
                Ok(Blocks(blocks))
            }
        }

        deserializer.deserialize_map(Named)
    }
}

impl JsonSchema for Blocks {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "blocks".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = BTreeMap::<String, BlockSpec>::json_schema(generator);
        let names = schema::name(generator);
        schema.insert("propertyNames".to_owned(), names.to_value());
        schema
    }
}

/// A plugin: its path, or its path and checksum.
#[derive(Debug)]
pub(crate) enum PluginSpec {
    Path(String),
    Pinned(PinnedPluginSpec),
}

/// A shared library that must have a checksum.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "plugin")]
pub(crate) struct PinnedPluginSpec {
    /// The shared library, relative to this file.
    pub(crate) path: String,
    /// The SHA-256 that the file must have, as 64 hexadecimal digits.
    pub(crate) sha256: Option<Located<String>>,
}

impl<'de> Deserialize<'de> for PluginSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PathOrPinned;

        impl<'de> Visitor<'de> for PathOrPinned {
            type Value = PluginSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path or a mapping with the keys path and sha256")
            }

            fn visit_str<E: de::Error>(self, path: &str) -> Result<PluginSpec, E> {
                Ok(PluginSpec::Path(path.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PluginSpec, A::Error> {
                PinnedPluginSpec::deserialize(MapAccessDeserializer::new(map))
                    .map(PluginSpec::Pinned)
            }
        }

        deserializer.deserialize_any(PathOrPinned)
    }
}

impl JsonSchema for PluginSpec {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "plugin_or_path".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let pinned = generator.subschema_for::<PinnedPluginSpec>();
        schemars::json_schema!({"anyOf": [{"type": "string"}, pinned]})
    }
}

/// What `provender serve` listens on, and who may call.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "server")]
pub(crate) struct ServerSpec {
    /// Host and port of Arrow Flight; by default 127.0.0.1:8815.
    #[serde(default)]
    #[schemars(schema_with = "schema::address")]
    pub(crate) flight: Option<Located<String>>,
    /// Host and port of the metrics; none are served by default.
    #[serde(default)]
    #[schemars(schema_with = "schema::address")]
    pub(crate) metrics: Option<Located<String>>,
    /// Certificate and key files; plain text by default.
    #[serde(default)]
    #[schemars(schema_with = "schema::open_block")]
    pub(crate) tls: Option<Map<String, Json>>,
    /// The tokens that callers present.
    pub(crate) tokens: Option<Json>,
    /// Lets callers without a token in.
    pub(crate) allow_unauthenticated: Option<bool>,
    /// Calls at work at once, of any kind; by default 1024. More are refused at once.
    pub(crate) max_calls: Option<Located<u64>>,
    /// Historical calls and materialisations at work at once; by default 8. More are refused at once.
    pub(crate) max_background_calls: Option<Located<u64>>,
    /// Threads for historical work and materialisation; by default half of the cores.
    pub(crate) background_threads: Option<Located<u64>>,
    /// The size of messages that are sent; by default 4MiB, which is what most clients accept.
    #[serde(default)]
    #[schemars(schema_with = "schema::size")]
    pub(crate) max_message_bytes: Option<Located<String>>,
    /// The bytes of messages that calls may hold at once; by default a quarter of limits.memory.
    #[serde(default)]
    #[schemars(schema_with = "schema::size")]
    pub(crate) max_bytes: Option<Located<String>>,
}

/// Limits on this machine.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "limits")]
pub(crate) struct LimitsSpec {
    /// Memory for rows held at once: bytes, or a number with KB, MB, GB, TB (of 1000) or KiB, MiB,
    /// GiB, TiB (of 1024); by default 2GiB. Work beyond it spills to disk.
    #[serde(default)]
    #[schemars(schema_with = "schema::size")]
    pub(crate) memory: Option<Located<String>>,
    /// The folder for rows that spill, relative to this file; by default the system's folder for
    /// temporary files.
    pub(crate) spill_path: Option<Located<String>>,
    /// Threads for work on rows; by default one for each core.
    pub(crate) threads: Option<Located<u64>>,
}
