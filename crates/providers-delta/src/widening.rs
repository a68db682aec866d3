//! Tables some of whose columns were given wider types after rows were written.
//!
//! The deltalake crate refuses them. Their rows are those of their files under the table's own types,
//! to which every older type goes without loss, so they are read as Parquet files are. With what files
//! alone do not say (deletion vectors, mapped names, partitions) they are refused here too.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use deltalake::DeltaTable;
use deltalake::kernel::Snapshot;
use deltalake::kernel::transaction::{PROTOCOL, TransactionError};
use provender_core::{Error, Result, codes};
use provender_engine::sql::datafusion_error;
use url::Url;

use crate::error::OnTable;

/// Whether a table has widened types.
///
/// # Errors
/// `P801` for a table that uses a feature which is not read.
pub(crate) fn is_widened(name: &str, snapshot: &Snapshot) -> Result<bool> {
    let readable = PROTOCOL.can_read_from_protocol(snapshot.protocol());
    let Err(TransactionError::UnsupportedTableFeatures(features)) = readable else {
        return Ok(false);
    };
    let features: Vec<String> = features.iter().map(ToString::to_string).collect();
    let mut unknown = features
        .iter()
        .filter(|feature| *feature != "columnMapping" && !feature.starts_with("typeWidening"));
    match unknown.next() {
        None => Ok(features.iter().any(|f| f.starts_with("typeWidening"))),
        Some(feature) => Err(Error::new(
            &codes::UNSUPPORTED,
            format!("table {name:?} uses {feature}, so it cannot be read"),
        )
        .help("read it with the program that made it, or make it anew without this feature")
        .context("table", name)),
    }
}

/// The rows of a table with widened types, at its loaded state.
///
/// # Errors
/// `P801` if files alone do not say what its rows are.
pub(crate) fn provider(
    name: &str,
    folder: &Url,
    table: &DeltaTable,
) -> Result<Arc<dyn TableProvider>> {
    let state = table.snapshot().on_table(name, "cannot be read")?;
    let settings = state.metadata().configuration();
    let is_mapped = settings
        .get("delta.columnMapping.mode")
        .is_some_and(|mode| mode != "none");
    let schema = state.snapshot().arrow_schema();
    let mut files = Vec::new();
    let mut has_vectors = false;
    for file in state.log_data().iter() {
        has_vectors |= file.deletion_vector_descriptor().is_some();
        let mut url = folder.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            let path = file.object_store_path();
            segments.pop_if_empty().extend(path.as_ref().split('/'));
        }
        files.push(ListingTableUrl::try_new(url, None).map_err(datafusion_error)?);
    }
    let with = if is_mapped {
        "column mapping"
    } else if !state.metadata().partition_columns().is_empty() {
        "partitions"
    } else if has_vectors {
        "deletion vectors"
    } else if files.is_empty() {
        return Ok(Arc::new(EmptyTable::new(schema)));
    } else {
        let options =
            ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension("");
        let config = ListingTableConfig::new_with_multi_paths(files)
            .with_listing_options(options)
            .with_schema(schema);
        let table = ListingTable::try_new(config)
            .map_err(|error| datafusion_error(error).context("table", name))?;
        return Ok(Arc::new(table));
    };
    Err(Error::new(
        &codes::UNSUPPORTED,
        format!("table {name:?} has widened types together with {with}, so it cannot be read"),
    )
    .help("rewrite it with the program that made it, so that all files have its types")
    .context("table", name))
}
