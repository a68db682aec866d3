//! Mergeable partial aggregates, one per node of a window tree.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Float64Array, Int64Array};
use arrow_buffer::{NullBuffer, i256};
use provender_core::model::AggregateFunction;
use provender_core::{Error, Result, ValueType, codes};

use super::double::Double;
use super::ordinal::{self, Ordinals};
use crate::error::defect;

/// Mean and sum of squared deviations of finite values; merged after Chan, Golub and LeVeque (1979).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moments {
    n: u64,
    mean: Double,
    squares: Double,
    /// How many values are NaN or infinite: there is no deviation from them.
    n_special: u64,
}

/// How often each value occurs.
pub(super) type Occurrences<K> = HashMap<K, u32, foldhash::fast::FixedState>;

/// The partial aggregates of all nodes, by what is computed.
#[derive(Debug)]
pub(super) enum Partials {
    Count(Vec<u64>),
    SumExact(Vec<(u64, i256)>),
    SumFloat(Vec<(u64, Double)>),
    Moments(Vec<Moments>),
    /// The greatest number; for `min` numbers are negated by complement.
    Extreme(Vec<Option<i128>>),
    ExtremeBytes(Vec<Option<Box<[u8]>>>),
    Distinct(Vec<Occurrences<i128>>),
    DistinctBytes(Vec<Occurrences<Box<[u8]>>>),
}

/// A batch's column as an aggregate reads it.
pub(super) enum Input {
    Rows,
    NotNull(Option<NullBuffer>),
    Exact(Vec<i128>, Option<NullBuffer>),
    Float(Vec<f64>, Option<NullBuffer>),
    /// Ordinals; numbers are complemented for `min`.
    Ordinal(Ordinals, Option<NullBuffer>),
}

impl Input {
    pub(super) fn is_valid(&self, row: usize) -> bool {
        match self {
            Self::Rows => true,
            Self::NotNull(nulls)
            | Self::Exact(_, nulls)
            | Self::Float(_, nulls)
            | Self::Ordinal(_, nulls) => nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)),
        }
    }
}

/// What one aggregation computes over which type.
#[derive(Clone, Debug)]
pub(super) struct Aggregate {
    pub(super) function: AggregateFunction,
    /// The column's type; `None` for `count` of rows.
    pub(super) input: Option<ValueType>,
    pub(super) output: ValueType,
}

impl Aggregate {
    fn is_bytes(&self) -> bool {
        matches!(
            self.input,
            Some(ValueType::String | ValueType::Json | ValueType::Binary)
        )
    }

    fn is_float(&self) -> bool {
        self.input.as_ref().is_some_and(ValueType::is_float)
    }

    pub(super) fn partials(&self, n_nodes: usize) -> Result<Partials> {
        use AggregateFunction as F;
        Ok(match self.function {
            F::Count => Partials::Count(vec![0; n_nodes]),
            F::Sum | F::Mean if self.is_float() => {
                Partials::SumFloat(vec![(0, Double::default()); n_nodes])
            }
            F::Sum | F::Mean => Partials::SumExact(vec![(0, i256::ZERO); n_nodes]),
            F::Stddev => Partials::Moments(vec![Moments::default(); n_nodes]),
            F::Min | F::Max if self.is_bytes() => Partials::ExtremeBytes(vec![None; n_nodes]),
            F::Min | F::Max => Partials::Extreme(vec![None; n_nodes]),
            F::CountDistinct if self.is_bytes() => {
                Partials::DistinctBytes(vec![Occurrences::default(); n_nodes])
            }
            F::CountDistinct => Partials::Distinct(vec![Occurrences::default(); n_nodes]),
            other => {
                return Err(defect(format!(
                    "{other} is no window aggregate of partials"
                )));
            }
        })
    }

