//! How the columns of a Parquet file are best encoded, as far as their first rows tell.

use std::collections::HashSet;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Schema};
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

/// Rows of a batch that are looked at.
const SAMPLE_ROWS: usize = 4_096;
/// Values of which fewer differ are best kept in a dictionary.
const LEAST_DIFFERENT: usize = 256;
/// A column of which less than one byte in so many is saved is not compressed.
const LEAST_SAVED: usize = 16;

/// Compressed by Snappy as most files are: numbers that differ hardly become smaller by a slower codec, which would take
/// longer than all else. Where Snappy saves nothing either, it would only be undone by every reader.
///
/// What the first rows tell holds for the whole file, since Parquet's columns are written so by this writer: a column
/// whose values differ at first and repeat themselves later becomes longer than it would have to.
pub(super) fn properties(schema: &Schema, first: &[RecordBatch]) -> WriterProperties {
    let mut properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
    // The first and the last of these rows.
    let ends = [first.first(), first.last()];
    let ends = ends.iter().zip([0, usize::MAX]);
    for (number, field) in schema.fields().iter().enumerate() {
        let samples = ends
            .clone()
            .map(|(batch, from)| Sample::of(batch.as_ref()?.column(number), from));
        let samples: Vec<Sample> = samples.flatten().collect();
        let all = |is: fn(&Sample) -> bool| !samples.is_empty() && samples.iter().all(is);
        let path = ColumnPath::from(vec![field.name().clone()]);
        if all(Sample::is_diverse) {
            properties = properties.set_column_dictionary_enabled(path.clone(), false);
            if all(Sample::stays_as_long) {
                properties = properties.set_column_compression(path, Compression::UNCOMPRESSED);
            }
        }
    }
    properties.build()
}

/// The bytes of some rows of a column of wide numbers.
struct Sample(Vec<u8>);

const WIDTH: usize = size_of::<u64>();

impl Sample {
    /// Of rows from one on, or of the last ones. `None` for columns of other types, and without rows.
    fn of(column: &ArrayRef, from: usize) -> Option<Self> {
        let is_wide = matches!(
            column.data_type(),
            DataType::Float64 | DataType::Int64 | DataType::UInt64 | DataType::Timestamp(_, _)
        );
        if !is_wide || column.is_empty() {
            return None;
        }
        let n_rows = column.len().min(SAMPLE_ROWS);
        let rows = column
            .slice(from.min(column.len() - n_rows), n_rows)
            .to_data();
        let (start, end) = (rows.offset(), rows.offset() + rows.len());
        let bytes = rows.buffers().first()?.get(start * WIDTH..end * WIDTH)?;
        Some(Self(bytes.to_vec()))
    }

    /// Whether most values differ. A dictionary of these costs much time and saves no space.
    fn is_diverse(&self) -> bool {
        let (values, _) = self.0.as_chunks::<WIDTH>();
        let different: HashSet<&[u8; WIDTH]> = values.iter().collect();
        different.len() >= LEAST_DIFFERENT && different.len() * 2 > values.len()
    }

    /// Whether Snappy saves hardly anything.
    fn stays_as_long(&self) -> bool {
        let most = self.0.len() - self.0.len() / LEAST_SAVED;
        let compressed = snap::raw::Encoder::new().compress_vec(&self.0);
        compressed.is_ok_and(|some| some.len() > most)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Float64Array, Int64Array, StringArray};

    use super::*;

    /// A number that has little to do with another.
    fn mixed(n: u64) -> u64 {
        let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let n = (n ^ (n >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        n ^ (n >> 32)
    }

    fn batch(noise: impl Fn(u64) -> f64) -> RecordBatch {
        let numbers = 0..5_000_u64;
        let noise: Float64Array = numbers
            .clone()
            .map(|n| (n % 50 > 0).then(|| noise(n)))
            .collect();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("noise", Arc::new(noise)),
            ("number", Arc::new(Int64Array::from_iter_values(0..5_000))),
            (
                "few",
                Arc::new(
                    numbers
                        .clone()
                        .map(|n| Some(mixed(n % 100) as f64))
                        .collect::<Float64Array>(),
                ),
            ),
            (
                "text",
                Arc::new(
                    numbers
                        .map(|n| Some(mixed(n).to_string()))
                        .collect::<StringArray>(),
                ),
            ),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn columns_are_compressed_where_that_saves_something() {
        let noise = batch(|n| mixed(n) as f64 / 7.0);
        let is_compressed = |properties: &WriterProperties, name: &str| {
            let path = ColumnPath::from(vec![name.to_owned()]);
            properties.compression(&path) == Compression::SNAPPY
        };
        let has_dictionary = |properties: &WriterProperties, name: &str| {
            properties.dictionary_enabled(&ColumnPath::from(vec![name.to_owned()]))
        };
        let own = properties(&noise.schema(), std::slice::from_ref(&noise));
        for (name, compressed, dictionary) in [
            ("noise", false, false),
            ("number", true, false),
            ("few", true, true),
            ("text", true, true),
        ] {
            assert_eq!(is_compressed(&own, name), compressed, "{name}");
            assert_eq!(has_dictionary(&own, name), dictionary, "{name}");
        }
        // Rows that differ from the first ones, and none at all.
        let whole = batch(|n| n as f64);
        let both = properties(&noise.schema(), &[noise.clone(), whole]);
        assert!(is_compressed(&both, "noise") && !has_dictionary(&both, "noise"));
        for none in [&[][..], &[noise.slice(0, 0)]] {
            let none = properties(&noise.schema(), none);
            assert!(is_compressed(&none, "noise") && has_dictionary(&none, "noise"));
        }
    }
}
