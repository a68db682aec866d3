//! From the tree of an expression to DataFusion's physical expression, checked arithmetic included.

use std::sync::{Arc, LazyLock};

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{ColumnarValue, Expr, Operator, Volatility};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Literal, NegativeExpr};
use datafusion::prelude::SessionConfig;
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, ExprWithAlias};

use super::Refusal;

/// Nodes that an expression may have once every shorthand is written out.
const MAX_NODES: u64 = 50_000;

/// DataFusion's functions and planners, with plain strings and a default clock that is never read.
static SESSION: LazyLock<SessionState> = LazyLock::new(|| {
    let mut config = SessionConfig::new();
    config.options_mut().sql_parser.map_string_types_to_utf8view = false;
    SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .build()
});

/// Plans an expression whose names are columns of `schema`.
pub(super) fn plan(expr: SqlExpr, schema: &SchemaRef) -> Result<Arc<dyn PhysicalExpr>, Refusal> {
    const WHAT: &str = "cannot be planned";
    let refused = |error| Refusal::caused(WHAT, "", error);
    let df_schema = Arc::new(DFSchema::try_from(schema.as_ref().clone()).map_err(refused)?);
    let expr = ExprWithAlias { expr, alias: None };
    let expr = SESSION
        .create_logical_expr_from_sql_expr(expr, &df_schema)
        .map_err(refused)?;
    check(&expr)?;
    let context = SimplifyContext::builder()
        .with_schema(df_schema.clone())
        .with_config_options(SESSION.config_options().clone())
        .build();
    let expr = ExprSimplifier::new(context.clone())
        .coerce(expr, &df_schema)
        .and_then(|expr| written_out(expr, &context))
        .map_err(refused)?;
    let planned = SESSION
        .create_physical_expr(expr, &df_schema)
        .map_err(refused)?;
    planned
        .transform_up(|node| checked_and_folded(node, schema))
        .map(|transformed| transformed.data)
        .map_err(refused)
}

/// The value, one row, of an expression that reads no column.
pub(super) fn evaluate_constant(expr: &Arc<dyn PhysicalExpr>) -> Result<ArrayRef, DataFusionError> {
    expr.evaluate(&one_row()?)?.into_array(1)
}

fn one_row() -> Result<RecordBatch, DataFusionError> {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let schema = Arc::new(Schema::empty());
    Ok(RecordBatch::try_new_with_options(
        schema,
        Vec::new(),
        &options,
    )?)
}

/// Refuses whatever is not a function of one row.
fn check(expr: &Expr) -> Result<(), Refusal> {
    let mut refusal = None;
    let walked = expr.apply(|node| {
        refusal = refused(node);
        Ok(match refusal {
            Some(_) => TreeNodeRecursion::Stop,
            None => TreeNodeRecursion::Continue,
        })
    });
    walked.map_err(|error| Refusal::caused("cannot be planned", "", error))?;
    match refusal {
        Some(refusal) => Err(refusal),
        None if size(expr) > MAX_NODES => Err(Refusal::new(
            "is too large once BETWEEN and coalesce are written out",
            "nest them less, or split it into several on-demand features",
        )),
        None => Ok(()),
    }
}

fn refused(expr: &Expr) -> Option<Refusal> {
    const ONE_ROW: &str = "an on-demand feature sees one row at a time; `aggregations:` of a feature view compute over rows";
    let volatility = |name: &str, volatility: Volatility| match volatility {
        Volatility::Immutable => None,
        Volatility::Stable => Some(Refusal::new(
            format!("uses {name}, which tells the time of the call"),
            "take the time as a field under `request`, so that training and serving see the same",
        )),
        Volatility::Volatile => Some(Refusal::new(
            format!("uses {name}, whose value changes from call to call"),
            "training and serving must give the same value for the same inputs",
        )),
    };
    match expr {
        Expr::ScalarFunction(call) => volatility(call.name(), call.func.signature().volatility),
        Expr::HigherOrderFunction(call) => {
            volatility(call.name(), call.func.signature().volatility)
        }
        Expr::AggregateFunction(call) => Some(Refusal::new(
            format!("uses the aggregate function {}", call.func.name()),
            ONE_ROW,
        )),
        Expr::WindowFunction(call) => Some(Refusal::new(
            format!("uses the window function {}", call.fun.name()),
            ONE_ROW,
        )),
        Expr::Unnest(_) | Expr::GroupingSet(_) => {
            Some(Refusal::new("makes several rows of one", ONE_ROW))
        }
        Expr::Exists(_)
        | Expr::InSubquery(_)
        | Expr::ScalarSubquery(_)
        | Expr::SetComparison(_) => Some(Refusal::new("holds a subquery", "")),
        Expr::Placeholder(parameter) => Some(Refusal::new(
            format!("holds the parameter {}", parameter.id),
            "declare a field under `request` and use its name",
        )),
        _ => None,
    }
}

