//! Snowflake by configuration alone: one project whose definitions and data are the same on Delta tables and
//! on Snowflake (a stand-in for the service), with the embedded online store and with Redis.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use crate::product::binary;
use crate::redis_servers::Server as Redis;
use crate::stand_in::StandIn;

/// The password that the stand-in lets in, and what must be found nowhere but in the environment.
const PASSWORD: &str = "password-canary";
const INSTANT: &str = "2024-02-02T00:00:00Z";

const DEFINITIONS: &str = r#"
entities:
  - name: customer
    join_keys: [{name: customer, type: string}]
sources:
  - name: profiles
    table: profiles
    timestamp: at
    created_timestamp: recorded_at
  - name: orders
    query: SELECT * FROM orders WHERE amount IS NOT NULL
    timestamp: ordered_at
  - name: order_log
    table: orders
    timestamp: ordered_at
    created_timestamp: ordered_at
feature_views:
  - name: profile
    entities: [customer]
    source: profiles
    features:
      - {name: age, type: int64}
      - {name: city, type: string}
      - {name: score, type: float64}
  - name: spending
    entities: [customer]
    source: orders
    aggregations:
      - {feature: spent_7d, function: sum, column: amount, window: 7d}
      - {feature: orders_1d, function: count, window: 1d}
  - name: largest
    entities: [customer]
    source: order_log
    aggregations:
      - {feature: largest_7d, function: max, column: amount, window: 7d}
on_demand_feature_views:
  - name: per_year
    inputs: [profile]
    features:
      - {name: score_per_year, type: float64, sql: score / age}
feature_services:
  - name: churn
    features: [profile, spending, per_year]
"#;

const PROFILES: &str = "customer,at,recorded_at,age,city,score
a,2024-01-01T00:00:00Z,2024-01-01T00:00:00Z,30,Rome,0.5
a,2024-02-01T00:00:00Z,2024-02-03T00:00:00Z,31,Oslo,NaN
b,2024-01-15T00:00:00Z,2024-01-15T00:00:00Z,40,,1.25
b,2024-01-15T00:00:00Z,2024-01-16T00:00:00Z,41,\"it's \"\"Ålesund\"\"\",1.25
";
const PROFILES_SCHEMA: &str =
    "customer:string,at:timestamp,recorded_at:timestamp,age:int64,city:string,score:float64";
const ORDERS: &str = "customer,ordered_at,amount
a,2024-01-30T00:00:00Z,10.50
a,2024-02-01T00:00:00Z,1.25
b,2024-01-31T12:00:00Z,3.00
b,2024-02-01T18:00:00Z,
";
const ORDERS_SCHEMA: &str = "customer:string,ordered_at:timestamp,amount:decimal(12,2)";
const SPINE: &str = "customer,event_timestamp,label
b,2024-02-02T00:00:00Z,1
a,2024-02-02T00:00:00Z,0
a,2024-01-31T00:00:00.000001Z,1
zz,2024-02-02T00:00:00Z,1
,2024-02-02T00:00:00Z,0
";
const SPINE_SCHEMA: &str = "customer:string,event_timestamp:timestamp,label:int64";

/// An account that keeps past states.
fn account() -> Option<StandIn> {
    StandIn::snowflake(&["--history"])
}

/// The block of a project, in a schema of its own.
fn block(account: &StandIn, schema: &str) -> String {
    format!(
        "offline_store:\n  type: snowflake\n  account: test-account\n  endpoint: {}\n  \
         user: tester\n  password: ${{SNOWFLAKE_PASSWORD}}\n  role: TESTER\n  warehouse: TEST_WH\n  \
         database: SHOP\n  schema: {schema}\n",
        account.url
    )
}

/// A project, and all that its commands have said.
struct Shop {
    folder: tempfile::TempDir,
    said: std::cell::RefCell<String>,
}

