//! One view's run: read under a lease, put aside, written, recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures::StreamExt;
use provender_core::model::FeatureView;
use provender_core::provider::{Interval, OnlineStore, Resources, ViewVersion};
use provender_core::request::{SourceRef, ViewLayout, WriteSummary};
use provender_core::time::format_instant;
use provender_core::{BatchStream, Context, Error, Result, codes};
use provender_engine::spill::{SpillBuffer, Spilled};

use super::interval::{Work, covers, known_part};
use super::lease::{HeldLease, Terms};
use super::progress::{Counted, Reporter};
use super::reading::asks;
use super::rows::RowShape;
use super::{MaterializeRange, MaterializedView};
use crate::FeatureStore;
use crate::checkpoints::Checkpoint;
use crate::plan::source_schema;
use crate::request::source::bind;
use crate::training::first_problem;

/// A materialisation of one version of a view.
pub(super) struct ViewRun {
    pub(super) store: FeatureStore,
    pub(super) cx: Context,
    pub(super) version: ViewVersion,
    pub(super) view: Arc<FeatureView>,
    pub(super) range: MaterializeRange,
    /// When the whole call started.
    pub(super) now_us: i64,
    /// This run's share.
    pub(super) resources: Resources,
    pub(super) reporter: Arc<Reporter>,
}

impl ViewRun {
    /// Does it, unless another run of this view goes on. Ends early when the call is cancelled or
    /// late, or the lease is lost; the lease is given back in any case.
    ///
    /// # Errors
    /// See [`FeatureStore::materialize`].
    pub(super) async fn run(self) -> Result<MaterializedView> {
        let started = Instant::now();
        let name = format!("materialize/{}@{}", self.version.view, self.version.version);
        let registry = self.store.registry();
        let (lease, lost) = HeldLease::acquire(registry, &self.cx, &name, Terms::RUN).await?;
        let outcome = tokio::select! {
            biased;
            error = lost.wait() => Err(error),
            error = stopped(&self.cx) => Err(error),
            outcome = self.under(&lease, started) => outcome,
        };
        lease.release().await;
        if let Ok(done) = &outcome {
            self.reporter.done(done);
        }
        outcome
    }

    async fn under(&self, lease: &HeldLease, started: Instant) -> Result<MaterializedView> {
        // A store that cannot be opened is found before all rows are read.
        let name = self.view.online_store.as_deref();
        let online = self.store.stores().online(&self.cx, name).await?;
        let online = online.as_ref();
        let mut held = self
            .store
            .checkpoint(&self.cx, online, &self.version)
            .await?;
        loop {
            match self.attempt(lease, started, online, held).await {
                // The store lost rows while the run was on.
                Err(error) if error.code() == codes::ONLINE_LOST.id && !held.is_lost => {
                    held.is_lost = true;
                }
                outcome => return outcome,
            }
        }
    }

    /// Materialises by what is known of the rows held.
    async fn attempt(
        &self,
        lease: &HeldLease,
        started: Instant,
        online: &dyn OnlineStore,
        held: Checkpoint,
    ) -> Result<MaterializedView> {
        let (cx, store) = (&self.cx, &self.store);
        let done = |interval, summary, skipped, lost| MaterializedView {
            view: self.version.clone(),
            interval,
            summary,
            elapsed: started.elapsed(),
            skipped,
            lost,
        };
        let recorded = store.registry().intervals(cx, &self.version).await?;
        let work = self.range.work(&recorded, held.is_lost, self.now_us);
        let interval = match work {
            Work::Run(interval) => interval,
            Work::Nothing { done: last, why } => {
                return Ok(done(last, WriteSummary::default(), Some(why), None));
            }
        };
        let last_end_us = recorded.last().map(|last| last.end_us);
        let (layout, rows) = self.read(interval, last_end_us).await?;
        lease.confirm().await?;
        let summary = self.write(online, &layout, &rows).await?;
        lease.confirm().await?;
        let is_filled_again = held.is_lost && covers(interval, &recorded);
        // Kept before the interval: a run that is killed in between is done again. A loss that was not made
        // up for keeps its checkpoint, so that the next run finds it too.
        if !held.is_lost || is_filled_again {
            let since = held.number.filter(|_| !held.is_lost);
            store
                .make_checkpoint(cx, online, &self.version, since)
                .await?;
        }
        if let Some(known) = known_part(interval, self.now_us) {
            let registry = store.registry();
            registry.record_interval(cx, &self.version, known).await?;
        }
        let lost = match held.is_lost {
            true => Some(self.told(online, interval, is_filled_again).await?),
            false => None,
        };
        Ok(done(interval, summary, None, lost))
    }

