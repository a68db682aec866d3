//! An offline store of tables in memory, which pushes nothing down unless it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::{BooleanArray, RecordBatch, new_null_array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use async_trait::async_trait;
use provender_core::error::{Error, ErrorKind, Result, codes};
use provender_core::model::{Relation, SourceVersion};
use provender_core::names::did_you_mean;
use provender_core::provider::{
    OfflineCapabilities, OfflineStore, Provider, ProviderInfo, RowAccess, unsupported,
};
use provender_core::request::{
    ColumnRange, LatestPerKey, Maintenance, MaintenanceSummary, MaintenanceWork, OfflineRequest,
    OfflineWrite, PointInTimeJoin, Scan, SourceRef, Spine, WindowsAt, WriteMode, WriteSummary,
};
use provender_core::time::to_instants;
use provender_core::{BatchStream, Context};
use rand::Rng;

use super::pushdown;
use super::rows::MemoryRows;
use crate::oracle::Value;
use crate::{Table, Tables};

/// How a [`MemoryOfflineStore`] answers scans, within what the trait allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanShape {
    /// How many streams there are; batches are dealt to them in turn. At least one.
    pub n_partitions: usize,
    /// Leaves out all rows outside of the asked ranges, instead of none.
    pub applies_ranges: bool,
    /// Lets rows be read by number.
    pub has_row_access: bool,
}

impl ScanShape {
    /// One stream of all rows.
    pub const PLAIN: Self = Self {
        n_partitions: 1,
        applies_ranges: false,
        has_row_access: false,
    };

    pub(crate) fn random(rng: &mut impl Rng) -> Self {
        Self {
            n_partitions: rng.random_range(1..=3),
            applies_ranges: rng.random(),
            has_row_access: rng.random(),
        }
    }
}

/// Tables in memory. Declares writing, deleting and, if its scans have that shape, rows by number, and
/// nothing else, so that everything is computed over its scans; or all that needs no SQL, if it is made
/// so. Clones share their tables.
#[derive(Clone, Debug)]
pub struct MemoryOfflineStore {
    state: Arc<Mutex<State>>,
    scan_shape: ScanShape,
    offers_all: bool,
}

#[derive(Debug, Default)]
struct State {
    tables: Tables,
    write_ids: BTreeSet<(String, String)>,
    /// Every state of each table, oldest first.
    states: BTreeMap<String, Vec<Table>>,
}

impl State {
    fn put(&mut self, name: String, table: Table) {
        let states = self.states.entry(name.clone()).or_default();
        states.push(table.clone());
        self.tables.insert(name, table);
    }
}

static NAMED: Mutex<BTreeMap<String, MemoryOfflineStore>> = Mutex::new(BTreeMap::new());

impl MemoryOfflineStore {
    /// A store that holds these tables and answers scans in two streams, ranges not applied, and rows
    /// by number not at all.
    pub fn new(tables: Tables) -> Self {
        let mut state = State::default();
        for (name, table) in tables {
            state.put(name, table);
        }
        Self {
            state: Arc::new(Mutex::new(state)),
            scan_shape: ScanShape {
                n_partitions: 2,
                applies_ranges: false,
                has_row_access: false,
            },
            offers_all: false,
        }
    }

    /// The same, declaring and doing all that needs no SQL: joins, latest rows and windows as the oracle
    /// says them, past states, rows by number, new columns and maintenance.
    #[must_use]
    pub fn offering_all(mut self) -> Self {
        self.offers_all = true;
        self.scan_shape.has_row_access = true;
        self
    }

    /// The store without tables that this process knows by a name, made when it is first asked for.
    pub fn named(name: &str) -> Self {
        let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Self::new(Tables::new());
        named.entry(name.to_owned()).or_insert_with(new).clone()
    }

    /// The same, answering scans in another shape.
    #[must_use]
    pub fn with_scan_shape(mut self, scan_shape: ScanShape) -> Self {
        self.scan_shape = scan_shape;
        self
    }

