//! Columns of row groups, encoded on some threads: each column takes its rows in order, however far the others are, so
//! that no thread waits for the slowest column of some rows.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, compute_leaves};
use parquet::errors::{ParquetError, Result};

use super::groups::GroupWriter;

/// Deals that some column has yet to take, at most.
const MOST_DEALS: usize = 2;
/// Row groups that are not passed on, at most: one that waits for an output that is slower, and one that is encoded.
const MOST_GROUPS: usize = 2;

/// Encodes row groups and passes them on in order. Dropped unfinished, it ends.
pub(super) struct Encoder {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    schema: SchemaRef,
    state: Mutex<State>,
    /// Told whenever there is something to encode, or less than there was.
    changed: Condvar,
}

struct State {
    /// Those that are not passed on, in order.
    groups: VecDeque<Group>,
    n_begun: usize,
    /// Not there while a thread passes a row group on.
    writer: Option<GroupWriter>,
    failure: Option<ParquetError>,
    /// Whether there was a failure, be it told or not.
    has_failed: bool,
    is_over: bool,
}

/// A row group that is being encoded.
struct Group {
    number: usize,
    /// Rows, until each column has taken them.
    deals: Vec<Option<Arc<Deal>>>,
    columns: Vec<Column>,
    /// Whether no more rows come.
    is_whole: bool,
}

type Deal = Vec<RecordBatch>;

/// What a top-level column becomes.
struct Column {
    /// `None` while a thread has them, and once they are closed.
    leaves: Option<Leaves>,
    /// Of those that it has taken.
    n_deals: usize,
    chunks: Option<Vec<ArrowColumnChunk>>,
}

/// One for a plain column, several for one that is nested.
type Leaves = Vec<ArrowColumnWriter>;

/// What is next for a column.
enum Step {
    Rows(Arc<Deal>),
    Close,
}

/// What became of a column.
enum Done {
    Taken(Leaves),
    Closed(Vec<ArrowColumnChunk>),
}

