//! Commits, snapshots and history.

use std::collections::BTreeMap;
use std::time::Duration;

use provender_core::provider::{Author, Change, Object, ObjectKind, Registry, Revision};
use provender_core::{Context, ErrorKind};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::common::{Backend, by, cx, delete, put};

async fn names(registry: &dyn Registry, at: Option<u64>) -> Vec<String> {
    let snapshot = registry.snapshot(&cx(), at.map(Revision)).await.unwrap();
    let describe = |object: &Object| format!("{}@{}={}", object.name, object.version, object.body);
    snapshot.objects.iter().map(describe).collect()
}

pub async fn empty_registry_is_at_revision_0(backend: &Backend) {
    let registry = backend.open().await;
    assert_eq!(registry.revision(&cx()).await.unwrap(), Revision(0));
    let snapshot = registry.snapshot(&cx(), None).await.unwrap();
    assert_eq!(snapshot.project, "flights");
    assert!(snapshot.objects.is_empty());
    assert!(names(&*registry, Some(0)).await.is_empty());
    assert!(
        registry
            .history(&cx(), Revision(0), 10)
            .await
            .unwrap()
            .is_empty()
    );
    let error = registry
        .snapshot(&cx(), Some(Revision(1)))
        .await
        .unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, "P308"));
    assert_eq!(
        error.message(),
        "project \"flights\" has no revision 1; its newest is 0"
    );
}

pub async fn past_revisions_stay_readable(backend: &Backend) {
    let registry = backend.open().await;
    let steps: [&[Change]; 4] = [
        &[put("a", 1, 1), put("b", 1, 1)],
        &[put("a", 1, 2), put("a", 2, 3)],
        &[delete("a", Some(1))],
        &[put("a", 1, 4), delete("b", None)],
    ];
    for (base, changes) in (0..).zip(steps) {
        let made = registry
            .commit(&cx(), Revision(base), changes, &by("ann"))
            .await
            .unwrap();
        assert_eq!(made, Revision(base + 1));
    }
    // Another opening sees the same: nothing is kept in memory.
    let registry = backend.open().await;
    assert_eq!(names(&*registry, Some(0)).await, Vec::<String>::new());
    assert_eq!(names(&*registry, Some(1)).await, ["a@1=1", "b@1=1"]);
    assert_eq!(
        names(&*registry, Some(2)).await,
        ["a@1=2", "a@2=3", "b@1=1"]
    );
    assert_eq!(names(&*registry, Some(3)).await, ["a@2=3", "b@1=1"]);
    assert_eq!(names(&*registry, Some(4)).await, ["a@1=4", "a@2=3"]);
    assert_eq!(names(&*registry, None).await, ["a@1=4", "a@2=3"]);
}

type State = BTreeMap<(ObjectKind, String, u32), serde_json::Value>;

pub async fn random_commits_equal_naive_replay(backend: &Backend) {
    let registry = backend.open().await;
    let mut random = StdRng::seed_from_u64(7);
    let mut states = vec![State::new()];
    for base in 0..60_u64 {
        let mut state = states.last().unwrap().clone();
        let mut changes = Vec::new();
        for _ in 0..random.random_range(0..6) {
            let kind = ObjectKind::ALL[random.random_range(0..ObjectKind::ALL.len())];
            let name = ["a", "B", "b", "ä", "_"][random.random_range(0..5)].to_owned();
            let version = random.random_range(1..4);
            if random.random_bool(0.6) {
                let body = json!({"n": random.random_range(0..9), "at": base});
                state.insert((kind, name.clone(), version), body.clone());
                changes.push(Change::Put(Object {
                    kind,
                    name,
                    version,
                    body,
                }));
            } else {
                let version = random.random_bool(0.5).then_some(version);
                state.retain(|(k, n, v), _| {
                    !(*k == kind && *n == name && version.is_none_or(|version| version == *v))
                });
                changes.push(Change::Delete {
                    kind,
                    name,
                    version,
                });
            }
        }
        registry
            .commit(&cx(), Revision(base), &changes, &by("ann"))
            .await
            .unwrap();
        states.push(state);
    }
    for (at, state) in (0..).zip(&states) {
        let snapshot = registry.snapshot(&cx(), Some(Revision(at))).await.unwrap();
        let read: Vec<_> = snapshot
            .objects
            .iter()
            .map(|o| ((o.kind, o.name.clone(), o.version), o.body.clone()))
            .collect();
        // The order too: by kind, name as bytes, and version.
        let expected: Vec<_> = state.clone().into_iter().collect();
        assert_eq!(read, expected, "revision {at}");
    }
}

