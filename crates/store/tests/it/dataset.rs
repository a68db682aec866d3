//! Datasets: what is recorded, what comes out again, and what is said when it cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use provender_conformance::Table;
use provender_core::model::SourceVersion;
use provender_core::{BatchStream, Result};
use provender_store::{
    CreateDataset, Dataset, DatasetSpine, DiffPart, HistoricalRequest, Split, SplitOptions,
};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::dataset_store::Project;
use crate::support::{
    DEFINITIONS, all_tables, batch, floats, hours, ints, names, request, service, strings, text,
};

fn spine() -> RecordBatch {
    batch(&[
        ("label", ints(&[1, 0, 1, 0])),
        ("origin", strings(&["JFK", "LGA", "JFK", "SFO"])),
        ("dest", strings(&["LGA", "EWR", "EWR", "JFK"])),
        ("time_hour", hours(&[3, 2, 6, 3])),
    ])
}

fn dataset(request: HistoricalRequest) -> CreateDataset {
    CreateDataset {
        name: "d".to_owned(),
        new_version: false,
        request,
        store: None,
        split: None,
        command: "a test".to_owned(),
    }
}

async fn create(project: &Project, create: &CreateDataset, spine: Table) -> Result<Dataset> {
    let spine = DatasetSpine::Rows(spine.stream());
    let (store, cx) = (&project.store, &project.cx);
    store.create_dataset(cx, create, spine, |rows| rows).await
}

async fn made(project: &Project, request: HistoricalRequest) -> Dataset {
    create(project, &dataset(request), Table::of(spine()))
        .await
        .unwrap()
}

async fn rows_of(stream: BatchStream) -> Result<RecordBatch> {
    let schema = stream.schema.clone();
    Ok(concat_batches(&schema, &stream.collect().await?).unwrap())
}

async fn recreated(project: &Project, name: &str) -> Result<RecordBatch> {
    let again = project.store.recreate_dataset(&project.cx, name).await?;
    rows_of(again.rows).await
}

fn kept(project: &Project, table: &str) -> RecordBatch {
    let table = project.offline.newest(table).unwrap();
    concat_batches(&table.schema, &table.batches).unwrap()
}

#[tokio::test]
async fn manifest_records_what_rows_were_built_from() {
    let project = Project::new(all_tables(), DEFINITIONS).await;
    let made = made(&project, service("delay_model")).await;
    assert_eq!(made.full_name(), "d@1");
    assert_eq!(made.created_by, "ann");
    assert_eq!(made.request.service.as_deref(), Some("delay_model@1"));
    assert_eq!(made.request.timestamp, "time_hour");
    assert_eq!(made.definitions.revision.0, 1);
    let used: Vec<String> = (made.definitions.used.iter())
        .map(|used| format!("{} {}@{}", used.kind.name(), used.name, used.version))
        .collect();
    assert_eq!(
        used,
        [
            "feature_view airport_facts@1",
            "feature_view airport_weather@1",
            "feature_view route_delay@1",
            "on_demand_feature_view comfort@1",
            "on_demand_feature_view feel@1",
            "feature_service delay_model@1",
        ]
    );
    let sources: Vec<_> = (made.sources.iter())
        .map(|used| (used.relation_text(), used.version.clone()))
        .collect();
    let zero = Some(SourceVersion::Number(0));
    assert_eq!(
        sources,
        [
            ("weather", zero.clone()),
            ("airports", zero.clone()),
            ("departures", zero)
        ]
    );
    assert_eq!((made.n_rows, made.spine.n_rows), (4, 4));
    assert_eq!(made.table.table, "dataset__d__1");
    assert_eq!(made.spine.table.table, "dataset__d__1__spine");
    let temp = made.columns.iter().find(|column| column.name == "temp");
    let temp = temp.unwrap();
    assert_eq!(temp.from.as_deref(), Some("airport_weather@1:temp"));
    assert_eq!(
        serde_json::to_value(&temp.statistics).unwrap(),
        json!({"count": 2, "nulls": 2, "min": 20.0, "max": 25.0, "mean": 22.5,
            "stddev": 3.535_533_905_932_737_8, "distinct": 2})
    );
    let rows = kept(&project, "dataset__d__1");
    let expected = project
        .store
        .historical(
            &project.cx,
            &service("delay_model"),
            Table::of(spine()).stream(),
        )
        .await
        .unwrap();
    assert_eq!(
        rows.columns(),
        rows_of(expected).await.unwrap().columns(),
        "{rows:?}"
    );
    let found = project.store.dataset(&project.cx, "d").await.unwrap();
    assert_eq!(found, made);
    // What is kept is no definition: the plan stays empty and what is listed stays the same.
    let plan = project
        .store
        .plan(&project.cx, &crate::support::load(DEFINITIONS))
        .await
        .unwrap();
    assert!(plan.is_empty());
}

