//! Every pair of types that `cast_from` allows, against a cast that goes value by value through
//! decimal text, and single cases that matter by themselves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod columns;
mod naive;

use std::sync::Arc;

use arrow_array::builder::{Decimal128Builder, Int32Builder, StringDictionaryBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::*;
use arrow_buffer::i256;
use arrow_schema::{DataType, Field, Fields, TimeUnit};
use provender_core::time::UTC;
use provender_core::{CastRule, ValueType};

use super::{CastFailure, cast_value};
use columns::{Random, column};
use naive::{Scalar, naive, scalar};

fn leaves() -> Vec<DataType> {
    let zone = |name: &str| Some(Arc::from(name));
    vec![
        DataType::Null,
        DataType::Boolean,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float16,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal32(5, 2),
        DataType::Decimal64(18, 0),
        DataType::Decimal64(12, 12),
        DataType::Decimal128(38, 0),
        DataType::Decimal128(10, 2),
        DataType::Decimal128(38, 30),
        DataType::Decimal256(38, 5),
        DataType::Date32,
        DataType::Date64,
        DataType::Time32(TimeUnit::Second),
        DataType::Time64(TimeUnit::Nanosecond),
        DataType::Timestamp(TimeUnit::Second, None),
        DataType::Timestamp(TimeUnit::Millisecond, zone("Europe/Berlin")),
        DataType::Timestamp(TimeUnit::Microsecond, zone("+02:00")),
        DataType::Timestamp(TimeUnit::Microsecond, zone(UTC)),
        DataType::Timestamp(TimeUnit::Nanosecond, zone(UTC)),
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Utf8View,
        DataType::Binary,
        DataType::LargeBinary,
        DataType::BinaryView,
        DataType::FixedSizeBinary(3),
    ]
}

fn targets() -> Vec<ValueType> {
    use ValueType::*;
    vec![
        Bool,
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float32,
        Float64,
        Decimal(38, 0),
        Decimal(12, 2),
        Decimal(38, 30),
        Decimal(3, 3),
        String,
        Binary,
        Date,
        Timestamp,
        Json,
    ]
}

/// Casts random columns of one type and compares with the naive cast, value by value.
fn compare(random: &mut Random, from: &DataType, to: &ValueType, rounds: usize) {
    let rule = to.cast_from(from);
    for _ in 0..rounds {
        let n = random.below(10);
        let whole = column(random, from, n + 2);
        let source = whole.slice(random.below(3), n);
        let result = cast_value(&source, to, true);
        if rule == CastRule::Never {
            assert!(result.is_err(), "{from} to {to}");
            continue;
        }
        let expected: Vec<Option<Scalar>> =
            (0..n).map(|row| naive(&scalar(&source, row), to)).collect();
        match (expected.iter().position(Option::is_none), result) {
            (None, Ok(cast)) => {
                assert_eq!(*cast.data_type(), to.to_arrow(), "{from} to {to}");
                cast.to_data().validate_full().unwrap();
                let found: Vec<_> = (0..n).map(|row| Some(scalar(&cast, row))).collect();
                assert_eq!(found, expected, "{from} to {to} of {source:?}");
                let unchecked = cast_value(&source, to, false);
                let same = *from == to.to_arrow();
                if rule == CastRule::Lossless || same || to.implies_checked(from) {
                    assert_eq!(unchecked.unwrap().as_ref(), cast.as_ref());
                } else {
                    assert!(unchecked.is_err(), "{from} to {to}");
                }
            }
            (Some(row), Err(failure)) => {
                assert_eq!(failure.row, row, "{from} to {to}: {failure} of {source:?}");
                assert!(!failure.value.is_empty(), "{from} to {to}: {failure}");
            }
            (expected, found) => panic!("{from} to {to}: {expected:?} but {found:?} of {source:?}"),
        }
    }
}

#[test]
fn every_pair_of_plain_types_casts_as_value_by_value() {
    let mut random = Random(0x5eed);
    for from in leaves() {
        for to in targets() {
            compare(&mut random, &from, &to, 25);
            let dictionary =
                DataType::Dictionary(Box::new(DataType::Int16), Box::new(from.clone()));
            compare(&mut random, &dictionary, &to, 8);
        }
    }
}

#[test]
fn every_pair_of_nested_types_casts_as_value_by_value() {
    let mut random = Random(0xbeef);
    let nested_types = |leaf: &DataType| {
        let item = Arc::new(Field::new("element", leaf.clone(), true));
        let fields = |name: &str| {
            Fields::from(vec![
                Field::new(name, DataType::LargeUtf8, false),
                Field::new("v", leaf.clone(), true),
            ])
        };
        let entries = Field::new("pairs", DataType::Struct(fields("k")), false);
        let text = Field::new("a", DataType::Utf8View, true);
        let leaf = Field::new("b", leaf.clone(), true);
        [
            DataType::List(item.clone()),
            DataType::LargeList(item.clone()),
            DataType::ListView(item.clone()),
            DataType::FixedSizeList(item.clone(), 2),
            DataType::Struct(vec![text, leaf].into()),
            DataType::Map(Arc::new(entries), false),
            DataType::List(Arc::new(Field::new(
                "element",
                DataType::LargeList(item),
                true,
            ))),
        ]
    };
    for from in leaves().iter().flat_map(nested_types) {
        for leaf in targets() {
            let list = ValueType::List(Box::new(leaf.clone()));
            let texts = ("a".to_owned(), ValueType::String);
            for to in [
                ValueType::List(Box::new(list.clone())),
                list,
                ValueType::Struct(vec![texts, ("b".to_owned(), leaf.clone())]),
                ValueType::Map(Box::new(ValueType::String), Box::new(leaf.clone())),
                ValueType::Embedding(2),
            ] {
                if to.cast_from(&from) != CastRule::Never {
                    compare(&mut random, &from, &to, 6);
                }
            }
        }
    }
}

fn failure(column: impl Array + 'static, to: &ValueType) -> CastFailure {
    let column: ArrayRef = Arc::new(column);
    cast_value(&column, to, true).unwrap_err()
}

#[test]
fn the_first_row_of_any_field_is_the_one_named() {
    let a: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 1_000]));
    let b: ArrayRef = Arc::new(Int64Array::from(vec![1, 2_000, 3]));
    let field = |name: &str| Arc::new(Field::new(name, DataType::Int64, true));
    let structs = StructArray::from(vec![(field("a"), a), (field("b"), b)]);
    let to = ValueType::Struct(vec![
        ("a".to_owned(), ValueType::Int8),
        ("b".to_owned(), ValueType::Int8),
    ]);
    assert_eq!(
        failure(structs, &to).to_string(),
        "row 1: 2000 in field \"b\" does not fit int8"
    );
}

