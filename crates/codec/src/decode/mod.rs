//! Packed rows become Arrow columns.
//!
//! Rows are checked one by one, then the wanted features are read column by column, each with one
//! look at its type. A row in which anything does not fit counts as if there were none, in all
//! columns, and is reported.

mod bytes;
mod column;
mod nested;

use std::sync::Arc;

use arrow_array::{ArrayRef, TimestampMicrosecondArray};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};
use provender_core::request::ViewRows;
use provender_core::time::UTC;
use provender_core::{Error, Result, codes};

use crate::format::{RowLayout, Slot};
use crate::header::{Fault, Header};
use crate::shape::bitmap_len;

/// The reading of some features of a view's rows, prepared. Many threads may share one.
#[derive(Clone, Debug)]
pub struct RowDecoder {
    layout: Arc<RowLayout>,
    slots: Arc<[Slot]>,
    zone: Arc<str>,
}

/// A row from its null bitmap on; nothing where there is no row.
type Payload<'a> = &'a [u8];

/// Why a column cannot be made.
enum Stop {
    /// Some rows are not what their schema says: their places, with what is wrong.
    Unreadable(Vec<(usize, String)>),
    /// No fault of a row.
    Failed(Error),
}

impl RowDecoder {
    pub(crate) fn new(layout: Arc<RowLayout>, slots: Arc<[Slot]>) -> Self {
        Self {
            layout,
            slots,
            zone: Arc::from(UTC),
        }
    }

    /// Reads N packed rows into N rows of the decoder's features, in their order. `None` and a
    /// tombstone are no row: its event time and features are null. So they are for a row that cannot
    /// be read, which is also reported with the reason; other rows are not touched by it.
    ///
    /// # Errors
    /// `ResourceExhausted` (`P608`) if a column of the answer would pass 2 GiB.
    pub fn decode(&self, rows: &[Option<&[u8]>]) -> Result<ViewRows> {
        self.decode_opened(rows, Header::verify)
    }

    /// As [`Self::decode`], for rows that were found sound by [`crate::is_sound`] and have not changed since: their
    /// checksums are not looked at again.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_sound(&self, rows: &[Option<&[u8]>]) -> Result<ViewRows> {
        self.decode_opened(rows, Header::parse)
    }

    #[inline]
    fn decode_opened<'a>(
        &self,
        rows: &[Option<&'a [u8]>],
        header: impl Fn(&'a [u8]) -> Result<Header<'a>, Fault>,
    ) -> Result<ViewRows> {
        let mut payloads: Vec<Payload<'_>> = Vec::with_capacity(rows.len());
        let mut events = Vec::with_capacity(rows.len());
        let mut present = Presence::new(rows.len());
        let mut unreadable = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            let opened = match row {
                Some(row) => header(row).and_then(|header| self.open(header)),
                None => Ok(None),
            };
            let (event_us, payload) = match opened {
                Ok(Some(opened)) => opened,
                absent => {
                    if let Err(fault) = absent {
                        unreadable.push((index, fault.to_string()));
                    }
                    present.clear(index);
                    (0, Payload::default())
                }
            };
            events.push(event_us);
            payloads.push(payload);
        }
        let features = loop {
            match self.columns(&payloads) {
                Ok(features) => break features,
                Err(Stop::Failed(error)) => return Err(error),
                // Columns that were made before the fault was met hold values of its row, so all are
                // made again without it.
                Err(Stop::Unreadable(faults)) => {
                    for (index, reason) in faults {
                        payloads[index] = Payload::default();
                        events[index] = 0;
                        present.clear(index);
                        unreadable.push((index, reason));
                    }
                }
            }
        };
        unreadable.sort_by_key(|(index, _)| *index);
        Ok(ViewRows {
            event_times: TimestampMicrosecondArray::new(events.into(), present.finish())
                .with_timezone(self.zone.clone()),
            features,
            unreadable,
        })
    }

    /// A row's event time and payload, if it is a row of this layout; `None` for a tombstone.
    #[inline]
    fn open<'a>(&self, header: Header<'a>) -> Result<Option<(i64, Payload<'a>)>, Fault> {
        if header.fingerprint != self.layout.fingerprint {
            return Err(Fault::Schema {
                found: header.fingerprint,
                expected: self.layout.fingerprint,
            });
        }
        let payload = header.payload;
        if header.is_tombstone {
            return match payload.is_empty() {
                true => Ok(None),
                false => Err(Fault::Length),
            };
        }
        let heap_len = match self.layout.last_end_at {
            Some(at) => slot_end(payload, at).ok_or(Fault::Length)?,
            None => 0,
        };
        if payload.len().checked_sub(self.layout.head_len) != Some(heap_len) {
            return Err(Fault::Length);
        }
        let (at, spare) = self.layout.spare_bits;
        if payload.get(at).is_some_and(|byte| byte & spare != 0) {
            return Err(Fault::Bitmap);
        }
        Ok(Some((header.order.event_us, payload)))
    }

    fn columns(&self, payloads: &[Payload<'_>]) -> Result<Vec<ArrayRef>, Stop> {
        self.slots
            .iter()
            .map(|slot| column::decode(slot, self.layout.head_len, payloads))
            .collect()
    }
}

/// Where a value of the heap ends, by its slot.
#[inline]
fn slot_end(payload: Payload<'_>, at: usize) -> Option<usize> {
    let end = payload.get(at..)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*end)).ok()
}

/// A call-level error: the answer to one call does not fit Arrow's 32-bit offsets.
fn too_large(slot: &Slot) -> Stop {
    Stop::Failed(
        Error::new(
            &codes::ROW_TOO_LARGE,
            format!(
                "the values of feature {:?} in one answer take more than 2 GiB",
                slot.name
            ),
        )
        .help("ask for fewer keys at a time"),
    )
}

/// Arrow refuses arrays that were built here.
fn defect(slot: &Slot, error: arrow_schema::ArrowError) -> Stop {
    Stop::Failed(
        Error::new(
            &codes::INTERNAL,
            format!("feature {:?} cannot be made a column", slot.name),
        )
        .source(error),
    )
}

/// Which rows of a column are there: all, until one is cleared. Most columns have no nulls, and cost
/// nothing here.
struct Presence {
    bits: Option<Vec<u8>>,
    len: usize,
}

impl Presence {
    fn new(len: usize) -> Self {
        Self { bits: None, len }
    }

    #[inline]
    fn clear(&mut self, index: usize) {
        let bits = self
            .bits
            .get_or_insert_with(|| vec![u8::MAX; bitmap_len(self.len)]);
        bits[index / 8] &= !(1 << (index % 8));
    }

    /// `None` if all are there.
    fn finish(self) -> Option<NullBuffer> {
        let bits = Buffer::from_vec(self.bits?);
        Some(NullBuffer::new(BooleanBuffer::new(bits, 0, self.len)))
    }
}
