//! Values of fixed width as bytes: which Arrow types they are, little endian and in order.

use std::ops::Range;

/// Evaluates `$fixed` with `$t` standing for the Arrow type that holds a value type of fixed width
/// (all but bool, whose Arrow arrays are bits); further arms follow as in a `match`.
macro_rules! match_fixed {
    ($value_type:expr, $t:ident => $fixed:expr, $($other:tt)*) => {
        match $value_type {
            ValueType::Int8 => { type $t = arrow_array::types::Int8Type; $fixed }
            ValueType::Int16 => { type $t = arrow_array::types::Int16Type; $fixed }
            ValueType::Int32 => { type $t = arrow_array::types::Int32Type; $fixed }
            ValueType::Int64 => { type $t = arrow_array::types::Int64Type; $fixed }
            ValueType::UInt8 => { type $t = arrow_array::types::UInt8Type; $fixed }
            ValueType::UInt16 => { type $t = arrow_array::types::UInt16Type; $fixed }
            ValueType::UInt32 => { type $t = arrow_array::types::UInt32Type; $fixed }
            ValueType::UInt64 => { type $t = arrow_array::types::UInt64Type; $fixed }
            ValueType::Float32 => { type $t = arrow_array::types::Float32Type; $fixed }
            ValueType::Float64 => { type $t = arrow_array::types::Float64Type; $fixed }
            ValueType::Decimal(_, _) => { type $t = arrow_array::types::Decimal128Type; $fixed }
            ValueType::Date => { type $t = arrow_array::types::Date32Type; $fixed }
            ValueType::Timestamp => { type $t = arrow_array::types::TimestampMicrosecondType; $fixed }
            $($other)*
        }
    };
}
pub(crate) use match_fixed;

/// A number of fixed width.
pub(crate) trait Scalar: Copy + Default {
    /// The number at an offset; `None` if it does not lie within the bytes.
    fn read(bytes: &[u8], at: usize) -> Option<Self>;

    /// Appends all the numbers that the bytes hold.
    fn extend(values: &mut Vec<Self>, bytes: &[u8]);

    /// A column of such numbers, to be encoded.
    fn borrow(values: &[Self]) -> Numbers<'_>;

    /// A column of such numbers, being decoded.
    fn empty() -> NumberBuilder;

    /// The numbers that were decoded; empty for those of another width.
    fn take(builder: NumberBuilder) -> Vec<Self>;
}

macro_rules! scalars {
    ($($variant:ident $native:ty;)*) => {
        /// A column to be encoded, of any numbers of fixed width.
        #[derive(Clone, Copy)]
        pub(crate) enum Numbers<'a> {
            $($variant(&'a [$native]),)*
        }

        /// A column being decoded, of any numbers of fixed width.
        pub(crate) enum NumberBuilder {
            $($variant(Vec<$native>),)*
        }

        $(impl Scalar for $native {
            #[inline]
            fn read(bytes: &[u8], at: usize) -> Option<Self> {
                let bytes = bytes.get(at..)?.first_chunk()?;
                Some(Self::from_le_bytes(*bytes))
            }

            #[inline]
            fn extend(values: &mut Vec<Self>, bytes: &[u8]) {
                let (chunks, _) = bytes.as_chunks();
                values.extend(chunks.iter().map(|chunk| Self::from_le_bytes(*chunk)));
            }

            fn borrow(values: &[Self]) -> Numbers<'_> {
                Numbers::$variant(values)
            }

            fn empty() -> NumberBuilder {
                NumberBuilder::$variant(Vec::new())
            }

            fn take(builder: NumberBuilder) -> Vec<Self> {
                match builder {
                    NumberBuilder::$variant(values) => values,
                    _ => Vec::new(),
                }
            }
        })*

        impl Numbers<'_> {
            /// Writes one number into a slot of its width.
            #[inline]
            pub(crate) fn write(self, row: usize, slot: &mut [u8]) {
                match self {
                    $(Self::$variant(values) => slot.copy_from_slice(&values[row].to_le_bytes()),)*
                }
            }

            /// Appends the numbers of the rows, little endian.
            pub(crate) fn append(self, rows: Range<usize>, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant(values) => {
                        let start = out.len();
                        let values = &values[rows];
                        out.resize(start + size_of_val(values), 0);
                        let (slots, _) = out[start..].as_chunks_mut();
                        for (slot, value) in slots.iter_mut().zip(values) {
                            *slot = value.to_le_bytes();
                        }
                    })*
                }
            }
        }

        impl NumberBuilder {
            /// Appends all the numbers that the bytes hold.
            pub(crate) fn extend(&mut self, bytes: &[u8]) {
                match self {
                    $(Self::$variant(values) => Scalar::extend(values, bytes),)*
                }
            }

            /// Appends what stands in the place of nulls.
            pub(crate) fn append_zeros(&mut self, n: usize) {
                match self {
                    $(Self::$variant(values) => values.resize(values.len() + n, Default::default()),)*
                }
            }
        }
    };
}

scalars! {
    I8 i8;
    I16 i16;
    I32 i32;
    I64 i64;
    I128 i128;
    U8 u8;
    U16 u16;
    U32 u32;
    U64 u64;
    F32 f32;
    F64 f64;
}

macro_rules! big_endian {
    ($value:expr, $out:expr, $unsigned:ty, $flip:expr) => {
        $out.extend_from_slice(&(($value as $unsigned) ^ $flip).to_be_bytes())
    };
}

impl Numbers<'_> {
    /// Appends one whole number so that comparing bytes compares numbers: big endian, in its own
    /// width, with the sign bit flipped where it is signed. Floats are not keys and append nothing.
    pub(crate) fn append_ordered(self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::I8(values) => big_endian!(values[row], out, u8, 1 << 7),
            Self::I16(values) => big_endian!(values[row], out, u16, 1 << 15),
            Self::I32(values) => big_endian!(values[row], out, u32, 1 << 31),
            Self::I64(values) => big_endian!(values[row], out, u64, 1 << 63),
            Self::I128(values) => big_endian!(values[row], out, u128, 1 << 127),
            Self::U8(values) => big_endian!(values[row], out, u8, 0),
            Self::U16(values) => big_endian!(values[row], out, u16, 0),
            Self::U32(values) => big_endian!(values[row], out, u32, 0),
            Self::U64(values) => big_endian!(values[row], out, u64, 0),
            Self::F32(_) | Self::F64(_) => {}
        }
    }
}

/// Appends bytes so that what follows them cannot be taken for a part of them, and comparing the
/// whole compares the bytes: 00 becomes 00 FF, and 00 00 ends them.
pub(crate) fn append_terminated(bytes: &[u8], out: &mut Vec<u8>) {
    for part in bytes.split_inclusive(|byte| *byte == 0) {
        out.extend_from_slice(part);
        if part.last() == Some(&0) {
            out.push(0xFF);
        }
    }
    out.extend_from_slice(&[0, 0]);
}
