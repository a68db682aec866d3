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

    let start = || {
        let (address, ticket) = (ours.address.clone(), ticket.clone());
        Busy::start(move |is_over| joins(address, ticket, is_over))
    };
    let compared = Compared::measure("isolation", "joining", ours, options, report, start).await?;
    let title = format!(
        "Isolation: {USUAL} while {} labels are joined with {} feature rows, which alone takes {join_s:.1} s; \
         medians of {} rounds",
        options.labels(),
        options.rows,
        options.rounds
    );
    let (p50, p99) = compared.print(&title, "joining", [Some(GOAL_P50), Some(GOAL_P99)]);
    let joined = &compared.n_done;
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

/// Online reads while nothing else is asked of a server, and while something is.
pub(crate) struct Compared {
    quiet: Vec<Sample>,
    busy: Vec<Sample>,
    /// How much of the other work was done, by round.
    pub(crate) n_done: Vec<usize>,
}

impl Compared {
    /// Measures the two by turns; `start` begins the other work.
    pub(crate) async fn measure(
        kind: &str,
        busy: &str,
        ours: &Server,
        options: &Options,
        report: &mut Report,
        start: impl Fn() -> Busy,
    ) -> Outcome<Self> {
        let requests = data::requests(USUAL, options.keys, 1)?;
        let client = client::connect(&ours.address).await?;
        let mut exchange = Exchange::open(client, USUAL, requests[0].schema()).await?;
        let (mut samples, mut n_done): ([Vec<Sample>; 2], _) = (Default::default(), Vec::new());
        for round in 0..options.rounds {
            for (state, samples) in ["quiet", busy].into_iter().zip(&mut samples) {
                let work = (state == busy).then(&start);
                tokio::time::sleep(PAUSE).await;
                let sample = measure(options.seconds, &[ours], async |number: usize| {
                    exchange.ask(&requests[number % requests.len()]).await?;
                    Ok(())
                })
                .await?;
                let done = match work {
                    None => None,
                    Some(work) => Some(work.end().await?),
                };
                let of = json!({"state": state, "round": round, "n_done": done});
                report.sample(kind, &of, &sample)?;
                samples.push(sample);
                n_done.extend(done);
            }
        }
        let [quiet, busy] = samples;
        Ok(Self {
            quiet,
            busy,
            n_done,
        })
    }

    /// Prints a table; answers the ratios of p50 and p99.
    pub(crate) fn print(
        &self,
        title: &str,
        busy: &str,
        goals: [Option<f64>; 2],
    ) -> (Option<f64>, Option<f64>) {
        let rounds = || self.quiet.iter().zip(&self.busy);
        let p50 = median(rounds().map(|(quiet, busy)| busy.p50_us() / quiet.p50_us()));
        let p99 =
            median(rounds().filter_map(|(quiet, busy)| Some(busy.p99_us()? / quiet.p99_us()?)));
        let mut lines = vec![line([
            "server",
            "p50 us",
            "p99 us",
            "answers/s",
            "server's cores",
        ])];
        for (name, samples) in [("quiet", &self.quiet), (busy, &self.busy)] {
            let of = |what: fn(&Sample) -> f64| median(samples.iter().map(what));
            lines.push(vec![
                name.to_owned(),
                figure(of(Sample::p50_us)),
                figure(median(samples.iter().filter_map(Sample::p99_us))),
                figure(of(Sample::rate)),
                figure(of(|sample| sample.server_cpu_s / sample.seconds)),
            ]);
        }
        let ratio = format!("{busy} / quiet");
        lines.push(line([&ratio, &figure(p50), &figure(p99), "", ""]));
        let [goal_p50, goal_p99] =
            goals.map(|goal| goal.map_or("-".to_owned(), |goal| format!("<= {goal}")));
        lines.push(line(["goal", &goal_p50, &goal_p99, "", ""]));
        table(title, 1, &lines);
        (p50, p99)
    }
}

/// Work that others ask of a server, on a thread of its own until it is ended.
pub(crate) struct Busy {
    is_over: Arc<AtomicBool>,
    thread: tokio::task::JoinHandle<Outcome<usize>>,
}

impl Busy {
    /// Begins work, which looks now and then whether it is over, and answers how much it did.
    pub(crate) fn start<F: Future<Output = Outcome<usize>>>(
        work: impl FnOnce(Arc<AtomicBool>) -> F + Send + 'static,
    ) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let told = is_over.clone();
        let thread = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(work(told))
        });
        Self { is_over, thread }
    }

    async fn end(self) -> Outcome<usize> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.await?
    }
}

/// Training sets, one after the other; answers how many were whole. Their messages are not looked into, so
/// that the client takes little of the machine.
async fn joins(address: String, ticket: String, is_over: Arc<AtomicBool>) -> Outcome<usize> {
    let mut client = client::connect(&address).await?;
    let mut n_done = 0;
    loop {
        let mut messages = client::messages(&mut client, &ticket).await?;
        loop {
            // Looked at now and then, since the first message may take long.
            let next = tokio::time::timeout(PAUSE / 10, messages.message()).await;
            if is_over.load(Ordering::Relaxed) {
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
}
