//! One source against the spine's index: one pass over its rows for all views that read it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::DataType;
use futures::{StreamExt, TryStreamExt};
use provender_core::model::AggregateFunction;
use provender_core::provider::RowAccess;
use provender_core::request::{FeatureColumn, TimedSource, ViewJoin, WindowAggregate};
use provender_core::{BatchStream, Error, Result, codes};
use tokio::task::JoinSet;

use super::chunk::{Group, GroupFeed};
use super::found::{Found, feature_columns};
use super::wanted::WantedRows;
use super::worker::{Worker, over_limit, shares};
use crate::accumulate::WindowPlan;
use crate::error;
use crate::source::{Feed, RowReader, column_type, columns_of};
use crate::spine::{NO_SLOT, SpineIndex};
use crate::values::{NOWHERE, Place, Values};
use crate::winners::Winners;

/// What one view answers over a chunk.
pub(super) enum AnswerColumns {
    /// Features of winning rows: the place of each slot's winner among the values.
    Winners {
        values: Arc<Values>,
        places: Arc<Vec<Place>>,
        features: Vec<FeatureColumn>,
        view: usize,
    },
    /// A column for all rows of the chunk.
    Ready(ArrayRef),
}

/// Winners of one column's `last`: the column, its values, where they lie, and per window the slots.
type LastWinners = (String, Arc<Values>, Vec<Place>, Vec<Vec<u32>>);

impl Group {
    /// The answers of the views that read a source, by their numbers.
    pub(super) async fn answer_feed(
        &self,
        feed: &GroupFeed,
        index: &Arc<SpineIndex>,
    ) -> Result<Vec<(usize, Vec<AnswerColumns>)>> {
        let views: Arc<[ViewJoin]> = feed
            .views
            .iter()
            .map(|&view| self.views[view].clone())
            .collect();
        let source = self.needed(&feed.source, &views);
        let (streams, access) = match &feed.feed {
            Feed::Numbered(access, _) => {
                // Those that decide which rows win, and those that windows read.
                let aggregated = views.iter().flat_map(|view| &view.aggregations);
                let aggregated = aggregated.filter_map(|request| request.column.as_deref());
                let columns = columns_of(&source, &feed.keys, aggregated);
                (access.scan(&self.cx, &columns).await?, Some(access))
            }
            other => (other.streams(&self.cx).await?, None),
        };
        let Some(schema) = streams.first().map(|stream| stream.schema.clone()) else {
            return Err(Error::new(
                &codes::PROVIDER_CONTRACT,
                "a scan answered no stream",
            ));
        };
        let windows = if self.as_known {
            None
        } else {
            WindowPlan::new(&views, &schema, index)?.map(Arc::new)
        };
        let n_workers = self.resources.n_threads.clamp(1, streams.len().max(1));
        let shared = index.memory() + windows.as_ref().map_or(0, |windows| windows.memory());
        let budget = (self.memory_limit / n_workers as u64).saturating_sub(shared as u64);
        let mut workers = JoinSet::new();
        for (number, share) in shares(streams, n_workers, access.is_some())
            .into_iter()
            .enumerate()
        {
            let worker = Worker {
                cx: self.cx.clone(),
                reader: RowReader::new(&source, &feed.keys, &schema)?,
                schema: schema.clone(),
                views: views.clone(),
                index: index.clone(),
                windows: windows.clone(),
                as_known: self.as_known,
                is_numbered: access.is_some(),
                budget,
            };
            workers.spawn(async move { (number, worker.run(share).await) });
        }
        let mut answers: Vec<Option<Found>> = (0..n_workers).map(|_| None).collect();
        while let Some(ended) = workers.join_next().await {
            let (number, state) =
                ended.map_err(|e| error::defect(format!("a worker failed: {e}")))?;
            answers[number] = Some(state?);
        }
        // In the workers' order, not in the order in which they ended.
        let n_threads = self.resources.n_threads;
        let merged = answers.into_iter().flatten().reduce(|mut ours, theirs| {
            ours.merge(theirs, n_threads);
            ours
        });
        let Some(mut state) = merged else {
            return Err(error::defect("no worker read the source"));
        };
        let windows = match windows {
            Some(plan) => self.slide_windows(plan, &mut state, index).await?,
            None => {
                let trees = std::mem::take(&mut state.trees).into_iter();
                trees
                    .map(|tree| tree.finish(index))
                    .collect::<Result<_>>()?
            }
        };
        self.finish(feed, &views, state, windows, index, access)
            .await
    }