    /// What is said of a loss.
    async fn told(
        &self,
        online: &dyn OnlineStore,
        interval: Interval,
        is_filled_again: bool,
    ) -> Result<String> {
        let loss = self.store.loss_of(&self.cx, online, &self.version).await?;
        let what = loss.what();
        Ok(match (is_filled_again, interval.start_us) {
            (false, _) => format!(
                "{what}, and only this range was written; `provender materialize-incremental` fills the rest again{}",
                loss.of_pushes()
            ),
            (true, None) => format!(
                "{what}, so the view was filled again from the beginning{}",
                loss.of_pushes()
            ),
            (true, Some(start_us)) => format!(
                "{what}, so the view was filled again from {}, where it had begun{}",
                format_instant(start_us),
                loss.of_pushes()
            ),
        })
    }

    /// Reads everything that is to be written, so that how much it is is known, and a source that
    /// fails half way has changed nothing.
    async fn read(
        &self,
        interval: Interval,
        last_end_us: Option<i64>,
    ) -> Result<(ViewLayout, Spilled)> {
        let (cx, view) = (&self.cx, &self.view);
        let source = &view.source;
        let name = source.store.as_deref();
        let schema = source_schema(&self.store, cx, name, &SourceRef::from(source))
            .await
            .map_err(|error| error.context("source", source.name.clone()))?;
        let wanted: Vec<usize> = (0..view.outputs().len()).collect();
        let bound = bind(view, &schema, &wanted).map_err(first_problem)?;
        let layout = ViewLayout::of(&self.version.project, self.version.version, view)?;
        let store = self.store.stores().offline(cx, name).await?;
        let counted = Arc::new(Counted {
            store: store.clone(),
            reporter: self.reporter.clone(),
        });
        let mut kept: Option<(RowShape, SpillBuffer)> = None;
        for ask in asks(view, &bound, interval, last_end_us)? {
            let is_pushed_down = ask.is_pushed_down(store.as_ref());
            let mut answer = ask.answer(cx, &self.resources, counted.clone()).await?;
            let shape = RowShape::of(&ask, &layout, &answer.schema, store.info())?;
            let mut buffer = match kept.take() {
                None => SpillBuffer::new(&self.resources, shape.schema().clone()),
                Some((first, buffer)) if first.layout == shape.layout => buffer,
                Some((first, _)) => return Err(differing(&first.layout, &shape.layout)),
            };
            while let Some(batch) = answer.batches.next().await {
                cx.check()?;
                let batch = batch?;
                if is_pushed_down {
                    self.reporter.read(batch.num_rows());
                }
                if batch.num_rows() > 0 {
                    buffer.push(shape.rows(&batch)?).await?;
                }
            }
            kept = Some((shape, buffer));
        }
        self.reporter.read_all();
        let (shape, buffer) =
            kept.ok_or_else(|| Error::new(&codes::INTERNAL, "an interval asks for nothing"))?;
        Ok((shape.layout, buffer.finish()?))
    }

    async fn write(
        &self,
        online: &dyn OnlineStore,
        layout: &ViewLayout,
        rows: &Spilled,
    ) -> Result<WriteSummary> {
        let n_total = rows.n_rows();
        if n_total == 0 {
            self.reporter.written(0, 0);
            return Ok(WriteSummary::default());
        }
        let stream = rows.stream();
        let (cx, reporter) = (self.cx.clone(), self.reporter.clone());
        let n_taken = Arc::new(AtomicU64::new(0));
        let taken = n_taken.clone();
        let batches = stream.batches.map(move |batch| {
            cx.check()?;
            let batch = batch?;
            let n_rows = batch.num_rows() as u64;
            // A batch that is asked for says that those before it were taken in.
            let n_before = taken.fetch_add(n_rows, Ordering::Relaxed);
            if n_before > 0 {
                reporter.written(n_before, n_total);
            }
            Ok(batch)
        });
        let summary = online
            .write(&self.cx, layout, BatchStream::new(stream.schema, batches))
            .await?;
        let n_taken = n_taken.load(Ordering::Relaxed);
        if n_taken != n_total {
            let info = online.info();
            return Err(Error::new(
                &codes::PROVIDER_CONTRACT,
                format!(
                    "{} was given {n_total} rows to write, took {n_taken} of them and said that it was done",
                    info.display_name
                ),
            )
            .context("provider", info.scheme));
        }
        self.reporter.written(n_total, n_total);
        Ok(summary)
    }
}

/// Ends with the reason once the call is cancelled or late.
async fn stopped(cx: &Context) -> Error {
    loop {
        match cx.remaining() {
            None => cx.cancelled().await,
            Some(left) => tokio::select! {
                () = cx.cancelled() => {}
                () = tokio::time::sleep(left) => {}
            },
        }
        if let Err(error) = cx.check() {
            return error;
        }
    }
}

fn differing(first: &ViewLayout, second: &ViewLayout) -> Error {
    let types = |layout: &ViewLayout| {
        let types = layout.tie_breakers.iter().map(ToString::to_string);
        types.collect::<Vec<_>>().join(", ")
    };
    Error::new(
        &codes::PROVIDER_CONTRACT,
        format!(
            "two answers about one source have tie breakers of the types [{}] and [{}]",
            types(first),
            types(second)
        ),
    )
}
