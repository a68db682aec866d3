//! A registry in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use provender_core::Context;
use provender_core::error::{Error, ErrorKind, Result, codes};
use provender_core::provider::{
    Author, Change, Commit, Interval, Lease, Object, ObjectKind, Provider, ProviderInfo, Registry,
    RegistrySnapshot, Revision, ViewVersion,
};
use provender_core::time::now_us;

/// A registry that ends with the process. Its clock is this machine's.
#[derive(Debug, Default)]
pub struct MemoryRegistry {
    projects: Mutex<BTreeMap<String, Project>>,
}

type Objects = BTreeMap<(ObjectKind, String, u32), Object>;

#[derive(Debug, Default)]
struct Project {
    commits: Vec<Commit>,
    intervals: BTreeMap<ViewVersion, Vec<Interval>>,
    leases: BTreeMap<String, Lease>,
}

impl Project {
    fn revision(&self) -> Revision {
        Revision(self.commits.len() as u64)
    }

    fn held_by_other(&self, name: &str, holder: &str, now_us: i64) -> Option<Error> {
        let lease = self.leases.get(name)?;
        if lease.holder == holder || lease.expires_us <= now_us {
            return None;
        }
        let left_us = lease.expires_us - now_us;
        let left_s = left_us.div_euclid(1_000_000) + 1;
        Some(
            Error::new(
                &codes::LEASE_HELD,
                format!(
                    "{name:?} is being worked on by {:?} for at most {left_s}s more",
                    lease.holder
                ),
            )
            .help("wait until that run ends, or until its lease runs out")
            .context("lease", name)
            .context("holder", lease.holder.clone()),
        )
    }
}

impl MemoryRegistry {
    /// A registry without projects.
    pub fn new() -> Self {
        Self::default()
    }

    fn with_project<T>(
        &self,
        cx: &Context,
        work: impl FnOnce(&mut Project) -> Result<T>,
    ) -> Result<T> {
        cx.check()?;
        let mut projects: MutexGuard<'_, _> =
            self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        work(projects.entry(cx.project().to_owned()).or_default())
    }
}

#[async_trait]
impl Provider for MemoryRegistry {
    fn info(&self) -> ProviderInfo {
        ProviderInfo {
            scheme: "memory".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            display_name: "registry in memory".to_owned(),
        }
    }

    async fn check(&self, cx: &Context) -> Result<Vec<String>> {
        cx.check()?;
        Ok(Vec::new())
    }
}

#[async_trait]
impl Registry for MemoryRegistry {
    async fn revision(&self, cx: &Context) -> Result<Revision> {
        self.with_project(cx, |project| Ok(project.revision()))
    }

    async fn snapshot(&self, cx: &Context, at: Option<Revision>) -> Result<Arc<RegistrySnapshot>> {
        self.with_project(cx, |project| {
            let newest = project.revision();
            let revision = at.unwrap_or(newest);
            if revision > newest {
                return Err(Error::new(
                    &codes::BAD_REQUEST,
                    format!("there is no revision {} yet", revision.0),
                )
                .with_kind(ErrorKind::NotFound)
                .help(format!("the newest is {}", newest.0)));
            }
            let mut objects = Objects::new();
            for commit in project
                .commits
                .iter()
                .filter(|commit| commit.revision <= revision)
            {
                for change in &commit.changes {
                    apply(&mut objects, change);
                }
            }
            Ok(Arc::new(RegistrySnapshot {
                project: cx.project().to_owned(),
                revision,
                objects: objects.into_values().collect(),
            }))
        })
    }

    async fn commit(
        &self,
        cx: &Context,
        base: Revision,
        changes: &[Change],
        by: &Author,
    ) -> Result<Revision> {
        self.with_project(cx, |project| {
            let newest = project.revision();
            if newest != base {
                let since: Vec<String> = project
                    .commits
                    .iter()
                    .filter(|commit| commit.revision > base)
                    .flat_map(|commit| commit.changes.iter().map(Change::describe))
                    .collect();
                return Err(Error::new(
                    &codes::REVISION_CONFLICT,
                    format!(
                        "the registry is at revision {}, not {}; committed since: {}",
                        newest.0,
                        base.0,
                        since.join(", ")
                    ),
                )
                .help("plan again, look, and apply"));
            }
            let revision = Revision(newest.0 + 1);
            project.commits.push(Commit {
                revision,
                committed_us: now_us(),
                author: by.clone(),
                changes: changes.to_vec(),
            });
            Ok(revision)
        })
    }

