//! Types as text: writing and reading.

use std::fmt;
use std::str::FromStr;

use super::ValueType;
use crate::error::{Error, Result, codes};

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::Int8 => f.write_str("int8"),
            Self::Int16 => f.write_str("int16"),
            Self::Int32 => f.write_str("int32"),
            Self::Int64 => f.write_str("int64"),
            Self::UInt8 => f.write_str("uint8"),
            Self::UInt16 => f.write_str("uint16"),
            Self::UInt32 => f.write_str("uint32"),
            Self::UInt64 => f.write_str("uint64"),
            Self::Float32 => f.write_str("float32"),
            Self::Float64 => f.write_str("float64"),
            Self::Decimal(precision, scale) => write!(f, "decimal({precision},{scale})"),
            Self::String => f.write_str("string"),
            Self::Binary => f.write_str("binary"),
            Self::Date => f.write_str("date"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Json => f.write_str("json"),
            Self::List(item) => write!(f, "list<{item}>"),
            Self::Struct(fields) => {
                f.write_str("struct<")?;
                for (i, (name, value_type)) in fields.iter().enumerate() {
                    f.write_str(if i > 0 { ", " } else { "" })?;
                    write_field_name(f, name)?;
                    write!(f, ": {value_type}")?;
                }
                f.write_str(">")
            }
            Self::Map(key, value) => write!(f, "map<{key}, {value}>"),
            Self::Embedding(size) => write!(f, "embedding<{size}>"),
        }
    }
}

fn write_field_name(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    if !name.is_empty() && name.chars().all(is_word_char) {
        return f.write_str(name);
    }
    f.write_str("\"")?;
    for letter in name.chars() {
        if matches!(letter, '"' | '\\') {
            f.write_str("\\")?;
        }
        write!(f, "{letter}")?;
    }
    f.write_str("\"")
}

fn is_word_char(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

impl From<ValueType> for String {
    fn from(value_type: ValueType) -> Self {
        value_type.to_string()
    }
}

impl TryFrom<String> for ValueType {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// The names of the types that take no parameter.
const PLAIN: [(&str, ValueType); 16] = [
    ("bool", ValueType::Bool),
    ("int8", ValueType::Int8),
    ("int16", ValueType::Int16),
    ("int32", ValueType::Int32),
    ("int64", ValueType::Int64),
    ("uint8", ValueType::UInt8),
    ("uint16", ValueType::UInt16),
    ("uint32", ValueType::UInt32),
    ("uint64", ValueType::UInt64),
    ("float32", ValueType::Float32),
    ("float64", ValueType::Float64),
    ("string", ValueType::String),
    ("binary", ValueType::Binary),
    ("date", ValueType::Date),
    ("timestamp", ValueType::Timestamp),
    ("json", ValueType::Json),
];
const GENERIC: [&str; 5] = ["decimal", "list", "struct", "map", "embedding"];
const MAX_NESTING: usize = 16;

impl ValueType {
    /// Whether the type's text reads back as the type.
    pub(super) fn is_spelt(&self, depth: usize) -> bool {
        depth <= MAX_NESTING
            && match self {
                Self::List(item) => item.is_spelt(depth + 1),
                Self::Map(key, value) => key.is_spelt(depth + 1) && value.is_spelt(depth + 1),
                Self::Struct(fields) => {
                    let is_new = |index: usize, name: &String| {
                        fields[..index].iter().all(|(other, _)| other != name)
                    };
                    !fields.is_empty()
                        && fields
                            .iter()
                            .enumerate()
                            .all(|(index, (name, value_type))| {
                                is_new(index, name) && value_type.is_spelt(depth + 1)
                            })
                }
                Self::Embedding(size) => *size > 0,
                _ => true,
            }
    }
}

impl FromStr for ValueType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parser = Parser {
            whole: text,
            rest: text.trim(),
        };
        let value_type = parser.value_type(0)?;
        if !parser.rest.is_empty() {
            return Err(parser.bad(format!("{:?} follows the type", parser.rest)));
        }
        Ok(value_type)
    }
}

