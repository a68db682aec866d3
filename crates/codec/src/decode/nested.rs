//! Lists, maps, structs and embeddings, and what they hold.
//!
//! A length is checked against the bytes that are left before room for it is reserved, so that
//! damaged or hostile bytes cannot ask for more memory than their own length justifies.

use std::fmt;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeListArray, Float32Array, ListArray, MapArray,
    PrimitiveArray, StringArray, StructArray,
};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer};
use arrow_schema::{ArrowError, DataType, FieldRef};
use provender_core::ValueType;

use crate::scalar::{NumberBuilder, Scalar, match_fixed};
use crate::shape::{bit, bitmap_len, embedding_size, null_width};

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// It says that it is longer than its bytes, or shorter.
    Length,
    /// A bool is neither 0 nor 1.
    Bool,
    /// Text is not UTF-8.
    Text,
    /// Whether nulls follow is neither 0 nor 1.
    Presence,
    /// A bitmap has a bit beyond its values.
    Bitmap,
    /// The column, not the value, is beyond what Arrow's 32-bit offsets hold.
    TooLarge,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "has a length that does not fit its bytes",
            Self::Bool => "has a bool that is neither 0 nor 1",
            Self::Text => "has text that is not UTF-8",
            Self::Presence => "has a mark of nulls that is neither 0 nor 1",
            Self::Bitmap => "has a bitmap of nulls that is longer than its values",
            Self::TooLarge => "is too large",
        })
    }
}

/// The bytes of a value that are not read yet.
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Damage> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Damage::Length)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The bytes of n items of a width, if there are so many.
    fn take_items(&mut self, n: usize, width: usize) -> Result<&'a [u8], Damage> {
        self.take(n.checked_mul(width).ok_or(Damage::Length)?)
    }

    fn length(&mut self) -> Result<usize, Damage> {
        let (len, rest) = self.rest.split_first_chunk().ok_or(Damage::Length)?;
        self.rest = rest;
        usize::try_from(u32::from_le_bytes(*len)).map_err(|_| Damage::Length)
    }

    /// How many items follow, each of which takes at least `least` bytes.
    fn count(&mut self, least: usize) -> Result<usize, Damage> {
        let len = self.length()?;
        match len.checked_mul(least) {
            Some(bytes) if bytes <= self.rest.len() => Ok(len),
            _ => Err(Damage::Length),
        }
    }

    fn flag(&mut self, damage: Damage) -> Result<bool, Damage> {
        match self.take(1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(damage),
        }
    }

    /// A bitmap over n values.
    fn bitmap(&mut self, n: usize) -> Result<&'a [u8], Damage> {
        let bitmap = self.take(bitmap_len(n))?;
        if (n..bitmap.len() * 8).any(|index| bit(bitmap, index)) {
            return Err(Damage::Bitmap);
        }
        Ok(bitmap)
    }

    /// Which of n values are there; `None` for all.
    fn presence(&mut self, n: usize) -> Result<Option<&'a [u8]>, Damage> {
        match self.flag(Damage::Presence)? {
            true => self.bitmap(n).map(Some),
            false => Ok(None),
        }
    }
}

/// A column of any type while it is built.
pub(super) struct Builder {
    data_type: DataType,
    nulls: NullBufferBuilder,
    null_width: usize,
    values: Values,
}

enum Values {
    Bool(BooleanBufferBuilder),
    Numbers(NumberBuilder, Finish),
    Bytes {
        offsets: Vec<i32>,
        data: Vec<u8>,
        is_text: bool,
    },
    List {
        offsets: Vec<i32>,
        items: Box<Builder>,
    },
    Map {
        offsets: Vec<i32>,
        keys: Box<Builder>,
        values: Box<Builder>,
    },
    Struct(Vec<Builder>),
    Embedding {
        size: usize,
        numbers: Vec<f32>,
        nulls: NullBufferBuilder,
    },
}

/// Makes numbers the array of their type.
type Finish = fn(NumberBuilder, Option<NullBuffer>, DataType) -> ArrayRef;

fn finish<T>(values: NumberBuilder, nulls: Option<NullBuffer>, data_type: DataType) -> ArrayRef
where
    T: arrow_array::ArrowPrimitiveType,
    T::Native: Scalar,
{
    let values = <T::Native as Scalar>::take(values);
    Arc::new(PrimitiveArray::<T>::new(values.into(), nulls).with_data_type(data_type))
}

