//! Texts that are never shown.

use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A text of a configuration that is never shown, such as a password: its `Debug` is three stars, and no message about
/// what was written in its place quotes it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret of this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Serde's own message about another type would quote the value.
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            _ => Err(serde::de::Error::custom(
                "a secret is a text; put it in quotes (its value is not shown)",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_who_asks_for_it_sees_it() {
        let secret: Secret = serde_json::from_value(json!("sesame")).unwrap_or_default();
        assert_eq!(secret.reveal(), "sesame");
        assert_eq!(secret, Secret::new("sesame"));
        assert_eq!(format!("{secret:?}"), "***");
        for other in [json!(712_389), json!(["712389"]), json!({"a": "712389"})] {
            let failed = serde_json::from_value::<Secret>(other);
            let told = failed.err().map(|error| error.to_string());
            assert!(told.is_some_and(|told| told.contains("quotes") && !told.contains("712389")));
        }
    }
}
