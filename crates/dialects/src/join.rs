//! Point-in-time joins: the spine, its slots, the views, and how many statements they take.
//!
//! Decides how the answers of views come back to the spine's rows: by equality with the slot that each row
//! asks about. It deliberately does not know how a view finds its values.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use provender_core::ValueType;
use provender_core::error::{Error, Result, codes};
use provender_core::names::find_column;
use provender_core::request::{KeyColumn, PointInTimeJoin, SourceRef, SqlSpine, ViewJoin};

use crate::answer::{Answer, AnswerColumn, Encoding};
use crate::column::Column;
use crate::dialect::SqlType;
use crate::source::Rows;
use crate::spine::{create, drop_table};
use crate::view::{Ctes, LONGEST_US, Part, TimedRows, features};
use crate::windows::{aggregations, longest_us};
use crate::{Dialect, Limits, Sources, SpineLayout, TableName};

/// Where the spine is.
#[derive(Clone, Copy, Debug)]
pub enum SpineInput<'a> {
    /// A few rows, which every statement holds as VALUES.
    Inline(&'a RecordBatch, &'a SpineLayout),
    /// A table that [`SpineLayout::create`] made, or one of the same columns.
    Table(&'a TableName, &'a SpineLayout),
    /// Rows of the store's own. The relation is read several times: a query that answers differently each time
    /// has to be put into a table first.
    Sql {
        /// The rows.
        spine: &'a SqlSpine,
        /// Their columns, as in [`crate::SourceTable`].
        schema: &'a SchemaRef,
        /// The table's name as the store spells it; `None` reads the spine's text.
        table: Option<&'a TableName>,
        /// The name of a table that is made and dropped if one statement cannot join all views.
        scratch: &'a TableName,
    },
}

/// The statements of a join, to be run one after the other in one session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JoinPlan {
    /// What goes before.
    pub setup: Vec<String>,
    /// What answers. For spines of rows, and for others if there are several, every answer has the row number as
    /// its first column and is ordered by it, and has all rows of the spine; features are in the request's order,
    /// one answer's after the other's. A spine of the store's own comes back with its columns before the first
    /// answer's features.
    pub answers: Vec<Answer>,
    /// What has to follow, whatever happened.
    pub cleanup: Vec<String>,
}

/// The statements that answer a join.
///
/// # Errors
/// `Unsupported` for what is not exact in this dialect (see [`supports`]); `InvalidArgument` for names, filters and
/// queries that cannot be put into a statement, columns that are missing, and `as_known` without created time.
pub fn point_in_time_join(
    dialect: Dialect,
    join: &PointInTimeJoin,
    spine: SpineInput<'_>,
    sources: &Sources,
    limits: &Limits,
) -> Result<JoinPlan> {
    let spine = Spine::new(dialect, spine)?;
    let batches = batches(dialect, join, &spine, sources, limits)?;
    let mut plan = JoinPlan::default();
    let spine = match spine.scratch.clone() {
        Some(scratch) if batches.len() > 1 => {
            let (setup, moved) = spine.into_table(dialect, &scratch)?;
            plan.setup.push(setup);
            plan.cleanup.push(drop_table(dialect, &scratch)?);
            moved
        }
        _ => spine,
    };
    for (index, views) in batches.into_iter().enumerate() {
        let statement = Statement::new(dialect, views, join.as_known, &spine, sources)?;
        plan.answers.push(statement.answer(&spine, index == 0));
    }
    Ok(plan)
}

/// Whether the join is exact in this dialect, whatever its spine.
///
/// # Errors
/// `Unsupported` with the reason, and as [`point_in_time_join`].
pub fn supports(dialect: Dialect, join: &PointInTimeJoin, sources: &Sources) -> Result<()> {
    let layout = SpineLayout::new(&join.views, "t", "r")?;
    let table = TableName::new(["spine"]);
    let spine = Spine::new(dialect, SpineInput::Table(&table, &layout))?;
    Statement::new(dialect, &join.views, join.as_known, &spine, sources).map(drop)
}

