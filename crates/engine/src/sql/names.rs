//! How names in SQL match: exactly, else by the only match that ignores case.
//!
//! Identifiers keep the case they are written in, quoted or not. A name that nothing matches
//! exactly is respelled in the parsed query, and planning is tried again; this way DataFusion's own
//! scoping decides what a name can refer to.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::common::TableReference;
use datafusion::common::{Column, DataFusionError, SchemaError};
use datafusion::execution::SessionState;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast::{
    Expr, ExprWithAlias, Ident, ObjectName, SetExpr, Statement as SqlStatement, VisitMut,
    VisitorMut,
};
use provender_core::{Error, Result, codes};

use super::datafusion_error;

/// Each respelling fixes at least one reference, so more than this many are a sign of two names
/// that chase each other.
const MAX_RESPELLINGS: usize = 256;

/// One parsed SELECT.
pub(super) struct Query {
    statement: Box<SqlStatement>,
    n_respelled: usize,
}

impl Query {
    /// Reads exactly one SELECT or WITH ... SELECT.
    pub(super) fn parse(sql: &str) -> Result<Self> {
        let refuse = |found: &str| {
            Err(Error::new(
                &codes::BAD_QUERY,
                format!("a query is one SELECT, but this is {found}"),
            )
            .help("write one SELECT or WITH ... SELECT")
            .context("query", sql))
        };
        let mut statements = DFParser::parse_sql(sql)
            .map_err(|error| datafusion_error(error).context("query", sql))?;
        let Some(statement) = statements.pop_front() else {
            return refuse("empty");
        };
        if !statements.is_empty() {
            return refuse("several statements");
        }
        match statement {
            Statement::Statement(statement) => match *statement {
                SqlStatement::Query(ref query) if is_select(&query.body) => Ok(Self {
                    statement,
                    n_respelled: 0,
                }),
                other => refuse(&first_word(&other.to_string())),
            },
            Statement::CopyTo(_) => refuse("COPY"),
            Statement::CreateExternalTable(_) => refuse("CREATE"),
            Statement::Explain(_) => refuse("EXPLAIN"),
            Statement::Reset(_) => refuse("RESET"),
        }
    }

    /// A copy for the planner.
    pub(super) fn statement(&self) -> Statement {
        Statement::Statement(self.statement.clone())
    }

    /// The tables that the query names, without its common table expressions.
    pub(super) fn tables(&self) -> Result<Vec<String>> {
        let (tables, _) =
            resolve_table_references(&self.statement(), false).map_err(datafusion_error)?;
        tables
            .into_iter()
            .map(|table| match table {
                TableReference::Bare { table } => Ok(table.to_string()),
                other => Err(Error::new(
                    &codes::BAD_QUERY,
                    format!("the query names the table {other}, but tables have one name only"),
                )
                .help("quote a name that holds a dot or a slash, as in \"./planes.parquet\"")),
            })
            .collect()
    }

    /// Makes references to `name` mean the only common table expression that it matches but for case.
    pub(super) fn respell_common_table(&mut self, name: &str) -> bool {
        let Ok((_, common)) = resolve_table_references(&self.statement(), false) else {
            return false;
        };
        let matching: Vec<String> = common
            .into_iter()
            .map(|table| table.table().to_owned())
            .filter(|table| table.to_lowercase() == name.to_lowercase())
            .collect();
        let [only] = matching.as_slice() else {
            return false;
        };
        let mut respell = RespellTable {
            from: name,
            to: only,
        };
        let _ = VisitMut::visit(self.statement.as_mut(), &mut respell);
        true
    }

    /// Respells the column that planning did not find; false if there is nothing to respell.
    pub(super) fn respell_columns(&mut self, error: &DataFusionError) -> bool {
        self.n_respelled += 1;
        let Some(mut respell) = Respelling::for_error(error) else {
            return false;
        };
        let _ = VisitMut::visit(self.statement.as_mut(), &mut respell);
        respell.n_changed > 0 && self.n_respelled < MAX_RESPELLINGS
    }
}

/// One parsed condition.
pub(super) struct Condition {
    expression: ExprWithAlias,
    n_respelled: usize,
}

impl Condition {
    pub(super) fn parse(state: &SessionState, sql: &str) -> Result<Self> {
        let dialect = state.config_options().sql_parser.dialect;
        let expression = state
            .sql_to_expr_with_alias(sql, &dialect)
            .map_err(|error| super::condition_error(sql, error))?;
        if expression.alias.is_some() {
            return Err(Error::new(
                &codes::BAD_QUERY,
                format!("the filter {sql:?} names its result, but a condition has no name"),
            ));
        }
        Ok(Self {
            expression,
            n_respelled: 0,
        })
    }

