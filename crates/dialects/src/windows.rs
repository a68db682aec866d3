//! Sliding windows inside of a join.
//!
//! Decides how a window is computed for every slot without comparing slots with rows. Time is cut into
//! stretches as long as the window. A window (t - w, t] then is the end of one stretch and the start of the
//! next, and running aggregates from a stretch's start to t and from t - w to a stretch's end give both: only
//! additions, so no digits are lost. Where only what was known counts, a row counts from the later of its two
//! times until its event leaves the window; what has come less what has gone gives exact numbers. What
//! follows from neither is left to the caller.

use provender_core::error::Result;
use provender_core::model::AggregateFunction;
use provender_core::request::{ViewJoin, WindowAggregate};

use crate::aggregate::{Gather, Pieces, Value};
use crate::answer::{AnswerColumn, Encoding};
use crate::column::distinct_term;
use crate::source::unsupported;
use crate::view::{Ctes, LONGEST_US, Output, Part, TimedRows, equal};

/// An instant after all others.
const NEVER_US: i64 = 1 << 62;

/// How the rows of a window are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// All rows up to t.
    Unlimited,
    /// The end of one stretch and the start of the next.
    Stretches,
    /// What has come less what has gone.
    Differences,
}

/// Adds the subqueries of a view's aggregations.
pub(crate) fn aggregations(
    timed: &TimedRows,
    view: &ViewJoin,
    ctes: &mut Ctes,
    prefix: &str,
    slots: &str,
) -> Result<Vec<Part>> {
    let mut builder = Builder {
        timed,
        slots,
        prefix,
        columns: Vec::new(),
        groups: Vec::new(),
        distincts: Vec::new(),
        lasts: Vec::new(),
    };
    for (at, aggregation) in view.aggregations.iter().enumerate() {
        builder.sort_in(view.features.len() + at, aggregation)?;
    }
    builder.finish(ctes)
}

struct Builder<'a> {
    timed: &'a TimedRows,
    slots: &'a str,
    prefix: &'a str,
    /// Expressions over the source's rows, and their names.
    columns: Vec<(String, String)>,
    groups: Vec<Group<'a>>,
    distincts: Vec<(usize, &'a WindowAggregate, String)>,
    lasts: Vec<(&'a str, Vec<(usize, &'a WindowAggregate)>)>,
}

/// The aggregations of one window.
struct Group<'a> {
    window_us: i64,
    pieces: Pieces,
    values: Vec<(usize, &'a WindowAggregate, Value)>,
}

impl<'a> Builder<'a> {
    fn sort_in(&mut self, at: usize, aggregation: &'a WindowAggregate) -> Result<()> {
        let dialect = self.timed.dialect;
        let window_us = aggregation.window_us.min(LONGEST_US);
        match (aggregation.function, &aggregation.column) {
            (AggregateFunction::Last, Some(column)) => {
                let known = self.lasts.iter_mut().find(|(known, _)| known == column);
                match known {
                    Some((_, list)) => list.push((at, aggregation)),
                    None => self.lasts.push((column, vec![(at, aggregation)])),
                }
            }
            (AggregateFunction::CountDistinct, Some(name)) => {
                let (column, field) = self.timed.rows.column(name)?;
                let term = distinct_term(dialect, &column).ok_or_else(|| {
                    unsupported(format!(
                        "count_distinct of {name:?}, which is {}, is not computed in SQL",
                        field.data_type()
                    ))
                })?;
                // A term may have a value where the column has none.
                let sql = format!("CASE WHEN {} IS NOT NULL THEN {term} END", column.sql);
                let name = self.column(sql);
                self.distincts.push((at, aggregation, name));
            }
            _ => {
                let known = self
                    .groups
                    .iter()
                    .position(|group| group.window_us == window_us);
                let index = known.unwrap_or_else(|| {
                    self.groups.push(Group {
                        window_us,
                        pieces: Pieces::default(),
                        values: Vec::new(),
                    });
                    self.groups.len() - 1
                });
                let shape = self.shape(window_us);
                let group = &mut self.groups[index];
                let value = group.pieces.add(dialect, &self.timed.rows, aggregation)?;
                let is_exact =
                    shape != Shape::Differences || value.as_ref().is_some_and(Value::is_invertible);
                match value {
                    Some(value) if is_exact => group.values.push((at, aggregation, value)),
                    _ => {
                        return Err(unsupported(format!(
                            "{} over what was known is not computed in SQL",
                            aggregation.function
                        )));
                    }
                }
            }
        }
        Ok(())
    }

