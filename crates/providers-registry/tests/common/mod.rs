//! Both databases behind one face, so that one suite tests them alike.

pub mod postgres;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

use postgres::Postgres;
use provender_core::provider::{
    Author, Change, Object, ObjectKind, ProviderConfig, Providers, Registry,
};
use provender_core::{Context, Result};
use provender_providers_registry::{postgres_factory, sqlite_factory};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};

/// One server for all tests of the process; its supervisor stops it when the process ends.
static POSTGRES: LazyLock<Option<Postgres>> = LazyLock::new(Postgres::start);

/// An empty database of its own for each test.
pub struct Backend {
    /// `sqlite` or `postgres`.
    pub scheme: &'static str,
    options: serde_json::Value,
    folder: tempfile::TempDir,
}

impl Backend {
    pub fn sqlite() -> Self {
        Self {
            scheme: "sqlite",
            options: serde_json::json!({}),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// `None` if PostgreSQL cannot be had.
    pub fn postgres() -> Option<Self> {
        static N_SCHEMAS: AtomicU32 = AtomicU32::new(0);
        let server = POSTGRES.as_ref()?;
        let schema = format!("test_{}", N_SCHEMAS.fetch_add(1, Ordering::Relaxed));
        Some(Self {
            scheme: "postgres",
            options: serde_json::json!({"url": server.url(), "schema": schema}),
            folder: tempfile::tempdir().unwrap(),
        })
    }

    pub fn config(&self) -> ProviderConfig {
        ProviderConfig {
            scheme: self.scheme.to_owned(),
            block: "registry".to_owned(),
            options: self.options.as_object().unwrap().clone(),
            base_path: self.folder.path().to_owned(),
            resources: provender_core::provider::Resources::default(),
        }
    }

    /// The SQLite file.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join(".provender/registry.db")
    }

    /// Waits until nobody has the SQLite file open any more: the last one to close it removes its log.
    /// Connections close in the background.
    pub async fn closed(&self) {
        let log = self.file().with_extension("db-wal");
        for _ in 0..1_000 {
            if !log.exists() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{} is still there", log.display());
    }

    /// Opens the registry, again if it is open already: each has connections of its own.
    pub async fn open(&self) -> Arc<dyn Registry> {
        self.try_open().await.unwrap()
    }

    pub async fn try_open(&self) -> Result<Arc<dyn Registry>> {
        open(self.config()).await
    }

    /// Runs statements behind the registry's back.
    pub async fn run(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        if self.scheme == "sqlite" {
            let url = format!("sqlite://{}", self.file().display());
            let mut connection = SqliteConnection::connect(&url).await.unwrap();
            connection.execute(sqlx::raw_sql(sql)).await.unwrap();
            connection.close().await.unwrap();
        } else {
            let mut connection = PgConnection::connect(self.options["url"].as_str().unwrap())
                .await
                .unwrap();
            let schema = self.options["schema"].as_str().unwrap();
            let path = AssertSqlSafe(format!("SET search_path = {schema}"));
            connection.execute(sqlx::raw_sql(path)).await.unwrap();
            connection.execute(sqlx::raw_sql(sql)).await.unwrap();
            connection.close().await.unwrap();
        }
    }
}

pub async fn open(config: ProviderConfig) -> Result<Arc<dyn Registry>> {
    let mut providers = Providers::default();
    providers.register(sqlite_factory());
    providers.register(postgres_factory());
    providers.open_registry(&cx(), config).await
}

/// The server, for tests of logins.
pub fn server() -> Option<&'static Postgres> {
    POSTGRES.as_ref()
}

pub fn cx() -> Context {
    Context::new("flights")
}

pub fn by(name: &str) -> Author {
    Author {
        name: name.to_owned(),
        message: format!("{name}'s change"),
    }
}

pub fn put(name: &str, version: u32, body: impl Into<serde_json::Value>) -> Change {
    Change::Put(Object {
        kind: ObjectKind::FeatureView,
        name: name.to_owned(),
        version,
        body: body.into(),
    })
}

pub fn delete(name: &str, version: Option<u32>) -> Change {
    Change::Delete {
        kind: ObjectKind::FeatureView,
        name: name.to_owned(),
        version,
    }
}
