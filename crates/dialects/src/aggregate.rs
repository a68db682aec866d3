//! What an aggregation is made of: plain sums, counts, least and greatest values that can be merged.
//!
//! Decides which numbers are gathered for a function of a column and how they give the value, so that the
//! result does not depend on how a warehouse treats NaN, infinities, overflow or -0.0. It deliberately does
//! not know which rows a window covers: the same pieces are gathered over groups, before and after an
//! instant, or as differences.

use provender_core::ValueType;
use provender_core::error::Result;
use provender_core::model::AggregateFunction;
use provender_core::request::WindowAggregate;

use crate::Dialect;
use crate::answer::Encoding;
use crate::column::{Column, Kind};
use crate::dialect::SqlType;
use crate::source::{Rows, unsupported};

/// How the values of a piece are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gather {
    Count,
    Sum,
    Min,
    Max,
    Mean,
    /// The sample variance.
    Variance,
}

/// An expression over the source's rows; null where a row has nothing to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Argument {
    pub(crate) sql: String,
    pub(crate) sql_type: SqlType,
}

/// The pieces that a set of aggregations needs, each once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pieces {
    pub(crate) arguments: Vec<Argument>,
    /// What is gathered, of which argument.
    pub(crate) pieces: Vec<(Gather, usize)>,
}

/// How pieces give a value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Count(usize),
    /// Exact sums, each times a power of ten, and how many values there are.
    ExactSum(Vec<(usize, u32)>, usize),
    ExactMean(usize, usize),
    FloatSum(Floats),
    FloatMean(Floats),
    Stddev {
        floats: Floats,
        mean: usize,
        variance: usize,
    },
    Plain(usize),
    Bool(usize),
    /// The least or greatest of what is not NaN, whether there is a NaN, and whether there is the zero that goes
    /// first.
    Float {
        piece: usize,
        nan: usize,
        zero: usize,
        is_max: bool,
    },
}

/// A sum of finite floats, how many values there are at all, and whether any is NaN or infinite to either side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Floats {
    sum: usize,
    n: usize,
    plus: usize,
    minus: usize,
}

impl Gather {
    /// The aggregate over an expression.
    pub(crate) fn sql(self, argument: &str) -> String {
        let name = match self {
            Self::Count => "COUNT",
            Self::Sum => "SUM",
            Self::Min => "MIN",
            Self::Max => "MAX",
            Self::Mean => "AVG",
            Self::Variance => "VAR_SAMP",
        };
        format!("{name}({argument})")
    }

    /// What several disjoint sets of rows give together.
    fn merge(self, parts: &[String]) -> String {
        let [first, second] = parts else {
            return parts.concat();
        };
        match self {
            Self::Count => format!("(COALESCE({first}, 0) + COALESCE({second}, 0))"),
            Self::Min => {
                format!(
                    "CASE WHEN {first} IS NULL OR {second} < {first} THEN {second} ELSE {first} END"
                )
            }
            Self::Max => {
                format!(
                    "CASE WHEN {first} IS NULL OR {second} > {first} THEN {second} ELSE {first} END"
                )
            }
            _ => format!("COALESCE({first} + {second}, {first}, {second})"),
        }
    }
}

impl Pieces {
    fn argument(&mut self, sql: String, sql_type: SqlType) -> usize {
        let argument = Argument { sql, sql_type };
        match self.arguments.iter().position(|known| *known == argument) {
            Some(at) => at,
            None => {
                self.arguments.push(argument);
                self.arguments.len() - 1
            }
        }
    }

    fn piece(&mut self, gather: Gather, sql: String, sql_type: SqlType) -> usize {
        let piece = (gather, self.argument(sql, sql_type));
        match self.pieces.iter().position(|known| *known == piece) {
            Some(at) => at,
            None => {
                self.pieces.push(piece);
                self.pieces.len() - 1
            }
        }
    }

    fn count(&mut self, column: &Column) -> usize {
        let sql = format!("CASE WHEN {} IS NOT NULL THEN 1 END", column.sql);
        self.piece(Gather::Count, sql, SqlType::Whole)
    }

