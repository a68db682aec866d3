//! Pushed rows against the types and columns of the tables that take them.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use provender_conformance::Table;
use provender_store::PushTarget;

use crate::push::{applied, held, push, refused, table};
use crate::support::{HOUR, Project, batch, floats, hours, ints, strings, tables, text};

const TIED: &str = "
entities:
  - {name: airport, join_keys: [{name: origin, type: string}]}
sources:
  - {name: readings, table: readings, timestamp: at, created_timestamp: made, tie_breakers: [seq, level]}
feature_views:
  - name: reading
    entities: [airport]
    source: readings
    features: [{name: height, type: int64, column: level}, {name: copy, type: float64, column: value}, {name: again, type: float64, column: value}]
";

fn readings() -> Table {
    let fields = vec![
        Field::new("origin", DataType::Utf8, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Second, None), true),
        Field::new("made", DataType::Date32, true),
        Field::new("seq", DataType::Int16, true),
        Field::new("level", DataType::Int32, true),
        Field::new("value", DataType::Float32, true),
        Field::new("remark", DataType::Utf8, true),
    ];
    Table::empty(Arc::new(Schema::new(fields)))
}

fn reading(seq: i64, height: i64, at_us: i64, value: f64, again: f64) -> RecordBatch {
    let at: ArrayRef =
        Arc::new(arrow_array::TimestampMicrosecondArray::from(vec![at_us]).with_timezone("UTC"));
    let nothing: ArrayRef = Arc::new(arrow_array::NullArray::new(1));
    batch(&[
        ("origin", strings(&["JFK"])),
        ("at", at),
        ("made", nothing),
        ("seq", ints(&[seq])),
        ("height", ints(&[height])),
        ("copy", floats(&[value])),
        ("again", floats(&[again])),
    ])
}

async fn tied() -> Project {
    let mut tables = tables(&[]);
    tables.insert("readings".to_owned(), readings());
    let project = Project::new(tables).await;
    let definitions = TIED.replace(
        "type: float64, column: value}, {name: again",
        "type: float64, column: value, cast: checked}, {name: again",
    );
    project.apply(&definitions).await;
    project
}

#[tokio::test]
async fn tie_breakers_decide_online_and_one_that_is_a_feature_needs_no_column() {
    let project = tied().await;
    for (seq, height) in [(1, 10), (2, 5), (2, 7), (2, 6), (1, 99)] {
        let rows = reading(seq, height, HOUR, 0.5, 0.5);
        push(&project, "reading", PushTarget::Both, rows)
            .await
            .unwrap();
    }
    assert_eq!(held(&project, "reading", 1), ["JFK at 1: 7 0.5 0.5"]);
    let all = table(&project, "readings");
    assert_eq!(text(&all, "level"), ["10", "5", "7", "6", "99"]);
    assert_eq!(text(&all, "seq"), ["1", "2", "2", "2", "1"]);
    assert_eq!(text(&all, "remark"), ["-"; 5]);
    assert_eq!(all.column_by_name("made").unwrap().null_count(), 5);
}

#[tokio::test]
async fn what_the_table_cannot_hold_is_refused() {
    let project = tied().await;
    for (rows, expected) in [
        (
            reading(1, 1, HOUR, 0.5, 0.25),
            "row 0 (key origin=JFK) for view \"reading\": \"copy\" and \"again\" are both column \"value\" of table \"readings\", and are 0.5 and 0.25",
        ),
        (
            reading(1, 1, HOUR + 1, 0.5, 0.5),
            "row 0 (key origin=JFK) for view \"reading\": the value 1970-01-01T01:00:00.000001Z of \"at\" does not fit column \"at\" of table \"readings\", which is Timestamp(s)",
        ),
        (
            reading(1, 1, HOUR, 0.1, 0.1),
            "row 0 (key origin=JFK) for view \"reading\": the value 0.1 of \"copy\" does not fit float32",
        ),
        (
            reading(40_000, 1, HOUR, 0.5, 0.5),
            "row 0 (key origin=JFK) for view \"reading\": the value 40000 of \"seq\" does not fit int16",
        ),
    ] {
        let error = refused(&project, "reading", PushTarget::Both, rows).await;
        assert_eq!((error.code(), error.message()), ("P409", expected));
    }
    assert_eq!(table(&project, "readings").num_rows(), 0);
    assert!(held(&project, "reading", 1).is_empty());
}

#[tokio::test]
async fn columns_that_may_not_be_null_must_be_filled() {
    let mut readings = readings();
    let fields = readings.schema.fields().iter();
    let fields: Vec<Field> = fields
        .map(|field| {
            let needed = field.name() == "remark";
            field.as_ref().clone().with_nullable(!needed)
        })
        .collect();
    readings.schema = Arc::new(Schema::new(fields));
    let mut tables = tables(&[]);
    tables.insert("readings".to_owned(), readings);
    let project = Project::new(tables).await;
    project.apply(TIED).await;
    let error = refused(
        &project,
        "reading",
        PushTarget::Both,
        reading(1, 1, 0, 0.5, 0.5),
    )
    .await;
    assert_eq!(error.code(), "P509");
    assert_eq!(
        error.message(),
        "rows for view \"reading\" cannot be added to table \"readings\": \
         its column \"remark\" may not be null, and the view does not fill it"
    );
    // The weather of the other tests has no null in any column, and so none that takes one.
    let project = applied().await;
    let temp: ArrayRef = Arc::new(Float64Array::from(vec![None]));
    let rows = batch(&[
        ("origin", strings(&["JFK"])),
        ("time", hours(&[1])),
        ("temp", temp),
        ("wind", ints(&[1])),
    ]);
    let error = refused(
        &project,
        "airport_weather",
        PushTarget::Offline,
        rows.clone(),
    )
    .await;
    assert_eq!(
        error.message(),
        "row 0 (key origin=JFK) for view \"airport_weather\": \"temp\" is null, and column \"temp\" of table \"weather\" may not be"
    );
    push(&project, "airport_weather", PushTarget::Online, rows)
        .await
        .unwrap();
    assert_eq!(held(&project, "airport_weather", 1), ["JFK at 1: - 1"]);
}
