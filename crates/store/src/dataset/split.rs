//! Splits: which part of a dataset a row belongs to.
//!
//! Decides by what is in the row alone, never by where it stands, so that a part is the same on every
//! run and machine and in any order of rows. `docs/datasets.md` states the rules byte for byte.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use provender_core::names::did_you_mean;
use provender_core::time::{format_instant, parse_instant, to_instants};
use provender_core::{Error, Result, ValueType, codes};
use serde::{Deserialize, Serialize};

use super::encoding::encode_column;
use super::hash::sha256;
use crate::cast::cast_key;
use crate::training::Meaning;

/// The column's name if none is given.
const DEFAULT_COLUMN: &str = "split";
/// Shares may miss 1 by this much, since decimal fractions are not exact.
const SHARES_TOLERANCE: f64 = 1e-6;

/// A division of a dataset's rows into named parts, told by one more column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// By what.
    #[serde(flatten)]
    pub rule: SplitRule,
    /// The parts' names, in order.
    pub parts: Vec<String>,
    /// The column that holds the part's name.
    pub column: String,
}

/// What decides about a row's part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
#[non_exhaustive]
pub enum SplitRule {
    /// A hash of the spine's columns, so equal rows are always in one part.
    Random {
        /// How much of the whole each part is, about; they add up to 1.
        shares: Vec<f64>,
        /// Gives another division with the same shares.
        seed: u64,
    },
    /// The spine's time: a part ends before the instant at which the next begins. Rows without a
    /// time are in no part.
    Time {
        /// Where the second and each further part begins, in microseconds since the epoch.
        bounds_us: Vec<i64>,
    },
    /// A hash of key columns, so all rows of one entity are in one part.
    Entity {
        /// As of `Random`, but of entities.
        shares: Vec<f64>,
        /// As of `Random`.
        seed: u64,
        /// The columns; none stands for those that all views of the request are joined by.
        columns: Vec<String>,
    },
}

/// What a split takes beside its rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitOptions {
    /// For `random` and `entity`.
    pub seed: u64,
    /// For `entity`: the columns.
    pub columns: Vec<String>,
    /// The parts' names; empty for the usual ones of two (train, test) or three parts (train,
    /// validation, test).
    pub parts: Vec<String>,
    /// The column's name; `None` is `split`.
    pub column: Option<String>,
}

impl Split {
    /// Reads `random:0.8,0.1,0.1`, `time:2013-09-01,2013-11-01` or `entity:0.8,0.2`.
    ///
    /// # Errors
    /// `InvalidArgument` (`P406`) that says what is wrong.
    pub fn parse(text: &str, options: SplitOptions) -> Result<Self> {
        let (kind, rest) = text.split_once(':').ok_or_else(|| unreadable(text))?;
        let rest: Vec<&str> = rest.split(',').map(str::trim).collect();
        let rule = match kind.trim() {
            "random" => SplitRule::Random {
                shares: shares(&rest)?,
                seed: options.seed,
            },
            "time" => SplitRule::Time {
                bounds_us: bounds(&rest)?,
            },
            "entity" => SplitRule::Entity {
                shares: shares(&rest)?,
                seed: options.seed,
                columns: options.columns.clone(),
            },
            _ => return Err(unreadable(text)),
        };
        if !options.columns.is_empty() && !matches!(rule, SplitRule::Entity { .. }) {
            return Err(bad("columns to split by belong to a split by entity"));
        }
        let n_parts = match &rule {
            SplitRule::Random { shares, .. } | SplitRule::Entity { shares, .. } => shares.len(),
            SplitRule::Time { bounds_us } => bounds_us.len() + 1,
        };
        Ok(Self {
            rule,
            parts: part_names(n_parts, options.parts)?,
            column: options.column.unwrap_or_else(|| DEFAULT_COLUMN.to_owned()),
        })
    }

