//! Deadlines that clients set, and clients that go away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_stream::stream;
use futures::StreamExt;
use provender_conformance::memory::OnlineCall;
use provender_core::BatchStream;
use serde_json::json;
use tonic::{Code, Request};

use crate::exchange::Open;
use crate::support::*;

/// Makes scans of the weather endless, and counts those that go on.
fn endless(served: &Served) -> (Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (n_open, n_batches) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (open, batches) = (n_open.clone(), n_batches.clone());
    let rows = served.offline.inner.tables()["weather"]
        .one_batch()
        .unwrap();
    served.offline.on_scan.set(move |scan| {
        let (open, batches, rows) = (open.clone(), batches.clone(), rows.clone());
        Box::pin(async move {
            let provender_core::model::Relation::Table(table) = &scan.source.relation else {
                return Ok(None);
            };
            if table != "weather" {
                return Ok(None);
            }
            let wanted: Vec<usize> = match &scan.columns {
                Some(columns) => columns
                    .iter()
                    .map(|name| rows.schema().index_of(name).unwrap())
                    .collect(),
                None => (0..rows.num_columns()).collect(),
            };
            let rows = rows.project(&wanted).unwrap();
            let schema = rows.schema();
            let guard = Guard::new(open);
            let endless = stream! {
                let _guard = guard;
                loop {
                    batches.fetch_add(1, Ordering::SeqCst);
                    yield Ok(rows.clone());
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            Ok(Some(vec![BatchStream::new(schema, endless)]))
        })
    });
    (n_open, n_batches)
}

struct Guard(Arc<AtomicUsize>);

impl Guard {
    fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn within<T>(timeout: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("grpc-timeout", timeout.parse().unwrap());
    request
}

/// Files of spilled rows that this process has open: they have no names.
fn n_spilled(served: &Served) -> usize {
    let folder = served.spill.path().to_string_lossy().into_owned();
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|path| path.to_string_lossy().starts_with(&folder))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn online_reads_keep_the_clients_deadline() {
    let served = serve().await;
    served
        .online
        .delay(OnlineCall::Read, Duration::from_secs(60));
    let command = online("plain", json!({"origin": ["JFK"]}));
    let started = Instant::now();
    let mut client = served.client().await;
    let answer = client
        .do_get(within("200m", ticket(&command)))
        .await
        .unwrap();
    let status = batches_of(answer.into_inner()).await.unwrap_err();
    assert_status(&status, Code::DeadlineExceeded, &["P905"]);
    assert!(started.elapsed() < Duration::from_secs(20));
    served.until("provender_calls_at_work", 0.0).await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn online_reads_end_without_a_deadline_of_the_client() {
    let mut setup = Setup::default();
    setup.limits.read_timeout = Duration::from_millis(200);
    let served = setup.serve().await;
    served
        .online
        .delay(OnlineCall::Read, Duration::from_secs(60));
    let status = served
        .refused(online("plain", json!({"origin": ["JFK"]})))
        .await;
    assert_status(&status, Code::DeadlineExceeded, &["P905"]);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn historical_work_ends_at_the_clients_deadline() {
    let served = serve().await;
    let (n_open, _) = endless(&served);
    let command = json!({"op": "historical", "service": "plain", "spine": {"table": "labels"}});
    let mut client = served.client().await;
    let answer = client
        .do_get(within("500m", ticket(&command)))
        .await
        .unwrap();
    let status = batches_of(answer.into_inner()).await.unwrap_err();
    assert_status(&status, Code::DeadlineExceeded, &["P905"]);
    until("the scan has ended", || async {
        n_open.load(Ordering::SeqCst) == 0
    })
    .await;
    served.until("provender_calls_at_work", 0.0).await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_ends_at_its_deadline() {
    let served = serve().await;
    let command = json!({"op": "online", "service": "plain"});
    let sent = messages(&command, vec![keys(&["JFK"])]).await;
    let input = futures::stream::iter(sent[..1].to_vec()).chain(futures::stream::pending());
    let mut client = served.client().await;
    let mut answer = client
        .do_exchange(within("300m", input))
        .await
        .unwrap()
        .into_inner();
    answer.message().await.unwrap().unwrap();
    assert_status(
        &answer.message().await.unwrap_err(),
        Code::DeadlineExceeded,
        &["P905"],
    );
    served.stop().await;
}

/// CPU time of the threads of historical work, in ticks.
fn background_cpu() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let ticks = threads.filter_map(|thread| {
        // One that ends meanwhile counts no more.
        let stat = std::fs::read_to_string(thread.ok()?.path().join("stat")).ok()?;
        let (name, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?;
        // The system cuts names short.
        name.contains("(provender-backg").then_some(ticks)
    });
    ticks.sum()
}

/// What the work of a client that left may take to end: ten times what it should.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_its_work() {
    // Threads of other tests would be counted with the server's.
    if !is_alone("deadlines::a_client_that_goes_away_ends_its_work") {
        return;
    }
    let served = Setup {
        memory: 8 << 20,
        ..Setup::default()
    }
    .serve()
    .await;
    let (n_open, n_batches) = endless(&served);
    let command = json!({"op": "historical", "service": "plain", "timestamp": "time_hour"});
    let mut client = served.client().await;
    let open = Open::new(&mut client, &command).await;
    for message in messages(&command, vec![spine(200_000)]).await {
        open.send.send(message).unwrap();
    }
    let Open { send, mut answers } = open;
    answers.message().await.unwrap().unwrap();
    drop(send);
    until("the join works and its spine is spilled", || async {
        n_open.load(Ordering::SeqCst) > 0 && n_spilled(&served) > 0
    })
    .await;
    let left = Instant::now();
    drop(answers);
    drop(client);
    until("the work has ended", || async {
        n_open.load(Ordering::SeqCst) == 0 && n_spilled(&served) == 0
    })
    .await;
    let ended = left.elapsed();
    println!("the work ended {ended:?} after its client left");
    assert!(ended < SOON, "{ended:?}");
    served.until("provender_calls_at_work", 0.0).await;
    served.until("provender_held_bytes", 0.0).await;
    assert_eq!(
        served
            .metric(
                "provender_errors_total{operation=\"historical\",kind=\"cancelled\",code=\"P906\"}"
            )
            .await,
        1.0
    );
    let after = n_batches.load(Ordering::SeqCst);
    let resting = Instant::now();
    loop {
        let before = background_cpu();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let ticks = background_cpu().saturating_sub(before);
        if ticks <= 1 {
            break;
        }
        assert!(resting.elapsed() < SOON, "{ticks} ticks in half a second");
    }
    println!("its threads rested {:?} after that", resting.elapsed());
    assert_eq!(n_batches.load(Ordering::SeqCst), after);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_halfway_leaves_nothing_behind() {
    let served = serve().await;
    for command in [
        json!({"op": "spine"}),
        json!({"op": "push", "view": "season", "to": "offline"}),
    ] {
        let threads = tokio::runtime::Runtime::new().unwrap();
        let (address, sent) = (served.address, messages(&command, vec![spine(2_000)]).await);
        let halfway = threads.spawn(async move {
            let input = futures::stream::iter(sent).chain(futures::stream::pending());
            connect(address).await.do_put(input).await.unwrap()
        });
        let answer = halfway.await.unwrap();
        served.until("provender_calls_at_work", 1.0).await;
        // The connection breaks, and the rows were not all.
        threads.shutdown_background();
        drop(answer);
        served.until("provender_calls_at_work", 0.0).await;
        served.until("provender_held_bytes", 0.0).await;
        until("nothing is spilled", || async { n_spilled(&served) == 0 }).await;
    }
    served.stop().await;
}