pub async fn history_tells_who_changed_what(backend: &Backend) {
    let registry = backend.open().await;
    let changes = [
        put("a", 1, json!({"deep": [1, null, "x"]})),
        delete("b", None),
    ];
    registry
        .commit(&cx(), Revision(0), &changes, &by("ann"))
        .await
        .unwrap();
    registry
        .commit(&cx(), Revision(1), &[], &Author::default())
        .await
        .unwrap();
    registry
        .commit(&cx(), Revision(2), &[delete("a", Some(1))], &by("bob"))
        .await
        .unwrap();

    let history = registry
        .history(&cx(), Revision(0), usize::MAX)
        .await
        .unwrap();
    let revisions: Vec<u64> = history.iter().map(|commit| commit.revision.0).collect();
    assert_eq!(revisions, [3, 2, 1]);
    assert_eq!(history[2].changes, changes);
    assert_eq!(history[2].author, by("ann"));
    assert_eq!(history[1].author, Author::default());
    assert!(history[1].changes.is_empty());
    let now_us = provender_core::time::now_us();
    for commit in &history {
        assert!(
            (now_us - commit.committed_us).abs() < 60_000_000,
            "{commit:?}"
        );
    }
    let newest = registry.history(&cx(), Revision(1), 1).await.unwrap();
    assert_eq!((newest.len(), newest[0].revision), (1, Revision(3)));
    assert!(
        registry
            .history(&cx(), Revision(0), 0)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        registry
            .history(&cx(), Revision(9), 5)
            .await
            .unwrap()
            .is_empty()
    );
}

pub async fn stale_base_is_refused_with_what_was_committed_since(backend: &Backend) {
    let registry = backend.open().await;
    registry
        .commit(&cx(), Revision(0), &[put("a", 1, 1)], &by("ann"))
        .await
        .unwrap();
    let changes = [put("rain", 2, 1), delete("a", None)];
    registry
        .commit(&cx(), Revision(1), &changes, &by("bob"))
        .await
        .unwrap();

    let mine = [put("mine", 1, 1), delete("rain", None)];
    let error = registry
        .commit(&cx(), Revision(0), &mine, &by("eve"))
        .await
        .unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "P301"));
    assert_eq!(
        error.message(),
        "project \"flights\" moved on from revision 0 to 2 while these changes were made, so none of \
         them was applied; since then: revision 2 by bob (bob's change): put feature_view rain@2, \
         delete feature_view a; revision 1 by ann (ann's change): put feature_view a@1"
    );
    assert_eq!(error.help_text(), Some("plan again, look, and apply"));

    assert_eq!(registry.revision(&cx()).await.unwrap(), Revision(2));
    assert_eq!(names(&*registry, None).await, ["rain@2=1"]);
    assert_eq!(
        registry.history(&cx(), Revision(0), 9).await.unwrap().len(),
        2
    );
}

pub async fn long_conflict_is_cut(backend: &Backend) {
    let registry = backend.open().await;
    let many: Vec<Change> = (0..30).map(|i| put(&format!("view_{i}"), 1, i)).collect();
    for base in 0..14 {
        registry
            .commit(&cx(), Revision(base), &many, &by("ann"))
            .await
            .unwrap();
    }
    let error = registry
        .commit(&cx(), Revision(1), &many, &by("bob"))
        .await
        .unwrap_err();
    let message = error.message();
    assert!(message.contains("revision 14 by ann"), "{message}");
    assert!(message.contains("revision 5 by ann"), "{message}");
    assert!(!message.contains("revision 4 by ann"), "{message}");
    assert!(message.contains("view_4@1, and 25 more;"), "{message}");
    assert!(message.ends_with("and 3 earlier commits"), "{message}");
}

pub async fn base_of_the_future_is_refused(backend: &Backend) {
    let registry = backend.open().await;
    registry
        .commit(&cx(), Revision(0), &[put("a", 1, 1)], &by("ann"))
        .await
        .unwrap();
    for base in [2, u64::MAX] {
        let error = registry
            .commit(&cx(), Revision(base), &[], &by("bob"))
            .await
            .unwrap_err();
        assert_eq!(error.code(), "P301");
        assert!(error.message().contains("only at revision 1"), "{error}");
    }
    assert_eq!(registry.revision(&cx()).await.unwrap(), Revision(1));
}

pub async fn one_commit_may_change_an_object_twice(backend: &Backend) {
    let registry = backend.open().await;
    let changes = [
        put("a", 1, 1),
        put("a", 1, 2),
        put("b", 1, 1),
        delete("b", None),
        put("c", 1, 1),
        delete("c", Some(1)),
        put("c", 1, 3),
    ];
    registry
        .commit(&cx(), Revision(0), &changes, &by("ann"))
        .await
        .unwrap();
    assert_eq!(names(&*registry, None).await, ["a@1=2", "c@1=3"]);
    assert_eq!(names(&*registry, Some(0)).await, Vec::<String>::new());
    let history = registry.history(&cx(), Revision(0), 1).await.unwrap();
    assert_eq!(history[0].changes, changes);
}

pub async fn deleting_nothing_and_putting_the_same_make_revisions(backend: &Backend) {
    let registry = backend.open().await;
    let commit = |base: u64, change: Change| {
        let registry = registry.clone();
        async move {
            registry
                .commit(&cx(), Revision(base), &[change], &by("ann"))
                .await
                .unwrap()
        }
    };
    assert_eq!(commit(0, delete("a", None)).await, Revision(1));
    assert_eq!(commit(1, delete("a", Some(3))).await, Revision(2));
    assert_eq!(commit(2, put("a", 1, "x")).await, Revision(3));
    assert_eq!(commit(3, put("a", 1, "x")).await, Revision(4));
    for at in [3, 4] {
        assert_eq!(names(&*registry, Some(at)).await, ["a@1=\"x\""]);
    }
}

