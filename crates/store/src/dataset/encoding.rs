//! Values as bytes, for hashes: the same bytes for equal values whatever arrays hold them.
//!
//! Decides which Arrow types are one type in this sense (text of any width is text, dictionaries are
//! the values they stand for), and knows nothing of what is done with the bytes.

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray,
    LargeBinaryArray, LargeStringArray, StringArray, StringViewArray, downcast_primitive_array,
};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, Field, IntervalUnit, TimeUnit};
use provender_core::{Error, Result, codes};

/// The byte in front of a null, and all there is of one.
const NULL: u8 = 0;
/// The byte in front of a value.
const VALUE: u8 = 1;

/// Appends the bytes of all rows of a column, and to `ends` where each row ends.
///
/// # Errors
/// `Unsupported` (`P801`) for a type whose values have no bytes (unions).
pub(crate) fn encode_column(
    name: &str,
    column: &ArrayRef,
    out: &mut Vec<u8>,
    ends: &mut Vec<usize>,
) -> Result<()> {
    let column = plain(name, column)?;
    let values = Values::of(column.as_ref()).ok_or_else(|| no_bytes(name, column.data_type()))?;
    ends.reserve(column.len());
    for row in 0..column.len() {
        values.write(row, out);
        ends.push(out.len());
    }
    Ok(())
}

/// The column without dictionaries, runs and views of lists.
///
/// # Errors
/// `Unsupported` (`P801`) for a type that cannot be unfolded.
pub(crate) fn plain(name: &str, column: &ArrayRef) -> Result<ArrayRef> {
    let wanted = plain_type(column.data_type());
    if wanted == *column.data_type() {
        return Ok(column.clone());
    }
    cast(column, &wanted)
        .map_err(|error: ArrowError| no_bytes(name, column.data_type()).source(error))
}

fn no_bytes(name: &str, data_type: &DataType) -> Error {
    Error::new(
        &codes::UNSUPPORTED,
        format!(
            "column {name:?} is {}, of which a dataset cannot keep a hash",
            type_text(data_type)
        ),
    )
    .help("cast the column, or leave it out")
}

fn plain_type(data_type: &DataType) -> DataType {
    let field = |field: &Field| field.clone().with_data_type(plain_type(field.data_type()));
    match data_type {
        DataType::Dictionary(_, value) => plain_type(value),
        DataType::RunEndEncoded(_, value) => plain_type(value.data_type()),
        DataType::List(item) => DataType::List(field(item).into()),
        DataType::LargeList(item) => DataType::LargeList(field(item).into()),
        DataType::ListView(item) => DataType::List(field(item).into()),
        DataType::LargeListView(item) => DataType::LargeList(field(item).into()),
        DataType::FixedSizeList(item, n) => DataType::FixedSizeList(field(item).into(), *n),
        DataType::Map(entries, sorted) => DataType::Map(field(entries).into(), *sorted),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|of| field(of)).collect::<Vec<_>>().into())
        }
        other => other.clone(),
    }
}

/// The name of a type, equal for types whose equal values have equal bytes.
pub(crate) fn type_text(data_type: &DataType) -> String {
    let unit = |unit: &TimeUnit| match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    };
    let text = match data_type {
        DataType::Null => "null",
        DataType::Boolean => "bool",
        DataType::Int8 => "int8",
        DataType::Int16 => "int16",
        DataType::Int32 => "int32",
        DataType::Int64 => "int64",
        DataType::UInt8 => "uint8",
        DataType::UInt16 => "uint16",
        DataType::UInt32 => "uint32",
        DataType::UInt64 => "uint64",
        DataType::Float16 => "float16",
        DataType::Float32 => "float32",
        DataType::Float64 => "float64",
        DataType::Date32 => "date",
        DataType::Date64 => "date64",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string",
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "binary",
        DataType::Interval(IntervalUnit::YearMonth) => "interval(year_month)",
        DataType::Interval(IntervalUnit::DayTime) => "interval(day_time)",
        DataType::Interval(IntervalUnit::MonthDayNano) => "interval(month_day_nano)",
        DataType::Timestamp(of, None) => return format!("timestamp({})", unit(of)),
        DataType::Timestamp(of, Some(zone)) => return format!("timestamp({}, {zone})", unit(of)),
        DataType::Time32(of) | DataType::Time64(of) => return format!("time({})", unit(of)),
        DataType::Duration(of) => return format!("duration({})", unit(of)),
        DataType::Decimal32(p, s) => return format!("decimal32({p},{s})"),
        DataType::Decimal64(p, s) => return format!("decimal64({p},{s})"),
        DataType::Decimal128(p, s) => return format!("decimal({p},{s})"),
        DataType::Decimal256(p, s) => return format!("decimal256({p},{s})"),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => {
            return format!("list<{}>", type_text(item.data_type()));
        }
        DataType::Struct(fields) => {
            let fields = fields
                .iter()
                .map(|field| format!("{}: {}", field.name(), type_text(field.data_type())));
            return format!("struct<{}>", fields.collect::<Vec<_>>().join(", "));
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(fields) = entries.data_type() else {
                return "map".to_owned();
            };
            let types: Vec<String> = fields.iter().map(|of| type_text(of.data_type())).collect();
            return format!("map<{}>", types.join(","));
        }
        DataType::Dictionary(_, value) => return type_text(value),
        DataType::RunEndEncoded(_, value) => return type_text(value.data_type()),
        DataType::Union(_, _) => "union",
    };
    text.to_owned()
}