    /// Prepares a column of exactly the input type.
    pub(super) fn read(&self, column: Option<&ArrayRef>) -> Result<Input> {
        use AggregateFunction as F;
        let (Some(column), Some(value_type)) = (column, &self.input) else {
            return Ok(Input::Rows);
        };
        let nulls = column.logical_nulls();
        Ok(match self.function {
            F::Count => Input::NotNull(nulls),
            F::Sum | F::Mean | F::Stddev if self.is_float() => {
                let floats = crate::cast::cast_value(column, &ValueType::Float64, true)
                    .map_err(|failure| defect(failure.reason.clone()))?;
                let floats = arrow_array::cast::AsArray::as_primitive::<
                    arrow_array::types::Float64Type,
                >(&floats);
                Input::Float(floats.values().to_vec(), nulls)
            }
            F::Sum | F::Mean | F::Stddev => match ordinal::ordinals(column, value_type)? {
                Ordinals::Numbers(numbers) => Input::Exact(numbers, nulls),
                Ordinals::Bytes(_) => {
                    return Err(defect(format!("{} of {value_type}", self.function)));
                }
            },
            F::Min | F::CountDistinct | F::Max => {
                let mut ordinals = ordinal::ordinals(column, value_type)?;
                if let Ordinals::Numbers(numbers) = &mut ordinals {
                    for number in numbers {
                        *number = match self.function {
                            F::Min => !*number,
                            F::CountDistinct => ordinal::merge_zeros(*number, value_type),
                            _ => *number,
                        };
                    }
                }
                Input::Ordinal(ordinals, nulls)
            }
            other => return Err(defect(format!("{other} reads no column of partials"))),
        })
    }

    /// Adds a row's value, which is not null, to a node. Answers how many bytes the node grew by.
    pub(super) fn add(
        &self,
        partials: &mut Partials,
        node: usize,
        input: &Input,
        row: usize,
    ) -> usize {
        match (partials, input) {
            (Partials::Count(counts), _) => counts[node] += 1,
            (Partials::SumExact(sums), Input::Exact(values, _)) => {
                let (n, sum) = &mut sums[node];
                *n += 1;
                *sum = sum.wrapping_add(i256::from_i128(values[row]));
            }
            (Partials::SumFloat(sums), Input::Float(values, _)) => {
                let (n, sum) = &mut sums[node];
                *n += 1;
                *sum = sum.add(Double::from_f64(values[row]));
            }
            (Partials::Moments(moments), Input::Float(values, _)) => {
                moments[node].merge(&Moments::of(Double::from_f64(values[row])));
            }
            (Partials::Moments(moments), Input::Exact(values, _)) => {
                moments[node].merge(&Moments::of(Double::from_i128(values[row])));
            }
            (Partials::Extreme(extremes), Input::Ordinal(Ordinals::Numbers(values), _)) => {
                extremes[node] = extremes[node].max(Some(values[row]));
            }
            (Partials::ExtremeBytes(extremes), Input::Ordinal(Ordinals::Bytes(column), _)) => {
                let value = ordinal::bytes(column, row);
                let held = &mut extremes[node];
                if held.as_ref().is_none_or(|held| self.beats(value, held)) {
                    let before = held.as_ref().map_or(0, |held| held.len());
                    *held = Some(value.into());
                    return value.len().saturating_sub(before);
                }
            }
            (Partials::Distinct(sets), Input::Ordinal(Ordinals::Numbers(values), _)) => {
                let is_new = sets[node].insert(values[row], 1).is_none();
                return if is_new { 40 } else { 0 };
            }
            (Partials::DistinctBytes(sets), Input::Ordinal(Ordinals::Bytes(column), _)) => {
                let value = ordinal::bytes(column, row);
                if sets[node].insert(value.into(), 1).is_none() {
                    return 48 + value.len();
                }
            }
            _ => {}
        }
        0
    }

    fn beats(&self, value: &[u8], held: &[u8]) -> bool {
        if self.function == AggregateFunction::Min {
            value < held
        } else {
            value > held
        }
    }

