//! Reads the features of winning rows when all winners are known.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::RecordBatch;
use arrow_schema::DataType;
use futures::StreamExt;
use futures::stream::BoxStream;
use provender_core::provider::RowAccess;
use provender_core::{BatchStream, Error, Result, codes};

use super::chunk::Group;
use super::feed::Spawned;
use super::wanted::{NO_NUMBER, WantedRows};
use super::worker::over_limit;
use crate::parallel;
use crate::source::column_type;
use crate::spine::NO_SLOT;
use crate::values::{NOWHERE, Numbered, Place, Values};
use crate::winners::Winners;

impl Group {
    /// Reads features of the rows that win for any view. `sources` are, for each ttl, the slots whose own
    /// winners are the winners of all slots. Answers the rows, and in place of each slot's source the place
    /// of its winner.
    pub(super) async fn fetch(
        &self,
        access: &Arc<dyn RowAccess>,
        columns: Vec<String>,
        winners: Winners,
        sources: Vec<Vec<u32>>,
    ) -> Result<(Values, Vec<Vec<Place>>)> {
        let n_threads = self.resources.n_threads;
        let number = |source: u32| match source {
            NO_SLOT => NO_NUMBER,
            slot => winners.number(slot),
        };
        let wanted = {
            let sources: Vec<&[u32]> = sources.iter().map(Vec::as_slice).collect();
            WantedRows::new(&sources, number, n_threads)
        };
        let place = |source: u32| match number(source) {
            NO_NUMBER => NOWHERE,
            number => (0, wanted.place(number)),
        };
        let places = sources
            .into_iter()
            .map(|sources| parallel::map(&sources, n_threads, place))
            .collect();
        drop(winners);
        let types: Vec<DataType> = columns
            .iter()
            .map(|name| column_type(access.schema(), name))
            .collect::<Result<_>>()?;
        let n_rows = wanted.numbers().len();
        let mut fetched = Numbered::new(columns.clone(), types, n_rows, |what| {
            Error::new(&codes::PROVIDER_CONTRACT, what)
        });
        if n_rows > 0 {
            let numbers = wanted.numbers().clone();
            drop(wanted);
            let streams = access.fetch(&self.cx, &columns, numbers).await?;
            let mut batches = self.in_order(streams);
            while let Some(batches) = batches.next().await {
                for batch in batches? {
                    fetched.push(batch.columns())?;
                }
            }
        }
        Ok((fetched.finish(n_threads)?, places))
    }

    /// The batches of each stream, stream after stream, some of which are read at a time.
    pub(super) fn in_order(
        &self,
        streams: Vec<BatchStream>,
    ) -> BoxStream<'static, Result<Vec<RecordBatch>>> {
        let held = Arc::new(AtomicU64::new(0));
        let limit = self.memory_limit;
        let (cx, views) = (self.cx.clone(), self.views.clone());
        let reading = streams.into_iter().map(move |mut stream| {
            let (held, cx, views) = (held.clone(), cx.clone(), views.clone());
            Spawned(tokio::spawn(async move {
                let mut batches = Vec::new();
                while let Some(batch) = stream.batches.next().await {
                    cx.check()?;
                    let batch = batch?;
                    let size = batch.get_array_memory_size() as u64;
                    if held.fetch_add(size, Ordering::Relaxed) + size > limit {
                        return Err(over_limit(&views));
                    }
                    batches.push(batch);
                    tokio::task::yield_now().await;
                }
                Ok::<_, Error>(batches)
            }))
        });
        // More than there are threads, so that all of them read while batches are taken in.
        let n_begun = 2 * self.resources.n_threads.max(1) + 2;
        futures::stream::iter(reading)
            .map(Spawned::ended)
            .buffered(n_begun)
            .boxed()
    }
}