/// How many nodes an expression has when the operands that shorthands repeat are counted as often.
fn size(expr: &Expr) -> u64 {
    let repeats = match expr {
        Expr::Between(_) => 2,
        Expr::ScalarFunction(call) if call.func.short_circuits() => 2,
        _ => 1,
    };
    let mut below = 0_u64;
    // The walk itself cannot fail.
    let _ = expr.apply_children(|child| {
        below = below.saturating_add(size(child));
        Ok(TreeNodeRecursion::Continue)
    });
    below.saturating_mul(repeats).saturating_add(1)
}

/// Writes out the functions that DataFusion can only evaluate in another form, such as coalesce. Its
/// full simplification is left out because it computes constants with arithmetic that wraps.
fn written_out(expr: Expr, context: &SimplifyContext) -> Result<Expr, DataFusionError> {
    const REWRITTEN: [&str; 7] = [
        "arrow_cast",
        "arrow_try_cast",
        "cast_to_type",
        "coalesce",
        "nvl",
        "nvl2",
        "try_cast_to_type",
    ];
    let written = expr.transform_up(|node| match node {
        Expr::ScalarFunction(mut call) if REWRITTEN.contains(&call.func.name()) => {
            let args = std::mem::take(&mut call.args);
            Ok(match call.func.simplify(args, context)? {
                ExprSimplifyResult::Simplified(simpler) => {
                    Transformed::yes(written_out(simpler, context)?)
                }
                ExprSimplifyResult::Original(args) => {
                    call.args = args;
                    Transformed::no(Expr::ScalarFunction(call))
                }
            })
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(written.data)
}

type Node = Arc<dyn PhysicalExpr>;

/// Makes arithmetic fail on overflow, and computes what depends on no column. A constant that cannot
/// be computed is left as it is, for it may stand in a branch that is never taken.
fn checked_and_folded(
    node: Node,
    schema: &SchemaRef,
) -> Result<Transformed<Node>, DataFusionError> {
    let checked: Option<Node> = if let Some(binary) = node.downcast_ref::<BinaryExpr>() {
        let arithmetic = matches!(
            binary.op(),
            Operator::Plus | Operator::Minus | Operator::Multiply
        );
        arithmetic.then(|| {
            let (left, right) = (binary.left().clone(), binary.right().clone());
            Arc::new(BinaryExpr::new(left, *binary.op(), right).with_fail_on_overflow(true)) as Node
        })
    } else if let Some(negative) = node.downcast_ref::<NegativeExpr>() {
        let data_type = negative.arg().data_type(schema)?;
        if data_type.is_integer() {
            let zero: Node = Arc::new(Literal::new(ScalarValue::new_zero(&data_type)?));
            let minus = BinaryExpr::new(zero, Operator::Minus, negative.arg().clone());
            Some(Arc::new(minus.with_fail_on_overflow(true)))
        } else {
            None
        }
    } else {
        None
    };
    let changed = checked.is_some();
    let node = checked.unwrap_or(node);
    if let Some(literal) = folded(&node, schema)? {
        return Ok(Transformed::yes(literal));
    }
    Ok(Transformed::new_transformed(node, changed))
}

fn folded(node: &Node, schema: &SchemaRef) -> Result<Option<Node>, DataFusionError> {
    let children = node.children();
    let constant = |child: &&Node| child.downcast_ref::<Literal>().is_some();
    if children.is_empty() || !children.iter().all(constant) {
        return Ok(None);
    }
    let value = match node.evaluate(&one_row()?) {
        Ok(ColumnarValue::Scalar(value)) => value,
        Ok(ColumnarValue::Array(values)) if values.len() == 1 => {
            ScalarValue::try_from_array(&values, 0)?
        }
        _ => return Ok(None),
    };
    let same_type = value.data_type() == node.data_type(schema)?;
    Ok(same_type.then(|| Arc::new(Literal::new(value)) as Node))
}