#[test]
fn equal_types_return_the_same_array() {
    let column: ArrayRef = Arc::new(Float64Array::from(vec![
        f64::from_bits(0x7ff0_0000_0000_0001),
        -0.0,
    ]));
    let cast = cast_value(&column, &ValueType::Float64, false).unwrap();
    assert!(Arc::ptr_eq(&column, &cast));
}

#[test]
fn misfits_name_their_row_and_value() {
    let message = |failure: CastFailure| failure.to_string();
    let whole = Int64Array::from(vec![Some(1), None, Some((1 << 53) + 1)]);
    assert_eq!(
        message(failure(whole, &ValueType::Float64)),
        "row 2: 9007199254740993 does not fit float64"
    );
    assert_eq!(
        message(failure(
            Float64Array::from(vec![3.0, 3.5]),
            &ValueType::Int64
        )),
        "row 1: 3.5 does not fit int64"
    );
    assert_eq!(
        message(failure(
            Float64Array::from(vec![f64::NAN]),
            &ValueType::Int8
        )),
        "row 0: NaN does not fit int8"
    );
    let decimal = Decimal128Array::from(vec![1_250, -1_251]).with_precision_and_scale(10, 3);
    assert_eq!(
        message(failure(decimal.unwrap(), &ValueType::Decimal(10, 2))),
        "row 1: -1.251 does not fit decimal(10,2)"
    );
    assert_eq!(
        message(failure(
            TimestampNanosecondArray::from(vec![999, 1_000]),
            &ValueType::Date
        )),
        "row 1: 1970-01-01T00:00:00.000001Z is not midnight, so it does not fit date"
    );
    assert_eq!(
        message(failure(
            TimestampSecondArray::from(vec![0, i64::MAX]),
            &ValueType::Timestamp
        )),
        "row 1: 9223372036854775807 is beyond the range of microseconds in 64 bits"
    );
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(1)]),
        None,
        Some(vec![Some(2), Some(300)]),
    ]);
    assert_eq!(
        message(failure(lists, &ValueType::List(Box::new(ValueType::Int8)))),
        "row 2: 300 in a list does not fit int8"
    );
    let lists = ListArray::from_iter_primitive::<Float32Type, _, _>([
        Some(vec![Some(1.0), Some(2.0)]),
        Some(vec![Some(1.0)]),
    ]);
    assert_eq!(
        message(failure(lists, &ValueType::Embedding(2))),
        "row 1: a list of length 1 does not fit embedding<2>"
    );
    // A null number stays one, as in a fixed-size list that needs no cast.
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>([Some(
        vec![Some(1.0), None],
    )]));
    let embeddings = cast_value(&lists, &ValueType::Embedding(2), true).unwrap();
    assert_eq!(embeddings.as_fixed_size_list().value(0).null_count(), 1);
}

