//! The options of both registries, and what they say about where to connect.
//!
//! Decides defaults and what is refused before anything is opened. Knows no tables.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use provender_core::{Error, Result, codes};
use serde::Deserialize;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};

use crate::connection::Connector;
use crate::error::Target;

/// The options of `type: sqlite`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SqliteConfig {
    /// The database file. Relative paths start at the folder of `provender.yaml`; missing folders are
    /// made. By default `.provender/registry.db`.
    pub path: PathBuf,
}

impl Default for SqliteConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::from(".provender/registry.db"),
        }
    }
}

impl SqliteConfig {
    /// The options as a JSON Schema.
    pub fn options_schema() -> serde_json::Value {
        serde_json::json!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "path": {
                    "type": "string",
                    "default": ".provender/registry.db",
                    "description": "The database file. Relative paths start at the folder of provender.yaml; missing folders are made.",
                },
            },
        })
    }

    /// Where to connect; makes missing folders.
    pub(crate) fn connector(&self, base_path: &Path) -> Result<(Connector, Target)> {
        if self.path.as_os_str().is_empty() {
            return Err(
                Error::new(&codes::BAD_CONFIG, "the registry's option path is empty")
                    .help("leave it out for .provender/registry.db"),
            );
        }
        let joined = base_path.join(&self.path);
        // An absolute path cannot be taken for one of SQLite's `file:` URIs.
        let path = std::path::absolute(&joined).unwrap_or(joined);
        let not_writable = |what: String| {
            Error::new(&codes::NOT_WRITABLE, what).context("path", path.display().to_string())
        };
        if path.is_dir() {
            return Err(not_writable(format!(
                "the registry cannot be kept in {}: it is a folder",
                path.display()
            ))
            .help("name a file in the registry's option path"));
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| {
                not_writable(format!(
                    "the registry's folder {} cannot be made: {error}",
                    folder.display()
                ))
                .help(
                    "point the registry's option path elsewhere, or mend the folder's permissions",
                )
                .source(error)
            })?;
        }
        let connect = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .synchronous(SqliteSynchronous::Full)
            // Longer waits are ours, between attempts, where they can be cancelled.
            .busy_timeout(Duration::from_millis(100))
            .disable_statement_logging();
        let target = Target {
            scheme: "sqlite",
            name: format!("SQLite registry {}", path.display()),
            path: Some(path),
        };
        Ok((Connector::Sqlite(Box::new(connect)), target))
    }
}

/// The options of `type: postgres`. `Debug` never shows the URL, which may hold a password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database`, with `?sslmode=` and `sslrootcert=` as libpq knows
    /// them.
    pub url: String,
    /// The schema that holds the tables; made if it is missing. Lower-case letters, digits and `_`. By
    /// default `provender`.
    #[serde(default = "default_schema")]
    pub schema: String,
    /// Connections held at most, at least 1. By default 8.
    #[serde(default = "default_max_connections")]
    pub max_connections: u32,
}

fn default_schema() -> String {
    "provender".to_owned()
}

fn default_max_connections() -> u32 {
    8
}

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("schema", &self.schema)
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}

