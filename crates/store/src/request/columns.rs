//! What output columns are called, and that no two have one name.

use std::collections::HashMap;

use arrow_schema::Schema;
use provender_core::model::FeatureRef;
use provender_core::names::SEPARATOR;
use provender_core::{Error, Result, codes};

use super::resolve::{Output, Resolved};

/// `feature`; under an alias `alias__feature`; with full feature names `view__feature`.
pub(crate) fn output_name(
    reference: &FeatureRef,
    feature: &str,
    full_feature_names: bool,
) -> String {
    if full_feature_names || reference.alias.is_some() {
        format!("{}{SEPARATOR}{feature}", reference.output_prefix())
    } else {
        feature.to_owned()
    }
}

/// Checks that output columns differ from each other and from the spine's columns.
///
/// # Errors
/// `InvalidArgument` (`P404`) that names both columns.
pub(crate) fn check_clashes(resolved: &Resolved, spine: &Schema) -> Result<()> {
    let mut seen: HashMap<&str, &Output> = HashMap::new();
    for output in &resolved.outputs {
        if spine.column_with_name(&output.name).is_some() {
            return Err(Error::new(
                &codes::NAME_CLASH,
                format!(
                    "{} would be put out as column {:?}, which the spine has too",
                    output.describe(),
                    output.name
                ),
            )
            .help(
                "rename the spine's column, use an alias (`as:`), or ask for full feature names",
            ));
        }
        if let Some(other) = seen.insert(&output.name, output) {
            let same = other.view == output.view
                && other.alias == output.alias
                && other.feature == output.feature;
            let error = Error::new(
                &codes::NAME_CLASH,
                format!(
                    "{} and {} would both be put out as column {:?}",
                    other.describe(),
                    output.describe(),
                    output.name
                ),
            );
            return Err(if same {
                error.help("ask for it once")
            } else {
                error.help("use an alias (`as:`) or ask for full feature names")
            });
        }
    }
    Ok(())
}
