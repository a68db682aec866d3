//! Calls that must fail, and what they leave behind; who the registry is.

use std::time::Duration;

use provender_core::provider::{
    Author, Change, Interval, Object, ObjectKind, Registry, Revision, ViewVersion,
};
use provender_core::{Context, ErrorKind};

use super::{ensure, fails, fresh_project, rule, works};

/// A cancelled call is `Cancelled` and a late one `DeadlineExceeded`, whichever it is, and neither
/// changes anything.
///
/// # Errors
/// A text that says which of it does not hold.
pub async fn cancelled_and_late_calls_fail(registry: &dyn Registry) -> Result<(), String> {
    const TTL: Duration = Duration::from_secs(600);
    rule("cancelled_and_late_calls_fail", async {
        let cx = &fresh_project("ended");
        let by = &Author::default();
        let put = |name: &str| {
            [Change::Put(Object {
                kind: ObjectKind::Entity,
                name: name.to_owned(),
                version: 1,
                body: serde_json::json!({}),
            })]
        };
        works(
            "commit",
            registry.commit(cx, Revision(0), &put("kept"), by).await,
        )?;
        let view = &ViewVersion {
            project: cx.project().to_owned(),
            view: "weather".to_owned(),
            version: 1,
        };
        let interval = |end_us| Interval {
            start_us: None,
            end_us,
        };
        works(
            "record_interval",
            registry.record_interval(cx, view, interval(1)).await,
        )?;
        let lease = works(
            "acquire_lease",
            registry.acquire_lease(cx, "run", "ann", TTL).await,
        )?;
        let cancelled = Context::new(cx.project());
        cancelled.cancel();
        let late = Context::new(cx.project()).with_timeout(Duration::ZERO);
        for (ended, kind) in [
            (&cancelled, ErrorKind::Cancelled),
            (&late, ErrorKind::DeadlineExceeded),
        ] {
            fails("check", kind, registry.check(ended).await)?;
            fails("revision", kind, registry.revision(ended).await)?;
            fails("snapshot", kind, registry.snapshot(ended, None).await)?;
            let changes = put("never");
            let answer = registry.commit(ended, Revision(1), &changes, by).await;
            fails("commit", kind, answer)?;
            fails(
                "history",
                kind,
                registry.history(ended, Revision(0), 1).await,
            )?;
            let answer = registry.record_interval(ended, view, interval(9)).await;
            fails("record_interval", kind, answer)?;
            fails("intervals", kind, registry.intervals(ended, view).await)?;
            let answer = registry.forget_intervals(ended, view).await;
            fails("forget_intervals", kind, answer)?;
            let answer = registry.acquire_lease(ended, "other", "bob", TTL).await;
            fails("acquire_lease", kind, answer)?;
            fails(
                "renew_lease",
                kind,
                registry.renew_lease(ended, &lease, TTL).await,
            )?;
            fails(
                "release_lease",
                kind,
                registry.release_lease(ended, &lease).await,
            )?;
        }
        let revision = works("revision", registry.revision(cx).await)?;
        let intervals = works("intervals", registry.intervals(cx, view).await)?;
        ensure(
            revision == Revision(1) && intervals == [interval(1)],
            || {
                format!(
                    "calls that failed changed something: revision {}, intervals {intervals:?}",
                    revision.0
                )
            },
        )?;
        let answer = registry.acquire_lease(cx, "run", "bob", TTL).await;
        fails("a lease whose release failed", ErrorKind::Conflict, answer)?;
        let answer = registry.acquire_lease(cx, "other", "cid", TTL).await;
        works("acquire_lease where it failed before", answer)?;
        works("release_lease", registry.release_lease(cx, &lease).await)
    })
    .await
}

/// `check` works on a registry that works, and `info` names the type, the version and the instance, the
/// same on every call.
///
/// # Errors
/// A text that says which of it does not hold.
pub async fn check_answers_and_identity_stays(registry: &dyn Registry) -> Result<(), String> {
    rule("check_answers_and_identity_stays", async {
        crate::rules::identity(registry, &fresh_project("check")).await
    })
    .await
}
