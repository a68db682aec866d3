//! Offline store provider: Delta tables and Parquet files