impl Shop {
    /// The tables imported and the definitions applied.
    fn new(stores: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::create_dir(path.join("features")).unwrap();
        fs::write(
            path.join("provender.yaml"),
            format!("project: shop\n{stores}"),
        )
        .unwrap();
        fs::write(path.join("features/all.yaml"), DEFINITIONS).unwrap();
        let shop = Self {
            folder,
            said: std::cell::RefCell::default(),
        };
        shop.file("profiles.csv", PROFILES);
        shop.file("orders.csv", ORDERS);
        shop.file("spine.csv", SPINE);
        shop.run(&[
            "import",
            "profiles",
            "profiles.csv",
            "--schema",
            PROFILES_SCHEMA,
        ]);
        shop.run(&["import", "orders", "orders.csv", "--schema", ORDERS_SCHEMA]);
        let plan = shop.run(&["plan"]);
        assert!(plan.contains("+ feature_service churn@1"), "{plan}");
        shop.run(&["apply", "--yes"]);
        let plan = shop.run(&["plan"]);
        assert!(plan.contains("nothing to change"), "{plan}");
        shop
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .current_dir(self.path())
            .args(args)
            .env("SNOWFLAKE_PASSWORD", PASSWORD)
            .env("RUST_LOG", "trace")
            .env_remove("PROVENDER_ENV")
            .stdin(Stdio::null());
        command
    }

    fn output(&self, args: &[&str]) -> Output {
        let output = self.command(args).output().unwrap();
        let mut said = self.said.borrow_mut();
        said.push_str(&String::from_utf8_lossy(&output.stdout));
        said.push_str(&String::from_utf8_lossy(&output.stderr));
        output
    }

    fn run(&self, args: &[&str]) -> String {
        let output = self.output(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn historical(&self, args: &[&str]) -> String {
        let spine = ["--spine", "spine.csv", "--schema", SPINE_SCHEMA];
        let rest = ["--output", "csv"];
        self.run(&[&["historical"], args, &spine, &rest].concat())
    }

    fn online(&self) -> String {
        let keys = ["--entity", "customer=a", "--entity", "customer=b"];
        let more = ["--entity", "customer=c", "--status", "--output", "csv"];
        self.run(&[&["online", "--service", "churn"], &keys[..], &more].concat())
    }

    /// No secret has been said, and none lies in the project.
    fn assert_no_secret(&self) {
        assert!(
            !self.said.borrow().contains("canary"),
            "{}",
            self.said.borrow()
        );
        let mut folders = vec![self.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                    continue;
                }
                let bytes = fs::read(entry.path()).unwrap();
                let is_found = bytes.windows(6).any(|part| part == b"canary");
                assert!(!is_found, "{}", entry.path().display());
            }
        }
    }
}

/// What a project says at each step.
#[derive(Debug, PartialEq)]
struct Answers {
    training: String,
    known: String,
    online: String,
    after_push: String,
    after_delete: String,
}

/// A user's way through the product.
fn visit(shop: &Shop) -> Answers {
    let training = shop.historical(&["--service", "churn"]);
    let known = shop.historical(&["--features", "profile:age,largest:largest_7d", "--as-known"]);
    shop.run(&["materialize-incremental", "--end", INSTANT]);
    let verified = shop.run(&["verify", "--full"]);
    for view in ["profile@1", "spending@1", "largest@1"] {
        let line = verified.lines().find(|line| line.starts_with(view));
        assert!(
            line.is_some_and(|line| line.contains("100.00% of 2 keys")),
            "{verified}"
        );
    }
    let online = shop.online();
    shop.file(
        "pushed.csv",
        "customer,at,recorded_at,age,city,score\na,2024-03-01T00:00:00Z,2024-03-01T00:00:00Z,32,Bonn,1\n\
         c,2024-03-01T00:00:00Z,2024-03-01T00:00:00Z,50,Ghent,2\n",
    );
    for _ in 0..2 {
        shop.run(&[
            "push",
            "profile",
            "pushed.csv",
            "--to",
            "both",
            "--id",
            "first",
        ]);
    }
    let after_push = shop.online();
    shop.file("gone.csv", "customer\nc\n");
    shop.run(&["delete", "profile", "--entities", "gone.csv", "--yes"]);
    let after_delete = shop.online();
    let status = shop.run(&["status"]);
    assert!(status.contains(INSTANT), "{status}");
    let doctor = shop.run(&["doctor"]);
    assert!(!doctor.contains("FAILED"), "{doctor}");
    Answers {
        training,
        known,
        online,
        after_push,
        after_delete,
    }
}

