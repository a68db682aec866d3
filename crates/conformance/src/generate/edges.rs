//! Values that are hard to get right: at the edges of their types, easily damaged on the way, easily
//! taken for each other.

use provender_core::ValueType;

use crate::oracle::Value;

/// Whole numbers, lowest to greatest, at the edges of 64 bits and of what a float holds.
pub const EDGES: [i64; 13] = [
    i64::MIN,
    i64::MIN + 1,
    -(1 << 53) - 1,
    -(1 << 53),
    -1,
    0,
    1,
    1_700_000_000_000_000,
    1_700_000_000_000_001,
    1 << 53,
    (1 << 53) + 1,
    i64::MAX - 1,
    i64::MAX,
];

/// Every type that can break ties, with values of it from lowest to greatest, null left out.
pub fn ordered_values() -> Vec<(ValueType, Vec<Value>)> {
    let ints = |values: &[i128]| values.iter().map(|&value| int(value)).collect::<Vec<_>>();
    let floats = [
        f64::NEG_INFINITY,
        -1e300,
        -1.5,
        -5e-324,
        -0.0,
        0.0,
        5e-324,
        1.5,
        1e300,
        f64::INFINITY,
        f64::NAN,
    ];
    let singles = [
        f32::NEG_INFINITY,
        -1.5,
        -1e-45,
        -0.0,
        0.0,
        1e-45,
        1.5,
        f32::INFINITY,
        f32::NAN,
    ];
    let texts = [
        "", "\0", "\0\0", "\0a", "A", "a", "a\0", "a\0b", "a\u{1}", "ab", "b", "é", "日本",
        "\u{ffff}", "💡",
    ];
    let bytes: [&[u8]; 9] = [
        b"",
        b"\0",
        b"\0\0",
        b"\0\xff",
        b"\x01",
        b"a",
        b"\xff",
        b"\xff\0",
        b"\xff\xff",
    ];
    let decimals = |greatest: i128, scale: i8| {
        [-greatest, -257, -1, 0, 1, 255, 256, greatest]
            .map(|unscaled| Value::Decimal(unscaled, scale))
            .to_vec()
    };
    vec![
        (ValueType::Bool, vec![Value::Bool(false), Value::Bool(true)]),
        (ValueType::Int8, ints(&[-128, -1, 0, 1, 127])),
        (ValueType::Int16, ints(&[-32_768, -256, -1, 0, 255, 256])),
        (
            ValueType::Int32,
            ints(&[i32::MIN.into(), -1, 0, 256, 65_536, i32::MAX.into()]),
        ),
        (ValueType::Int64, ints(&EDGES.map(i128::from))),
        (ValueType::UInt8, ints(&[0, 1, 127, 128, 255])),
        (ValueType::UInt16, ints(&[0, 255, 256, 65_535])),
        (ValueType::UInt32, ints(&[0, 256, u32::MAX.into()])),
        (
            ValueType::UInt64,
            ints(&[0, i64::MAX.into(), 1 << 63, (1 << 63) + 1, u64::MAX.into()]),
        ),
        (ValueType::Float32, singles.map(Value::Float32).to_vec()),
        (ValueType::Float64, floats.map(Value::Float64).to_vec()),
        (ValueType::Decimal(10, 2), decimals(9_999_999_999, 2)),
        (
            ValueType::Decimal(38, 10),
            decimals(10_i128.pow(38) - 1, 10),
        ),
        (ValueType::String, texts.map(string).to_vec()),
        (
            ValueType::Binary,
            bytes.map(|bytes| Value::Binary(bytes.to_vec())).to_vec(),
        ),
        (
            ValueType::Date,
            [-100_000, -1, 0, 1, 100_000].map(Value::Date).to_vec(),
        ),
        (ValueType::Timestamp, EDGES.map(Value::Timestamp).to_vec()),
    ]
}

/// Every type that a feature can have, with some nestings of those that nest.
///
/// # Errors
/// A text if a type's own text cannot be read; a defect of this list.
pub fn every_type() -> Result<Vec<ValueType>, String> {
    [
        "bool",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "float32",
        "float64",
        "decimal(1,0)",
        "decimal(10,2)",
        "decimal(18,18)",
        "decimal(38,0)",
        "decimal(38,10)",
        "string",
        "binary",
        "date",
        "timestamp",
        "json",
        "list<bool>",
        "list<int64>",
        "list<string>",
        "list<binary>",
        "list<float64>",
        "list<list<decimal(10,2)>>",
        "list<struct<a: int8, b: list<string>>>",
        "list<embedding<3>>",
        "struct<a: int64, b: string, c: timestamp>",
        "struct<a: struct<b: map<string, float32>>, c: bool>",
        "map<string, int64>",
        "map<int64, list<string>>",
        "map<date, struct<a: binary, b: decimal(38,10)>>",
        "embedding<1>",
        "embedding<4>",
        "embedding<16>",
    ]
    .iter()
    .map(|text| text.parse().map_err(|error| format!("{error}")))
    .collect()
}