    /// As it is written: `random:0.8,0.2`.
    pub fn rule_text(&self) -> String {
        let list = |shares: &[f64]| {
            let shown: Vec<String> = shares.iter().map(f64::to_string).collect();
            shown.join(",")
        };
        match &self.rule {
            SplitRule::Random { shares, .. } => format!("random:{}", list(shares)),
            SplitRule::Entity { shares, .. } => format!("entity:{}", list(shares)),
            SplitRule::Time { bounds_us } => {
                let bounds: Vec<String> = bounds_us.iter().copied().map(format_instant).collect();
                format!("time:{}", bounds.join(","))
            }
        }
    }
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(&codes::BAD_REQUEST, message)
}

fn unreadable(text: &str) -> Error {
    bad(format!("{text:?} is no split")).help(
        "write random:0.8,0.1,0.1, time:2013-09-01,2013-11-01 (where parts begin), or entity:0.8,0.2",
    )
}

fn shares(texts: &[&str]) -> Result<Vec<f64>> {
    let mut shares = Vec::with_capacity(texts.len());
    for text in texts {
        match text.parse::<f64>() {
            Ok(share) if share > 0.0 && share.is_finite() => shares.push(share),
            _ => {
                return Err(bad(format!("{text:?} is no share of a split"))
                    .help("shares are numbers above 0, such as 0.8"));
            }
        }
    }
    let sum: f64 = shares.iter().sum();
    if (sum - 1.0).abs() > SHARES_TOLERANCE {
        return Err(
            bad(format!("the shares of a split add up to {sum}, not to 1"))
                .help("write all shares, such as 0.8,0.1,0.1"),
        );
    }
    Ok(shares)
}

fn bounds(texts: &[&str]) -> Result<Vec<i64>> {
    let bounds: Vec<i64> = texts
        .iter()
        .map(|text| parse_instant(text))
        .collect::<Result<_>>()?;
    if bounds.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err(bad("the times of a split do not ascend")
            .help("write where the second and each further part begins, earliest first"));
    }
    Ok(bounds)
}

fn part_names(n_parts: usize, given: Vec<String>) -> Result<Vec<String>> {
    let usual: &[&str] = match n_parts {
        2 => &["train", "test"],
        3 => &["train", "validation", "test"],
        _ => &[],
    };
    if n_parts < 2 {
        return Err(bad("a split has two parts at least"));
    }
    if given.is_empty() && !usual.is_empty() {
        return Ok(usual.iter().map(|&name| name.to_owned()).collect());
    }
    if given.len() != n_parts {
        return Err(bad(format!(
            "a split of {n_parts} parts has {} names",
            given.len()
        ))
        .help("name all parts, in order"));
    }
    let mut sorted = given.clone();
    sorted.sort();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) || sorted[0].is_empty() {
        return Err(bad("the names of a split's parts are not all different"));
    }
    Ok(given)
}

/// A split over the columns of a certain training set.
#[derive(Clone, Debug)]
pub(crate) struct BoundSplit {
    rule: BoundRule,
    parts: Vec<String>,
}

#[derive(Clone, Debug)]
enum BoundRule {
    Hash {
        /// Columns, and the type that their values are compared as.
        columns: Vec<(usize, Option<ValueType>)>,
        seed: u64,
        shares: Vec<f64>,
    },
    Time {
        column: usize,
        bounds_us: Vec<i64>,
    },
}

impl Split {
    /// The same with the columns named that it is by.
    ///
    /// # Errors
    /// `InvalidArgument`: `P402` for a column that the spine lacks; `P406` if views share no key and
    /// no columns are named.
    pub(crate) fn resolved(&self, meaning: &Meaning, spine: &Schema) -> Result<Self> {
        let mut split = self.clone();
        if let SplitRule::Entity { columns, .. } = &mut split.rule {
            if columns.is_empty() {
                *columns = shared_keys(meaning)?;
            }
            for column in columns.iter() {
                if spine.column_with_name(column).is_none() {
                    let names = spine.fields().iter().map(|field| field.name().as_str());
                    return Err(Error::new(
                        &codes::MISSING_SPINE_COLUMN,
                        format!("the spine has no column {column:?} to split by"),
                    )
                    .help(did_you_mean(column, names)));
                }
            }
        }
        Ok(split)
    }