#[tokio::test]
async fn rows_come_out_the_same_after_sources_grew_and_definitions_changed() {
    let project = Project::new(all_tables(), DEFINITIONS).await;
    let made = made(&project, service("delay_model")).await;
    let before = kept(&project, "dataset__d__1");
    project.offline.append(
        "weather",
        batch(&[
            ("origin", strings(&["JFK", "SFO"])),
            ("time", hours(&[3, 3])),
            ("temp", floats(&[-1.0, -2.0])),
            ("WIND", ints(&[-1, -2])),
        ]),
    );
    let changed = DEFINITIONS
        .replace("ttl: 3h", "ttl: 5h")
        .replace("chill * 10", "chill * 11");
    project.apply(&changed).await;

    let again = recreated(&project, "d").await.unwrap();
    assert_eq!(again.columns(), before.columns());
    assert_eq!(names(&again), names(&before));

    let mut next = dataset(service("delay_model"));
    next.new_version = true;
    let next = create(&project, &next, Table::of(spine())).await.unwrap();
    assert_eq!(next.full_name(), "d@2");
    assert_ne!(next.hash, made.hash);
    assert_eq!(next.spine.hash, made.spine.hash);
    let again = recreated(&project, "d@1").await.unwrap();
    assert_eq!(again.columns(), before.columns());
    let again = recreated(&project, "d").await.unwrap();
    assert_eq!(text(&again, "temp"), ["-1.0", "25.0", "-1.0", "-2.0"]);

    let diff = project
        .store
        .diff_datasets(&project.cx, "d@1", "d@2")
        .await
        .unwrap();
    assert!(!diff.same_rows);
    let has = |part: DiffPart, name: &str, field: &str, a: &str, b: &str| {
        let found = diff
            .differences
            .iter()
            .find(|found| found.part == part && found.name == name && found.field == field);
        let found = found.unwrap_or_else(|| panic!("no {name} {field} in {diff:#?}"));
        assert_eq!(found.a.as_deref(), Some(a), "{name} {field}");
        assert_eq!(found.b.as_deref(), Some(b), "{name} {field}");
    };
    let view = "feature_view airport_weather";
    has(DiffPart::Definitions, view, "version", "1", "2");
    has(DiffPart::Definitions, view, "ttl", "3h", "5h");
    has(
        DiffPart::Definitions,
        "on_demand_feature_view comfort",
        "features.comfort.sql",
        "chill * 10 + alt",
        "chill * 11 + alt",
    );
    has(
        DiffPart::Sources,
        "weather",
        "version",
        "version 0",
        "version 1",
    );
    has(DiffPart::Statistics, "temp", "nulls", "2", "0");
    has(DiffPart::Statistics, "temp", "min", "20.0", "-2.0");
    let parts: BTreeSet<DiffPart> = diff.differences.iter().map(|found| found.part).collect();
    assert!(!parts.contains(&DiffPart::Spine));

    let rows = project
        .store
        .diff_dataset_rows(&project.cx, "d@1", "d@2", 2)
        .await
        .unwrap();
    assert_eq!((rows.only_a, rows.only_b), (4, 4));
    assert_eq!(text(&rows.rows, "only_in"), ["d@1", "d@1", "d@2", "d@2"]);
    let none = project
        .store
        .diff_dataset_rows(&project.cx, "d@1", "d@1", 2)
        .await
        .unwrap();
    assert_eq!((none.only_a, none.only_b, none.rows.num_rows()), (0, 0, 0));
}

