//! Requests without a spine: scans, the latest row per key, and windows as of one instant.
//!
//! Decides how rows are grouped by key. It deliberately knows no slots: each key has one answer.

use provender_core::error::Result;
use provender_core::model::AggregateFunction;
use provender_core::request::{ColumnRange, KeyColumn, LatestPerKey, Scan, WindowsAt};

use crate::aggregate::Pieces;
use crate::answer::{Answer, AnswerColumn, Encoding};
use crate::column::{KeyType, distinct_term};
use crate::source::{Rows, unsupported};
use crate::spine::FARTHEST_US;
use crate::view::{Ctes, TimedRows, equal};
use crate::{Dialect, Sources};

/// The statement of a scan. All columns are answered as the source holds them, and rows outside of any range are
/// left out.
///
/// # Errors
/// `InvalidArgument` for names, filters and queries that cannot be put into a statement, and missing columns.
pub fn scan(dialect: Dialect, scan: &Scan, sources: &Sources) -> Result<Answer> {
    let rows = Rows::source(dialect, &scan.source, sources)?;
    let names: Vec<String> = match &scan.columns {
        Some(columns) => columns.clone(),
        None => rows
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect(),
    };
    let mut list = Vec::new();
    let mut columns = Vec::new();
    for name in &names {
        let (column, field) = rows.column(name)?;
        list.push(format!(
            "{} AS {}",
            column.sql,
            dialect.own(&format!("c{}", list.len()))
        ));
        columns.push(AnswerColumn {
            name: name.clone(),
            value_type: None,
            encoding: Encoding::Source {
                field: field.clone(),
                checked: false,
            },
        });
    }
    // A scan of no columns still has as many rows as there are.
    if list.is_empty() {
        list.push(format!("1 AS {}", dialect.own("c0")));
    }
    let mut sql = format!("SELECT {}\nFROM {}", list.join(", "), rows.from);
    let conditions = ranges(dialect, &rows, &scan.ranges)?;
    if !conditions.is_empty() {
        sql.push_str(&format!("\nWHERE {}", conditions.join(" AND ")));
    }
    Ok(Answer { sql, columns })
}

/// The statement of the latest row per key: keys, event time, created time, tie breakers, features. All but the
/// keys are as the source holds them.
///
/// # Errors
/// As [`scan`], and `Unsupported` for keys and tie breakers that are not compared in SQL.
pub fn latest(dialect: Dialect, latest: &LatestPerKey, sources: &Sources) -> Result<Answer> {
    let source = &latest.source;
    let (timed, _) = TimedRows::new(dialect, source, &latest.keys, sources, false, &|_| Ok(None))?;
    let mut fetched: Vec<(String, String)> = Vec::new();
    let mut columns = key_columns(&timed, &latest.keys);
    let times = std::iter::once(&source.timestamp).chain(&source.created_timestamp);
    let plain = times
        .chain(&source.tie_breakers)
        .map(|column| (column, column, None, false));
    let features = latest.features.iter().map(|feature| {
        let value_type = Some(feature.value_type.clone());
        (
            &feature.column,
            &feature.output,
            value_type,
            feature.checked,
        )
    });
    for (name, output, value_type, checked) in plain.chain(features) {
        let (column, field) = timed.rows.column(name)?;
        fetched.push((column.sql, format!("x{}", fetched.len())));
        columns.push(AnswerColumn {
            name: output.clone(),
            value_type,
            encoding: Encoding::Source {
                field: field.clone(),
                checked,
            },
        });
    }
    let conditions = ranges(dialect, &timed.rows, &latest.ranges)?;
    let mut ctes = Ctes::default();
    let rows = timed.comparable(&fetched, &conditions, None);
    let rows = ctes.add(dialect, "rows", rows);
    let ranked = ctes.add(
        dialect,
        "ranked",
        format!(
            "SELECT {rows}.*,\n  ROW_NUMBER() OVER (PARTITION BY {} ORDER BY {}) AS {}\nFROM {rows}",
            timed.key_names(None).join(", "),
            timed.by_age(true),
            dialect.own("n")
        ),
    );
    let mut list = timed.key_names(None);
    list.truncate(latest.keys.len());
    list.extend(fetched.iter().map(|(_, name)| dialect.own(name)));
    let list = numbered(dialect, &list);
    let sql = format!(
        "{}SELECT {list}\nFROM {ranked}\nWHERE {} = 1",
        ctes.sql(),
        dialect.own("n")
    );
    Ok(Answer { sql, columns })
}

