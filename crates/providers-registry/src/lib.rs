//! Registry providers: SQLite and PostgreSQL
