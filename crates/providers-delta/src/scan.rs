//! Reading: from a source to a plan, and from a scan to streams.

use std::sync::Arc;

use arrow_schema::{DataType, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, lit};
use datafusion::prelude::DataFrame;
use futures::StreamExt;
use provender_core::model::{Relation, SourceVersion};
use provender_core::names::find_column;
use provender_core::provider::{RowAccess, WantedKeys};
use provender_core::request::{ColumnRange, Scan, SourceRef};
use provender_core::{BatchStream, Context, Error, Result, codes};
use provender_dialects::refuse_equal_names;
use provender_engine::sql::{self, TableSource};

use crate::convert::rearrange;
use crate::read;
use crate::schema::answered;
use crate::store::DeltaOfflineStore;
use crate::tables::Kind;

/// The tables of a store as of one time, for queries.
struct AsOf<'a> {
    store: &'a DeltaOfflineStore,
    version: Option<&'a SourceVersion>,
}

#[async_trait]
impl TableSource for AsOf<'_> {
    async fn table(&self, cx: &Context, name: &str) -> Result<Arc<dyn TableProvider>> {
        cx.check()?;
        let place = self.store.tables.find_existing(name).await?;
        self.store
            .tables
            .provider(&self.store.session, &place, self.version)
            .await
    }
}

/// The rows of a source, as a plan.
pub(crate) async fn frame(
    store: &DeltaOfflineStore,
    cx: &Context,
    source: &SourceRef,
) -> Result<DataFrame> {
    cx.check()?;
    let as_of = AsOf {
        store,
        version: source.version.as_ref(),
    };
    let df = match &source.relation {
        Relation::Table(name) => {
            let provider = as_of.table(cx, name).await?;
            let plan = LogicalPlanBuilder::scan(
                TableReference::bare(name.as_str()),
                provider_as_source(provider),
                None,
            )
            .and_then(LogicalPlanBuilder::build)
            .map_err(sql::datafusion_error)?;
            DataFrame::new(store.session.state(), plan)
        }
        Relation::Query(query) => {
            if !matches!(as_of.version, None | Some(SourceVersion::TimestampUs(_))) {
                return Err(Error::new(
                    &codes::OFFLINE_REQUEST,
                    "a query over tables has no version number of its own",
                )
                .help("name a time instead, at which all its tables are read")
                .context("query", query.clone()));
            }
            sql::plan_query(cx, &store.session, &as_of, query).await?
        }
    };
    refuse_equal_names(df.schema().as_arrow(), source)?;
    match &source.filter {
        Some(condition) => sql::filter(df, condition),
        None => Ok(df),
    }
}

/// The schema that scans of all columns of a plan answer.
pub(crate) fn schema_of(df: &DataFrame) -> SchemaRef {
    answered(df.schema().as_arrow())
}

/// A scan's plan, and for each asked column its place in the plan's rows.
pub(crate) struct Planned {
    pub df: DataFrame,
    columns: Vec<usize>,
    schema: SchemaRef,
}

/// Plans a scan: reads the asked columns alone, and within the asked ranges as far as those can be
/// told from what files say of their rows.
pub(crate) async fn plan(store: &DeltaOfflineStore, cx: &Context, scan: &Scan) -> Result<Planned> {
    let source = &scan.source;
    let mut df = frame(store, cx, source).await?;
    for range in &scan.ranges {
        if let Some(condition) = in_range(&df, range, source)? {
            df = df.filter(condition).map_err(sql::datafusion_error)?;
        }
    }
    let all: Vec<String> = df
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    let asked = match &scan.columns {
        None => (0..all.len()).collect(),
        Some(names) => names
            .iter()
            .map(|name| index_of(&all, name, source))
            .collect::<Result<Vec<usize>>>()?,
    };
    let mut read = asked.clone();
    read.sort_unstable();
    read.dedup();
    if read.is_empty() {
        // Rows without columns still count; one column carries their number.
        read.push(0);
    }
    let schema = schema_of(&df).project(&asked).map_err(|error| {
        Error::new(&codes::INTERNAL, "a projection is out of bounds").source(error)
    })?;
    let expressions: Vec<Expr> = read
        .iter()
        .map(|index| Expr::Column(Column::from(df.schema().qualified_field(*index))))
        .collect();
    if read.len() < all.len() {
        df = df.select(expressions).map_err(sql::datafusion_error)?;
    }
    let columns = asked
        .iter()
        .map(|index| read.binary_search(index).unwrap_or_default())
        .collect();
    Ok(Planned {
        df,
        columns,
        schema: Arc::new(schema),
    })
}

/// Runs a scan, one stream per partition.
pub(crate) async fn scan(
    store: &DeltaOfflineStore,
    cx: &Context,
    scan: &Scan,
) -> Result<Vec<BatchStream>> {
    let Planned {
        df,
        columns,
        schema,
    } = plan(store, cx, scan).await?;
    let columns: Arc<[usize]> = columns.into();
    let streams = sql::partitions(cx, df).await?;
    Ok(streams
        .into_iter()
        .map(|stream| {
            let (columns, answer) = (columns.clone(), schema.clone());
            BatchStream::new(
                schema.clone(),
                stream
                    .batches
                    .map(move |batch| rearrange(&batch?, &columns, &answer)),
            )
        })
        .collect())
}

