//! Reads serde types from nodes: the bridge from the tree to the spec types.
//!
//! Unlike an ordinary serde format it goes on after a mistake where it can: unknown keys are noted
//! and skipped, and elements of lists that ask for it ([`ATTEMPT`]) fail alone.

use std::cell::RefCell;

use serde::de::value::{BorrowedStrDeserializer, U32Deserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use provender_core::names::nearest;

use crate::fault::{Fault, Problem};
use crate::locations::Location;
use crate::node::{Key, Node, Value};

/// The newtype name under which a value is answered as value, file, line and column.
pub(crate) const LOCATED: &str = "$located";
/// The newtype name under which a value is answered, or nothing and its fault noted.
pub(crate) const ATTEMPT: &str = "$attempt";

/// Reads a `T`; all that is wrong if anything is. `subject` names the object in messages.
pub(crate) fn read<'a, T: de::Deserialize<'a>>(node: &'a Node) -> Result<T, Vec<Fault>> {
    let noted = RefCell::new(Vec::new());
    let reader = NodeReader {
        node,
        path: String::new(),
        noted: &noted,
    };
    let value = T::deserialize(reader);
    let mut faults = noted.into_inner();
    match value {
        Ok(value) if faults.is_empty() => Ok(value),
        Ok(_) => Err(faults),
        Err(fault) => {
            faults.push(fault);
            Err(faults)
        }
    }
}

#[derive(Clone)]
struct NodeReader<'a, 'n> {
    node: &'a Node,
    path: String,
    noted: &'n RefCell<Vec<Fault>>,
}

impl<'a> NodeReader<'a, '_> {
    fn wrong(&self, expected: &dyn Expected) -> Fault {
        de::Error::invalid_type(Unexpected::Other(&self.node.describe()), expected)
    }

    /// Runs `read` and says where its fault is.
    fn here<T>(self, read: impl FnOnce(Self) -> Result<T, Fault>) -> Result<T, Fault> {
        let (node, path) = (self.node, self.path.clone());
        read(self).map_err(|fault| fault.located(&node.at, &path))
    }

    fn items<V: Visitor<'a>>(self, items: &'a [Node], visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(Items {
            items: items.iter().enumerate(),
            path: self.path,
            noted: self.noted,
        })
    }

    fn entries<V: Visitor<'a>>(
        self,
        entries: &'a [(Key, Node)],
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let mut unknown: Vec<&str> = Vec::new();
        if let Some(known) = fields {
            for (key, _) in entries {
                if !known.contains(&key.text.as_str()) {
                    let problem = Problem::UnknownKey {
                        key: key.text.clone(),
                        known,
                    };
                    let fault = Fault::new(problem).located(&key.at, &self.path);
                    self.noted.borrow_mut().push(fault);
                    unknown.push(&key.text);
                }
            }
        }
        let read = visitor.visit_map(Entries {
            entries: entries.iter(),
            fields,
            value: None,
            path: self.path,
            noted: self.noted,
        });
        read.map_err(|mut fault| {
            // A misspelt key is one mistake, not two.
            if let (Problem::MissingKey(missing), Some(known), None) =
                (&fault.problem, fields, &fault.at)
                && unknown
                    .iter()
                    .any(|key| nearest(key, known.iter().copied()) == Some(missing))
            {
                fault.problem = Problem::Told;
            }
            fault
        })
    }
}

impl<'a> Deserializer<'a> for NodeReader<'a, '_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.here(|this| match &this.node.value {
            Value::Null => {
                let wrong = this.wrong(&visitor);
                visitor.visit_unit().map_err(|fault| plain(fault, wrong))
            }
            Value::Bool(value, _) => {
                let wrong = this.wrong(&visitor);
                visitor
                    .visit_bool(*value)
                    .map_err(|fault| plain(fault, wrong))
            }
            Value::Number(number, _) => {
                let wrong = this.wrong(&visitor);
                match (number.as_u64(), number.as_i64(), number.as_f64()) {
                    (Some(value), _, _) => visitor.visit_u64(value),
                    (_, Some(value), _) => visitor.visit_i64(value),
                    (_, _, value) => visitor.visit_f64(value.unwrap_or(f64::NAN)),
                }
                .map_err(|fault| plain(fault, wrong))
            }
            Value::Text(text) => {
                let wrong = this.wrong(&visitor);
                visitor
                    .visit_borrowed_str(text)
                    .map_err(|fault| plain(fault, wrong))
            }
            Value::List(items) => {
                let wrong = this.wrong(&visitor);
                this.items(items, visitor)
                    .map_err(|fault| plain(fault, wrong))
            }
            Value::Map(entries) => {
                let wrong = this.wrong(&visitor);
                this.entries(entries, None, visitor)
                    .map_err(|fault| plain(fault, wrong))
            }
        })
    }

    fn deserialize_bool<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.here(|this| match &this.node.value {
            Value::Bool(value, _) => visitor.visit_bool(*value),
            Value::Text(text) if this.node.expanded => match text.as_str() {
                "true" => visitor.visit_bool(true),
                "false" => visitor.visit_bool(false),
                _ => Err(this.wrong(&visitor)),
            },
            _ => Err(this.wrong(&visitor)),
        })
    }

    fn deserialize_u64<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.here(|this| {
            let number = match &this.node.value {
                Value::Number(number, _) => number.as_u64(),
                Value::Text(text) if this.node.expanded => text.parse().ok(),
                _ => None,
            };
            match number {
                Some(number) => visitor.visit_u64(number),
                None => Err(this.wrong(&visitor)),
            }
        })
    }

    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.here(|this| match this.node.text() {
            Some(text) => visitor.visit_borrowed_str(text),
            None => Err(this.wrong(&visitor)),
        })
    }

    fn deserialize_string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match name {
            LOCATED => {
                let at = &self.node.at;
                visitor.visit_seq(LocatedParts::new(self, at))
            }
            ATTEMPT => visitor.visit_seq(Attempted(Some(self))),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.here(|this| match &this.node.value {
            Value::List(items) => this.items(items, visitor),
            _ => Err(this.wrong(&visitor)),
        })
    }

    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.here(|this| match &this.node.value {
            Value::Map(entries) => this.entries(entries, None, visitor),
            _ => Err(this.wrong(&visitor)),
        })
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.here(|this| match &this.node.value {
            Value::Map(entries) => this.entries(entries, Some(fields), visitor),
            _ => Err(this.wrong(&visitor)),
        })
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        <W: Visitor<'a>>
        i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char bytes byte_buf unit unit_struct tuple
        tuple_struct enum identifier
    }
}

