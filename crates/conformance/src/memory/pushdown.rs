//! Joins, latest rows and windows of tables in memory, as the oracle says them. Of several right
//! answers the first is taken.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use provender_core::error::{Error, Result, codes};
use provender_core::model::Relation;
use provender_core::request::{
    FeatureColumn, LatestPerKey, PointInTimeJoin, Spine, SqlSpine, WindowAggregate, WindowsAt,
};
use provender_core::time::instant_type;
use provender_core::{BatchStream, ValueType};

use crate::generate::build;
use crate::oracle::{self, Expected, Value};
use crate::{SpineTable, Table, Tables};

/// Columns of an answer while it is made: their fields, and their values row by row.
#[derive(Default)]
struct Answer {
    fields: Vec<Field>,
    rows: Vec<Vec<Value>>,
}

impl Answer {
    fn stream(self) -> Result<BatchStream> {
        let columns = (0..self.fields.len()).map(|at| {
            let values: Vec<Value> = self.rows.iter().map(|row| row[at].clone()).collect();
            build(self.fields[at].data_type(), &values).map_err(|why| internal(&why))
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        batch_stream(self.fields, columns, self.rows.len())
    }
}

fn batch_stream(fields: Vec<Field>, columns: Vec<ArrayRef>, n_rows: usize) -> Result<BatchStream> {
    let schema = Arc::new(Schema::new(fields));
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(n_rows));
    let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options);
    let batch = batch.map_err(|error| internal(&error.to_string()))?;
    Ok(BatchStream::from_batches(schema, vec![batch]))
}

pub(super) async fn join(
    tables: &Tables,
    join: &PointInTimeJoin,
    spine: Spine,
) -> Result<BatchStream> {
    let (spine, own) = match spine {
        Spine::Rows(rows) => {
            let spine = SpineTable {
                timestamp: rows.timestamp,
                row_number: rows.row_number,
                table: Table::collect(rows.rows).await?,
            };
            (spine, None)
        }
        Spine::Sql(sql) => {
            let (spine, own) = spine_of(tables, &sql)?;
            (spine, Some(own))
        }
    };
    let expected = oracle::point_in_time_join(join, tables, &spine).map_err(|why| refused(&why))?;
    let mut answer = Answer::default();
    for view in &join.views {
        answer.fields.extend(features(&view.features));
        answer.fields.extend(windows_fields(&view.aggregations));
    }
    for row in expected {
        let mut cells = Vec::new();
        for (view, expected) in join.views.iter().zip(row) {
            match expected.features.first() {
                Some(winner) => {
                    for (feature, cell) in view.features.iter().zip(winner) {
                        cells.push(fitting(feature, cell)?);
                    }
                }
                None => cells.extend(view.features.iter().map(|_| Value::Null)),
            }
            for aggregation in &expected.aggregations {
                cells.push(aggregated(aggregation)?);
            }
        }
        answer.rows.push(cells);
    }
    let Some(own) = own else {
        return answer.stream();
    };
    let n_rows = answer.rows.len();
    let found = answer.stream()?.collect().await?;
    let mut fields: Vec<Field> = Vec::new();
    let mut columns = Vec::new();
    for batch in [&own, &found[0]] {
        let schema = batch.schema();
        fields.extend(schema.fields().iter().map(|field| Field::clone(field)));
        columns.extend(batch.columns().iter().cloned());
    }
    batch_stream(fields, columns, n_rows)
}

/// A table as a spine, and all of its rows.
fn spine_of(tables: &Tables, sql: &SqlSpine) -> Result<(SpineTable, RecordBatch)> {
    let Relation::Table(name) = &sql.relation else {
        return Err(Error::new(
            &codes::UNSUPPORTED,
            "tables in memory know no SQL",
        ));
    };
    let table = tables.get(name).ok_or_else(|| {
        Error::new(
            &codes::MISSING_TABLE,
            format!("there is no table {name:?} in memory"),
        )
    })?;
    let own = table.one_batch().map_err(|why| internal(&why))?;
    let numbers: Int64Array = (0..own.num_rows() as i64).collect();
    let mut fields: Vec<Field> = Vec::new();
    fields.extend(
        table
            .schema
            .fields()
            .iter()
            .map(|field| Field::clone(field)),
    );
    fields.push(Field::new("__row", DataType::Int64, false));
    let mut columns = own.columns().to_vec();
    columns.push(Arc::new(numbers));
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns);
    let spine = SpineTable {
        table: Table::of(rows.map_err(|error| internal(&error.to_string()))?),
        timestamp: sql.timestamp.clone(),
        row_number: "__row".to_owned(),
    };
    Ok((spine, own))
}

