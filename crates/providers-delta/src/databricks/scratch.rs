//! Tables that hold rows for one piece of work, and are gone with it.
//!
//! A warehouse has no session that could end with temporary tables in it, so each is an ordinary table
//! that is dropped: when the work is done, in the background when its caller goes away, and by the next
//! process when its own was killed. Its name says when it was made, and by which process of which machine.

use std::path::Path;

use provender_core::time::now_us;
use provender_core::{Context, Result};
use provender_dialects::{Dialect, TableName};
use tokio::task::JoinHandle;

use super::results::Client;
use super::statement::Statement;
use super::tables::Namespace;
use crate::making::unique;

/// What names of these tables start with.
pub(crate) const PREFIX: &str = "provender_tmp_";
/// No work takes longer: a table that is older was left behind, whichever process made it.
const LONGEST_WORK_US: i64 = 7 * 24 * 3_600 * 1_000_000;

/// A table that is dropped with this value.
#[derive(Debug)]
pub(crate) struct Scratch {
    client: Client,
    pub table: TableName,
    drop: Option<Statement>,
    /// Work on tables that others left behind, which is done when this one is closed.
    pub sweeping: Option<JoinHandle<()>>,
}

impl Scratch {
    /// A name in a catalog and schema, which nothing has been made of.
    ///
    /// # Errors
    /// `P406` for a catalog or schema that SQL cannot spell.
    pub(crate) fn new(client: &Client, catalog: &str, schema: &str) -> Result<Self> {
        let name = letters(&unique(&format!("{PREFIX}{}", place())));
        let table = TableName::new([catalog, schema, name.as_str()]);
        Ok(Self {
            client: client.clone(),
            drop: Some(dropping(&table)?),
            table,
            sweeping: None,
        })
    }

    /// Nothing has been made of the name, and nothing will be.
    pub(crate) fn forget(mut self) {
        self.drop = None;
    }

    /// Drops the table now. A failure is noted, for the rows have been used.
    pub(crate) async fn close(mut self) {
        if let Some(drop) = self.drop.take() {
            remove(&self.client, &drop).await;
        }
        if let Some(sweeping) = self.sweeping.take()
            && let Err(error) = sweeping.await
        {
            tracing::warn!(%error, "what was left behind was not looked for");
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let (Some(drop), Ok(runtime)) = (self.drop.take(), tokio::runtime::Handle::try_current())
        {
            let client = self.client.clone();
            runtime.spawn(async move { remove(&client, &drop).await });
        }
    }
}

/// Whatever became of the call that made the table.
async fn remove(client: &Client, drop: &Statement) {
    let cx = Context::new("provender").with_timeout(std::time::Duration::from_secs(300));
    if let Err(error) = client.execute(&cx, drop).await {
        tracing::warn!(%error, sql = drop.sql, "a table of Provender's could not be dropped");
    }
}

/// Drops those of these tables that were left behind, as far as their names tell.
pub(crate) async fn drop_left(client: &Client, at: &Namespace, names: &[String]) {
    for name in names.iter().filter(|name| is_left(name)) {
        let table = TableName::new([&at.catalog, &at.schema, name]);
        if let Ok(drop) = dropping(&table) {
            tracing::info!(name, "a table that a killed process left behind is dropped");
            remove(client, &drop).await;
        }
    }
}

fn dropping(table: &TableName) -> Result<Statement> {
    let sql = format!("DROP TABLE IF EXISTS {}", table.sql(Dialect::Spark)?);
    Ok(Statement {
        is_repeatable: true,
        ..Statement::change(sql)
    })
}

/// Whether a table's name is that of work which has ended: its process was of this boot of this machine
/// and of this space of process ids, and is gone; or it is older than any work.
fn is_left(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else {
        return false;
    };
    let mut parts = rest.rsplitn(4, '_');
    let (_, made_us, pid, of) = (parts.next(), parts.next(), parts.next(), parts.next());
    let (Some(made_us), Some(pid), Some(of)) = (
        made_us.and_then(|text| text.parse::<i64>().ok()),
        pid.and_then(|text| text.parse::<u32>().ok()),
        of,
    ) else {
        return false;
    };
    let is_gone = of == letters(&place()) && Path::new("/proc/1").exists();
    now_us().saturating_sub(made_us) > LONGEST_WORK_US
        || (is_gone && !Path::new("/proc").join(pid.to_string()).exists())
}

/// The machine, its boot, and the space of process ids on it; the last two only where they are told.
fn place() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let host: String = read("/proc/sys/kernel/hostname")
        .trim()
        .chars()
        .take(60)
        .collect();
    let boot: String = read("/proc/sys/kernel/random/boot_id")
        .chars()
        .take(8)
        .collect();
    let space = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let space = space.to_string_lossy();
    let space: String = space.chars().filter(char::is_ascii_digit).collect();
    format!("{host}-{boot}-{space}")
}

/// The text as part of a name that needs no quotes and has no case.
fn letters(text: &str) -> String {
    let letter = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_lowercase(),
        false => '_',
    };
    text.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tables_of_gone_processes_and_old_ones_are_left() {
        let own = letters(&place());
        let now = now_us();
        let old = now - LONGEST_WORK_US - 1_000_000;
        let me = std::process::id();
        // Greater than any process id of Linux.
        let nobody = u32::MAX;
        for (name, expected) in [
            (format!("{PREFIX}{own}_{me}_{now}_0"), false),
            (format!("{PREFIX}{own}_{nobody}_{now}_3"), true),
            (format!("{PREFIX}other_1_2_{nobody}_{now}_3"), false),
            (format!("{PREFIX}other_1_2_{me}_{old}_3"), true),
            (format!("{PREFIX}{own}_{nobody}_x_3"), false),
            (format!("{PREFIX}mine"), false),
            (format!("tmp_{own}_{nobody}_{old}_3"), false),
        ] {
            assert_eq!(is_left(&name), expected, "{name}");
        }
        assert!(!is_left(&letters(&unique(&format!("{PREFIX}{}", place())))));
    }
}
