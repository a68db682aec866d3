//! Windows over what was known: pushed down where SQL says them exactly, else computed here, and told so.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use provender_core::ValueType;
use provender_core::model::AggregateFunction;
use provender_core::request::{OfflineRequest, WindowAggregate};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn windows_over_what_was_known_are_explained_and_right_wherever_they_are_computed() {
    let Some(account) = Account::under_test() else {
        return;
    };
    let store = account.open(json!({"realism": true})).await;
    let name = unique("known");
    append(&*store, &name, crate::properties::rows_of(10))
        .await
        .unwrap();
    // Column `k` holds whole numbers and `f` floats; each key has one row, whose value is the key itself.
    for (function, column, is_pushed_down) in [
        (AggregateFunction::Count, "f", true),
        (AggregateFunction::CountDistinct, "f", true),
        (AggregateFunction::Last, "f", true),
        (AggregateFunction::Sum, "k", true),
        (AggregateFunction::Sum, "f", false),
        (AggregateFunction::Mean, "k", false),
        (AggregateFunction::Mean, "f", false),
        (AggregateFunction::Min, "k", false),
        (AggregateFunction::Max, "k", false),
        (AggregateFunction::Stddev, "k", false),
    ] {
        let (mut join, spine) = crate::properties::spine_of(&name, 10);
        let held = match column {
            "k" => ValueType::Decimal(19, 0),
            _ => ValueType::Float64,
        };
        let value_type = function.result_type(Some(&held)).unwrap();
        join.as_known = true;
        join.views[0].source.created_timestamp = Some("at".to_owned());
        join.views[0].features.clear();
        join.views[0].aggregations.push(WindowAggregate {
            function,
            column: Some(column.to_owned()),
            window_us: 1_000,
            output: "w".to_owned(),
            value_type,
        });
        let what = format!("{function} of {column}");
        let request = OfflineRequest::PointInTimeJoin(join.clone(), None);
        let explained = store.explain(&cx(), &request).await.unwrap();
        let by_engine = format!(
            "-- computed by Provender over scans: {function} over what was known is not computed in SQL"
        );
        assert_eq!(
            explained == by_engine,
            !is_pushed_down,
            "{what}: {explained}"
        );
        assert_eq!(
            explained.contains("\nWITH "),
            is_pushed_down,
            "{what}: {explained}"
        );

        let answer = store.point_in_time_join(&cx(), join, spine).await.unwrap();
        let batches = answer.collect().await.unwrap();
        let batch = arrow_select::concat::concat_batches(&batches[0].schema(), &batches).unwrap();
        let found = arrow_cast::cast(batch.column(0), &arrow_schema::DataType::Float64).unwrap();
        let found = found.as_primitive::<Float64Type>();
        for row in 0..10 {
            let expected = match function {
                AggregateFunction::Count | AggregateFunction::CountDistinct => Some(1.0),
                AggregateFunction::Stddev => None,
                _ => Some(row as f64),
            };
            let value = found.is_valid(row).then(|| found.value(row));
            assert_eq!(value, expected, "{what}: row {row}");
        }
        if function == AggregateFunction::Count {
            assert!(batch.column(0).as_primitive_opt::<Int64Type>().is_some());
        }
    }
}
