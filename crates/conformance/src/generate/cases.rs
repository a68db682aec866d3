//! Whole cases: tables and a request, as a seed gives them.

use std::fmt;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use provender_core::request::{ColumnRange, LatestPerKey, PointInTimeJoin, ViewJoin, WindowsAt};
use provender_core::time::instant_type;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::build;
use super::types::{key_pool, pick};
use super::world::{World, split};
use crate::memory::{MemoryOfflineStore, ScanShape};
use crate::oracle::Value;
use crate::{SpineTable, Table, Tables};

/// A point-in-time join over random tables.
#[derive(Clone, Debug)]
pub struct JoinCase {
    /// What makes this case again.
    pub seed: u64,
    /// The sources' tables.
    pub tables: Tables,
    /// The request.
    pub join: PointInTimeJoin,
    /// The spine.
    pub spine: SpineTable,
    /// How the store answers scans.
    pub scan: ScanShape,
    /// A memory limit too small for the case's rows, if the case is one that should spill.
    pub memory_limit_bytes: Option<u64>,
}

/// The latest rows per key of a random table.
#[derive(Clone, Debug)]
pub struct LatestCase {
    /// What makes this case again.
    pub seed: u64,
    /// The table, by its name.
    pub tables: Tables,
    /// The request.
    pub latest: LatestPerKey,
    /// How the store answers scans.
    pub scan: ScanShape,
    /// A memory limit too small for the case's rows, if the case is one that should spill.
    pub memory_limit_bytes: Option<u64>,
}

/// Windows as of an instant over a random table.
#[derive(Clone, Debug)]
pub struct WindowsCase {
    /// What makes this case again.
    pub seed: u64,
    /// The table, by its name.
    pub tables: Tables,
    /// The request.
    pub windows: WindowsAt,
    /// How the store answers scans.
    pub scan: ScanShape,
    /// A memory limit too small for the case's rows, if the case is one that should spill.
    pub memory_limit_bytes: Option<u64>,
}

impl JoinCase {
    /// The case of a seed.
    ///
    /// # Errors
    /// A text if Arrow refuses a column; a defect of the generator.
    pub fn random(seed: u64) -> Result<Self, String> {
        let mut rng = StdRng::seed_from_u64(seed);
        let world = World::random(&mut rng)?;
        let mut views = Vec::new();
        let mut lengths_us = Vec::new();
        for at in 0..rng.random_range(1..=4) {
            let view = random_view(&mut rng, &world, at);
            lengths_us.extend(view.ttl_us);
            lengths_us.extend(view.aggregations.iter().map(|a| a.window_us));
            views.push(view);
        }
        let can_be_known = |view: &ViewJoin| view.source.created_timestamp.is_some();
        let join = PointInTimeJoin {
            as_known: views.iter().all(can_be_known) && rng.random(),
            views,
        };
        let spine = random_spine(&mut rng, &world, &join, &lengths_us)?;
        let used = |name: &String| {
            let mut views = join.views.iter();
            views.any(|view| view.source.source.describe() == format!("table {name:?}"))
        };
        let mut tables = world.rows;
        tables.retain(|name, _| used(name));
        Ok(Self {
            seed,
            tables,
            join,
            spine,
            scan: ScanShape::random(&mut rng),
            memory_limit_bytes: small_limit(&mut rng),
        })
    }

    /// A store that holds the case's tables.
    pub fn store(&self) -> Arc<MemoryOfflineStore> {
        Arc::new(MemoryOfflineStore::new(self.tables.clone()).with_scan_shape(self.scan))
    }
}

