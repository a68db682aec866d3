//! Every built-in provider by every rule that it is asked, three ways.

use std::path::PathBuf;
use std::sync::Arc;

use provender_conformance::{Options, Report, Role, Subject, run};
use provender_core::Context;
use provender_core::provider::{ProviderConfig, Providers, Resources};
use provender_plugin::load::Loaded;
use provender_test_builtins::{factories, in_process};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::libraries::{built, loaded};
use crate::postgres::Postgres;
use crate::servers::Server;
use crate::stand_in::StandIn;

/// One provider's configuration, in the roles that it is judged in.
struct Judged {
    scheme: &'static str,
    options: Value,
    roles: Vec<Role>,
    folder: PathBuf,
    work: Options,
}

impl Judged {
    fn config(&self, way: &str) -> ProviderConfig {
        let folder = self.folder.join(way);
        std::fs::create_dir_all(&folder).unwrap();
        ProviderConfig {
            scheme: self.scheme.to_owned(),
            block: String::new(),
            options: self.options.as_object().unwrap().clone(),
            base_path: folder,
            resources: Resources::default(),
        }
    }

    fn native(&self) -> Subject {
        let mut providers = Providers::default();
        for factory in factories() {
            providers.register(factory);
        }
        Subject::opened_by(providers, &self.roles, &self.config("native"))
    }

    fn behind(&self, library: &'static Loaded, way: &str) -> Subject {
        let mut subject = Subject::new();
        for role in &self.roles {
            let config = Arc::new(self.config(way));
            let cx = Context::new("conformance");
            subject = match role {
                Role::Offline => subject.offline_store(move || {
                    let (cx, config) = (cx.clone(), config.as_ref().clone());
                    async move { library.open_offline(&cx, config).await }
                }),
                Role::Online => subject.online_store(move || {
                    let (cx, config) = (cx.clone(), config.as_ref().clone());
                    async move { library.open_online(&cx, config).await }
                }),
                Role::Registry => subject.registry(move || {
                    let (cx, config) = (cx.clone(), config.as_ref().clone());
                    async move { library.open_registry(&cx, config).await }
                }),
            };
        }
        subject
    }

    /// Judges natively, behind the interface, and loaded; every report must pass.
    fn three_ways(&self) {
        let library = loaded(built("provender_test_builtins"));
        let judge = |way: &str| -> Option<String> {
            let subject = match way {
                "native" => self.native(),
                "in process" => self.behind(in_process(), way),
                _ => self.behind(library, way),
            };
            let runtime = Runtime::new().unwrap();
            let report: Report = runtime.block_on(run(&subject, &self.work));
            (!report.passed()).then(|| format!("{} {way}:\n{report}", self.scheme))
        };
        // At the same time, since some stores keep each call waiting.
        let failed: Vec<String> = std::thread::scope(|threads| {
            let judging =
                ["native", "in process", "loaded"].map(|way| threads.spawn(|| judge(way)));
            let judged = judging.into_iter().map(|judging| judging.join().unwrap());
            judged.flatten().collect()
        });
        assert!(failed.is_empty(), "\n{}", failed.join("\n\n"));
    }
}

fn some(n_cases: u64) -> Options {
    let mut options = Options::quick();
    options.n_cases = n_cases;
    options
}

#[test]
fn memory_stores_keep_every_rule_three_ways() {
    let folder = tempfile::tempdir().unwrap();
    Judged {
        scheme: "memory",
        options: json!({"name": "three ways", "offers_all": true}),
        roles: vec![Role::Offline, Role::Online, Role::Registry],
        folder: folder.path().to_owned(),
        work: some(10),
    }
    .three_ways();
}

#[test]
fn delta_keeps_every_rule_three_ways() {
    let folder = tempfile::tempdir().unwrap();
    Judged {
        scheme: "delta",
        options: json!({}),
        roles: vec![Role::Offline],
        folder: folder.path().to_owned(),
        work: some(4),
    }
    .three_ways();
}

#[test]
fn local_keeps_every_rule_three_ways() {
    let folder = tempfile::tempdir().unwrap();
    Judged {
        scheme: "local",
        options: json!({}),
        roles: vec![Role::Online],
        folder: folder.path().to_owned(),
        work: some(10),
    }
    .three_ways();
}

#[test]
fn sqlite_keeps_every_rule_three_ways() {
    let folder = tempfile::tempdir().unwrap();
    Judged {
        scheme: "sqlite",
        options: json!({}),
        roles: vec![Role::Registry],
        folder: folder.path().to_owned(),
        work: some(4),
    }
    .three_ways();
}

#[test]
fn postgres_keeps_every_rule_three_ways() {
    let Some(server) = Postgres::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    Judged {
        scheme: "postgres",
        options: json!({"url": server.url()}),
        roles: vec![Role::Registry],
        folder: folder.path().to_owned(),
        work: some(4),
    }
    .three_ways();
}

#[test]
fn redis_keeps_every_rule_three_ways() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    Judged {
        scheme: "redis",
        options: json!({"url": server.url()}),
        roles: vec![Role::Online],
        folder: folder.path().to_owned(),
        work: some(5),
    }
    .three_ways();
}

#[test]
fn snowflake_keeps_every_rule_three_ways() {
    let Some(server) = StandIn::snowflake(&["--history"]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    Judged {
        scheme: "snowflake",
        options: json!({
            "account": "test-account",
            "endpoint": server.url,
            "user": "tester",
            "password": "password-canary",
            "role": "TESTER",
            "warehouse": "TEST_WH",
            "database": "TESTS",
            "schema": "PUBLIC",
        }),
        roles: vec![Role::Offline],
        folder: folder.path().to_owned(),
        work: some(2),
    }
    .three_ways();
}

/// Small tables are read from storage, and the rest is asked of the warehouse; each way of execution alone
/// is judged by the provider's own tests.
#[test]
fn databricks_keeps_every_rule_three_ways() {
    let Some(server) = StandIn::databricks() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    Judged {
        scheme: "databricks",
        options: json!({
            "endpoint": server.url,
            "token": "dapi-three-ways",
            "warehouse_id": "abc123",
            "catalog": "sail",
            "schema": "three_ways",
            "location": "s3://lake/three_ways",
            "execution": "auto",
            "storage": {"endpoint": server.s3, "allow_http": true, "region": "us-east-1"},
        }),
        roles: vec![Role::Offline],
        folder: folder.path().to_owned(),
        work: some(1),
    }
    .three_ways();
}