    /// Finds the columns in rows that begin with those of the spine, and the field of the part.
    ///
    /// # Errors
    /// As [`Self::resolved`], and `InvalidArgument` (`P404`) if the rows have a column of the part's name.
    pub(crate) fn bind(&self, meaning: &Meaning, spine: &Schema) -> Result<(BoundSplit, Field)> {
        let split = self.resolved(meaning, spine)?;
        let lower = split.column.to_lowercase();
        let mut taken = meaning.schema.fields().iter();
        if let Some(field) = taken.find(|field| field.name().to_lowercase() == lower) {
            return Err(Error::new(
                &codes::NAME_CLASH,
                format!(
                    "the split's column {:?} would be called as the column {:?} of the training set",
                    split.column,
                    field.name()
                ),
            )
            .help("give the split's column another name (`--split-column`)"));
        }
        let rule = match split.rule {
            SplitRule::Time { bounds_us } => BoundRule::Time {
                column: meaning.spine.timestamp,
                bounds_us,
            },
            SplitRule::Random { shares, seed } => BoundRule::Hash {
                columns: (0..spine.fields().len()).map(|at| (at, None)).collect(),
                seed,
                shares,
            },
            SplitRule::Entity {
                shares,
                seed,
                columns,
            } => BoundRule::Hash {
                columns: columns
                    .iter()
                    .filter_map(|name| {
                        let at = spine.index_of(name).ok()?;
                        let mut keys = meaning.spine.keys.iter();
                        let key = keys.find(|key| key.column == at);
                        Some((at, key.map(|key| key.value_type.clone())))
                    })
                    .collect(),
                seed,
                shares,
            },
        };
        let bound = BoundSplit {
            rule,
            parts: split.parts,
        };
        Ok((bound, Field::new(split.column, DataType::Utf8, true)))
    }
}

/// The key columns that every view with keys is joined by: an entity of any of these views has one
/// value in them, and so is in one part.
fn shared_keys(meaning: &Meaning) -> Result<Vec<String>> {
    let sets: Vec<Vec<&str>> = (meaning.resolved.joins.iter())
        .filter(|join| !join.keys.is_empty())
        .map(|join| join.keys.iter().map(|(_, name)| name.as_str()).collect())
        .collect();
    let mut shared: Vec<String> = Vec::new();
    for name in sets.first().into_iter().flatten() {
        if sets.iter().all(|set| set.contains(name)) {
            shared.push((*name).to_owned());
        }
    }
    if !shared.is_empty() {
        return Ok(shared);
    }
    let mut all: Vec<&str> = sets.into_iter().flatten().collect();
    all.sort_unstable();
    all.dedup();
    Err(bad(
        "the views of the request have no join key in common, so there is no entity to split by",
    )
    .help(if all.is_empty() {
        "name columns of the spine (`--split-by`)".to_owned()
    } else {
        format!("name columns (`--split-by`), such as {}", all.join(", "))
    }))
}

impl BoundSplit {
    /// The part of each row.
    ///
    /// # Errors
    /// `P403` for keys and times that cannot be read as such.
    pub(crate) fn parts(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        let parts: StringArray = match &self.rule {
            BoundRule::Time { column, bounds_us } => to_instants(batch.column(*column).as_ref())?
                .iter()
                .map(|instant_us| {
                    let at_us = instant_us?;
                    Some(self.part(bounds_us.partition_point(|&bound_us| bound_us <= at_us)))
                })
                .collect(),
            BoundRule::Hash {
                columns,
                seed,
                shares,
            } => {
                let rows = hashed_rows(batch, columns, *seed)?;
                rows.iter()
                    .map(|&hash| Some(self.part(part_of(hash, shares))))
                    .collect()
            }
        };
        Ok(Arc::new(parts))
    }