impl LatestCase {
    /// The case of a seed.
    ///
    /// # Errors
    /// A text if Arrow refuses a column; a defect of the generator.
    pub fn random(seed: u64) -> Result<Self, String> {
        let mut rng = StdRng::seed_from_u64(seed);
        let world = World::random(&mut rng)?;
        let table = pick(&mut rng, &world.tables);
        let mut ranges = Vec::new();
        for column in [
            Some(&table.source.timestamp),
            table.source.created_timestamp.as_ref(),
        ]
        .into_iter()
        .flatten()
        {
            if rng.random_bool(0.4) {
                let mut bound = || {
                    rng.random_bool(0.7)
                        .then(|| world.asked_instant(&mut rng, &[]))
                };
                ranges.push(ColumnRange {
                    column: column.clone(),
                    min_us: bound(),
                    max_us: bound(),
                });
            }
        }
        let latest = LatestPerKey {
            source: table.source.clone(),
            keys: table.view_keys(&mut rng, &world.keys, |_, key| format!("out {}", key.name)),
            features: table.view_features(&mut rng, &world.keys, "f"),
            ranges,
        };
        let name = table.name.clone();
        let mut tables = world.rows;
        tables.retain(|other, _| *other == name);
        Ok(Self {
            seed,
            tables,
            latest,
            scan: ScanShape::random(&mut rng),
            memory_limit_bytes: small_limit(&mut rng),
        })
    }

    /// A store that holds the case's table.
    pub fn store(&self) -> Arc<MemoryOfflineStore> {
        Arc::new(MemoryOfflineStore::new(self.tables.clone()).with_scan_shape(self.scan))
    }
}

impl WindowsCase {
    /// The case of a seed.
    ///
    /// # Errors
    /// A text if Arrow refuses a column; a defect of the generator.
    pub fn random(seed: u64) -> Result<Self, String> {
        let mut rng = StdRng::seed_from_u64(seed);
        let world = World::random(&mut rng)?;
        let table = pick(&mut rng, &world.tables);
        let aggregations = table.view_aggregations(&mut rng, &world, "w");
        let lengths_us: Vec<i64> = aggregations.iter().map(|a| a.window_us).collect();
        let at_us = world.asked_instant(&mut rng, &lengths_us);
        let active_after_us = match rng.random_range(0..4) {
            0 => i64::MIN,
            1 => at_us.saturating_sub(*pick(&mut rng, &lengths_us)),
            _ => at_us.saturating_sub(world.length_us(&mut rng)),
        };
        let windows = WindowsAt {
            source: table.source.clone(),
            keys: table.view_keys(&mut rng, &world.keys, |_, key| format!("out {}", key.name)),
            aggregations,
            at_us,
            active_after_us,
        };
        let name = table.name.clone();
        let mut tables = world.rows;
        tables.retain(|other, _| *other == name);
        Ok(Self {
            seed,
            tables,
            windows,
            scan: ScanShape::random(&mut rng),
            memory_limit_bytes: small_limit(&mut rng),
        })
    }

    /// A store that holds the case's table.
    pub fn store(&self) -> Arc<MemoryOfflineStore> {
        Arc::new(MemoryOfflineStore::new(self.tables.clone()).with_scan_shape(self.scan))
    }
}

/// For a share of the cases a limit that many of them exceed; the least of them may be too small for
/// the rows of one key, which no spilling helps.
fn small_limit(rng: &mut StdRng) -> Option<u64> {
    let limits = [1 << 10, 8 << 10, 32 << 10];
    rng.random_bool(0.2).then(|| *pick(rng, &limits))
}

fn random_view(rng: &mut StdRng, world: &World, at: usize) -> ViewJoin {
    let table = pick(rng, &world.tables);
    // Under an alias, a view's keys may be read from other columns of the spine.
    let is_alias = rng.random_bool(0.3);
    let keys = table.view_keys(rng, &world.keys, |rng, key| {
        if is_alias && rng.random_bool(0.7) {
            format!("{}_alt", key.name)
        } else {
            key.name.clone()
        }
    });
    let prefix = format!("v{at}_f");
    let mut view = ViewJoin {
        name: format!("view{at}"),
        source: table.source.clone(),
        keys,
        ttl_us: None,
        features: Vec::new(),
        aggregations: Vec::new(),
    };
    if rng.random_bool(0.35) {
        view.aggregations = table.view_aggregations(rng, world, &prefix);
    } else {
        view.features = table.view_features(rng, &world.keys, &prefix);
        view.ttl_us = rng.random_bool(0.6).then(|| world.length_us(rng));
    }
    view
}

