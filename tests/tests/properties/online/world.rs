//! Histories: a random case's views and tables, when its rows arrive, and which runs there are.
//!
//! Rows arrive in any order, but so that a run can find them: before the run whose interval holds
//! their event time, or, where the source tells when a row became known or has a lookback, late.

use std::collections::BTreeMap;
use std::fmt;

use provender_conformance::generate::JoinCase;
use provender_conformance::memory::ScanShape;
use provender_conformance::oracle::Value;
use provender_conformance::{Table, Tables};
use provender_core::model::{
    Aggregation, Definitions, Documentation, Entity, Feature, FeatureRef, FeatureService,
    FeatureView, JoinKey, Relation, Source,
};
use provender_core::request::{KeyColumn, ViewJoin};
use provender_store::MaterializeRange;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::delta::without_unheld_columns;

/// The service of all views.
pub const SERVICE: &str = "everything";

/// What happens in one project.
pub struct History {
    pub seed: u64,
    /// The views, under names and key names of their own.
    pub views: Vec<ViewJoin>,
    /// Keys of the spine of the case it was made from, for keys that no table may have.
    pub asked_keys: Vec<Vec<Vec<Value>>>,
    /// How far back sources look, by table.
    lookbacks: BTreeMap<String, i64>,
    pub steps: Vec<Step>,
    pub is_delta: bool,
    pub has_sqlite: bool,
    pub scan: ScanShape,
    case: JoinCase,
}

/// Rows arrive, then runs are made.
pub struct Step {
    pub arrivals: Tables,
    /// The first of them ends at `end_us`.
    pub runs: Vec<MaterializeRange>,
    pub end_us: i64,
    /// Rows that became known after the run that would have read them by their event time.
    pub n_late: u64,
}

impl History {
    /// The history of a seed.
    pub fn random(seed: u64) -> Result<Self, String> {
        let mut case = JoinCase::random(seed)?;
        let mut rng = StdRng::seed_from_u64(!seed);
        let mut is_delta = rng.random_bool(0.1);
        if is_delta {
            match without_unheld_columns(&case) {
                Some(tables) => case.tables = tables,
                None => is_delta = false,
            }
        }
        let mut asked_keys = Vec::new();
        let mut views = Vec::new();
        for (at, view) in case.join.views.iter().enumerate() {
            asked_keys.push(spine_keys(&case, view)?);
            let keys = view.keys.iter().enumerate();
            views.push(ViewJoin {
                name: format!("v{at}"),
                keys: keys
                    .map(|(key_at, key)| KeyColumn {
                        spine: format!("v{at}_k{key_at}"),
                        ..key.clone()
                    })
                    .collect(),
                ..view.clone()
            });
        }
        let ends = random_ends(&mut rng, &case)?;
        let mut lookbacks = BTreeMap::new();
        let mut arrivals: Vec<Tables> = Vec::new();
        let mut n_late = vec![0; ends.len()];
        for (name, table) in &case.tables {
            if rng.random_bool(0.4) {
                let longest = ends[ends.len() - 1].abs_diff(ends[0]);
                let lookback_us = rng.random_range(0..=longest.saturating_add(2)) as i64;
                lookbacks.insert(name.clone(), lookback_us);
            }
            let times = Times {
                ends: &ends,
                lookback_us: lookbacks.get(name).copied().unwrap_or(0),
                view: view_of(&views, name)?,
            };
            let empty = Table::empty(table.schema.clone());
            arrivals.resize_with(ends.len(), Tables::new);
            for arrivals in &mut arrivals {
                arrivals.insert(name.clone(), empty.clone());
            }
            for batch in &table.batches {
                for row in 0..batch.num_rows() {
                    let (at, is_late) = times.arrival(&mut rng, batch, row)?;
                    n_late[at] += u64::from(is_late);
                    if let Some(table) = arrivals[at].get_mut(name) {
                        table.batches.push(batch.slice(row, 1));
                    }
                }
            }
        }
        let mut steps = Vec::new();
        let mut start_us = i64::MIN;
        for ((arrivals, &end_us), n_late) in arrivals.into_iter().zip(&ends).zip(n_late) {
            steps.push(Step {
                arrivals,
                runs: random_runs(&mut rng, start_us, end_us),
                end_us,
                n_late,
            });
            start_us = end_us;
        }
        Ok(Self {
            seed,
            views,
            asked_keys,
            lookbacks,
            steps,
            is_delta,
            has_sqlite: rng.random_bool(0.08),
            scan: case.scan,
            case,
        })
    }

