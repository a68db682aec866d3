//! The plug-ins of `examples/`, by the kit and by what they answer.

use std::path::Path;
use std::sync::Arc;

use provender_conformance::{Options, Subject, run};
use provender_core::model::JoinKey;
use provender_core::provider::{OnlineStore, ProviderConfig, Resources};
use provender_core::request::{
    FeatureColumn, KeyColumn, PointInTimeJoin, ReadPlan, Scan, SourceRef, SpineRows, TimedSource,
    ViewJoin, ViewLayout, ViewRead,
};
use provender_core::{BatchStream, Context, ErrorKind, ValueType};
use provender_plugin::load::Loaded;
use serde_json::json;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{
    Array, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};

use crate::libraries::{built, compiled_csvdir, loaded, page, repository};

fn cx() -> Context {
    Context::new("p")
}

fn config(scheme: &str, folder: &Path) -> ProviderConfig {
    ProviderConfig {
        scheme: scheme.to_owned(),
        block: "store".to_owned(),
        options: json!({"path": "."}).as_object().unwrap().clone(),
        base_path: folder.to_owned(),
        resources: Resources::default(),
    }
}

fn ledger() -> &'static Loaded {
    loaded(built("provender_example_ledger"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ledger_in_rust_keeps_every_rule() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("ledger", folder.path());
    let subject = Subject::new().online_store(move || {
        let config = config.clone();
        async move { ledger().open_online(&cx(), config).await }
    });
    let report = run(&subject, &Options::quick()).await;
    assert!(report.passed(), "{report}");
    assert_eq!(ledger().n_misused(), 0);
}

fn layout() -> ViewLayout {
    ViewLayout {
        project: "p".to_owned(),
        view: "weather".to_owned(),
        version: 1,
        join_keys: vec![JoinKey {
            name: "airport".to_owned(),
            value_type: ValueType::String,
        }],
        features: vec![("temp".to_owned(), ValueType::Float64)],
        tie_breakers: Vec::new(),
        ttl_us: None,
    }
}

async fn write(store: &dyn OnlineStore, airport: &str, at_us: i64, temp: f64) {
    let schema = Arc::new(layout().write_schema());
    let columns: Vec<Arc<dyn Array>> = vec![
        Arc::new(StringArray::from(vec![airport])),
        Arc::new(TimestampMicrosecondArray::from(vec![at_us]).with_timezone("UTC")),
        Arc::new(TimestampMicrosecondArray::from(vec![None]).with_timezone("UTC")),
        Arc::new(BooleanArray::from(vec![false])),
        Arc::new(Float64Array::from(vec![temp])),
    ];
    let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let rows = BatchStream::from_batches(schema, vec![batch]);
    store.write(&cx(), &layout(), rows).await.unwrap();
}

async fn temp(store: &dyn OnlineStore, airport: &str) -> Option<f64> {
    let plan = ReadPlan {
        keys: layout().join_keys,
        views: vec![ViewRead {
            layout: Arc::new(layout()),
            key_columns: vec![0],
            features: vec![0],
        }],
    };
    let reader = store.prepare(&cx(), Arc::new(plan)).await.unwrap();
    let keys = StringArray::from(vec![airport]);
    let keys = RecordBatch::try_from_iter([("airport", Arc::new(keys) as Arc<dyn Array>)]);
    let rows = reader.read(&cx(), &keys.unwrap()).await.unwrap();
    let temps = rows.views[0].features[0].as_primitive::<Float64Type>();
    temps.is_valid(0).then(|| temps.value(0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ledger_finds_its_rows_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let open = async || {
        let config = config("ledger", folder.path());
        ledger().open_online(&cx(), config).await
    };
    let store = open().await.unwrap();
    write(store.as_ref(), "JFK", 2, 21.5).await;
    write(store.as_ref(), "LGA", 1, -0.0).await;
    drop(store);
    let store = open().await.unwrap();
    assert_eq!(temp(store.as_ref(), "JFK").await, Some(21.5));
    assert_eq!(temp(store.as_ref(), "EWR").await, None);
    // What comes late still loses against what was read from the file.
    write(store.as_ref(), "JFK", 1, 3.0).await;
    assert_eq!(temp(store.as_ref(), "JFK").await, Some(21.5));
    assert_eq!(store.views(&cx()).await.unwrap(), [layout().view_version()]);
}

const WEATHER: &str = "airport:string,at:timestamp,temp:float64,gusts:int64
JFK,1000000,21.5,7
JFK,3000000,,9
Zürich,2000000,-3.25,
,2000000,1.0,1
";

fn csv_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("weather.csv"), WEATHER).unwrap();
    std::fs::write(
        folder.path().join("untyped.csv"),
        "airport,at:timestamp\nJFK,1\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("short.csv"), "a:int64,b:int64\n1,2\n3\n").unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn csvdir_in_c_keeps_every_rule_that_it_is_asked() {
    let folder = csv_folder();
    let library = loaded(compiled_csvdir(folder.path()));
    let config = config("csvdir", folder.path());
    let subject = Subject::new().offline_store(move || {
        let config = config.clone();
        async move { library.open_offline(&cx(), config).await }
    });
    let report = run(&subject, &Options::quick()).await;
    assert!(report.passed(), "{report}");
    let (n_kept, _, n_not_asked) = report.counts();
    assert!(n_kept >= 3 && n_not_asked > 20, "{report}");
    assert_eq!(library.n_misused(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn csvdir_is_scanned_joined_and_tells_what_is_wrong() {
    let folder = csv_folder();
    let library = loaded(compiled_csvdir(folder.path()));
    let store = library
        .open_offline(&cx(), config("csvdir", folder.path()))
        .await
        .unwrap();
    let scan = |table: &str, columns: Option<Vec<&str>>| Scan {
        source: SourceRef::table(table),
        columns: columns.map(|names| names.into_iter().map(str::to_owned).collect()),
        ranges: Vec::new(),
    };
    let asked = scan("weather", Some(vec!["gusts", "airport"]));
    let streams = store.scan(&cx(), asked).await.unwrap();
    let batches = streams.into_iter().next().unwrap().collect().await.unwrap();
    let gusts = batches[0].column(0).as_primitive::<Int64Type>();
    let gusts: Vec<Option<i64>> = gusts.iter().collect();
    assert_eq!(gusts, [Some(7), Some(9), None, Some(1)]);
    let airports: Vec<Option<&str>> = batches[0].column(1).as_string::<i32>().iter().collect();
    assert_eq!(airports, [Some("JFK"), Some("JFK"), Some("Zürich"), None]);

    let fails = async |scan: Scan| store.scan(&cx(), scan).await.unwrap_err();
    let error = fails(scan("nowhere \"x\"", None)).await;
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, "P120"));
    assert!(
        error
            .message()
            .starts_with("plug-in csvdir: there is no table \"nowhere \"x\"\""),
        "{error}"
    );
    let error = fails(scan("weather", Some(vec!["rain"]))).await;
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::InvalidArgument, "P121")
    );
    for (table, why) in [
        ("untyped", "column \"airport\" has no type"),
        ("short", "line 3 has fewer"),
    ] {
        let error = fails(scan(table, None)).await;
        assert!(
            error.kind() == ErrorKind::DataLoss && error.message().contains(why),
            "{error:?}"
        );
    }

    // The store declares nothing, so the engine joins over its scans.
    let join = PointInTimeJoin {
        as_known: false,
        views: vec![ViewJoin {
            name: "weather".to_owned(),
            source: TimedSource {
                source: SourceRef::table("weather"),
                timestamp: "at".to_owned(),
                created_timestamp: None,
                tie_breakers: Vec::new(),
            },
            keys: vec![KeyColumn {
                spine: "airport".to_owned(),
                column: "airport".to_owned(),
                value_type: ValueType::String,
            }],
            ttl_us: None,
            features: vec![FeatureColumn {
                column: "temp".to_owned(),
                output: "temp".to_owned(),
                value_type: ValueType::Float64,
                checked: false,
            }],
            aggregations: Vec::new(),
        }],
    };
    let times = vec![2_000_000, 3_000_000, 1_999_999, 2_000_000];
    let spine = RecordBatch::try_from_iter([
        (
            "airport",
            Arc::new(StringArray::from(vec!["JFK", "JFK", "Zürich", "Zürich"])) as Arc<dyn Array>,
        ),
        (
            "t",
            Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")),
        ),
        ("row", Arc::new(Int64Array::from(vec![0, 1, 2, 3]))),
    ]);
    let spine = spine.unwrap();
    let spine = SpineRows {
        rows: BatchStream::from_batches(spine.schema(), vec![spine]),
        timestamp: "t".to_owned(),
        row_number: "row".to_owned(),
    };
    let resources = Resources::default();
    let joined = provender_engine::point_in_time_join(&cx(), &resources, store, join, spine).await;
    let joined = joined.unwrap().collect().await.unwrap();
    let temps: Vec<Option<f64>> = joined
        .iter()
        .flat_map(|batch| {
            batch
                .column(0)
                .as_primitive::<Float64Type>()
                .iter()
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(temps, [Some(21.5), None, None, Some(-3.25)]);
}

#[test]
fn page_shows_the_example_as_it_is() {
    let example = repository().join("examples/plugin-rust/src/lib.rs");
    let example = std::fs::read_to_string(example).unwrap();
    let page = page();
    let (_, shown) = page
        .split_once("provender_plugin::export_plugin!(")
        .unwrap();
    let (shown, _) = shown.split_once("});").unwrap();
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat(&example).contains(&flat(shown)), "{shown}");
}
