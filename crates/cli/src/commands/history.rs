//! `provender history`

use provender_core::provider::{Change, Commit};
use provender_core::time::format_instant;

use crate::args::{HistoryArgs, OutputFormat};
use crate::errors::{DONE, Outcome};
use crate::output::{self, Rows};
use crate::session::Session;

/// Shows the newest commits, newest first.
///
/// # Errors
/// If the registry cannot be read.
pub(crate) async fn run(session: &Session, args: &HistoryArgs) -> Outcome {
    let store = session.store().await?;
    let commits = store.history(&session.cx, args.limit).await?;
    if matches!(session.output, None | Some(OutputFormat::Table)) {
        output::text(&text(&commits))?;
        return Ok(DONE);
    }
    let all = || commits.iter();
    let changes = |commit: &Commit| commit.changes.iter().map(Change::describe).collect();
    let rows = Rows::default()
        .numbers("revision", all().map(|commit| commit.revision.0))
        .text(
            "time",
            all().map(|commit| format_instant(commit.committed_us)),
        )
        .text("author", all().map(|commit| &commit.author.name))
        .text("message", all().map(|commit| &commit.author.message))
        .texts("changes", all().map(changes));
    output::write_rows(session.output, &rows.batch()?)?;
    Ok(DONE)
}

fn text(commits: &[Commit]) -> String {
    if commits.is_empty() {
        return "nothing applied yet\n".to_owned();
    }
    let mut text = String::new();
    for commit in commits {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!(
            "revision {}  {}  {}\n",
            commit.revision.0,
            format_instant(commit.committed_us),
            commit.author.name
        ));
        for line in commit.author.message.lines() {
            text.push_str(&format!("    {line}\n"));
        }
        for change in &commit.changes {
            text.push_str(&format!("  {}\n", change.describe()));
        }
    }
    text
}
