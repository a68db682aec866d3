//! How long `provender serve` takes until it answers, and what it then holds.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{self, online_ticket};
use crate::data::SHAPES;
use crate::report::{Report, figure, line, median, table};
use crate::servers::Server;
use crate::{Options, Outcome};

const GOAL_MS: f64 = 1_000.0;
const GOAL_MB: f64 = 60.0;
/// How long it is left alone before its memory is looked at.
const IDLE: Duration = Duration::from_secs(2);

/// Measures, and prints a table.
pub(crate) async fn run(
    binary: &Path,
    project: &Path,
    log: &Path,
    options: &Options,
    report: &mut Report,
) -> Outcome<()> {
    let ticket = online_ticket(SHAPES[0], &[0]).to_string();
    let mut all: [Vec<f64>; 4] = Default::default();
    for round in 0..options.rounds {
        let started = Instant::now();
        let server = Server::provender(binary, project, log)?;
        let listening_ms = started.elapsed().as_secs_f64() * 1e3;
        let mut client = client::connect(&server.address).await?;
        client::get(&mut client, SHAPES[0], &ticket).await?;
        let answered_ms = started.elapsed().as_secs_f64() * 1e3;
        tokio::time::sleep(IDLE).await;
        let memory = server.memory()?;
        let figures = [
            listening_ms,
            answered_ms,
            memory.resident / 1e6,
            memory.anonymous / 1e6,
        ];
        report.record(
            "startup",
            &json!({
                "round": round, "listening_ms": figures[0], "answered_ms": figures[1],
                "resident_mb": figures[2], "anonymous_mb": figures[3],
            }),
        )?;
        for (figures, figure) in all.iter_mut().zip(figures) {
            figures.push(figure);
        }
    }
    let [listening, answered, resident, anonymous] = all.map(median);
    let title = format!(
        "Start of `provender serve`; medians of {} rounds",
        options.rounds
    );
    table(
        &title,
        1,
        &[
            line(["what", "figure", "goal"]),
            vec![
                "listening, ms".to_owned(),
                figure(listening),
                "-".to_owned(),
            ],
            vec![
                "first online read answered, ms".to_owned(),
                figure(answered),
                format!("< {GOAL_MS}"),
            ],
            vec![
                "resident when idle, MB".to_owned(),
                figure(resident),
                format!("< {GOAL_MB}"),
            ],
            vec![
                "of it anonymous, MB".to_owned(),
                figure(anonymous),
                "-".to_owned(),
            ],
        ],
    );
    report.record(
        "startup_summary",
        &json!({
            "listening_ms": listening, "answered_ms": answered, "resident_mb": resident,
            "anonymous_mb": anonymous, "goal_ms": GOAL_MS, "goal_mb": GOAL_MB,
        }),
    )
}
