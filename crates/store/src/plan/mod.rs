//! What applying definitions would change, and what that breaks.
//!
//! A plan is made against one revision of the registry and the present schemas of the sources, and
//! can be applied as long as the registry has not moved. Making it changes nothing.

mod breaks;
mod check;
pub(crate) mod diff;
mod draft;
mod versions;

pub(crate) use check::source_schema;
pub use diff::FieldChange;
use provender_core::provider::{Change, ObjectKind, Revision, ViewVersion};
use provender_core::{Context, Error};
use provender_definitions::{Loaded, Locations};
use serde::Serialize;

use crate::FeatureStore;
use draft::Draft;

/// What applying would change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// The project.
    pub project: String,
    /// The revision it was made against.
    pub base: Revision,
    /// What happens to which object, by kind and name.
    pub entries: Vec<PlanEntry>,
    #[serde(skip)]
    changes: Vec<Change>,
    #[serde(skip)]
    dropped: Vec<ViewVersion>,
}

/// What happens to one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanEntry {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// What happens.
    pub action: PlanAction,
    /// The version before: the newest, or the one that is deleted alone. `None` if it is new.
    pub from_version: Option<u32>,
    /// The newest version after; `None` if it is deleted.
    pub to_version: Option<u32>,
    /// What differs between the two. Empty for objects that are new or deleted whole.
    pub details: Vec<FieldChange>,
    /// What users of services lose by it, as sentences.
    pub breaks: Vec<String>,
}

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanAction {
    /// It is new.
    Create,
    /// Its meaning changes, so it gets a new version; older versions stay.
    NewVersion,
    /// Its version stays: a description, owner, tag, `online` or `lookback` changes.
    Update,
    /// It goes, with all versions; or one old version goes, if `details` says so.
    Delete,
}

impl Plan {
    /// Whether there is nothing to apply.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether anything is deleted.
    pub fn has_deletes(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.action == PlanAction::Delete)
    }

    /// The registry's changes.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Versions of feature views that are deleted.
    pub(crate) fn dropped(&self) -> &[ViewVersion] {
        &self.dropped
    }
}

impl FeatureStore {
    /// Compares definitions with what is applied and checks them against the offline stores: every
    /// source's table and columns exist, types fit, every on-demand expression compiles.
    ///
    /// # Errors
    /// Everything that is wrong, with its place in the files: `P106`, `P107`, `P111`, `P120` to
    /// `P124`, and what the registry and the stores say.
    pub async fn plan(
        &self,
        cx: &Context,
        loaded: &Loaded,
    ) -> std::result::Result<Plan, Vec<Error>> {
        let before = self.catalog(cx).await.map_err(|error| vec![error])?;
        let used = versions::Used::read(self, cx, &before, &loaded.definitions)
            .await
            .map_err(|error| vec![error])?;
        let (views, mut errors) = check::feature_views(self, cx, loaded).await;

        let mut draft = Draft::new(&before, used);
        draft.remove_undefined(&loaded.definitions);
        draft.entities_and_sources(&loaded.definitions);
        for view in views {
            draft.feature_view(view);
        }
        errors.extend(draft.on_demand_views(loaded));
        errors.extend(draft.services(loaded));
        if !errors.is_empty() {
            return Err(errors);
        }
        draft.remove_orphaned_versions();
        let (after, mut entries, changes, failures) = draft.finish();
        if !failures.is_empty() {
            return Err(failures);
        }
        breaks::mark(&before, &after, &mut entries);
        let dropped = versions::dropped(&before, &after);
        Ok(Plan {
            project: self.project().to_owned(),
            base: before.revision,
            entries,
            changes,
            dropped,
        })
    }
}

/// Says where in the files an error is.
fn located(
    locations: &Locations,
    kind: ObjectKind,
    name: &str,
    field: Option<&str>,
    error: Error,
) -> Error {
    match locations.of(kind, name, field) {
        Some(location) => location.attach(error),
        None => error,
    }
}
