//! The built-in providers: the one list of what `type:` can say without a plugin.

use provender_core::provider::Providers;

/// Every provider that this program brings along.
pub(crate) fn built_in() -> Providers {
    let mut providers = Providers::default();
    providers.register(provender_providers_registry::sqlite_factory());
    providers.register(provender_providers_registry::postgres_factory());
    providers.register(provender_providers_delta::factory());
    providers.register(provender_providers_delta::databricks::factory());
    providers.register(provender_providers_snowflake::factory());
    providers.register(provender_providers_local::factory());
    providers.register(provender_providers_redis::factory());
    providers
}