    /// The tables as they are now.
    pub fn tables(&self) -> Tables {
        self.state().tables.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self, source: &SourceRef) -> Result<Table> {
        let name = self.table_name(source)?;
        let state = self.state();
        if let Some(version) = &source.version {
            let at = match version {
                SourceVersion::Number(number) => usize::try_from(*number).ok(),
                _ => None,
            };
            let states = state.states.get(name);
            let found = states.zip(at).and_then(|(states, at)| states.get(at));
            return found.cloned().ok_or_else(|| {
                Error::new(
                    &codes::VERSION_GONE,
                    format!("table {name:?} in memory has no version {version:?}"),
                )
            });
        }
        state.tables.get(name).cloned().ok_or_else(|| {
            let known = state.tables.keys().map(String::as_str);
            Error::new(
                &codes::MISSING_TABLE,
                format!("there is no table {name:?} in memory"),
            )
            .with_kind(ErrorKind::NotFound)
            .help(did_you_mean(name, known))
        })
    }

    /// What a scan asks for, ranges applied if they are at all.
    fn selected(&self, scan: &Scan) -> Result<Table> {
        let table = self.table(&scan.source)?;
        let columns = match &scan.columns {
            None => (0..table.schema.fields().len()).collect(),
            Some(names) => names
                .iter()
                .map(|name| column_index(&table.schema, name, &scan.source))
                .collect::<Result<Vec<_>>>()?,
        };
        let schema = table.schema.project(&columns).map_err(internal)?;
        let batches = table.batches.into_iter().map(|mut batch| {
            if self.scan_shape.applies_ranges {
                batch = rows_inside(&batch, &scan.ranges, &scan.source)?;
            }
            batch.project(&columns).map_err(internal)
        });
        Ok(Table {
            batches: batches.collect::<Result<_>>()?,
            schema: SchemaRef::new(schema),
        })
    }

    fn table_name<'a>(&self, source: &'a SourceRef) -> Result<&'a str> {
        if source.filter.is_some() {
            return Err(unsupported(&self.info(), "filters"));
        }
        if source.version.is_some() && !self.offers_all {
            return Err(unsupported(&self.info(), "versions"));
        }
        match &source.relation {
            Relation::Table(name) => Ok(name),
            Relation::Query(_) => Err(unsupported(&self.info(), "queries")),
        }
    }
}

#[async_trait]
impl Provider for MemoryOfflineStore {
    fn info(&self) -> ProviderInfo {
        ProviderInfo {
            scheme: "memory".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            display_name: "tables in memory".to_owned(),
        }
    }

    async fn check(&self, cx: &Context) -> Result<Vec<String>> {
        cx.check()?;
        Ok(Vec::new())
    }
}

#[async_trait]
impl OfflineStore for MemoryOfflineStore {
    fn capabilities(&self) -> OfflineCapabilities {
        let mut capabilities = OfflineCapabilities::default();
        capabilities.write = true;
        capabilities.delete = true;
        capabilities.row_access = self.scan_shape.has_row_access;
        capabilities.point_in_time_join = self.offers_all;
        capabilities.point_in_time_windows = self.offers_all;
        capabilities.sql_spine = self.offers_all;
        capabilities.latest = self.offers_all;
        capabilities.windows = self.offers_all;
        capabilities.versions = self.offers_all;
        capabilities.new_columns = self.offers_all;
        capabilities.maintenance = self.offers_all;
        capabilities
    }

    async fn schema(&self, cx: &Context, source: &SourceRef) -> Result<SchemaRef> {
        cx.check()?;
        Ok(self.table(source)?.schema)
    }

    async fn scan(&self, cx: &Context, scan: Scan) -> Result<Vec<BatchStream>> {
        cx.check()?;
        let selected = self.selected(&scan)?;
        let n_partitions = self.scan_shape.n_partitions.max(1);
        let mut partitions = vec![Vec::new(); n_partitions];
        for (at, batch) in selected.batches.into_iter().enumerate() {
            partitions[at % n_partitions].push(batch);
        }
        Ok(partitions
            .into_iter()
            .map(|batches| BatchStream::from_batches(selected.schema.clone(), batches))
            .collect())
    }

    async fn open_rows(&self, cx: &Context, scan: Scan) -> Result<Option<Arc<dyn RowAccess>>> {
        cx.check()?;
        if !self.scan_shape.has_row_access {
            return Err(unsupported(&self.info(), "reading single rows"));
        }
        let n_partitions = self.scan_shape.n_partitions.max(1);
        Ok(Some(Arc::new(MemoryRows::new(
            self.selected(&scan)?,
            n_partitions,
        ))))
    }

