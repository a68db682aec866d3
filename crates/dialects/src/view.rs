//! One view of a join: its rows made comparable, and the winner of each slot.
//!
//! A *slot* is a key and a time that the spine asks about. Decides how winners are found without comparing
//! every slot with every row of its key: rows are ranked, ranks are carried along time by a running
//! maximum, and one equality join fetches the rows. It deliberately does not know where the spine is.

use provender_core::error::{Error, Result, codes};
use provender_core::request::{KeyColumn, TimedSource, ViewJoin};

use crate::answer::{AnswerColumn, Encoding};
use crate::column::{Column, KeyType, order_terms};
use crate::dialect::SqlType;
use crate::source::{Rows, unsupported};
use crate::{Dialect, Sources};

/// Ttls of more than this are no limit: no two instants that a warehouse stores are as far apart.
pub(crate) const LONGEST_US: i64 = 1 << 60;

/// Named subqueries, in the order in which they refer to each other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ctes {
    pub(crate) list: Vec<(String, String)>,
}

impl Ctes {
    /// Adds one and answers its name as an identifier.
    pub(crate) fn add(&mut self, dialect: Dialect, name: &str, body: String) -> String {
        let name = dialect.own(&format!("pv_{name}"));
        self.list.push((name.clone(), body));
        name
    }

    /// `WITH a AS (...), b AS (...)` and a line end.
    pub(crate) fn sql(&self) -> String {
        let list: Vec<String> = self
            .list
            .iter()
            .map(|(name, body)| format!("{name} AS (\n{body}\n)"))
            .collect();
        format!("WITH {}\n", list.join(",\n"))
    }
}

/// A subquery with one row per slot (or per key) and some of the output's columns.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Its name, as an identifier.
    pub(crate) name: String,
    /// Its position among a view's parts.
    pub(crate) outputs: Vec<Output>,
}

/// One output column and the part's columns that make it.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// The output's position among the view's outputs.
    pub(crate) at: usize,
    pub(crate) columns: Vec<String>,
    pub(crate) answer: AnswerColumn,
}

/// The rows of a timed source, ready to be compared.
#[derive(Debug)]
pub(crate) struct TimedRows {
    pub(crate) dialect: Dialect,
    pub(crate) rows: Rows,
    /// Each key as it is compared, over the source's rows.
    keys: Vec<String>,
    pub(crate) key_types: Vec<KeyType>,
    event: String,
    event_column: Column,
    created: Option<String>,
    order: Vec<String>,
    /// Bounds on event times that no slot sees beyond.
    pub(crate) range_us: (Option<i64>, Option<i64>),
    /// Rows without a created time are never known.
    as_known: bool,
}

impl TimedRows {
    /// The rows of a source. `spine` answers the spine's column of a key.
    pub(crate) fn new(
        dialect: Dialect,
        source: &TimedSource,
        keys: &[KeyColumn],
        sources: &Sources,
        as_known: bool,
        spine: &dyn Fn(&KeyColumn) -> Result<Option<Column>>,
    ) -> Result<(Self, Vec<String>)> {
        let rows = Rows::source(dialect, &source.source, sources)?;
        let mut key_sql = Vec::new();
        let mut spine_sql = Vec::new();
        let mut key_types = Vec::new();
        for key in keys {
            let (column, field) = rows.column(&key.column)?;
            let asked = spine(key)?;
            let mut kinds = vec![column.kind];
            kinds.extend(asked.as_ref().map(|asked| asked.kind));
            let comparable = KeyType::of(&key.value_type, &kinds).and_then(|key_type| {
                let asked = match &asked {
                    Some(asked) => Some(key_type.sql(dialect, asked)?),
                    None => None,
                };
                Some((key_type, key_type.sql(dialect, &column)?, asked))
            });
            let Some((key_type, sql, asked)) = comparable else {
                return Err(unsupported(format!(
                    "the key {:?} is {}, and the column {:?} of {} is {}, which are not compared in SQL",
                    key.spine,
                    key.value_type,
                    key.column,
                    rows.describe(),
                    field.data_type()
                )));
            };
            key_types.push(key_type);
            key_sql.push(sql);
            spine_sql.extend(asked);
        }
        // A view without keys has one, which is the same everywhere.
        if keys.is_empty() {
            key_types.push(KeyType::Whole);
            key_sql.push(dialect.cast("0", SqlType::Whole));
            spine_sql.push(dialect.cast("0", SqlType::Whole));
        }
        let (event, event_column) = rows.micros(&source.timestamp)?;
        let created = match &source.created_timestamp {
            Some(column) => Some(rows.micros(column)?.0),
            None if as_known => {
                return Err(Error::new(
                    &codes::CREATED_REQUIRED,
                    format!("{} names no created timestamp", rows.describe()),
                ));
            }
            None => None,
        };
        let mut order = Vec::new();
        for name in &source.tie_breakers {
            let (column, field) = rows.column(name)?;
            order.extend(order_terms(dialect, &column).ok_or_else(|| {
                unsupported(format!(
                    "the tie breaker {name:?} of {} is {}, which has no order",
                    rows.describe(),
                    field.data_type()
                ))
            })?);
        }
        let timed = Self {
            dialect,
            rows,
            keys: key_sql,
            key_types,
            event,
            event_column,
            created,
            order,
            range_us: (None, None),
            as_known,
        };
        Ok((timed, spine_sql))
    }

