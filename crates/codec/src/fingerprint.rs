//! The fingerprint of a schema, by which a reader tells rows of its own layout from others.

use provender_core::ValueType;

/// The CRC-32C of the features as text: for each in order its name, `: `, its type as definitions
/// write it, and a line feed. Names of keys, the view and its version are not part of it.
pub(crate) fn fingerprint(features: &[(String, ValueType)]) -> u32 {
    features.iter().fold(0, |crc, (name, value_type)| {
        crc32c::crc32c_append(crc, format!("{name}: {value_type}\n").as_bytes())
    })
}
