//! Runs that exclude each other, fail, are cancelled or killed, and what they say meanwhile.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use provender_conformance::memory::{MemoryRegistry, OnlineCall};
use provender_core::provider::{Lease, Registry};
use provender_core::request::{Scan, SourceRef};
use provender_core::{Context, Error, codes};
use provender_store::Progress;
use tokio::sync::{Barrier, Notify};

use crate::materialize::{
    applied, explicit, held, incremental, materialize, recorded, refused, request, run,
};
use crate::support::{DEFINITIONS, Project, all_tables};

const LEASE: &str = "materialize/airport_weather@1";
const LONG: Duration = Duration::from_secs(600);

fn is_of(scan: &Scan, table: &str) -> bool {
    scan.source == SourceRef::table(table)
}

/// Who holds a lease, as its refusal says.
async fn holder(cx: &Context, registry: &MemoryRegistry, lease: &str) -> String {
    let refusal = registry
        .acquire_lease(cx, lease, "somebody who asks", LONG)
        .await
        .unwrap_err();
    let found = refusal
        .context_pairs()
        .iter()
        .find(|(key, _)| key == "holder");
    found.unwrap().1.clone()
}

async fn take(cx: &Context, registry: &MemoryRegistry, holder: &str) -> Lease {
    registry
        .acquire_lease(cx, LEASE, holder, LONG)
        .await
        .unwrap()
}

/// The name under which a run of this process holds its lease.
async fn name_of_a_run(project: &Project) -> String {
    let name: Arc<Mutex<String>> = Arc::default();
    let (sink, cx, registry) = (name.clone(), project.cx.clone(), project.registry.clone());
    project.offline.before_scan.set(move |_| {
        let (sink, cx, registry) = (sink.clone(), cx.clone(), registry.clone());
        async move {
            let found = holder(&cx, &registry, LEASE).await;
            *sink.lock().unwrap() = found;
            Ok(())
        }
        .boxed()
    });
    run(project, "airport_weather", explicit(0, 1)).await;
    project.offline.before_scan.clear();
    let name = name.lock().unwrap().clone();
    assert!(
        name.contains(&format!("process {}, run ", std::process::id())),
        "{name}"
    );
    name
}

#[tokio::test]
async fn a_view_that_another_run_works_on_is_refused_at_once() {
    let project = applied(all_tables(), DEFINITIONS).await;
    let lease = take(&project.cx, &project.registry, "ann").await;
    let error = refused(&project, &request(&["airport_weather"], incremental(9))).await;
    assert_eq!(error.code(), "P305");
    assert!(
        error
            .message()
            .starts_with("airport_weather@1 was not materialised: ")
            && error.message().contains("\"ann\" for at most ")
            && error.message().contains("s more"),
        "{error}"
    );
    assert!(held(&project, "airport_weather").is_empty());
    // Other views and other versions are not concerned.
    run(&project, "route_delay", incremental(9)).await;
    project
        .registry
        .release_lease(&project.cx, &lease)
        .await
        .unwrap();
    run(&project, "airport_weather", incremental(9)).await;
    // And the run has given its own lease back.
    take(&project.cx, &project.registry, "ann").await;
}

