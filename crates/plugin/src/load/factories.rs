//! A library's types as factories, so that a program opens them as it opens its own.

use std::sync::Arc;

use provender_core::Result;
use provender_core::provider::{Factory, ProviderConfig};

use super::call::Loaded;
use super::options::OptionsSchema;
use crate::columns::broken;
use crate::control::{ManifestProvider, Role};

impl Loaded {
    /// What the library offers, one factory for each type that it declares. Options are checked against
    /// its JSON Schema, and completed by the schema's defaults, before the library sees them.
    ///
    /// # Errors
    /// `Internal` (`P802`) for a manifest that declares a type twice, without a role, with a name that
    /// cannot be one, or with a schema of options that cannot be checked.
    pub fn factories(&'static self) -> Result<Vec<Factory>> {
        let declared = &self.manifest().providers;
        for (index, provider) in declared.iter().enumerate() {
            let scheme = &provider.scheme;
            let twice = declared[..index]
                .iter()
                .any(|other| other.scheme == *scheme);
            let is_name = !scheme.is_empty()
                && scheme
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
            let wrong = if twice {
                format!("a manifest that declares the type {scheme:?} twice")
            } else if !is_name {
                format!("the type {scheme:?}; letters, digits, _ and - make a type's name")
            } else if provider.roles.is_empty() {
                format!("the type {scheme:?} without a role")
            } else {
                continue;
            };
            return Err(self.named(broken(wrong)));
        }
        declared
            .iter()
            .map(|provider| self.factory(provider))
            .collect()
    }

    fn factory(&'static self, provider: &ManifestProvider) -> Result<Factory> {
        let checked = OptionsSchema::new(&provider.options_schema).map_err(|why| {
            self.named(broken(format!(
                "a schema of options of the type {:?} that cannot be checked: {why}",
                provider.scheme
            )))
        })?;
        let options = Arc::new(checked);
        let check = move |config: ProviderConfig| options.check(config);
        let schema = provider.options_schema.clone();
        let mut factory = Factory::new(&provider.scheme, &provider.description, move || {
            schema.clone()
        });
        for role in &provider.roles {
            let check = check.clone();
            factory = match role {
                Role::OfflineStore => factory.offline(move |cx, config| {
                    let config = check(config);
                    async move { self.open_offline(&cx, config?).await }
                }),
                Role::OnlineStore => factory.online(move |cx, config| {
                    let config = check(config);
                    async move { self.open_online(&cx, config?).await }
                }),
                Role::Registry => factory.registry(move |cx, config| {
                    let config = check(config);
                    async move { self.open_registry(&cx, config?).await }
                }),
            };
        }
        Ok(factory)
    }

    /// The types whose schema lets options through that it does not name, so that a slip in a
    /// configuration goes unnoticed.
    pub fn open_schemas(&self) -> Vec<&str> {
        let providers = self.manifest().providers.iter();
        providers
            .filter(|provider| {
                OptionsSchema::new(&provider.options_schema).is_ok_and(|schema| schema.is_open())
            })
            .map(|provider| provider.scheme.as_str())
            .collect()
    }
}
