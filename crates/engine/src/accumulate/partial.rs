//! Mergeable partial aggregates, one per cell of a key's time or per node of its tree.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Float64Array, Int64Array};
use arrow_buffer::{BooleanBuffer, NullBuffer, ScalarBuffer, i256};
use provender_core::model::AggregateFunction;
use provender_core::{Error, Result, ValueType, codes};

use super::cells::{Extreme, FloatSum, WholeSum};
use super::distinct::{Occurrences, slide_sets};
use super::double::Double;
use super::found_rows::Counted;
use super::moments::Moments;
use super::ordinal::{self, Ordinals};
use super::packed::Simple;
use super::segments::{Window, slide};
use crate::error::defect;
use crate::pages::Pages;

/// The partial aggregates of all nodes, by what is computed.
#[derive(Debug)]
pub(super) enum Partials {
    Count(Pages<u64>),
    SumWhole(Pages<WholeSum>),
    SumExact(Vec<(u64, i256)>),
    SumFloat(Pages<FloatSum>),
    Moments(Pages<Moments>),
    Extreme(Pages<Extreme>),
    ExtremeWide(Vec<Option<i128>>),
    ExtremeBytes(Vec<Option<Box<[u8]>>>),
    Distinct(Vec<Occurrences<i128>>),
    DistinctBytes(Vec<Occurrences<Box<[u8]>>>),
}

/// A batch's column as an aggregate reads it.
pub(super) enum Input {
    Rows,
    NotNull(Option<NullBuffer>),
    Float(ScalarBuffer<f64>, Option<NullBuffer>),
    /// Ordinals; numbers are complemented for `min`.
    Ordinal(Ordinals, Option<NullBuffer>),
}

impl Input {
    pub(super) fn nulls(&self) -> Option<&NullBuffer> {
        match self {
            Self::Rows => None,
            Self::NotNull(nulls) | Self::Float(_, nulls) | Self::Ordinal(_, nulls) => {
                nulls.as_ref()
            }
        }
    }

    pub(super) fn is_valid(&self, row: usize) -> bool {
        self.nulls().is_none_or(|nulls| nulls.is_valid(row))
    }
}

impl Partials {
    /// Simple ones of no value.
    pub(super) fn none(simple: Simple, n_nodes: usize) -> Self {
        match simple {
            Simple::Count => Self::Count(Pages::zeroed(n_nodes)),
            Simple::SumFloat => Self::SumFloat(Pages::zeroed(n_nodes)),
            Simple::SumWhole => Self::SumWhole(Pages::zeroed(n_nodes)),
            Simple::Moments => Self::Moments(Pages::zeroed(n_nodes)),
            Simple::Extreme => Self::Extreme(Pages::zeroed(n_nodes)),
        }
    }

    /// Bytes of all nodes, without those that lie elsewhere.
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Count(nodes) => nodes.memory(),
            Self::SumWhole(nodes) => nodes.memory(),
            Self::SumExact(nodes) => size_of_val(nodes.as_slice()),
            Self::SumFloat(nodes) => nodes.memory(),
            Self::Moments(nodes) => nodes.memory(),
            Self::Extreme(nodes) => nodes.memory(),
            Self::ExtremeWide(nodes) => size_of_val(nodes.as_slice()),
            Self::ExtremeBytes(nodes) => size_of_val(nodes.as_slice()),
            Self::Distinct(nodes) => size_of_val(nodes.as_slice()),
            Self::DistinctBytes(nodes) => size_of_val(nodes.as_slice()),
        }
    }

    /// The nodes at places, of partials that are not simple.
    pub(super) fn at(&self, places: &[u32]) -> Result<Self> {
        Ok(match self {
            Self::SumExact(nodes) => Self::SumExact(at(nodes, places)),
            Self::ExtremeWide(nodes) => Self::ExtremeWide(at(nodes, places)),
            Self::ExtremeBytes(nodes) => Self::ExtremeBytes(at(nodes, places)),
            Self::Distinct(nodes) => Self::Distinct(at(nodes, places)),
            Self::DistinctBytes(nodes) => Self::DistinctBytes(at(nodes, places)),
            _ => return Err(defect("simple partials lie in rows")),
        })
    }
}

fn at<T: Clone>(nodes: &[T], places: &[u32]) -> Vec<T> {
    let places = places.iter();
    places.map(|&place| nodes[place as usize].clone()).collect()
}

