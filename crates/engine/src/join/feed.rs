//! One source against the spine's index: one pass over its rows for all views that read it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use provender_core::model::AggregateFunction;
use provender_core::provider::RowAccess;
use provender_core::request::{FeatureColumn, TimedSource, ViewJoin, WindowAggregate};
use provender_core::{BatchStream, Error, Result, codes};
use tokio::task::JoinSet;

use super::chunk::{Group, GroupFeed};
use super::found::{Found, feature_columns};
use super::latest_first::Order;
use super::ties::check_deciding;
use super::worker::{Worker, shares};
use crate::accumulate::{WindowPlan, WindowTree, WindowValues};
use crate::error;
use crate::source::{Feed, RowReader, columns_of};
use crate::spine::{NO_SLOT, SpineIndex};
use crate::values::{NOWHERE, Place, Values};

/// What one view answers over a chunk.
pub(super) enum AnswerColumns {
    /// Features of winning rows: the place of each slot's winner among the values.
    Winners {
        values: Arc<Values>,
        places: Arc<Vec<Place>>,
        features: Vec<FeatureColumn>,
        view: usize,
    },
    /// Consecutive columns of all slots' values, numbered as slots are.
    OfSlots {
        values: Arc<WindowValues>,
        columns: Range<usize>,
    },
}

/// Winners of one column's `last`: the column, its values, where they lie, and per window the slots.
type LastWinners = (String, Arc<Values>, Vec<Place>, Vec<Vec<u32>>);

impl Group {
    /// The rows of a source, with the columns that decide which of them count: but for events none if `by_event`.
    /// Streams of rows with numbers are to be read from the last one on: it has the latest rows where these are looked
    /// for, and the earliest where rows are only counted, whose batches then need not be turned round. (Of the workers
    /// that count, every other one begins at the other end of its part.)
    pub(super) async fn rows(&self, feed: &GroupFeed, by_event: bool) -> Result<Vec<BatchStream>> {
        let Feed::Numbered(access, _) = &feed.feed else {
            return feed.feed.streams(&self.cx).await;
        };
        let views = self.views_of(feed);
        let source = self.needed(feed, &views, by_event);
        // Those that decide which rows win, and those that windows read.
        let aggregated = views.iter().flat_map(|view| &view.aggregations);
        let aggregated = aggregated.filter_map(|request| request.column.as_deref());
        let columns = columns_of(&source, &feed.keys, aggregated);
        let mut streams = access.scan(&self.cx, &columns).await?;
        if !views.iter().any(chooses) {
            streams.reverse();
        }
        Ok(streams)
    }

    pub(super) fn views_of(&self, feed: &GroupFeed) -> Arc<[ViewJoin]> {
        let views = feed.views.iter().map(|&view| self.views[view].clone());
        views.collect()
    }

    /// The answers of the views that read a source, by their numbers, from what [`Self::rows`] answers. `n_held` is how
    /// many bytes of the limit other sources' answers hold.
    pub(super) async fn answer_feed(
        &self,
        feed: &GroupFeed,
        streams: Vec<BatchStream>,
        by_event: bool,
        index: &Arc<SpineIndex>,
        n_held: u64,
    ) -> Result<Vec<(usize, Vec<AnswerColumns>)>> {
        let views = self.views_of(feed);
        let source = self.needed(feed, &views, by_event);
        let access = match &feed.feed {
            Feed::Numbered(access, _) => Some(access),
            _ => None,
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
            WindowPlan::new(&views, &schema, index, self.resources.n_threads)?.map(Arc::new)
        };
        let n_workers = self.resources.n_threads.clamp(1, streams.len().max(1));
        let shared = index.memory() + windows.as_ref().map_or(0, |windows| windows.memory());
        let limit = self.memory_limit.saturating_sub(n_held);
        let budget = (limit / n_workers as u64).saturating_sub(shared as u64);
        let mut workers = JoinSet::new();
        let order = match views.iter().any(chooses) {
            true => Order::LastFirst,
            false => Order::Meeting,
        };
        let shares = shares(streams, n_workers, access.map(|_| order));
        for (number, share) in shares.into_iter().enumerate() {
            let worker = Worker {
                cx: self.cx.clone(),
                reader: RowReader::new(&source, &feed.keys, &schema)?,
                schema: schema.clone(),
                views: views.clone(),
                index: index.clone(),
                windows: windows.clone(),
                as_known: self.as_known,
                is_numbered: access.is_some(),
                by_event,
                has_many_ties: feed.has_many_ties.clone(),
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
        if by_event && (state.has_many_ties() || feed.has_many_ties.load(Ordering::Relaxed)) {
            drop(state);
            feed.has_many_ties.store(true, Ordering::Relaxed);
            let streams = self.rows(feed, false).await?;
            return Box::pin(self.answer_feed(feed, streams, false, index, n_held)).await;
        }
        if let (true, Some(access), Some(winners)) = (by_event, access, &mut state.features) {
            check_deciding(feed, access)?;
            self.settle_ties(feed, access, winners).await?;
        }
        let windows = match windows {
            Some(plan) => {
                let (cx, index) = (self.cx.clone(), index.clone());
                let cells = std::mem::take(&mut state.cells);
                let finish = async move { WindowValues::new(&cx, plan, cells, &index, n_threads) };
                // Meanwhile the caller can be heard, who may want to end the call.
                Spawned(tokio::spawn(finish)).ended().await?
            }
            None => {
                let trees = std::mem::take(&mut state.trees);
                WindowTree::finish_all(trees, index, n_threads)?.into()
            }
        };
        self.finish(feed, &views, state, windows, index, access)
            .await
    }

    /// The source with the columns alone that these views need of it at first. Windows do not choose between
    /// rows, so what decides between them need not be read.
    fn needed(&self, feed: &GroupFeed, views: &[ViewJoin], by_event: bool) -> TimedSource {
        let mut source = feed.source.clone();
        if !views.iter().any(chooses) || by_event {
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
        windows: WindowValues,
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
            let (values, places) = match access {
                Some(access) => {
                    let columns = feature_columns(views);
                    self.fetch(access, columns, winners, sources).await?
                }
                None => {
                    let (values, own) = winners.into_values();
                    let sources = sources.iter();
                    let places = sources.map(|sources| places_of(sources, &own));
                    (values, places.collect())
                }
            };
            let values = Arc::new(values);
            let places: Vec<Arc<Vec<Place>>> = places.into_iter().map(Arc::new).collect();
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
        let windows = Arc::new(windows);
        let mut next_window = 0;
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
                    None => {
                        let window = next_window;
                        next_window += 1;
                        if let Some(AnswerColumns::OfSlots { columns, .. }) =
                            answers[number].1.last_mut()
                        {
                            columns.end = next_window;
                            continue;
                        }
                        AnswerColumns::OfSlots {
                            values: windows.clone(),
                            columns: window..next_window,
                        }
                    }
                };
                answers[number].1.push(column);
            }
        }
        Ok(answers)
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

/// Whether a view chooses between rows, and does not only count them.
pub(super) fn chooses(view: &ViewJoin) -> bool {
    let mut aggregations = view.aggregations.iter();
    !view.features.is_empty() || aggregations.any(|a| a.function == AggregateFunction::Last)
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
