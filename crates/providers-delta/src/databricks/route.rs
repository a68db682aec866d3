//! Where a request is answered: on this machine, from the tables' storage, or in the warehouse.
//!
//! Decides by the configuration, by what can be read directly, and by how much that is; and says why.

use std::sync::Arc;

use provender_core::model::Relation;
use provender_core::request::SourceRef;
use provender_core::{Context, Error, ErrorKind, Result, codes};

use super::config::Execution;
use super::direct::{DirectTable, Reach, Size};
use super::store::DatabricksOfflineStore;

/// A decision, with its reason for people.
#[derive(Debug)]
pub(crate) struct Route {
    pub is_direct: bool,
    pub why: String,
}

impl Route {
    fn warehouse(why: impl Into<String>) -> Self {
        Self {
            is_direct: false,
            why: why.into(),
        }
    }

    /// As a line of a plan.
    pub(crate) fn line(&self) -> String {
        let place = if self.is_direct {
            "directly from storage, on this machine"
        } else {
            "in the SQL warehouse"
        };
        format!("-- answered {place}: {}", self.why)
    }
}

/// The table of a source where it lies, or why the source is not read there.
async fn reach(
    store: &DatabricksOfflineStore,
    cx: &Context,
    source: &SourceRef,
) -> Result<std::result::Result<Arc<DirectTable>, String>> {
    let Relation::Table(name) = &source.relation else {
        return Ok(Err("a query is SQL of the warehouse".to_owned()));
    };
    if source.filter.is_some() {
        return Ok(Err(format!(
            "the filter of table {name:?} is SQL of the warehouse"
        )));
    }
    Ok(
        match store
            .direct
            .reach(cx, &store.namespace, name, false)
            .await?
        {
            Reach::Direct(table) => Ok(table),
            Reach::Not(why) => Err(format!("table {name:?} {why}")),
            // What is not in the catalog may still be known to the warehouse.
            Reach::Missing if store.has_warehouse() && store.execution == Execution::Auto => {
                Err(format!("table {name:?} is not in Unity Catalog"))
            }
            Reach::Missing => return Err(store.missing(cx, name).await),
        },
    )
}

/// The table of one source that is read directly.
///
/// # Errors
/// `P801` if it cannot be, and those of the catalog.
pub(crate) async fn direct_table(
    store: &DatabricksOfflineStore,
    cx: &Context,
    source: &SourceRef,
) -> Result<Arc<DirectTable>> {
    reach(store, cx, source)
        .await?
        .map_err(|why| not_direct(store, &why))
}

/// Where a request over these sources is answered.
///
/// # Errors
/// `P801` if it would have to be the warehouse and there is none, or `execution: direct` forbids it.
pub(crate) async fn route<'a>(
    store: &DatabricksOfflineStore,
    cx: &Context,
    sources: impl IntoIterator<Item = &'a SourceRef>,
) -> Result<Route> {
    if store.execution == Execution::Warehouse {
        return Ok(Route::warehouse("execution is warehouse"));
    }
    let may_run = store.has_warehouse() && store.execution == Execution::Auto;
    let mut sizes: Vec<(String, Size)> = Vec::new();
    for source in sources {
        let table = match reach(store, cx, source).await {
            Ok(Ok(table)) => table,
            Ok(Err(why)) if may_run => return Ok(Route::warehouse(why)),
            Ok(Err(why)) => return Err(not_direct(store, &why)),
            Err(error) if may_run && is_refusal(&error) => {
                return Ok(Route::warehouse(error.message().to_owned()));
            }
            Err(error) => return Err(error),
        };
        // Without a choice nothing depends on the size.
        if !may_run || sizes.iter().any(|(name, _)| *name == table.name) {
            continue;
        }
        match table.size(source.version.as_ref()).await {
            Ok(size) => sizes.push((table.name.clone(), size)),
            Err(error) if is_refusal(&error) => {
                return Ok(Route::warehouse(error.message().to_owned()));
            }
            Err(error) => return Err(error),
        }
    }
    if !may_run {
        let why = match store.execution {
            Execution::Direct => "execution is direct",
            _ => "no warehouse_id is set",
        };
        return Ok(Route {
            is_direct: true,
            why: why.to_owned(),
        });
    }
    let n_bytes: u64 = sizes.iter().map(|(_, size)| size.n_bytes).sum();
    let n_files: u64 = sizes.iter().map(|(_, size)| size.n_files).sum();
    let is_direct = n_bytes <= store.direct_limit_bytes;
    let relation = if is_direct { "within" } else { "more than" };
    let tables = if sizes.len() == 1 {
        "table has"
    } else {
        "tables have"
    };
    let files = if n_files == 1 { "file" } else { "files" };
    Ok(Route {
        is_direct,
        why: format!(
            "{} {tables} {} in {n_files} {files}, {relation} direct_limit ({})",
            sizes.len(),
            size_text(n_bytes),
            size_text(store.direct_limit_bytes)
        ),
    })
}

/// Whether a failure says that this way is closed, and another may be open.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unsupported | ErrorKind::PermissionDenied | ErrorKind::Unauthenticated
    ) && error.code() != codes::WAREHOUSE_LOGIN.id
}

fn not_direct(store: &DatabricksOfflineStore, why: &str) -> Error {
    let (so, help) = if store.has_warehouse() {
        ("execution is direct", "set execution: auto")
    } else {
        ("no warehouse_id is set", "set warehouse_id")
    };
    Error::new(
        &codes::UNSUPPORTED,
        format!("{why}, so a SQL warehouse has to read it, and {so}"),
    )
    .help(help)
}

fn size_text(n_bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n_bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{n_bytes} B"),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}
