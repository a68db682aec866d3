//! What is looked at before Arrow reads a message.
//!
//! Arrow's reader allocates what lengths in a message say and slices where offsets say. Here every
//! length is compared with the bytes that are really there. Types are limited to those that have a
//! meaning in a table of keys and features, so that no exotic layout reaches the reader.

use arrow_ipc::{
    DateUnit, DictionaryBatch, Field, IntervalUnit, Message, Precision, RecordBatch, Schema,
    TimeUnit, Type, root_as_message_with_opts,
};
use flatbuffers::VerifierOptions;
use provender_core::{Error, Result, codes};

use super::WireLimits;

/// Fields of a schema, nested ones included.
const MAX_FIELDS: usize = 20_000;
/// How deep types may nest.
const MAX_DEPTH: usize = 32;
/// An IPC message is a table with a version, a type and a header: it has no shorter form.
const MIN_HEADER_BYTES: usize = 12;
/// Rows of one message.
const MAX_ROWS: i64 = 1 << 31;
/// Rows of one message whose columns take no room: nulls, or no columns at all.
const MAX_EMPTY_ROWS: i64 = 1 << 16;
/// The longest fixed-size value, and the longest fixed-size list.
const MAX_FIXED: i32 = 1 << 24;
/// Bytes before a compressed buffer that say how long it was.
const LENGTH_PREFIX: usize = 8;
/// The length of a buffer that is not compressed although its message is.
const NOT_COMPRESSED: i64 = -1;

/// The message of a header, its form verified.
pub(super) fn message(header: &[u8]) -> Result<Message<'_>> {
    if header.len() < MIN_HEADER_BYTES {
        return Err(refused(format!(
            "its header has {} bytes, too few for a message",
            header.len()
        )));
    }
    let options = VerifierOptions {
        max_depth: MAX_DEPTH * 4,
        max_tables: MAX_FIELDS * 8,
        max_apparent_size: 64 << 20,
        ignore_missing_null_terminator: false,
    };
    root_as_message_with_opts(&options, header).map_err(|error| {
        refused("its header is no Arrow IPC message".to_owned()).source(Text::of(&error))
    })
}

/// Checks a schema: it has fields (perhaps none), with names, of types that tables here can have.
pub(super) fn schema(schema: Schema<'_>) -> Result<()> {
    let fields = schema
        .fields()
        .ok_or_else(|| refused("its schema has no list of fields".to_owned()))?;
    let mut n_fields = 0;
    fields
        .iter()
        .try_for_each(|each| field(each, 0, &mut n_fields))
}

fn field(field_: Field<'_>, depth: usize, n_fields: &mut usize) -> Result<()> {
    *n_fields += 1;
    if *n_fields > MAX_FIELDS {
        return Err(refused(format!(
            "its schema has more than {MAX_FIELDS} fields"
        )));
    }
    if depth > MAX_DEPTH {
        return Err(refused(format!("its types nest deeper than {MAX_DEPTH}")));
    }
    let name = field_.name().unwrap_or("(unnamed)");
    if field_.name().is_none() {
        return Err(refused("a field of its schema has no name".to_owned()));
    }
    let n_children = field_.children().map_or(0, |children| children.len());
    let wrong = |what: &str| refused(format!("field {name:?} of its schema {what}"));
    let expected_children = match field_.type_type() {
        Type::Null
        | Type::Int
        | Type::FloatingPoint
        | Type::Binary
        | Type::Utf8
        | Type::Bool
        | Type::Decimal
        | Type::Date
        | Type::Time
        | Type::Timestamp
        | Type::Interval
        | Type::Duration
        | Type::LargeBinary
        | Type::LargeUtf8
        | Type::BinaryView
        | Type::Utf8View => Some(0),
        Type::FixedSizeBinary => {
            let width = field_
                .type_as_fixed_size_binary()
                .map_or(-1, |it| it.byteWidth());
            if !(0..=MAX_FIXED).contains(&width) {
                return Err(wrong("has an impossible width"));
            }
            Some(0)
        }
        Type::FixedSizeList => {
            let size = field_
                .type_as_fixed_size_list()
                .map_or(-1, |it| it.listSize());
            if !(0..=MAX_FIXED).contains(&size) {
                return Err(wrong("has an impossible size"));
            }
            Some(1)
        }
        Type::List | Type::LargeList | Type::Map => Some(1),
        Type::Struct_ => None,
        _ => return Err(wrong("has a type that is not supported")),
    };
    if !has_known_parameters(field_) {
        return Err(wrong("has a type of unknown width, unit or precision"));
    }
    if expected_children.is_some_and(|expected| expected != n_children) {
        return Err(wrong("has another number of children than its type"));
    }
    field_
        .children()
        .into_iter()
        .flatten()
        .try_for_each(|child| field(child, depth + 1, n_fields))
}