    fn shape(&self, window_us: i64) -> Shape {
        if window_us >= LONGEST_US {
            Shape::Unlimited
        } else if self.timed.as_known() {
            Shape::Differences
        } else {
            Shape::Stretches
        }
    }

    /// The name of an expression over the source's rows.
    fn column(&mut self, sql: String) -> String {
        if let Some((_, name)) = self.columns.iter().find(|(known, _)| *known == sql) {
            return name.clone();
        }
        let name = format!("a{}", self.columns.len());
        self.columns.push((sql, name.clone()));
        name
    }

    fn finish(mut self, ctes: &mut Ctes) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        let groups = std::mem::take(&mut self.groups);
        let names: Vec<Vec<String>> = groups
            .iter()
            .map(|group| {
                let arguments = group.pieces.arguments.iter();
                arguments
                    .map(|argument| self.column(argument.sql.clone()))
                    .collect()
            })
            .collect();
        if !self.columns.is_empty() {
            let timed = self.timed;
            let source = timed.comparable(&self.columns, &[], Some(self.slots));
            let source = ctes.add(timed.dialect, &format!("{}_a", self.prefix), source);
            for (index, (group, names)) in groups.iter().zip(&names).enumerate() {
                let prefix = format!("{}_g{index}", self.prefix);
                parts.push(self.group(ctes, &prefix, &source, group, names));
            }
            for (index, (at, aggregation, name)) in self.distincts.iter().enumerate() {
                let prefix = format!("{}_d{index}", self.prefix);
                let name = self.distinct(ctes, &prefix, &source, name, aggregation.window_us);
                parts.push(Part {
                    name,
                    outputs: vec![Output {
                        at: *at,
                        columns: vec![timed.dialect.own("x0")],
                        answer: AnswerColumn::new(
                            &aggregation.output,
                            &aggregation.value_type,
                            Encoding::Plain,
                        ),
                    }],
                });
            }
        }
        for (index, (column, list)) in self.lasts.iter().enumerate() {
            let prefix = format!("{}_l{index}", self.prefix);
            parts.push(self.last(ctes, &prefix, column, list)?);
        }
        Ok(parts)
    }

    fn group(
        &self,
        ctes: &mut Ctes,
        prefix: &str,
        source: &str,
        group: &Group<'_>,
        names: &[String],
    ) -> Part {
        let (timed, dialect, w) = (self.timed, self.timed.dialect, group.window_us);
        let shape = self.shape(w);
        let own = |name: &str| dialect.own(name);
        let [e, p, z, b, t] = ["e", "p", "z", "b", "t"].map(own);
        let keys = timed.key_names(None).join(", ");
        let arguments: Vec<String> = names.iter().map(|name| own(name)).collect();
        let nulls: Vec<String> = group
            .pieces
            .arguments
            .iter()
            .zip(&arguments)
            .map(|(argument, name)| format!("{} AS {name}", dialect.null(argument.sql_type)))
            .collect();
        let (arguments_sql, nulls) = (arguments.join(", "), nulls.join(", "));
        let from = timed.counts_from();
        let all = match shape {
            Shape::Unlimited => format!(
                "SELECT {keys}, {from} AS {p}, 0 AS {z}, {arguments_sql} FROM {source}\nUNION ALL\n\
                 SELECT {keys}, {t} AS {p}, 1 AS {z}, {nulls} FROM {}",
                self.slots
            ),
            Shape::Stretches => format!(
                "SELECT {keys}, {e} AS {p}, 0 AS {z}, {} AS {b}, {arguments_sql} FROM {source}\nUNION ALL\n\
                 SELECT {keys}, {t} AS {p}, 1 AS {z}, {} AS {b}, {nulls} FROM {}",
                stretch(&e, w),
                stretch(&t, w),
                self.slots
            ),
            Shape::Differences => {
                let gone: Vec<String> = arguments
                    .iter()
                    .map(|argument| format!("-{argument} AS {argument}"))
                    .collect();
                format!(
                    "SELECT {keys}, {from} AS {p}, 0 AS {z}, {arguments_sql} FROM {source} WHERE {e} + {w} > {from}\n\
                     UNION ALL\n\
                     SELECT {keys}, {e} + {w} AS {p}, 0 AS {z}, {} FROM {source} WHERE {e} + {w} > {from}\n\
                     UNION ALL\n\
                     SELECT {keys}, {t} AS {p}, 1 AS {z}, {nulls} FROM {}",
                    gone.join(", "),
                    self.slots
                )
            }
        };
        let all = ctes.add(dialect, &format!("{prefix}_u"), all);
        let partition = match shape {
            Shape::Stretches => format!("{keys}, {b}"),
            _ => keys.clone(),
        };
        let running = |from: &str, order: &str| {
            let pieces: Vec<String> = group
                .pieces
                .pieces
                .iter()
                .enumerate()
                .map(|(index, (gather, argument))| {
                    let gather = match shape {
                        Shape::Differences => Gather::Sum,
                        _ => *gather,
                    };
                    format!(
                        "{} OVER (PARTITION BY {partition} ORDER BY {order}\n    \
                         ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS {}",
                        gather.sql(&arguments[*argument]),
                        own(&format!("p{index}"))
                    )
                })
                .collect();
            format!(
                "SELECT {keys}, {p}, {z},\n  {}\nFROM {from}",
                pieces.join(",\n  ")
            )
        };
        let rising = format!("{p} ASC NULLS FIRST, {z} ASC NULLS FIRST");
        let start = ctes.add(dialect, &format!("{prefix}_s"), running(&all, &rising));
        let end = (shape == Shape::Stretches).then(|| {
            let lower = format!("{t} - {w}");
            let all = ctes.add(
                dialect,
                &format!("{prefix}_v"),
                format!(
                    "SELECT {keys}, {e} AS {p}, 0 AS {z}, {} AS {b}, {arguments_sql} FROM {source}\nUNION ALL\n\
                     SELECT {keys}, {lower} AS {p}, 1 AS {z}, {} AS {b}, {nulls} FROM {}",
                    stretch(&e, w),
                    stretch(&format!("({lower})"), w),
                    self.slots
                ),
            );
            // A row at t - w itself lies outside, so the slot goes before it.
            let falling = format!("{p} DESC NULLS LAST, {z} DESC NULLS LAST");
            ctes.add(dialect, &format!("{prefix}_e"), running(&all, &falling))
        });
        let sides: &[&str] = if end.is_some() { &["a", "b"] } else { &["a"] };
        let parts = |piece: usize| -> Vec<String> {
            sides
                .iter()
                .map(|side| timed.name(Some(side), &format!("p{piece}")))
                .collect()
        };
        let mut list = timed.key_names(Some("a"));
        list.push(format!("{} AS {t}", timed.name(Some("a"), "p")));
        let mut outputs = Vec::new();
        for (at, aggregation, value) in &group.values {
            let (columns, encoding) =
                value.columns(dialect, &group.pieces, &aggregation.value_type, &parts);
            let mut names = Vec::new();
            for sql in columns {
                let name = own(&format!("x{}", list.len()));
                list.push(format!("{sql} AS {name}"));
                names.push(name);
            }
            outputs.push(Output {
                at: *at,
                columns: names,
                answer: AnswerColumn::new(&aggregation.output, &aggregation.value_type, encoding),
            });
        }
        let list = list.join(",\n  ");
        let is_slot = |side: &str| format!("{} = 1", timed.name(Some(side), "z"));
        let body = match end {
            None => format!(
                "SELECT {list}\nFROM {start} AS {}\nWHERE {}",
                own("a"),
                is_slot("a")
            ),
            Some(end) => format!(
                "SELECT {list}\nFROM {start} AS {} JOIN {end} AS {} ON {} AND {} - {w} = {}\nWHERE {} AND {}",
                own("a"),
                own("b"),
                equal(&timed.key_names(Some("a")), &timed.key_names(Some("b"))),
                timed.name(Some("a"), "p"),
                timed.name(Some("b"), "p"),
                is_slot("a"),
                is_slot("b")
            ),
        };
        Part {
            name: ctes.add(dialect, prefix, body),
            outputs,
        }
    }

    /// A value is there from when its first row counts until its last row leaves the window. Rows of one value whose
    /// times overlap are joined first, so that each value counts once.
    fn distinct(
        &self,
        ctes: &mut Ctes,
        prefix: &str,
        source: &str,
        value: &str,
        window_us: i64,
    ) -> String {
        let (timed, dialect) = (self.timed, self.timed.dialect);
        let own = |name: &str| dialect.own(name);
        let [e, p, z, t, l, q, d, x0] = ["e", "p", "z", "t", "l", "q", "d", "x0"].map(own);
        let value = own(value);
        let keys = timed.key_names(None).join(", ");
        let is_limited = window_us < LONGEST_US;
        let leaves = if is_limited {
            format!("{e} + {window_us}")
        } else {
            NEVER_US.to_string()
        };
        let from = timed.counts_from();
        let spans = ctes.add(
            dialect,
            &format!("{prefix}_f"),
            format!(
                "SELECT {keys}, {value}, {from} AS {p}, {leaves} AS {l} FROM {source}\n\
                 WHERE {value} IS NOT NULL AND {leaves} > {from}"
            ),
        );
        let joined = ctes.add(
            dialect,
            &format!("{prefix}_j"),
            format!(
                "SELECT {keys}, {p}, {l},\n  MAX({l}) OVER (PARTITION BY {keys}, {value} ORDER BY {p} ASC NULLS FIRST, {l} ASC NULLS FIRST\n    \
                 ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS {q}\nFROM {spans}"
            ),
        );
        let is_new = format!("{q} IS NULL OR {l} > {q}");
        let mut all = format!(
            "SELECT {keys}, CASE WHEN {q} > {p} THEN {q} ELSE {p} END AS {p}, 0 AS {z}, 1 AS {d} FROM {joined} WHERE {is_new}\n\
             UNION ALL\nSELECT {keys}, {t} AS {p}, 1 AS {z}, 0 AS {d} FROM {}",
            self.slots
        );
        if is_limited {
            all.push_str(&format!(
                "\nUNION ALL\nSELECT {keys}, {l} AS {p}, 0 AS {z}, -1 AS {d} FROM {joined} WHERE {is_new}"
            ));
        }
        let all = ctes.add(dialect, &format!("{prefix}_u"), all);
        let running = ctes.add(
            dialect,
            &format!("{prefix}_w"),
            format!(
                "SELECT {keys}, {p}, {z},\n  SUM({d}) OVER (PARTITION BY {keys} ORDER BY {p} ASC NULLS FIRST, {z} ASC NULLS FIRST\n    \
                 ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS {d}\nFROM {all}"
            ),
        );
        ctes.add(
            dialect,
            prefix,
            format!("SELECT {keys}, {p} AS {t}, {d} AS {x0} FROM {running} WHERE {z} = 1"),
        )
    }

    /// The winner among the rows whose value is not null, where it lies in the window.
    fn last(
        &self,
        ctes: &mut Ctes,
        prefix: &str,
        name: &str,
        list: &[(usize, &WindowAggregate)],
    ) -> Result<Part> {
        let (timed, dialect) = (self.timed, self.timed.dialect);
        let (column, field) = timed.rows.column(name)?;
        let columns = [(column.sql.clone(), "x".to_owned())];
        let conditions = [format!("{} IS NOT NULL", column.sql)];
        let mut fetched = Vec::new();
        let mut outputs = Vec::new();
        for (index, (at, aggregation)) in list.iter().enumerate() {
            let value = timed.name(Some("r"), "x");
            let sql = if aggregation.window_us >= LONGEST_US {
                value
            } else {
                format!(
                    "CASE WHEN {} > {} - {} THEN {value} END",
                    timed.name(Some("r"), "e"),
                    timed.name(Some("w"), "p"),
                    aggregation.window_us
                )
            };
            let name = format!("x{index}");
            fetched.push((sql, name.clone()));
            let encoding = Encoding::Source {
                field: field.clone(),
                checked: false,
            };
            outputs.push(Output {
                at: *at,
                columns: vec![dialect.own(&name)],
                answer: AnswerColumn::new(&aggregation.output, &aggregation.value_type, encoding),
            });
        }
        let rows = (&columns[..], &conditions[..]);
        let name = timed.winners(ctes, prefix, self.slots, rows, &fetched, None);
        Ok(Part { name, outputs })
    }
}

/// The start of the stretch that holds an instant.
fn stretch(instant: &str, length_us: i64) -> String {
    format!("{instant} - MOD(MOD({instant}, {length_us}) + {length_us}, {length_us})")
}

/// The least instant that any window of a view reaches before its slot's.
pub(crate) fn longest_us(view: &ViewJoin) -> Option<i64> {
    let windows = view
        .aggregations
        .iter()
        .map(|aggregation| aggregation.window_us);
    windows.max()
}
