//! Small results of the program's own (lists, histories) as rows, so that every format fits them.

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, UInt32Array,
    UInt64Array,
};
use arrow_schema::{Field, Schema};
use provender_core::{Error, codes};

use super::Outcome;

/// Columns of equal length.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    fields: Vec<Field>,
    columns: Vec<ArrayRef>,
}

impl Rows {
    /// Adds a column of text.
    #[must_use]
    pub(crate) fn text<T: AsRef<str>>(self, name: &str, values: impl Iterator<Item = T>) -> Self {
        self.column(name, Arc::new(StringArray::from_iter_values(values)))
    }

    /// Adds a column of text with nulls.
    #[must_use]
    pub(crate) fn text_or_null<T: AsRef<str>>(
        self,
        name: &str,
        values: impl Iterator<Item = Option<T>>,
    ) -> Self {
        self.column(name, Arc::new(values.collect::<StringArray>()))
    }

    /// Adds a column of lists of text.
    #[must_use]
    pub(crate) fn texts(self, name: &str, values: impl Iterator<Item = Vec<String>>) -> Self {
        let mut lists = ListBuilder::new(StringBuilder::new());
        for texts in values {
            for text in texts {
                lists.values().append_value(text);
            }
            lists.append(true);
        }
        self.column(name, Arc::new(lists.finish()))
    }

    /// Adds a column of versions.
    #[must_use]
    pub(crate) fn versions(self, name: &str, values: impl Iterator<Item = Option<u32>>) -> Self {
        self.column(name, Arc::new(values.collect::<UInt32Array>()))
    }

    /// Adds a column of numbers.
    #[must_use]
    pub(crate) fn numbers(self, name: &str, values: impl Iterator<Item = u64>) -> Self {
        self.column(name, Arc::new(UInt64Array::from_iter_values(values)))
    }

    /// Adds a column of numbers with nulls.
    #[must_use]
    pub(crate) fn numbers_or_null(
        self,
        name: &str,
        values: impl Iterator<Item = Option<u64>>,
    ) -> Self {
        self.column(name, Arc::new(values.collect::<UInt64Array>()))
    }

    /// Adds a column of numbers that may be negative, with nulls.
    #[must_use]
    pub(crate) fn signed_or_null(
        self,
        name: &str,
        values: impl Iterator<Item = Option<i64>>,
    ) -> Self {
        self.column(name, Arc::new(values.collect::<Int64Array>()))
    }

    /// Adds a column of numbers with a fraction.
    #[must_use]
    pub(crate) fn fractions(self, name: &str, values: impl Iterator<Item = f64>) -> Self {
        self.column(name, Arc::new(Float64Array::from_iter_values(values)))
    }

    /// Adds a column of yes and no.
    #[must_use]
    pub(crate) fn bools(self, name: &str, values: impl Iterator<Item = bool>) -> Self {
        self.column(name, Arc::new(BooleanArray::from_iter(values.map(Some))))
    }

    fn column(mut self, name: &str, column: ArrayRef) -> Self {
        self.fields
            .push(Field::new(name, column.data_type().clone(), true));
        self.columns.push(column);
        self
    }

    /// The rows.
    ///
    /// # Errors
    /// `Internal` if the columns differ in length.
    pub(crate) fn batch(self) -> Outcome<RecordBatch> {
        let schema = Arc::new(Schema::new(self.fields));
        RecordBatch::try_new(schema, self.columns).map_err(|error| {
            Error::new(
                &codes::INTERNAL,
                "the rows of a result do not fit each other",
            )
            .source(error)
            .into()
        })
    }
}