    /// Merges node `from` of `theirs` into node `to` of `ours`.
    pub(super) fn merge(&self, ours: &mut Partials, to: usize, theirs: &Partials, from: usize) {
        match (ours, theirs) {
            (Partials::Count(ours), Partials::Count(theirs)) => ours[to] += theirs[from],
            (Partials::SumExact(ours), Partials::SumExact(theirs)) => {
                ours[to].0 += theirs[from].0;
                ours[to].1 = ours[to].1.wrapping_add(theirs[from].1);
            }
            (Partials::SumFloat(ours), Partials::SumFloat(theirs)) => {
                ours[to].0 += theirs[from].0;
                ours[to].1 = ours[to].1.add(theirs[from].1);
            }
            (Partials::Moments(ours), Partials::Moments(theirs)) => ours[to].merge(&theirs[from]),
            (Partials::Extreme(ours), Partials::Extreme(theirs)) => {
                ours[to] = ours[to].max(theirs[from]);
            }
            (Partials::ExtremeBytes(ours), Partials::ExtremeBytes(theirs)) => {
                if let Some(value) = &theirs[from]
                    && ours[to].as_ref().is_none_or(|held| self.beats(value, held))
                {
                    ours[to] = Some(value.clone());
                }
            }
            (Partials::Distinct(ours), Partials::Distinct(theirs)) => {
                ours[to].extend(theirs[from].keys().map(|key| (*key, 1)));
            }
            (Partials::DistinctBytes(ours), Partials::DistinctBytes(theirs)) => {
                ours[to].extend(theirs[from].keys().map(|key| (key.clone(), 1)));
            }
            _ => {}
        }
    }

    /// Merges node `from` into node `to`, which comes after it.
    pub(super) fn merge_within(&self, partials: &mut Partials, from: usize, to: usize) {
        match partials {
            Partials::Count(counts) => counts[to] += counts[from],
            Partials::SumExact(sums) => {
                let (n, sum) = sums[from];
                sums[to] = (sums[to].0 + n, sums[to].1.wrapping_add(sum));
            }
            Partials::SumFloat(sums) => {
                let (n, sum) = sums[from];
                sums[to] = (sums[to].0 + n, sums[to].1.add(sum));
            }
            Partials::Moments(moments) => {
                let parent = moments[from];
                moments[to].merge(&parent);
            }
            Partials::Extreme(extremes) => extremes[to] = extremes[to].max(extremes[from]),
            Partials::ExtremeBytes(extremes) => {
                let (head, tail) = extremes.split_at_mut(to);
                if let (Some(value), Some(held)) = (&head[from], tail.first_mut())
                    && held.as_ref().is_none_or(|held| self.beats(value, held))
                {
                    *held = Some(value.clone());
                }
            }
            // Sets are not pushed down but counted on a walk.
            Partials::Distinct(_) | Partials::DistinctBytes(_) => {}
        }
    }

    /// The results of nodes, in their order; `what` names the feature in messages.
    pub(super) fn finish(
        &self,
        partials: &Partials,
        nodes: &[usize],
        what: &str,
    ) -> Result<ArrayRef> {
        use AggregateFunction as F;
        let array: ArrayRef = match partials {
            Partials::Count(counts) => Arc::new(
                nodes
                    .iter()
                    .map(|&node| Some(counts[node] as i64))
                    .collect::<Int64Array>(),
            ),
            Partials::SumExact(sums) if self.function == F::Mean => Arc::new(
                nodes
                    .iter()
                    .map(|&node| self.mean(sums[node].0, Double::from_i256(sums[node].1)))
                    .collect::<Float64Array>(),
            ),
            Partials::SumExact(sums) => return self.finish_sums(sums, nodes, what),
            Partials::SumFloat(sums) if self.function == F::Mean => Arc::new(
                nodes
                    .iter()
                    .map(|&node| self.mean(sums[node].0, sums[node].1))
                    .collect::<Float64Array>(),
            ),
            Partials::SumFloat(sums) => Arc::new(
                nodes
                    .iter()
                    .map(|&node| (sums[node].0 > 0).then(|| sums[node].1.to_f64()))
                    .collect::<Float64Array>(),
            ),
            Partials::Moments(moments) => Arc::new(
                nodes
                    .iter()
                    .map(|&node| moments[node].deviation(self.unit()))
                    .collect::<Float64Array>(),
            ),
            Partials::Extreme(extremes) => {
                let numbers = nodes.iter().map(|&node| {
                    extremes[node].map(|number| {
                        if self.function == F::Min {
                            !number
                        } else {
                            number
                        }
                    })
                });
                return ordinal::from_numbers(numbers, &self.output);
            }
            Partials::ExtremeBytes(extremes) => {
                let values = nodes.iter().map(|&node| extremes[node].as_deref());
                return Ok(ordinal::from_bytes(values, &self.output));
            }
            Partials::Distinct(_) | Partials::DistinctBytes(_) => {
                return Err(defect("distinct counts are finished by walking the tree"));
            }
        };
        Ok(array)
    }