    /// A copy for the planner.
    pub(super) fn expression(&self) -> ExprWithAlias {
        self.expression.clone()
    }

    /// As [`Query::respell_columns`].
    pub(super) fn respell_columns(&mut self, error: &DataFusionError) -> bool {
        self.n_respelled += 1;
        let Some(mut respell) = Respelling::for_error(error) else {
            return false;
        };
        let _ = VisitMut::visit(&mut self.expression.expr, &mut respell);
        respell.n_changed > 0 && self.n_respelled < MAX_RESPELLINGS
    }
}

/// `VALUES` and `TABLE t` are queries to the parser, and harmless; what writes is not.
fn is_select(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => select.into.is_none(),
        SetExpr::Query(query) => is_select(&query.body),
        SetExpr::SetOperation { left, right, .. } => is_select(left) && is_select(right),
        SetExpr::Values(_) | SetExpr::Table(_) => true,
        _ => false,
    }
}

fn first_word(statement: &str) -> String {
    statement
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_uppercase()
}

/// References to one column become references to another spelling of it.
struct Respelling {
    relation: Option<String>,
    name: String,
    to_relation: Option<String>,
    to_name: String,
    n_changed: usize,
}

impl Respelling {
    fn for_error(error: &DataFusionError) -> Option<Self> {
        let (field, valid) = field_not_found(error)?;
        let same = |a: &str, b: &str| a.to_lowercase() == b.to_lowercase();
        let relation = field.relation.as_ref().map(|table| table.table());
        let spellings: BTreeSet<(Option<&str>, &str)> = valid
            .iter()
            .filter(|column| same(&column.name, &field.name))
            .filter_map(|column| match relation {
                None => Some((None, column.name.as_str())),
                Some(relation) => {
                    let table = column.relation.as_ref()?.table();
                    same(table, relation).then_some((Some(table), column.name.as_str()))
                }
            })
            .collect();
        // The only match; else the only one of which the table or the column fits exactly.
        let exact_relation: Vec<_> = spellings.iter().filter(|s| s.0 == relation).collect();
        let exact_name: Vec<_> = spellings.iter().filter(|s| s.1 == field.name).collect();
        let chosen = match (
            spellings.len(),
            exact_relation.as_slice(),
            exact_name.as_slice(),
        ) {
            (1, _, _) => *spellings.first()?,
            (_, [only], _) | (_, _, [only]) => **only,
            _ => return None,
        };
        Some(Self {
            relation: relation.map(str::to_owned),
            name: field.name.clone(),
            to_relation: chosen.0.map(str::to_owned),
            to_name: chosen.1.to_owned(),
            n_changed: 0,
        })
    }

    fn respell(&mut self, ident: &mut Ident, from: &str, to: &str) {
        if ident.value == from && ident.value != to {
            *ident = Ident::with_quote('"', to);
            self.n_changed += 1;
        }
    }
}

impl VisitorMut for Respelling {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let (name, to_name) = (self.name.clone(), self.to_name.clone());
        match expr {
            Expr::Identifier(ident) if self.relation.is_none() => {
                self.respell(ident, &name, &to_name);
            }
            Expr::CompoundIdentifier(idents) => {
                if let (Some(from), Some(to)) = (self.relation.clone(), self.to_relation.clone()) {
                    if let [.., relation, column] = idents.as_mut_slice()
                        && relation.value == from
                        && column.value == name
                    {
                        self.respell(relation, &from, &to);
                        self.respell(column, &name, &to_name);
                    }
                } else if let Some(first) = idents.first_mut() {
                    // A column whose field is read: `Place.city`.
                    self.respell(first, &name, &to_name);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

struct RespellTable<'a> {
    from: &'a str,
    to: &'a str,
}

impl VisitorMut for RespellTable<'_> {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        let matches = matches!(
            relation.0.as_slice(),
            [part] if part.as_ident().is_some_and(|ident| ident.value == self.from)
        );
        if matches {
            *relation = ObjectName::from(vec![Ident::with_quote('"', self.to)]);
        }
        ControlFlow::Continue(())
    }
}

/// The column that was not found and those that there are, wherever the error holds them.
fn field_not_found(error: &DataFusionError) -> Option<(&Column, &[Column])> {
    match error {
        DataFusionError::SchemaError(schema_error, _) => match schema_error.as_ref() {
            SchemaError::FieldNotFound {
                field,
                valid_fields,
            } => Some((field, valid_fields)),
            _ => None,
        },
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            field_not_found(inner)
        }
        DataFusionError::Shared(inner) => field_not_found(inner),
        DataFusionError::Collection(errors) => errors.iter().find_map(field_not_found),
        _ => None,
    }
}
