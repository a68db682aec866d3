//! Features that are text or binary.

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, StringArray};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer};

use super::nested::Damage;
use super::{Payload, Presence, Stop};
use crate::format::Slot;

/// A column of text. UTF-8 is validated once over the whole column, as Arrow does in any case; only
/// if that fails are the rows looked at one by one.
pub(super) fn strings(
    slot: &Slot,
    head_len: usize,
    payloads: &[Payload<'_>],
) -> Result<ArrayRef, Stop> {
    let (offsets, data, nulls) = gather(slot, head_len, payloads)?;
    match StringArray::try_new(offsets, data, nulls) {
        Ok(array) => Ok(Arc::new(array)),
        Err(error) => {
            let faults: Vec<_> = payloads
                .iter()
                .enumerate()
                .filter(|(_, payload)| slot.is_present(payload))
                .filter(|(_, payload)| {
                    let text = slot.heap(payload, head_len);
                    text.is_none_or(|text| std::str::from_utf8(text).is_err())
                })
                .map(|(row, _)| (row, slot.damage(Damage::Text)))
                .collect();
            if faults.is_empty() {
                return Err(super::defect(slot, error));
            }
            Err(Stop::Unreadable(faults))
        }
    }
}

/// A column of binary.
pub(super) fn binary(
    slot: &Slot,
    head_len: usize,
    payloads: &[Payload<'_>],
) -> Result<ArrayRef, Stop> {
    let (offsets, data, nulls) = gather(slot, head_len, payloads)?;
    BinaryArray::try_new(offsets, data, nulls)
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(|error| super::defect(slot, error))
}

/// All values one after the other, in one allocation of their exact size.
fn gather(
    slot: &Slot,
    head_len: usize,
    payloads: &[Payload<'_>],
) -> Result<(OffsetBuffer<i32>, Buffer, Option<NullBuffer>), Stop> {
    let mut present = Presence::new(payloads.len());
    let mut offsets = Vec::with_capacity(payloads.len() + 1);
    offsets.push(0_i32);
    let mut total = 0_usize;
    let mut faults = Vec::new();
    for (row, payload) in payloads.iter().enumerate() {
        if slot.is_present(payload) {
            match slot.heap(payload, head_len) {
                Some(value) => total = total.saturating_add(value.len()),
                None => faults.push((row, slot.damage(Damage::Length))),
            }
        } else {
            present.clear(row);
        }
        offsets.push(i32::try_from(total).map_err(|_| super::too_large(slot))?);
    }
    if !faults.is_empty() {
        return Err(Stop::Unreadable(faults));
    }
    let mut data = Vec::with_capacity(total);
    for payload in payloads {
        if slot.is_present(payload)
            && let Some(value) = slot.heap(payload, head_len)
        {
            data.extend_from_slice(value);
        }
    }
    let offsets = OffsetBuffer::new(offsets.into());
    Ok((offsets, Buffer::from_vec(data), present.finish()))
}