    /// The same, but no source says how far back it looks for rows that came late.
    pub fn forgetful(seed: u64) -> Result<Self, String> {
        let mut history = Self::random(seed)?;
        history.lookbacks.clear();
        Ok(history)
    }

    /// The definitions of the views, each with an entity and a source of its own, and of a service.
    pub fn definitions(&self) -> Definitions {
        let mut definitions = Definitions::default();
        let documentation = Documentation::default;
        for view in &self.views {
            let name = view.name.clone();
            let join_key = |key: &KeyColumn| JoinKey {
                name: key.spine.clone(),
                value_type: key.value_type.clone(),
            };
            let entity = Entity {
                name: format!("e_{name}"),
                join_keys: view.keys.iter().map(join_key).collect(),
                documentation: documentation(),
            };
            let table = table_of(view);
            let source = Source {
                name: format!("s_{name}"),
                store: None,
                relation: view.source.source.relation.clone(),
                filter: None,
                version: None,
                timestamp: view.source.timestamp.clone(),
                created_timestamp: view.source.created_timestamp.clone(),
                tie_breakers: view.source.tie_breakers.clone(),
                columns: view
                    .keys
                    .iter()
                    .map(|key| (key.spine.clone(), key.column.clone()))
                    .collect(),
                lookback_us: self.lookbacks.get(table).copied(),
                documentation: documentation(),
            };
            let features = view.features.iter().map(|feature| Feature {
                name: feature.output.clone(),
                value_type: feature.value_type.clone(),
                column: feature.column.clone(),
                checked: feature.checked,
                documentation: documentation(),
            });
            let aggregations = view.aggregations.iter().map(|window| Aggregation {
                feature: window.output.clone(),
                function: window.function,
                column: window.column.clone(),
                window_us: window.window_us,
                value_type: None,
                documentation: documentation(),
            });
            // A view of one global row has no entity.
            let entities: Vec<Entity> = (!entity.join_keys.is_empty())
                .then_some(entity)
                .into_iter()
                .collect();
            let view = FeatureView {
                name: name.clone(),
                entities: entities.clone(),
                source: source.clone(),
                ttl_us: view.ttl_us,
                features: features.collect(),
                aggregations: aggregations.collect(),
                online: true,
                online_store: None,
                documentation: documentation(),
            };
            for entity in entities {
                definitions.entities.insert(entity.name.clone(), entity);
            }
            definitions.sources.insert(source.name.clone(), source);
            definitions.feature_views.insert(name, view);
        }
        let service = FeatureService {
            name: SERVICE.to_owned(),
            features: self
                .views
                .iter()
                .map(|view| FeatureRef {
                    view: view.name.clone(),
                    ..FeatureRef::default()
                })
                .collect(),
            documentation: documentation(),
        };
        definitions
            .feature_services
            .insert(SERVICE.to_owned(), service);
        definitions
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "delta {}, sqlite {}, lookbacks {:?}",
            self.is_delta, self.has_sqlite, self.lookbacks
        )?;
        for step in &self.steps {
            let arrivals = step.arrivals.iter();
            let n_rows: Vec<_> = arrivals.map(|(name, rows)| (name, rows.n_rows())).collect();
            writeln!(f, "rows {n_rows:?}, runs {:?}", step.runs)?;
            for (name, table) in &step.arrivals {
                for batch in &table.batches {
                    writeln!(f, "  {name:?}: {}", row_text(batch))?;
                }
            }
        }
        write!(f, "{}", self.case)
    }
}

fn row_text(batch: &arrow_array::RecordBatch) -> String {
    let schema = batch.schema();
    let cells = schema.fields().iter().zip(batch.columns());
    let cells: Vec<String> = cells
        .map(|(field, column)| {
            let cell = Value::read(column.as_ref(), 0).unwrap_or(Value::Null);
            format!("{}: {cell:?}", field.name())
        })
        .collect();
    cells.join(", ")
}

/// The table that a view reads.
pub fn table_of(view: &ViewJoin) -> &str {
    match &view.source.source.relation {
        Relation::Table(name) | Relation::Query(name) => name,
    }
}