#[tokio::test]
async fn a_vacuumed_version_is_named() {
    let project = Project::new(all_tables(), DEFINITIONS).await;
    made(&project, service("delay_model")).await;
    let newest = project.offline.newest("departures").unwrap();
    project.offline.add("departures", newest);
    project.offline.vacuum("departures", 0);
    let error = recreated(&project, "d").await.unwrap_err();
    assert_eq!(error.code(), "P506");
    assert_eq!(
        error.message(),
        "dataset \"d@1\" cannot be recreated: source \"departures\" (table \"departures\") cannot be read at version 0 any more: table \"departures\" has lost the files of version 0"
    );
    let help = error.help_text().unwrap();
    assert!(help.contains("table \"dataset__d__1\""), "{help}");
    assert!(help.contains("create d --new-version"), "{help}");

    let project = Project::new(all_tables(), DEFINITIONS).await;
    made(&project, service("delay_model")).await;
    project.offline.vacuum("dataset__d__1__spine", 0);
    let error = recreated(&project, "d").await.unwrap_err();
    assert_eq!(error.code(), "P506");
    assert!(
        error
            .message()
            .starts_with("dataset \"d@1\" cannot be recreated: its spine, table \"dataset__d__1__spine\", cannot be read at version 0"),
        "{error}"
    );
}

#[tokio::test]
async fn rows_of_a_source_without_versions_are_checked_and_never_passed_off() {
    let project = Project::new(all_tables(), DEFINITIONS).await;
    let unpinned = &project.offline.unpinned;
    unpinned.lock().unwrap().push("weather".to_owned());
    let made = made(&project, service("delay_model")).await;
    let unpinned: Vec<&str> = made.unpinned().map(|used| used.source.as_str()).collect();
    assert_eq!(unpinned, ["weather"]);
    assert_eq!(
        made.sources[0].not_pinned.as_deref(),
        Some("versioned tables does not support versions of that table")
    );
    assert!(recreated(&project, "d").await.is_ok());
    project.offline.append(
        "weather",
        batch(&[
            ("origin", strings(&["JFK"])),
            ("time", hours(&[3])),
            ("temp", floats(&[-1.0])),
            ("WIND", ints(&[2])),
        ]),
    );
    let error = recreated(&project, "d").await.unwrap_err();
    assert_eq!(error.code(), "P520");
    assert_eq!(
        error.message(),
        "dataset \"d@1\" cannot be recreated: other values came out in temp, wind, comfort"
    );
    assert_eq!(
        error.help_text(),
        Some(
            "\"weather\" could not be pinned when the dataset was made and may have changed since"
        )
    );
    // A failed restoration leaves the table as it was.
    let n_states = project.offline.n_states("dataset__d__1");
    let restored = project.store.restore_dataset(&project.cx, "d", |rows| rows);
    assert_eq!(restored.await.unwrap_err().code(), "P520");
    assert_eq!(project.offline.n_states("dataset__d__1"), n_states);
}

#[tokio::test]
async fn a_lost_table_is_restored() {
    let project = Project::new(all_tables(), DEFINITIONS).await;
    made(&project, request("airport_weather:temp")).await;
    let before = kept(&project, "dataset__d__1");
    project.offline.vacuum("dataset__d__1", 0);
    let restored = project
        .store
        .restore_dataset(&project.cx, "d", |rows| rows)
        .await
        .unwrap();
    assert_eq!(restored.table.version, Some(SourceVersion::Number(1)));
    assert_eq!(kept(&project, "dataset__d__1"), before);
    let found = project.store.dataset(&project.cx, "d@1").await.unwrap();
    assert_eq!(found, restored);
}