    /// Adds what an aggregation needs. `count_distinct` and `last` are made of other things and answer `None`.
    ///
    /// # Errors
    /// `Unsupported` for columns that the function is not computed for in SQL.
    pub(crate) fn add(
        &mut self,
        dialect: Dialect,
        rows: &Rows,
        aggregation: &WindowAggregate,
    ) -> Result<Option<Value>> {
        let Some(name) = &aggregation.column else {
            return Ok(Some(Value::Count(self.piece(
                Gather::Count,
                "1".to_owned(),
                SqlType::Whole,
            ))));
        };
        let (column, field) = rows.column(name)?;
        let value = match aggregation.function {
            AggregateFunction::Count => Some(Value::Count(self.count(&column))),
            AggregateFunction::Sum => self.sum(dialect, &column),
            AggregateFunction::Mean => self.mean(dialect, &column),
            AggregateFunction::Stddev => self.stddev(dialect, &column),
            AggregateFunction::Min => self.extreme(dialect, &column, false),
            AggregateFunction::Max => self.extreme(dialect, &column, true),
            AggregateFunction::Last | AggregateFunction::CountDistinct => return Ok(None),
            _ => None,
        };
        value.map(Some).ok_or_else(|| {
            unsupported(format!(
                "{} of {name:?}, which is {}, is not computed in SQL",
                aggregation.function,
                field.data_type()
            ))
        })
    }

    fn sum(&mut self, dialect: Dialect, column: &Column) -> Option<Value> {
        let n = self.count(column);
        let sql = &column.sql;
        let parts = match column.kind {
            Kind::Float => return Some(Value::FloatSum(self.floats(dialect, column))),
            Kind::Whole | Kind::Unsigned => vec![(self.exact(dialect, sql, 0), 0)],
            Kind::Decimal(precision, scale) if precision <= 28 => {
                vec![(self.exact(dialect, sql, scale), 0)]
            }
            // Sums of so many digits are taken apart, so that a running total has room where the sum has.
            Kind::Decimal(_, scale @ 0..=6) => {
                let shift = u32::from(19 - scale.unsigned_abs());
                let float = dialect.cast(sql, SqlType::Float);
                // A little less than the quotient, so that the product has no more digits than the value.
                let factor = dialect.special_float(&format!("9.99999999999999e-{}", shift + 1));
                let narrow = SqlType::Decimal(20, 0);
                let high = dialect.cast(&format!("{float} * {factor}"), narrow);
                let unit = dialect.cast(&10_i128.pow(shift).to_string(), narrow);
                let wide = SqlType::Decimal(38, scale);
                let low = format!(
                    "{} - {}",
                    dialect.cast(sql, wide),
                    dialect.cast(&format!("{high} * {unit}"), wide)
                );
                vec![
                    (self.exact(dialect, &high, 0), shift),
                    (self.exact(dialect, &low, scale), 0),
                ]
            }
            Kind::Decimal(_, scale @ 7..=28) => {
                let fraction = format!("MOD({sql}, 1)");
                vec![
                    (self.exact(dialect, &format!("{sql} - {fraction}"), 0), 0),
                    (self.exact(dialect, &fraction, scale), 0),
                ]
            }
            _ => return None,
        };
        Some(Value::ExactSum(parts, n))
    }

    fn exact(&mut self, dialect: Dialect, sql: &str, scale: i8) -> usize {
        let sql_type = SqlType::Decimal(38, scale);
        self.piece(Gather::Sum, dialect.cast(sql, sql_type), sql_type)
    }

    fn mean(&mut self, dialect: Dialect, column: &Column) -> Option<Value> {
        match column.kind {
            Kind::Whole | Kind::Unsigned => {
                let sum = self.exact(dialect, &column.sql, 0);
                Some(Value::ExactMean(sum, self.count(column)))
            }
            Kind::Float | Kind::Decimal(..) => Some(Value::FloatMean(self.floats(dialect, column))),
            _ => None,
        }
    }

    fn stddev(&mut self, dialect: Dialect, column: &Column) -> Option<Value> {
        if !matches!(
            column.kind,
            Kind::Float | Kind::Decimal(..) | Kind::Whole | Kind::Unsigned
        ) {
            return None;
        }
        let floats = self.floats(dialect, column);
        let finite = finite(dialect, column);
        Some(Value::Stddev {
            floats,
            mean: self.piece(Gather::Mean, finite.clone(), SqlType::Float),
            variance: self.piece(Gather::Variance, finite, SqlType::Float),
        })
    }

