//! Values in the heap: text and binary as they are, lists, maps and structs as a recursion.

use arrow_buffer::NullBuffer;

use super::column::{Column, Values};
use crate::scalar::Scalar;

/// A map has a null key, which no type of Arrow or of ours can hold.
pub(crate) struct NullMapKey;

impl Column<'_> {
    /// Appends one value, which is not null, as a feature's: where it ends is known from its slot.
    pub(crate) fn append_heap(&self, row: usize, out: &mut Vec<u8>) -> Result<(), NullMapKey> {
        match &self.values {
            Values::Bytes(bytes) => {
                out.extend_from_slice(bytes.get(row));
                Ok(())
            }
            // Without nulls its length alone says what it is.
            Values::Embedding {
                size,
                numbers,
                nulls,
            } if !has_null(*nulls, row * size, *size) => {
                Scalar::borrow(numbers).append(row * size..(row + 1) * size, out);
                Ok(())
            }
            _ => self.append_value(row, out),
        }
    }

    /// Appends one value, which is not null, so that its end is known from itself.
    fn append_value(&self, row: usize, out: &mut Vec<u8>) -> Result<(), NullMapKey> {
        match &self.values {
            Values::Bool(bits) => out.push(bits.value(row).into()),
            Values::Numbers(numbers) => numbers.append(row..row + 1, out),
            Values::Bytes(bytes) => {
                let bytes = bytes.get(row);
                append_len(bytes.len(), out);
                out.extend_from_slice(bytes);
            }
            Values::List { offsets, items } => {
                let (start, len) = range(offsets, row);
                append_len(len, out);
                items.append_items(start, len, out)?;
            }
            Values::Map {
                offsets,
                keys,
                values,
            } => {
                let (start, len) = range(offsets, row);
                if has_null(keys.nulls, start, len) {
                    return Err(NullMapKey);
                }
                append_len(len, out);
                keys.append_range(start, len, out)?;
                values.append_items(start, len, out)?;
            }
            Values::Struct(columns) => {
                append_bitmap(columns.len(), |field| columns[field].is_valid(row), out);
                for column in columns {
                    column.append_range(row, 1, out)?;
                }
            }
            Values::Embedding {
                size,
                numbers,
                nulls,
            } => {
                let start = row * size;
                append_presence(*nulls, start, *size, out);
                if !has_null(*nulls, start, *size) {
                    Scalar::borrow(numbers).append(start..start + size, out);
                    return Ok(());
                }
                for index in start..start + size {
                    let is_valid = nulls.is_none_or(|nulls| nulls.is_valid(index));
                    let number = if is_valid { numbers[index] } else { 0.0 };
                    out.extend_from_slice(&number.to_le_bytes());
                }
            }
        }
        Ok(())
    }

    /// Appends which of some values are there, and the values; nothing if there are none.
    fn append_items(&self, start: usize, len: usize, out: &mut Vec<u8>) -> Result<(), NullMapKey> {
        if len > 0 {
            append_presence(self.nulls, start, len, out);
        }
        self.append_range(start, len, out)
    }

    /// Appends some values one after the other, zeros for nulls.
    fn append_range(&self, start: usize, len: usize, out: &mut Vec<u8>) -> Result<(), NullMapKey> {
        if let Values::Numbers(numbers) = &self.values
            && !has_null(self.nulls, start, len)
        {
            numbers.append(start..start + len, out);
            return Ok(());
        }
        for row in start..start + len {
            if self.is_valid(row) {
                self.append_value(row, out)?;
            } else {
                out.resize(out.len() + self.null_width, 0);
            }
        }
        Ok(())
    }
}

/// Lengths come from 32-bit offsets, so they fit.
fn append_len(len: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(len as u32).to_le_bytes());
}

fn range(offsets: &[i32], row: usize) -> (usize, usize) {
    let start = offsets[row] as usize;
    (start, offsets[row + 1] as usize - start)
}

fn has_null(nulls: Option<&NullBuffer>, start: usize, len: usize) -> bool {
    nulls.is_some_and(|nulls| (start..start + len).any(|row| nulls.is_null(row)))
}

/// A zero byte if all are there, else a one and a bitmap of those that are.
fn append_presence(nulls: Option<&NullBuffer>, start: usize, len: usize, out: &mut Vec<u8>) {
    match nulls {
        Some(nulls) if has_null(Some(nulls), start, len) => {
            out.push(1);
            append_bitmap(len, |index| nulls.is_valid(start + index), out);
        }
        _ => out.push(0),
    }
}

fn append_bitmap(len: usize, is_valid: impl Fn(usize) -> bool, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + crate::shape::bitmap_len(len), 0);
    for index in 0..len {
        if is_valid(index) {
            out[start + index / 8] |= 1 << (index % 8);
        }
    }
}
