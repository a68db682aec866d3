//! Many writers at once.

use std::collections::BTreeMap;
use std::time::Instant;

use provender_core::ErrorKind;
use provender_core::provider::{Author, Change, Revision};

use crate::common::{Backend, cx, put};

const N_WRITERS: usize = 64;
const N_POOLS: usize = 4;

/// Attempts per writer; the environment variable makes a quick run of it.
fn n_attempts() -> u32 {
    let wanted = std::env::var("PROVENDER_TEST_COMMIT_ATTEMPTS");
    wanted.map_or(1_000, |text| text.parse().unwrap())
}

/// What a writer says it did: the change that made each revision.
type Successes = BTreeMap<u64, Change>;

pub async fn writers_of_many_pools_lose_nothing(backend: &Backend) {
    let started = Instant::now();
    let mut pools = Vec::new();
    for _ in 0..N_POOLS {
        pools.push(backend.open().await);
    }
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..N_WRITERS {
        let registry = pools[writer % N_POOLS].clone();
        writers.spawn(async move {
            let author = Author {
                name: format!("writer {writer}"),
                message: String::new(),
            };
            let mut successes = Successes::new();
            let mut n_conflicts = 0_u32;
            let mut base = registry.revision(&cx()).await.unwrap();
            for attempt in 0..n_attempts() {
                let change = put(&format!("view_{writer}"), 1, attempt);
                let changes = [change.clone()];
                match registry.commit(&cx(), base, &changes, &author).await {
                    Ok(made) => {
                        assert_eq!(made.0, base.0 + 1);
                        assert!(successes.insert(made.0, change).is_none());
                        base = made;
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
                        n_conflicts += 1;
                        let newest = registry.revision(&cx()).await.unwrap();
                        assert!(newest > base, "a conflict without a cause");
                        base = newest;
                    }
                }
            }
            (author, successes, n_conflicts)
        });
    }
    let mut made: BTreeMap<u64, (String, Change)> = BTreeMap::new();
    let mut n_conflicts = 0;
    while let Some(ended) = writers.join_next().await {
        let (author, successes, conflicts) = ended.unwrap();
        n_conflicts += conflicts;
        for (revision, change) in successes {
            let before = made.insert(revision, (author.name.clone(), change));
            assert!(before.is_none(), "two commits made revision {revision}");
        }
    }
    let n_made = u64::try_from(made.len()).unwrap();
    eprintln!(
        "{}: {N_WRITERS} writers, {} attempts each: {n_made} commits, {n_conflicts} conflicts in {:.1} s",
        backend.scheme,
        n_attempts(),
        started.elapsed().as_secs_f64()
    );

    // As many revisions as successes, each made by the success that claims it.
    let registry = backend.open().await;
    assert_eq!(registry.revision(&cx()).await.unwrap(), Revision(n_made));
    let mut history = registry
        .history(&cx(), Revision(0), usize::MAX)
        .await
        .unwrap();
    history.reverse();
    let recorded: BTreeMap<u64, (String, Change)> = history
        .into_iter()
        .map(|mut commit| {
            assert_eq!(commit.changes.len(), 1);
            (
                commit.revision.0,
                (commit.author.name, commit.changes.remove(0)),
            )
        })
        .collect();
    assert_eq!(recorded, made);

    // Each past revision holds what the commits up to it say.
    let step = (n_made / 50).max(1);
    let mut state: BTreeMap<String, serde_json::Value> = BTreeMap::new();
    for (revision, (_, change)) in &made {
        if let Change::Put(object) = change {
            state.insert(object.name.clone(), object.body.clone());
        }
        if revision % step == 0 || *revision == n_made {
            let snapshot = registry
                .snapshot(&cx(), Some(Revision(*revision)))
                .await
                .unwrap();
            let read: BTreeMap<String, serde_json::Value> = snapshot
                .objects
                .iter()
                .map(|object| (object.name.clone(), object.body.clone()))
                .collect();
            assert_eq!(read, state, "revision {revision}");
        }
    }
}