    fn floats(&mut self, dialect: Dialect, column: &Column) -> Floats {
        let float = dialect.cast(&column.sql, SqlType::Float);
        let n = self.count(column);
        let mut flag = |infinity: &str| {
            let condition = match column.kind {
                Kind::Float => format!(
                    "{} OR {float} = {}",
                    dialect.is_nan(&float),
                    dialect.special_float(infinity)
                ),
                _ => "1 = 0".to_owned(),
            };
            let sql = format!("CASE WHEN {condition} THEN 1 END");
            self.piece(Gather::Max, sql, SqlType::Whole)
        };
        let (plus, minus) = (flag("inf"), flag("-inf"));
        Floats {
            sum: self.piece(Gather::Sum, finite(dialect, column), SqlType::Float),
            n,
            plus,
            minus,
        }
    }

    fn extreme(&mut self, dialect: Dialect, column: &Column, is_max: bool) -> Option<Value> {
        let gather = if is_max { Gather::Max } else { Gather::Min };
        let sql = column.sql.clone();
        let (sql, sql_type) = match column.kind {
            Kind::Float => {
                let float = dialect.cast(&sql, SqlType::Float);
                let is_nan = dialect.is_nan(&float);
                let number = format!("CASE WHEN NOT ({is_nan}) THEN {float} END");
                let side = if is_max { '>' } else { '<' };
                let zero =
                    format!("CASE WHEN {float} = 0 AND ATAN2({float}, -1) {side} 0 THEN 1 END");
                let nan = format!("CASE WHEN {is_nan} THEN 1 END");
                return Some(Value::Float {
                    piece: self.piece(gather, number, SqlType::Float),
                    nan: self.piece(Gather::Max, nan, SqlType::Whole),
                    zero: self.piece(Gather::Max, zero, SqlType::Whole),
                    is_max,
                });
            }
            Kind::Bool => {
                let number = format!("CASE WHEN {sql} THEN 1 WHEN NOT {sql} THEN 0 END");
                return Some(Value::Bool(self.piece(gather, number, SqlType::Whole)));
            }
            Kind::Whole => (dialect.cast(&sql, SqlType::Whole), SqlType::Whole),
            Kind::Unsigned => {
                let wide = SqlType::Decimal(38, 0);
                (dialect.cast(&sql, wide), wide)
            }
            Kind::Decimal(precision, scale) => (sql, SqlType::Decimal(precision, scale)),
            Kind::Text | Kind::Bytes => (dialect.bytes(column)?, SqlType::Bytes),
            Kind::Date => (sql, SqlType::Date),
            Kind::Instant { .. } => (dialect.micros(column)?, SqlType::Whole),
            Kind::Null | Kind::Json | Kind::MicrosNumber | Kind::Other => return None,
        };
        Some(Value::Plain(self.piece(gather, sql, sql_type)))
    }
}

impl Value {
    /// Whether the value follows from differences: from what has come less what has gone.
    pub(crate) fn is_invertible(&self) -> bool {
        matches!(
            self,
            Self::Count(_) | Self::ExactSum(..) | Self::ExactMean(..)
        )
    }

