//! `provender apply`

use provender_core::provider::{Author, ViewVersion};
use provender_core::{Error, codes};
use provender_store::{Applied, Plan, PlanAction};
use serde::Serialize;

use super::plan;
use crate::args::{ApplyArgs, OutputFormat};
use crate::confirm::confirmed;
use crate::errors::{DONE, Outcome, say};
use crate::output;
use crate::progress::plural;
use crate::session::{Session, author};

/// What `--output json` shows.
#[derive(Serialize)]
struct Shown<'a> {
    plan: &'a Plan,
    #[serde(flatten)]
    applied: &'a Applied,
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
    let author = Author {
        name: author(),
        message: args.message,
    };
    let applied = store.apply(&session.cx, &plan, &author).await?;
    if json {
        output::json(&Shown {
            plan: &plan,
            applied: &applied,
        })?;
    } else if !plan.is_empty() {
        say(&format!("applied as revision {}", applied.revision.0));
    }
    cleaned(&applied);
    Ok(DONE)
}

/// Tells which online data went, and which could not be dropped.
fn cleaned(applied: &Applied) {
    if !applied.dropped.is_empty() {
        let name = |view: &ViewVersion| format!("{}@{}", view.view, view.version);
        let dropped: Vec<String> = applied.dropped.iter().map(name).collect();
        say(&format!("dropped online data of {}", dropped.join(", ")));
    }
    for warning in &applied.warnings {
        say(&format!("warning: {warning}"));
    }
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
    if confirmed(&format!("Delete {what}?")).await {
        return Ok(());
    }
    Err(Error::new(
        &codes::DELETES_REFUSED,
        format!("the plan deletes {what}, and nobody confirmed it; nothing was applied"),
    )
    .help("confirm when asked, or pass --yes")
    .into())
}