pub(super) fn latest(tables: &Tables, request: &LatestPerKey) -> Result<BatchStream> {
    let expected = oracle::latest(request, tables).map_err(|why| refused(&why))?;
    let mut answer = Answer::default();
    let keys = request.keys.iter();
    answer
        .fields
        .extend(keys.map(|key| key.value_type.to_field(&key.spine)));
    let source = &request.source;
    let times = [Some(&source.timestamp), source.created_timestamp.as_ref()];
    let times = times.into_iter().flatten();
    answer
        .fields
        .extend(times.map(|name| Field::new(name, instant_type(), true)));
    for name in &source.tie_breakers {
        let table = match &source.source.relation {
            Relation::Table(table) => tables.get(table),
            Relation::Query(_) => None,
        };
        let held = table.and_then(|table| table.schema.field_with_name(name).ok());
        let value_type = held.and_then(|field| ValueType::from_arrow(field.data_type()));
        let value_type = value_type.ok_or_else(|| internal("a tie breaker without a type"))?;
        answer.fields.push(value_type.to_field(name));
    }
    answer.fields.extend(features(&request.features));
    let n_before = answer.fields.len() - request.features.len() - request.keys.len();
    for key in expected {
        let mut cells = key.keys;
        let Some(winner) = key.rows.first() else {
            continue;
        };
        let (before, values) = winner.split_at(n_before);
        for cell in before {
            cells.push(cell.clone().map_err(|why| internal(&why))?);
        }
        for (feature, cell) in request.features.iter().zip(values) {
            cells.push(fitting(feature, cell)?);
        }
        answer.rows.push(cells);
    }
    answer.stream()
}

pub(super) fn windows(tables: &Tables, request: &WindowsAt) -> Result<BatchStream> {
    let expected = oracle::windows(request, tables).map_err(|why| refused(&why))?;
    let mut answer = Answer::default();
    let keys = request.keys.iter();
    answer
        .fields
        .extend(keys.map(|key| key.value_type.to_field(&key.spine)));
    answer.fields.extend(windows_fields(&request.aggregations));
    for key in expected.into_iter().filter(|key| key.is_active) {
        let mut cells = key.keys;
        for aggregation in &key.aggregations {
            cells.push(aggregated(aggregation)?);
        }
        answer.rows.push(cells);
    }
    answer.stream()
}

fn features(features: &[FeatureColumn]) -> impl Iterator<Item = Field> {
    let features = features.iter();
    features.map(|feature| feature.value_type.to_field(&feature.output))
}

fn windows_fields(aggregations: &[WindowAggregate]) -> impl Iterator<Item = Field> {
    let aggregations = aggregations.iter();
    aggregations.map(|aggregation| aggregation.value_type.to_field(&aggregation.output))
}

fn fitting(feature: &FeatureColumn, cell: &std::result::Result<Value, String>) -> Result<Value> {
    cell.clone().map_err(|why| {
        let message = format!("feature {:?}: {why}", feature.output);
        Error::new(&codes::CHECKED_CAST, message).help("widen the declared type")
    })
}

fn aggregated(expected: &Expected) -> Result<Value> {
    match expected {
        Expected::AnyOf(values) => Ok(values.first().cloned().unwrap_or(Value::Null)),
        Expected::Near { value, .. } => Ok(Value::Float64(*value)),
        Expected::Overflow => Err(Error::new(&codes::SUM_OVERFLOW, "a sum overflows")),
    }
}

fn refused(why: &str) -> Error {
    Error::new(&codes::OFFLINE_REQUEST, format!("tables in memory: {why}"))
}

fn internal(why: &str) -> Error {
    Error::new(&codes::INTERNAL, format!("rows in memory: {why}"))
}