    /// `k0, k1, ...`, after a relation's name if there is one.
    pub(crate) fn key_names(&self, relation: Option<&str>) -> Vec<String> {
        (0..self.keys.len())
            .map(|at| name_of(self.dialect, relation, &format!("k{at}")))
            .collect()
    }

    /// An own column, after a relation's name if there is one.
    pub(crate) fn name(&self, relation: Option<&str>, name: &str) -> String {
        name_of(self.dialect, relation, name)
    }

    /// A query of the rows that can win or count: keys `k0...`, event time `e`, created time `c`, the tie
    /// breakers' order `o0...` and the columns asked for. With `slots`, rows of other keys are left out.
    pub(crate) fn comparable(
        &self,
        columns: &[(String, String)],
        conditions: &[String],
        slots: Option<&str>,
    ) -> String {
        let dialect = self.dialect;
        let mut list: Vec<String> = Vec::new();
        for (at, sql) in self.keys.iter().enumerate() {
            list.push(format!("{sql} AS {}", dialect.own(&format!("k{at}"))));
        }
        list.push(format!("{} AS {}", self.event, dialect.own("e")));
        if let Some(created) = &self.created {
            list.push(format!("{created} AS {}", dialect.own("c")));
        }
        for (at, sql) in self.order.iter().enumerate() {
            list.push(format!("{sql} AS {}", dialect.own(&format!("o{at}"))));
        }
        for (sql, name) in columns {
            list.push(format!("{sql} AS {}", dialect.own(name)));
        }
        let mut inner = format!("SELECT {}\n  FROM {}", list.join(", "), self.rows.from);
        let mut before: Vec<String> = self.prune();
        before.extend_from_slice(conditions);
        if !before.is_empty() {
            inner.push_str(&format!("\n  WHERE {}", before.join(" AND ")));
        }
        let f = Some("f");
        let mut after = vec![format!("{} IS NOT NULL", self.name(f, "e"))];
        if self.as_known {
            after.push(format!("{} IS NOT NULL", self.name(f, "c")));
        }
        after.extend(
            self.key_names(f)
                .iter()
                .map(|key| format!("{key} IS NOT NULL")),
        );
        if let Some(slots) = slots {
            let keys = equal(&self.key_names(f), &self.key_names(Some("a")));
            after.push(format!(
                "EXISTS (SELECT 1 FROM {slots} AS {} WHERE {keys})",
                dialect.own("a")
            ));
        }
        format!(
            "SELECT * FROM (\n  {inner}\n) AS {}\nWHERE {}",
            dialect.own("f"),
            after.join(" AND ")
        )
    }

    /// Conditions on the source's own column, by which a warehouse skips files. They may be too wide by what
    /// lies between two microseconds, never too narrow.
    fn prune(&self) -> Vec<String> {
        let column = &self.event_column;
        let literal = |us: Option<i64>| self.dialect.instant_literal(us?, column.kind);
        let mut conditions = Vec::new();
        if let Some(min) = literal(self.range_us.0) {
            conditions.push(format!("{} >= {min}", column.sql));
        }
        if let Some(max) = literal(self.range_us.1.and_then(|us| us.checked_add(1))) {
            conditions.push(format!("{} < {max}", column.sql));
        }
        conditions
    }

    /// From when a row counts, over [`Self::comparable`] rows: its event time, or, if only what was known counts,
    /// the later of event and created time.
    pub(crate) fn counts_from(&self) -> String {
        let (e, c) = (self.name(None, "e"), self.name(None, "c"));
        if self.as_known {
            format!("CASE WHEN {c} > {e} THEN {c} ELSE {e} END")
        } else {
            e
        }
    }

    /// Whether only what was known counts.
    pub(crate) fn as_known(&self) -> bool {
        self.as_known
    }

    /// How rows of a key are ordered in time, the oldest or the newest first.
    pub(crate) fn by_age(&self, newest_first: bool) -> String {
        let direction = if newest_first {
            "DESC NULLS LAST"
        } else {
            "ASC NULLS FIRST"
        };
        let mut columns = vec![self.name(None, "e")];
        if self.created.is_some() {
            columns.push(self.name(None, "c"));
        }
        columns.extend((0..self.order.len()).map(|at| self.name(None, &format!("o{at}"))));
        let terms: Vec<String> = columns
            .iter()
            .map(|column| format!("{column} {direction}"))
            .collect();
        terms.join(", ")
    }

