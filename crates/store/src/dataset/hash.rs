//! What tells two tables apart: one hash for each column and one for all, independent of how rows are
//! cut into batches.
//!
//! Decides what is hashed, which `docs/datasets.md` states byte for byte.

use std::fmt::Write;

use arrow_schema::Schema;
use sha2::{Digest, Sha256};

use super::encoding::{number, type_text};

/// The first bytes of what a table's hash is taken of.
const HEADER: &[u8] = b"provender table 1\n";
/// The function, in front of every hash.
const PREFIX: &str = "sha256:";

/// A hash of rows in their order, column by column.
#[derive(Clone, Debug)]
pub(crate) struct TableHash {
    columns: Vec<Column>,
    n_rows: u64,
}

#[derive(Clone, Debug)]
struct Column {
    name: String,
    data_type: String,
    values: Sha256,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hashed {
    /// How many rows.
    pub(crate) n_rows: u64,
    /// The hash of all.
    pub(crate) hash: String,
    /// The hash of each column's values.
    pub(crate) columns: Vec<String>,
}

impl TableHash {
    /// The hash of no rows yet.
    pub(crate) fn new(schema: &Schema) -> Self {
        let columns = schema.fields().iter().map(|field| Column {
            name: field.name().clone(),
            data_type: type_text(field.data_type()),
            values: Sha256::new(),
        });
        Self {
            columns: columns.collect(),
            n_rows: 0,
        }
    }

    /// Counts rows whose values are added column by column.
    pub(crate) fn add_rows(&mut self, n_rows: usize) {
        self.n_rows += n_rows as u64;
    }

    /// Adds the encoded values of one column.
    pub(crate) fn add_values(&mut self, column: usize, encoded: &[u8]) {
        if let Some(column) = self.columns.get_mut(column) {
            column.values.update(encoded);
        }
    }

    /// Leaves out all columns but the first `n`.
    pub(crate) fn keep_columns(&mut self, n: usize) {
        self.columns.truncate(n);
    }

    /// Ends it.
    pub(crate) fn finish(self) -> Hashed {
        let mut all = HEADER.to_vec();
        all.extend_from_slice(&self.n_rows.to_le_bytes());
        number(self.columns.len(), &mut all);
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in self.columns {
            for text in [&column.name, &column.data_type] {
                number(text.len(), &mut all);
                all.extend_from_slice(text.as_bytes());
            }
            let values = digest(column.values);
            all.extend_from_slice(&values);
            columns.push(shown(&values));
        }
        Hashed {
            n_rows: self.n_rows,
            hash: shown(&sha256(&all)),
            columns,
        }
    }
}

/// The SHA-256 of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(Sha256::new_with_prefix(bytes))
}

fn digest(hasher: Sha256) -> [u8; 32] {
    hasher.finalize().into()
}

fn shown(digest: &[u8]) -> String {
    let mut text = PREFIX.to_owned();
    for byte in digest {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::sync::Arc;

    use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};

    use super::*;
    use crate::dataset::encoding::encode_column;

    fn hashed(batches: &[RecordBatch]) -> Hashed {
        let mut hash = TableHash::new(&batches[0].schema());
        for batch in batches {
            hash.add_rows(batch.num_rows());
            for (at, column) in batch.columns().iter().enumerate() {
                let (mut encoded, mut ends) = (Vec::new(), Vec::new());
                encode_column("c", column, &mut encoded, &mut ends).unwrap();
                hash.add_values(at, &encoded);
            }
        }
        hash.finish()
    }

    fn table() -> RecordBatch {
        RecordBatch::try_from_iter([
            (
                "k",
                Arc::new(StringArray::from(vec![Some("a"), None])) as ArrayRef,
            ),
            ("v", Arc::new(Int64Array::from(vec![Some(1), Some(-1)]))),
        ])
        .unwrap()
    }

    /// Computed with Python's hashlib after the documentation; it must never change.
    #[test]
    fn the_hash_is_the_documented_one() {
        assert_eq!(hashed(&[table()]).hash, KNOWN);
    }

    #[test]
    fn batches_do_not_matter_and_order_names_and_nulls_do() {
        let table = table();
        let whole = hashed(std::slice::from_ref(&table));
        let cut = [table.slice(0, 0), table.slice(0, 1), table.slice(1, 1)];
        assert_eq!(hashed(&cut), whole);
        let turned = hashed(&[table.slice(1, 1), table.slice(0, 1)]);
        assert_ne!(turned.hash, whole.hash);
        let renamed = RecordBatch::try_from_iter([
            ("k", table.column(0).clone()),
            ("w", table.column(1).clone()),
        ])
        .unwrap();
        let renamed = hashed(&[renamed]);
        assert_ne!(renamed.hash, whole.hash);
        assert_eq!(renamed.columns, whole.columns);
        assert_ne!(hashed(&[table.slice(0, 1)]).hash, whole.hash);
        assert_eq!(table.column(0).null_count(), 1);
    }

    const KNOWN: &str = "sha256:41a9fe3896f7d97b4ed96d2bfe4f72df2d4f7c8563c75ce2d55f6c2fa448402b";
}
