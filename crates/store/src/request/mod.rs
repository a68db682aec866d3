//! What a request means: which views at which versions, which columns of the spine, and what the
//! output columns are called.
//!
//! Decided from the catalog alone, so that a mistake is found before any store is asked. Where
//! features come from in their sources is `source`'s part.

pub(crate) mod columns;
pub(crate) mod resolve;
pub(crate) mod source;

use provender_core::model::{FeatureRef, split_version};
use provender_core::{Catalog, Error, Result, codes};

/// A training set to build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoricalRequest {
    /// Which features.
    pub selection: Selection,
    /// The spine's timestamp column; `None` is `event_timestamp`, else the spine's only timestamp column.
    pub timestamp: Option<String>,
    /// Uses only rows whose created timestamp is not after the spine's time.
    pub as_known: bool,
    /// Names output columns `view__feature`.
    pub full_feature_names: bool,
}

impl HistoricalRequest {
    /// A request with every option at its default.
    pub fn new(selection: Selection) -> Self {
        Self {
            selection,
            timestamp: None,
            as_known: false,
            full_feature_names: false,
        }
    }
}

/// Which features a request wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selection {
    /// All features of a service.
    Service {
        /// The service's name.
        name: String,
        /// Its version; `None` is the newest.
        version: Option<u32>,
    },
    /// Features of views, in order.
    Features(Vec<FeatureRef>),
}

impl Selection {
    /// Reads `service` or `service@3`.
    ///
    /// # Errors
    /// `InvalidArgument` (`P406`) for an empty name or a version that is no positive number.
    pub fn service(text: &str) -> Result<Self> {
        match split_version(text.trim()) {
            Some((name, version)) if !name.is_empty() => Ok(Self::Service {
                name: name.to_owned(),
                version,
            }),
            _ => Err(
                Error::new(&codes::BAD_REQUEST, format!("{text:?} names no service"))
                    .help("write service or service@3"),
            ),
        }
    }

    /// Reads `view:feature,view@2:feature,view`, one view or feature at a time, in output order.
    /// Features of one view that stand side by side are taken together.
    ///
    /// # Errors
    /// `InvalidArgument` (`P406`) for a part that names no feature, and for no parts at all.
    pub fn features(text: &str) -> Result<Self> {
        let mut refs: Vec<FeatureRef> = Vec::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let reference = FeatureRef::parse(part)?;
            match refs.last_mut() {
                Some(last) if last.view == reference.view && last.version == reference.version => {
                    match (&mut last.features, reference.features) {
                        (Some(known), Some(more)) => known.extend(more),
                        (_, features) => refs.push(FeatureRef {
                            features,
                            view: reference.view,
                            version: reference.version,
                            ..FeatureRef::default()
                        }),
                    }
                }
                _ => refs.push(reference),
            }
        }
        if refs.is_empty() {
            return Err(no_features());
        }
        Ok(Self::Features(refs))
    }

    /// The references that the selection stands for.
    ///
    /// # Errors
    /// `NotFound` (`P401`) for an unknown service, `InvalidArgument` (`P406`) for an empty list.
    pub(crate) fn references(&self, catalog: &Catalog) -> Result<Vec<FeatureRef>> {
        match self {
            Self::Service { name, version } => {
                let (_, service) = catalog.feature_service(name, *version)?;
                Ok(service.features.clone())
            }
            Self::Features(refs) if refs.is_empty() => Err(no_features()),
            Self::Features(refs) => Ok(refs.clone()),
        }
    }
}

fn no_features() -> Error {
    Error::new(&codes::BAD_REQUEST, "the request names no features")
        .help("write view:feature,view:feature, or name a service")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn features_of_one_view_side_by_side_are_taken_together() {
        let Selection::Features(refs) = Selection::features("v:a, v:b,w@2,v:c").unwrap() else {
            unreachable!()
        };
        let short: Vec<_> = refs
            .iter()
            .map(|r| (r.view.as_str(), r.version, r.features.clone()))
            .collect();
        let list = |names: &[&str]| Some(names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>());
        assert_eq!(
            short,
            [
                ("v", None, list(&["a", "b"])),
                ("w", Some(2), None),
                ("v", None, list(&["c"]))
            ]
        );
    }

    #[test]
    fn empty_selections_are_refused() {
        assert_eq!(Selection::features(" , ").unwrap_err().code(), "P406");
        assert_eq!(Selection::service("@2").unwrap_err().code(), "P406");
        assert_eq!(Selection::service("s@0").unwrap_err().code(), "P406");
        assert_eq!(
            Selection::service("s@3").unwrap(),
            Selection::Service {
                name: "s".to_owned(),
                version: Some(3)
            }
        );
    }
}