impl Encoder {
    /// # Errors
    /// If no thread can be started.
    pub(super) fn new(schema: SchemaRef, writer: GroupWriter, n_threads: usize) -> Result<Self> {
        let state = State {
            groups: VecDeque::new(),
            n_begun: 0,
            writer: Some(writer),
            failure: None,
            has_failed: false,
            is_over: false,
        };
        let shared = Arc::new(Shared {
            schema,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let mut encoder = Self {
            shared,
            threads: Vec::with_capacity(n_threads),
        };
        for _ in 0..n_threads.max(1) {
            let shared = encoder.shared.clone();
            let thread = std::thread::Builder::new().name("encode".to_owned());
            encoder.threads.push(thread.spawn(move || shared.work())?);
        }
        Ok(encoder)
    }

    /// Begins a row group with what its columns are written by, column after column.
    pub(super) fn begin(&self, writers: Vec<ArrowColumnWriter>) -> Result<()> {
        let mut writers = writers.into_iter();
        let mut columns = Vec::new();
        for field in self.shared.schema.fields() {
            let nothing = arrow_array::new_empty_array(field.data_type());
            let n_leaves = compute_leaves(field, &nothing)?.len();
            columns.push(Column {
                leaves: Some(writers.by_ref().take(n_leaves).collect()),
                n_deals: 0,
                chunks: None,
            });
        }
        let mut state = self.shared.lock();
        let number = state.n_begun;
        state.n_begun += 1;
        state.groups.push_back(Group {
            number,
            deals: Vec::new(),
            columns,
            is_whole: false,
        });
        Ok(())
    }

    /// Gives rows to the row group that was begun last, and waits as long as too many others wait.
    ///
    /// # Errors
    /// Why earlier rows could not be encoded or written.
    pub(super) fn deal(&self, rows: Deal) -> Result<()> {
        let has_room =
            |state: &State| state.n_deals() < MOST_DEALS && state.groups.len() <= MOST_GROUPS;
        let mut state = self.shared.wait(has_room)?;
        let Some(group) = state.groups.back_mut() else {
            return Err(defect("rows were dealt to no row group"));
        };
        group.deals.push(Some(Arc::new(rows)));
        group.let_go();
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Ends the row group that was begun last.
    pub(super) fn end(&self) {
        if let Some(group) = self.shared.lock().groups.back_mut() {
            group.is_whole = true;
        }
        self.shared.changed.notify_all();
    }

    /// Waits until all is encoded and written, the end of the file too.
    ///
    /// # Errors
    /// Why anything could not be encoded or written.
    pub(super) fn finish(self) -> Result<()> {
        let is_done = |state: &State| state.groups.is_empty() && state.writer.is_some();
        let writer = self.shared.wait(is_done)?.writer.take();
        match writer {
            Some(writer) => writer.close(),
            None => Err(defect("row groups were written by nobody")),
        }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state as soon as it is as wanted.
    fn wait(&self, is_wanted: impl Fn(&State) -> bool) -> Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        loop {
            if state.has_failed {
                let failure = state.failure.take();
                return Err(failure.unwrap_or_else(|| defect("rows before could not be written")));
            }
            if is_wanted(&state) {
                return Ok(state);
            }
            let changed = self.changed.wait(state);
            state = changed.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes the next step of some column, until it is over.
    fn work(&self) {
        let mut state = self.lock();
        while !state.is_over {
            if let Some((mut writer, chunks)) = state.take_whole() {
                drop(state);
                let written = writer.write(chunks);
                state = self.lock();
                state.writer = Some(writer);
                state.keep_failure(written);
            } else if let Some((group, at, leaves, step)) = state.take_column() {
                drop(state);
                let work = || self.take_step(at, leaves, step);
                let done = catch_unwind(AssertUnwindSafe(work));
                let done =
                    done.unwrap_or_else(|_| Err(defect("the thread that encodes columns failed")));
                state = self.lock();
                let done = done.map(|done| state.put_back(group, at, done));
                state.keep_failure(done);
            } else {
                let changed = self.changed.wait(state);
                state = changed.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            self.changed.notify_all();
        }
    }

    fn take_step(&self, column: usize, mut leaves: Leaves, step: Step) -> Result<Done> {
        match step {
            Step::Rows(rows) => {
                for batch in rows.iter() {
                    self.encode(column, &mut leaves, batch.column(column))?;
                }
                Ok(Done::Taken(leaves))
            }
            Step::Close => {
                let closed = leaves.into_iter().map(ArrowColumnWriter::close);
                closed.collect::<Result<_>>().map(Done::Closed)
            }
        }
    }

    fn encode(&self, column: usize, leaves: &mut Leaves, values: &ArrayRef) -> Result<()> {
        let computed = compute_leaves(self.schema.field(column), values)?;
        for (writer, leaf) in leaves.iter_mut().zip(&computed) {
            writer.write(leaf)?;
        }
        Ok(())
    }
}

impl State {
    fn n_deals(&self) -> usize {
        let deals = self.groups.iter().flat_map(|group| &group.deals);
        deals.filter(|deal| deal.is_some()).count()
    }

    fn keep_failure(&mut self, result: Result<()>) {
        if let Err(failure) = result {
            self.failure.get_or_insert(failure);
            self.has_failed = true;
            // Nothing more is to be encoded.
            self.groups.clear();
        }
    }

    /// The first row group if all its columns are closed, and who writes it.
    fn take_whole(&mut self) -> Option<(GroupWriter, Vec<ArrowColumnChunk>)> {
        let first = self.groups.front()?;
        let is_closed = first.columns.iter().all(|column| column.chunks.is_some());
        if !(first.is_whole && is_closed) {
            return None;
        }
        let writer = self.writer.take()?;
        let columns = self.groups.pop_front()?.columns.into_iter();
        let chunks = columns.filter_map(|column| column.chunks).flatten();
        Some((writer, chunks.collect()))
    }

    /// The column that lags most behind of those for which there is something to do, of the earliest row group: that
    /// group's number, the column's place, what it is written by and what is next for it.
    fn take_column(&mut self) -> Option<(usize, usize, Leaves, Step)> {
        for group in &mut self.groups {
            let (n_deals, is_whole) = (group.deals.len(), group.is_whole);
            let columns = group.columns.iter_mut().enumerate();
            let ready = columns.filter(|(_, column)| {
                column.leaves.is_some() && (is_whole || column.n_deals < n_deals)
            });
            let Some((at, column)) = ready.min_by_key(|(_, column)| column.n_deals) else {
                continue;
            };
            let step = match group.deals.get(column.n_deals) {
                Some(Some(rows)) => Step::Rows(rows.clone()),
                _ => Step::Close,
            };
            let leaves = column.leaves.take()?;
            return Some((group.number, at, leaves, step));
        }
        None
    }

    /// Puts a column back into its row group, unless that was given up.
    fn put_back(&mut self, number: usize, at: usize, done: Done) {
        let mut groups = self.groups.iter_mut();
        let Some(group) = groups.find(|group| group.number == number) else {
            return;
        };
        let column = &mut group.columns[at];
        match done {
            Done::Closed(chunks) => column.chunks = Some(chunks),
            Done::Taken(leaves) => {
                column.n_deals += 1;
                column.leaves = Some(leaves);
                group.let_go();
            }
        }
    }
}

impl Group {
    /// Lets go of rows that all columns have taken.
    fn let_go(&mut self) {
        let taken = self.columns.iter().map(|column| column.n_deals).min();
        let taken = taken.unwrap_or(self.deals.len());
        self.deals[..taken].fill(None);
    }
}

fn defect(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}
