//! Which Arrow types can be cast to which types, and at what risk.

use arrow_schema::{DataType, IntervalUnit};

use super::ValueType;

/// Whether a source column can become a declared type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CastRule {
    /// No value can be lost.
    Lossless,
    /// Some values may not fit; allowed with `cast: checked`, and then a misfit is an error.
    Checked,
    /// There is no such cast.
    Never,
}

impl ValueType {
    /// Whether a column of Arrow type `found` can be cast to this type, and at what risk.
    ///
    /// A cast is lossless where every value of the found type has an equal value of the declared
    /// one. decimal(p,0) to a whole number counts as checked and is implied (see
    /// [`Self::implies_checked`]).
    pub fn cast_from(&self, found: &DataType) -> CastRule {
        use CastRule::{Checked, Lossless, Never};
        if let DataType::Dictionary(_, value) = found {
            return self.cast_from(value);
        }
        if *found == DataType::Null {
            return Lossless;
        }
        let Some(from) = Self::from_arrow(found) else {
            return match (self, found) {
                (Self::String, DataType::Time32(_) | DataType::Time64(_)) => Checked,
                (Self::String, DataType::Interval(IntervalUnit::MonthDayNano)) => Never,
                _ => Never,
            };
        };
        // Midnights and whole microseconds aside, time types lose digits by flooring, which the
        // semantics of instants prescribe.
        if from == *self {
            return Lossless;
        }
        match (self, &from) {
            (Self::Timestamp, Self::Date) | (Self::Json, Self::String) => Lossless,
            (Self::Date, Self::Timestamp) => Checked,
            (Self::String, Self::Json) => Lossless,
            (Self::Decimal(p, s), Self::Decimal(fp, fs)) => {
                let room = i16::from(*p) - i16::from(*s) >= i16::from(*fp) - i16::from(*fs);
                if room && s >= fs { Lossless } else { Checked }
            }
            (to, Self::Decimal(_, _)) if to.is_integer() || to.is_float() => Checked,
            (Self::Decimal(p, s), from) if from.is_integer() => {
                let digits = from.integer_digits();
                if i16::from(*p) - i16::from(*s) >= digits {
                    Lossless
                } else {
                    Checked
                }
            }
            (Self::Decimal(_, _), from) if from.is_float() => Checked,
            (to, from) if to.is_integer() && from.is_integer() => {
                let (Some((low, high)), Some((from_low, from_high))) =
                    (to.integer_range(), from.integer_range())
                else {
                    return Never;
                };
                if low <= from_low && from_high <= high {
                    Lossless
                } else {
                    Checked
                }
            }
            (Self::Float64, Self::Float32) => Lossless,
            (Self::Float32, Self::Float64) => Checked,
            (to, from) if to.is_float() && from.is_integer() => {
                let mantissa = if *to == Self::Float64 {
                    1_i128 << 53
                } else {
                    1_i128 << 24
                };
                match from.integer_range() {
                    Some((_, high)) if high <= mantissa => Lossless,
                    _ => Checked,
                }
            }
            (to, from) if to.is_integer() && from.is_float() => Checked,
            (Self::List(to), Self::List(from)) => to.cast_from(&from.to_arrow()),
            (Self::List(to), Self::Embedding(_)) => to.cast_from(&DataType::Float32),
            (Self::Embedding(_), Self::List(from)) if from.is_float() => Checked,
            (Self::Struct(to), Self::Struct(from)) if to.len() == from.len() => {
                worst(to.iter().zip(from).map(|((name, to), (from_name, from))| {
                    if name == from_name {
                        to.cast_from(&from.to_arrow())
                    } else {
                        Never
                    }
                }))
            }
            (Self::Map(key, value), Self::Map(from_key, from_value)) => worst(
                [
                    key.cast_from(&from_key.to_arrow()),
                    value.cast_from(&from_value.to_arrow()),
                ]
                .into_iter(),
            ),
            _ => Never,
        }
    }

    /// Whether `cast: checked` need not be written for a column of type `found`: decimal(p,0) to a
    /// whole number, which is how some warehouses spell integers.
    pub fn implies_checked(&self, found: &DataType) -> bool {
        self.is_integer() && matches!(Self::from_arrow(found), Some(Self::Decimal(_, 0)))
    }

    fn integer_digits(&self) -> i16 {
        match self {
            Self::Int8 | Self::UInt8 => 3,
            Self::Int16 | Self::UInt16 => 5,
            Self::Int32 | Self::UInt32 => 10,
            Self::Int64 => 19,
            _ => 20,
        }
    }
}

fn worst(rules: impl Iterator<Item = CastRule>) -> CastRule {
    rules.fold(CastRule::Lossless, |worst, rule| match (worst, rule) {
        (CastRule::Never, _) | (_, CastRule::Never) => CastRule::Never,
        (CastRule::Checked, _) | (_, CastRule::Checked) => CastRule::Checked,
        _ => CastRule::Lossless,
    })
}
