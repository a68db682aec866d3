//! Random columns of every type that can be cast, with the values that casts stumble over.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use arrow_array::types::*;
use arrow_array::*;
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer, i256};
use arrow_schema::{DataType, TimeUnit};
use provender_core::time::DAY_US;

pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn pick<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())].clone()
    }

    fn nulls(&mut self, n: usize) -> Option<NullBuffer> {
        (self.below(3) > 0).then(|| (0..n).map(|_| self.below(4) > 0).collect())
    }

    fn whole(&mut self) -> i128 {
        let random = i128::from(self.next() as i64);
        let small = self.below(2_000) as i128 - 1_000;
        self.pick(&[
            small,
            small,
            random,
            0,
            (1 << 24) + 1,
            (1 << 53) + 1,
            i64::MIN.into(),
            i64::MAX.into(),
            u64::MAX.into(),
            127,
            128,
            -129,
            65_536,
        ])
    }

    fn float(&mut self) -> f64 {
        let whole = self.whole() as f64;
        let digits = self.below(4) as i32;
        let decimal = (self.below(200_000) as f64 - 100_000.0) / 10_f64.powi(digits);
        let bits = f64::from_bits(self.next());
        self.pick(&[
            whole,
            decimal,
            decimal,
            bits,
            0.0,
            -0.0,
            3.5,
            0.1,
            0.125,
            f64::NAN,
            f64::from_bits(0x7ff8_0000_0000_1234),
            f64::INFINITY,
            f64::NEG_INFINITY,
            1e300,
            5e-324,
            f64::from(f32::MAX),
        ])
    }

    fn decimal(&mut self, precision: u8) -> i128 {
        let limit = 10_i128.pow(precision.min(38).into());
        let random = (i128::from(self.next()) << 60) ^ i128::from(self.next());
        let power = 10_i128.pow(self.below(usize::from(precision.min(38))) as u32);
        let whole = self.whole();
        self.pick(&[random, whole, whole, power, -power, 7 * power, limit - 1, 0]) % limit
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

fn primitive<T: ArrowPrimitiveType>(
    random: &mut Random,
    n: usize,
    mut value: impl FnMut(&mut Random) -> T::Native,
) -> PrimitiveArray<T> {
    let values: Vec<T::Native> = (0..n).map(|_| value(random)).collect();
    let nulls = random.nulls(n);
    PrimitiveArray::new(values.into(), nulls)
}

fn instants<T: ArrowTimestampType>(
    random: &mut Random,
    n: usize,
    zone: &Option<Arc<str>>,
) -> ArrayRef {
    let per_day = match T::UNIT {
        TimeUnit::Second => 86_400,
        TimeUnit::Millisecond => 86_400_000,
        TimeUnit::Microsecond => DAY_US,
        TimeUnit::Nanosecond => DAY_US * 1_000,
    };
    let array = primitive::<T>(random, n, |random| {
        let midnight = (random.below(20_000) as i64 - 10_000) * per_day;
        let any = midnight + random.below(1_000_000_000) as i64;
        random.pick(&[
            midnight,
            midnight,
            midnight + 1,
            any,
            0,
            -1,
            i64::MIN,
            i64::MAX,
        ])
    });
    Arc::new(array.with_timezone_opt(zone.clone()))
}

fn text(random: &mut Random) -> String {
    random
        .pick(&[
            "",
            "a",
            "é",
            "a text that is longer than twelve bytes",
            "{}",
        ])
        .to_owned()
}

/// A random column; null rows hide values that may fit nothing.
pub(super) fn column(random: &mut Random, data_type: &DataType, n: usize) -> ArrayRef {
    macro_rules! whole {
        ($t:ty) => {
            Arc::new(primitive::<$t>(random, n, |random| random.whole() as _))
        };
    }
    match data_type {
        DataType::Null => Arc::new(NullArray::new(n)),
        DataType::Boolean => {
            let values = (0..n).map(|_| random.below(2) == 0).collect();
            Arc::new(BooleanArray::new(values, random.nulls(n)))
        }
        DataType::Int8 => whole!(Int8Type),
        DataType::Int16 => whole!(Int16Type),
        DataType::Int32 => whole!(Int32Type),
        DataType::Int64 => whole!(Int64Type),
        DataType::UInt8 => whole!(UInt8Type),
        DataType::UInt16 => whole!(UInt16Type),
        DataType::UInt32 => whole!(UInt32Type),
        DataType::UInt64 => whole!(UInt64Type),
        DataType::Float16 => Arc::new(primitive::<Float16Type>(random, n, |random| {
            <Float16Type as ArrowPrimitiveType>::Native::from_f64(random.float())
        })),
        DataType::Float32 => Arc::new(primitive::<Float32Type>(random, n, |random| {
            random.float() as f32
        })),
        DataType::Float64 => Arc::new(primitive::<Float64Type>(random, n, Random::float)),
        DataType::Decimal32(p, s) => {
            let array = primitive::<Decimal32Type>(random, n, |random| random.decimal(*p) as i32);
            Arc::new(array.with_precision_and_scale(*p, *s).unwrap())
        }
        DataType::Decimal64(p, s) => {
            let array = primitive::<Decimal64Type>(random, n, |random| random.decimal(*p) as i64);
            Arc::new(array.with_precision_and_scale(*p, *s).unwrap())
        }
        DataType::Decimal128(p, s) => {
            let array = primitive::<Decimal128Type>(random, n, |random| random.decimal(*p));
            Arc::new(array.with_precision_and_scale(*p, *s).unwrap())
        }
        DataType::Decimal256(p, s) => {
            let array = primitive::<Decimal256Type>(random, n, |random| {
                i256::from_i128(random.decimal(*p))
            });
            Arc::new(array.with_precision_and_scale(*p, *s).unwrap())
        }
        DataType::Date32 => Arc::new(primitive::<Date32Type>(random, n, |random| {
            let day = random.below(100_000) as i32 - 50_000;
            random.pick(&[day, day, day, 0, -1, i32::MIN, i32::MAX])
        })),
        DataType::Date64 => Arc::new(primitive::<Date64Type>(random, n, |random| {
            let day = (random.below(100_000) as i64 - 50_000) * 86_400_000;
            random.pick(&[day, day, day + 1, -1, i64::MAX])
        })),
        DataType::Time32(TimeUnit::Second) => {
            Arc::new(primitive::<Time32SecondType>(random, n, |random| {
                random.below(86_401) as i32
            }))
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            Arc::new(primitive::<Time64NanosecondType>(random, n, |random| {
                let seconds = random.below(86_400) as i64 * 1_000_000_000;
                seconds + random.pick(&[0, 1, 1_000, 1_000_000, -1])
            }))
        }
        DataType::Timestamp(TimeUnit::Second, zone) => {
            instants::<TimestampSecondType>(random, n, zone)
        }
        DataType::Timestamp(TimeUnit::Millisecond, zone) => {
            instants::<TimestampMillisecondType>(random, n, zone)
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            instants::<TimestampMicrosecondType>(random, n, zone)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            instants::<TimestampNanosecondType>(random, n, zone)
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let nulls = random.nulls(n);
            let texts = (0..n).map(|row| {
                let valid = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                valid.then(|| text(random))
            });
            match data_type {
                DataType::Utf8 => Arc::new(texts.collect::<StringArray>()),
                DataType::LargeUtf8 => Arc::new(texts.collect::<LargeStringArray>()),
                _ => Arc::new(texts.collect::<StringViewArray>()),
            }
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            let values = (0..n).map(|_| {
                let length = random.below(20);
                (random.below(4) > 0).then(|| random.bytes(length))
            });
            match data_type {
                DataType::Binary => Arc::new(values.collect::<BinaryArray>()),
                DataType::LargeBinary => Arc::new(values.collect::<LargeBinaryArray>()),
                _ => Arc::new(values.collect::<BinaryViewArray>()),
            }
        }
        DataType::FixedSizeBinary(size) => {
            let bytes = random.bytes(n * *size as usize);
            let nulls = random.nulls(n);
            Arc::new(FixedSizeBinaryArray::new(
                *size,
                Buffer::from_vec(bytes),
                nulls,
            ))
        }
        DataType::Dictionary(_, value) => {
            let values = column(random, value, 5);
            let keys = primitive::<Int16Type>(random, n, |random| random.below(5) as i16);
            Arc::new(DictionaryArray::new(keys, values))
        }
        DataType::List(item) => {
            let (lengths, total) = lengths(random, n);
            let values = column(random, item.data_type(), total);
            let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
            Arc::new(ListArray::new(
                item.clone(),
                offsets,
                values,
                random.nulls(n),
            ))
        }
        DataType::LargeList(item) => {
            let (lengths, total) = lengths(random, n);
            let values = column(random, item.data_type(), total);
            let offsets = OffsetBuffer::<i64>::from_lengths(lengths);
            Arc::new(LargeListArray::new(
                item.clone(),
                offsets,
                values,
                random.nulls(n),
            ))
        }
        DataType::ListView(item) => {
            let values = column(random, item.data_type(), 10);
            let sizes: Vec<i32> = (0..n).map(|_| random.below(4) as i32).collect();
            let offsets: Vec<i32> = (0..n).map(|_| random.below(7) as i32).collect();
            let (offsets, sizes) = (ScalarBuffer::from(offsets), ScalarBuffer::from(sizes));
            Arc::new(ListViewArray::new(
                item.clone(),
                offsets,
                sizes,
                values,
                random.nulls(n),
            ))
        }
        DataType::FixedSizeList(item, size) => {
            let values = column(random, item.data_type(), n * *size as usize);
            Arc::new(FixedSizeListArray::new(
                item.clone(),
                *size,
                values,
                random.nulls(n),
            ))
        }
        DataType::Struct(fields) => {
            let columns = fields
                .iter()
                .map(|field| column(random, field.data_type(), n))
                .collect();
            Arc::new(StructArray::new(fields.clone(), columns, random.nulls(n)))
        }
        DataType::Map(entries, _) => {
            let (lengths, total) = lengths(random, n);
            let DataType::Struct(fields) = entries.data_type() else {
                panic!("no entries")
            };
            let keys: ArrayRef = Arc::new(
                (0..total)
                    .map(|i| Some(i.to_string()))
                    .collect::<StringArray>(),
            );
            let keys = arrow_cast::cast(&keys, fields[0].data_type()).unwrap();
            let values = column(random, fields[1].data_type(), total);
            let pairs = StructArray::new(fields.clone(), vec![keys, values], None);
            let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
            Arc::new(MapArray::new(
                entries.clone(),
                offsets,
                pairs,
                random.nulls(n),
                false,
            ))
        }
        other => panic!("no generator for {other}"),
    }
}

fn lengths(random: &mut Random, n: usize) -> (Vec<usize>, usize) {
    let lengths: Vec<usize> = (0..n).map(|_| random.below(4)).collect();
    let total = lengths.iter().sum();
    (lengths, total)
}
