//! No statement compares every row with every other: the steps of its plan stay small.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use provender_core::ValueType;
use provender_core::model::AggregateFunction;
use provender_core::request::{
    FeatureColumn, KeyColumn, PointInTimeJoin, SourceRef, TimedSource, ViewJoin, WindowAggregate,
};
use provender_dialects::{
    Dialect, SourceTable, Sources, SpineInput, SpineLayout, TableName, point_in_time_join,
};

use super::engine::Engine;

const N_ROWS: i64 = 3_000;

/// Rows of two keys alone, so that a join by key and then by time would meet millions of pairs.
fn rows(names: [&str; 3]) -> RecordBatch {
    let numbers = 0..N_ROWS;
    let columns: [ArrayRef; 3] = [
        Arc::new(numbers.clone().map(|row| row % 2).collect::<Int64Array>()),
        Arc::new(
            TimestampMicrosecondArray::from_iter_values(
                numbers.clone().map(|row| row * 7_919 % 100_000),
            )
            .with_timezone("UTC"),
        ),
        Arc::new(
            numbers
                .map(|row| Some(row as f64))
                .collect::<Float64Array>(),
        ),
    ];
    RecordBatch::try_from_iter(names.into_iter().zip(columns)).unwrap()
}

fn view(name: &str, features: bool) -> ViewJoin {
    let aggregate = |function, window_us, value_type: ValueType| WindowAggregate {
        function,
        column: Some("x".to_owned()),
        window_us,
        output: format!("{name} {function} {window_us}"),
        value_type,
    };
    let aggregations = if features {
        Vec::new()
    } else {
        vec![
            aggregate(AggregateFunction::Count, 1_000, ValueType::Int64),
            aggregate(AggregateFunction::Count, 50_000, ValueType::Int64),
            aggregate(AggregateFunction::CountDistinct, 50_000, ValueType::Int64),
            aggregate(AggregateFunction::Last, 50_000, ValueType::Float64),
        ]
    };
    ViewJoin {
        name: name.to_owned(),
        source: TimedSource {
            source: SourceRef::table("facts"),
            timestamp: "ts".to_owned(),
            created_timestamp: Some("ts".to_owned()),
            tie_breakers: vec!["x".to_owned()],
        },
        keys: vec![KeyColumn {
            spine: "k".to_owned(),
            column: "k".to_owned(),
            value_type: ValueType::Int64,
        }],
        ttl_us: features.then_some(500),
        features: if features {
            vec![FeatureColumn {
                column: "x".to_owned(),
                output: format!("{name}_x"),
                value_type: ValueType::Float64,
                checked: false,
            }]
        } else {
            Vec::new()
        },
        aggregations,
    }
}

#[test]
fn no_step_of_a_join_has_ten_times_the_rows_of_its_inputs() {
    let facts = rows(["k", "ts", "x"]);
    let mut sources = Sources::new();
    let table = SourceTable {
        schema: facts.schema(),
        table: None,
    };
    sources.insert(&SourceRef::table("facts"), table);
    let spine_rows = rows(["k", "t", "n"]);
    let mut engine = Engine::start(Dialect::Snowflake);
    for as_known in [false, true] {
        let join = PointInTimeJoin {
            views: vec![view("features", true), view("windows", false)],
            as_known,
        };
        let layout = SpineLayout::new(&join.views, "t", "n").unwrap();
        let name = TableName::new(["spine"]);
        let plan = point_in_time_join(
            Dialect::Snowflake,
            &join,
            SpineInput::Table(&name, &layout),
            &sources,
            &Dialect::Snowflake.limits(),
        )
        .unwrap();
        let tables = BTreeMap::from([
            ("facts".to_owned(), facts.clone()),
            ("spine".to_owned(), layout.encode(&spine_rows).unwrap()),
        ]);
        let counts = engine.counts(&tables, &plan.answers[0].sql);
        assert!(counts.len() > 20, "{counts:?}");
        let most = 10 * 2 * N_ROWS as u64;
        for (step, n_rows) in &counts {
            assert!(*n_rows <= most, "{step} has {n_rows} rows: {counts:?}");
        }
        assert!(counts.values().any(|n_rows| *n_rows >= N_ROWS as u64));
    }
}
