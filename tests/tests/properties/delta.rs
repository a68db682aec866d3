//! Point-in-time joins over Delta tables.
//!
//! The right answers are those over the tables as they were written: what Delta stores in another
//! type (finer digits of timestamps, dictionaries, small unsigned numbers) must make no difference.
//! Only a case whose request does not fit the stored types, or whose types Delta lacks, is passed over.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_schema::{DataType, Field, FieldRef, Fields};
use provender_conformance::generate::JoinCase;
use provender_conformance::oracle::{check_point_in_time_join, check_point_in_time_join_error};
use provender_conformance::{Table, Tables};
use provender_core::model::Relation;
use provender_core::provider::{OfflineStore, ProviderConfig, Providers};
use provender_core::request::{OfflineWrite, ViewJoin, WriteMode};
use provender_core::time::instant_type;
use provender_core::{BatchStream, CastRule, ValueType};

use crate::runner::{answer, context, n_cases, resources, run};

#[test]
fn random_joins_over_delta_tables_equal_the_oracle() {
    let n_wanted = n_cases() / 50;
    let n_run = AtomicU64::new(0);
    run(n_cases(), |seed| {
        if n_run.load(Ordering::Relaxed) >= n_wanted {
            return Ok(());
        }
        let mut case = JoinCase::random(seed)?;
        let Some(tables) = without_unheld_columns(&case) else {
            return Ok(());
        };
        case.tables = tables;
        n_run.fetch_add(1, Ordering::Relaxed);
        check(&case).map_err(|why| format!("{why}\n{case}"))
    });
    let n_run = n_run.into_inner();
    let is_one_alone = std::env::var_os("PROVENDER_SEED").is_some();
    assert!(is_one_alone || n_run >= n_wanted / 2, "only {n_run} cases");
}

fn check(case: &JoinCase) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    // Written on the runtime that the join runs on, as a program would.
    let answered = answer(async {
        let store = open(folder.path()).await;
        for (name, table) in &case.tables {
            write(store.as_ref(), name, table, case.seed).await;
        }
        let (cx, resources) = (context(), resources(None));
        let (join, spine) = (case.join.clone(), case.spine.to_rows());
        provender_engine::point_in_time_join(&cx, &resources, store, join, spine).await
    })?;
    match answered {
        Ok(table) => {
            let answer = table.one_batch()?;
            check_point_in_time_join(&case.join, &case.tables, &case.spine, &answer)
        }
        Err(error) => check_point_in_time_join_error(&case.join, &case.tables, &case.spine, &error),
    }
}

pub async fn open(folder: &Path) -> Arc<dyn OfflineStore> {
    let mut providers = Providers::default();
    providers.register(provender_providers_delta::factory());
    let config = ProviderConfig {
        scheme: "delta".to_owned(),
        block: "offline_store".to_owned(),
        options: serde_json::Map::new(),
        base_path: folder.to_owned(),
        resources: resources(None),
    };
    let opened = providers.open_offline(&context(), config).await;
    opened.expect("the store opens")
}

/// Writes a table in one commit or, for every other seed, in two, so that it has more than one file.
async fn write(store: &dyn OfflineStore, name: &str, table: &Table, seed: u64) {
    let n_first = match seed % 2 {
        0 => table.batches.len(),
        _ => table.batches.len() / 2,
    };
    let (first, second) = table.batches.split_at(n_first);
    for batches in [first, second] {
        if batches.is_empty() && !table.batches.is_empty() {
            continue;
        }
        let request = OfflineWrite {
            table: name.to_owned(),
            mode: WriteMode::Append,
            partition_by: Vec::new(),
            id: None,
        };
        let rows = BatchStream::from_batches(table.schema.clone(), batches.to_vec());
        let written = store.write(&context(), request, rows).await;
        let written = written.unwrap_or_else(|error| panic!("writing {name:?}: {error:?}"));
        let n_rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
        assert_eq!(written.n_applied, n_rows as u64, "rows of {name:?}");
    }
}

/// The case's tables without columns that Delta cannot hold; `None` if the join needs one of these, or
/// could not be asked of the types that Delta stores instead.
pub fn without_unheld_columns(case: &JoinCase) -> Option<Tables> {
    let mut tables = Tables::new();
    for (name, table) in &case.tables {
        let reads_it =
            |view: &&ViewJoin| view.source.source.relation == Relation::Table(name.clone());
        let views: Vec<&ViewJoin> = case.join.views.iter().filter(reads_it).collect();
        let mut kept: Vec<usize> = Vec::new();
        for (at, field) in table.schema.fields().iter().enumerate() {
            let is_used = views.iter().any(|view| uses(view, field.name()));
            // Column names of Delta tables are one even where their case differs.
            let is_decoy = ["C0", "TS"].contains(&field.name().as_str());
            match held(field.data_type()) {
                Some(held) if views.iter().all(|view| can_ask(view, field, &held)) => {
                    kept.extend((is_used || !is_decoy).then_some(at));
                }
                _ if is_used => return None,
                _ => {}
            }
        }
        let schema = Arc::new(table.schema.project(&kept).ok()?);
        let batches = table.batches.iter().map(|batch| batch.project(&kept));
        let batches = batches.collect::<Result<Vec<_>, _>>().ok()?;
        tables.insert(name.clone(), Table { schema, batches });
    }
    Some(tables)
}

fn uses(view: &ViewJoin, column: &str) -> bool {
    let source = &view.source;
    source.timestamp == column
        || source.created_timestamp.as_deref() == Some(column)
        || source.tie_breakers.iter().any(|other| other == column)
        || view.keys.iter().any(|key| key.column == column)
        || view.features.iter().any(|feature| feature.column == column)
        || view
            .aggregations
            .iter()
            .any(|aggregate| aggregate.column.as_deref() == Some(column))
}

/// Whether what a view says of a column is as true of the type that Delta holds it in.
fn can_ask(view: &ViewJoin, field: &Field, held: &DataType) -> bool {
    let name = field.name();
    let fits = |declared: &ValueType, checked: bool| match declared.cast_from(held) {
        CastRule::Lossless => true,
        CastRule::Checked => checked || declared.implies_checked(held),
        CastRule::Never => false,
    };
    let mut keys = view.keys.iter().filter(|key| key.column == *name);
    let mut features = view
        .features
        .iter()
        .filter(|feature| feature.column == *name);
    let mut aggregations = view
        .aggregations
        .iter()
        .filter(|aggregate| aggregate.column.as_ref() == Some(name));
    keys.all(|key| fits(&key.value_type, false))
        && features.all(|feature| fits(&feature.value_type, feature.checked))
        // The type of an aggregate follows from that of the column.
        && aggregations
            .all(|_| ValueType::from_arrow(held) == ValueType::from_arrow(field.data_type()))
}

/// The type that a Delta table holds a type's values in, if it can.
fn held(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32 => data_type.clone(),
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Timestamp(_, _) => instant_type(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => DataType::Decimal128(*precision, *scale),
        DataType::Dictionary(_, value) => held(value)?,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            DataType::List(held_field(item)?)
        }
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(held_field).collect::<Option<Fields>>()?)
        }
        DataType::Map(entries, _) => DataType::Map(held_field(entries)?, false),
        _ => return None,
    })
}

fn held_field(field: &FieldRef) -> Option<FieldRef> {
    let data_type = held(field.data_type())?;
    Some(Arc::new(Field::clone(field).with_data_type(data_type)))
}