impl PostgresConfig {
    /// The options as a JSON Schema.
    pub fn options_schema() -> serde_json::Value {
        serde_json::json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["url"],
            "properties": {
                "url": {
                    "type": "string",
                    "description": "postgres://user:password@host:port/database, with ?sslmode= and sslrootcert= as libpq knows them.",
                },
                "schema": {
                    "type": "string",
                    "pattern": "^[a-z_][a-z0-9_]{0,62}$",
                    "default": "provender",
                    "description": "The schema that holds the tables; made if it is missing.",
                },
                "max_connections": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 8,
                    "description": "Connections held at most.",
                },
            },
        })
    }

    /// Where to connect.
    pub(crate) fn connector(&self) -> Result<(Connector, Target)> {
        let bad = |what: String| Error::new(&codes::BAD_CONFIG, what);
        if !(self.url.starts_with("postgres://") || self.url.starts_with("postgresql://")) {
            return Err(
                bad("the registry's option url is no PostgreSQL URL".to_owned())
                    .help("write postgres://user:password@host:port/database"),
            );
        }
        if !is_schema_name(&self.schema) {
            return Err(bad(format!(
                "the registry's option schema is {:?}, which is no plain name",
                self.schema
            ))
            .help("use at most 63 lower-case letters, digits and _, not starting with a digit"));
        }
        if self.max_connections == 0 {
            return Err(bad("the registry's option max_connections is 0".to_owned())
                .help("write 1 or more"));
        }
        // The parser's errors name what is wrong without repeating the URL.
        let connect = PgConnectOptions::from_str(&self.url).map_err(|error| {
            bad(format!("the registry's option url cannot be read: {error}"))
                .help("write postgres://user:password@host:port/database, special characters of the password as %XX")
        })?;
        let name = format!(
            "PostgreSQL registry {}:{}/{} (schema {})",
            connect.get_host(),
            connect.get_port(),
            connect
                .get_database()
                .unwrap_or_else(|| connect.get_username()),
            self.schema
        );
        let connect = connect
            .application_name("provender")
            .options([
                ("search_path", self.schema.as_str()),
                // A client that froze in a transaction must not hold up everybody for good.
                ("idle_in_transaction_session_timeout", "60s"),
            ])
            .disable_statement_logging();
        let connector = Connector::Postgres {
            connect: Box::new(connect),
            schema: self.schema.clone(),
            max_connections: self.max_connections,
        };
        let target = Target {
            scheme: "postgres",
            name,
            path: None,
        };
        Ok((connector, target))
    }
}

/// What can stand in SQL and in a connection's options unquoted.
fn is_schema_name(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn postgres(url: &str) -> PostgresConfig {
        serde_json::from_value(serde_json::json!({"url": url})).unwrap()
    }

    #[test]
    fn defaults_are_filled_in_and_unknown_options_refused() {
        let sqlite: SqliteConfig = serde_json::from_value(serde_json::json!({})).unwrap();
        assert_eq!(sqlite.path, Path::new(".provender/registry.db"));
        let config = postgres("postgres://h/d");
        assert_eq!(
            (config.schema.as_str(), config.max_connections),
            ("provender", 8)
        );
        let error =
            serde_json::from_value::<SqliteConfig>(serde_json::json!({"paht": "x"})).unwrap_err();
        assert!(error.to_string().contains("paht"), "{error}");
    }

    #[test]
    fn password_is_in_no_debug_text_name_or_error() {
        let config = postgres("postgres://ann:hunter2@db.example:6543/features");
        let (connector, target) = config.connector().unwrap();
        assert_eq!(
            target.name,
            "PostgreSQL registry db.example:6543/features (schema provender)"
        );
        for text in [
            format!("{config:?}"),
            format!("{connector:?}"),
            format!("{target:?}"),
        ] {
            assert!(!text.contains("hunter2"), "{text}");
        }
        for url in [
            "postgres://ann:hunter2@db:port/features",
            "postgres://ann:hunter2@db/features?sslmode=hunter",
            "mysql://ann:hunter2@db/features",
            "ann:hunter2@db",
        ] {
            let error = postgres(url).connector().unwrap_err();
            assert_eq!(error.code(), "P203");
            assert!(
                !format!("{error:?} {:?}", error.causes()).contains("hunter2"),
                "{error:?}"
            );
        }
    }

    #[test]
    fn schema_with_quotes_is_refused() {
        let config = PostgresConfig {
            schema: "a\"; drop".to_owned(),
            ..postgres("postgres://h/d")
        };
        let error = config.connector().unwrap_err();
        assert_eq!(error.code(), "P203");
        assert!(error.message().contains("no plain name"), "{error}");
    }
}
