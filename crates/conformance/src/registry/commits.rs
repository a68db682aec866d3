//! Commits, history and snapshots.

use futures::future::join_all;
use provender_core::ErrorKind;
use provender_core::error::codes;
use provender_core::provider::{Author, Change, Object, ObjectKind, Registry, Revision};
use provender_core::time::now_us;
use serde_json::json;

use super::{ensure, fails, fresh_project, rule, works};

/// A commit on the newest revision makes the next one; on an older revision it is a `Conflict` that
/// names what was committed since and changes nothing; of many at once on one base one wins.
/// Projects do not see each other.
///
/// # Errors
/// A text that says which of it does not hold.
pub async fn commit_is_compare_and_swap(registry: &dyn Registry) -> Result<(), String> {
    rule("commit_is_compare_and_swap", async {
        let cx = &fresh_project("cas");
        let by = &author("ann");
        let revision = works("revision", registry.revision(cx).await)?;
        ensure(revision == Revision(0), || {
            format!("the first revision is 0, got {}", revision.0)
        })?;
        let changes = [put(ObjectKind::Entity, "airport", 1)];
        let first = works(
            "commit",
            registry.commit(cx, Revision(0), &changes, by).await,
        )?;
        ensure(first == Revision(1), || {
            format!("the first commit makes revision 1, got {}", first.0)
        })?;

        let stale = [put(ObjectKind::Entity, "carrier", 1)];
        for base in [Revision(0), Revision(2)] {
            let answer = registry.commit(cx, base, &stale, by).await;
            let what = format!("a commit on revision {} instead of 1", base.0);
            let error = fails(&what, ErrorKind::Conflict, answer)?;
            ensure(error.code() == codes::REVISION_CONFLICT.id, || {
                format!("a stale commit has the code P301, got {}", error.code())
            })?;
            if base < first {
                ensure(error.to_string().contains("airport"), || {
                    format!("a Conflict names what was committed since, got {error}")
                })?;
            }
        }
        let revision = works("revision", registry.revision(cx).await)?;
        ensure(revision == first, || {
            format!("a Conflict makes no revision, got {}", revision.0)
        })?;
        let snapshot = works("snapshot", registry.snapshot(cx, None).await)?;
        ensure(names(&snapshot.objects) == ["entity airport@1"], || {
            format!(
                "a Conflict changes nothing, got {:?}",
                names(&snapshot.objects)
            )
        })?;

        let contenders: Vec<_> = (0..8)
            .map(|at| [put(ObjectKind::Source, &format!("source_{at}"), 1)])
            .collect();
        let commits = contenders
            .iter()
            .map(|changes| registry.commit(cx, first, changes, by));
        let answers = join_all(commits).await;
        let n_won = answers.iter().filter(|answer| answer.is_ok()).count();
        ensure(n_won == 1, || {
            format!("of 8 commits at once on one base 1 wins, {n_won} won")
        })?;
        for answer in answers {
            if answer.is_err() {
                fails("a commit that lost", ErrorKind::Conflict, answer)?;
            }
        }
        let revision = works("revision", registry.revision(cx).await)?;
        ensure(revision == Revision(2), || {
            format!("one winner makes one revision, got {}", revision.0)
        })?;

        let other = &fresh_project("cas_other");
        let revision = works("revision", registry.revision(other).await)?;
        ensure(revision == Revision(0), || {
            format!("another project has its own revisions, got {}", revision.0)
        })
    })
    .await
}

/// History lists commits newest first, after a revision, at most so many, with author, time and changes.
///
/// # Errors
/// A text that says which of it does not hold.
pub async fn history_lists_commits(registry: &dyn Registry) -> Result<(), String> {
    rule("history_lists_commits", async {
        let cx = &fresh_project("history");
        let history = works("history", registry.history(cx, Revision(0), 10).await)?;
        ensure(history.is_empty(), || {
            format!("a new project has no history, got {history:?}")
        })?;
        let changes = [
            vec![
                put(ObjectKind::Entity, "airport", 1),
                put(ObjectKind::FeatureView, "weather", 1),
            ],
            vec![put(ObjectKind::FeatureView, "weather", 2)],
            vec![Change::Delete {
                kind: ObjectKind::FeatureView,
                name: "weather".to_owned(),
                version: Some(1),
            }],
        ];
        let authors = [author("ann"), author("böb"), author("")];
        let before_us = now_us();
        for (at, (changes, by)) in changes.iter().zip(&authors).enumerate() {
            let base = Revision(at as u64);
            works("commit", registry.commit(cx, base, changes, by).await)?;
        }
        let history = works("history", registry.history(cx, Revision(0), 10).await)?;
        let revisions: Vec<u64> = history.iter().map(|commit| commit.revision.0).collect();
        ensure(revisions == [3, 2, 1], || {
            format!("history is newest first, got {revisions:?}")
        })?;
        for commit in &history {
            let at = commit.revision.0 as usize - 1;
            ensure(commit.changes == changes[at], || {
                format!(
                    "expected the changes {:?}, got {:?}",
                    changes[at], commit.changes
                )
            })?;
            ensure(commit.author == authors[at], || {
                format!(
                    "expected the author {:?}, got {:?}",
                    authors[at], commit.author
                )
            })?;
            // The registry's clock may be another machine's, but not an hour off or another unit.
            let is_near = commit.committed_us.abs_diff(before_us) < 3_600_000_000;
            ensure(is_near, || {
                format!(
                    "a commit's time is in microseconds, got {}",
                    commit.committed_us
                )
            })?;
        }
        let newest = works("history", registry.history(cx, Revision(1), 1).await)?;
        let revisions: Vec<u64> = newest.iter().map(|commit| commit.revision.0).collect();
        ensure(revisions == [3], || {
            format!("after 1, at most 1: expected [3], got {revisions:?}")
        })?;
        let none = works("history", registry.history(cx, Revision(3), 10).await)?;
        ensure(none.is_empty(), || {
            format!("nothing comes after the newest, got {none:?}")
        })
    })
    .await
}