/// A column whose rows can be written.
struct Values<'a> {
    array: &'a dyn Array,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Null,
    Bool(&'a BooleanArray),
    /// Values of one width, beside each other.
    Fixed {
        bytes: &'a [u8],
        width: usize,
    },
    Text(&'a StringArray),
    LargeText(&'a LargeStringArray),
    TextView(&'a StringViewArray),
    Binary(&'a BinaryArray),
    LargeBinary(&'a LargeBinaryArray),
    BinaryView(&'a BinaryViewArray),
    FixedBinary(&'a FixedSizeBinaryArray),
    List {
        offsets: &'a [i32],
        items: Box<Values<'a>>,
    },
    LargeList {
        offsets: &'a [i64],
        items: Box<Values<'a>>,
    },
    FixedList {
        n: usize,
        items: Box<Values<'a>>,
    },
    Struct(Vec<Values<'a>>),
}

/// The bytes of an array of primitives, as the machine holds them.
fn raw<T: arrow_array::ArrowPrimitiveType>(
    array: &arrow_array::PrimitiveArray<T>,
) -> (&[u8], usize) {
    (array.values().inner().as_slice(), size_of::<T::Native>())
}

impl<'a> Values<'a> {
    /// `None` for a type that has no bytes.
    fn of(array: &'a dyn Array) -> Option<Self> {
        let kind = match array.data_type() {
            DataType::Null => Kind::Null,
            DataType::Boolean => Kind::Bool(array.as_boolean()),
            DataType::Utf8 => Kind::Text(array.as_string()),
            DataType::LargeUtf8 => Kind::LargeText(array.as_string()),
            DataType::Utf8View => Kind::TextView(array.as_string_view()),
            DataType::Binary => Kind::Binary(array.as_binary()),
            DataType::LargeBinary => Kind::LargeBinary(array.as_binary()),
            DataType::BinaryView => Kind::BinaryView(array.as_binary_view()),
            DataType::FixedSizeBinary(_) => Kind::FixedBinary(array.as_fixed_size_binary()),
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Kind::List {
                    offsets: list.value_offsets(),
                    items: Box::new(Self::of(list.values().as_ref())?),
                }
            }
            DataType::LargeList(_) => {
                let list = array.as_list::<i64>();
                Kind::LargeList {
                    offsets: list.value_offsets(),
                    items: Box::new(Self::of(list.values().as_ref())?),
                }
            }
            DataType::FixedSizeList(_, n) => Kind::FixedList {
                n: usize::try_from(*n).ok()?,
                items: Box::new(Self::of(array.as_fixed_size_list().values().as_ref())?),
            },
            DataType::Struct(_) => Kind::Struct(
                (array.as_struct().columns().iter())
                    .map(|column| Self::of(column.as_ref()))
                    .collect::<Option<_>>()?,
            ),
            DataType::Map(_, _) => {
                let map = array.as_map();
                Kind::List {
                    offsets: map.value_offsets(),
                    items: Box::new(Self::of(map.entries())?),
                }
            }
            _ => {
                let (bytes, width) = downcast_primitive_array!(
                    array => raw(array),
                    _ => return None
                );
                Kind::Fixed { bytes, width }
            }
        };
        Some(Self { array, kind })
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        if matches!(self.kind, Kind::Null) || self.array.is_null(row) {
            out.push(NULL);
            return;
        }
        out.push(VALUE);
        match &self.kind {
            Kind::Null => {}
            Kind::Bool(values) => out.push(u8::from(values.value(row))),
            Kind::Fixed { bytes, width } => {
                let value = &bytes[row * width..(row + 1) * width];
                if cfg!(target_endian = "big") {
                    out.extend(value.iter().rev());
                } else {
                    out.extend_from_slice(value);
                }
            }
            Kind::Text(values) => sized(values.value(row).as_bytes(), out),
            Kind::LargeText(values) => sized(values.value(row).as_bytes(), out),
            Kind::TextView(values) => sized(values.value(row).as_bytes(), out),
            Kind::Binary(values) => sized(values.value(row), out),
            Kind::LargeBinary(values) => sized(values.value(row), out),
            Kind::BinaryView(values) => sized(values.value(row), out),
            Kind::FixedBinary(values) => sized(values.value(row), out),
            Kind::List { offsets, items } => {
                let at = |index: usize| usize::try_from(offsets[index]).unwrap_or_default();
                items.write_list(at(row)..at(row + 1), out);
            }
            Kind::LargeList { offsets, items } => {
                let at = |index: usize| usize::try_from(offsets[index]).unwrap_or_default();
                items.write_list(at(row)..at(row + 1), out);
            }
            Kind::FixedList { n, items } => items.write_list(row * n..(row + 1) * n, out),
            Kind::Struct(columns) => {
                for column in columns {
                    column.write(row, out);
                }
            }
        }
    }

    fn write_list(&self, rows: std::ops::Range<usize>, out: &mut Vec<u8>) {
        number(rows.len(), out);
        for row in rows {
            self.write(row, out);
        }
    }
}

fn sized(bytes: &[u8], out: &mut Vec<u8>) {
    number(bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// A length: eight bytes, the least first.
pub(crate) fn number(n: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(n as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::sync::Arc;

    use arrow_array::builder::{ListBuilder, StringBuilder};
    use arrow_array::{DictionaryArray, Int32Array, StructArray, TimestampMicrosecondArray};

    use super::*;

    fn bytes(column: ArrayRef) -> Vec<u8> {
        let (mut out, mut ends) = (Vec::new(), Vec::new());
        encode_column("c", &column, &mut out, &mut ends).unwrap();
        assert_eq!(ends.len(), column.len());
        out
    }

    #[test]
    fn values_are_written_as_documented() {
        assert_eq!(
            bytes(Arc::new(Int32Array::from(vec![Some(258), None, Some(-1)]))),
            [1, 2, 1, 0, 0, 0, 1, 255, 255, 255, 255]
        );
        assert_eq!(
            bytes(Arc::new(StringArray::from(vec!["ab", ""]))),
            [1, 2, 0, 0, 0, 0, 0, 0, 0, 97, 98, 1, 0, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(
            bytes(Arc::new(BooleanArray::from(vec![Some(true), None]))),
            [1, 1, 0]
        );
        assert_eq!(
            bytes(Arc::new(TimestampMicrosecondArray::from(vec![1]))),
            [1, 1, 0, 0, 0, 0, 0, 0, 0]
        );
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.values().append_value("a");
        lists.values().append_null();
        lists.append(true);
        lists.append(false);
        let one = [1, 1, 0, 0, 0, 0, 0, 0, 0, 97];
        let list = [&[1, 2, 0, 0, 0, 0, 0, 0, 0][..], &one, &[0], &[0]].concat();
        assert_eq!(bytes(Arc::new(lists.finish())), list);
    }

    #[test]
    fn layout_and_slices_do_not_matter() {
        let texts = || vec![Some("x"), Some("yy"), None, Some("x")];
        let plain = bytes(Arc::new(StringArray::from(texts())));
        assert_eq!(bytes(Arc::new(StringViewArray::from(texts()))), plain);
        assert_eq!(bytes(Arc::new(LargeStringArray::from(texts()))), plain);
        let dictionary: DictionaryArray<arrow_array::types::Int8Type> =
            texts().into_iter().collect();
        assert_eq!(
            type_text(dictionary.data_type()),
            type_text(&DataType::Utf8View)
        );
        assert_eq!(bytes(Arc::new(dictionary)), plain);

        let all: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(3)]));
        let first = bytes(all.slice(0, 1));
        assert_eq!([first, bytes(all.slice(1, 2))].concat(), bytes(all.clone()));
        let nested: ArrayRef = Arc::new(StructArray::from(vec![(
            Arc::new(Field::new("a", DataType::Int32, true)),
            all,
        )]));
        let rest = bytes(nested.slice(1, 2));
        assert_eq!(rest, [1, 0, 1, 1, 3, 0, 0, 0]);
    }
}
