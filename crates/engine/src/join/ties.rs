//! Which of several rows of one key and time wins, where that was not read with their times.
//!
//! Created times and tie breakers matter to rows whose key and event time others have as well. Those are few in most
//! tables, so these columns are read of them alone, by number. Where they are many, that would take longer than to
//! read the columns of all rows.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::{RecordBatch, UInt64Array};
use futures::StreamExt;
use provender_core::provider::RowAccess;
use provender_core::{Error, Result, codes};

use super::chunk::{Group, GroupFeed};
use crate::source::{Feed, RowNumbers, RowReader, RowTime};
use crate::winners::Winners;

impl Group {
    /// Whether rows are told apart by their event times first, and what else decides is read where these do not.
    pub(super) fn by_event(&self, feed: &GroupFeed) -> bool {
        let (source, views) = (&feed.source, self.views_of(feed));
        matches!(feed.feed, Feed::Numbered(..))
            && !self.as_known
            && views.iter().all(|view| view.aggregations.is_empty())
            && (source.created_timestamp.is_some() || !source.tie_breakers.is_empty())
            && !feed.has_many_ties.load(Ordering::Relaxed)
    }

    /// Has each slot that holds one of several rows of the same time hold the greatest of them.
    pub(super) async fn settle_ties(
        &self,
        feed: &GroupFeed,
        access: &Arc<dyn RowAccess>,
        winners: &mut Winners,
    ) -> Result<()> {
        let tied = winners.tied();
        if tied.is_empty() {
            return Ok(());
        }
        let mut slots: Vec<u32> = tied.iter().map(|(slot, _)| *slot).collect();
        slots.dedup();
        // Places of slots and numbers of rows, as the source answers them.
        let place = |slot: u32| slots.partition_point(|&other| other < slot);
        let mut rows: Vec<(u64, usize)> = tied
            .iter()
            .map(|&(slot, number)| (number, place(slot)))
            .collect();
        rows.sort_unstable();
        let numbers: Vec<u64> = rows.iter().map(|(number, _)| *number).collect();
        let numbers = UInt64Array::from(numbers);

        let created = feed.source.created_timestamp.iter();
        let mut columns: Vec<String> = created.chain(&feed.source.tie_breakers).cloned().collect();
        columns.sort();
        columns.dedup();
        let streams = access.fetch(&self.cx, &columns, numbers).await?;
        let with_ties = !feed.source.tie_breakers.is_empty();
        let mut settled = Winners::numbered(slots.len(), with_ties);
        let mut n_read = 0;
        let reader = RowReader::new(&feed.source, &feed.keys, access.schema())?;
        let mut batches = self.in_order(streams);
        while let Some(batches) = batches.next().await {
            for batch in batches? {
                let Some(rows) = rows.get(n_read..n_read + batch.num_rows()) else {
                    return Err(wrong_number(rows.len()));
                };
                let deciding = reader.deciding(&batch)?;
                for (row, &(number, place)) in rows.iter().enumerate() {
                    // Rows of one slot have the same event time.
                    let time = RowTime::new(0, deciding.created(row), number);
                    settled.offer(place, time, deciding.ties(row), row);
                }
                n_read += rows.len();
            }
        }
        if n_read < rows.len() {
            return Err(wrong_number(rows.len()));
        }
        for (place, &slot) in (0..).zip(&slots) {
            winners.settle(slot, settled.number(place));
        }
        Ok(())
    }
}

/// Fails where what decides between rows is of types that cannot be compared, whether or not any row needs it.
/// A value that cannot be is told of where a row needs it.
pub(super) fn check_deciding(feed: &GroupFeed, access: &Arc<dyn RowAccess>) -> Result<()> {
    let schema = access.schema();
    let reader = RowReader::new(&feed.source, &feed.keys, schema)?;
    let nothing = RecordBatch::new_empty(schema.clone());
    reader.read(&nothing, RowNumbers::From(0)).map(drop)
}

fn wrong_number(n_rows: usize) -> Error {
    let what =
        format!("{n_rows} rows were asked for by number and another number of them was answered");
    Error::new(&codes::PROVIDER_CONTRACT, what)
}