/// Holds the rows of a table open, where they can be read one by one. Of rows with other keys those
/// are left out that lie apart.
pub(crate) async fn open_rows(
    store: &DeltaOfflineStore,
    cx: &Context,
    scan: &Scan,
    keys: &[WantedKeys],
) -> Result<Option<Arc<dyn RowAccess>>> {
    cx.check()?;
    let Relation::Table(name) = &scan.source.relation else {
        return Ok(None);
    };
    if !read::is_plain(scan) {
        return Ok(None);
    }
    let place = store.tables.find_existing(name).await?;
    let version = scan.source.version.as_ref();
    match (place.kind, place.at.local()) {
        (Kind::Delta, _) => {
            let (table, snapshot) = store.tables.snapshot(&place, version).await?;
            read::delta_table(cx, name, &table, &snapshot, scan, keys).await
        }
        (Kind::Parquet, Some(path)) if version.is_none() && path.is_file() => {
            read::parquet_file(cx, name, path, scan, keys).await
        }
        _ => Ok(None),
    }
}

fn index_of(all: &[String], name: &str, source: &SourceRef) -> Result<usize> {
    let found = find_column(name, all.iter().map(String::as_str))
        .map_err(|error| error.context("source", source.describe()))?;
    Ok(all
        .iter()
        .position(|column| column == found)
        .unwrap_or_default())
}

/// A condition that holds for every row inside of a range; `None` where there is nothing to gain or
/// the column's type leaves a doubt.
fn in_range(df: &DataFrame, range: &ColumnRange, source: &SourceRef) -> Result<Option<Expr>> {
    let all: Vec<String> = df
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    let index = index_of(&all, &range.column, source)?;
    let (qualifier, field) = df.schema().qualified_field(index);
    let column = Expr::Column(Column::from((qualifier, field)));
    let Some((min, max)) = bounds(field.data_type(), range) else {
        return Ok(None);
    };
    let least = min.map(|value| column.clone().gt_eq(lit(value)));
    let greatest = max.map(|value| column.lt_eq(lit(value)));
    Ok(match (least, greatest) {
        (Some(least), Some(greatest)) => Some(least.and(greatest)),
        (least, greatest) => least.or(greatest),
    })
}

/// The least and greatest value of a type whose instants, floored to microseconds, lie in a range.
fn bounds(
    data_type: &DataType,
    range: &ColumnRange,
) -> Option<(Option<ScalarValue>, Option<ScalarValue>)> {
    let coarse = |unit_us: i64| {
        // The least multiple of the unit from min on, and the greatest one up to max.
        let min = range
            .min_us
            .map(|min| min.div_euclid(unit_us) + i64::from(min.rem_euclid(unit_us) != 0));
        let max = range.max_us.map(|max| max.div_euclid(unit_us));
        (min, max)
    };
    match data_type {
        DataType::Timestamp(unit, zone) => {
            let (min, max) = match unit {
                TimeUnit::Microsecond => coarse(1),
                TimeUnit::Millisecond => coarse(1_000),
                TimeUnit::Second => coarse(1_000_000),
                // Every nanosecond of the greatest microsecond lies inside. A bound that
                // nanoseconds cannot say is beyond all of their values.
                TimeUnit::Nanosecond => (
                    range.min_us.and_then(|min| min.checked_mul(1_000)),
                    range
                        .max_us
                        .and_then(|max| max.checked_mul(1_000)?.checked_add(999)),
                ),
            };
            let literal = |value: i64| match unit {
                TimeUnit::Second => ScalarValue::TimestampSecond(Some(value), zone.clone()),
                TimeUnit::Millisecond => {
                    ScalarValue::TimestampMillisecond(Some(value), zone.clone())
                }
                TimeUnit::Microsecond => {
                    ScalarValue::TimestampMicrosecond(Some(value), zone.clone())
                }
                TimeUnit::Nanosecond => ScalarValue::TimestampNanosecond(Some(value), zone.clone()),
            };
            Some((min.map(literal), max.map(literal)))
        }
        DataType::Date32 => {
            let (min, max) = coarse(86_400_000_000);
            let day = |value: i64| {
                i32::try_from(value)
                    .ok()
                    .map(|day| ScalarValue::Date32(Some(day)))
            };
            Some((min.and_then(day), max.and_then(day)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn range(min_us: i64, max_us: i64) -> ColumnRange {
        ColumnRange {
            column: "t".to_owned(),
            min_us: Some(min_us),
            max_us: Some(max_us),
        }
    }

    #[test]
    fn bounds_hold_every_value_that_floors_into_the_range() {
        let zone = Some(Arc::from("UTC"));
        let of = |data_type: DataType, min, max| bounds(&data_type, &range(min, max)).unwrap();
        assert_eq!(
            of(
                DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()),
                -2,
                3
            ),
            (
                Some(ScalarValue::TimestampNanosecond(Some(-2_000), zone.clone())),
                Some(ScalarValue::TimestampNanosecond(Some(3_999), zone)),
            )
        );
        assert_eq!(
            of(
                DataType::Timestamp(TimeUnit::Millisecond, None),
                -1_500,
                1_999
            ),
            (
                Some(ScalarValue::TimestampMillisecond(Some(-1), None)),
                Some(ScalarValue::TimestampMillisecond(Some(1), None)),
            )
        );
        assert_eq!(
            of(DataType::Date32, 1, 2 * 86_400_000_000),
            (
                Some(ScalarValue::Date32(Some(1))),
                Some(ScalarValue::Date32(Some(2))),
            )
        );
        let (min, max) = of(
            DataType::Timestamp(TimeUnit::Nanosecond, None),
            i64::MIN,
            i64::MAX,
        );
        assert!(min.is_none() && max.is_none());
        assert!(bounds(&DataType::Date64, &range(0, 1)).is_none());
        assert!(bounds(&DataType::Int64, &range(0, 1)).is_none());
    }
}
