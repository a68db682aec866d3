//! Tables in object stores.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringArray};
use provender_core::model::SourceVersion;
use provender_core::provider::OfflineStore;
use provender_core::request::{
    Maintenance, MaintenanceWork, OfflineWrite, Optimise, SourceRef, WriteMode,
};
use serde_json::json;

use crate::s3::{CANARY, S3, open_options, python_with};
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn tables_in_s3_are_made_read_queried_and_deleted_from() {
    let Some(s3) = S3::start() else { return };
    let store = s3.store("some folder/features").await;
    let found = store.check(&cx()).await.unwrap();
    assert_eq!(found, ["0 tables in s3://lake/some folder/features"]);
    let error = failure(&*store, all(SourceRef::table("weather"))).await;
    assert_eq!(error.code(), "P120", "{error}");

    let first = append(&*store, "weather", weather("JFK", 0, 3))
        .await
        .unwrap();
    assert_eq!(first.version, Some(SourceVersion::Number(0)));
    append(&*store, "weather", weather("LGA", 0, 2))
        .await
        .unwrap();
    let once = OfflineWrite {
        id: Some("push-1".to_owned()),
        ..request("weather", WriteMode::Append)
    };
    for n_applied in [1, 0] {
        let rows = stream(vec![weather("EWR", 0, 1)]);
        let summary = store.write(&cx(), once.clone(), rows).await.unwrap();
        assert_eq!(summary.n_applied, n_applied);
    }
    assert_eq!(n_rows(&*store, SourceRef::table("weather")).await, 6);
    assert_eq!(n_rows(&*store, SourceRef::table("Weather")).await, 6);
    let past = at("weather", SourceVersion::Number(0));
    assert_eq!(n_rows(&*store, past).await, 3);
    let pinned = store
        .pin(&cx(), &SourceRef::table("weather"))
        .await
        .unwrap();
    assert_eq!(pinned, SourceVersion::Number(2));

    // A query joins two tables of the bucket, one of them named by its URL, s3a as others write it.
    append(
        &*store,
        "facts",
        batch(vec![
            (
                "faa",
                Arc::new(StringArray::from(vec!["JFK", "LGA"])) as ArrayRef,
            ),
            ("alt", Arc::new(Int64Array::from(vec![13, 22]))),
        ]),
    )
    .await
    .unwrap();
    let joined = query(
        "SELECT w.origin, count(*) AS n, max(f.alt) AS alt FROM weather w \
         JOIN \"s3a://lake/some folder/features/facts\" f ON f.faa = w.origin GROUP BY w.origin",
    );
    assert_eq!(lines(&*store, all(joined)).await, ["JFK,3,13", "LGA,2,22"]);

    delete_jfk(&*store).await;
    assert_eq!(n_rows(&*store, SourceRef::table("weather")).await, 3);
    let found = store.check(&cx()).await.unwrap();
    assert_eq!(found, ["2 tables in s3://lake/some folder/features"]);
    misspelled_names_are_answered_with_the_right_one(&*store).await;
}

/// Deletes the rows of one airport from the table `weather`.
async fn delete_jfk(store: &dyn OfflineStore) {
    let keys = batch(vec![(
        "origin",
        Arc::new(StringArray::from(vec!["JFK"])) as ArrayRef,
    )]);
    store
        .delete(&cx(), &SourceRef::table("weather"), keys)
        .await
        .unwrap();
}

async fn misspelled_names_are_answered_with_the_right_one(store: &dyn OfflineStore) {
    let error = failure(store, all(SourceRef::table("weathr"))).await;
    assert!(
        error.help_text().unwrap().contains("\"weather\""),
        "{error}"
    );
}