#[test]
fn one_block_moves_a_project_from_delta_to_snowflake_and_redis() {
    let Some(account) = account() else {
        return;
    };
    let expected = visit(&Shop::new(""));
    assert_eq!(
        expected.training,
        "customer,event_timestamp,label,age,city,score,spent_7d,orders_1d,score_per_year\n\
         b,2024-02-02T00:00:00Z,1,41,\"it's \"\"Ålesund\"\"\",1.25,3.00,0,0.03048780487804878\n\
         a,2024-02-02T00:00:00Z,0,31,Oslo,NaN,11.75,0,NaN\n\
         a,2024-01-31T00:00:00.000001Z,1,30,Rome,0.5,10.50,0,0.016666666666666666\n\
         zz,2024-02-02T00:00:00Z,1,,,,,0,\n\
         ,2024-02-02T00:00:00Z,0,,,,,,\n"
    );
    let embedded = Shop::new(&block(&account, "EMBEDDED"));
    assert_eq!(visit(&embedded), expected);
    embedded.assert_no_secret();

    let redis = Redis::start();
    let url = redis.url();
    let block = block(&account, "WITH_REDIS");
    let remote = Shop::new(&format!(
        "{block}online_store: {{type: redis, url: '{url}'}}\n"
    ));
    assert_eq!(visit(&remote), expected);
    assert!(!remote.path().join(".provender/online").exists());
    remote.assert_no_secret();
}

#[test]
fn spines_in_snowflake_are_joined_and_explained_there() {
    let Some(account) = account() else {
        return;
    };
    let shop = Shop::new(&block(&account, "SPINES"));
    shop.run(&["import", "labels", "spine.csv", "--schema", SPINE_SCHEMA]);
    let sql = "SELECT * FROM labels -- all of them";
    let asked = ["historical", "--service", "churn", "--spine-sql", sql];
    let there = shop.run(&[&asked[..], &["--output", "csv"]].concat());
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines[1..].sort_unstable();
        lines
    };
    assert_eq!(
        sorted(&there),
        sorted(&shop.historical(&["--service", "churn"]))
    );

    let explained = shop.run(&[&asked[..], &["--explain"]].concat());
    assert!(
        explained.contains("joined by the store itself"),
        "{explained}"
    );
    assert!(explained.contains(sql), "{explained}");
    assert!(!explained.contains("TEMPORARY"), "{explained}");
    let uploaded = shop.historical(&["--service", "churn", "--explain"]);
    assert!(uploaded.contains("CREATE TEMPORARY TABLE"), "{uploaded}");

    // What the dialect cannot say exactly is computed here, over the same spine.
    let known = [
        "--features",
        "largest:largest_7d",
        "--as-known",
        "--spine-sql",
        sql,
    ];
    let there = shop.run(&[&["historical"], &known[..], &["--output", "csv"]].concat());
    let here = shop.historical(&["--features", "largest:largest_7d", "--as-known"]);
    assert_eq!(sorted(&there), sorted(&here));
    let explained = shop.run(&[&["historical"], &known[..], &["--explain"]].concat());
    assert!(
        explained.contains(
            "-- computed by Provender over scans: max over what was known is not computed in SQL"
        ),
        "{explained}"
    );

    let wrong = shop.output(&[
        "historical",
        "--service",
        "churn",
        "--spine-sql",
        "SELECT * FROM labelz",
    ]);
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(
        said.contains("error[P123]") && said.contains("double quotes"),
        "{said}"
    );
}