    /// The columns that give the value and how they are read. `parts` are, for each piece, what each of at most two
    /// disjoint sets of rows gives.
    pub(crate) fn columns(
        &self,
        dialect: Dialect,
        pieces: &Pieces,
        value_type: &ValueType,
        parts: &dyn Fn(usize) -> Vec<String>,
    ) -> (Vec<String>, Encoding) {
        let merged = |piece: &usize| pieces.pieces[*piece].0.merge(&parts(*piece));
        let float = |sql: String| dialect.cast(&sql, SqlType::Float);
        let special = |name: &str| dialect.special_float(name);
        let column = match self {
            Self::ExactSum(sums, n) => {
                let n = merged(n);
                let mut columns = Vec::new();
                for (piece, power) in sums {
                    for part in parts(*piece) {
                        let mut text = dialect.cast(&part, SqlType::Text);
                        if *power > 0 {
                            text = format!("CONCAT({text}, 'E{power}')");
                        }
                        columns.push(format!("CASE WHEN {n} > 0 THEN {text} END"));
                    }
                }
                let n_columns = columns.len();
                return (columns, Encoding::Sum { n_columns });
            }
            Self::Count(n) => format!("COALESCE({}, 0)", merged(n)),
            Self::ExactMean(sum, n) => {
                let (sum, n) = (merged(sum), merged(n));
                format!("{} / NULLIF({}, 0)", float(sum), float(n))
            }
            Self::FloatSum(floats) => {
                let sum = merged(&floats.sum);
                infinite(dialect, floats, &merged, &sum)
            }
            Self::FloatMean(floats) => {
                let n = float(merged(&floats.n));
                let mean = format!("{} / NULLIF({n}, 0)", merged(&floats.sum));
                infinite(dialect, floats, &merged, &mean)
            }
            Self::Stddev {
                floats,
                mean,
                variance,
            } => {
                let n = merged(&floats.n);
                let squares = squares(&parts(floats.n), &parts(*mean), &parts(*variance));
                let is_odd = format!(
                    "{} = 1 OR {} = 1",
                    merged(&floats.plus),
                    merged(&floats.minus)
                );
                format!(
                    "CASE WHEN {n} > 1 THEN CASE WHEN {is_odd} THEN {} ELSE SQRT(({squares}) / NULLIF({n} - 1, 0)) END END",
                    special("NaN")
                )
            }
            Self::Bool(piece) => {
                let value = merged(piece);
                format!("CASE WHEN {value} = 1 THEN TRUE WHEN {value} = 0 THEN FALSE END")
            }
            Self::Plain(piece) => merged(piece),
            Self::Float {
                piece,
                nan,
                zero,
                is_max,
            } => {
                let (value, nan, zero) = (merged(piece), merged(nan), merged(zero));
                let first = if *is_max { "0.0" } else { "-0.0" };
                let other = if *is_max { "-0.0" } else { "0.0" };
                let number = format!(
                    "WHEN {value} = 0 AND {zero} = 1 THEN {} WHEN {value} = 0 THEN {} ELSE {value} END",
                    special(first),
                    special(other)
                );
                let nan_rule = if *is_max {
                    format!("WHEN {nan} = 1 THEN {}", special("NaN"))
                } else {
                    format!("WHEN {value} IS NULL AND {nan} = 1 THEN {}", special("NaN"))
                };
                format!("CASE {nan_rule} {number}")
            }
        };
        (vec![column], encoding(value_type))
    }
}

/// How a value that is not taken apart is read.
fn encoding(value_type: &ValueType) -> Encoding {
    match value_type {
        ValueType::Timestamp => Encoding::Micros,
        ValueType::String | ValueType::Json => Encoding::Bytes,
        _ => Encoding::Plain,
    }
}

/// The column as a float where it is a finite number, else null.
fn finite(dialect: Dialect, column: &Column) -> String {
    let float = dialect.cast(&column.sql, SqlType::Float);
    if column.kind != Kind::Float {
        return float;
    }
    format!(
        "CASE WHEN NOT ({}) AND ABS({float}) < {} THEN {float} END",
        dialect.is_nan(&float),
        dialect.special_float("inf")
    )
}

/// The value of finite floats, or what NaN and infinities among them make of it.
fn infinite(
    dialect: Dialect,
    floats: &Floats,
    merged: &dyn Fn(&usize) -> String,
    value: &str,
) -> String {
    let (n, plus, minus) = (
        merged(&floats.n),
        merged(&floats.plus),
        merged(&floats.minus),
    );
    let special = |name: &str| dialect.special_float(name);
    format!(
        "CASE WHEN {n} > 0 THEN CASE WHEN {plus} = 1 AND {minus} = 1 THEN {} \
         WHEN {plus} = 1 THEN {} WHEN {minus} = 1 THEN {} ELSE {value} END END",
        special("NaN"),
        special("inf"),
        special("-inf")
    )
}

/// The sum of squared distances from the common mean, by Chan's formula where there are two sets of rows.
fn squares(n: &[String], mean: &[String], variance: &[String]) -> String {
    let own: Vec<String> = n
        .iter()
        .zip(variance)
        .map(|(n, variance)| format!("CASE WHEN {n} > 1 THEN {variance} * ({n} - 1) ELSE 0 END"))
        .collect();
    let mut terms = own;
    if let ([a, b], [mean_a, mean_b]) = (n, mean) {
        let distance = format!("({mean_b} - {mean_a})");
        terms.push(format!(
            "COALESCE({distance} * {distance} * {a} * {b} / NULLIF({a} + {b}, 0), 0)"
        ));
    }
    terms.join(" + ")
}
