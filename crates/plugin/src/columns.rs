//! Record batches and schemas over the C data interface, one struct array for a batch.
//!
//! What comes from the other side is checked as far as memory can be checked: children, buffers,
//! lengths, offsets, UTF-8. Pointers themselves must be trusted.

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi_and_data_type};
use arrow_array::{Array, RecordBatch, RecordBatchOptions, StructArray};
use arrow_schema::{DataType, Schema, SchemaRef};
use provender_core::{Error, Result, codes};

use crate::fence::fenced;

/// The batch as a struct array that the other side owns.
pub(crate) fn export_batch(batch: &RecordBatch) -> FFI_ArrowArray {
    // A batch without columns has a length all the same.
    let array = if batch.num_columns() == 0 {
        StructArray::new_empty_fields(batch.num_rows(), None)
    } else {
        StructArray::from(batch.clone())
    };
    FFI_ArrowArray::new(&array.to_data())
}

/// The schema for the other side.
pub(crate) fn export_schema(schema: &Schema) -> Result<FFI_ArrowSchema> {
    FFI_ArrowSchema::try_from(schema).map_err(|error| {
        Error::new(
            &codes::INTERNAL,
            "a schema cannot be written as a C structure",
        )
        .source(error)
    })
}

/// A schema of the other side.
pub(crate) fn import_schema(schema: &FFI_ArrowSchema) -> Result<Schema> {
    fenced("reading a schema", || {
        Schema::try_from(schema)
            .map_err(|error| broken("a schema that cannot be read").source(error))
    })
}

/// A struct array of the other side as a batch of `schema`.
///
/// # Errors
/// `Internal` (`P802`) if it is not of that schema, or damaged.
pub(crate) fn import_batch(array: FFI_ArrowArray, schema: &SchemaRef) -> Result<RecordBatch> {
    fenced("reading an Arrow array", || {
        if array.length < 0 || array.offset < 0 {
            return Err(broken("an array of a negative length"));
        }
        if usize::try_from(array.n_children) != Ok(schema.fields().len()) {
            return Err(broken(format!(
                "an array of {} columns where {} were promised",
                array.n_children,
                schema.fields().len()
            )));
        }
        if array.length == 0 && !schema.fields().is_empty() {
            // Without rows, buffers need not hold anything, and offsets may point anywhere.
            return Ok(RecordBatch::new_empty(schema.clone()));
        }
        let data_type = DataType::Struct(schema.fields().clone());
        // SAFETY: the array was moved out of a structure that the other side filled in as the C data
        // interface asks; what can be checked of it is checked below.
        let data = unsafe { from_ffi_and_data_type(array, data_type) }
            .map_err(|error| broken("an array that cannot be read").source(error))?;
        data.validate_full()
            .map_err(|error| broken("a damaged array").source(error))?;
        let array = StructArray::from(data);
        if array.null_count() > 0 {
            return Err(broken("rows that are null as a whole"));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(array.len()));
        let (_, columns, _) = array.into_parts();
        RecordBatch::try_new_with_options(schema.clone(), columns, &options)
            .map_err(|error| broken("an array that is not of its schema").source(error))
    })
}

/// A broken promise of the other side.
pub(crate) fn broken(what: impl AsRef<str>) -> Error {
    Error::new(
        &codes::PROVIDER_CONTRACT,
        format!(
            "the other side of the plug-in interface gave {}",
            what.as_ref()
        ),
    )
}

/// Whether two schemas hold the same columns: names and types, whatever their metadata.
#[cfg(feature = "load")]
pub(crate) fn same_columns(a: &Schema, b: &Schema) -> bool {
    a.fields().len() == b.fields().len()
        && a.fields()
            .iter()
            .zip(b.fields())
            .all(|(a, b)| a.name() == b.name() && a.data_type().equals_datatype(b.data_type()))
}
