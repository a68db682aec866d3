//! The same rules in a real workspace, where `PROVENDER_TEST_DATABRICKS_*` names one; see docs/databricks.md.

use crate::properties::{self, At, Mode};
use crate::support::Workspace;
use crate::writing;

#[tokio::test]
async fn a_real_workspace_keeps_the_same_rules() {
    let Some(workspace) = Workspace::real() else {
        return;
    };
    writing::values(&workspace).await;
    writing::overwriting(&workspace).await;
    writing::misfits(&workspace).await;
    writing::deleting(&workspace).await;
    let at = At::Real(workspace);
    for mode in [Mode::Warehouse, Mode::Direct] {
        properties::joins(&at, mode, 30).await;
        properties::latest_rows(&at, mode, 10).await;
        properties::windows(&at, mode, 10).await;
    }
}
