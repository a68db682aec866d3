//! Tie breakers as bytes whose order is the tie breakers' own.
//!
//! Null is lowest, false before true, numbers by value, -0.0 before 0.0, every NaN one greatest
//! value, strings and binary byte by byte. Whole numbers of all widths share one encoding, and so do
//! floats, so that a source's column may be widened without disturbing the order of rows that are
//! already held. Lists, structs, maps and embeddings have no order: all their values are equal.

use provender_core::ValueType;

use crate::encode::{Column, Values};
use crate::scalar::{Numbers, append_terminated};

const NULL: u8 = 0;
const BOOL: u8 = 1;
const INTEGER: u8 = 2;
const DECIMAL: u8 = 3;
const FLOAT: u8 = 4;
const STRING: u8 = 5;
const BINARY: u8 = 6;
const DATE: u8 = 7;
const TIMESTAMP: u8 = 8;
const UNORDERED: u8 = 9;

/// One tie breaker's column, bound for writing.
pub(crate) struct TieColumn<'a> {
    tag: u8,
    column: Column<'a>,
}

impl<'a> TieColumn<'a> {
    pub(crate) fn new(value_type: &ValueType, column: Column<'a>) -> Self {
        let tag = match value_type {
            ValueType::Bool => BOOL,
            ValueType::Decimal(_, _) => DECIMAL,
            ValueType::Float32 | ValueType::Float64 => FLOAT,
            ValueType::String | ValueType::Json => STRING,
            ValueType::Binary => BINARY,
            ValueType::Date => DATE,
            ValueType::Timestamp => TIMESTAMP,
            other if other.is_integer() => INTEGER,
            _ => UNORDERED,
        };
        Self { tag, column }
    }

    /// Appends one row's tie breaker.
    pub(crate) fn append(&self, row: usize, out: &mut Vec<u8>) {
        if !self.column.is_valid(row) {
            out.push(NULL);
            return;
        }
        out.push(self.tag);
        match (&self.column.values, self.tag) {
            (Values::Bool(bits), _) => out.push(bits.value(row).into()),
            (Values::Numbers(numbers), INTEGER) => append_integer(integer(*numbers, row), out),
            (Values::Numbers(Numbers::F32(floats)), _) => append_float(floats[row].into(), out),
            (Values::Numbers(Numbers::F64(floats)), _) => append_float(floats[row], out),
            (Values::Numbers(numbers), _) => numbers.append_ordered(row, out),
            (Values::Bytes(bytes), _) => append_terminated(bytes.get(row), out),
            _ => {}
        }
    }
}

fn integer(numbers: Numbers<'_>, row: usize) -> i128 {
    match numbers {
        Numbers::I8(values) => values[row].into(),
        Numbers::I16(values) => values[row].into(),
        Numbers::I32(values) => values[row].into(),
        Numbers::I64(values) => values[row].into(),
        Numbers::I128(values) => values[row],
        Numbers::U8(values) => values[row].into(),
        Numbers::U16(values) => values[row].into(),
        Numbers::U32(values) => values[row].into(),
        Numbers::U64(values) => values[row].into(),
        Numbers::F32(_) | Numbers::F64(_) => 0,
    }
}

/// A sign byte (0 below zero, 1 otherwise), then the low 64 bits of two's complement.
fn append_integer(value: i128, out: &mut Vec<u8>) {
    out.push((value >= 0).into());
    out.extend_from_slice(&(value as u64).to_be_bytes());
}

fn append_float(value: f64, out: &mut Vec<u8>) {
    let bits = value.to_bits();
    let ordered = if value.is_nan() {
        u64::MAX
    } else if value.is_sign_negative() {
        !bits
    } else {
        bits | (1 << 63)
    };
    out.extend_from_slice(&ordered.to_be_bytes());
}
