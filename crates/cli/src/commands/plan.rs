//! `provender plan`, and how a plan is shown.

use std::io::IsTerminal;

use provender_core::provider::{ObjectKind, Revision};
use provender_store::{FieldChange, Plan, PlanAction, PlanEntry};

use crate::args::{OutputFormat, PlanArgs};
use crate::errors::{CHANGES, DONE, Outcome, colours};
use crate::output::{self, Rows};
use crate::progress::plural;
use crate::session::Session;

/// Shows what apply would change.
///
/// # Errors
/// Everything that is wrong with the definitions.
pub(crate) async fn run(session: &Session, args: &PlanArgs) -> Outcome {
    let loaded = session.project.definitions()?;
    let store = session.store().await?;
    let plan = store.plan(&session.cx, &loaded).await?;
    show(session.output, &plan)?;
    Ok(if args.detailed_exitcode && !plan.is_empty() {
        CHANGES
    } else {
        DONE
    })
}

/// Writes a plan to stdout.
///
/// # Errors
/// What stdout says.
pub(crate) fn show(format: Option<OutputFormat>, plan: &Plan) -> Outcome<()> {
    match format {
        None | Some(OutputFormat::Table) => {
            output::text(&text(plan, colours(std::io::stdout().is_terminal())))
        }
        Some(OutputFormat::Json) => output::json(plan),
        Some(_) => output::write_rows(format, &rows(plan)?),
    }
}

fn rows(plan: &Plan) -> Outcome<arrow_array::RecordBatch> {
    let entries = || plan.entries.iter();
    let details = |entry: &PlanEntry| entry.details.iter().map(detail).collect();
    Rows::default()
        .text("action", entries().map(|entry| action(entry.action)))
        .text("kind", entries().map(|entry| entry.kind.name()))
        .text("name", entries().map(|entry| &entry.name))
        .versions("from_version", entries().map(|entry| entry.from_version))
        .versions("to_version", entries().map(|entry| entry.to_version))
        .texts("details", entries().map(details))
        .texts("breaks", entries().map(|entry| entry.breaks.clone()))
        .batch()
}

fn action(action: PlanAction) -> &'static str {
    match action {
        PlanAction::Create => "create",
        PlanAction::NewVersion => "new_version",
        PlanAction::Update => "update",
        PlanAction::Delete => "delete",
    }
}

fn text(plan: &Plan, colours: bool) -> String {
    let paint = |colour: &str, line: String| {
        if colours {
            format!("\u{1b}[{colour}m{line}\u{1b}[0m\n")
        } else {
            line + "\n"
        }
    };
    if plan.is_empty() {
        return format!(
            "project {}: nothing to change, {} is what the files say\n",
            plan.project,
            revision(plan.base)
        );
    }
    let mut text = format!(
        "project {}: changes against {}\n\n",
        plan.project,
        revision(plan.base)
    );
    for entry in &plan.entries {
        let (sign, colour) = match entry.action {
            PlanAction::Create => ('+', "32"),
            PlanAction::NewVersion | PlanAction::Update => ('~', "33"),
            PlanAction::Delete => ('-', "31"),
        };
        text.push_str(&paint(
            colour,
            format!("{sign} {} {}", entry.kind.name(), versions(entry)),
        ));
        for change in &entry.details {
            text.push_str(&format!("    {}\n", detail(change)));
        }
        for sentence in &entry.breaks {
            text.push_str(&paint("1;31", format!("  ! breaks: {sentence}")));
        }
    }
    text.push('\n');
    text.push_str(&summary(plan));
    text
}

fn revision(revision: Revision) -> String {
    match revision.0 {
        0 => "an empty registry".to_owned(),
        number => format!("revision {number}"),
    }
}

/// `name@1` or `name@1 -> name@2`; entities and sources have no versions.
fn versions(entry: &PlanEntry) -> String {
    let name = &entry.name;
    if matches!(entry.kind, ObjectKind::Entity | ObjectKind::Source) {
        return name.clone();
    }
    match (entry.from_version, entry.to_version) {
        (Some(from), Some(to)) if from != to => format!("{name}@{from} -> {name}@{to}"),
        (_, Some(version)) | (Some(version), None) => format!("{name}@{version}"),
        (None, None) => name.clone(),
    }
}

fn detail(change: &FieldChange) -> String {
    let path = &change.path;
    match (&change.before, &change.after) {
        (None, None) => path.clone(),
        (None, Some(after)) => format!("+ {path}: {after}"),
        (Some(before), None) => format!("- {path}: {before}"),
        (Some(before), Some(after)) => format!("~ {path}: {before} -> {after}"),
    }
}

fn summary(plan: &Plan) -> String {
    let count = |wanted: fn(PlanAction) -> bool| {
        let found = plan.entries.iter().filter(|entry| wanted(entry.action));
        found.count() as u64
    };
    let mut line = format!(
        "{} to make, {} to change, {} to delete",
        count(|action| action == PlanAction::Create),
        count(|action| matches!(action, PlanAction::NewVersion | PlanAction::Update)),
        count(|action| action == PlanAction::Delete),
    );
    let broken: usize = plan.entries.iter().map(|entry| entry.breaks.len()).sum();
    if broken > 0 {
        line.push_str(&format!("; {} of services", plural(broken as u64, "break")));
    }
    line.push('\n');
    line
}
