//! Hundreds of features of dozens of views in one request, within the limits of a statement.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use provender_core::ValueType;
use provender_core::request::{FeatureColumn, OfflineRequest};
use serde_json::json;

use crate::support::*;

const N_KEYS: i64 = 200;
const N_COLUMNS: i64 = 60;
const N_VIEWS: i64 = 26;
const N_FEATURES: i64 = 20;

fn value(key: i64, column: i64) -> i64 {
    key * 1_000 + column
}

/// A key's row of integers at the epoch.
fn rows() -> RecordBatch {
    let keys = || 0..N_KEYS;
    let mut columns: Vec<(String, ArrayRef)> = vec![
        ("k".to_owned(), Arc::new(keys().collect::<Int64Array>())),
        (
            "at".to_owned(),
            Arc::new(
                TimestampMicrosecondArray::from_iter_values(keys().map(|_| 0)).with_timezone("UTC"),
            ),
        ),
    ];
    for column in 0..N_COLUMNS {
        let values: Int64Array = keys().map(|key| value(key, column)).collect();
        columns.push((format!("f{column}"), Arc::new(values)));
    }
    RecordBatch::try_from_iter(columns).unwrap()
}

fn column_of(view: i64, feature: i64) -> i64 {
    (view * 7 + feature) % N_COLUMNS
}

#[tokio::test]
async fn hundreds_of_features_of_dozens_of_views_take_two_statements_within_the_limits() {
    let Some(account) = Account::under_test() else {
        return;
    };
    let store = account.open(json!({"realism": true, "ts_scale": 6})).await;
    let name = unique("wide");
    append(&*store, &name, rows()).await.unwrap();
    let (mut join, spine) = crate::properties::spine_of(&name, N_KEYS);
    let view = join.views.remove(0);
    for at in 0..N_VIEWS {
        let mut view = view.clone();
        view.name = format!("v{at}");
        view.features = (0..N_FEATURES)
            .map(|feature| FeatureColumn {
                column: format!("f{}", column_of(at, feature)),
                output: format!("v{at}_{feature}"),
                value_type: ValueType::Int64,
                checked: false,
            })
            .collect();
        join.views.push(view);
    }
    let explained = store
        .explain(&cx(), &OfflineRequest::PointInTimeJoin(join.clone(), None))
        .await
        .unwrap();
    let statements: Vec<&str> = explained.split(";\n\n").collect();
    let answers = statements
        .iter()
        .filter(|sql| sql.starts_with("WITH"))
        .count();
    assert_eq!(answers, 2);
    for statement in statements {
        assert!(statement.len() < 900_000, "{}", statement.len());
    }

    let answer = store.point_in_time_join(&cx(), join, spine).await.unwrap();
    let batches = answer.collect().await.unwrap();
    let batch = arrow_select::concat::concat_batches(&batches[0].schema(), &batches).unwrap();
    assert_eq!(batch.num_columns() as i64, N_VIEWS * N_FEATURES);
    assert_eq!(batch.num_rows() as i64, N_KEYS);
    for at in 0..N_VIEWS {
        for feature in 0..N_FEATURES {
            let found = batch[format!("v{at}_{feature}").as_str()].as_primitive::<Int64Type>();
            let expected: Int64Array = (0..N_KEYS)
                .map(|key| value(key, column_of(at, feature)))
                .collect();
            assert_eq!(*found, expected, "v{at}_{feature}");
        }
    }
}
