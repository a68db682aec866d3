//! The registry: what is applied, who changed it, what is materialised, who works on what.
//!
//! A registry keeps opaque JSON objects under a revision that counts up by one per commit. What the
//! objects mean is [`crate::Catalog`]'s business.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::Provider;
use crate::context::Context;
use crate::error::Result;

/// Counts a project's commits; 0 before the first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// The kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum ObjectKind {
    Entity,
    Source,
    FeatureView,
    OnDemandFeatureView,
    FeatureService,
    Dataset,
}

impl ObjectKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Entity,
        Self::Source,
        Self::FeatureView,
        Self::OnDemandFeatureView,
        Self::FeatureService,
        Self::Dataset,
    ];

    /// As text, for storage and messages: `feature_view`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Entity => "entity",
            Self::Source => "source",
            Self::FeatureView => "feature_view",
            Self::OnDemandFeatureView => "on_demand_feature_view",
            Self::FeatureService => "feature_service",
            Self::Dataset => "dataset",
        }
    }

    /// The kind of a name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One version of one object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name, unique per kind.
    pub name: String,
    /// Its version; kinds without versions always have 1.
    pub version: u32,
    /// Its definition.
    pub body: serde_json::Value,
}

/// One change of a commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Adds a version of an object, or replaces that version's body.
    Put(Object),
    /// Removes one version of an object, or all.
    Delete {
        /// What it is.
        kind: ObjectKind,
        /// Its name.
        name: String,
        /// The version; `None` is all.
        version: Option<u32>,
    },
}

impl Change {
    /// For messages: `put feature_view route_delay@2`.
    pub fn describe(&self) -> String {
        match self {
            Self::Put(object) => {
                format!(
                    "put {} {}@{}",
                    object.kind.name(),
                    object.name,
                    object.version
                )
            }
            Self::Delete {
                kind,
                name,
                version: Some(version),
            } => {
                format!("delete {} {name}@{version}", kind.name())
            }
            Self::Delete {
                kind,
                name,
                version: None,
            } => format!("delete {} {name}", kind.name()),
        }
    }
}

/// Who commits, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// A user or service.
    pub name: String,
    /// Free text.
    pub message: String,
}

/// A commit of the past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// The revision it made.
    pub revision: Revision,
    /// When, in microseconds since the epoch, by the registry's clock.
    pub committed_us: i64,
    /// By whom.
    pub author: Author,
    /// What it changed.
    pub changes: Vec<Change>,
}

/// All objects of one revision of a project. Never changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegistrySnapshot {
    /// The project.
    pub project: String,
    /// The revision.
    pub revision: Revision,
    /// The objects, by kind, name and version.
    pub objects: Vec<Object>,
}

/// A version of a feature view of a project.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ViewVersion {
    /// The project.
    pub project: String,
    /// The view.
    pub view: String,
    /// The version.
    pub version: u32,
}

/// What a materialisation run has made durable: (start, end] in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Interval {
    /// The start, excluded; `None` is the beginning of time.
    pub start_us: Option<i64>,
    /// The end, included.
    pub end_us: i64,
}

/// The exclusive right to some work until it runs out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The project.
    pub project: String,
    /// The work's name.
    pub name: String,
    /// Who holds it.
    pub holder: String,
    /// Counts acquisitions; greater than that of every earlier holder, so that a late writer can be told from the present one.
    pub token: u64,
    /// When it runs out, by the registry's clock.
    pub expires_us: i64,
}

/// A store of definitions, of progress and of leases. All projects of a team can share one.
#[async_trait]
pub trait Registry: Provider {
    /// The project's newest revision; a cheap poll. 0 if nothing was committed.
    ///
    /// # Errors
    /// `Unavailable`; `FailedPrecondition` (`P302`) if a newer program wrote the registry.
    async fn revision(&self, cx: &Context) -> Result<Revision>;

    /// All objects as of a revision; `None` is the newest.
    ///
    /// # Errors
    /// `NotFound` for a revision that does not exist yet; `DataLoss` for unreadable objects.
    async fn snapshot(&self, cx: &Context, at: Option<Revision>) -> Result<Arc<RegistrySnapshot>>;

    /// Applies all changes in one step if the newest revision is still `base`, and answers the new revision.
    ///
    /// # Errors
    /// `Conflict` (`P301`) if it is not, saying what was committed since; then nothing changed.
    async fn commit(
        &self,
        cx: &Context,
        base: Revision,
        changes: &[Change],
        by: &Author,
    ) -> Result<Revision>;

    /// The commits after a revision, newest first, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn history(&self, cx: &Context, after: Revision, limit: usize) -> Result<Vec<Commit>>;

    /// Records that a view's rows of an interval are durable online. Makes no revision; overlapping and
    /// adjacent intervals are merged.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn record_interval(
        &self,
        cx: &Context,
        view: &ViewVersion,
        interval: Interval,
    ) -> Result<()>;

    /// The recorded intervals of a view version, by end, oldest first, disjoint and not adjacent.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn intervals(&self, cx: &Context, view: &ViewVersion) -> Result<Vec<Interval>>;

    /// Forgets the intervals of a view version, as when its online data was dropped.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn forget_intervals(&self, cx: &Context, view: &ViewVersion) -> Result<()>;

    /// Takes a lease that nobody else holds; the present holder gets it again with a new end.
    ///
    /// # Errors
    /// `Conflict` (`P305`) that names the holder and the time left, with the holder as context `holder`.
    async fn acquire_lease(
        &self,
        cx: &Context,
        name: &str,
        holder: &str,
        ttl: Duration,
    ) -> Result<Lease>;

    /// Prolongs a lease.
    ///
    /// # Errors
    /// `Conflict` (`P305`) if it ran out and somebody else took it.
    async fn renew_lease(&self, cx: &Context, lease: &Lease, ttl: Duration) -> Result<Lease>;

    /// Gives a lease back. One that is no longer held is no error.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn release_lease(&self, cx: &Context, lease: &Lease) -> Result<()>;
}
