//! The types of values, as definitions write them and as Arrow holds them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, IntervalUnit};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, codes};
use crate::time::{instant_type, is_time_type};

/// The type of a feature, key or request field. Written as text: `int64`, `list<string>`,
/// `struct<a: int64, b: string>`, `map<string, float64>`, `decimal(10,2)`, `embedding<128>`. A struct's
/// field whose name is more than letters, digits and `_` stands in quotes: `struct<"two words": int64>`,
/// with `\` before a quote or a `\` of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum ValueType {
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Float32,
    Float64,
    /// Precision (1 to 38) and scale (0 to precision).
    Decimal(u8, i8),
    String,
    Binary,
    /// Days since the epoch.
    Date,
    /// Microseconds since the epoch, UTC.
    Timestamp,
    /// UTF-8 text that is JSON; a string with Arrow's extension name `arrow.json`.
    Json,
    List(Box<ValueType>),
    Struct(Vec<(String, ValueType)>),
    Map(Box<ValueType>, Box<ValueType>),
    /// A fixed-size list of float32.
    Embedding(i32),
}

/// Whether a source column can become a declared type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CastRule {
    /// No value can be lost.
    Lossless,
    /// Some values may not fit; allowed with `cast: checked`, and then a misfit is an error.
    Checked,
    /// There is no such cast.
    Never,
}

