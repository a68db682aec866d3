//! Which past states of a table there are, and which one a request means.

use deltalake::DeltaTable;
use futures::TryStreamExt;
use object_store::path::Path as ObjectPath;
use provender_core::model::SourceVersion;
use provender_core::time::format_instant;
use provender_core::{Error, Result, codes};

use crate::error::OnTable;
use crate::tables::LOG_FOLDER;

/// The version that a request means.
pub(crate) async fn version_number(
    table: &DeltaTable,
    name: &str,
    version: &SourceVersion,
) -> Result<u64> {
    let commits = commits(table, name).await?;
    let (Some(oldest), Some(newest)) = (commits.first(), commits.last()) else {
        return Err(gone(name, "holds no version".to_owned()));
    };
    match version {
        SourceVersion::Number(number) => {
            if commits.iter().any(|commit| commit.version == *number) {
                return Ok(*number);
            }
            Err(gone(
                name,
                format!(
                    "has no version {number}: there are versions {} to {}",
                    oldest.version, newest.version
                ),
            ))
        }
        SourceVersion::TimestampUs(instant_us) => commits
            .iter()
            .rev()
            .find(|commit| commit.at_us <= *instant_us)
            .map(|commit| commit.version)
            .ok_or_else(|| {
                gone(
                    name,
                    format!(
                        "has no version of {}: there are versions {} ({}) to {} ({})",
                        format_instant(*instant_us),
                        oldest.version,
                        format_instant(oldest.at_us),
                        newest.version,
                        format_instant(newest.at_us),
                    ),
                )
            }),
        SourceVersion::Token(token) => Err(Error::new(
            &codes::OFFLINE_REQUEST,
            format!("table {name:?} cannot be read at {token:?}"),
        )
        .help("versions of Delta tables are numbers or times")),
    }
}

fn gone(name: &str, what: String) -> Error {
    Error::new(&codes::VERSION_GONE, format!("table {name:?} {what}")).context("table", name)
}

struct LoggedCommit {
    version: u64,
    at_us: i64,
}

/// The versions that can be read, oldest first, with the times at which they were committed: those
/// from version 0, or else from the first checkpoint, on. A commit's time is that of its file, as the
/// Delta protocol has it; a file that is older than its predecessor counts as made right after it.
async fn commits(table: &DeltaTable, name: &str) -> Result<Vec<LoggedCommit>> {
    let log_store = table.log_store();
    let store = log_store.object_store(None);
    let files: Vec<object_store::ObjectMeta> = store
        .list(Some(&ObjectPath::from(LOG_FOLDER)))
        .try_collect()
        .await
        .map_err(deltalake::DeltaTableError::from)
        .on_table(name, "cannot be listed")?;
    let mut commits = Vec::new();
    let mut first_checkpoint: Option<u64> = None;
    for file in files {
        let Some((number, rest)) = file.location.filename().and_then(|f| f.split_once('.')) else {
            continue;
        };
        let Ok(version) = number.parse::<u64>() else {
            continue;
        };
        if rest == "json" {
            commits.push(LoggedCommit {
                version,
                at_us: file.last_modified.timestamp_micros(),
            });
        } else if rest.starts_with("checkpoint") {
            first_checkpoint = Some(first_checkpoint.map_or(version, |first| first.min(version)));
        }
    }
    commits.sort_by_key(|commit| commit.version);
    if commits.first().is_some_and(|commit| commit.version > 0) {
        commits.retain(|commit| first_checkpoint.is_some_and(|first| commit.version >= first));
    }
    let mut last_us = i64::MIN;
    for commit in &mut commits {
        commit.at_us = commit.at_us.max(last_us.saturating_add(1));
        last_us = commit.at_us;
    }
    Ok(commits)
}
