//! Online reads while a plug-in beside them hangs in every call that it gets, and the same reads while it
//! gets none.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow_flight::Ticket;
use futures::future::join_all;
use serde_json::json;
use tonic::Request;

use crate::client::{self, Client};
use crate::data::{KEY, USUAL};
use crate::isolation::{Busy, Compared};
use crate::report::Report;
use crate::servers::Server;
use crate::{Options, Outcome};

/// How much longer a read may take meanwhile.
const GOAL_P99: f64 = 1.1;
/// Callers of the plug-in at once; far more calls than the server has threads for end up inside of it.
const N_CALLERS: usize = 16;
/// How long each of them waits.
const DEADLINE: Duration = Duration::from_millis(300);
const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

const CONFIG: &str = "
plugins: [libprovender_hostile.so]
online_stores: {other: {type: hostile, orders: ORDERS}}
";
const FEATURES: &str = "
sources: [{name: hostile_file, table: ../raw/narrow.parquet, timestamp: event_timestamp}]
feature_views:
  - {name: hostile, entities: [driver], source: hostile_file, online_store: other, ttl: 3650d,
     features: [{name: value, type: float64, column: f0}]}
feature_services: [{name: hostile_service, features: [hostile]}]
";

/// Measures, and prints a table. `project` is the benchmark's own, beside which another is made.
pub(crate) async fn run(
    binary: &Path,
    project: &Path,
    log: &Path,
    options: &Options,
    report: &mut Report,
) -> Outcome<()> {
    let folder = made(binary, project)?;
    order(&folder, "well")?;
    let ours = Server::provender(binary, &folder, log)?;
    let mut client = client::connect(&ours.address).await?;
    if let Err(error) = hostile_read(&mut client).await {
        report.wrong(format!("the plug-in that behaves well fails: {error}"));
    }
    order(&folder, "hang")?;
    let start = || {
        let address = ours.address.clone();
        Busy::start(move |is_over| callers(address, is_over))
    };
    let compared =
        Compared::measure("hostile_plugin", "hanging", &ours, options, report, start).await?;
    let title = format!(
        "A plug-in that hangs: {USUAL} from the embedded store while each of {N_CALLERS} callers asks one every {DEADLINE:?} that never answers; medians of {} rounds",
        options.rounds
    );
    let (p50, p99) = compared.print(&title, "hanging", [None, Some(GOAL_P99)]);
    let n_hung = &compared.n_done;
    println!("\nCalls of the plug-in, all of which failed, by round: {n_hung:?}.");
    report.record(
        "hostile_plugin_summary",
        &json!({"p50_ratio": p50, "p99_ratio": p99, "goal_p99": GOAL_P99, "n_hung": n_hung}),
    )
}

/// A project with the benchmark's definitions, and one view more, in the hostile store; both are filled.
fn made(binary: &Path, project: &Path) -> Outcome<PathBuf> {
    let folder = project.with_file_name("hostile");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(folder.join("features"))?;
    let library = folder.join("libprovender_hostile.so");
    let mut compiler = Command::new("cc");
    compiler
        .args(["-std=c11", "-O1", "-fPIC", "-shared", "-pthread", "-I"])
        .arg(format!("{REPOSITORY}/crates/plugin/include"))
        .arg(format!("{REPOSITORY}/tests/plugins/hostile.c"))
        .arg("-o")
        .arg(&library);
    works(&mut compiler)?;
    let config = std::fs::read_to_string(project.join("provender.yaml"))?;
    let orders = folder.join("orders").display().to_string();
    let config = format!("{config}{}", CONFIG.replace("ORDERS", &orders));
    std::fs::write(folder.join("provender.yaml"), config)?;
    let definitions = "features/driver.yaml";
    std::fs::copy(project.join(definitions), folder.join(definitions))?;
    std::fs::write(folder.join("features/hostile.yaml"), FEATURES)?;
    for arguments in [
        ["apply", "--yes"].as_slice(),
        &["materialize-incremental", "--end", "2026-01-01"],
    ] {
        let mut command = Command::new(binary);
        works(command.arg("-C").arg(&folder).args(arguments))?;
    }
    Ok(folder)
}

fn works(command: &mut Command) -> Outcome<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} failed: {told}").into())
}

/// What the plug-in does with reads from now on. Written whole, since it is read meanwhile.
fn order(folder: &Path, word: &str) -> Outcome<()> {
    let written = folder.join("orders.new");
    std::fs::write(&written, word)?;
    Ok(std::fs::rename(written, folder.join("orders"))?)
}

async fn hostile_read(client: &mut Client) -> Outcome<()> {
    let ticket = json!({"op": "online", "service": "hostile_service", "entities": {KEY: [1]}});
    let mut request = Request::new(Ticket::new(ticket.to_string()));
    request.set_timeout(DEADLINE);
    let mut messages = client.do_get(request).await?.into_inner();
    while messages.message().await?.is_some() {}
    Ok(())
}

/// Calls of the plug-in, until it is over; answers how many failed.
async fn callers(address: String, is_over: Arc<AtomicBool>) -> Outcome<usize> {
    let client = client::connect(&address).await?;
    let callers = (0..N_CALLERS).map(|_| {
        let (mut client, is_over) = (client.clone(), is_over.clone());
        async move {
            let mut n_hung = 0;
            while !is_over.load(Ordering::Relaxed) {
                // Once the library holds all its threads and as many calls wait as may, calls are
                // refused at once; nobody asks more often for that.
                let next = tokio::time::Instant::now() + DEADLINE;
                if hostile_read(&mut client).await.is_ok() {
                    return Err("a plug-in that hangs answered".into());
                }
                n_hung += 1;
                tokio::time::sleep_until(next).await;
            }
            Ok(n_hung)
        }
    });
    let counts: Outcome<Vec<usize>> = join_all(callers).await.into_iter().collect();
    Ok(counts?.iter().sum())
}