/// A snapshot holds the objects of its revision by kind, name and version; a later commit does not
/// change it; puts replace a version's body; deletes take one version or all; revisions that do not
/// exist yet are `NotFound`; bodies come back as they were.
///
/// # Errors
/// A text that says which of it does not hold.
pub async fn snapshots_of_the_past_stay(registry: &dyn Registry) -> Result<(), String> {
    rule("snapshots_of_the_past_stay", async {
        let cx = &fresh_project("snapshot");
        let by = &author("ann");
        let empty = works("snapshot", registry.snapshot(cx, None).await)?;
        ensure(
            empty.objects.is_empty() && empty.revision == Revision(0),
            || format!("a new project is empty, got {empty:?}"),
        )?;
        ensure(empty.project == cx.project(), || {
            format!("a snapshot names its project, got {:?}", empty.project)
        })?;
        let body = json!({
            "text": "é \u{0} 'quoted' \"twice\" \\",
            "number": i64::MAX,
            "fraction": 0.1,
            "nested": [{"null": null}],
        });
        let replaced = Change::Put(Object {
            kind: ObjectKind::FeatureView,
            name: "b".to_owned(),
            version: 1,
            body: body.clone(),
        });
        let delete = |name: &str, version| Change::Delete {
            kind: ObjectKind::FeatureView,
            name: name.to_owned(),
            version,
        };
        let commits = [
            vec![
                put(ObjectKind::FeatureView, "b", 2),
                put(ObjectKind::FeatureView, "b", 1),
                put(ObjectKind::FeatureView, "a", 10),
                put(ObjectKind::FeatureView, "a", 9),
                put(ObjectKind::Entity, "z", 1),
            ],
            vec![replaced, delete("a", Some(9))],
            vec![delete("b", None), delete("missing", None)],
        ];
        for (at, changes) in commits.iter().enumerate() {
            let base = Revision(at as u64);
            works("commit", registry.commit(cx, base, changes, by).await)?;
        }
        let view = |text: &str| format!("feature_view {text}");
        let entity = "entity z@1".to_owned();
        let expected = [
            vec![],
            vec![
                entity.clone(),
                view("a@9"),
                view("a@10"),
                view("b@1"),
                view("b@2"),
            ],
            vec![entity.clone(), view("a@10"), view("b@1"), view("b@2")],
            vec![entity, view("a@10")],
        ];
        for (at, expected) in expected.iter().enumerate() {
            let revision = Revision(at as u64);
            let snapshot = works("snapshot", registry.snapshot(cx, Some(revision)).await)?;
            ensure(snapshot.revision == revision, || {
                format!("asked for revision {at}, got {}", snapshot.revision.0)
            })?;
            let got = names(&snapshot.objects);
            ensure(got == *expected, || {
                format!("revision {at}: expected {expected:?}, got {got:?}")
            })?;
            let b = snapshot
                .objects
                .iter()
                .find(|object| object.name == "b" && object.version == 1);
            if let Some(b) = b {
                let expected = if at == 1 {
                    json!({"name": "b"})
                } else {
                    body.clone()
                };
                ensure(b.body == expected, || {
                    format!(
                        "revision {at}: expected the body {expected}, got {}",
                        b.body
                    )
                })?;
            }
        }
        let newest = works("snapshot", registry.snapshot(cx, None).await)?;
        ensure(newest.revision == Revision(3), || {
            format!("no revision asked is the newest, got {}", newest.revision.0)
        })?;
        let answer = registry.snapshot(cx, Some(Revision(4))).await;
        fails("a snapshot of the future", ErrorKind::NotFound, answer)?;
        Ok(())
    })
    .await
}

fn author(name: &str) -> Author {
    Author {
        name: name.to_owned(),
        message: format!("by {name}"),
    }
}

fn put(kind: ObjectKind, name: &str, version: u32) -> Change {
    Change::Put(Object {
        kind,
        name: name.to_owned(),
        version,
        body: json!({"name": name}),
    })
}

fn names(objects: &[Object]) -> Vec<String> {
    objects
        .iter()
        .map(|object| format!("{} {}@{}", object.kind.name(), object.name, object.version))
        .collect()
}
