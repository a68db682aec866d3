//! FeatureStore: plan and apply, training sets, over any provider