#[tokio::test]
async fn existing_names_and_unknown_ones_are_told() {
    let project = Project::new(all_tables(), DEFINITIONS).await;
    made(&project, request("airport_weather:temp")).await;
    let mut again = dataset(request("airport_weather:temp"));
    let error = create(&project, &again, Table::of(spine()))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P421");
    assert!(
        error
            .message()
            .starts_with("dataset \"d\" exists: version 1 of "),
        "{error}"
    );
    assert_eq!(
        error.help_text(),
        Some("choose another name, or make version 2 with --new-version")
    );
    again.name = "D".to_owned();
    let error = create(&project, &again, Table::of(spine()))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P421");
    again.name = "a__b".to_owned();
    let error = create(&project, &again, Table::of(spine()))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P104");
    for (name, code) in [("e", "P420"), ("d@3", "P420"), ("d@x", "P406")] {
        let error = project.store.dataset(&project.cx, name).await.unwrap_err();
        assert_eq!(error.code(), code, "{name}");
    }
}

#[tokio::test]
async fn a_create_that_is_cut_off_leaves_nothing_visible_and_nothing_in_the_way() {
    let project = Project::new(all_tables(), DEFINITIONS).await;
    for at in ["__spine", "d__1"] {
        *project.offline.hangs_at.lock().unwrap() = Some(at.to_owned());
        let create_d = dataset(service("delay_model"));
        let create = create(&project, &create_d, Table::of(spine()));
        let ended = tokio::time::timeout(Duration::from_millis(300), create).await;
        assert!(ended.is_err(), "it should hang");
        assert!(project.offline.hangs_at.lock().unwrap().is_none());
        let all = project.store.datasets(&project.cx).await.unwrap();
        assert!(all.is_empty());
    }
    let made = made(&project, service("delay_model")).await;
    assert_eq!(made.full_name(), "d@1");
    assert!(recreated(&project, "d").await.is_ok());
}

#[tokio::test]
async fn hashes_do_not_depend_on_how_the_spine_is_cut() {
    let mut rng = StdRng::seed_from_u64(9);
    let mut known = None;
    for _ in 0..5 {
        let project = Project::new(all_tables(), DEFINITIONS).await;
        let whole = spine();
        let cut = rng.random_range(0..=4);
        let table = Table {
            schema: whole.schema(),
            batches: vec![
                whole.slice(0, cut),
                whole.slice(cut, 0),
                whole.slice(cut, 4 - cut),
            ],
        };
        let made = create(&project, &dataset(service("delay_model")), table)
            .await
            .unwrap();
        // Batches come back from this store in reverse, and the rows in their order all the same.
        assert_eq!(
            text(&kept(&project, "dataset__d__1"), "origin"),
            ["JFK", "LGA", "JFK", "SFO"]
        );
        let hashes = (made.hash, made.spine.hash);
        assert_eq!(known.get_or_insert_with(|| hashes.clone()), &hashes);
    }
}

fn split(text: &str, options: SplitOptions) -> Option<Split> {
    Some(Split::parse(text, options).unwrap())
}

/// 2,000 rows of 97 origins.
fn long_spine(rng: &mut StdRng) -> RecordBatch {
    let mut rows: Vec<i64> = (0..2_000).collect();
    rows.shuffle(rng);
    let origins: Vec<String> = rows.iter().map(|row| format!("A{}", row % 97)).collect();
    let origins: Vec<&str> = origins.iter().map(String::as_str).collect();
    batch(&[
        ("label", ints(&rows)),
        ("origin", strings(&origins)),
        ("time_hour", hours(&rows)),
    ])
}