/// Neighbouring views that fit one statement; a view that is too long alone has one of its own.
fn batches<'a>(
    dialect: Dialect,
    join: &'a PointInTimeJoin,
    spine: &Spine<'_>,
    sources: &Sources,
    limits: &Limits,
) -> Result<Vec<&'a [ViewJoin]>> {
    let length = |views: &[ViewJoin]| -> Result<usize> {
        let statement = Statement::new(dialect, views, join.as_known, spine, sources)?;
        Ok(statement.answer(spine, true).sql.len())
    };
    let base = length(&[])?;
    let mut batches = Vec::new();
    let (mut start, mut n_bytes) = (0, base);
    for (at, view) in join.views.iter().enumerate() {
        let more = length(std::slice::from_ref(view))? - base;
        let is_full = n_bytes + more > limits.max_text_bytes || at - start >= limits.max_views;
        if is_full && at > start {
            batches.push(&join.views[start..at]);
            (start, n_bytes) = (at, base);
        }
        n_bytes += more;
    }
    batches.push(&join.views[start..]);
    Ok(batches)
}

/// The spine as statements read it, under the name `s`.
struct Spine<'a> {
    /// What stands after FROM.
    from: String,
    /// The row number, if there is one.
    row: Option<String>,
    /// The time, in microseconds.
    time: String,
    range_us: Option<(i64, i64)>,
    columns: SpineColumns<'a>,
    scratch: Option<TableName>,
}

enum SpineColumns<'a> {
    Layout(&'a SpineLayout),
    /// Columns of the caller's, and the expression of each.
    Own(Vec<(AnswerColumn, Column)>),
}

impl<'a> Spine<'a> {
    fn new(dialect: Dialect, input: SpineInput<'a>) -> Result<Self> {
        let own = |name: &str| dialect.own(name);
        let uploaded = |rows: String, layout: &'a SpineLayout, range_us| {
            let number =
                |name: &str| dialect.cast(&format!("{}.{}", own("s"), own(name)), SqlType::Whole);
            Self {
                from: format!("{rows} AS {}", own("s")),
                row: Some(number("r")),
                time: number("t"),
                range_us,
                columns: SpineColumns::Layout(layout),
                scratch: None,
            }
        };
        match input {
            SpineInput::Inline(rows, layout) => {
                let encoded = layout.encode(rows)?;
                let times = encoded.column(1);
                let range_us = crate::spine::range_us(times).or(layout.range_us());
                Ok(uploaded(layout.inline(dialect, rows)?, layout, range_us))
            }
            SpineInput::Table(table, layout) => {
                Ok(uploaded(table.sql(dialect)?, layout, layout.range_us()))
            }
            SpineInput::Sql {
                spine,
                schema,
                table,
                scratch,
            } => {
                let source = SourceRef {
                    relation: spine.relation.clone(),
                    filter: None,
                    version: None,
                };
                let rows = Rows::new(dialect, &source, schema.clone(), table)?;
                let (time, _) = rows.micros(&spine.timestamp)?;
                let mut columns = Vec::new();
                for field in rows.schema().fields() {
                    let (column, field) = rows.column(field.name())?;
                    let answer = AnswerColumn {
                        name: field.name().clone(),
                        value_type: None,
                        encoding: Encoding::Source {
                            field: field.clone(),
                            checked: false,
                        },
                    };
                    columns.push((answer, column));
                }
                Ok(Self {
                    from: rows.from,
                    row: None,
                    time,
                    range_us: None,
                    columns: SpineColumns::Own(columns),
                    scratch: Some(scratch.clone()),
                })
            }
        }
    }

    /// The statement that puts the spine's rows into a table and numbers them, and the spine as it is there.
    fn into_table(self, dialect: Dialect, table: &TableName) -> Result<(String, Self)> {
        let own = |name: &str| dialect.own(name);
        let name = table.sql(dialect)?;
        let mut list = vec![format!(
            "{} AS {}",
            dialect.cast(
                &format!(
                    "ROW_NUMBER() OVER (ORDER BY {} ASC NULLS FIRST) - 1",
                    self.time
                ),
                SqlType::Whole
            ),
            own("r")
        )];
        list.push(format!("{} AS {}", self.time, own("t")));
        let SpineColumns::Own(columns) = self.columns else {
            return Err(Error::new(
                &codes::INTERNAL,
                "a spine of rows has a table already",
            ));
        };
        let mut moved = Vec::new();
        for (at, (answer, column)) in columns.into_iter().enumerate() {
            let name = own(&format!("c{at}"));
            list.push(format!("{} AS {name}", column.sql));
            let column = Column {
                sql: format!("{}.{name}", own("s")),
                kind: column.kind,
            };
            moved.push((answer, column));
        }
        let setup = format!(
            "{} {name} AS\nSELECT {}\nFROM {}",
            create(dialect),
            list.join(", "),
            self.from
        );
        let spine = Self {
            from: format!("{name} AS {}", own("s")),
            row: Some(format!("{}.{}", own("s"), own("r"))),
            time: format!("{}.{}", own("s"), own("t")),
            range_us: self.range_us,
            columns: SpineColumns::Own(moved),
            scratch: None,
        };
        Ok((setup, spine))
    }

    fn key(&self, dialect: Dialect, key: &KeyColumn) -> Result<Option<Column>> {
        let column = match &self.columns {
            SpineColumns::Layout(layout) => layout.column(dialect, &key.spine),
            SpineColumns::Own(columns) => {
                let names = columns.iter().map(|(answer, _)| answer.name.as_str());
                let found = find_column(&key.spine, names).ok();
                let mut columns = columns.iter();
                columns
                    .find(|(answer, _)| Some(answer.name.as_str()) == found)
                    .map(|(_, column)| column.clone())
            }
        };
        column.map(Some).ok_or_else(|| {
            Error::new(
                &codes::MISSING_SPINE_COLUMN,
                format!("the spine has no column {:?}", key.spine),
            )
        })
    }
}