    async fn point_in_time_join(
        &self,
        cx: &Context,
        join: PointInTimeJoin,
        spine: Spine,
    ) -> Result<BatchStream> {
        if !self.offers_all {
            return Err(unsupported(&self.info(), "point-in-time joins"));
        }
        cx.check()?;
        for view in &join.views {
            self.table(&view.source.source)?;
        }
        pushdown::join(&self.tables(), &join, spine).await
    }

    async fn latest(&self, cx: &Context, latest: LatestPerKey) -> Result<BatchStream> {
        if !self.offers_all {
            return Err(unsupported(&self.info(), "the latest row per key"));
        }
        cx.check()?;
        self.table(&latest.source.source)?;
        pushdown::latest(&self.tables(), &latest)
    }

    async fn windows(&self, cx: &Context, windows: WindowsAt) -> Result<BatchStream> {
        if !self.offers_all {
            return Err(unsupported(&self.info(), "windows"));
        }
        cx.check()?;
        self.table(&windows.source.source)?;
        pushdown::windows(&self.tables(), &windows)
    }

    async fn write(
        &self,
        cx: &Context,
        write: OfflineWrite,
        rows: BatchStream,
    ) -> Result<WriteSummary> {
        cx.check()?;
        let added = Table::collect(rows).await?;
        let mut state = self.state();
        let id = write.id.map(|id| (write.table.clone(), id));
        if id.as_ref().is_some_and(|id| state.write_ids.contains(id)) {
            return Ok(WriteSummary::default());
        }
        let n_rows = added.n_rows() as u64;
        let held = state.tables.get(&write.table).cloned();
        let table = match (held, write.mode) {
            (_, WriteMode::Extend) if !self.offers_all => {
                return Err(unsupported(&self.info(), "new columns in a table"));
            }
            (Some(mut table), WriteMode::Append | WriteMode::Extend) => {
                if write.mode == WriteMode::Extend {
                    table = with_columns_of(&table, &added.schema)?;
                }
                check_same_columns(&write.table, &table.schema, &added.schema)?;
                for batch in added.batches {
                    // The table keeps its own metadata and nullability.
                    let batch = RecordBatch::try_new(table.schema.clone(), batch.columns().into());
                    table.batches.push(batch.map_err(internal)?);
                }
                table
            }
            _ => added,
        };
        state.put(write.table, table);
        state.write_ids.extend(id);
        Ok(WriteSummary {
            n_rows,
            n_applied: n_rows,
            version: None,
        })
    }

    async fn delete(&self, cx: &Context, source: &SourceRef, keys: RecordBatch) -> Result<()> {
        cx.check()?;
        let mut table = self.table(source)?;
        let mut deleted = Vec::new();
        for row in 0..keys.num_rows() {
            deleted.push(read_row(&keys, row)?);
        }
        let columns = keys
            .schema()
            .fields()
            .iter()
            .map(|field| column_index(&table.schema, field.name(), source))
            .collect::<Result<Vec<_>>>()?;
        for batch in &mut table.batches {
            let asked = batch.project(&columns).map_err(internal)?;
            let mut kept = Vec::new();
            for row in 0..batch.num_rows() {
                let key = read_row(&asked, row)?;
                kept.push(!deleted.iter().any(|deleted| is_same_key(deleted, &key)));
            }
            *batch = filter_record_batch(batch, &BooleanArray::from(kept)).map_err(internal)?;
        }
        let name = self.table_name(source)?.to_owned();
        self.state().put(name, table);
        Ok(())
    }

    async fn maintain(&self, cx: &Context, work: Maintenance) -> Result<MaintenanceSummary> {
        if !self.offers_all {
            return Err(unsupported(&self.info(), "looking after tables"));
        }
        cx.check()?;
        let mut table = self.table(&SourceRef::table(&work.table))?;
        let mut summary = MaintenanceSummary::default();
        if matches!(work.work, MaintenanceWork::Optimise(_)) {
            summary.n_removed = table.batches.len() as u64;
            let whole = table
                .one_batch()
                .map_err(|why| Error::new(&codes::INTERNAL, why))?;
            table = Table::of(whole);
            summary.n_added = 1;
            self.state().put(work.table, table.clone());
        }
        summary.n_files = table.batches.len() as u64;
        Ok(summary)
    }

