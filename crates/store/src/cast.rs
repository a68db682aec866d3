//! Casts of the columns of a spine, or of an online request, to declared types.
//!
//! Decides which types of columns can serve as a key: those that cannot lose a value, and whole
//! numbers of another width, where a value beyond the declared range equals no key and so finds nothing.

use arrow_array::ArrayRef;
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::DataType;
use provender_core::{CastRule, Error, Result, ValueType, codes};
use provender_engine::cast::cast_value;

/// Whether a column of a type can be compared with keys of a declared type.
pub(crate) fn can_be_key(declared: &ValueType, found: &DataType) -> bool {
    match declared.cast_from(found) {
        CastRule::Lossless => true,
        CastRule::Checked => is_narrowing(declared, found),
        CastRule::Never => false,
    }
}

/// Casts a key column; values that the declared type cannot hold become null, which matches nothing.
///
/// # Errors
/// `InvalidArgument` (`P403`) for a time beyond the range of microseconds.
pub(crate) fn cast_key(column: &ArrayRef, name: &str, declared: &ValueType) -> Result<ArrayRef> {
    if declared.cast_from(column.data_type()) == CastRule::Lossless {
        return cast_value(column, declared, false)
            .map_err(|failure| misfit(name, declared, &failure.to_string()));
    }
    let options = CastOptions {
        safe: true,
        ..CastOptions::default()
    };
    cast_with_options(column, &declared.to_arrow(), &options)
        .map_err(|error| misfit(name, declared, &error.to_string()))
}

/// Casts a request field; a value that the declared type cannot hold is an error.
///
/// # Errors
/// `InvalidArgument` (`P403`) that names the field.
pub(crate) fn cast_request(
    column: &ArrayRef,
    name: &str,
    declared: &ValueType,
) -> Result<ArrayRef> {
    cast_value(column, declared, true)
        .map_err(|failure| misfit(name, declared, &failure.to_string()))
}

fn is_narrowing(declared: &ValueType, found: &DataType) -> bool {
    declared.implies_checked(found)
        || declared.is_integer()
            && ValueType::from_arrow(found).is_some_and(|found| found.is_integer())
}

fn misfit(name: &str, declared: &ValueType, why: &str) -> Error {
    Error::new(
        &codes::SPINE_TYPE,
        format!("column {name:?} cannot be read as {declared}: {why}"),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Int8Type, Int64Type};
    use arrow_array::{Decimal128Array, Int64Array};

    #[test]
    fn numbers_beyond_the_declared_width_become_null() {
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(300), None]));
        assert!(can_be_key(&ValueType::Int8, wide.data_type()));
        let narrow = cast_key(&wide, "k", &ValueType::Int8).unwrap();
        let narrow: Vec<_> = narrow.as_primitive::<Int8Type>().iter().collect();
        assert_eq!(narrow, [Some(1), None, None]);

        let decimal = Decimal128Array::from(vec![Some(7), Some(i128::from(i64::MAX) + 1)])
            .with_precision_and_scale(38, 0)
            .unwrap();
        let decimal: ArrayRef = Arc::new(decimal);
        assert!(can_be_key(&ValueType::Int64, decimal.data_type()));
        let whole = cast_key(&decimal, "k", &ValueType::Int64).unwrap();
        let whole: Vec<_> = whole.as_primitive::<Int64Type>().iter().collect();
        assert_eq!(whole, [Some(7), None]);
    }

    #[test]
    fn types_that_never_match_are_no_keys() {
        assert!(!can_be_key(&ValueType::Int64, &DataType::Utf8));
        assert!(!can_be_key(&ValueType::String, &DataType::Int64));
        assert!(!can_be_key(&ValueType::Int64, &DataType::Float64));
        assert!(can_be_key(&ValueType::String, &DataType::Utf8View));
        assert!(can_be_key(&ValueType::String, &DataType::Null));
    }
}
