//! What is materialised: disjoint intervals of each view version.
//!
//! Decides how intervals merge. A row of `progress` per view version is what concurrent runs take turns
//! by; it does not touch the project's head, so that runs and commits do not wait for each other.

use provender_core::provider::{Interval, ViewVersion};

use crate::connection::{Row, Session, Value};
use crate::database::{Mode, Work};
use crate::error::Failure;
use crate::schema::head;

/// Adds an interval that is not empty.
pub(crate) struct RecordInterval<'a> {
    pub(crate) view: &'a ViewVersion,
    pub(crate) interval: Interval,
}

impl Work for RecordInterval<'_> {
    type Output = ();
    const MODE: Mode = Mode::Write;
    const DOING: &'static str = "recording an interval";

    async fn run(&self, session: &mut Session) -> Result<(), Failure> {
        head(session, &self.view.project).await?;
        take_turn(session, self.view).await?;
        let [project, view, version] = key(self.view);
        let Interval { start_us, end_us } = self.interval;
        // What is there is disjoint and not adjacent, so nothing else touches the union of these.
        let touching = session
            .rows(
                "DELETE FROM intervals
                    WHERE project = $1 AND view_name = $2 AND view_version = $3
                        AND (CAST($4 AS BIGINT) IS NULL OR end_us >= $4)
                        AND (start_us IS NULL OR start_us <= $5)
                    RETURNING start_us, end_us",
                &[
                    project,
                    view,
                    version,
                    Value::NullableInt(start_us),
                    Value::Int(end_us),
                ],
            )
            .await?;
        let mut merged = self.interval;
        for row in &touching {
            let Interval { start_us, end_us } = read(row)?;
            // `None`, the beginning of time, is less than every instant.
            merged.start_us = merged.start_us.min(start_us);
            merged.end_us = merged.end_us.max(end_us);
        }
        session
            .execute(
                "INSERT INTO intervals (project, view_name, view_version, start_us, end_us)
                    VALUES ($1, $2, $3, $4, $5)",
                &[
                    project,
                    view,
                    version,
                    Value::NullableInt(merged.start_us),
                    Value::Int(merged.end_us),
                ],
            )
            .await?;
        Ok(())
    }
}

/// Reads the intervals, oldest first.
pub(crate) struct ReadIntervals<'a> {
    pub(crate) view: &'a ViewVersion,
}

impl Work for ReadIntervals<'_> {
    type Output = Vec<Interval>;
    const MODE: Mode = Mode::Read;
    const DOING: &'static str = "reading its intervals";

    async fn run(&self, session: &mut Session) -> Result<Vec<Interval>, Failure> {
        head(session, &self.view.project).await?;
        let rows = session
            .rows(
                "SELECT start_us, end_us FROM intervals
                    WHERE project = $1 AND view_name = $2 AND view_version = $3 ORDER BY end_us",
                &key(self.view),
            )
            .await?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }
}

/// Drops the intervals.
pub(crate) struct ForgetIntervals<'a> {
    pub(crate) view: &'a ViewVersion,
}

impl Work for ForgetIntervals<'_> {
    type Output = ();
    const MODE: Mode = Mode::Write;
    const DOING: &'static str = "forgetting intervals";

    async fn run(&self, session: &mut Session) -> Result<(), Failure> {
        head(session, &self.view.project).await?;
        take_turn(session, self.view).await?;
        session
            .execute(
                "DELETE FROM intervals
                    WHERE project = $1 AND view_name = $2 AND view_version = $3",
                &key(self.view),
            )
            .await?;
        Ok(())
    }
}

/// Locks the view version until the transaction ends.
async fn take_turn(session: &mut Session, view: &ViewVersion) -> Result<(), sqlx::Error> {
    session
        .execute(
            "INSERT INTO progress (project, view_name, view_version, n_changes)
                VALUES ($1, $2, $3, 1)
                ON CONFLICT (project, view_name, view_version)
                DO UPDATE SET n_changes = progress.n_changes + 1",
            &key(view),
        )
        .await?;
    Ok(())
}

fn key(view: &ViewVersion) -> [Value<'_>; 3] {
    [
        Value::Text(&view.project),
        Value::Text(&view.view),
        Value::Int(i64::from(view.version)),
    ]
}

fn read(row: &Row) -> Result<Interval, sqlx::Error> {
    Ok(Interval {
        start_us: row.nullable_int(0)?,
        end_us: row.int(1)?,
    })
}
