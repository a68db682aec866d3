//! Types as text and as Arrow types, and casts between them.

use std::sync::Arc;

use arrow_schema::{DataType, Field};

use super::{CastRule, ValueType};
use crate::error::Result;

#[test]
fn every_type_round_trips_as_text() -> Result<()> {
    for text in [
        "bool",
        "uint64",
        "decimal(38,0)",
        "json",
        "embedding<3>",
        "list<list<float32>>",
        "struct<a: int64, b: map<string, list<date>>>",
        r#"struct<"two words": int64, ß: bool, "": date, "a\"b\\c>": list<int8>>"#,
        "map<string, timestamp>",
    ] {
        let value_type: ValueType = text.parse()?;
        assert_eq!(value_type.to_string(), text);
    }
    for text in [
        "",
        "int",
        "list<",
        "list<int8>>",
        "decimal(39,0)",
        "decimal(3,4)",
        "embedding<0>",
        "struct<>",
        "struct<: int8>",
        r#"struct<"a: int8>"#,
        "struct<a: int8, a: int8>",
        "map<int8>",
    ] {
        assert!(text.parse::<ValueType>().is_err(), "{text}");
    }
    let nested = "list<".repeat(1_000);
    assert!(nested.parse::<ValueType>().is_err());
    Ok(())
}

#[test]
fn arrow_types_without_a_spelling_have_no_value_type() {
    let field = |name: &str| Arc::new(Field::new(name, DataType::Int8, true));
    for (fields, is_known) in [
        (vec![field("two words"), field("")], true),
        (vec![field("a"), field("a")], false),
        (vec![], false),
    ] {
        let found = ValueType::from_arrow(&DataType::Struct(fields.into()));
        assert_eq!(found.is_some(), is_known, "{found:?}");
        if let Some(found) = found {
            assert_eq!(found.to_string().parse::<ValueType>().ok(), Some(found));
        }
    }
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    assert!(ValueType::from_arrow(&DataType::FixedSizeList(item, 0)).is_none());
    let deep = (0..20).fold(DataType::Int8, |item, _| {
        DataType::List(Arc::new(Field::new("item", item, true)))
    });
    assert!(ValueType::from_arrow(&deep).is_none());
}

#[test]
fn casts_keep_or_check_values() {
    use CastRule::{Checked, Lossless, Never};
    for (declared, found, rule) in [
        (ValueType::Int64, DataType::Int32, Lossless),
        (ValueType::Int64, DataType::UInt64, Checked),
        (ValueType::Float32, DataType::Int64, Checked),
        (ValueType::Float64, DataType::Int32, Lossless),
        (ValueType::Float64, DataType::Int64, Checked),
        (ValueType::Int64, DataType::Decimal128(38, 0), Checked),
        (
            ValueType::Decimal(38, 2),
            DataType::Decimal128(10, 2),
            Lossless,
        ),
        (ValueType::String, DataType::Utf8View, Lossless),
        (ValueType::String, DataType::Int64, Never),
        (ValueType::Timestamp, DataType::Date32, Lossless),
    ] {
        assert_eq!(declared.cast_from(&found), rule, "{found} to {declared}");
    }
    assert!(ValueType::Int64.implies_checked(&DataType::Decimal128(38, 0)));
}