#[test]
fn datasets_are_kept_in_snowflake_and_made_again_from_past_states() {
    let Some(account) = account() else {
        return;
    };
    let shop = Shop::new(&block(&account, "DATASETS"));
    let spine = ["--spine", "spine.csv", "--schema", SPINE_SCHEMA];
    let create = ["dataset", "create", "churners", "--features"];
    shop.run(
        &[
            &create[..],
            &["profile:age,profile:city,profile:score"],
            &spine,
        ]
        .concat(),
    );
    let shown = shop.run(&["dataset", "show", "churners", "--output", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let hash = shown["hash"].as_str().unwrap().to_owned();
    assert!(shown["sources"][0]["version"].is_object(), "{shown}");

    // The sources move on: new rows, a changed table, and a table that is made anew.
    let more = PROFILES.replace("41,", "99,").replace("Oslo", "Kiel");
    shop.file("more.csv", &more);
    shop.run(&[
        "import",
        "profiles",
        "more.csv",
        "--schema",
        PROFILES_SCHEMA,
    ]);
    let now = shop.historical(&["--features", "profile:age,profile:city"]);
    let again = shop.run(&["dataset", "recreate", "churners"]);
    let shown = shop.run(&["dataset", "show", "churners", "--output", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        shown["hash"].as_str(),
        Some(hash.as_str()),
        "{again}\n{now}"
    );

    // A query names no past states; that is told and no failure.
    let created = shop.run(
        &[
            &[
                "dataset",
                "create",
                "spenders",
                "--features",
                "spending:spent_7d",
            ],
            &spine[..],
        ]
        .concat(),
    );
    let shown = shop.run(&["dataset", "show", "spenders", "--output", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert!(
        shown["sources"][0]["not_pinned"]
            .as_str()
            .is_some_and(|why| why.contains("past states of a query")),
        "{created}{shown}"
    );
}

#[test]
fn killed_pushes_that_are_repeated_count_once() {
    let Some(account) = account() else {
        return;
    };
    let block = format!("{}  insert_bytes: 2000\n", block(&account, "KILLED"));
    let shop = Shop::new(&block);
    let push = |round: usize| {
        let id = format!("batch-{round}");
        let mut rows = "customer,at,recorded_at,age,city,score\n".to_owned();
        for row in 0..300 {
            rows.push_str(&format!(
                "k{round}-{row},2024-03-01T00:00:00Z,2024-03-01T00:00:00Z,{row},x,0.5\n"
            ));
        }
        let file = format!("batch-{round}.csv");
        shop.file(&file, &rows);
        shop.command(&["push", "profile", &file, "--to", "offline", "--id", &id])
    };
    let started = Instant::now();
    assert!(push(0).output().unwrap().status.success());
    let usual = started.elapsed();
    let (n_rounds, mut n_killed) = (8, 0);
    for round in 1..=n_rounds {
        let mut killed = push(round)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(usual.mul_f64(round as f64 / f64::from(n_rounds as u32)));
        let _ = killed.kill();
        n_killed += usize::from(!killed.wait().unwrap().success());
        let repeated = push(round).output().unwrap();
        assert!(repeated.status.success(), "{repeated:?}");
    }
    println!("{n_killed} of {n_rounds} pushes were killed before they had ended");
    let count = "SELECT '2025-01-01'::TIMESTAMP_NTZ AS event_timestamp, customer, COUNT(*) AS n FROM profiles GROUP BY customer";
    let rows = shop.run(&[
        "historical",
        "--features",
        "profile:age",
        "--spine-sql",
        count,
        "--output",
        "csv",
    ]);
    let counts: Vec<&str> = rows.lines().filter(|line| line.contains(",k")).collect();
    assert_eq!(counts.len(), 300 * (n_rounds + 1), "{rows}");
    for line in counts {
        assert_eq!(line.split(',').nth(2), Some("1"), "{line}");
    }
}
