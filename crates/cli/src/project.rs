//! The project in a folder: its configuration, its definitions, its store.

use std::path::PathBuf;
use std::sync::OnceLock;

use provender_core::Context;
use provender_definitions::{Loaded, ProjectConfig, load_config, load_definitions};
use provender_store::FeatureStore;

use crate::args::Global;
use crate::errors::Outcome;
use crate::providers::{self, Known};

/// A folder with a `provender.yaml`, read.
#[derive(Debug)]
pub(crate) struct Project {
    dir: PathBuf,
    /// The configuration, overlay included.
    pub(crate) config: ProjectConfig,
    known: OnceLock<Known>,
}

impl Project {
    /// Reads the configuration; opens nothing.
    ///
    /// # Errors
    /// `NotFound` (`P201`) if there is no project, and what is wrong with its configuration.
    pub(crate) fn read(global: &Global) -> Outcome<Self> {
        // PROVENDER_ENV= is as good as no PROVENDER_ENV.
        let env = global.env.as_deref().filter(|env| !env.is_empty());
        let config = load_config(&global.dir, env, &|name| std::env::var(name).ok())?;
        Ok(Self {
            dir: global.dir.clone(),
            config,
            known: OnceLock::new(),
        })
    }

    /// Reads `features/`.
    ///
    /// # Errors
    /// Everything that is wrong with the definitions.
    pub(crate) fn definitions(&self) -> Outcome<Loaded> {
        Ok(load_definitions(&self.dir)?)
    }

    /// The providers that the project can name, plug-ins loaded.
    ///
    /// # Errors
    /// `FailedPrecondition` (`P804`) for plug-ins that cannot be loaded or declare what is taken.
    pub(crate) fn known(&self) -> provender_core::Result<&Known> {
        if let Some(known) = self.known.get() {
            return Ok(known);
        }
        let known = providers::of_project(&self.config)?;
        Ok(self.known.get_or_init(|| known))
    }

    /// Opens the registry, and the other stores as they are needed.
    ///
    /// # Errors
    /// Plug-ins that cannot be loaded, bad options, and what opening the registry says.
    pub(crate) async fn open(&self, cx: &Context) -> provender_core::Result<FeatureStore> {
        self.open_as(cx, self.config.clone()).await
    }

    /// [`Self::open`] with a configuration that differs from the files'.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) async fn open_as(
        &self,
        cx: &Context,
        config: ProjectConfig,
    ) -> provender_core::Result<FeatureStore> {
        let providers = self.known()?.providers.clone();
        FeatureStore::open(cx, config, providers).await
    }
}