impl Builder {
    /// An empty column of the type, and of the Arrow type that holds it.
    pub(super) fn new(value_type: &ValueType, data_type: DataType) -> Self {
        let inner = |value_type: &ValueType| Self::new(value_type, value_type.to_arrow());
        let values = match_fixed!(value_type, T => Values::Numbers(
                <<T as arrow_array::ArrowPrimitiveType>::Native as Scalar>::empty(),
                finish::<T>,
            ),
            ValueType::Bool => Values::Bool(BooleanBufferBuilder::new(0)),
            ValueType::List(item) => Values::List {
                offsets: vec![0],
                items: Box::new(inner(item)),
            },
            ValueType::Map(key, value) => Values::Map {
                offsets: vec![0],
                keys: Box::new(inner(key)),
                values: Box::new(inner(value)),
            },
            ValueType::Struct(fields) => {
                Values::Struct(fields.iter().map(|(_, field)| inner(field)).collect())
            }
            ValueType::Embedding(size) => Values::Embedding {
                size: embedding_size(*size),
                numbers: Vec::new(),
                nulls: NullBufferBuilder::new(0),
            },
            other => Values::Bytes {
                offsets: vec![0],
                data: Vec::new(),
                is_text: *other != ValueType::Binary,
            },
        );
        Self {
            data_type,
            nulls: NullBufferBuilder::new(0),
            null_width: null_width(value_type),
            values,
        }
    }

    /// Appends a feature's value, which is all of the bytes.
    pub(super) fn append_feature(&mut self, mut from: Cursor<'_>) -> Result<(), Damage> {
        if let Values::Embedding {
            size,
            numbers,
            nulls,
        } = &mut self.values
            && from.rest.len() == *size * 4
        {
            room(numbers.len() + *size)?;
            Scalar::extend(numbers, from.rest);
            nulls.append_n_non_nulls(*size);
            self.nulls.append_non_null();
            return Ok(());
        }
        self.append(&mut from)?;
        match from.rest {
            [] => Ok(()),
            _ => Err(Damage::Length),
        }
    }

    /// Appends nulls for which nothing is read.
    pub(super) fn append_nulls(&mut self, n: usize) -> Result<(), Damage> {
        self.nulls.append_n_nulls(n);
        self.append_padding(n)
    }

    /// Appends what Arrow holds in the place of nulls.
    fn append_padding(&mut self, n: usize) -> Result<(), Damage> {
        match &mut self.values {
            Values::Bool(bits) => bits.append_n(n, false),
            Values::Numbers(numbers, _) => numbers.append_zeros(n),
            Values::Bytes { offsets, .. }
            | Values::List { offsets, .. }
            | Values::Map { offsets, .. } => {
                let end = offsets.last().copied().unwrap_or_default();
                offsets.resize(offsets.len() + n, end);
            }
            Values::Struct(fields) => {
                for field in fields {
                    field.append_nulls(n)?;
                }
            }
            Values::Embedding {
                size,
                numbers,
                nulls,
            } => {
                let end = size
                    .checked_mul(n)
                    .and_then(|len| len.checked_add(numbers.len()))
                    .ok_or(Damage::TooLarge)?;
                room(end)?;
                nulls.append_n_non_nulls(end - numbers.len());
                numbers.resize(end, 0.0);
            }
        }
        Ok(())
    }