#[test]
fn casts_that_are_not_allowed_name_both_types() {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let message =
        |to: &ValueType, checked| cast_value(&column, to, checked).unwrap_err().to_string();
    assert_eq!(
        message(&ValueType::String, true),
        "Int64 cannot become string"
    );
    assert_eq!(
        message(&ValueType::Int8, false),
        "Int64 can only become int8 by a checked cast"
    );
}

#[test]
fn instants_of_every_unit_and_zone_are_floored() {
    let ns =
        TimestampNanosecondArray::from(vec![Some(-1), Some(1_999), None]).with_timezone("+05:30");
    let column: ArrayRef = Arc::new(ns);
    let cast = cast_value(&column, &ValueType::Timestamp, false).unwrap();
    assert_eq!(*cast.data_type(), ValueType::Timestamp.to_arrow());
    let us: Vec<_> = cast
        .as_primitive::<TimestampMicrosecondType>()
        .iter()
        .collect();
    assert_eq!(us, [Some(-1), Some(1), None]);
}

#[test]
fn values_that_no_key_of_a_dictionary_names_do_not_matter() {
    let values: ArrayRef = Arc::new(Int64Array::from(vec![1, 1_000]));
    let keys = Int8Array::from(vec![Some(0), None, Some(0)]);
    let column: ArrayRef = Arc::new(DictionaryArray::new(keys, values));
    let cast = cast_value(&column, &ValueType::Int8, true).unwrap();
    assert_eq!(
        cast.as_ref(),
        &Int8Array::from(vec![Some(1), None, Some(1)]) as &dyn Array
    );
    let mut words = StringDictionaryBuilder::<Int32Type>::new();
    words.append_null();
    let column: ArrayRef = Arc::new(words.finish());
    let cast = cast_value(&column, &ValueType::String, false).unwrap();
    assert_eq!((cast.len(), cast.null_count()), (1, 1));
}

#[test]
fn decimals_at_the_limits_do_not_overflow() {
    let mut builder = Decimal128Builder::new();
    builder.append_value(10_i128.pow(38) - 1);
    let column: ArrayRef = Arc::new(builder.finish().with_precision_and_scale(38, 0).unwrap());
    let to = ValueType::Decimal(38, 1);
    let failure = cast_value(&column, &to, true).unwrap_err();
    assert_eq!(failure.reason, "does not fit decimal(38,1)");
    let wide = Decimal256Array::from(vec![i256::MAX])
        .with_precision_and_scale(38, 2)
        .unwrap();
    let column: ArrayRef = Arc::new(wide);
    for to in targets() {
        assert!(cast_value(&column, &to, true).is_err(), "{to}");
    }
    let mut whole = Int32Builder::new();
    whole.append_value(i32::MIN);
    let column: ArrayRef = Arc::new(whole.finish());
    assert!(cast_value(&column, &ValueType::Decimal(9, 0), true).is_err());
}
