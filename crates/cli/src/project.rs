//! The project in a folder: its configuration, its definitions, its store.

use std::path::PathBuf;

use provender_core::Context;
use provender_definitions::{Loaded, ProjectConfig, load_config, load_definitions};
use provender_store::FeatureStore;

use crate::args::Global;
use crate::errors::Outcome;
use crate::providers;

/// A folder with a `provender.yaml`, read.
#[derive(Debug)]
pub(crate) struct Project {
    dir: PathBuf,
    /// The configuration, overlay included.
    pub(crate) config: ProjectConfig,
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
        })
    }

    /// Reads `features/`.
    ///
    /// # Errors
    /// Everything that is wrong with the definitions.
    pub(crate) fn definitions(&self) -> Outcome<Loaded> {
        Ok(load_definitions(&self.dir)?)
    }

    /// Opens the registry, and the other stores as they are needed.
    ///
    /// # Errors
    /// Bad options, and what opening the registry says.
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
        FeatureStore::open(cx, config, providers::built_in()).await
    }
}
