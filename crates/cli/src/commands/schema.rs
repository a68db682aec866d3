//! `provender schema`

use provender_definitions::{config_schema, definitions_schema};

use crate::args::{SchemaArgs, SchemaKind};
use crate::errors::{DONE, Outcome};
use crate::output;

/// Prints a JSON Schema.
///
/// # Errors
/// Only what stdout says.
pub(crate) fn run(args: &SchemaArgs) -> Outcome {
    output::json(&match args.which {
        SchemaKind::Definitions => definitions_schema(),
        SchemaKind::Store => config_schema(),
    })?;
    Ok(DONE)
}