/// Whether two functions of one column are finished from the same partials.
pub(super) fn have_same_partials(one: AggregateFunction, other: AggregateFunction) -> bool {
    let is_sum = |function| matches!(function, AggregateFunction::Sum | AggregateFunction::Mean);
    one == other || (is_sum(one) && is_sum(other))
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

    fn is_narrow(&self) -> bool {
        self.input.as_ref().is_some_and(ordinal::is_narrow)
    }

    /// Whether another aggregate of the same column is finished from the same partials.
    pub(super) fn has_partials_of(&self, other: &Self) -> bool {
        have_same_partials(self.function, other.function)
    }

    /// The partials, if they are simple.
    pub(super) fn simple(&self) -> Option<Simple> {
        use AggregateFunction as F;
        match self.function {
            F::Count => Some(Simple::Count),
            F::Sum | F::Mean if self.is_float() => Some(Simple::SumFloat),
            F::Sum | F::Mean if self.is_narrow() => Some(Simple::SumWhole),
            F::Stddev => Some(Simple::Moments),
            F::Min | F::Max if self.is_narrow() && !self.is_bytes() => Some(Simple::Extreme),
            _ => None,
        }
    }

    pub(super) fn partials(&self, n_nodes: usize) -> Result<Partials> {
        use AggregateFunction as F;
        Ok(match (self.simple(), self.function) {
            (Some(simple), _) => Partials::none(simple, n_nodes),
            (None, F::Sum | F::Mean) => Partials::SumExact(vec![(0, i256::ZERO); n_nodes]),
            (None, F::Min | F::Max) if self.is_bytes() => {
                Partials::ExtremeBytes(vec![None; n_nodes])
            }
            (None, F::Min | F::Max) => Partials::ExtremeWide(vec![None; n_nodes]),
            (None, F::CountDistinct) if self.is_bytes() => {
                Partials::DistinctBytes(vec![Occurrences::default(); n_nodes])
            }
            (None, F::CountDistinct) => Partials::Distinct(vec![Occurrences::default(); n_nodes]),
            (None, other) => {
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
                Input::Float(floats.values().clone(), nulls)
            }
            F::Sum | F::Mean | F::Stddev => match ordinal::ordinals(column, value_type)? {
                Ordinals::Bytes(_) => {
                    return Err(defect(format!("{} of {value_type}", self.function)));
                }
                numbers => Input::Ordinal(numbers, nulls),
            },
            F::Min | F::CountDistinct | F::Max => {
                let mut ordinals = ordinal::ordinals(column, value_type)?;
                match (&mut ordinals, self.function) {
                    (Ordinals::Numbers(numbers), F::Min) => {
                        numbers.iter_mut().for_each(|number| *number = !*number);
                    }
                    (Ordinals::Wide(numbers), F::Min) => {
                        numbers.iter_mut().for_each(|number| *number = !*number);
                    }
                    (Ordinals::Numbers(numbers), F::CountDistinct) => {
                        ordinal::merge_zeros(numbers, value_type);
                    }
                    _ => {}
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
            (Partials::SumWhole(sums), Input::Ordinal(Ordinals::Numbers(values), _)) => {
                sums[node].add(values[row]);
            }
            (Partials::SumExact(sums), Input::Ordinal(Ordinals::Wide(values), _)) => {
                let (n, sum) = &mut sums[node];
                *n += 1;
                *sum = sum.wrapping_add(i256::from_i128(values[row]));
            }
            (Partials::SumFloat(sums), Input::Float(values, _)) => {
                sums[node].add(values[row]);
            }
            (Partials::Moments(moments), Input::Float(values, _)) => {
                moments[node].merge(&Moments::of(Double::from_f64(values[row])));
            }
            (Partials::Moments(moments), Input::Ordinal(values, _)) => {
                moments[node].merge(&Moments::of(Double::from_i128(values.number(row))));
            }
            (Partials::Extreme(extremes), Input::Ordinal(Ordinals::Numbers(values), _)) => {
                extremes[node].add(values[row]);
            }
            (Partials::ExtremeWide(extremes), Input::Ordinal(Ordinals::Wide(values), _)) => {
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
            (Partials::DistinctBytes(sets), Input::Ordinal(Ordinals::Bytes(column), _)) => {
                let value = ordinal::bytes(column, row);
                if sets[node].insert(value.into(), 1).is_none() {
                    return 48 + value.len();
                }
            }
            (Partials::Distinct(sets), Input::Ordinal(values, _)) => {
                let is_new = sets[node].insert(values.number(row), 1).is_none();
                return if is_new { 40 } else { 0 };
            }
            _ => {}
        }
        0
    }

    /// Adds rows' values to their cells, nulls left out. Answers how many bytes the cells grew by.
    pub(super) fn add_all(
        &self,
        partials: &mut Partials,
        found: &[Counted],
        input: &Input,
    ) -> usize {
        let with_values = found
            .iter()
            .filter(|counted| input.is_valid(counted.row as usize));
        let grown = with_values.map(|counted| {
            self.add(
                partials,
                counted.place as usize,
                input,
                counted.row as usize,
            )
        });
        grown.sum()
    }

    fn beats(&self, value: &[u8], held: &[u8]) -> bool {
        if self.function == AggregateFunction::Min {
            value < held
        } else {
            value > held
        }
    }

    /// Merges each node of `theirs` into the same one of `ours`.
    pub(super) fn merge_all(&self, ours: &mut Partials, theirs: &Partials) {
        fn all<T>(ours: &mut [T], theirs: &[T], merge: impl Fn(&mut T, &T)) {
            ours.iter_mut()
                .zip(theirs)
                .for_each(|(ours, theirs)| merge(ours, theirs));
        }
        match (ours, theirs) {
            (Partials::Count(ours), Partials::Count(theirs)) => {
                all(ours, theirs, |ours, theirs| *ours += theirs);
            }
            (Partials::SumWhole(ours), Partials::SumWhole(theirs)) => {
                all(ours, theirs, WholeSum::merge)
            }
            (Partials::SumExact(ours), Partials::SumExact(theirs)) => all(ours, theirs, add_exact),
            (Partials::SumFloat(ours), Partials::SumFloat(theirs)) => {
                all(ours, theirs, FloatSum::merge)
            }
            (Partials::Moments(ours), Partials::Moments(theirs)) => {
                all(ours, theirs, Moments::merge);
            }
            (Partials::Extreme(ours), Partials::Extreme(theirs)) => {
                all(ours, theirs, Extreme::merge);
            }
            (Partials::ExtremeWide(ours), Partials::ExtremeWide(theirs)) => {
                all(ours, theirs, |ours, theirs| *ours = (*ours).max(*theirs));
            }
            (Partials::ExtremeBytes(ours), Partials::ExtremeBytes(theirs)) => {
                all(ours, theirs, |ours, theirs| self.keep_extreme(ours, theirs));
            }
            (Partials::Distinct(ours), Partials::Distinct(theirs)) => {
                all(ours, theirs, |ours, theirs| {
                    ours.extend(theirs.keys().map(|key| (*key, 1)));
                });
            }
            (Partials::DistinctBytes(ours), Partials::DistinctBytes(theirs)) => {
                all(ours, theirs, |ours, theirs| {
                    ours.extend(theirs.keys().map(|key| (key.clone(), 1)));
                });
            }
            _ => {}
        }
    }

    fn keep_extreme(&self, held: &mut Option<Box<[u8]>>, other: &Option<Box<[u8]>>) {
        if let Some(value) = other
            && held.as_ref().is_none_or(|held| self.beats(value, held))
        {
            *held = Some(value.clone());
        }
    }

    /// Merges the cells of each window, whose ranges ascend at both ends. Sets of different values are
    /// answered as their number.
    pub(super) fn slide(&self, cells: &Partials, windows: &[Window]) -> Partials {
        match cells {
            Partials::Count(cells) => {
                Partials::Count(slide(cells, windows, |ours, theirs| *ours += theirs).into())
            }
            Partials::SumWhole(cells) => {
                Partials::SumWhole(slide(cells, windows, WholeSum::merge).into())
            }
            Partials::SumExact(cells) => Partials::SumExact(slide(cells, windows, add_exact)),
            Partials::SumFloat(cells) => {
                Partials::SumFloat(slide(cells, windows, FloatSum::merge).into())
            }
            Partials::Moments(cells) => {
                Partials::Moments(slide(cells, windows, Moments::merge).into())
            }
            Partials::Extreme(cells) => {
                Partials::Extreme(slide(cells, windows, Extreme::merge).into())
            }
            Partials::ExtremeWide(cells) => {
                Partials::ExtremeWide(slide(cells, windows, |ours, theirs| {
                    *ours = (*ours).max(*theirs);
                }))
            }
            Partials::ExtremeBytes(cells) => {
                Partials::ExtremeBytes(slide(cells, windows, |ours, theirs| {
                    self.keep_extreme(ours, theirs);
                }))
            }
            Partials::Distinct(cells) => Partials::Count(slide_sets(cells, windows).into()),
            Partials::DistinctBytes(cells) => Partials::Count(slide_sets(cells, windows).into()),
        }
    }

    /// Merges node `from` into node `to`, which comes after it.
    pub(super) fn merge_within(&self, partials: &mut Partials, from: usize, to: usize) {
        match partials {
            Partials::Count(counts) => counts[to] += counts[from],
            Partials::SumWhole(sums) => {
                let parent = sums[from];
                sums[to].merge(&parent);
            }
            Partials::SumExact(sums) => {
                let parent = sums[from];
                add_exact(&mut sums[to], &parent);
            }
            Partials::SumFloat(sums) => {
                let parent = sums[from];
                sums[to].merge(&parent);
            }
            Partials::Moments(moments) => {
                let parent = moments[from];
                moments[to].merge(&parent);
            }
            Partials::Extreme(extremes) => {
                let parent = extremes[from];
                extremes[to].merge(&parent);
            }
            Partials::ExtremeWide(extremes) => extremes[to] = extremes[to].max(extremes[from]),
            Partials::ExtremeBytes(extremes) => {
                let (head, tail) = extremes.split_at_mut(to);
                if let Some(held) = tail.first_mut() {
                    self.keep_extreme(held, &head[from]);
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
            Partials::Count(counts) => {
                let counts: &[u64] = counts;
                let values = nodes.iter().map(|&node| counts[node] as i64);
                Arc::new(Int64Array::from_iter_values(values))
            }
            Partials::SumWhole(sums) if self.function == F::Mean => Arc::new(
                nodes
                    .iter()
                    .map(|&node| self.mean(sums[node].n, Double::from_i128(sums[node].sum)))
                    .collect::<Float64Array>(),
            ),
            Partials::SumWhole(sums) => {
                return self.finish_sums(
                    nodes
                        .iter()
                        .map(|&node| (sums[node].n, Some(sums[node].sum))),
                    what,
                );
            }
            Partials::SumExact(sums) if self.function == F::Mean => Arc::new(
                nodes
                    .iter()
                    .map(|&node| self.mean(sums[node].0, Double::from_i256(sums[node].1)))
                    .collect::<Float64Array>(),
            ),
            Partials::SumExact(sums) => {
                let sums = nodes
                    .iter()
                    .map(|&node| (sums[node].0, sums[node].1.to_i128()));
                return self.finish_sums(sums, what);
            }
            Partials::SumFloat(sums) => {
                let sums: &[FloatSum] = sums;
                let is_any = |at: usize| sums[nodes[at]].n > 0;
                let nulls = NullBuffer::new(BooleanBuffer::collect_bool(nodes.len(), is_any));
                let sums = nodes.iter().map(|&node| sums[node]);
                let values: Vec<f64> = match self.function {
                    // The division rounds once more, which is far within what sums may differ by.
                    F::Mean => sums
                        .map(|FloatSum { n, sum }| sum.to_f64() / n.max(1) as f64)
                        .collect(),
                    _ => sums.map(|one| one.sum.to_f64()).collect(),
                };
                Arc::new(Float64Array::new(values.into(), Some(nulls)))
            }
            Partials::Moments(moments) => Arc::new(
                nodes
                    .iter()
                    .map(|&node| moments[node].deviation(self.unit()))
                    .collect::<Float64Array>(),
            ),
            Partials::Extreme(extremes) => {
                let numbers = nodes.iter().map(|&node| extremes[node].number());
                return ordinal::from_numbers(self.as_they_were(numbers), &self.output);
            }
            Partials::ExtremeWide(extremes) => {
                let numbers = nodes.iter().map(|&node| extremes[node]);
                return ordinal::from_numbers(self.as_they_were(numbers), &self.output);
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

    /// Numbers whose complements were compared for `min`.
    fn as_they_were(
        &self,
        numbers: impl Iterator<Item = Option<i128>>,
    ) -> impl Iterator<Item = Option<i128>> {
        let is_min = self.function == AggregateFunction::Min;
        numbers.map(move |number| number.map(|number| if is_min { !number } else { number }))
    }

    /// `sums` are pairs of the number of values and their sum, `None` beyond 128 bits.
    fn finish_sums(
        &self,
        sums: impl Iterator<Item = (u64, Option<i128>)>,
        what: &str,
    ) -> Result<ArrayRef> {
        let limit = match self.output {
            ValueType::Int64 => i128::from(i64::MAX),
            _ => 10_i128.pow(38) - 1,
        };
        let least = if self.output == ValueType::Int64 {
            i128::from(i64::MIN)
        } else {
            -limit
        };
        let numbers: Vec<Option<i128>> = sums
            .map(|(n, sum)| {
                if n == 0 {
                    return Ok(None);
                }
                match sum {
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

fn add_exact(ours: &mut (u64, i256), theirs: &(u64, i256)) {
    *ours = (ours.0 + theirs.0, ours.1.wrapping_add(theirs.1));
}
