//! One project on two warehouses: the same definitions, spine and rows on Databricks with Redis, on
//! Snowflake with Redis, and on the default stores, with nothing changed but the blocks of the stores.
//! Training sets and online values are equal.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::product::binary;
use crate::redis_servers::Server;
use crate::stand_in::StandIn;
use crate::visits::succeeds;

/// Sources are named by `table:`, which every store has.
const DEFINITIONS: &str = "
entities: [{name: customer, join_keys: [{name: customer, type: string}]}]
sources:
  - name: visits
    table: visits
    timestamp: at
    created_timestamp: known_at
    tie_breakers: [seq]
  - name: members
    table: members
    timestamp: since
feature_views:
  - name: last_visit
    entities: [customer]
    source: visits
    ttl: 36500d
    features:
      - {name: page, type: string}
      - {name: amount, type: float64}
      - {name: seq, type: int64}
  - name: visits_lately
    entities: [customer]
    source: visits
    aggregations:
      - {feature: n_visits, function: count, window: 1d}
      - {feature: total, function: sum, column: seq, window: 3d}
      - {feature: greatest, function: max, column: amount, window: 2d}
      - {feature: newest_page, function: last, column: page, window: 5d}
  - name: member
    entities: [customer]
    source: members
    ttl: 36500d
    features:
      - {name: tier, type: string}
      - {name: is_paying, type: bool}
on_demand_feature_views:
  - name: derived
    inputs: [last_visit, member]
    features:
      - {name: amount_or_zero, type: float64, sql: \"coalesce(amount, 0) + CASE WHEN is_paying THEN 1 ELSE 0 END\"}
feature_services:
  - {name: customers, features: [last_visit, visits_lately, member, derived]}
  - {name: visitors, features: [last_visit, visits_lately]}
";

const TRAINING: [&str; 7] = [
    "historical",
    "--service",
    "customers",
    "--spine",
    "spine.csv",
    "--output",
    "csv",
];
const N_KEYS: u32 = 60;
const N_DAYS: u32 = 25;

fn time_of(minutes: u32) -> String {
    let (day, hour, minute) = (minutes / (24 * 60), minutes / 60 % 24, minutes % 60);
    format!("2020-01-{:02}T{hour:02}:{minute:02}:00Z", day + 1)
}

fn write_rows(folder: &Path) {
    let mut rng = StdRng::seed_from_u64(11);
    let n_minutes = N_DAYS * 24 * 60;
    let mut visits = "customer,at,known_at,seq,page,amount\n".to_owned();
    for seq in 0..1_500 {
        let key = rng.random_range(0..N_KEYS);
        // Whole hours make ties and edges of windows.
        let at = rng.random_range(1..n_minutes) / 60 * 60;
        let late = match rng.random_range(0..4) {
            0 => rng.random_range(0..n_minutes - at),
            _ => 0,
        };
        // Quarters, so that no sum depends on its order.
        let amount = f64::from(rng.random_range(-999..9_999_i32)) / 4.0;
        let (at, known_at) = (time_of(at), time_of(at + late));
        let page = if seq % 7 == 0 {
            String::new()
        } else {
            format!("/pagé {}", seq % 97)
        };
        writeln!(visits, "c{key:03},{at},{known_at},{seq},{page},{amount}").unwrap();
    }
    fs::write(folder.join("visits.csv"), visits).unwrap();
    let mut members = "customer,since,tier,is_paying\n".to_owned();
    for key in (0..N_KEYS).filter(|key| key % 3 != 0) {
        for day in [1, 9] {
            let tier = ["gold", "silver", "it's \"odd\""][((key + day) % 3) as usize];
            let tier = tier.replace('"', "\"\"");
            let since = time_of((day * 24 + key % 24) * 60);
            writeln!(members, "c{key:03},{since},\"{tier}\",{}", key % 2 == 0).unwrap();
        }
    }
    fs::write(folder.join("members.csv"), members).unwrap();
    let mut spine = "customer,event_timestamp,label\n".to_owned();
    for n in 0..400 {
        // Some keys have no row at all.
        let key = rng.random_range(0..N_KEYS + 5);
        let at = time_of(rng.random_range(0..n_minutes) / 30 * 30);
        writeln!(spine, "c{key:03},{at},{n}").unwrap();
    }
    fs::write(folder.join("spine.csv"), spine).unwrap();
    let mut keys = "customer\n".to_owned();
    for key in 0..N_KEYS + 5 {
        writeln!(keys, "c{key:03}").unwrap();
    }
    fs::write(folder.join("keys.csv"), keys).unwrap();
}

/// What a user sees of a project on some stores.
#[derive(Debug, PartialEq)]
struct Seen {
    training: String,
    as_known: String,
    online: String,
}

/// A project with these blocks, whose files are there.
fn project(blocks: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("features")).unwrap();
    fs::write(folder.path().join("features/all.yaml"), DEFINITIONS).unwrap();
    // JSON is YAML.
    fs::write(folder.path().join("provender.yaml"), blocks.to_string()).unwrap();
    write_rows(folder.path());
    folder
}

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .arg("-C")
        .arg(folder)
        .args(args)
        .env_remove("PROVENDER_ENV")
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Makes the project with these blocks, and does with it what a user does.
fn seen(what: &str, blocks: &Value) -> Seen {
    let folder = project(blocks);
    let run = |args: &[&str]| succeeds(command(folder.path(), args));
    run(&["import", "visits", "visits.csv"]);
    run(&["import", "members", "members.csv"]);
    run(&["apply", "--yes"]);
    run(&["materialize-incremental", "--end", "2020-01-20T12:00:00Z"]);
    run(&["materialize-incremental", "--end", "2020-01-26"]);
    let told = run(&["verify", "--full"]);
    for view in ["last_visit@1", "visits_lately@1", "member@1"] {
        let line = told.lines().find(|line| line.starts_with(view));
        assert!(
            line.is_some_and(|line| line.contains(" 100.00% of ")),
            "{what}: {told}"
        );
    }
    // Of members nobody noted when they became known.
    let as_known = [&TRAINING[..], &["--as-known"]].concat();
    let as_known: Vec<&str> = as_known
        .into_iter()
        .map(|arg| if arg == "customers" { "visitors" } else { arg })
        .collect();
    Seen {
        training: run(&TRAINING),
        as_known: run(&as_known),
        online: run(&[
            "online",
            "--service",
            "customers",
            "--entities",
            "keys.csv",
            "--output",
            "csv",
        ]),
    }
}