    fn part(&self, at: usize) -> &str {
        self.parts.get(at).map_or("", String::as_str)
    }
}

/// The first eight bytes, read as a big-endian number, of the SHA-256 of the seed (eight bytes, the
/// least first) and the encoded values.
fn hashed_rows(
    batch: &RecordBatch,
    columns: &[(usize, Option<ValueType>)],
    seed: u64,
) -> Result<Vec<u64>> {
    let mut encoded = Vec::with_capacity(columns.len());
    for (column, value_type) in columns {
        let schema = batch.schema_ref();
        let name = schema.field(*column).name();
        let values = match value_type {
            None => batch.column(*column).clone(),
            Some(value_type) => cast_key(batch.column(*column), name, value_type)?,
        };
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        encode_column(name, &values, &mut bytes, &mut ends)?;
        encoded.push((bytes, ends));
    }
    let mut row_bytes = Vec::new();
    Ok((0..batch.num_rows())
        .map(|row| {
            row_bytes.clear();
            row_bytes.extend_from_slice(&seed.to_le_bytes());
            for (bytes, ends) in &encoded {
                let start = row.checked_sub(1).map_or(0, |before| ends[before]);
                row_bytes.extend_from_slice(&bytes[start..ends[row]]);
            }
            let [a, b, c, d, e, f, g, h, ..] = sha256(&row_bytes);
            u64::from_be_bytes([a, b, c, d, e, f, g, h])
        })
        .collect())
}