fn random_spine(
    rng: &mut StdRng,
    world: &World,
    join: &PointInTimeJoin,
    lengths_us: &[i64],
) -> Result<SpineTable, String> {
    let n_rows = match rng.random_range(0..12) {
        0 => 0,
        1 => 1,
        _ => rng.random_range(2..=30),
    };
    let mut columns: Vec<(Field, ArrayRef)> = Vec::new();
    for key in join.views.iter().flat_map(|view| &view.keys) {
        if columns.iter().any(|(field, _)| *field.name() == key.spine) {
            continue;
        }
        let mut pool = key_pool(rng, &key.value_type);
        pool.truncate(1);
        for known in &world.keys {
            if key.spine.strip_suffix("_alt").unwrap_or(&key.spine) == known.name {
                pool.extend(known.pool.iter().cloned());
                pool.extend(known.pool.iter().cloned());
            }
        }
        let values = random_column(rng, n_rows, 0.07, |rng| pick(rng, &pool).clone());
        columns.push(column(&key.spine, &key.value_type.to_arrow(), &values)?);
    }
    let timestamp = pick(rng, &["event_timestamp", "as of", "__t"]).to_string();
    let values = random_column(rng, n_rows, 0.07, |rng| {
        Value::Timestamp(world.asked_instant(rng, lengths_us))
    });
    columns.push(column(&timestamp, &instant_type(), &values)?);
    let row_number = pick(rng, &["row_number", "__row"]).to_string();
    let numbers: Int64Array = (0..n_rows as i64).collect();
    columns.push((
        Field::new(&row_number, DataType::Int64, false),
        Arc::new(numbers),
    ));
    columns.shuffle(rng);
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
        .map_err(|error| error.to_string())?;
    Ok(SpineTable {
        table: split(rng, batch),
        timestamp,
        row_number,
    })
}

fn random_column(
    rng: &mut StdRng,
    n_rows: usize,
    nulls: f64,
    value: impl Fn(&mut StdRng) -> Value,
) -> Vec<Value> {
    (0..n_rows)
        .map(|_| {
            if rng.random_bool(nulls) {
                Value::Null
            } else {
                value(rng)
            }
        })
        .collect()
}

fn column(name: &str, data_type: &DataType, values: &[Value]) -> Result<(Field, ArrayRef), String> {
    Ok((
        Field::new(name, data_type.clone(), true),
        build(data_type, values)?,
    ))
}

impl fmt::Display for JoinCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "point-in-time join, seed {}", self.seed)?;
        writeln!(
            f,
            "scan {:?}, memory limit {:?}, as_known {}",
            self.scan, self.memory_limit_bytes, self.join.as_known
        )?;
        for view in &self.join.views {
            writeln!(f, "view {:?} of {:?}", view.name, view.source)?;
            writeln!(f, "  ttl {:?}us", view.ttl_us)?;
            for key in &view.keys {
                writeln!(f, "  {key:?}")?;
            }
            for feature in &view.features {
                writeln!(f, "  {feature:?}")?;
            }
            for aggregation in &view.aggregations {
                writeln!(f, "  {aggregation:?}")?;
            }
        }
        write_tables(f, &self.tables)?;
        write_table(f, "spine", &self.spine.table)
    }
}

impl fmt::Display for LatestCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "latest per key, seed {}", self.seed)?;
        writeln!(f, "{:?}", self.latest)?;
        write_tables(f, &self.tables)
    }
}

impl fmt::Display for WindowsCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "windows, seed {}", self.seed)?;
        writeln!(f, "{:?}", self.windows)?;
        write_tables(f, &self.tables)
    }
}

