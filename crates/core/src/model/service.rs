//! Feature services: the features that one model uses, under one name and version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Documentation;
use crate::error::{Error, Result, codes};

/// A named list of features.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureService {
    /// The name.
    pub name: String,
    /// What it consists of, in output order.
    pub features: Vec<FeatureRef>,
    /// Description, owner, tags.
    #[serde(flatten)]
    pub documentation: Documentation,
}

/// Features of one view (or on-demand view), possibly under another name and other keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FeatureRef {
    /// The view's name.
    pub view: String,
    /// Holds a version of the view; `None` follows the newest at each apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Takes the view's place in output names: `alias__feature`.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The view's join key to the column (of the spine or the request) that takes its place.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub join_keys: BTreeMap<String, String>,
    /// The features taken, in order; `None` takes all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<String>>,
}

impl FeatureRef {
    /// Reads the short forms `view`, `view@2`, `view:feature`, `view@2:feature` and `view:a,b`.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty name or a version that is no positive number.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::new(
                &codes::BAD_REQUEST,
                format!("{text:?} names no features: {why}"),
            )
            .help("write view, view:feature or view@2:feature")
        };
        let (view, features) = match text.split_once(':') {
            None => (text, None),
            Some((view, features)) => {
                let features: Vec<String> = features
                    .split(',')
                    .map(|feature| feature.trim().to_owned())
                    .collect();
                if features.iter().any(String::is_empty) {
                    return Err(bad("a feature's name is empty"));
                }
                (view, Some(features))
            }
        };
        let (view, version) =
            split_version(view.trim()).ok_or_else(|| bad("its version is no positive number"))?;
        if view.is_empty() {
            return Err(bad("the view's name is empty"));
        }
        Ok(Self {
            view: view.to_owned(),
            version,
            features,
            ..Self::default()
        })
    }

    /// What takes the view's place in output names.
    pub fn output_prefix(&self) -> &str {
        self.alias.as_deref().unwrap_or(&self.view)
    }

    /// The column that a join key of the view is read from.
    pub fn key_column<'a>(&'a self, join_key: &'a str) -> &'a str {
        self.join_keys
            .get(join_key)
            .map_or(join_key, String::as_str)
    }
}

/// Splits `name@2` into name and version; `None` if what follows `@` is no positive number.
pub fn split_version(text: &str) -> Option<(&str, Option<u32>)> {
    match text.split_once('@') {
        None => Some((text, None)),
        Some((name, version)) => match version.parse::<u32>() {
            Ok(version) if version > 0 => Some((name, Some(version))),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_are_read() -> Result<()> {
        let reference = FeatureRef::parse("v@2:a, b")?;
        assert_eq!((reference.view.as_str(), reference.version), ("v", Some(2)));
        assert_eq!(
            reference.features,
            Some(vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(FeatureRef::parse("v")?.features, None);
        for bad in ["", ":a", "v:", "v@0", "v@x"] {
            assert!(FeatureRef::parse(bad).is_err(), "{bad}");
        }
        Ok(())
    }
}
