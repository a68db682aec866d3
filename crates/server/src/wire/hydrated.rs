//! How large rows are once each value stands for itself.
//!
//! A dictionary, or a view, says one long value many times in few bytes. Whatever casts such a column
//! writes the value out each time, so what it would take is known before anybody does.

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use provender_core::{Error, Result, codes};

use super::WireLimits;

/// Refuses rows that are much larger than the message they came in.
///
/// # Errors
/// `ResourceExhausted` (`P703`).
pub(super) fn check(batch: &RecordBatch, limits: &WireLimits) -> Result<()> {
    let n_bytes = batch
        .columns()
        .iter()
        .map(|column| repeated_bytes(column.as_ref()))
        .fold(0_usize, usize::saturating_add);
    if n_bytes <= limits.max_decoded_bytes {
        return Ok(());
    }
    Err(Error::new(
        &codes::MESSAGE_TOO_LARGE,
        format!(
            "the dictionaries or views of an Arrow message stand for {n_bytes} bytes, and at most {} are \
             read",
            limits.max_decoded_bytes
        ),
    )
    .help("send smaller batches"))
}

/// Bytes of values that are referred to; columns whose values stand for themselves have none.
fn repeated_bytes(array: &dyn Array) -> usize {
    match array.data_type() {
        DataType::Utf8View => array.as_string_view().total_bytes_len(),
        DataType::BinaryView => array.as_binary_view().total_bytes_len(),
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            let values = dictionary.values();
            if values.is_empty() {
                return 0;
            }
            let sizes = value_bytes(values.as_ref());
            let total = sizes
                .iter()
                .fold(0_usize, |all, one| all.saturating_add(*one));
            // Most dictionaries are small enough for any number of rows.
            let most = total.saturating_mul(array.len());
            if most <= 1 << 20 {
                return most;
            }
            dictionary
                .normalized_keys()
                .into_iter()
                .map(|key| sizes.get(key).copied().unwrap_or_default())
                .fold(0, usize::saturating_add)
        }
        DataType::Struct(_) => array
            .as_struct()
            .columns()
            .iter()
            .map(|column| repeated_bytes(column.as_ref()))
            .fold(0, usize::saturating_add),
        DataType::List(_) => repeated_bytes(array.as_list::<i32>().values().as_ref()),
        DataType::LargeList(_) => repeated_bytes(array.as_list::<i64>().values().as_ref()),
        DataType::FixedSizeList(_, _) => {
            repeated_bytes(array.as_fixed_size_list().values().as_ref())
        }
        DataType::Map(_, _) => repeated_bytes(array.as_map().entries()),
        _ => 0,
    }
}

/// The size of each value of a dictionary; of nested ones the size of all, which is at least its own.
fn value_bytes(values: &dyn Array) -> Vec<usize> {
    let n = values.len();
    match values.data_type() {
        DataType::Utf8 => lengths(values.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => lengths(values.as_string::<i64>().value_offsets()),
        DataType::Binary => lengths(values.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => lengths(values.as_binary::<i64>().value_offsets()),
        DataType::Utf8View => views(values.as_string_view().lengths()),
        DataType::BinaryView => views(values.as_binary_view().lengths()),
        other => {
            let n_bytes = other.primitive_width().unwrap_or_else(|| {
                values
                    .get_array_memory_size()
                    .saturating_add(repeated_bytes(values))
            });
            vec![n_bytes; n]
        }
    }
}

fn lengths<T: arrow_array::OffsetSizeTrait>(offsets: &[T]) -> Vec<usize> {
    offsets
        .windows(2)
        .map(|pair| pair[1].as_usize() - pair[0].as_usize())
        .collect()
}

fn views(lengths: impl Iterator<Item = u32>) -> Vec<usize> {
    lengths.map(|length| length as usize).collect()
}