    /// The values of all windows but `last`, in the order of the views and of their aggregations.
    async fn slide_windows(
        &self,
        plan: Arc<WindowPlan>,
        state: &mut Found,
        index: &Arc<SpineIndex>,
    ) -> Result<Vec<ArrayRef>> {
        let cells = std::mem::take(&mut state.cells).into_iter();
        let mut workers: Vec<_> = cells.map(|cells| cells.into_parts().into_iter()).collect();
        let parts: Vec<_> = (0..plan.n_parts())
            .map(|part| {
                let counted = workers.iter_mut().filter_map(Iterator::next).collect();
                let (plan, index) = (plan.clone(), index.clone());
                async move {
                    let work = async move { plan.finish(part, counted, &index) };
                    Spawned(tokio::spawn(work)).ended().await
                }
            })
            .collect();
        let mut answers: Vec<(usize, ArrayRef)> = futures::stream::iter(parts)
            .buffered(self.resources.n_threads.max(1))
            .try_concat()
            .await?;
        answers.sort_unstable_by_key(|(place, _)| *place);
        Ok(answers.into_iter().map(|(_, values)| values).collect())
    }

    /// The source with the columns alone that these views need of it. Windows do not choose between
    /// rows, so what decides between them need not be read.
    fn needed(&self, source: &TimedSource, views: &[ViewJoin]) -> TimedSource {
        let mut source = source.clone();
        let chooses = |view: &ViewJoin| {
            let mut aggregations = view.aggregations.iter();
            !view.features.is_empty() || aggregations.any(|a| a.function == AggregateFunction::Last)
        };
        if !views.iter().any(chooses) {
            source.tie_breakers.clear();
            if !self.as_known {
                source.created_timestamp = None;
            }
        }
        source
    }

    /// Puts the answers of all views together.
    async fn finish(
        &self,
        feed: &GroupFeed,
        views: &[ViewJoin],
        state: Found,
        windows: Vec<ArrayRef>,
        index: &Arc<SpineIndex>,
        access: Option<&Arc<dyn RowAccess>>,
    ) -> Result<Vec<(usize, Vec<AnswerColumns>)>> {
        let mut answers: Vec<(usize, Vec<AnswerColumns>)> =
            feed.views.iter().map(|&view| (view, Vec::new())).collect();
        if let Some(winners) = state.features {
            let wanted: Vec<usize> = (0..views.len())
                .filter(|&number| !views[number].features.is_empty())
                .collect();
            // Views with one ttl have the same winners.
            let mut ttls: Vec<Option<i64>> = Vec::new();
            for &number in &wanted {
                if !ttls.contains(&views[number].ttl_us) {
                    ttls.push(views[number].ttl_us);
                }
            }
            let n_threads = self.resources.n_threads;
            let sources: Vec<Vec<u32>> = ttls
                .iter()
                .map(|&ttl_us| winners.carry(index, ttl_us, n_threads))
                .collect();
            let (values, own) = match access {
                Some(access) => {
                    let columns = feature_columns(views);
                    self.fetch(access, columns, winners, &sources).await?
                }
                None => winners.into_values(),
            };
            let values = Arc::new(values);
            let places: Vec<Arc<Vec<Place>>> = sources
                .into_iter()
                .map(|sources| Arc::new(places_of(&sources, &own)))
                .collect();
            for number in wanted {
                let view = &views[number];
                let ttl = ttls.iter().position(|&ttl_us| ttl_us == view.ttl_us);
                let Some(places) = ttl.and_then(|ttl| places.get(ttl)) else {
                    return Err(error::defect("a view's ttl was left out"));
                };
                answers[number].1.push(AnswerColumns::Winners {
                    values: values.clone(),
                    places: places.clone(),
                    features: view.features.clone(),
                    view: feed.views[number],
                });
            }
        }
        let mut lasts: Vec<LastWinners> = Vec::new();
        for last in state.lasts {
            let windows = last_windows(views, &last.column);
            let n_threads = self.resources.n_threads;
            let sources = windows
                .map(|window| {
                    let reach_us = Some(window.window_us - 1);
                    last.winners.carry(index, reach_us, n_threads)
                })
                .collect();
            let (values, own) = last.winners.into_values();
            lasts.push((last.column, Arc::new(values), own, sources));
        }
        for (_, _, _, sources) in &mut lasts {
            sources.reverse();
        }
        let mut windows = windows.into_iter();
        for (number, view) in views.iter().enumerate() {
            for request in &view.aggregations {
                let last = match (&request.column, request.function) {
                    (Some(name), AggregateFunction::Last) => {
                        lasts.iter_mut().find(|(column, ..)| column == name)
                    }
                    _ => None,
                };
                let column = match last {
                    Some((column, values, own, sources)) => AnswerColumns::Winners {
                        values: values.clone(),
                        places: Arc::new(places_of(&sources.pop().unwrap_or_default(), own)),
                        features: vec![FeatureColumn {
                            column: column.clone(),
                            output: request.output.clone(),
                            value_type: request.value_type.clone(),
                            checked: true,
                        }],
                        view: feed.views[number],
                    },
                    None => match windows.next() {
                        Some(values) => AnswerColumns::Ready(values),
                        None => return Err(error::defect("a window was not computed")),
                    },
                };
                answers[number].1.push(column);
            }
        }
        Ok(answers)
    }