/// One statement in the making.
struct Statement {
    dialect: Dialect,
    /// The spine's own columns `r`, `t`, `c0...` and the keys `x0...` as they are compared.
    keys: Vec<String>,
    /// For each set of keys, the subquery of its slots.
    slots: Vec<(Vec<usize>, String)>,
    ctes: Ctes,
    /// For each view: its keys, its parts, and how many outputs it has.
    views: Vec<(Vec<usize>, Vec<Part>, usize)>,
}

impl Statement {
    fn new(
        dialect: Dialect,
        views: &[ViewJoin],
        as_known: bool,
        spine: &Spine<'_>,
        sources: &Sources,
    ) -> Result<Self> {
        let mut statement = Self {
            dialect,
            keys: Vec::new(),
            slots: Vec::new(),
            ctes: Ctes::default(),
            views: Vec::new(),
        };
        for (index, view) in views.iter().enumerate() {
            statement
                .add(index, view, as_known, spine, sources)
                .map_err(|error| error.context("view", view.name.clone()))?;
        }
        Ok(statement)
    }

    fn add(
        &mut self,
        index: usize,
        view: &ViewJoin,
        as_known: bool,
        spine: &Spine<'_>,
        sources: &Sources,
    ) -> Result<()> {
        let dialect = self.dialect;
        let (mut timed, asked) = TimedRows::new(
            dialect,
            &view.source,
            &view.keys,
            sources,
            as_known,
            &|key| spine.key(dialect, key),
        )?;
        if let Some((min, max)) = spine.range_us {
            let reach = if view.aggregations.is_empty() {
                view.ttl_us
            } else {
                longest_us(view)
            };
            let reach = reach.filter(|reach| *reach < LONGEST_US);
            timed.range_us = (reach.and_then(|reach| min.checked_sub(reach)), Some(max));
        }
        let keys: Vec<usize> = asked.into_iter().map(|sql| self.key(sql)).collect();
        let slots = self.slots(&keys);
        let prefix = format!("v{index}");
        let mut parts = Vec::new();
        parts.extend(features(&timed, view, &mut self.ctes, &prefix, &slots)?);
        parts.extend(aggregations(&timed, view, &mut self.ctes, &prefix, &slots)?);
        let n_outputs = view.features.len() + view.aggregations.len();
        self.views.push((keys, parts, n_outputs));
        Ok(())
    }

    fn key(&mut self, sql: String) -> usize {
        match self.keys.iter().position(|known| *known == sql) {
            Some(at) => at,
            None => {
                self.keys.push(sql);
                self.keys.len() - 1
            }
        }
    }