/// The part whose stretch of [0, 1) the hash falls into: its upper 53 bits as a fraction.
fn part_of(hash: u64, shares: &[f64]) -> usize {
    let at = (hash >> 11) as f64 / (1_u64 << 53) as f64;
    let mut end = 0.0;
    for (part, share) in shares.iter().enumerate() {
        end += share;
        if at < end {
            return part;
        }
    }
    shares.len() - 1
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use arrow_array::{Int32Array, Int64Array};
    use rand::rngs::StdRng;
    use rand::seq::SliceRandom;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn options() -> SplitOptions {
        SplitOptions::default()
    }

    fn hashed(shares: &[f64], seed: u64, value_type: Option<ValueType>) -> BoundSplit {
        BoundSplit {
            rule: BoundRule::Hash {
                columns: vec![(0, value_type)],
                seed,
                shares: shares.to_vec(),
            },
            parts: (0..shares.len()).map(|at| format!("p{at}")).collect(),
        }
    }

    fn parts(split: &BoundSplit, column: ArrayRef) -> Vec<String> {
        let batch = RecordBatch::try_from_iter([("k", column)]).unwrap();
        let parts = split.parts(&batch).unwrap();
        let parts = arrow_array::cast::AsArray::as_string::<i32>(&parts).clone();
        parts.iter().map(|part| part.unwrap().to_owned()).collect()
    }

    #[test]
    fn splits_are_read_and_mistakes_are_told() {
        let split = Split::parse("random: 0.8, 0.1,0.1", options()).unwrap();
        assert_eq!(split.parts, ["train", "validation", "test"]);
        assert_eq!(split.column, "split");
        assert_eq!(split.rule_text(), "random:0.8,0.1,0.1");
        let split = Split::parse("time:2013-09-01", options()).unwrap();
        assert_eq!(split.parts, ["train", "test"]);
        assert_eq!(split.rule_text(), "time:2013-09-01T00:00:00Z");
        let named = SplitOptions {
            parts: ["a", "b", "c", "d"].map(str::to_owned).to_vec(),
            columns: vec!["origin".to_owned()],
            ..options()
        };
        let split = Split::parse("entity:0.25,0.25,0.25,0.25", named).unwrap();
        let text = serde_json::to_string(&split).unwrap();
        assert_eq!(serde_json::from_str::<Split>(&text).unwrap(), split);
        for (text, message) in [
            ("0.8,0.2", "\"0.8,0.2\" is no split"),
            ("stratified:0.8,0.2", "\"stratified:0.8,0.2\" is no split"),
            (
                "random:0.8,0.1",
                "the shares of a split add up to 0.9, not to 1",
            ),
            ("random:1.2,-0.2", "\"-0.2\" is no share of a split"),
            ("random:1", "a split has two parts at least"),
            (
                "time:2013-09-01,2013-09-01",
                "the times of a split do not ascend",
            ),
            ("random:0.7,0.1,0.1,0.1", "a split of 4 parts has 0 names"),
        ] {
            let error = Split::parse(text, options()).unwrap_err();
            assert!(error.message().starts_with(message), "{text}: {error}");
            assert_eq!(error.code(), "P406");
        }
    }

    #[test]
    fn parts_have_their_shares_within_binomial_bounds() {
        let n = 20_000_i64;
        for seed in [0, 1, 7, u64::MAX] {
            let split = hashed(&[0.8, 0.15, 0.05], seed, None);
            let rows = parts(&split, Arc::new(Int64Array::from_iter_values(0..n)));
            for (at, share) in [0.8, 0.15, 0.05].into_iter().enumerate() {
                let count = rows
                    .iter()
                    .filter(|part| **part == format!("p{at}"))
                    .count();
                let sigma = (n as f64 * share * (1.0 - share)).sqrt();
                let off = (count as f64 - n as f64 * share).abs();
                assert!(off < 4.0 * sigma, "seed {seed}, part {at}: {count}");
            }
        }
    }

    #[test]
    fn a_row_is_in_the_same_part_wherever_it_stands_and_whatever_its_width() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut values: Vec<i64> = (0..500).map(|_| rng.random_range(0..100)).collect();
        let split = hashed(&[0.5, 0.5], 7, Some(ValueType::Int64));
        let part = |values: &[i64]| parts(&split, Arc::new(Int64Array::from(values.to_vec())));
        let known: std::collections::BTreeMap<i64, String> =
            values.iter().copied().zip(part(&values)).collect();
        values.shuffle(&mut rng);
        for (value, part) in values.iter().zip(part(&values)) {
            assert_eq!(known[value], part);
        }
        let narrow = Int32Array::from_iter_values(values.iter().map(|&value| value as i32));
        assert_eq!(parts(&split, Arc::new(narrow)), part(&values));
        let other = hashed(&[0.5, 0.5], 8, Some(ValueType::Int64));
        let other = parts(&other, Arc::new(Int64Array::from(values.clone())));
        assert_ne!(other, part(&values));
    }

    /// What another program finds with SHA-256 alone must be found here for ever.
    #[test]
    fn parts_do_not_change_between_releases() {
        let split = hashed(&[0.5, 0.5], 7, None);
        let texts = StringArray::from(vec!["JFK", "LGA", "EWR", "SFO", "LAX", "ORD"]);
        let found = parts(&split, Arc::new(texts));
        assert_eq!(found, PINNED);
    }

    const PINNED: [&str; 6] = ["p0", "p0", "p1", "p1", "p0", "p0"];

    #[test]
    fn a_time_is_in_the_part_that_has_begun() {
        let split = BoundSplit {
            rule: BoundRule::Time {
                column: 0,
                bounds_us: vec![10, 20],
            },
            parts: ["a", "b", "c"].map(str::to_owned).to_vec(),
        };
        let times = arrow_array::TimestampMicrosecondArray::from(vec![
            Some(9),
            Some(10),
            Some(19),
            Some(20),
            None,
        ]);
        let batch =
            RecordBatch::try_from_iter_with_nullable([("t", Arc::new(times) as ArrayRef, true)])
                .unwrap();
        let found = split.parts(&batch).unwrap();
        let found = arrow_array::cast::AsArray::as_string::<i32>(&found);
        let found: Vec<Option<&str>> = found.iter().collect();
        assert_eq!(found, [Some("a"), Some("b"), Some("b"), Some("c"), None]);
    }
}