impl ValueType {
    /// How Arrow holds values of this type.
    pub fn to_arrow(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int8 => DataType::Int8,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::UInt8 => DataType::UInt8,
            Self::UInt16 => DataType::UInt16,
            Self::UInt32 => DataType::UInt32,
            Self::UInt64 => DataType::UInt64,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Decimal(precision, scale) => DataType::Decimal128(*precision, *scale),
            Self::String | Self::Json => DataType::Utf8,
            Self::Binary => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Timestamp => instant_type(),
            Self::List(item) => DataType::List(Arc::new(item.to_field("item"))),
            Self::Struct(fields) => DataType::Struct(
                fields
                    .iter()
                    .map(|(name, value_type)| value_type.to_field(name))
                    .collect::<Fields>(),
            ),
            Self::Map(key, value) => {
                let entries = Fields::from(vec![
                    key.to_field("key").with_nullable(false),
                    value.to_field("value"),
                ]);
                DataType::Map(
                    Arc::new(Field::new("entries", DataType::Struct(entries), false)),
                    false,
                )
            }
            Self::Embedding(size) => DataType::FixedSizeList(
                Arc::new(Field::new("item", DataType::Float32, true)),
                *size,
            ),
        }
    }

    /// A nullable field of this type; JSON carries its extension name.
    pub fn to_field(&self, name: impl Into<String>) -> Field {
        let field = Field::new(name, self.to_arrow(), true);
        if matches!(self, Self::Json) {
            let name = ("ARROW:extension:name".to_owned(), "arrow.json".to_owned());
            let metadata = ("ARROW:extension:metadata".to_owned(), String::new());
            return field.with_metadata([name, metadata].into());
        }
        field
    }

    /// The value type that holds every value of an Arrow type, if there is one. String and binary
    /// views, large variants and dictionaries are the plain type.
    pub fn from_arrow(data_type: &DataType) -> Option<Self> {
        Self::convert(data_type).filter(|found| found.is_spelt(0))
    }

    /// Whether the type's text reads back as the type.
    fn is_spelt(&self, depth: usize) -> bool {
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

    fn convert(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Bool,
            DataType::Int8 => Self::Int8,
            DataType::Int16 => Self::Int16,
            DataType::Int32 => Self::Int32,
            DataType::Int64 => Self::Int64,
            DataType::UInt8 => Self::UInt8,
            DataType::UInt16 => Self::UInt16,
            DataType::UInt32 => Self::UInt32,
            DataType::UInt64 => Self::UInt64,
            DataType::Float16 | DataType::Float32 => Self::Float32,
            DataType::Float64 => Self::Float64,
            DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s)
                if *s >= 0 =>
            {
                Self::Decimal(*p, *s)
            }
            DataType::Decimal256(p, s) if *p <= 38 && *s >= 0 => Self::Decimal(*p, *s),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::String,
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Self::Binary,
            DataType::Date32 => Self::Date,
            other if is_time_type(other) => Self::Timestamp,
            DataType::Dictionary(_, value) => Self::convert(value)?,
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::ListView(item)
            | DataType::LargeListView(item) => {
                Self::List(Box::new(Self::convert(item.data_type())?))
            }
            DataType::FixedSizeList(item, size) if *item.data_type() == DataType::Float32 => {
                Self::Embedding(*size)
            }
            DataType::FixedSizeList(item, _) => {
                Self::List(Box::new(Self::convert(item.data_type())?))
            }
            DataType::Struct(fields) => Self::Struct(
                fields
                    .iter()
                    .map(|field| Some((field.name().clone(), Self::convert(field.data_type())?)))
                    .collect::<Option<_>>()?,
            ),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) if fields.len() == 2 => Self::Map(
                    Box::new(Self::convert(fields[0].data_type())?),
                    Box::new(Self::convert(fields[1].data_type())?),
                ),
                _ => return None,
            },
            _ => return None,
        })
    }

    /// Whether join keys can have this type.
    pub fn is_key_type(&self) -> bool {
        self.is_integer()
            || matches!(
                self,
                Self::String | Self::Binary | Self::Bool | Self::Date | Self::Timestamp
            )
    }

    /// Whether this is a whole number of any width, signed or not.
    pub fn is_integer(&self) -> bool {
        self.integer_range().is_some()
    }

    fn integer_range(&self) -> Option<(i128, i128)> {
        Some(match self {
            Self::Int8 => (i8::MIN.into(), i8::MAX.into()),
            Self::Int16 => (i16::MIN.into(), i16::MAX.into()),
            Self::Int32 => (i32::MIN.into(), i32::MAX.into()),
            Self::Int64 => (i64::MIN.into(), i64::MAX.into()),
            Self::UInt8 => (0, u8::MAX.into()),
            Self::UInt16 => (0, u16::MAX.into()),
            Self::UInt32 => (0, u32::MAX.into()),
            Self::UInt64 => (0, u64::MAX.into()),
            _ => return None,
        })
    }

    /// Whether a column of Arrow type `found` can be cast to this type, and at what risk.
    ///
    /// A cast is lossless where every value of the found type has an equal value of the declared
    /// one. decimal(p,0) to a whole number counts as checked and is implied (see
    /// [`Self::implies_checked`]).
    pub fn cast_from(&self, found: &DataType) -> CastRule {
        use CastRule::{Checked, Lossless, Never};
        if let DataType::Dictionary(_, value) = found {
            return self.cast_from(value);
        }
        if *found == DataType::Null {
            return Lossless;
        }
        let Some(from) = Self::from_arrow(found) else {
            return match (self, found) {
                (Self::String, DataType::Time32(_) | DataType::Time64(_)) => Checked,
                (Self::String, DataType::Interval(IntervalUnit::MonthDayNano)) => Never,
                _ => Never,
            };
        };
        // Midnights and whole microseconds aside, time types lose digits by flooring, which the
        // semantics of instants prescribe.
        if from == *self {
            return Lossless;
        }
        match (self, &from) {
            (Self::Timestamp, Self::Date) | (Self::Json, Self::String) => Lossless,
            (Self::Date, Self::Timestamp) => Checked,
            (Self::String, Self::Json) => Lossless,
            (Self::Decimal(p, s), Self::Decimal(fp, fs)) => {
                let room = i16::from(*p) - i16::from(*s) >= i16::from(*fp) - i16::from(*fs);
                if room && s >= fs { Lossless } else { Checked }
            }
            (to, Self::Decimal(_, _)) if to.is_integer() || to.is_float() => Checked,
            (Self::Decimal(p, s), from) if from.is_integer() => {
                let digits = from.integer_digits();
                if i16::from(*p) - i16::from(*s) >= digits {
                    Lossless
                } else {
                    Checked
                }
            }
            (Self::Decimal(_, _), from) if from.is_float() => Checked,
            (to, from) if to.is_integer() && from.is_integer() => {
                let (Some((low, high)), Some((from_low, from_high))) =
                    (to.integer_range(), from.integer_range())
                else {
                    return Never;
                };
                if low <= from_low && from_high <= high {
                    Lossless
                } else {
                    Checked
                }
            }
            (Self::Float64, Self::Float32) => Lossless,
            (Self::Float32, Self::Float64) => Checked,
            (to, from) if to.is_float() && from.is_integer() => {
                let mantissa = if *to == Self::Float64 {
                    1_i128 << 53
                } else {
                    1_i128 << 24
                };
                match from.integer_range() {
                    Some((_, high)) if high <= mantissa => Lossless,
                    _ => Checked,
                }
            }
            (to, from) if to.is_integer() && from.is_float() => Checked,
            (Self::List(to), Self::List(from)) => to.cast_from(&from.to_arrow()),
            (Self::List(to), Self::Embedding(_)) => to.cast_from(&DataType::Float32),
            (Self::Embedding(_), Self::List(from)) if from.is_float() => Checked,
            (Self::Struct(to), Self::Struct(from)) if to.len() == from.len() => {
                worst(to.iter().zip(from).map(|((name, to), (from_name, from))| {
                    if name == from_name {
                        to.cast_from(&from.to_arrow())
                    } else {
                        Never
                    }
                }))
            }
            (Self::Map(key, value), Self::Map(from_key, from_value)) => worst(
                [
                    key.cast_from(&from_key.to_arrow()),
                    value.cast_from(&from_value.to_arrow()),
                ]
                .into_iter(),
            ),
            _ => Never,
        }
    }

    /// Whether `cast: checked` need not be written for a column of type `found`: decimal(p,0) to a
    /// whole number, which is how some warehouses spell integers.
    pub fn implies_checked(&self, found: &DataType) -> bool {
        self.is_integer() && matches!(Self::from_arrow(found), Some(Self::Decimal(_, 0)))
    }

    /// Whether this is float32 or float64.
    pub fn is_float(&self) -> bool {
        matches!(self, Self::Float32 | Self::Float64)
    }

    fn integer_digits(&self) -> i16 {
        match self {
            Self::Int8 | Self::UInt8 => 3,
            Self::Int16 | Self::UInt16 => 5,
            Self::Int32 | Self::UInt32 => 10,
            Self::Int64 => 19,
            _ => 20,
        }
    }
}

