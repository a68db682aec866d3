//! From the options of `historical` and `dataset create` to a request and a spine.

use provender_core::model::Relation;
use provender_core::request::SqlSpine;
use provender_store::{HistoricalRequest, Selection};

use crate::args::TrainingArgs;
use crate::errors::{Failure, Outcome};
use crate::input::InputFile;

/// The features that are asked for.
///
/// # Errors
/// Wrong usage for a service or features that cannot be read.
pub(super) fn request(args: &TrainingArgs) -> Outcome<HistoricalRequest> {
    let selection = match &args.service {
        Some(service) => Selection::service(service),
        None => Selection::features(&args.features.join(",")),
    };
    Ok(HistoricalRequest {
        selection: selection.map_err(Failure::Usage)?,
        timestamp: args.timestamp.clone(),
        as_known: args.as_known,
        full_feature_names: args.full_feature_names,
    })
}

/// The spine's file; `None` if it is a SELECT.
///
/// # Errors
/// Wrong usage for an unknown extension, or declared types that cannot be read.
pub(super) fn spine_file(args: &TrainingArgs) -> Outcome<Option<InputFile>> {
    match &args.spine {
        None => Ok(None),
        Some(path) => {
            let schema = args.columns.schema.as_deref();
            Ok(Some(InputFile::new(path, args.spine_format, schema)?))
        }
    }
}

/// The spine that the offline store holds.
pub(super) fn sql_spine(args: &TrainingArgs) -> SqlSpine {
    SqlSpine {
        relation: Relation::Query(args.spine_sql.clone().unwrap_or_default()),
        // Without a name the store finds it as in any spine.
        timestamp: args.timestamp.clone().unwrap_or_default(),
    }
}