    /// Reads features of the rows that win for any view. Answers them, and the place of each slot's
    /// own winner.
    async fn fetch(
        &self,
        access: &Arc<dyn RowAccess>,
        columns: Vec<String>,
        winners: Winners,
        sources: &[Vec<u32>],
    ) -> Result<(Values, Vec<Place>)> {
        let n_slots = sources.first().map_or(0, Vec::len);
        let mut is_used = vec![false; n_slots];
        for &slot in sources.iter().flatten() {
            if slot != NO_SLOT {
                is_used[slot as usize] = true;
            }
        }
        let used = WantedRows::new(
            (0..n_slots as u32)
                .filter(|&slot| is_used[slot as usize])
                .map(|slot| (winners.number(slot), slot)),
        );
        drop((winners, is_used));
        let types: Vec<DataType> = columns
            .iter()
            .map(|name| column_type(access.schema(), name))
            .collect::<Result<_>>()?;
        let n_rows = used.numbers.len();
        let batches = if n_rows == 0 {
            Vec::new()
        } else {
            let numbers = used.numbers.clone();
            let streams = access.fetch(&self.cx, &columns, numbers).await?;
            self.collect(streams).await?
        };
        let n_fetched: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if n_fetched != n_rows {
            return Err(Error::new(
                &codes::PROVIDER_CONTRACT,
                format!("{n_rows} rows were asked for by number and {n_fetched} were answered"),
            ));
        }
        let (values, places) = Values::of_rows(columns, types, batches, self.resources.n_threads)?;
        let mut own = vec![NOWHERE; n_slots];
        for (slot, row) in used.rows {
            own[slot as usize] = places[row as usize];
        }
        Ok((values, own))
    }

    /// The batches of all streams, in order, some streams at a time.
    async fn collect(&self, streams: Vec<BatchStream>) -> Result<Vec<RecordBatch>> {
        let held = Arc::new(AtomicU64::new(0));
        let limit = self.memory_limit;
        let reading = streams.into_iter().map(|mut stream| {
            let (held, cx, views) = (held.clone(), self.cx.clone(), self.views.clone());
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
        let batches: Vec<Vec<RecordBatch>> = futures::stream::iter(reading)
            .map(Spawned::ended)
            .buffered(self.resources.n_threads.max(1))
            .try_collect()
            .await?;
        Ok(batches.into_iter().flatten().collect())
    }
}

/// A task that ends when nobody waits for it any more.
pub(super) struct Spawned<T>(pub(super) tokio::task::JoinHandle<Result<T>>);

impl<T> Spawned<T> {
    pub(super) async fn ended(mut self) -> Result<T> {
        (&mut self.0)
            .await
            .map_err(|e| error::defect(format!("a worker failed: {e}")))?
    }
}

impl<T> Drop for Spawned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Where the winner of each slot is, from where each slot's own winner is.
fn places_of(sources: &[u32], own: &[Place]) -> Vec<Place> {
    sources
        .iter()
        .map(|&source| {
            if source == NO_SLOT {
                NOWHERE
            } else {
                own[source as usize]
            }
        })
        .collect()
}

fn last_windows<'a>(
    views: &'a [ViewJoin],
    column: &'a str,
) -> impl Iterator<Item = &'a WindowAggregate> {
    views
        .iter()
        .flat_map(|view| &view.aggregations)
        .filter(move |request| {
            request.function == AggregateFunction::Last && request.column.as_deref() == Some(column)
        })
}
