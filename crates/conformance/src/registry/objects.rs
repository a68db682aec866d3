//! What objects hold, and many who work at once.

use futures::future::join_all;
use provender_core::ErrorKind;
use provender_core::provider::{
    Author, Change, Interval, Object, ObjectKind, Registry, Revision, ViewVersion,
};
use serde_json::json;

use super::{ensure, fails, fresh_project, rule, works};

/// Names, authors, messages and bodies come back as they were, whatever their characters and size; a
/// commit without changes and one of a thousand are commits like any other.
///
/// # Errors
/// A text that says which of it does not hold.
pub async fn objects_come_back_as_they_were(registry: &dyn Registry) -> Result<(), String> {
    rule("objects_come_back_as_they_were", async {
        let cx = &fresh_project("objects");
        let by = Author {
            name: "böb \u{1f4a1} 'o\"".to_owned(),
            message: "line one\nline two; -- DROP TABLE objects".to_owned(),
        };
        let names = [
            "a", "A", "ä", "a\u{308}", "日本", "💡", "a'b", "a\"b", "a;b", "a\\b", "a%b", "a_b",
            " ", "a ",
        ];
        let mut objects: Vec<Object> = names
            .iter()
            .map(|name| {
                object(
                    name,
                    json!({"name": name, "f": 1e300, "u": u64::MAX, "n": null}),
                )
            })
            .collect();
        objects.push(object(&"é".repeat(500), json!({})));
        objects.push(object("great", json!({"text": "é".repeat(500_000)})));
        objects.push(object("empty", json!(null)));
        let changes: Vec<Change> = objects.iter().cloned().map(Change::Put).collect();
        let revision = works(
            "commit",
            registry.commit(cx, Revision(0), &changes, &by).await,
        )?;
        let snapshot = works("snapshot", registry.snapshot(cx, None).await)?;
        for object in &objects {
            let found = snapshot.objects.iter().find(|it| it.name == object.name);
            ensure(found.is_some_and(|found| found == object), || {
                let name: String = object.name.chars().take(40).collect();
                format!("the object {name:?} does not come back as it was put")
            })?;
        }
        ensure(snapshot.objects.len() == objects.len(), || {
            let (n_put, n_held) = (objects.len(), snapshot.objects.len());
            format!("{n_put} objects were put, {n_held} are held")
        })?;
        let history = works("history", registry.history(cx, Revision(0), 10).await)?;
        ensure(
            history.first().is_some_and(|commit| commit.author == by),
            || {
                format!(
                    "expected the author {by:?}, got {:?}",
                    history.first().map(|it| &it.author)
                )
            },
        )?;

        let nothing = works(
            "commit of nothing",
            registry.commit(cx, revision, &[], &by).await,
        )?;
        ensure(nothing == Revision(2), || {
            format!(
                "a commit without changes makes a revision, got {}",
                nothing.0
            )
        })?;
        let many: Vec<Change> = (0..1_000)
            .map(|at| Change::Put(object(&format!("many_{at}"), json!(at))))
            .collect();
        works(
            "commit of 1,000",
            registry.commit(cx, nothing, &many, &by).await,
        )?;
        let snapshot = works("snapshot", registry.snapshot(cx, None).await)?;
        ensure(snapshot.objects.len() == objects.len() + many.len(), || {
            format!(
                "expected {} objects, got {}",
                objects.len() + many.len(),
                snapshot.objects.len()
            )
        })
    })
    .await
}

/// Many who try again after a `Conflict` all get their commit in, one revision each; intervals that are
/// recorded at once are all held, and so are commits of several projects.
///
/// # Errors
/// A text that says which of it does not hold.
pub async fn concurrent_work_is_whole(registry: &dyn Registry) -> Result<(), String> {
    const N_WRITERS: usize = 6;
    rule("concurrent_work_is_whole", async {
        let cx = &fresh_project("concurrent");
        let by = &Author::default();
        // All begin with one revision, so that all but one lose at first, however quick each is.
        let first = works("revision", registry.revision(cx).await)?;
        let insists = async |writer: usize| {
            let changes = [Change::Put(object(
                &format!("writer_{writer}"),
                json!(writer),
            ))];
            let mut base = first;
            for _ in 0..200 {
                let answer = registry.commit(cx, base, &changes, by).await;
                match answer {
                    Ok(revision) => return Ok(revision.0),
                    Err(_) => fails("a commit that lost", ErrorKind::Conflict, answer)?,
                };
                base = works("revision", registry.revision(cx).await)?;
            }
            Err("a writer that tries again never gets its commit in".to_owned())
        };
        let mut revisions = Vec::new();
        for answer in join_all((0..N_WRITERS).map(insists)).await {
            revisions.push(answer?);
        }
        revisions.sort_unstable();
        let expected: Vec<u64> = (1..=N_WRITERS as u64).collect();
        ensure(revisions == expected, || {
            format!("each commit makes its own revision: expected {expected:?}, got {revisions:?}")
        })?;
        let snapshot = works("snapshot", registry.snapshot(cx, None).await)?;
        ensure(snapshot.objects.len() == N_WRITERS, || {
            format!(
                "{N_WRITERS} committed, {} objects are held",
                snapshot.objects.len()
            )
        })?;

        let view = &ViewVersion {
            project: cx.project().to_owned(),
            view: "weather".to_owned(),
            version: 1,
        };
        // Far apart, so that each must be there by itself.
        let intervals: Vec<Interval> = (0..N_WRITERS as i64)
            .map(|at| Interval {
                start_us: Some(at * 10),
                end_us: at * 10 + 5,
            })
            .collect();
        let recording = intervals
            .iter()
            .map(|&it| registry.record_interval(cx, view, it));
        for answer in join_all(recording).await {
            works("record_interval", answer)?;
        }
        let held = works("intervals", registry.intervals(cx, view).await)?;
        ensure(held == intervals, || {
            format!("recorded at once {intervals:?}, held {held:?}")
        })
    })
    .await
}

fn object(name: &str, body: serde_json::Value) -> Object {
    Object {
        kind: ObjectKind::Entity,
        name: name.to_owned(),
        version: 1,
        body,
    }
}
