//! The header of a packed row: format, order, checksum.
//!
//! Decides what makes a row readable at all and which of two rows is newer. Knows nothing of
//! features.

use std::fmt;

use provender_core::{Error, Result, codes};

/// The format that this version writes, and the only one that it reads.
pub(crate) const FORMAT: u8 = 1;
/// Flag: a created time follows the event time.
pub(crate) const HAS_CREATED: u8 = 1;
/// Flag: the row says that the key was deleted.
pub(crate) const TOMBSTONE: u8 = 1 << 1;
/// Flag: tie breakers follow.
pub(crate) const HAS_TIES: u8 = 1 << 2;
/// Where the checksum's coverage pauses and resumes.
const CHECKSUM_AT: usize = 6;
const CHECKED_FROM: usize = 10;
/// The shortest header: a row of an event time alone.
const MIN_LEN: usize = 18;

/// Where a row stands in newer-wins: of two rows of a key the greater one is kept, and of two equal
/// ones the one that was written later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowOrder<'a> {
    /// The event time (us, UTC).
    pub event_us: i64,
    /// The created time (us, UTC); none is lowest.
    pub created_us: Option<i64>,
    /// The tie breakers, as bytes that compare as the tie breakers do; empty if there are none.
    pub ties: &'a [u8],
}

/// Reads where a packed row stands in newer-wins, from its header alone: the checksum is not looked
/// at, so that a store pays nothing for the features of rows that it only compares.
///
/// # Errors
/// `DataLoss` (`P603`) for bytes that are no packed row of this format.
pub fn order(row: &[u8]) -> Result<RowOrder<'_>> {
    match Header::parse(row) {
        Ok(header) => Ok(header.order),
        Err(fault) => Err(Error::new(
            &codes::ONLINE_DATA,
            format!("a stored online row cannot be compared: {fault}"),
        )
        .help("materialise its view again")),
    }
}

/// Whether a packed row says that its key was deleted; false for bytes that are no packed row.
pub fn is_tombstone(row: &[u8]) -> bool {
    Header::parse(row).is_ok_and(|header| header.is_tombstone)
}

/// Whether the bytes are a packed row of this format, all of them as they were written. What they hold may
/// still be of another schema.
pub fn is_sound(row: &[u8]) -> bool {
    Header::verify(row).is_ok()
}

/// What is wrong with a row as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Shorter than its header.
    Short(usize),
    /// Of a format that this version does not know.
    Format(u8),
    /// Changed since it was written.
    Checksum,
    /// With flags that this version does not know.
    Flags(u8),
    /// Of another schema.
    Schema { found: u32, expected: u32 },
    /// Longer or shorter than its header and features say.
    Length,
    /// With a bit for a feature that does not exist.
    Bitmap,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(len) => write!(f, "it is too short ({len} bytes)"),
            Self::Format(found) if *found > FORMAT => {
                write!(f, "it has format {found}, of a newer version")
            }
            Self::Format(found) => write!(f, "it has format {found}, which does not exist"),
            Self::Checksum => f.write_str("its checksum does not match, so it is damaged"),
            Self::Flags(flags) => write!(f, "it has unknown flags ({flags:#04x})"),
            Self::Schema { found, expected } => write!(
                f,
                "it was written for another schema (fingerprint {found:08x}, not {expected:08x})"
            ),
            Self::Length => f.write_str("its length does not fit what it holds"),
            Self::Bitmap => f.write_str("it has values for features that do not exist"),
        }
    }
}

/// A row's header, and what follows it.
#[derive(Debug)]
pub(crate) struct Header<'a> {
    pub(crate) order: RowOrder<'a>,
    pub(crate) is_tombstone: bool,
    pub(crate) fingerprint: u32,
    /// The null bitmap, the fixed part and the heap.
    pub(crate) payload: &'a [u8],
}

impl<'a> Header<'a> {
    /// Reads a header without looking at the checksum.
    #[inline]
    pub(crate) fn parse(row: &'a [u8]) -> Result<Self, Fault> {
        let short = Fault::Short(row.len());
        let format = *row.first().ok_or(short)?;
        if format != FORMAT {
            return Err(Fault::Format(format));
        }
        let (start, mut rest) = row.split_first_chunk::<MIN_LEN>().ok_or(short)?;
        let [_, flags, f0, f1, f2, f3, _, _, _, _, event @ ..] = *start;
        if flags & !(HAS_CREATED | TOMBSTONE | HAS_TIES) != 0 {
            return Err(Fault::Flags(flags));
        }
        let mut order = RowOrder {
            event_us: i64::from_le_bytes(event),
            created_us: None,
            ties: &[],
        };
        if flags & HAS_CREATED != 0 {
            let (created, after) = rest.split_first_chunk().ok_or(short)?;
            order.created_us = Some(i64::from_le_bytes(*created));
            rest = after;
        }
        if flags & HAS_TIES != 0 {
            let (len, after) = rest.split_first_chunk().ok_or(short)?;
            let len = usize::from(u16::from_le_bytes(*len));
            (order.ties, rest) = after.split_at_checked(len).ok_or(short)?;
        }
        Ok(Self {
            order,
            is_tombstone: flags & TOMBSTONE != 0,
            fingerprint: u32::from_le_bytes([f0, f1, f2, f3]),
            payload: rest,
        })
    }

    /// Reads a header of a row whose bytes are all as they were written.
    #[inline]
    pub(crate) fn verify(row: &'a [u8]) -> Result<Self, Fault> {
        // The format comes first: of others it is not known where the checksum lies.
        let header = Self::parse(row);
        if let Err(Fault::Format(_)) = header {
            return header;
        }
        let stored = row
            .get(CHECKSUM_AT..)
            .and_then(|bytes| bytes.first_chunk())
            .map(|bytes| u32::from_le_bytes(*bytes));
        if stored.is_some() && stored != checksum(row) {
            return Err(Fault::Checksum);
        }
        header
    }
}

/// The checksum of all bytes but its own; `None` if there is no room for it.
#[inline]
fn checksum(row: &[u8]) -> Option<u32> {
    let before = row.get(..CHECKSUM_AT)?;
    let after = row.get(CHECKED_FROM..)?;
    Some(crc32c::crc32c_append(crc32c::crc32c(before), after))
}

/// Appends a header without its checksum and tie breakers.
#[inline]
pub(crate) fn begin(
    out: &mut Vec<u8>,
    flags: u8,
    fingerprint: u32,
    event_us: i64,
    created_us: Option<i64>,
) {
    out.push(FORMAT);
    out.push(flags);
    out.extend_from_slice(&fingerprint.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&event_us.to_le_bytes());
    if let Some(created_us) = created_us {
        out.extend_from_slice(&created_us.to_le_bytes());
    }
}

/// Writes the checksum into a row that is otherwise complete.
#[inline]
pub(crate) fn seal(row: &mut [u8]) {
    if let Some(checksum) = checksum(row)
        && let Some(place) = row.get_mut(CHECKSUM_AT..CHECKED_FROM)
    {
        place.copy_from_slice(&checksum.to_le_bytes());
    }
}