fn workspace(at: &StandIn, execution: &str, schema: &str) -> Value {
    json!({
        "type": "databricks", "endpoint": at.url, "token": "dapi-one", "warehouse_id": "abc123",
        "catalog": "sail", "schema": schema, "execution": execution, "inline_rows": 10,
        "storage": {"endpoint": at.s3, "allow_http": true, "region": "us-east-1"},
    })
}

#[test]
fn one_project_answers_the_same_on_every_store() {
    let databricks = StandIn::databricks();
    let snowflake = StandIn::snowflake(&[]);
    let (Some(databricks), Some(snowflake)) = (databricks, snowflake) else {
        return;
    };
    let redis: Vec<Server> = (0..3).map(|_| Server::start()).collect();
    let online = |at: usize| json!({"type": "redis", "url": redis[at].url()});
    let expected = seen("the default stores", &json!({"project": "shop"}));
    assert!(expected.training.lines().count() == 401 && expected.online.lines().count() == 66);
    assert_eq!(expected.as_known.lines().count(), 401);
    let workspace = |execution, schema| workspace(&databricks, execution, schema);
    let account = json!({
        "type": "snowflake", "account": "test-account",
        "endpoint": snowflake.url,
        "user": "tester", "password": "password-canary", "role": "TESTER", "warehouse": "TEST_WH",
        "database": "TESTS", "schema": "PUBLIC", "time_travel": false,
        "query_tag": json!({"realism": true, "ts_scale": 6}).to_string(),
    });
    for (at, (what, offline)) in [
        (
            "Databricks, in the warehouse",
            workspace("warehouse", "pushed"),
        ),
        ("Databricks, read directly", workspace("auto", "direct")),
        ("Snowflake", account),
    ]
    .into_iter()
    .enumerate()
    {
        let blocks =
            json!({"project": "shop", "offline_store": offline, "online_store": online(at)});
        let found = seen(what, &blocks);
        for (part, found, expected) in [
            ("training", &found.training, &expected.training),
            ("as known", &found.as_known, &expected.as_known),
            ("online", &found.online, &expected.online),
        ] {
            for (found, expected) in found.lines().zip(expected.lines()) {
                assert_eq!(found, expected, "{what}: {part}");
            }
        }
        assert_eq!(found, expected, "{what}");
    }
}

/// Asks the stand-in itself: what happened under the login, or, with a body, that it be changed.
fn ask(at: &StandIn, path: &str, body: Option<&Value>) -> Value {
    let host = at.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).unwrap();
    let method = if body.is_some() { "POST" } else { "GET" };
    let body = body.map(Value::to_string).unwrap_or_default();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// Waits until so many tables that hold spines are there.
fn until_left(at: &StandIn, n_left: usize) {
    let begun = Instant::now();
    loop {
        let state = ask(at, "/standin/state?name=one", None);
        let tables = state["tables"].as_array().unwrap().iter();
        let is_left = |table: &&Value| table.as_str().unwrap().contains(".provender_tmp_");
        if tables.filter(is_left).count() == n_left {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{state}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn the_spine_of_a_killed_join_is_dropped_by_the_next() {
    let databricks = StandIn::databricks();
    let Some(databricks) = databricks else {
        return;
    };
    let offline = workspace(&databricks, "warehouse", "killed");
    let folder = project(&json!({"project": "shop", "offline_store": offline}));
    for args in [
        &["import", "visits", "visits.csv"][..],
        &["import", "members", "members.csv"],
        &["apply", "--yes"],
    ] {
        succeeds(command(folder.path(), args));
    }
    until_left(&databricks, 0);
    // The statement that joins does not end.
    ask(
        &databricks,
        "/standin/set",
        Some(&json!({"name": "one", "slow": "pv_spine"})),
    );
    let mut killed = command(folder.path(), &TRAINING).spawn().unwrap();
    until_left(&databricks, 1);
    killed.kill().unwrap();
    killed.wait().unwrap();
    until_left(&databricks, 1);
    ask(
        &databricks,
        "/standin/set",
        Some(&json!({"name": "one", "slow": null})),
    );
    let rows = succeeds(command(folder.path(), &TRAINING));
    assert_eq!(rows.lines().count(), 401);
    until_left(&databricks, 0);
}