#[tokio::test]
async fn splits_depend_on_the_row_alone_and_keep_entities_together() {
    let mut rng = StdRng::seed_from_u64(2);
    let parts = |rows: &RecordBatch, by: &str| -> BTreeMap<String, BTreeSet<String>> {
        let mut parts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (key, part) in text(rows, by).into_iter().zip(text(rows, "part")) {
            parts.entry(key).or_default().insert(part);
        }
        parts
    };
    let options = |seed| SplitOptions {
        seed,
        column: Some("part".to_owned()),
        ..SplitOptions::default()
    };
    for (rule, by) in [
        ("random:0.8,0.1,0.1", "label"),
        ("entity:0.8,0.2", "origin"),
        ("time:1970-02-01,1970-03-01", "label"),
    ] {
        let mut known = None;
        for _ in 0..2 {
            let project = Project::new(all_tables(), DEFINITIONS).await;
            let mut create_d = dataset(request("airport_weather:temp"));
            create_d.split = split(rule, options(7));
            create(&project, &create_d, Table::of(long_spine(&mut rng)))
                .await
                .unwrap();
            let rows = kept(&project, "dataset__d__1");
            let parts = parts(&rows, by);
            assert!(parts.values().all(|parts| parts.len() == 1), "{rule}");
            // The other order of rows gives the same parts.
            assert_eq!(known.get_or_insert_with(|| parts.clone()), &parts, "{rule}");
            let all: BTreeSet<String> = text(&rows, "part").into_iter().collect();
            assert_eq!(all.len(), if by == "origin" { 2 } else { 3 }, "{rule}");
            let again = recreated(&project, "d").await.unwrap();
            assert_eq!(again.columns(), rows.columns());
        }
    }
}

#[tokio::test]
async fn splits_that_cannot_be_are_told_before_anything_is_written() {
    let project = Project::new(all_tables(), DEFINITIONS).await;
    let with = |features: &str, rule: &str, options: SplitOptions| CreateDataset {
        split: split(rule, options),
        ..dataset(request(features))
    };
    // A column of the spine in the way, whatever its case.
    let mut taken = spine().columns().to_vec();
    taken.push(ints(&[1, 2, 3, 4]));
    let taken = batch(&[
        ("label", taken[0].clone()),
        ("origin", taken[1].clone()),
        ("Split", taken[4].clone()),
        ("time_hour", taken[3].clone()),
    ]);
    let create_d = with(
        "airport_weather:temp",
        "random:0.5,0.5",
        SplitOptions::default(),
    );
    let error = create(&project, &create_d, Table::of(taken))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P404");
    assert_eq!(
        error.message(),
        "the split's column \"split\" would be called as the column \"Split\" of the training set"
    );
    // Views of an airport and of a route share the airport.
    let create_d = with(
        "airport_weather:temp,route_delay",
        "entity:0.5,0.5",
        SplitOptions::default(),
    );
    let made = create(&project, &create_d, Table::of(spine()))
        .await
        .unwrap();
    let Some(split) = made.split else {
        panic!("no split")
    };
    assert_eq!(
        serde_json::to_value(&split).unwrap(),
        json!({"by": "entity", "shares": [0.5, 0.5], "seed": 0, "columns": ["origin"],
            "parts": ["train", "test"], "column": "split"})
    );
    // An alias by another key leaves nothing in common.
    let mut create_d = with(
        "airport_weather:temp",
        "entity:0.5,0.5",
        SplitOptions::default(),
    );
    create_d.name = "other".to_owned();
    create_d.request = service("delay_model");
    let error = create(&project, &create_d, Table::of(spine()))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P406");
    assert_eq!(
        error.help_text(),
        Some("name columns (`--split-by`), such as dest, origin")
    );
    assert_eq!(project.offline.n_states("dataset__other__1__spine"), 0);
    let by = SplitOptions {
        columns: vec!["orign".to_owned()],
        ..SplitOptions::default()
    };
    let mut create_d = with("airport_weather:temp", "entity:0.5,0.5", by);
    create_d.name = "other".to_owned();
    let error = create(&project, &create_d, Table::of(spine()))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P402");
    assert_eq!(error.help_text(), Some("did you mean \"origin\"?"));
}

#[tokio::test]
async fn a_spine_without_rows_makes_a_dataset_without_rows() {
    let project = Project::new(all_tables(), DEFINITIONS).await;
    let empty = Table {
        schema: spine().schema(),
        batches: Vec::new(),
    };
    let made = create(&project, &dataset(service("delay_model")), empty)
        .await
        .unwrap();
    assert_eq!((made.n_rows, made.columns[0].statistics.count), (0, 0));
    assert_eq!(recreated(&project, "d").await.unwrap().num_rows(), 0);
}
