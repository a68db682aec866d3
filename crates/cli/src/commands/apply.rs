//! `provender apply`

use std::io::{BufRead, IsTerminal, Write};

use provender_core::provider::{Author, Revision};
use provender_core::{Error, codes};
use provender_store::{Plan, PlanAction};
use serde::Serialize;

use super::plan;
use crate::args::{ApplyArgs, OutputFormat};
use crate::errors::{DONE, Outcome, say};
use crate::output;
use crate::progress::plural;
use crate::session::{Session, author};

/// What `--output json` shows.
#[derive(Serialize)]
struct Applied<'a> {
    plan: &'a Plan,
    revision: Revision,
}

/// Applies the definitions.
///
/// # Errors
/// Everything that is wrong with the definitions; `P307` for deletes that nobody confirmed; `P301`
/// if somebody else applied meanwhile.
pub(crate) async fn run(session: &Session, args: ApplyArgs) -> Outcome {
    let loaded = session.project.definitions()?;
    let store = session.store().await?;
    let plan = store.plan(&session.cx, &loaded).await?;
    let json = session.output == Some(OutputFormat::Json);
    if !json {
        plan::show(session.output, &plan)?;
    }
    if plan.has_deletes() && !args.yes {
        confirm(&plan).await?;
    }
    let revision = if plan.is_empty() {
        plan.base
    } else {
        let author = Author {
            name: author(),
            message: args.message,
        };
        store.apply(&session.cx, &plan, &author).await?
    };
    if json {
        output::json(&Applied {
            plan: &plan,
            revision,
        })?;
    } else if !plan.is_empty() {
        say(&format!("applied as revision {}", revision.0));
    }
    Ok(DONE)
}

/// Asks on a terminal whether to delete; without one the answer is no.
async fn confirm(plan: &Plan) -> Outcome<()> {
    let deletes: Vec<&str> = plan
        .entries
        .iter()
        .filter(|entry| entry.action == PlanAction::Delete)
        .map(|entry| entry.name.as_str())
        .collect();
    let what = format!(
        "{} and their online data ({})",
        plural(deletes.len() as u64, "definition"),
        deletes.join(", ")
    );
    let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if terminal && ask(&format!("Delete {what}? [y/N] ")).await {
        return Ok(());
    }
    Err(Error::new(
        &codes::DELETES_REFUSED,
        format!("the plan deletes {what}, and nobody confirmed it; nothing was applied"),
    )
    .help("confirm when asked, or pass --yes")
    .into())
}

/// Waits for an answer on a thread of its own, so that Ctrl-C is heard meanwhile.
async fn ask(question: &str) -> bool {
    let mut stderr = std::io::stderr();
    let _ = stderr.write_all(question.as_bytes());
    let _ = stderr.flush();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer).is_ok();
        let yes = matches!(answer.trim().to_lowercase().as_str(), "y" | "yes");
        // Nobody waits any more after Ctrl-C.
        let _ = sender.send(read && yes);
    });
    receiver.await.unwrap_or(false)
}