/// What tables in any object store are for, in an empty one.
pub async fn tables_are_made_read_and_looked_after(store: Arc<dyn OfflineStore>, location: &str) {
    let writers: Vec<_> = (0..4)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                append(&*store, "weather", weather("JFK", n * 10, 10))
                    .await
                    .unwrap();
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(n_rows(&*store, SourceRef::table("weather")).await, 40);
    let first = at("weather", SourceVersion::Number(0));
    assert_eq!(n_rows(&*store, first).await, 10);
    let work = Maintenance {
        table: "weather".to_owned(),
        work: MaintenanceWork::Optimise(Optimise::default()),
    };
    assert_eq!(store.maintain(&cx(), work).await.unwrap().n_files, 1);
    append(&*store, "weather", weather("LGA", 0, 3))
        .await
        .unwrap();
    delete_jfk(&*store).await;
    assert_eq!(n_rows(&*store, SourceRef::table("weather")).await, 3);
    let before = at("weather", SourceVersion::Number(4));
    assert_eq!(n_rows(&*store, before).await, 40);
    let found = store.check(&cx()).await.unwrap();
    assert_eq!(found, [format!("1 table in {location}")]);
    misspelled_names_are_answered_with_the_right_one(&*store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_in_google_storage_are_made_read_and_looked_after() {
    let Some(google) = S3::start_as_google() else {
        return;
    };
    let options = |location: &str| {
        json!({
            "location": location,
            "storage": {"endpoint": google.endpoint, "allow_http": true, "anonymous": true},
        })
    };
    let location = "gs://lake/some folder/features";
    let store = open_options(Path::new("/nowhere"), options(location)).await;
    tables_are_made_read_and_looked_after(store.unwrap(), location).await;

    let missing = open_options(Path::new("/nowhere"), options("gs://pond/features")).await;
    let error = failure(&*missing.unwrap(), all(SourceRef::table("weather"))).await;
    assert!(error.to_string().contains("pond"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_and_parquet_files_in_s3_are_tables() {
    let Some(s3) = S3::start() else { return };
    let store = s3.store("").await;
    let parted = OfflineWrite {
        partition_by: vec!["origin".to_owned()],
        ..request("parted", WriteMode::Append)
    };
    let rows = vec![weather("JFK", 0, 2), weather("a/b c=é", 0, 1)];
    store.write(&cx(), parted, stream(rows)).await.unwrap();
    append(&*store, "parted", weather("JFK", 5, 1))
        .await
        .unwrap();
    let of = query("SELECT origin, count(*) AS n FROM parted GROUP BY origin");
    assert_eq!(lines(&*store, all(of)).await, ["JFK,3", "a/b c=é,1"]);

    // The same files without their log are a folder of Parquet files.
    let Some(python) = python_with("boto3") else {
        return;
    };
    let script = "
import sys, boto3
s3 = boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1', aws_access_key_id='x', aws_secret_access_key='y')
for o in s3.list_objects_v2(Bucket='lake', Prefix='parted/')['Contents']:
    if '_delta_log' not in o['Key']:
        s3.copy_object(Bucket='lake', Key='plain/' + o['Key'].split('/', 1)[1], CopySource={'Bucket': 'lake', 'Key': o['Key']})
        one = o['Key']
s3.copy_object(Bucket='lake', Key='one.parquet', CopySource={'Bucket': 'lake', 'Key': one})
";
    let copied = Command::new(python)
        .args(["-c", script, &s3.endpoint])
        .output()
        .unwrap();
    assert!(copied.status.success(), "{copied:?}");
    assert_eq!(n_rows(&*store, SourceRef::table("plain")).await, 4);
    assert!(n_rows(&*store, SourceRef::table("one.parquet")).await >= 1);
    let error = append(&*store, "plain", weather("JFK", 0, 1))
        .await
        .unwrap_err();
    assert!(error.message().contains("read only"), "{error}");
}

const WRITER: &str = "PROVENDER_TEST_WRITER";
const N_PROCESSES: i64 = 8;
const N_APPENDS: i64 = 5;
const N_ROWS: i64 = 20;

/// One of the processes of the next test; alone it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn writer_process() {
    let Ok(given) = std::env::var(WRITER) else {
        return;
    };
    let mut parts = given.split(' ');
    let options = json!({
        "location": "s3://lake/race",
        "storage": {
            "endpoint": parts.next().unwrap(), "allow_http": true,
            "access_key_id": "somebody", "secret_access_key": CANARY, "timeout": "120s",
        }
    });
    let number: i64 = parts.next().unwrap().parse().unwrap();
    let store = open_options(Path::new("/nowhere"), options).await.unwrap();
    for n in 0..N_APPENDS {
        let first = (number * N_APPENDS + n) * N_ROWS;
        append(&*store, "events", weather("JFK", first, N_ROWS))
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_processes_append_at_once_and_every_row_is_there_once() {
    let Some(s3) = S3::start() else { return };
    let children: Vec<_> = (0..N_PROCESSES)
        .map(|number| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "cloud::writer_process", "--nocapture"])
                .env(WRITER, format!("{} {number}", s3.endpoint))
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(!said.contains(CANARY), "{said}");
    }
    let store = s3.store("race").await;
    let rows = read(&*store, all(query("SELECT \"Temp\" FROM events")))
        .await
        .unwrap();
    let mut found: Vec<i64> = rows
        .iter()
        .flat_map(|rows| {
            let column = rows
                .column(0)
                .as_any()
                .downcast_ref::<Int64Array>()
                .unwrap();
            column.values().to_vec()
        })
        .collect();
    found.sort_unstable();
    let expected: Vec<i64> = (0..N_PROCESSES * N_APPENDS * N_ROWS).collect();
    assert_eq!(found, expected);
    // One commit for each append, so none was made twice.
    let version = store.pin(&cx(), &SourceRef::table("events")).await.unwrap();
    let n_commits = u64::try_from(N_PROCESSES * N_APPENDS).unwrap();
    assert_eq!(version, SourceVersion::Number(n_commits - 1));
    // An independent reader sees the same, the checkpoints that were made on the way included.
    let Some(python) = python_with("deltalake") else {
        return;
    };
    let script = "
import sys
from deltalake import DeltaTable
options = {'AWS_ENDPOINT_URL': sys.argv[1], 'AWS_ALLOW_HTTP': 'true', 'AWS_REGION': 'us-east-1', 'AWS_ACCESS_KEY_ID': 'x', 'AWS_SECRET_ACCESS_KEY': 'y'}
table = DeltaTable('s3://lake/race/events', storage_options=options)
column = table.to_pyarrow_table().column('Temp').to_pylist()
print(len(column), len(set(column)), sum(column))
";
    let output = Command::new(python)
        .args(["-c", script, &s3.endpoint])
        .output()
        .unwrap();
    let n = N_PROCESSES * N_APPENDS * N_ROWS;
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        format!("{n} {n} {}", n * (n - 1) / 2),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_storage_name_it_and_hold_no_secret() {
    // Nothing listens there.
    let unreachable = json!({
        "location": "s3://lake/features",
        "storage": {
            "endpoint": "http://127.0.0.1:9", "allow_http": true, "retries": 0,
            "access_key_id": "somebody", "secret_access_key": CANARY, "session_token": CANARY,
        }
    });
    let store = open_options(Path::new("/nowhere"), unreachable)
        .await
        .unwrap();
    let shown = format!("{store:?} {:?}", store.info());
    assert!(!shown.contains(CANARY), "{shown}");
    let error = failure(&*store, all(SourceRef::table("weather"))).await;
    assert_eq!(error.code(), "P503", "{error}");
    assert!(error.is_retryable(), "{error}");
    assert!(
        error.message().contains("s3://lake cannot be used"),
        "{error}"
    );
    let error = append(&*store, "weather", weather("JFK", 0, 1))
        .await
        .unwrap_err();
    assert!(!format!("{error:?}").contains(CANARY), "{error:?}");

    // A bucket that does not exist.
    let Some(s3) = S3::start() else { return };
    let mut options = s3.options("x");
    options["location"] = json!("s3://nobodys");
    let store = open_options(Path::new("/nowhere"), options).await.unwrap();
    let error = append(&*store, "weather", weather("JFK", 0, 1))
        .await
        .unwrap_err();
    assert!(error.message().contains("s3://nobodys"), "{error}");
    assert!(!format!("{error:?}").contains(CANARY), "{error:?}");
}

#[tokio::test]
async fn options_are_checked_when_the_store_is_opened() {
    let base = Path::new("/nowhere");
    for (options, code, text) in [
        (
            json!({"location": "s3://lake", "storage": {"endpoint": "http://localhost:1"}}),
            "P203",
            "is without TLS",
        ),
        (
            json!({"location": "s3://lake", "storage": {"endpoint": "localhost:1"}}),
            "P203",
            "no http:// or https:// URL",
        ),
        (
            json!({"location": "s3://lake", "storage": {"timeout": "soon"}}),
            "P203",
            "storage: timeout:",
        ),
        (
            json!({"location": "az://box", "storage": {"account_key": CANARY}}),
            "P203",
            "az://box cannot be reached with these options",
        ),
        (
            json!({"location": "abfss://box@acme.example.com/x"}),
            "P203",
            "cannot be reached with these options",
        ),
        (
            json!({"location": "gs://lake", "storage": {"service_account_key": CANARY}}),
            "P203",
            "gs://lake cannot be reached with these options",
        ),
        (
            json!({"location": "ftp://lake"}),
            "P203",
            "unsupported kind ftp://",
        ),
        (
            json!({"location": "s3://lake", "storage": {"regoin": "x"}}),
            "P203",
            "unknown field `regoin`",
        ),
    ] {
        let error = open_options(base, options.clone()).await.unwrap_err();
        assert_eq!(error.code(), code, "{options} {error}");
        assert!(error.message().contains(text), "{options} {error}");
        assert!(!format!("{error:?}").contains(CANARY), "{error:?}");
    }
    // Every cloud's way of saying who asks.
    for (location, storage) in [
        (
            "s3://lake/x",
            json!({"region": "eu-central-1", "anonymous": true}),
        ),
        (
            "s3a://lake/x",
            json!({"access_key_id": "a", "secret_access_key": CANARY, "server_side_encryption": "aws:kms", "kms_key_id": "k"}),
        ),
        (
            "az://box/x",
            json!({"account_name": "acme", "sas_token": "sv=1&sig=canary"}),
        ),
        (
            "abfss://box@acme.dfs.core.windows.net/x",
            json!({"account_key": "Y2FuYXJ5"}),
        ),
        (
            "abfss://box@acme.dfs.core.windows.net/x",
            json!({"tenant_id": "t", "client_id": "c", "client_secret": CANARY}),
        ),
        (
            "gs://lake/x",
            json!({"anonymous": true, "endpoint": "https://storage.example.com/"}),
        ),
    ] {
        let options = json!({"location": location, "storage": storage});
        let store = open_options(base, options).await.unwrap();
        assert_eq!(
            store.info().display_name,
            format!("Delta tables in {location}")
        );
    }
}