/// The statement of windows as of one instant: keys, then aggregations.
///
/// # Errors
/// As [`latest`], and `Unsupported` for aggregations that are not computed in SQL.
pub fn windows(dialect: Dialect, windows: &WindowsAt, sources: &Sources) -> Result<Answer> {
    let source = &windows.source;
    let (mut timed, _) = TimedRows::new(dialect, source, &windows.keys, sources, false, &|_| {
        Ok(None)
    })?;
    let at_us = windows.at_us.clamp(-FARTHEST_US, FARTHEST_US);
    let oldest = windows
        .aggregations
        .iter()
        .map(|aggregation| after(at_us, aggregation.window_us))
        .chain([windows.active_after_us])
        .min();
    timed.range_us = (oldest, Some(at_us));
    let mut pieces = Pieces::default();
    let mut values = Vec::new();
    for aggregation in &windows.aggregations {
        values.push(pieces.add(dialect, &timed.rows, aggregation)?);
    }
    // Every argument is read once, whatever the windows it is gathered over.
    let mut fetched: Vec<(String, String)> = Vec::new();
    let mut fetch = |sql: String| match fetched.iter().find(|(known, _)| *known == sql) {
        Some((_, name)) => dialect.own(name),
        None => {
            let name = format!("a{}", fetched.len());
            fetched.push((sql, name.clone()));
            dialect.own(&name)
        }
    };
    let arguments: Vec<String> = pieces
        .arguments
        .iter()
        .map(|argument| fetch(argument.sql.clone()))
        .collect();
    let e = dialect.own("e");
    let inside = |window_us: i64, sql: &str| {
        format!("CASE WHEN {e} > {} THEN {sql} END", after(at_us, window_us))
    };
    let own_keys = timed.key_names(None);
    let mut grouped = own_keys.clone();
    let mut columns = key_columns(&timed, &windows.keys);
    // For each aggregation the columns that give it, of the groups or of a subquery of its own.
    let mut outputs: Vec<Vec<String>> = Vec::new();
    let mut lasts = Vec::new();
    for (aggregation, value) in windows.aggregations.iter().zip(&values) {
        let mut answer = AnswerColumn::new(
            &aggregation.output,
            &aggregation.value_type,
            Encoding::Plain,
        );
        let mut names = Vec::new();
        let mut group = |sql: String| {
            let name = dialect.own(&format!("x{}", grouped.len()));
            grouped.push(format!("{sql} AS {name}"));
            names.push(format!("{}.{name}", dialect.own("g")));
        };
        match (value, &aggregation.column) {
            (Some(value), _) => {
                let part = |piece: usize| {
                    let (gather, argument) = pieces.pieces[piece];
                    let argument = inside(aggregation.window_us, &arguments[argument]);
                    vec![gather.sql(&argument)]
                };
                let (list, encoding) =
                    value.columns(dialect, &pieces, &aggregation.value_type, &part);
                answer.encoding = encoding;
                list.into_iter().for_each(&mut group);
            }
            (None, Some(name)) if aggregation.function == AggregateFunction::CountDistinct => {
                let (column, field) = timed.rows.column(name)?;
                let term = distinct_term(dialect, &column).ok_or_else(|| {
                    unsupported(format!(
                        "count_distinct of {name:?}, which is {}, is not computed in SQL",
                        field.data_type()
                    ))
                })?;
                let argument = fetch(format!(
                    "CASE WHEN {} IS NOT NULL THEN {term} END",
                    column.sql
                ));
                let argument = inside(aggregation.window_us, &argument);
                group(format!("COUNT(DISTINCT {argument})"));
            }
            (None, Some(name)) => {
                let (column, field) = timed.rows.column(name)?;
                answer.encoding = Encoding::Source {
                    field: field.clone(),
                    checked: false,
                };
                let present = format!("CASE WHEN {} IS NOT NULL THEN 1 END", column.sql);
                let (value, present) = (fetch(column.sql), fetch(present));
                let alias = dialect.own(&format!("l{}", lasts.len()));
                names.push(format!("{alias}.{}", dialect.own("x")));
                lasts.push((alias, value, present, after(at_us, aggregation.window_us)));
            }
            (None, None) => {}
        }
        outputs.push(names);
        columns.push(answer);
    }
    let conditions = ranges_of(&e, None, Some(at_us));
    let mut ctes = Ctes::default();
    let rows = ctes.add(dialect, "rows", timed.comparable(&fetched, &[], None));
    let active_after_us = windows.active_after_us.clamp(-FARTHEST_US, FARTHEST_US);
    let keys = own_keys.join(", ");
    let groups = ctes.add(
        dialect,
        "groups",
        format!(
            "SELECT {}\nFROM {rows}\nWHERE {}\nGROUP BY {keys}\nHAVING MAX({e}) > {active_after_us}",
            grouped.join(",\n  "),
            conditions.join(" AND ")
        ),
    );
    let (g, n) = (Some("g"), dialect.own("n"));
    let mut from = format!("{groups} AS {}", dialect.own("g"));
    for (index, (alias, value, present, oldest_us)) in lasts.iter().enumerate() {
        let ranked = ctes.add(
            dialect,
            &format!("last{index}_n"),
            format!(
                "SELECT {keys}, {value} AS {},\n  ROW_NUMBER() OVER (PARTITION BY {keys} ORDER BY {}) AS {n}\n\
                 FROM {rows}\nWHERE {present} = 1 AND {e} > {oldest_us} AND {}",
                dialect.own("x"),
                timed.by_age(true),
                conditions.join(" AND ")
            ),
        );
        let last = ctes.add(
            dialect,
            &format!("last{index}"),
            format!("SELECT * FROM {ranked} WHERE {n} = 1"),
        );
        let alias_keys: Vec<String> = own_keys
            .iter()
            .map(|key| format!("{alias}.{key}"))
            .collect();
        from.push_str(&format!(
            "\nLEFT JOIN {last} AS {alias} ON {}",
            equal(&timed.key_names(g), &alias_keys)
        ));
    }
    let mut list = timed.key_names(g);
    list.truncate(windows.keys.len());
    list.extend(outputs.into_iter().flatten());
    let sql = format!(
        "{}SELECT {}\nFROM {from}",
        ctes.sql(),
        numbered(dialect, &list)
    );
    Ok(Answer { sql, columns })
}