    /// How many of the numbers that a decimal is kept as make one; 1 for other types.
    fn unit(&self) -> Double {
        match &self.input {
            Some(ValueType::Decimal(_, scale)) => {
                Double::from_i128(10_i128.pow(u32::from(scale.unsigned_abs())))
            }
            _ => Double::from_i128(1),
        }
    }

    /// Sums are exact or nearly so whatever their order, so that the mean of values that cancel out
    /// is 0 on every run.
    fn mean(&self, n: u64, sum: Double) -> Option<f64> {
        let n = (n > 0).then(|| Double::from_i128(n.into()))?;
        Some(sum.div(self.unit()).div(n).to_f64())
    }

    fn finish_sums(&self, sums: &[(u64, i256)], nodes: &[usize], what: &str) -> Result<ArrayRef> {
        let limit = match self.output {
            ValueType::Int64 => i128::from(i64::MAX),
            _ => 10_i128.pow(38) - 1,
        };
        let least = if self.output == ValueType::Int64 {
            i128::from(i64::MIN)
        } else {
            -limit
        };
        let numbers: Vec<Option<i128>> = nodes
            .iter()
            .map(|&node| {
                let (n, sum) = sums[node];
                if n == 0 {
                    return Ok(None);
                }
                match sum.to_i128() {
                    Some(sum) if (least..=limit).contains(&sum) => Ok(Some(sum)),
                    _ => Err(Error::new(
                        &codes::SUM_OVERFLOW,
                        format!("the sum {what} does not fit {}", self.output),
                    )
                    .help("aggregate a column of a type with more room, such as float64")),
                }
            })
            .collect::<Result<_>>()?;
        ordinal::from_numbers(numbers.into_iter(), &self.output)
    }
}

impl Moments {
    fn of(value: Double) -> Self {
        let float = value.to_f64();
        if float.is_finite() {
            Self {
                n: 1,
                mean: value,
                ..Self::default()
            }
        } else {
            Self {
                n_special: 1,
                ..Self::default()
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        self.n_special += other.n_special;
        if other.n == 0 {
            return;
        }
        if self.n == 0 {
            (self.n, self.mean, self.squares) = (other.n, other.mean, other.squares);
            return;
        }
        let (ours, theirs) = (
            Double::from_i128(self.n.into()),
            Double::from_i128(other.n.into()),
        );
        let all = ours.add(theirs);
        let delta = other.mean.sub(self.mean);
        self.mean = self.mean.add(delta.mul(theirs).div(all));
        let spread = delta.mul(delta).mul(ours).mul(theirs).div(all);
        self.squares = self.squares.add(other.squares).add(spread);
        self.n += other.n;
    }

    /// The sample's standard deviation of values that are whole numbers of `1 / unit`.
    fn deviation(&self, unit: Double) -> Option<f64> {
        if self.n + self.n_special < 2 {
            return None;
        }
        if self.n_special > 0 {
            return Some(f64::NAN);
        }
        let variance = self.squares.div(Double::from_i128(i128::from(self.n) - 1));
        Some(variance.div(unit).div(unit).to_f64().max(0.0).sqrt())
    }
}

/// Counts the different values of sets that come and go.
#[derive(Debug, Default)]
pub(super) struct Distinct<K> {
    present: Occurrences<K>,
}

impl<K: std::hash::Hash + Eq + Clone> Distinct<K> {
    pub(super) fn enter(&mut self, set: &Occurrences<K>) {
        for value in set.keys() {
            match self.present.entry(value.clone()) {
                Entry::Occupied(mut occupied) => *occupied.get_mut() += 1,
                Entry::Vacant(vacant) => {
                    vacant.insert(1);
                }
            }
        }
    }

    pub(super) fn leave(&mut self, set: &Occurrences<K>) {
        for value in set.keys() {
            if let Entry::Occupied(mut occupied) = self.present.entry(value.clone()) {
                *occupied.get_mut() -= 1;
                if *occupied.get() == 0 {
                    occupied.remove();
                }
            }
        }
    }

    pub(super) fn len(&self) -> i64 {
        self.present.len() as i64
    }
}