fn view_of<'a>(views: &'a [ViewJoin], table: &str) -> Result<&'a ViewJoin, String> {
    let mut views = views.iter();
    views
        .find(|view| table_of(view) == table)
        .ok_or_else(|| format!("no view reads {table:?}"))
}

/// When rows of a table arrive.
struct Times<'a> {
    ends: &'a [i64],
    lookback_us: i64,
    /// One of the table's views; all name the same time columns.
    view: &'a ViewJoin,
}

impl Times<'_> {
    /// Before which run a row arrives, and whether an earlier run passed its event time.
    fn arrival(
        &self,
        rng: &mut StdRng,
        batch: &arrow_array::RecordBatch,
        row: usize,
    ) -> Result<(usize, bool), String> {
        let n_runs = self.ends.len();
        let instant = |column: &str| {
            let array = batch
                .column_by_name(column)
                .ok_or_else(|| format!("no column {column:?}"))?;
            Value::read(array.as_ref(), row)?.instant_us()
        };
        let run_of = |us: i64| self.ends.partition_point(|end| *end < us);
        let Some(event_us) = instant(&self.view.source.timestamp)? else {
            return Ok((rng.random_range(0..n_runs), false));
        };
        let due = run_of(event_us);
        if due >= n_runs {
            return Ok((rng.random_range(0..n_runs), false));
        }
        let known = match &self.view.source.created_timestamp {
            Some(created) => instant(created)?.map(run_of),
            // The last run that looks back as far.
            None => (due + 1..n_runs)
                .take_while(|run| event_us > self.ends[run - 1].saturating_sub(self.lookback_us))
                .last(),
        };
        match known {
            Some(late) if late > due && late < n_runs && rng.random_bool(0.8) => Ok((late, true)),
            _ => Ok((rng.random_range(0..=due), false)),
        }
    }
}

/// Instants that a request may ask about: some of those that tables and spine hold, ascending.
fn random_ends(rng: &mut StdRng, case: &JoinCase) -> Result<Vec<i64>, String> {
    let mut held = Vec::new();
    let mut add = |table: &Table, column: &str| -> Result<(), String> {
        for batch in &table.batches {
            let array = batch
                .column_by_name(column)
                .ok_or_else(|| format!("no column {column:?}"))?;
            for row in 0..batch.num_rows() {
                held.extend(Value::read(array.as_ref(), row)?.instant_us()?);
            }
        }
        Ok(())
    };
    for view in &case.join.views {
        add(&case.tables[table_of(view)], &view.source.timestamp)?;
    }
    add(&case.spine.table, &case.spine.timestamp)?;
    if held.is_empty() {
        held.push(0);
    }
    let n_ends = rng.random_range(1..=4);
    let mut ends: Vec<i64> = (0..n_ends)
        .map(|_| held[rng.random_range(0..held.len())])
        .collect();
    ends.sort_unstable();
    ends.dedup();
    Ok(ends)
}

/// Runs that read everything of (start, end]: one, perhaps with another that changes nothing.
fn random_runs(rng: &mut StdRng, start_us: i64, end_us: i64) -> Vec<MaterializeRange> {
    let explicit = |start_us, end_us| MaterializeRange::Explicit { start_us, end_us };
    let mut runs = vec![if rng.random_bool(0.5) {
        MaterializeRange::Incremental {
            end_us: Some(end_us),
        }
    } else {
        explicit(start_us, end_us)
    }];
    if start_us > i64::MIN && rng.random_bool(0.3) {
        // A part of what was done, again.
        let far_us = rng.random_range(1..=end_us.abs_diff(start_us).saturating_mul(2)) as i64;
        let from_us = end_us.saturating_sub(far_us);
        let to_us = from_us + rng.random_range(1..=far_us);
        runs.push(explicit(from_us, to_us));
    }
    runs
}

/// The keys of the spine's rows that have no nulls.
fn spine_keys(case: &JoinCase, view: &ViewJoin) -> Result<Vec<Vec<Value>>, String> {
    let mut all = Vec::new();
    for batch in &case.spine.table.batches {
        for row in 0..batch.num_rows() {
            let mut keys = Vec::new();
            for key in &view.keys {
                let array = batch
                    .column_by_name(&key.spine)
                    .ok_or_else(|| format!("no key {:?}", key.spine))?;
                keys.push(Value::read(array.as_ref(), row)?);
            }
            if !keys.iter().any(Value::is_null) {
                all.push(keys);
            }
        }
    }
    Ok(all)
}