/// Whether what a type says of itself beside its name is there and has a meaning. Arrow's reader
/// panics about anything else, which is fenced, and dear.
fn has_known_parameters(field: Field<'_>) -> bool {
    let is_unit = |unit| {
        [
            TimeUnit::SECOND,
            TimeUnit::MILLISECOND,
            TimeUnit::MICROSECOND,
            TimeUnit::NANOSECOND,
        ]
        .contains(&unit)
    };
    let is_width = |width| [8, 16, 32, 64].contains(&width);
    let is_type = match field.type_type() {
        Type::Int => field
            .type_as_int()
            .is_some_and(|it| is_width(it.bitWidth())),
        Type::FloatingPoint => field.type_as_floating_point().is_some_and(|it| {
            [Precision::HALF, Precision::SINGLE, Precision::DOUBLE].contains(&it.precision())
        }),
        Type::Date => field
            .type_as_date()
            .is_some_and(|it| [DateUnit::DAY, DateUnit::MILLISECOND].contains(&it.unit())),
        Type::Time => field.type_as_time().is_some_and(|it| {
            let is_coarse = [TimeUnit::SECOND, TimeUnit::MILLISECOND].contains(&it.unit());
            is_unit(it.unit()) && it.bitWidth() == if is_coarse { 32 } else { 64 }
        }),
        Type::Timestamp => field
            .type_as_timestamp()
            .is_some_and(|it| is_unit(it.unit())),
        Type::Duration => field
            .type_as_duration()
            .is_some_and(|it| is_unit(it.unit())),
        Type::Interval => field.type_as_interval().is_some_and(|it| {
            [
                IntervalUnit::YEAR_MONTH,
                IntervalUnit::DAY_TIME,
                IntervalUnit::MONTH_DAY_NANO,
            ]
            .contains(&it.unit())
        }),
        Type::Decimal => field.type_as_decimal().is_some_and(|it| {
            [32, 64, 128, 256].contains(&it.bitWidth())
                && u8::try_from(it.precision()).is_ok()
                && i8::try_from(it.scale()).is_ok()
        }),
        Type::Map => field.type_as_map().is_some(),
        // Others say nothing, or were looked at above.
        _ => true,
    };
    let is_index = field.dictionary().is_none_or(|it| {
        it.indexType()
            .is_some_and(|index| is_width(index.bitWidth()))
    });
    is_type && is_index
}

/// Checks that every buffer of a batch lies in its body and that no count is impossible.
pub(super) fn batch(batch: RecordBatch<'_>, body: &[u8], limits: &WireLimits) -> Result<()> {
    if !(0..=MAX_ROWS).contains(&batch.length()) {
        return Err(refused(format!("it claims {} rows", batch.length())));
    }
    let (Some(buffers), Some(nodes)) = (batch.buffers(), batch.nodes()) else {
        return Err(refused(
            "it has no list of buffers or of columns".to_owned(),
        ));
    };
    let mut decoded_bytes = 0_i64;
    for buffer in buffers {
        let found = usize::try_from(buffer.offset())
            .ok()
            .zip(usize::try_from(buffer.length()).ok())
            .and_then(|(start, length)| body.get(start..start.checked_add(length)?));
        let Some(found) = found else {
            return Err(refused("a buffer lies outside of its body".to_owned()));
        };
        let length = match batch.compression() {
            Some(_) if !found.is_empty() => uncompressed_length(found)?,
            _ => buffer.length(),
        };
        decoded_bytes = decoded_bytes.saturating_add(length);
    }
    if usize::try_from(decoded_bytes).map_or(true, |bytes| bytes > limits.max_decoded_bytes) {
        return Err(Error::new(
            &codes::MESSAGE_TOO_LARGE,
            format!(
                "an Arrow message has {decoded_bytes} bytes of rows, and at most {} are read",
                limits.max_decoded_bytes
            ),
        )
        .help("send smaller batches"));
    }
    // Every value but those of types without a width takes at least a bit.
    let most_values = decoded_bytes.saturating_mul(8).max(MAX_EMPTY_ROWS);
    if batch.length() > most_values {
        return Err(refused(format!(
            "it claims {} rows, and its columns have {decoded_bytes} bytes",
            batch.length()
        )));
    }
    for node in nodes {
        let is_possible = (0..=most_values).contains(&node.length())
            && (0..=node.length()).contains(&node.null_count());
        if !is_possible {
            return Err(refused(format!(
                "a column claims {} values, of which {} are null",
                node.length(),
                node.null_count()
            )));
        }
    }
    Ok(())
}

/// Checks a dictionary as a batch.
pub(super) fn dictionary(
    dictionary: DictionaryBatch<'_>,
    body: &[u8],
    limits: &WireLimits,
) -> Result<()> {
    match dictionary.data() {
        Some(data) => batch(data, body, limits),
        None => Err(refused("a dictionary has no values".to_owned())),
    }
}

fn uncompressed_length(buffer: &[u8]) -> Result<i64> {
    let prefix = buffer
        .get(..LENGTH_PREFIX)
        .and_then(|prefix| <[u8; LENGTH_PREFIX]>::try_from(prefix).ok())
        .ok_or_else(|| refused("a compressed buffer does not say its length".to_owned()))?;
    match i64::from_le_bytes(prefix) {
        NOT_COMPRESSED => Ok(buffer.len() as i64),
        length if length >= 0 => Ok(length),
        length => Err(refused(format!(
            "a compressed buffer claims {length} bytes"
        ))),
    }
}

/// An error about an incoming message.
pub(super) fn refused(why: String) -> Error {
    Error::new(
        &codes::BAD_MESSAGE,
        format!("an Arrow message cannot be read: {why}"),
    )
}

/// The text of an error that borrows from the message, as a cause that outlives it.
#[derive(Debug)]
struct Text(String);

impl Text {
    fn of(error: &impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Text {}