/// Different values of a join key's type that are easily taken for each other.
pub fn key_values(value_type: &ValueType) -> Vec<Value> {
    let ints = |values: &[i128]| values.iter().map(|&value| int(value)).collect();
    let bytes: [&[u8]; 14] = [
        b"", b"\0", b"\0\0", b"\0\x01", b"\0\xff", b"\x01", b"\x01\0", b"a", b"a\0", b"ab", b"b",
        b"\x7f", b"\xff", b"\xff\0",
    ];
    match value_type {
        ValueType::Int8 => ints(&[-128, -2, -1, 0, 1, 2, 127]),
        ValueType::Int16 => ints(&[-32_768, -256, -1, 0, 1, 256, 32_767]),
        ValueType::Int32 => ints(&[i32::MIN.into(), -1, 0, 1, 256, 65_536, i32::MAX.into()]),
        ValueType::Int64 => ints(&[
            i64::MIN.into(),
            -(1 << 53) - 1,
            -(1 << 53),
            -1,
            0,
            1,
            1 << 32,
            1 << 53,
            (1 << 53) + 1,
            i64::MAX.into(),
        ]),
        ValueType::UInt8 => ints(&[0, 1, 127, 128, 255]),
        ValueType::UInt16 => ints(&[0, 1, 255, 256, 65_535]),
        ValueType::UInt32 => ints(&[0, 1, 256, 1 << 31, u32::MAX.into()]),
        ValueType::UInt64 => ints(&[
            0,
            1,
            1 << 53,
            (1 << 53) + 1,
            1 << 63,
            (1 << 63) + 1,
            u64::MAX.into(),
        ]),
        ValueType::String => [
            "", "\0", "\0\0", "\0a", "\u{1}", "a", "a\0", "a\0b", "ab", "A", "b", "é", "e\u{301}",
            "日", "💡",
        ]
        .map(string)
        .to_vec(),
        ValueType::Binary => bytes.map(|bytes| Value::Binary(bytes.to_vec())).to_vec(),
        ValueType::Bool => vec![Value::Bool(false), Value::Bool(true)],
        ValueType::Date => [-100_000, -1, 0, 1, 19_000].map(Value::Date).to_vec(),
        _ => [i64::MIN, -1, 0, 1, 1_700_000_000_000_000, i64::MAX]
            .map(Value::Timestamp)
            .to_vec(),
    }
}

/// Values of a type that are easily damaged on the way; none for types without such values.
pub fn special_values(value_type: &ValueType) -> Vec<Value> {
    let list = |values: &[Value]| Value::List(values.to_vec());
    match value_type {
        ValueType::Float32 => [
            f32::from_bits(0x7f80_0001),
            f32::from_bits(0xffff_ffff),
            -0.0,
            0.1,
            f32::MAX,
            1e-45,
            f32::NEG_INFINITY,
        ]
        .map(Value::Float32)
        .to_vec(),
        ValueType::Float64 => [
            f64::from_bits(0x7ff0_0000_0000_0001),
            f64::from_bits(0xffff_ffff_ffff_ffff),
            -0.0,
            0.1,
            1.0 / 3.0,
            f64::MAX,
            5e-324,
            f64::NEG_INFINITY,
        ]
        .map(Value::Float64)
        .to_vec(),
        ValueType::Int64 => [i64::MIN, i64::MAX, (1 << 53) + 1, -1]
            .map(|value| int(value.into()))
            .to_vec(),
        ValueType::UInt64 => [u64::MAX, (1 << 63) + 1, (1 << 53) + 1]
            .map(|value| int(value.into()))
            .to_vec(),
        ValueType::Int8 => [i8::MIN, i8::MAX].map(|value| int(value.into())).to_vec(),
        ValueType::Decimal(38, scale) => [10_i128.pow(38) - 1, 1 - 10_i128.pow(38), -1]
            .map(|unscaled| Value::Decimal(unscaled, *scale))
            .to_vec(),
        ValueType::Decimal(10, 2) => [9_999_999_999, -9_999_999_999]
            .map(|unscaled| Value::Decimal(unscaled, 2))
            .to_vec(),
        ValueType::String => vec![
            string(""),
            string("\0"),
            string("a\0b"),
            string("💡\u{10ffff}"),
            Value::String("é".repeat(40_000)),
        ],
        ValueType::Binary => vec![
            Value::Binary(Vec::new()),
            Value::Binary(vec![0]),
            Value::Binary((0..=255).collect()),
        ],
        ValueType::Date => [-100_000_000, -1, 0, 100_000_000].map(Value::Date).to_vec(),
        ValueType::Timestamp => [i64::MIN, -1, 0, i64::MAX].map(Value::Timestamp).to_vec(),
        ValueType::Json => ["{\"b\": 1.50,  \"a\": [1e400, \"\\u00e9\"]}", "null", " 1 "]
            .map(string)
            .to_vec(),
        ValueType::List(item) => {
            let mut lists = vec![list(&[]), list(&[Value::Null])];
            lists.extend(
                special_values(item)
                    .iter()
                    .map(|value| list(std::slice::from_ref(value))),
            );
            lists.push(list(&[&special_values(item)[..], &[Value::Null]].concat()));
            lists
        }
        ValueType::Struct(fields) => {
            let nulls = fields.iter().map(|(name, _)| (name.clone(), Value::Null));
            vec![Value::Struct(nulls.collect()), Value::Null]
        }
        ValueType::Map(key, _) => {
            let keys = key_values(key).into_iter();
            let pairs = keys.map(|key| (key, Value::Null));
            vec![Value::Map(Vec::new()), Value::Map(pairs.collect())]
        }
        ValueType::Embedding(size) => {
            let numbers = |number: f32| list(&vec![Value::Float32(number); *size as usize]);
            let mut holed = vec![Value::Float32(0.1); *size as usize];
            holed[0] = Value::Null;
            vec![
                numbers(-0.0),
                numbers(f32::from_bits(0x7f80_0001)),
                numbers(1e-45),
                list(&holed),
            ]
        }
        _ => Vec::new(),
    }
}

fn int(value: i128) -> Value {
    Value::Int(value)
}

fn string(value: &str) -> Value {
    Value::String(value.to_owned())
}
