//! One feature of N rows, by its type.

use std::sync::Arc;

use arrow_array::{ArrayRef, ArrowPrimitiveType, BooleanArray, PrimitiveArray};
use arrow_buffer::{BooleanBuffer, Buffer};
use provender_core::ValueType;

use super::nested::{Builder, Cursor, Damage};
use super::{Payload, Presence, Stop, bytes, slot_end};
use crate::format::Slot;
use crate::scalar::{Scalar, match_fixed};
use crate::shape::{bit, bitmap_len};

/// Makes a feature's column, one row per payload.
pub(super) fn decode(
    slot: &Slot,
    head_len: usize,
    payloads: &[Payload<'_>],
) -> Result<ArrayRef, Stop> {
    match_fixed!(&slot.value_type, T => Ok(numbers::<T>(slot, payloads)),
        ValueType::Bool => bools(slot, payloads),
        ValueType::String | ValueType::Json => bytes::strings(slot, head_len, payloads),
        ValueType::Binary => bytes::binary(slot, head_len, payloads),
        _ => nested(slot, head_len, payloads),
    )
}

impl Slot {
    /// Whether the row has a value; false where there is no row.
    #[inline]
    pub(super) fn is_present(&self, payload: Payload<'_>) -> bool {
        bit(payload, self.index)
    }

    /// The bytes of a value in the heap.
    #[inline]
    pub(super) fn heap<'a>(&self, payload: Payload<'a>, head_len: usize) -> Option<&'a [u8]> {
        let start = match self.start_at {
            Some(at) => slot_end(payload, at)?,
            None => 0,
        };
        let end = slot_end(payload, self.at)?;
        payload.get(head_len..)?.get(start..end)
    }

    /// What is said of a row whose value of this feature cannot be read.
    pub(super) fn damage(&self, damage: impl std::fmt::Display) -> String {
        format!("feature {:?} {damage}", self.name)
    }
}

fn numbers<T>(slot: &Slot, payloads: &[Payload<'_>]) -> ArrayRef
where
    T: ArrowPrimitiveType,
    T::Native: Scalar,
{
    let mut present = Presence::new(payloads.len());
    let mut values = Vec::with_capacity(payloads.len());
    values.extend(payloads.iter().enumerate().map(|(row, payload)| {
        if !slot.is_present(payload) {
            present.clear(row);
            return T::Native::default();
        }
        // The slot is within the payload, whose length was checked.
        <T::Native as Scalar>::read(payload, slot.at).unwrap_or_default()
    }));
    let array = PrimitiveArray::<T>::new(values.into(), present.finish());
    Arc::new(array.with_data_type(slot.data_type.clone()))
}

fn bools(slot: &Slot, payloads: &[Payload<'_>]) -> Result<ArrayRef, Stop> {
    let mut present = Presence::new(payloads.len());
    let mut values = vec![0_u8; bitmap_len(payloads.len())];
    let mut faults = Vec::new();
    for (row, payload) in payloads.iter().enumerate() {
        if !slot.is_present(payload) {
            present.clear(row);
            continue;
        }
        match payload.get(slot.at) {
            Some(0) => {}
            Some(1) => values[row / 8] |= 1 << (row % 8),
            _ => faults.push((row, slot.damage(Damage::Bool))),
        }
    }
    if !faults.is_empty() {
        return Err(Stop::Unreadable(faults));
    }
    let values = BooleanBuffer::new(Buffer::from_vec(values), 0, payloads.len());
    Ok(Arc::new(BooleanArray::new(values, present.finish())))
}

fn nested(slot: &Slot, head_len: usize, payloads: &[Payload<'_>]) -> Result<ArrayRef, Stop> {
    let mut builder = Builder::new(&slot.value_type, slot.data_type.clone());
    let mut faults = Vec::new();
    for (row, payload) in payloads.iter().enumerate() {
        let appended = if slot.is_present(payload) {
            slot.heap(payload, head_len)
                .ok_or(Damage::Length)
                .and_then(|heap| builder.append_feature(Cursor::new(heap)))
        } else {
            builder.append_nulls(1)
        };
        match appended {
            Ok(()) => {}
            Err(Damage::TooLarge) if faults.is_empty() => return Err(super::too_large(slot)),
            Err(Damage::TooLarge) => break,
            // What was appended of the value stays: the column is thrown away, and the rest of the
            // rows is only looked at for more faults.
            Err(damage) => faults.push((row, slot.damage(damage))),
        }
    }
    if !faults.is_empty() {
        return Err(Stop::Unreadable(faults));
    }
    builder.finish().map_err(|error| super::defect(slot, error))
}
