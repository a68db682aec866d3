//! The options of the provider, and what is refused before anything is opened.

use std::fmt;
use std::path::PathBuf;

use provender_core::size::parse_size;
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

/// The least that a view's environment may grow to.
const MIN_MAP_SIZE: u64 = 1 << 20;

/// The options of `type: local`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalConfig {
    /// The store's folder. A relative path starts at the configuration file; missing folders are made
    /// by the first write. Default: `.provender/online`.
    pub path: PathBuf,
    /// The bytes that the rows of one version of a view may take, as a number or as text such as
    /// `64GiB`, at least 1 MiB. It is address space, not memory and not disk. Default: 256 GiB, or
    /// less where the system does not grant so much.
    #[serde(deserialize_with = "map_size")]
    pub map_size: Option<u64>,
    /// The memory that copies of rows may take together, in bytes or as text such as `64MiB`; `0` makes
    /// none. A view that fits, is read a lot and was not written for a second is copied, and a read of
    /// many keys then takes a fraction of the time. Default: 64 MiB, or a sixteenth of `limits.memory`
    /// if that is less.
    #[serde(deserialize_with = "cache_size")]
    pub cache_size: Option<u64>,
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::from(".provender/online"),
            map_size: None,
            cache_size: None,
        }
    }
}

pub(crate) fn options_schema() -> serde_json::Value {
    serde_json::json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "path": {
                "type": "string",
                "default": ".provender/online",
                "description": "The store's folder; a relative path starts at this file, and missing folders are made."
            },
            "map_size": {
                "type": ["string", "integer"],
                "default": "256GiB",
                "description": "What the rows of one version of a view may grow to, such as 64GiB, at least 1MiB. Address space, not memory and not disk."
            },
            "cache_size": {
                "type": ["string", "integer"],
                "default": "64MiB",
                "description": "Memory for copies of the rows of views that are read a lot and seldom written; 0 makes none."
            }
        }
    })
}

fn map_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let size = Size {
        option: "map_size",
        least: MIN_MAP_SIZE,
        least_text: "it must be at least 1MiB",
    };
    deserializer.deserialize_any(size).map(Some)
}

fn cache_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let size = Size {
        option: "cache_size",
        least: 0,
        least_text: "it must not be negative",
    };
    deserializer.deserialize_any(size).map(Some)
}

/// How many bytes something may take.
struct Size {
    option: &'static str,
    least: u64,
    least_text: &'static str,
}

impl Size {
    fn checked(&self, bytes: u64) -> Result<u64, &'static str> {
        if bytes < self.least {
            return Err(self.least_text);
        }
        // More than what processors address would overflow the arithmetic on page numbers.
        if bytes > 1 << 46 {
            return Err("it must be at most 64TiB");
        }
        Ok(bytes)
    }
}

impl Visitor<'_> for Size {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let option = self.option;
        write!(f, "{option} as a number of bytes, or as text such as 64GiB")
    }

    fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<u64, E> {
        let option = self.option;
        self.checked(bytes)
            .map_err(|why| E::custom(format!("{option} is {bytes}: {why}")))
    }

    fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<u64, E> {
        let (option, why) = (self.option, self.least_text);
        Err(E::custom(format!("{option} is {bytes}: {why}")))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<u64, E> {
        let option = self.option;
        parse_size(text)
            .and_then(|bytes| self.checked(bytes))
            .map_err(|why| {
                E::custom(format!(
                    "{option} is {text:?}: {why}; write a whole number and a unit, such as 64GiB"
                ))
            })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(json: serde_json::Value) -> Result<LocalConfig, String> {
        serde_json::from_value(json).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_filled_in_and_unknown_options_refused() {
        assert_eq!(read(serde_json::json!({})).unwrap(), LocalConfig::default());
        let error = read(serde_json::json!({"paht": "x"})).unwrap_err();
        assert!(error.contains("paht"), "{error}");
    }

    #[test]
    fn map_size_is_bytes_or_text_with_unit() {
        for (value, bytes) in [
            (serde_json::json!("64GiB"), 64 << 30),
            (serde_json::json!("2 GB"), 2_000_000_000),
            (serde_json::json!(1 << 20), 1 << 20),
        ] {
            let config = read(serde_json::json!({ "map_size": value })).unwrap();
            assert_eq!(config.map_size, Some(bytes));
        }
        for (value, expected) in [
            (
                serde_json::json!("3 apples"),
                "map_size is \"3 apples\": its unit is unknown",
            ),
            (serde_json::json!("1KiB"), "it must be at least 1MiB"),
            (
                serde_json::json!(-1),
                "map_size is -1: it must be at least 1MiB",
            ),
            (serde_json::json!("99999TiB"), "it must be at most 64TiB"),
            (serde_json::json!(true), "map_size as a number of bytes"),
        ] {
            let error = read(serde_json::json!({ "map_size": value })).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn cache_size_may_be_nothing() {
        for (value, bytes) in [
            (serde_json::json!("64MiB"), 64 << 20),
            (serde_json::json!(0), 0),
            (serde_json::json!(1_000), 1_000),
        ] {
            let config = read(serde_json::json!({ "cache_size": value })).unwrap();
            assert_eq!(config.cache_size, Some(bytes));
        }
        let error = read(serde_json::json!({"cache_size": -1})).unwrap_err();
        assert!(
            error.contains("cache_size is -1: it must not be negative"),
            "{error}"
        );
    }
}