fn write_tables(f: &mut fmt::Formatter<'_>, tables: &Tables) -> fmt::Result {
    for (name, table) in tables {
        write_table(f, name, table)?;
    }
    Ok(())
}

fn write_table(f: &mut fmt::Formatter<'_>, name: &str, table: &Table) -> fmt::Result {
    writeln!(f, "{name:?}:")?;
    for field in table.schema.fields() {
        writeln!(f, "  {:?} {}", field.name(), field.data_type())?;
    }
    for (at, batch) in table.batches.iter().enumerate() {
        writeln!(f, "  batch {at}")?;
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = batch
                .columns()
                .iter()
                .zip(table.schema.fields())
                .map(|(column, field)| {
                    let cell = Value::read(column.as_ref(), row);
                    format!("{}: {:?}", field.name(), cell.unwrap_or(Value::Null))
                })
                .collect();
            writeln!(f, "    {}", cells.join(", "))?;
        }
    }
    Ok(())
}

/// The table with its row numbers counted from 0 again, after rows were taken out.
pub(crate) fn renumbered(table: &Table, row_number: &str) -> Result<Table, String> {
    let mut batches = Vec::new();
    let mut next = 0_i64;
    for batch in &table.batches {
        let n_rows = batch.num_rows() as i64;
        let numbers: Int64Array = (next..next + n_rows).collect();
        next += n_rows;
        let mut columns = batch.columns().to_vec();
        let at = table
            .schema
            .index_of(row_number)
            .map_err(|error| error.to_string())?;
        columns[at] = Arc::new(numbers);
        let batch = RecordBatch::try_new(table.schema.clone(), columns);
        batches.push(batch.map_err(|error| error.to_string())?);
    }
    Ok(Table {
        schema: table.schema.clone(),
        batches,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use provender_core::ValueType;

    use super::*;
    use crate::oracle::{latest, point_in_time_join, windows};

    #[test]
    fn same_seed_gives_the_same_case() {
        for seed in 0..20 {
            let (a, b) = (
                JoinCase::random(seed).unwrap(),
                JoinCase::random(seed).unwrap(),
            );
            assert_eq!(a.to_string(), b.to_string());
            assert_eq!(
                a.spine.table,
                renumbered(&b.spine.table, &b.spine.row_number).unwrap()
            );
        }
    }

    #[test]
    fn oracle_evaluates_every_case() {
        let (mut n_values, mut n_ties, mut n_overflows) = (0, 0, 0);
        for seed in 0..2_000 {
            let case = JoinCase::random(seed).unwrap();
            for view in point_in_time_join(&case.join, &case.tables, &case.spine)
                .unwrap()
                .iter()
                .flatten()
            {
                let has_value =
                    |row: &Vec<Result<Value, String>>| row.iter().flatten().any(|v| !v.is_null());
                n_values += usize::from(view.features.iter().any(has_value));
                n_ties += usize::from(view.features.len() > 1);
                n_overflows += view
                    .aggregations
                    .iter()
                    .filter(|a| matches!(a, crate::oracle::Expected::Overflow))
                    .count();
            }
            let case = LatestCase::random(seed).unwrap();
            latest(&case.latest, &case.tables).unwrap();
            let case = WindowsCase::random(seed).unwrap();
            windows(&case.windows, &case.tables).unwrap();
        }
        assert!(n_values > 5_000, "{n_values}");
        assert!(n_ties > 500, "{n_ties}");
        assert!(n_overflows > 10, "{n_overflows}");
    }

    #[test]
    fn value_types_of_keys_reach_all_that_can_be_keys() {
        let mut seen = Vec::new();
        for seed in 0..500 {
            for view in JoinCase::random(seed).unwrap().join.views {
                for key in view.keys {
                    if !seen.contains(&key.value_type) {
                        seen.push(key.value_type);
                    }
                }
            }
        }
        assert!(seen.iter().all(ValueType::is_key_type));
        assert_eq!(seen.len(), 13, "{seen:?}");
    }
}
