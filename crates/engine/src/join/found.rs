//! What is found of a source's rows for all views that read it.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use provender_core::Result;
use provender_core::model::AggregateFunction;
use provender_core::request::ViewJoin;

use crate::accumulate::{WindowCells, WindowTree, window_aggregations};
use crate::matches::Matches;
use crate::source::{TimedRows, column, column_type};
use crate::spine::SpineIndex;
use crate::winners::Winners;

/// What is found of a source's rows for all views that read it.
#[derive(Debug)]
pub(super) struct Found {
    /// The winning rows, for the features of all views: a row that wins for one view wins for all
    /// of them whose ttl it is not too old for.
    pub(super) features: Option<Winners>,
    /// `last` is a point-in-time join of its own over the rows that are not null.
    pub(super) lasts: Vec<Last>,
    /// The other windows, where more than event times decides what counts.
    pub(super) trees: Vec<WindowTree>,
    /// Where event times alone do, by what each worker counted.
    pub(super) cells: Vec<WindowCells>,
}

/// What is found for `last` of one column.
#[derive(Debug)]
pub(super) struct Last {
    pub(super) column: String,
    pub(super) winners: Winners,
}

impl Found {
    /// Nothing found yet. `schema` is the source's. Rows are told apart by their events alone if `by_event`.
    pub(super) fn new(
        views: &[ViewJoin],
        schema: &SchemaRef,
        index: &SpineIndex,
        is_numbered: bool,
        by_event: bool,
    ) -> Result<Self> {
        let with_ties = views
            .first()
            .is_some_and(|view| !view.source.tie_breakers.is_empty());
        let copied = |columns: Vec<String>| -> Result<Winners> {
            let types = columns
                .iter()
                .map(|name| column_type(schema, name))
                .collect::<Result<_>>()?;
            Ok(Winners::copied(index.n_slots(), columns, types, with_ties))
        };
        let columns = feature_columns(views);
        let features = if columns.is_empty() {
            None
        } else if by_event {
            Some(Winners::by_event(index.n_slots()))
        } else if is_numbered {
            Some(Winners::numbered(index.n_slots(), with_ties))
        } else {
            Some(copied(columns)?)
        };
        let mut lasts: Vec<Last> = Vec::new();
        for request in views.iter().flat_map(|view| &view.aggregations) {
            if let (Some(column), AggregateFunction::Last) = (&request.column, request.function)
                && !lasts.iter().any(|last| last.column == *column)
            {
                lasts.push(Last {
                    column: column.clone(),
                    winners: copied(vec![column.clone()])?,
                });
            }
        }
        Ok(Self {
            features,
            lasts,
            trees: Vec::new(),
            cells: Vec::new(),
        })
    }

    /// Computes windows in trees.
    pub(super) fn plant(
        &mut self,
        views: &[ViewJoin],
        schema: &SchemaRef,
        index: &SpineIndex,
    ) -> Result<()> {
        let trees = window_aggregations(views)
            .map(|(view, request)| WindowTree::new(view, request, schema, index));
        self.trees = trees.collect::<Result<_>>()?;
        Ok(())
    }

    /// Whether it matters for which slots rows count.
    pub(super) fn chooses(&self) -> bool {
        self.features.is_some() || !self.lasts.is_empty() || !self.trees.is_empty()
    }

    /// Whether rows are told apart by their events alone, and too many of them cannot be.
    pub(super) fn has_many_ties(&self) -> bool {
        self.features.as_ref().is_some_and(Winners::has_many_ties)
    }

    /// Whether a row matters only where it is the winner of a slot.
    pub(super) fn chooses_winners_alone(&self) -> bool {
        self.features.is_some() && self.lasts.is_empty() && self.trees.is_empty()
    }

    /// Takes in a batch of source rows, whose matches have been found.
    pub(super) fn consume(
        &mut self,
        index: &SpineIndex,
        matches: &Matches,
        rows: &TimedRows,
        batch: &RecordBatch,
    ) -> Result<()> {
        if let Some(winners) = &mut self.features {
            winners.offer_all(matches, rows, batch, None)?;
        }
        for last in &mut self.lasts {
            let nulls = column(batch, &last.column)?.logical_nulls();
            last.winners
                .offer_all(matches, rows, batch, nulls.as_ref())?;
        }
        for tree in &mut self.trees {
            tree.consume(index, matches, rows, batch)?;
        }
        Ok(())
    }

    /// Bytes that are held.
    pub(super) fn memory(&self) -> usize {
        let features = self.features.as_ref().map_or(0, Winners::memory);
        let lasts: usize = self.lasts.iter().map(|last| last.winners.memory()).sum();
        let trees: usize = self.trees.iter().map(WindowTree::memory).sum();
        let cells: usize = self.cells.iter().map(WindowCells::memory).sum();
        features + lasts + trees + cells
    }

    /// Takes in what another worker found over the same index.
    pub(super) fn merge(&mut self, other: Self, n_threads: usize) {
        if let (Some(ours), Some(theirs)) = (&mut self.features, other.features) {
            ours.merge(theirs, n_threads);
        }
        for (ours, theirs) in self.lasts.iter_mut().zip(other.lasts) {
            ours.winners.merge(theirs.winners, n_threads);
        }
        for (ours, theirs) in self.trees.iter_mut().zip(other.trees) {
            ours.merge(&theirs);
        }
        self.cells.extend(other.cells);
    }
}

/// The columns of all views' features, each once.
pub(super) fn feature_columns(views: &[ViewJoin]) -> Vec<String> {
    let mut columns: Vec<String> = views
        .iter()
        .flat_map(|view| view.features.iter().map(|feature| feature.column.clone()))
        .collect();
    columns.sort();
    columns.dedup();
    columns
}