/// A type mismatch that a visitor raised for this very node, told in our words.
fn plain(fault: Fault, wrong: Fault) -> Fault {
    match fault.problem {
        Problem::WrongType { .. } if fault.at.is_none() => wrong,
        _ => fault,
    }
}

struct Items<'a, 'n> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
    path: String,
    noted: &'n RefCell<Vec<Fault>>,
}

impl<'a> SeqAccess<'a> for Items<'a, '_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some((index, node)) = self.items.next() else {
            return Ok(None);
        };
        let reader = NodeReader {
            node,
            path: format!("{}[{index}]", self.path),
            noted: self.noted,
        };
        seed.deserialize(reader).map(Some)
    }
}

struct Entries<'a, 'n> {
    entries: std::slice::Iter<'a, (Key, Node)>,
    fields: Option<&'static [&'static str]>,
    value: Option<(&'a Key, &'a Node)>,
    path: String,
    noted: &'n RefCell<Vec<Fault>>,
}

impl<'a> MapAccess<'a> for Entries<'a, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        for (key, value) in self.entries.by_ref() {
            let known = self
                .fields
                .is_none_or(|fields| fields.contains(&key.text.as_str()));
            if known {
                self.value = Some((key, value));
                return seed
                    .deserialize(KeyReader(key))
                    .map(Some)
                    .map_err(|fault| fault.located(&key.at, &self.path));
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((key, node)) = self.value.take() else {
            return Err(de::Error::custom("a value was read before its key"));
        };
        let dot = if self.path.is_empty() { "" } else { "." };
        let path = format!("{}{dot}{}", self.path, key.text);
        // An empty value's place is not on its line; its key's is what one looks for.
        let at = match node.value {
            Value::Null => &key.at,
            _ => &node.at,
        };
        let reader = NodeReader {
            node,
            path: path.clone(),
            noted: self.noted,
        };
        seed.deserialize(reader).map_err(|mut fault| {
            if matches!(node.value, Value::Null) {
                fault.at = Some(at.clone());
            }
            fault.located(at, &path)
        })
    }
}

struct KeyReader<'a>(&'a Key);

impl<'a> Deserializer<'a> for KeyReader<'a> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_borrowed_str(&self.0.text)
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match name {
            LOCATED => {
                let at = &self.0.at;
                visitor.visit_seq(LocatedParts::new(self, at))
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    forward_to_deserialize_any! {
        <W: Visitor<'a>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Answers a value, then its file, line and column.
struct LocatedParts<'a, D> {
    value: Option<D>,
    parts: std::vec::IntoIter<Part<'a>>,
}

enum Part<'a> {
    File(&'a str),
    Number(u32),
}

impl<'a, D> LocatedParts<'a, D> {
    fn new(value: D, at: &'a Location) -> Self {
        let parts = vec![
            Part::File(&at.file),
            Part::Number(at.line),
            Part::Number(at.column),
        ];
        Self {
            value: Some(value),
            parts: parts.into_iter(),
        }
    }
}

impl<'a, D: Deserializer<'a, Error = Fault>> SeqAccess<'a> for LocatedParts<'a, D> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        if let Some(value) = self.value.take() {
            return seed.deserialize(value).map(Some);
        }
        match self.parts.next() {
            None => Ok(None),
            Some(Part::File(file)) => seed
                .deserialize(BorrowedStrDeserializer::<Fault>::new(file))
                .map(Some),
            Some(Part::Number(number)) => {
                let number: U32Deserializer<Fault> = number.into_deserializer();
                seed.deserialize(number).map(Some)
            }
        }
    }
}

/// Answers one value, or none and notes why.
struct Attempted<'a, 'n>(Option<NodeReader<'a, 'n>>);

impl<'a> SeqAccess<'a> for Attempted<'a, '_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some(reader) = self.0.take() else {
            return Ok(None);
        };
        let (node, path, noted) = (reader.node, reader.path.clone(), reader.noted);
        match seed.deserialize(reader) {
            Ok(value) => Ok(Some(value)),
            Err(fault) => {
                noted.borrow_mut().push(fault.located(&node.at, &path));
                Ok(None)
            }
        }
    }
}