    /// The subquery of the distinct keys and times that the spine asks about.
    fn slots(&mut self, keys: &[usize]) -> String {
        if let Some((_, name)) = self.slots.iter().find(|(known, _)| known == keys) {
            return name.clone();
        }
        let dialect = self.dialect;
        let time = dialect.own("t");
        let mut list = Vec::new();
        let mut present = vec![format!("{time} IS NOT NULL")];
        for (at, key) in keys.iter().enumerate() {
            let key = dialect.own(&format!("x{key}"));
            list.push(format!("{key} AS {}", dialect.own(&format!("k{at}"))));
            present.push(format!("{key} IS NOT NULL"));
        }
        let name = format!("slots{}", self.slots.len());
        let body = format!(
            "SELECT DISTINCT {}, {time} FROM {}\nWHERE {}",
            list.join(", "),
            dialect.own("pv_spine"),
            present.join(" AND ")
        );
        let name = self.ctes.add(dialect, &name, body);
        self.slots.push((keys.to_vec(), name.clone()));
        name
    }

    fn answer(&self, spine: &Spine<'_>, with_spine: bool) -> Answer {
        let dialect = self.dialect;
        let own = |name: &str| dialect.own(name);
        let mut base = vec![format!("{} AS {}", spine.time, own("t"))];
        let mut list = Vec::new();
        let mut columns = Vec::new();
        if let Some(row) = &spine.row {
            base.push(format!("{row} AS {}", own("r")));
            list.push(format!("{}.{}", own("s"), own("r")));
            columns.push(AnswerColumn::new(
                "",
                &ValueType::Int64,
                Encoding::RowNumber,
            ));
        }
        if let (SpineColumns::Own(own_columns), true) = (&spine.columns, with_spine) {
            for (at, (answer, column)) in own_columns.iter().enumerate() {
                let name = own(&format!("c{at}"));
                base.push(format!("{} AS {name}", column.sql));
                list.push(format!("{}.{name}", own("s")));
                columns.push(answer.clone());
            }
        }
        for (at, sql) in self.keys.iter().enumerate() {
            base.push(format!("{sql} AS {}", own(&format!("x{at}"))));
        }
        let mut ctes = Ctes::default();
        let spine_name = ctes.add(
            dialect,
            "spine",
            format!("SELECT {}\nFROM {}", base.join(", "), spine.from),
        );
        ctes.list.extend(self.ctes.list.iter().cloned());
        let mut from = format!("{spine_name} AS {}", own("s"));
        let mut n_parts = 0;
        for (keys, parts, n_outputs) in &self.views {
            let mut outputs = vec![None; *n_outputs];
            for part in parts {
                let alias = own(&format!("p{n_parts}"));
                n_parts += 1;
                let mut on: Vec<String> = keys
                    .iter()
                    .enumerate()
                    .map(|(at, key)| {
                        let (key, at) = (own(&format!("x{key}")), own(&format!("k{at}")));
                        format!("{}.{key} = {alias}.{at}", own("s"))
                    })
                    .collect();
                on.push(format!("{}.{t} = {alias}.{t}", own("s"), t = own("t")));
                from.push_str(&format!(
                    "\nLEFT JOIN {} AS {alias} ON {}",
                    part.name,
                    on.join(" AND ")
                ));
                for output in &part.outputs {
                    let names = output.columns.iter();
                    let names: Vec<String> = names.map(|name| format!("{alias}.{name}")).collect();
                    outputs[output.at] = Some((names, output.answer.clone()));
                }
            }
            for (names, answer) in outputs.into_iter().flatten() {
                list.extend(names);
                columns.push(answer);
            }
        }
        let list: Vec<String> = list
            .iter()
            .enumerate()
            .map(|(at, sql)| format!("{sql} AS {}", own(&format!("c{at}"))))
            .collect();
        let mut sql = ctes.sql();
        sql.push_str(&format!("SELECT {}\nFROM {from}", list.join(", ")));
        if spine.row.is_some() {
            sql.push_str(&format!(
                "\nORDER BY {}.{} ASC NULLS LAST",
                own("s"),
                own("r")
            ));
        }
        Answer { sql, columns }
    }
}