fn worst(rules: impl Iterator<Item = CastRule>) -> CastRule {
    rules.fold(CastRule::Lossless, |worst, rule| match (worst, rule) {
        (CastRule::Never, _) | (_, CastRule::Never) => CastRule::Never,
        (CastRule::Checked, _) | (_, CastRule::Checked) => CastRule::Checked,
        _ => CastRule::Lossless,
    })
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_round_trips_as_text() -> Result<()> {
        for text in [
            "bool",
            "uint64",
            "decimal(38,0)",
            "json",
            "embedding<3>",
            "list<list<float32>>",
            "struct<a: int64, b: map<string, list<date>>>",
            r#"struct<"two words": int64, ß: bool, "": date, "a\"b\\c>": list<int8>>"#,
            "map<string, timestamp>",
        ] {
            let value_type: ValueType = text.parse()?;
            assert_eq!(value_type.to_string(), text);
        }
        for text in [
            "",
            "int",
            "list<",
            "list<int8>>",
            "decimal(39,0)",
            "decimal(3,4)",
            "embedding<0>",
            "struct<>",
            "struct<: int8>",
            r#"struct<"a: int8>"#,
            "struct<a: int8, a: int8>",
            "map<int8>",
        ] {
            assert!(text.parse::<ValueType>().is_err(), "{text}");
        }
        let nested = "list<".repeat(1_000);
        assert!(nested.parse::<ValueType>().is_err());
        Ok(())
    }

    #[test]
    fn arrow_types_without_a_spelling_have_no_value_type() {
        let field = |name: &str| Arc::new(Field::new(name, DataType::Int8, true));
        for (fields, is_known) in [
            (vec![field("two words"), field("")], true),
            (vec![field("a"), field("a")], false),
            (vec![], false),
        ] {
            let found = ValueType::from_arrow(&DataType::Struct(fields.into()));
            assert_eq!(found.is_some(), is_known, "{found:?}");
            if let Some(found) = found {
                assert_eq!(found.to_string().parse::<ValueType>().ok(), Some(found));
            }
        }
        let item = Arc::new(Field::new("item", DataType::Float32, true));
        assert!(ValueType::from_arrow(&DataType::FixedSizeList(item, 0)).is_none());
        let deep = (0..20).fold(DataType::Int8, |item, _| {
            DataType::List(Arc::new(Field::new("item", item, true)))
        });
        assert!(ValueType::from_arrow(&deep).is_none());
    }

    #[test]
    fn casts_keep_or_check_values() {
        use CastRule::{Checked, Lossless, Never};
        for (declared, found, rule) in [
            (ValueType::Int64, DataType::Int32, Lossless),
            (ValueType::Int64, DataType::UInt64, Checked),
            (ValueType::Float32, DataType::Int64, Checked),
            (ValueType::Float64, DataType::Int32, Lossless),
            (ValueType::Float64, DataType::Int64, Checked),
            (ValueType::Int64, DataType::Decimal128(38, 0), Checked),
            (
                ValueType::Decimal(38, 2),
                DataType::Decimal128(10, 2),
                Lossless,
            ),
            (ValueType::String, DataType::Utf8View, Lossless),
            (ValueType::String, DataType::Int64, Never),
            (ValueType::Timestamp, DataType::Date32, Lossless),
        ] {
            assert_eq!(declared.cast_from(&found), rule, "{found} to {declared}");
        }
        assert!(ValueType::Int64.implies_checked(&DataType::Decimal128(38, 0)));
    }
}
