//! The values of a spine's key column, as long as they are so few that a store may find files and row
//! groups without any of them.

use std::collections::HashSet;

use arrow_array::{Array, ArrayRef, UInt32Array};
use arrow_row::{RowConverter, SortField};
use arrow_select::concat::concat;
use arrow_select::take::take;
use foldhash::fast::FixedState;
use provender_core::Result;

use crate::error;

/// With more values than this nearly every row group has one of them.
const MOST: usize = 1_024;

/// The different values of a column that comes in batches.
#[derive(Debug, Default)]
pub(super) struct FewValues {
    converter: Option<RowConverter>,
    seen: HashSet<Box<[u8]>, FixedState>,
    kept: Vec<ArrayRef>,
    are_many: bool,
}

impl FewValues {
    pub(super) fn push(&mut self, column: &ArrayRef) -> Result<()> {
        if self.are_many {
            return Ok(());
        }
        let converter = match self.converter.take() {
            Some(converter) => converter,
            None => {
                let field = SortField::new(column.data_type().clone());
                RowConverter::new(vec![field]).map_err(error::arrow)?
            }
        };
        let rows = converter
            .convert_columns(std::slice::from_ref(column))
            .map_err(error::arrow)?;
        self.converter = Some(converter);
        let mut new: Vec<u32> = Vec::new();
        for row in (0..column.len()).filter(|&row| column.is_valid(row)) {
            let value = rows.row(row);
            if self.seen.contains(value.data()) {
                continue;
            }
            if self.seen.len() == MOST {
                *self = Self {
                    are_many: true,
                    ..Self::default()
                };
                return Ok(());
            }
            self.seen.insert(value.data().into());
            new.push(row as u32);
        }
        if !new.is_empty() {
            let rows = UInt32Array::from(new);
            self.kept
                .push(take(column, &rows, None).map_err(error::arrow)?);
        }
        Ok(())
    }

    /// Each value once, nulls aside; `None` if there are many, or none at all.
    pub(super) fn finish(self) -> Result<Option<ArrayRef>> {
        let kept: Vec<&dyn Array> = self.kept.iter().map(AsRef::as_ref).collect();
        if self.are_many || kept.is_empty() {
            return Ok(None);
        }
        concat(&kept).map(Some).map_err(error::arrow)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::Int64Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;

    use super::*;

    #[test]
    fn values_are_listed_once_until_they_are_many() -> Result<()> {
        let batch = |values: Vec<Option<i64>>| Arc::new(Int64Array::from(values)) as ArrayRef;
        let mut few = FewValues::default();
        few.push(&batch(vec![Some(3), None, Some(3)]))?;
        few.push(&batch(vec![Some(1), Some(3)]))?;
        let found = few.finish()?;
        let found = found
            .as_ref()
            .map(|found| found.as_primitive::<Int64Type>());
        assert_eq!(found.map(|found| found.values().to_vec()), Some(vec![3, 1]));

        let mut few = FewValues::default();
        few.push(&batch((0..MOST as i64).map(Some).collect()))?;
        few.push(&batch(vec![Some(0)]))?;
        assert!(few.finish()?.is_some());
        let mut few = FewValues::default();
        few.push(&batch((0..=MOST as i64).map(Some).collect()))?;
        few.push(&batch(vec![Some(0)]))?;
        assert!(few.finish()?.is_none());
        assert!(FewValues::default().finish()?.is_none());
        Ok(())
    }
}