pub async fn odd_names_and_bodies_come_back_as_they_were(backend: &Backend) {
    let registry = backend.open().await;
    let body = json!({
        "text": "quote ' \" \\ \u{0} \u{1F600} $1 ? %",
        "numbers": [i64::MIN, u64::MAX, 0.1, -0.0],
        "nested": {"null": null, "": [[]]},
    });
    for project in [
        "",
        " ",
        "it's; DROP TABLE objects --",
        "naïve 航班",
        "a/b\\c\n\t$1",
        "Flights",
    ] {
        let cx = Context::new(project);
        let name = format!("{project}\"'$2");
        let changes = [put(&name, u32::MAX, body.clone())];
        registry
            .commit(&cx, Revision(0), &changes, &by(&name))
            .await
            .unwrap();
        let snapshot = registry.snapshot(&cx, None).await.unwrap();
        assert_eq!(snapshot.project, project);
        assert_eq!(Change::Put(snapshot.objects[0].clone()), changes[0]);
        let history = registry.history(&cx, Revision(0), 1).await.unwrap();
        assert_eq!(
            (&history[0].author, &history[0].changes[..]),
            (&by(&name), &changes[..])
        );
    }
}

pub async fn nul_and_endless_names_are_refused(backend: &Backend) {
    let registry = backend.open().await;
    let long = "x".repeat(1_001);
    for name in ["a\0b", &long] {
        for (cx, change) in [
            (Context::new(name), put("a", 1, 1)),
            (cx(), put(name, 1, 1)),
            (cx(), delete(name, None)),
        ] {
            let error = registry
                .commit(&cx, Revision(0), &[change], &by("ann"))
                .await
                .unwrap_err();
            assert_eq!(
                (error.kind(), error.code()),
                (ErrorKind::InvalidArgument, "P406")
            );
        }
    }
    let error = registry
        .commit(&cx(), Revision(0), &[], &by("\0"))
        .await
        .unwrap_err();
    assert_eq!(
        error.message(),
        "the author \"\\0\" holds a NUL character, which the registry cannot keep"
    );
    let longest = "ä".repeat(500);
    let cx = Context::new(longest.as_str());
    let changes = [put(&longest, 1, 1)];
    registry
        .commit(&cx, Revision(0), &changes, &by("ann"))
        .await
        .unwrap();
}

pub async fn projects_do_not_see_each_other(backend: &Backend) {
    let registry = backend.open().await;
    let (a, b) = (Context::new("a"), Context::new("b"));
    registry
        .commit(&a, Revision(0), &[put("v", 1, 1)], &by("ann"))
        .await
        .unwrap();
    registry
        .commit(&a, Revision(1), &[put("w", 1, 1)], &by("ann"))
        .await
        .unwrap();
    registry
        .commit(&b, Revision(0), &[delete("v", None)], &by("bob"))
        .await
        .unwrap();
    assert_eq!(registry.revision(&a).await.unwrap(), Revision(2));
    assert_eq!(registry.revision(&b).await.unwrap(), Revision(1));
    assert_eq!(registry.snapshot(&a, None).await.unwrap().objects.len(), 2);
    assert!(
        registry
            .snapshot(&b, None)
            .await
            .unwrap()
            .objects
            .is_empty()
    );
    let history = registry.history(&b, Revision(0), 9).await.unwrap();
    assert_eq!((history.len(), history[0].author.name.as_str()), (1, "bob"));
}

pub async fn cancelled_and_late_calls_fail_as_such(backend: &Backend) {
    let registry = backend.open().await;
    let late = cx().with_timeout(Duration::ZERO);
    let error = registry.revision(&late).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::DeadlineExceeded, "P905")
    );
    let cancelled = cx();
    cancelled.cancel();
    let error = registry
        .commit(&cancelled, Revision(0), &[], &by("ann"))
        .await
        .unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Cancelled, "P906"));
    assert_eq!(registry.revision(&cx()).await.unwrap(), Revision(0));

    // Calls that are dropped half way leave the registry usable.
    for delay_us in (0..3_000).step_by(150) {
        let base = registry.revision(&cx()).await.unwrap();
        let (context, changes, author) = (cx(), [put("a", 1, 1)], by("ann"));
        let commit = registry.commit(&context, base, &changes, &author);
        let _ = tokio::time::timeout(Duration::from_micros(delay_us), commit).await;
    }
    // The last one may still be on its way; it is not once another succeeded.
    let newest = loop {
        let base = registry.revision(&cx()).await.unwrap();
        match registry.commit(&cx(), base, &[], &by("ann")).await {
            Ok(made) => break made,
            Err(error) => assert_eq!(error.code(), "P301", "{error:?}"),
        }
    };
    let history = registry.history(&cx(), Revision(0), 99).await.unwrap();
    assert_eq!(u64::try_from(history.len()).unwrap(), newest.0);
}