#[tokio::test]
async fn two_runs_of_one_process_exclude_each_other() {
    let project = applied(all_tables(), DEFINITIONS).await;
    let refusal: Arc<Mutex<Option<Error>>> = Arc::default();
    let (sink, store, cx) = (refusal.clone(), project.store.clone(), project.cx.clone());
    project.offline.before_scan.set(move |_| {
        let (sink, store, cx) = (sink.clone(), store.clone(), cx.clone());
        async move {
            let second = request(&["airport_weather"], incremental(9));
            let answer = store.materialize(&cx, &second, Arc::new(|_| {})).await;
            *sink.lock().unwrap() = answer.err();
            Ok(())
        }
        .boxed()
    });
    run(&project, "airport_weather", incremental(9)).await;
    let refusal = refusal.lock().unwrap().take().unwrap();
    assert_eq!(refusal.code(), "P305");
    assert_eq!(held(&project, "airport_weather").len(), 2);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_lease_of_a_killed_process_of_this_machine_is_taken_over() {
    use std::process::{Child, Command, Stdio};

    let project = applied(all_tables(), DEFINITIONS).await;
    let own = name_of_a_run(&project).await;
    let name_of = |child: &Child| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let (head, tail) = own
            .split_once(&format!("process {}", std::process::id()))
            .unwrap();
        let (tail, _) = tail.rsplit_once("started=").unwrap();
        format!("{head}process {}{tail}started={}]", child.id(), fields[19])
    };
    let start = || {
        let mut sleeping = Command::new("sleep");
        sleeping
            .arg("600")
            .stdout(Stdio::null())
            .stdin(Stdio::null());
        sleeping.spawn().unwrap()
    };
    for is_waited_for in [true, false] {
        let mut child = start();
        let name = name_of(&child);
        take(&project.cx, &project.registry, &name).await;
        let error = refused(&project, &request(&["airport_weather"], explicit(0, 9))).await;
        assert_eq!(error.code(), "P305");
        assert!(
            error.message().contains(&format!("process {}", child.id())),
            "{error}"
        );

        child.kill().unwrap();
        if is_waited_for {
            child.wait().unwrap();
        } else {
            // It is a zombie until somebody waits for it; the kill takes effect when it does.
            let stat = format!("/proc/{}/stat", child.id());
            while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
                tokio::task::yield_now().await;
            }
        }
        run(&project, "airport_weather", explicit(0, 9)).await;
        child.wait().unwrap();
    }
    // Another machine's process may live, whatever this machine's processes are.
    let mut child = start();
    let elsewhere = name_of(&child).replace("boot=", "boot=other-");
    child.kill().unwrap();
    child.wait().unwrap();
    take(&project.cx, &project.registry, &elsewhere).await;
    let error = refused(&project, &request(&["airport_weather"], explicit(0, 9))).await;
    assert_eq!(error.code(), "P305");
}

#[tokio::test]
async fn a_run_that_lost_its_lease_writes_and_records_nothing() {
    let project = applied(all_tables(), DEFINITIONS).await;
    let (cx, registry) = (project.cx.clone(), project.registry.clone());
    project.offline.before_scan.set(move |_| {
        let (cx, registry) = (cx.clone(), registry.clone());
        async move {
            let present = holder(&cx, &registry, LEASE).await;
            if present != "ann" {
                let lease = take(&cx, &registry, &present).await;
                registry.release_lease(&cx, &lease).await?;
                take(&cx, &registry, "ann").await;
            }
            Ok(())
        }
        .boxed()
    });
    let error = refused(&project, &request(&["airport_weather"], incremental(9))).await;
    assert_eq!(error.code(), "P305");
    assert!(
        error
            .message()
            .contains("the run was stopped, since it lost its lease")
            && error.message().contains("\"ann\""),
        "{error}"
    );
    assert_eq!(project.online.n_calls(OnlineCall::Write), 0);
    assert!(recorded(&project, "airport_weather").await.is_empty());
    // The other's lease is not given back by the loser.
    assert_eq!(holder(&project.cx, &project.registry, LEASE).await, "ann");
}

#[tokio::test]
async fn a_view_that_fails_lets_the_others_end() {
    let project = applied(all_tables(), DEFINITIONS).await;
    project.offline.before_scan.set(|scan| {
        let fails = is_of(scan, "weather");
        async move {
            if fails {
                return Err(Error::new(
                    &codes::OFFLINE_UNAVAILABLE,
                    "the weather is away",
                ));
            }
            Ok(())
        }
        .boxed()
    });
    let views = ["airport_facts", "airport_weather", "route_delay"];
    let error = refused(&project, &request(&views, incremental(9))).await;
    assert_eq!(error.code(), "P503");
    assert_eq!(
        error.message(),
        "airport_weather@1 was not materialised (done: airport_facts@1, route_delay@1): the weather is away"
    );
    let context = error.context_pairs().iter().find(|(key, _)| key == "view");
    assert_eq!(context.unwrap().1, "airport_weather@1");
    assert_eq!(recorded(&project, "airport_facts").await, [(None, 9)]);
    assert_eq!(recorded(&project, "route_delay").await, [(None, 9)]);
    assert!(recorded(&project, "airport_weather").await.is_empty());
    assert!(held(&project, "airport_weather").is_empty());
    // The lease of the failed run was given back.
    project.offline.before_scan.clear();
    run(&project, "airport_weather", incremental(9)).await;
}

#[tokio::test]
async fn nothing_is_recorded_after_a_failed_write() {
    let project = applied(all_tables(), DEFINITIONS).await;
    for call in [OnlineCall::Write, OnlineCall::WriteBatch] {
        project.online.fail(call, 0, 1, || {
            Error::new(&codes::ONLINE_UNAVAILABLE, "the disk is away")
        });
        let error = refused(&project, &request(&["airport_weather"], incremental(9))).await;
        assert_eq!(error.code(), "P602");
        assert!(recorded(&project, "airport_weather").await.is_empty());
    }
    run(&project, "airport_weather", incremental(9)).await;
    assert_eq!(
        held(&project, "airport_weather"),
        ["JFK at 9: 90 9", "LGA at 2: 25 3"]
    );
    assert_eq!(recorded(&project, "airport_weather").await, [(None, 9)]);
}

