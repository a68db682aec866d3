//! Pieces of spec types: values that know their place, list elements that fail alone, and mappings
//! that keep their order.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::locations::Location;
use crate::node_reader::{ATTEMPT, LOCATED};

/// A value and the place it is written at.
#[derive(Clone, Debug)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) at: Location,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Parts<T> {
            type Value = Located<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value with its place")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let lacking = || A::Error::custom("a value has no place");
                let value: T = seq.next_element()?.ok_or_else(lacking)?;
                let file: Arc<str> = seq.next_element()?.ok_or_else(lacking)?;
                let line: u32 = seq.next_element()?.ok_or_else(lacking)?;
                let column: u32 = seq.next_element()?.ok_or_else(lacking)?;
                Ok(Located {
                    value,
                    at: Location { file, line, column },
                })
            }
        }

        deserializer.deserialize_newtype_struct(LOCATED, Parts(PhantomData))
    }
}

/// An element of a list that may fail without hiding the mistakes of the others. Whoever holds one
/// has read all of it: a fault of any makes the whole object fail, but later.
#[derive(Clone, Debug)]
pub(crate) struct Attempt<T>(Option<T>);

impl<T> Attempt<T> {
    pub(crate) fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Attempt<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct First<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for First<T> {
            type Value = Attempt<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                seq.next_element().map(Attempt)
            }
        }

        deserializer.deserialize_newtype_struct(ATTEMPT, First(PhantomData))
    }
}

/// A mapping of text to text, in the order it is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pairs(pub(crate) Vec<(Located<String>, Located<String>)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

macro_rules! schema_of_inner {
    ($outer:ident) => {
        impl<T: JsonSchema> JsonSchema for $outer<T> {
            fn inline_schema() -> bool {
                T::inline_schema()
            }

            fn schema_name() -> Cow<'static, str> {
                T::schema_name()
            }

            fn schema_id() -> Cow<'static, str> {
                T::schema_id()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                T::json_schema(generator)
            }
        }
    };
}

schema_of_inner!(Located);
schema_of_inner!(Attempt);

impl JsonSchema for Pairs {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Pairs".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({"type": "object", "additionalProperties": {"type": "string"}})
    }
}