    /// Reads one value that is not null.
    fn append(&mut self, from: &mut Cursor<'_>) -> Result<(), Damage> {
        match &mut self.values {
            Values::Bool(bits) => bits.append(from.flag(Damage::Bool)?),
            Values::Numbers(numbers, _) => numbers.extend(from.take(self.null_width)?),
            Values::Bytes {
                offsets,
                data,
                is_text,
            } => {
                let len = from.length()?;
                let bytes = from.take(len)?;
                if *is_text && std::str::from_utf8(bytes).is_err() {
                    return Err(Damage::Text);
                }
                offsets.push(room(data.len() + len)?);
                data.extend_from_slice(bytes);
            }
            Values::List { offsets, items } => {
                let len = from.count(items.null_width)?;
                offsets.push(room(items.len() + len)?);
                items.append_items(len, from)?;
            }
            Values::Map {
                offsets,
                keys,
                values,
            } => {
                let len = from.count(keys.null_width + values.null_width)?;
                offsets.push(room(keys.len() + len)?);
                keys.append_range(len, None, from)?;
                values.append_items(len, from)?;
            }
            Values::Struct(fields) => {
                let bitmap = from.bitmap(fields.len())?;
                for (index, field) in fields.iter_mut().enumerate() {
                    if bit(bitmap, index) {
                        field.append(from)?;
                    } else {
                        from.take(field.null_width)?;
                        field.append_nulls(1)?;
                    }
                }
            }
            Values::Embedding {
                size,
                numbers,
                nulls,
            } => {
                let presence = from.presence(*size)?;
                let bytes = from.take_items(*size, 4)?;
                room(numbers.len() + *size)?;
                Scalar::extend(numbers, bytes);
                append_presence(nulls, presence, *size);
            }
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// Reads which of n items are there, and the items.
    fn append_items(&mut self, n: usize, from: &mut Cursor<'_>) -> Result<(), Damage> {
        let presence = if n > 0 { from.presence(n)? } else { None };
        self.append_range(n, presence, from)
    }

    /// Reads n items, of which a bitmap tells the nulls.
    fn append_range(
        &mut self,
        n: usize,
        presence: Option<&[u8]>,
        from: &mut Cursor<'_>,
    ) -> Result<(), Damage> {
        if let Values::Numbers(numbers, _) = &mut self.values {
            numbers.extend(from.take_items(n, self.null_width)?);
            append_presence(&mut self.nulls, presence, n);
            return Ok(());
        }
        for index in 0..n {
            if presence.is_none_or(|bitmap| bit(bitmap, index)) {
                self.append(from)?;
            } else {
                from.take(self.null_width)?;
                self.append_nulls(1)?;
            }
        }
        Ok(())
    }

    /// How many values were appended.
    fn len(&self) -> usize {
        self.nulls.len()
    }

    /// The column.
    pub(super) fn finish(mut self) -> Result<ArrayRef, ArrowError> {
        let nulls = self.nulls.finish();
        Ok(match self.values {
            Values::Bool(mut bits) => Arc::new(BooleanArray::new(bits.finish(), nulls)),
            Values::Numbers(numbers, finish) => finish(numbers, nulls, self.data_type),
            Values::Bytes {
                offsets,
                data,
                is_text,
            } => {
                let offsets = OffsetBuffer::new(offsets.into());
                let data = Buffer::from_vec(data);
                match is_text {
                    true => Arc::new(StringArray::try_new(offsets, data, nulls)?),
                    false => Arc::new(BinaryArray::try_new(offsets, data, nulls)?),
                }
            }
            Values::List { offsets, items } => Arc::new(ListArray::try_new(
                inner_field(&self.data_type)?,
                OffsetBuffer::new(offsets.into()),
                items.finish()?,
                nulls,
            )?),
            Values::Map {
                offsets,
                keys,
                values,
            } => {
                let field = inner_field(&self.data_type)?;
                let DataType::Struct(fields) = field.data_type() else {
                    return Err(not_nested(&self.data_type));
                };
                let columns = vec![keys.finish()?, values.finish()?];
                let entries = StructArray::try_new(fields.clone(), columns, None)?;
                let offsets = OffsetBuffer::new(offsets.into());
                Arc::new(MapArray::try_new(field, offsets, entries, nulls, false)?)
            }
            Values::Struct(fields) => {
                let DataType::Struct(names) = self.data_type else {
                    return Err(not_nested(&self.data_type));
                };
                let columns = fields
                    .into_iter()
                    .map(Self::finish)
                    .collect::<Result<_, _>>()?;
                Arc::new(StructArray::try_new(names, columns, nulls)?)
            }
            Values::Embedding {
                size,
                numbers,
                nulls: mut number_nulls,
            } => {
                let numbers = Float32Array::new(numbers.into(), number_nulls.finish());
                Arc::new(FixedSizeListArray::try_new(
                    inner_field(&self.data_type)?,
                    i32::try_from(size).unwrap_or_default(),
                    Arc::new(numbers),
                    nulls,
                )?)
            }
        })
    }
}

/// A 32-bit offset.
fn room(end: usize) -> Result<i32, Damage> {
    i32::try_from(end).map_err(|_| Damage::TooLarge)
}

fn append_presence(nulls: &mut NullBufferBuilder, presence: Option<&[u8]>, n: usize) {
    match presence {
        None => nulls.append_n_non_nulls(n),
        Some(bitmap) => (0..n).for_each(|index| nulls.append(bit(bitmap, index))),
    }
}

fn inner_field(data_type: &DataType) -> Result<FieldRef, ArrowError> {
    match data_type {
        DataType::List(field) | DataType::FixedSizeList(field, _) | DataType::Map(field, _) => {
            Ok(field.clone())
        }
        other => Err(not_nested(other)),
    }
}

fn not_nested(data_type: &DataType) -> ArrowError {
    ArrowError::SchemaError(format!("{data_type} holds no other values"))
}
