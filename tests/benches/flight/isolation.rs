//! Online reads while a training set is made by the same server, beside the same reads while it is quiet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::json;

use crate::client::{self, Exchange};
use crate::data::{self, USUAL};
use crate::measure::{Sample, measure};
use crate::report::{Report, figure, line, median, table};
use crate::servers::Server;
use crate::{Options, Outcome};

/// How much longer a read may take meanwhile.
const GOAL_P50: f64 = 1.5;
const GOAL_P99: f64 = 4.0;
/// How long the server is given to be at work, and to have ended what nobody waits for.
const PAUSE: Duration = Duration::from_millis(500);

/// Measures, and prints a table.
pub(crate) async fn run(ours: &Server, options: &Options, report: &mut Report) -> Outcome<()> {
    let ticket = json!({
        "op": "historical",
        "service": "history_service",
        "spine": {"table": "../raw/labels.parquet"},
    });
    let ticket = ticket.to_string();
    let mut client = client::connect(&ours.address).await?;

    // Once alone, looked at, and so that files are in the system's cache.
    let started = Instant::now();
    let mut rows = client::decoded(client::messages(&mut client, &ticket).await?);
    let (mut n_rows, mut n_found) = (0, 0);
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        n_rows += batch.num_rows() as u64;
        let feature = batch
            .columns()
            .last()
            .ok_or("training rows have no columns")?;
        n_found += (feature.len() - feature.null_count()) as u64;
    }
    let join_s = started.elapsed().as_secs_f64();
    if n_rows != options.labels() || n_found == 0 {
        let asked = options.labels();
        report.wrong(format!(
            "{n_rows} training rows for {asked} labels, {n_found} with features"
        ));
    }
    report.record(
        "join",
        &json!({"seconds": join_s, "n_rows": n_rows, "n_found": n_found}),
    )?;

    let requests = data::requests(USUAL, options.keys, 1)?;
    let schema = requests[0].schema();
    let mut exchange = Exchange::open(client.clone(), USUAL, schema).await?;
    let (mut samples, mut joined): ([Vec<Sample>; 2], _) = (Default::default(), Vec::new());
    for round in 0..options.rounds {
        for (state, samples) in ["quiet", "joining"].into_iter().zip(&mut samples) {
            let join =
                (state == "joining").then(|| Joins::start(ours.address.clone(), ticket.clone()));
            tokio::time::sleep(PAUSE).await;
            let sample = measure(options.seconds, &[ours], async |number: usize| {
                exchange.ask(&requests[number % requests.len()]).await?;
                Ok(())
            })
            .await?;
            let n_joins = match join {
                None => None,
                Some(join) => Some(join.end().await?),
            };
            let of = json!({"state": state, "round": round, "n_joins": n_joins});
            report.sample("isolation", &of, &sample)?;
            samples.push(sample);
            joined.extend(n_joins);
        }
    }
    let [quiet, busy] = &samples;
    let rounds = || quiet.iter().zip(busy);
    let p50 = median(rounds().map(|(quiet, busy)| busy.p50_us() / quiet.p50_us()));
    let p99 = median(rounds().filter_map(|(quiet, busy)| Some(busy.p99_us()? / quiet.p99_us()?)));
    let mut lines = vec![line([
        "server",
        "p50 us",
        "p99 us",
        "answers/s",
        "server's cores",
    ])];
    for (name, samples) in [("quiet", quiet), ("joining", busy)] {
        let of = |what: fn(&Sample) -> f64| median(samples.iter().map(what));
        lines.push(vec![
            name.to_owned(),
            figure(of(Sample::p50_us)),
            figure(median(samples.iter().filter_map(Sample::p99_us))),
            figure(of(Sample::rate)),
            figure(of(|sample| sample.server_cpu_s / sample.seconds)),
        ]);
    }
    let goals = vec![
        "goal".to_owned(),
        format!("<= {GOAL_P50}"),
        format!("<= {GOAL_P99}"),
    ];
    lines.push(vec![
        "joining / quiet".to_owned(),
        figure(p50),
        figure(p99),
        String::new(),
        String::new(),
    ]);
    lines.push([goals, vec![String::new(); 2]].concat());
    let title = format!(
        "Isolation: {USUAL} while {} labels are joined with {} feature rows, which alone takes {join_s:.1} s; \
         medians of {} rounds",
        options.labels(),
        options.rows,
        options.rounds
    );
    table(&title, 1, &lines);
    println!(
        "\nJoins that ended while reads were measured, by round: {joined:?}; the next follows at once."
    );
    report.record(
        "isolation_summary",
        &json!({
            "p50_ratio": p50, "p99_ratio": p99, "goal_p50": GOAL_P50, "goal_p99": GOAL_P99,
            "join_s": join_s, "n_joins": joined,
        }),
    )
}

/// Training sets, one after the other, on a thread of their own. Their messages are not looked into, so
/// that the client takes little of the machine.
struct Joins {
    is_over: Arc<AtomicBool>,
    thread: tokio::task::JoinHandle<Outcome<usize>>,
}

impl Joins {
    fn start(address: String, ticket: String) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let told = is_over.clone();
        let thread = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut client = client::connect(&address).await?;
                let mut n_done = 0;
                loop {
                    let mut messages = client::messages(&mut client, &ticket).await?;
                    loop {
                        // Looked at now and then, since the first message may take long.
                        let next = tokio::time::timeout(PAUSE / 10, messages.message()).await;
                        if told.load(Ordering::Relaxed) {
                            return Ok(n_done);
                        }
                        if let Ok(message) = next
                            && message?.is_none()
                        {
                            break;
                        }
                    }
                    n_done += 1;
                }
            })
        });
        Self { is_over, thread }
    }

    /// Goes away in the midst of a training set; answers how many were whole.
    async fn end(self) -> Outcome<usize> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.await?
    }
}