    async fn explain(&self, _cx: &Context, _request: &OfflineRequest) -> Result<String> {
        Err(unsupported(&self.info(), "explaining requests"))
    }

    async fn pin(&self, cx: &Context, source: &SourceRef) -> Result<SourceVersion> {
        if !self.offers_all {
            return Err(unsupported(&self.info(), "versions"));
        }
        cx.check()?;
        self.table(source)?;
        if let Some(version) = &source.version {
            return Ok(version.clone());
        }
        let name = self.table_name(source)?;
        let n_states = self.state().states.get(name).map_or(0, Vec::len);
        Ok(SourceVersion::Number(n_states.saturating_sub(1) as u64))
    }
}

fn column_index(schema: &Schema, name: &str, source: &SourceRef) -> Result<usize> {
    schema.index_of(name).map_err(|_| {
        let known = schema.fields().iter().map(|field| field.name().as_str());
        Error::new(
            &codes::MISSING_COLUMN,
            format!("{} has no column {name:?}", source.describe()),
        )
        .help(did_you_mean(name, known))
    })
}

fn rows_inside(
    batch: &RecordBatch,
    ranges: &[ColumnRange],
    source: &SourceRef,
) -> Result<RecordBatch> {
    let mut inside = vec![true; batch.num_rows()];
    for range in ranges {
        let column = column_index(&batch.schema(), &range.column, source)?;
        let instants = to_instants(batch.column(column))?;
        for (inside, instant_us) in inside.iter_mut().zip(&instants) {
            *inside &= instant_us.is_some_and(|us| {
                range.min_us.is_none_or(|min_us| min_us <= us)
                    && range.max_us.is_none_or(|max_us| us <= max_us)
            });
        }
    }
    filter_record_batch(batch, &BooleanArray::from(inside)).map_err(internal)
}

/// The table with the columns that it lacks, null in its rows.
fn with_columns_of(table: &Table, added: &Schema) -> Result<Table> {
    let lacks = |field: &&Arc<Field>| table.schema.index_of(field.name()).is_err();
    let new: Vec<_> = added.fields().iter().filter(lacks).cloned().collect();
    let fields: Vec<_> = table
        .schema
        .fields()
        .iter()
        .cloned()
        .chain(new.clone())
        .collect();
    let schema = SchemaRef::new(Schema::new(fields));
    let batches = table.batches.iter().map(|batch| {
        let mut columns = batch.columns().to_vec();
        let nulls = new
            .iter()
            .map(|field| new_null_array(field.data_type(), batch.num_rows()));
        columns.extend(nulls);
        RecordBatch::try_new(schema.clone(), columns).map_err(internal)
    });
    Ok(Table {
        batches: batches.collect::<Result<_>>()?,
        schema,
    })
}

fn check_same_columns(table: &str, held: &Schema, added: &Schema) -> Result<()> {
    let columns = |schema: &Schema| -> Vec<(String, DataType)> {
        let fields = schema.fields().iter();
        fields
            .map(|field| (field.name().clone(), field.data_type().clone()))
            .collect()
    };
    let (held, added) = (columns(held), columns(added));
    if held == added {
        return Ok(());
    }
    let differing = |a: &[(String, DataType)], b: &[(String, DataType)]| -> Vec<String> {
        a.iter()
            .filter(|column| !b.contains(column))
            .map(|(name, data_type)| format!("{name} {data_type}"))
            .collect()
    };
    Err(Error::new(
        &codes::TABLE_EXISTS,
        format!(
            "the rows do not fit table {table:?}: only the table has [{}], only the rows have [{}]",
            differing(&held, &added).join(", "),
            differing(&added, &held).join(", ")
        ),
    )
    .help("write rows with the table's columns, in its order"))
}

fn read_row(batch: &RecordBatch, row: usize) -> Result<Vec<Value>> {
    batch
        .columns()
        .iter()
        .map(|column| {
            Value::read(column.as_ref(), row)
                .map_err(|why| Error::new(&codes::BAD_REQUEST, format!("a key: {why}")))
        })
        .collect()
}

fn is_same_key(a: &[Value], b: &[Value]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.is_identical(b))
}

pub(super) fn internal(error: arrow_schema::ArrowError) -> Error {
    Error::new(&codes::INTERNAL, "rows in memory cannot be cut").source(error)
}