/// The instant after which a window as of another starts, within what every warehouse stores.
fn after(at_us: i64, window_us: i64) -> i64 {
    at_us.saturating_sub(window_us).max(-FARTHEST_US)
}

fn key_columns(timed: &TimedRows, keys: &[KeyColumn]) -> Vec<AnswerColumn> {
    keys.iter()
        .zip(&timed.key_types)
        .map(|(key, key_type)| {
            let encoding = match key_type {
                KeyType::Micros => Encoding::Micros,
                KeyType::Bytes => Encoding::Bytes,
                _ => Encoding::Plain,
            };
            AnswerColumn::new(&key.spine, &key.value_type, encoding)
        })
        .collect()
}

fn ranges(dialect: Dialect, rows: &Rows, ranges: &[ColumnRange]) -> Result<Vec<String>> {
    let mut conditions = Vec::new();
    for range in ranges {
        let (micros, column) = rows.micros(&range.column)?;
        // Files are skipped by the column itself; which rows are in is for the microseconds to say.
        let mut bound = |operator: &str, us: Option<i64>| {
            let literal = us.and_then(|us| dialect.instant_literal(us, column.kind));
            conditions
                .extend(literal.map(|literal| format!("{} {operator} {literal}", column.sql)));
        };
        bound(">=", range.min_us);
        bound("<", range.max_us.and_then(|us| us.checked_add(1)));
        let clamp = |us: Option<i64>| us.map(|us| us.clamp(-FARTHEST_US, FARTHEST_US));
        conditions.extend(ranges_of(&micros, clamp(range.min_us), clamp(range.max_us)));
        conditions.push(format!("{} IS NOT NULL", column.sql));
    }
    Ok(conditions)
}

fn ranges_of(micros: &str, min_us: Option<i64>, max_us: Option<i64>) -> Vec<String> {
    let min = min_us.map(|us| format!("{micros} >= {us}"));
    let max = max_us.map(|us| format!("{micros} <= {us}"));
    min.into_iter().chain(max).collect()
}

fn numbered(dialect: Dialect, list: &[String]) -> String {
    let list: Vec<String> = list
        .iter()
        .enumerate()
        .map(|(at, sql)| format!("{sql} AS {}", dialect.own(&format!("c{at}"))))
        .collect();
    list.join(", ")
}