#[tokio::test]
async fn views_run_side_by_side() {
    let project = applied(all_tables(), DEFINITIONS).await;
    // Each view's first scan waits for the other's, which never comes if one runs after the other.
    let barrier = Arc::new(Barrier::new(2));
    let n_scans: Arc<[AtomicUsize; 2]> = Arc::default();
    project.offline.before_scan.set(move |scan| {
        let at = usize::from(is_of(scan, "weather"));
        let is_first = n_scans[at].fetch_add(1, Ordering::SeqCst) == 0;
        let barrier = barrier.clone();
        async move {
            if is_first {
                barrier.wait().await;
            }
            Ok(())
        }
        .boxed()
    });
    let both = request(&["airport_weather", "airport_facts"], incremental(9));
    let done = materialize(&project, &both);
    let done = tokio::time::timeout(Duration::from_secs(60), done).await;
    assert_eq!(done.expect("both views run").unwrap().len(), 2);
}

#[tokio::test]
async fn a_cancelled_run_ends_and_gives_its_lease_back() {
    let project = applied(all_tables(), DEFINITIONS).await;
    let cx = Context::new("flights");
    let cancelled = cx.clone();
    project.offline.before_scan.set(move |_| {
        // The store goes on waiting, whether the call is cancelled or not.
        cancelled.cancel();
        std::future::pending().boxed()
    });
    let asked = request(&["airport_weather"], incremental(9));
    let error = project
        .store
        .materialize(&cx, &asked, Arc::new(|_| {}))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P906");
    assert!(recorded(&project, "airport_weather").await.is_empty());
    take(&project.cx, &project.registry, "ann").await;
}

#[tokio::test]
async fn a_run_past_its_deadline_ends() {
    let project = applied(all_tables(), DEFINITIONS).await;
    project
        .offline
        .before_scan
        .set(|_| std::future::pending().boxed());
    let cx = Context::new("flights").with_timeout(Duration::from_millis(200));
    let asked = request(&["airport_weather"], incremental(9));
    let error = project
        .store
        .materialize(&cx, &asked, Arc::new(|_| {}))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P905");
}

#[tokio::test]
async fn a_dropped_run_stops_and_the_next_one_starts_at_once() {
    let project = applied(all_tables(), DEFINITIONS).await;
    let started = Arc::new(Notify::new());
    let signal = started.clone();
    project.offline.before_scan.set(move |_| {
        signal.notify_one();
        std::future::pending().boxed()
    });
    let asked = request(&["airport_weather"], incremental(9));
    let running = materialize(&project, &asked);
    tokio::select! {
        _ = running => panic!("the store never answers"),
        () = started.notified() => {}
    }
    project.offline.before_scan.clear();
    // The tasks of the dropped run end when the runtime next comes to them.
    while Arc::strong_count(&started) > 1 {
        tokio::task::yield_now().await;
    }
    let done = loop {
        match materialize(&project, &asked).await {
            Ok(done) => break done,
            Err(error) => assert_eq!(error.code(), "P305"),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(done[0].summary.n_applied, 2);
}

#[tokio::test]
async fn progress_is_told_in_order() {
    let project = applied(all_tables(), DEFINITIONS).await;
    let seen: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let sink = seen.clone();
    let done = project
        .store
        .materialize(
            &project.cx,
            &request(&["airport_weather"], incremental(9)),
            Arc::new(move |progress| sink.lock().unwrap().push(progress)),
        )
        .await
        .unwrap();
    let seen = seen.lock().unwrap();
    let view = project.view("airport_weather", 1);
    let step = |progress: &Progress| match progress {
        Progress::Reading { .. } => 0,
        Progress::Writing { .. } => 1,
        Progress::Done(_) => 2,
    };
    assert!(seen.is_sorted_by_key(step), "{seen:?}");
    let [.., Progress::Reading { n_rows, .. }] =
        &seen[..seen.partition_point(|progress| step(progress) < 1)]
    else {
        panic!("{seen:?}")
    };
    assert!(*n_rows >= 4, "{seen:?}");
    let written = Progress::Writing {
        view,
        n_rows: 2,
        n_total: 2,
    };
    assert_eq!(
        seen[seen.len() - 2..],
        [written, Progress::Done(done[0].clone())]
    );
}
