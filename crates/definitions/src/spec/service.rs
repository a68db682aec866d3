//! Feature services as they are written.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use crate::located::{Attempt, Located, Pairs};
use crate::schema;

/// The features that one model uses, under one name and version.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "feature_service")]
pub(crate) struct ServiceSpec {
    /// The service's name: letters, digits and `_`, not starting with a digit, without `__`;
    /// unique among all views and services.
    #[schemars(schema_with = "schema::name")]
    pub(crate) name: Located<String>,
    /// What it consists of, in output order: `view`, `view:feature`, `view:a,b`, `view@2`, or a
    /// mapping with `view`, `as`, `join_keys` and `features`.
    #[schemars(length(min = 1))]
    pub(crate) features: Located<Vec<Attempt<Located<ReferenceSpec>>>>,
    /// What it is, for people.
    pub(crate) description: Option<String>,
    /// Who answers for it.
    pub(crate) owner: Option<String>,
    /// Free labels.
    pub(crate) tags: Option<Pairs>,
}

/// Features of one view.
#[derive(Debug)]
pub(crate) enum ReferenceSpec {
    Short(String),
    Long(LongReferenceSpec),
}

/// Features of one view, possibly under another name and with other keys.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "feature_reference")]
pub(crate) struct LongReferenceSpec {
    /// The feature view or on-demand feature view: `view`, or `view@2` to hold a version.
    pub(crate) view: Located<String>,
    /// Takes the view's place in output columns, which are then `alias__feature`. It lets a
    /// service use a view twice.
    #[serde(rename = "as", default)]
    #[schemars(schema_with = "schema::name")]
    pub(crate) alias: Option<Located<String>>,
    /// The view's join key to the column (of the spine or the request) that takes its place.
    pub(crate) join_keys: Option<Pairs>,
    /// The features taken, in order; all without it.
    pub(crate) features: Option<Located<Vec<Attempt<Located<String>>>>>,
}

impl<'de> Deserialize<'de> for ReferenceSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShortOrLong;

        impl<'de> Visitor<'de> for ShortOrLong {
            type Value = ReferenceSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text such as \"view:feature\" or a mapping with the key view")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ReferenceSpec, E> {
                Ok(ReferenceSpec::Short(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ReferenceSpec, A::Error> {
                LongReferenceSpec::deserialize(MapAccessDeserializer::new(map))
                    .map(ReferenceSpec::Long)
            }
        }

        deserializer.deserialize_any(ShortOrLong)
    }
}

impl JsonSchema for ReferenceSpec {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "reference".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let short = schema::reference(generator);
        let long = generator.subschema_for::<LongReferenceSpec>();
        schemars::json_schema!({"anyOf": [short, long]})
    }
}