struct Parser<'a> {
    whole: &'a str,
    rest: &'a str,
}

impl Parser<'_> {
    fn bad(&self, why: impl fmt::Display) -> Error {
        Error::new(
            &codes::BAD_TYPE,
            format!("{:?} is no value type: {why}", self.whole),
        )
    }

    fn word(&mut self) -> String {
        let end = self
            .rest
            .find(|c: char| !is_word_char(c))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let word = word.to_owned();
        self.rest = rest.trim_start();
        word
    }

    /// A word, or any text in quotes.
    fn field_name(&mut self) -> Result<String> {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            return match self.word() {
                name if name.is_empty() => Err(self.bad("a struct's fields need names")),
                name => Ok(name),
            };
        };
        let mut name = String::new();
        let mut letters = quoted.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.rest = quoted[at + 1..].trim_start();
                    return Ok(name);
                }
                '\\' => name.extend(letters.next().map(|(_, letter)| letter)),
                letter => name.push(letter),
            }
        }
        Err(self.bad("a quoted name has no end"))
    }

    fn expect(&mut self, token: char) -> Result<()> {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest.trim_start();
                Ok(())
            }
            None => Err(self.bad(format!("expected {token:?} at {:?}", self.rest))),
        }
    }

    fn number<T: FromStr>(&mut self) -> Result<T> {
        let word = self.word();
        word.parse()
            .map_err(|_| self.bad(format!("{word:?} is no number that fits here")))
    }

    fn value_type(&mut self, depth: usize) -> Result<ValueType> {
        if depth > MAX_NESTING {
            return Err(self.bad("it is nested too deeply"));
        }
        let word = self.word();
        if let Some((_, plain)) = PLAIN.iter().find(|(name, _)| *name == word) {
            return Ok(plain.clone());
        }
        match word.as_str() {
            "decimal" => {
                self.expect('(')?;
                let precision: u8 = self.number()?;
                self.expect(',')?;
                let scale: i8 = self.number()?;
                self.expect(')')?;
                if !(1..=38).contains(&precision) || i16::from(scale) > i16::from(precision) {
                    return Err(self.bad("precision is 1 to 38 and scale 0 to the precision"));
                }
                Ok(ValueType::Decimal(precision, scale))
            }
            "list" => {
                self.expect('<')?;
                let item = self.value_type(depth + 1)?;
                self.expect('>')?;
                Ok(ValueType::List(Box::new(item)))
            }
            "map" => {
                self.expect('<')?;
                let key = self.value_type(depth + 1)?;
                self.expect(',')?;
                let value = self.value_type(depth + 1)?;
                self.expect('>')?;
                Ok(ValueType::Map(Box::new(key), Box::new(value)))
            }
            "embedding" => {
                self.expect('<')?;
                let size: i32 = self.number()?;
                self.expect('>')?;
                if size == 0 {
                    return Err(self.bad("an embedding has at least one number"));
                }
                Ok(ValueType::Embedding(size))
            }
            "struct" => self.structure(depth),
            _ => {
                let known = PLAIN.iter().map(|(name, _)| *name).chain(GENERIC);
                Err(self
                    .bad(format!("{word:?} is unknown"))
                    .help(crate::names::did_you_mean(&word, known)))
            }
        }
    }

    fn structure(&mut self, depth: usize) -> Result<ValueType> {
        self.expect('<')?;
        let mut fields: Vec<(String, ValueType)> = Vec::new();
        loop {
            let name = self.field_name()?;
            if fields.iter().any(|(other, _)| *other == name) {
                return Err(self.bad("a struct's fields need names, each its own"));
            }
            self.expect(':')?;
            fields.push((name, self.value_type(depth + 1)?));
            if self.rest.starts_with(',') {
                self.expect(',')?;
            } else {
                self.expect('>')?;
                return Ok(ValueType::Struct(fields));
            }
        }
    }
}
