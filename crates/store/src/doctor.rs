//! Whether everything a project uses is there: registry, stores, the applied views' sources, and the rows that
//! online stores acknowledged.

use provender_core::provider::ProviderInfo;
use provender_core::request::SourceRef;
use provender_core::{Catalog, Context, Error};

use crate::FeatureStore;
use crate::plan::source_schema;
use crate::request::source::bind;
use crate::stores::Role;

/// How one part of a project is.
#[derive(Debug)]
pub struct Finding {
    /// The part, such as `offline_store (delta)` or `feature view airport_weather`.
    pub subject: String,
    /// Whether it can be used.
    pub ok: bool,
    /// Things to know: versions, limits, settings worth a look.
    pub notes: Vec<String>,
    /// Why it cannot be used.
    pub error: Option<Error>,
}

impl FeatureStore {
    /// Examines the registry, every configured offline and online store, the source of every applied feature
    /// view's newest version, and whether online stores lost rows. Never fails itself: what fails is a finding.
    pub async fn doctor(&self, cx: &Context) -> Vec<Finding> {
        let registry = self.registry();
        let subject = format!("registry ({})", self.config().registry.scheme);
        let mut findings = vec![finding(subject, &registry.info(), registry.check(cx).await)];
        for name in self.stores().names(Role::Offline) {
            let block = Role::Offline.block_name(name);
            let subject = format!("{block} ({})", self.stores().scheme(Role::Offline, name));
            findings.push(match self.stores().offline(cx, name).await {
                Ok(store) => {
                    let capable = capable(&store.capabilities());
                    finding(subject, &store.info(), store.check(cx).await).with_note(capable)
                }
                Err(error) => failed(subject, error),
            });
        }
        for name in self.stores().names(Role::Online) {
            let block = Role::Online.block_name(name);
            let subject = format!("{block} ({})", self.stores().scheme(Role::Online, name));
            findings.push(match self.stores().online(cx, name).await {
                Ok(store) => {
                    let capable = capable(&store.capabilities());
                    finding(subject, &store.info(), store.check(cx).await).with_note(capable)
                }
                Err(error) => failed(subject, error),
            });
        }
        match self.catalog(cx).await {
            Ok(catalog) => {
                findings.extend(self.examine_views(cx, &catalog).await);
                findings.extend(self.examine_losses(cx, &catalog).await);
            }
            Err(error) => findings.push(failed("applied definitions".to_owned(), error)),
        }
        findings
    }

    async fn examine_views(&self, cx: &Context, catalog: &Catalog) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (name, versions) in &catalog.feature_views {
            let Some((version, view)) = versions.last_key_value() else {
                continue;
            };
            let source = SourceRef::from(&view.source);
            let subject = format!("feature view {name}@{version}");
            let note = format!("source {} ({})", view.source.name, source.describe());
            let schema = source_schema(self, cx, view.source.store.as_deref(), &source).await;
            let wanted: Vec<usize> = (0..view.outputs().len()).collect();
            findings.push(match schema {
                Err(error) => Finding {
                    notes: vec![note],
                    ..failed(subject, error)
                },
                Ok(schema) => match bind(view, &schema, &wanted) {
                    Ok(_) => Finding {
                        subject,
                        ok: true,
                        notes: vec![note],
                        error: None,
                    },
                    Err(problems) => {
                        let mut errors = problems.into_iter().map(|problem| problem.error);
                        let error = errors.next();
                        let mut notes = vec![note];
                        notes.extend(errors.map(|error| error.to_string()));
                        Finding {
                            subject,
                            ok: false,
                            notes,
                            error,
                        }
                    }
                },
            });
        }
        findings
    }

    /// One finding for each version whose store lost rows. A store that does not answer has a finding of
    /// its own.
    async fn examine_losses(&self, cx: &Context, catalog: &Catalog) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (name, versions) in &catalog.feature_views {
            for (&version, view) in versions {
                let version = self.view_version(name, version);
                if let Ok(Some(loss)) = self.loss(cx, view, &version).await {
                    let subject = format!("online rows of {name}@{}", version.version);
                    findings.push(failed(subject, loss.error(&version)));
                }
            }
        }
        findings
    }
}

impl Finding {
    fn with_note(mut self, note: String) -> Self {
        self.notes.push(note);
        self
    }
}

/// The capabilities that a store declares, by their names.
fn capable<T: serde::Serialize>(capabilities: &T) -> String {
    let declared = match serde_json::to_value(capabilities) {
        Ok(serde_json::Value::Object(declared)) => declared,
        _ => serde_json::Map::new(),
    };
    let names = declared
        .iter()
        .filter(|(_, value)| value.as_bool() == Some(true));
    let names: Vec<&str> = names.map(|(name, _)| name.as_str()).collect();
    match names.is_empty() {
        true => "declares no capability".to_owned(),
        false => format!("capabilities: {}", names.join(", ")),
    }
}

fn finding(
    subject: String,
    info: &ProviderInfo,
    checked: provender_core::Result<Vec<String>>,
) -> Finding {
    let mut notes = vec![format!("{}, version {}", info.display_name, info.version)];
    match checked {
        Ok(more) => {
            // A provider may introduce itself among its findings; once is enough.
            notes.extend(more.into_iter().filter(|note| *note != info.display_name));
            Finding {
                subject,
                ok: true,
                notes,
                error: None,
            }
        }
        Err(error) => Finding {
            notes,
            ..failed(subject, error)
        },
    }
}

fn failed(subject: String, error: Error) -> Finding {
    Finding {
        subject,
        ok: false,
        notes: Vec::new(),
        error: Some(error),
    }
}