    /// Adds the subqueries that find, for each slot, the greatest of the given rows, and fetch `fetched` columns of
    /// it. `columns` are those the rows bring beyond what compares them.
    pub(crate) fn winners(
        &self,
        ctes: &mut Ctes,
        prefix: &str,
        slots: &str,
        rows: (&[(String, String)], &[String]),
        fetched: &[(String, String)],
        oldest: Option<i64>,
    ) -> String {
        let dialect = self.dialect;
        let (columns, conditions) = rows;
        let keys = self.key_names(None).join(", ");
        let [p, z, n, t] = ["p", "z", "n", "t"].map(|name| dialect.own(name));
        let source = self.comparable(columns, conditions, Some(slots));
        let source = ctes.add(dialect, &format!("{prefix}_f"), source);
        let ranked = ctes.add(
            dialect,
            &format!("{prefix}_r"),
            format!(
                "SELECT {source}.*, {} AS {p},\n  ROW_NUMBER() OVER (PARTITION BY {keys} ORDER BY {}) AS {n}\nFROM {source}",
                self.counts_from(),
                self.by_age(false)
            ),
        );
        let all = ctes.add(
            dialect,
            &format!("{prefix}_u"),
            format!(
                "SELECT {keys}, {p}, 0 AS {z}, {n} FROM {ranked}\nUNION ALL\n\
                 SELECT {keys}, {t} AS {p}, 1 AS {z}, {} AS {n} FROM {slots}",
                dialect.null(SqlType::Whole)
            ),
        );
        let carried = ctes.add(
            dialect,
            &format!("{prefix}_w"),
            format!(
                "SELECT {keys}, {p}, {z},\n  MAX({n}) OVER (PARTITION BY {keys} ORDER BY {p} ASC NULLS FIRST, {z} ASC NULLS FIRST\n    \
                 ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS {n}\nFROM {all}"
            ),
        );
        let (w, r) = (Some("w"), Some("r"));
        let mut on = equal(&self.key_names(w), &self.key_names(r));
        on.push_str(&format!(
            " AND {} = {}",
            self.name(w, "n"),
            self.name(r, "n")
        ));
        if let Some(oldest) = oldest.filter(|oldest| *oldest < LONGEST_US) {
            on.push_str(&format!(
                " AND {} >= {} - {oldest}",
                self.name(r, "e"),
                self.name(w, "p")
            ));
        }
        let mut list = self.key_names(w);
        list.push(format!("{} AS {t}", self.name(w, "p")));
        list.extend(
            fetched
                .iter()
                .map(|(sql, name)| format!("{sql} AS {}", dialect.own(name))),
        );
        let list = list.join(", ");
        ctes.add(
            dialect,
            prefix,
            format!(
                "SELECT {list}\nFROM {carried} AS {} JOIN {ranked} AS {} ON {on}\nWHERE {} = 1",
                dialect.own("w"),
                dialect.own("r"),
                self.name(w, "z")
            ),
        )
    }
}

/// Adds the subqueries of a view's features: the winner of each slot, as a whole row.
pub(crate) fn features(
    timed: &TimedRows,
    view: &ViewJoin,
    ctes: &mut Ctes,
    prefix: &str,
    slots: &str,
) -> Result<Option<Part>> {
    if view.features.is_empty() {
        return Ok(None);
    }
    // A column that several features take is read once.
    let mut columns: Vec<(String, String)> = Vec::new();
    let mut outputs = Vec::new();
    for (at, feature) in view.features.iter().enumerate() {
        let (column, field) = timed.rows.column(&feature.column)?;
        let known = columns.iter().find(|(sql, _)| *sql == column.sql);
        let name = match known {
            Some((_, name)) => name.clone(),
            None => {
                let name = format!("x{}", columns.len());
                columns.push((column.sql, name.clone()));
                name
            }
        };
        let encoding = Encoding::Source {
            field: field.clone(),
            checked: feature.checked,
        };
        outputs.push(Output {
            at,
            columns: vec![timed.dialect.own(&name)],
            answer: AnswerColumn::new(&feature.output, &feature.value_type, encoding),
        });
    }
    let fetched: Vec<(String, String)> = columns
        .iter()
        .map(|(_, name)| (timed.name(Some("r"), name), name.clone()))
        .collect();
    let name = timed.winners(ctes, prefix, slots, (&columns, &[]), &fetched, view.ttl_us);
    Ok(Some(Part { name, outputs }))
}

pub(crate) fn name_of(dialect: Dialect, relation: Option<&str>, name: &str) -> String {
    match relation {
        Some(relation) => format!("{}.{}", dialect.own(relation), dialect.own(name)),
        None => dialect.own(name),
    }
}

/// `a = b AND c = d`.
pub(crate) fn equal(left: &[String], right: &[String]) -> String {
    let pairs: Vec<String> = left
        .iter()
        .zip(right)
        .map(|(left, right)| format!("{left} = {right}"))
        .collect();
    pairs.join(" AND ")
}