    async fn history(&self, cx: &Context, after: Revision, limit: usize) -> Result<Vec<Commit>> {
        self.with_project(cx, |project| {
            let newest_first = project.commits.iter().rev();
            Ok(newest_first
                .filter(|commit| commit.revision > after)
                .take(limit)
                .cloned()
                .collect())
        })
    }

    async fn record_interval(
        &self,
        cx: &Context,
        view: &ViewVersion,
        interval: Interval,
    ) -> Result<()> {
        self.with_project(cx, |project| {
            let intervals = project.intervals.entry(view.clone()).or_default();
            intervals.push(interval);
            *intervals = merged(std::mem::take(intervals));
            Ok(())
        })
    }

    async fn intervals(&self, cx: &Context, view: &ViewVersion) -> Result<Vec<Interval>> {
        self.with_project(cx, |project| {
            Ok(project.intervals.get(view).cloned().unwrap_or_default())
        })
    }

    async fn forget_intervals(&self, cx: &Context, view: &ViewVersion) -> Result<()> {
        self.with_project(cx, |project| {
            project.intervals.remove(view);
            Ok(())
        })
    }

    async fn acquire_lease(
        &self,
        cx: &Context,
        name: &str,
        holder: &str,
        ttl: Duration,
    ) -> Result<Lease> {
        self.with_project(cx, |project| {
            let now_us = now_us();
            if let Some(held) = project.held_by_other(name, holder, now_us) {
                return Err(held);
            }
            let lease = Lease {
                project: cx.project().to_owned(),
                name: name.to_owned(),
                holder: holder.to_owned(),
                token: project.leases.get(name).map_or(0, |lease| lease.token) + 1,
                expires_us: end_us(now_us, ttl),
            };
            project.leases.insert(name.to_owned(), lease.clone());
            Ok(lease)
        })
    }

    async fn renew_lease(&self, cx: &Context, lease: &Lease, ttl: Duration) -> Result<Lease> {
        self.with_project(cx, |project| {
            let now_us = now_us();
            match project.leases.get_mut(&lease.name) {
                // Nobody took it since, so it goes on even if it ran out.
                Some(held) if held.token == lease.token => {
                    held.expires_us = end_us(now_us, ttl);
                    Ok(held.clone())
                }
                _ => Err(project
                    .held_by_other(&lease.name, &lease.holder, now_us)
                    .unwrap_or_else(|| {
                        Error::new(
                            &codes::LEASE_HELD,
                            format!(
                                "the lease of {:?} on {:?} ran out",
                                lease.holder, lease.name
                            ),
                        )
                        .help("acquire it again")
                    })),
            }
        })
    }

    async fn release_lease(&self, cx: &Context, lease: &Lease) -> Result<()> {
        self.with_project(cx, |project| {
            // The entry stays, run out, so that tokens go on counting.
            if let Some(held) = project.leases.get_mut(&lease.name)
                && held.token == lease.token
            {
                held.expires_us = i64::MIN;
            }
            Ok(())
        })
    }
}

fn apply(objects: &mut Objects, change: &Change) {
    match change {
        Change::Put(object) => {
            objects.insert(
                (object.kind, object.name.clone(), object.version),
                object.clone(),
            );
        }
        Change::Delete {
            kind,
            name,
            version,
        } => objects.retain(|(other_kind, other_name, other_version), _| {
            let is_meant = other_kind == kind
                && other_name == name
                && version.is_none_or(|version| version == *other_version);
            !is_meant
        }),
    }
}

/// Disjoint, not adjacent, by end.
fn merged(mut intervals: Vec<Interval>) -> Vec<Interval> {
    intervals.sort();
    let mut merged: Vec<Interval> = Vec::new();
    for interval in intervals {
        match merged.last_mut() {
            // The start is excluded, so an interval that starts at an end is adjacent.
            Some(last)
                if interval
                    .start_us
                    .is_none_or(|start_us| start_us <= last.end_us) =>
            {
                last.end_us = last.end_us.max(interval.end_us);
            }
            _ => merged.push(interval),
        }
    }
    merged
}

fn end_us(now_us: i64, ttl: Duration) -> i64 {
    now_us.saturating_add(i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX))
}
