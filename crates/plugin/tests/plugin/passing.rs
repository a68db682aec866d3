//! What crosses arrives whole: the rules of the kit hold behind the ABI as in front of it.

use provender_conformance::generate::JoinCase;
use provender_conformance::online::Harness;
use provender_conformance::{Table, online, registry};
use provender_core::request::{OfflineWrite, Scan, SourceRef, WriteMode};
use provender_core::{BatchStream, Context, ErrorKind};
use serde_json::json;

use crate::doubles::{config, hold, reference};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn online_store_keeps_every_rule_behind_the_abi() {
    let library = reference();
    let harness = Harness::open(|| async {
        let config = config("memory", "online_store", json!({"name": "behind the abi"}));
        library.open_online(&Context::new("p"), config).await
    })
    .await
    .unwrap();
    online::all(&harness).await.unwrap();
    assert_eq!(library.n_misused(), 0);
    assert_eq!(library.n_open(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registry_keeps_every_rule_behind_the_abi() {
    let config = config("reference", "registry", json!({}));
    let opened = reference().open_registry(&Context::new("p"), config).await;
    registry::all(&*opened.unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_of_random_tables_are_those_of_the_store_itself() {
    let library = reference();
    let cx = Context::new("p");
    for seed in 0..60 {
        let case = JoinCase::random(seed).unwrap();
        let block = format!("scans {seed}");
        hold(&block, case.tables.clone(), case.scan);
        let direct = case.store();
        let config = config("reference", &block, json!({}));
        let behind = library.open_offline(&cx, config).await.unwrap();
        for name in case.tables.keys() {
            let source = SourceRef::table(name);
            let schema = behind.schema(&cx, &source).await.unwrap();
            let expected =
                provender_core::provider::OfflineStore::schema(&*direct, &cx, &source).await;
            assert_eq!(schema, expected.unwrap(), "seed {seed}");
            let scan = Scan {
                source,
                columns: None,
                ranges: Vec::new(),
            };
            let ours = behind.scan(&cx, scan.clone()).await.unwrap();
            let theirs = provender_core::provider::OfflineStore::scan(&*direct, &cx, scan).await;
            let theirs = theirs.unwrap();
            assert_eq!(ours.len(), theirs.len(), "seed {seed}");
            for (ours, theirs) in ours.into_iter().zip(theirs) {
                let (ours, theirs) = (Table::collect(ours).await, Table::collect(theirs).await);
                assert_eq!(ours.unwrap(), theirs.unwrap(), "seed {seed}, table {name}");
            }
        }
    }
    assert_eq!(library.n_open(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn written_rows_are_read_back() {
    let case = JoinCase::random(7).unwrap();
    let (name, table) = case.tables.iter().next().unwrap();
    hold("writes", case.tables.clone(), case.scan);
    let cx = Context::new("p");
    let store = reference().open_offline(&cx, config("reference", "writes", json!({})));
    let store = store.await.unwrap();
    let write = OfflineWrite {
        table: name.clone(),
        mode: WriteMode::Append,
        partition_by: Vec::new(),
        id: Some("once".to_owned()),
    };
    for n_applied in [table.n_rows() as u64, 0] {
        let rows = BatchStream::from_batches(table.schema.clone(), table.batches.clone());
        let summary = store.write(&cx, write.clone(), rows).await.unwrap();
        assert_eq!(summary.n_applied, n_applied);
    }
    let scan = Scan {
        source: SourceRef::table(name),
        columns: Some(Vec::new()),
        ranges: Vec::new(),
    };
    let mut n_rows = 0;
    for stream in store.scan(&cx, scan).await.unwrap() {
        n_rows += Table::collect(stream).await.unwrap().n_rows();
    }
    assert_eq!(n_rows, 2 * table.n_rows());
}

#[tokio::test]
async fn errors_keep_kind_code_and_help_and_name_the_plugin() {
    hold(
        "errors",
        Default::default(),
        provender_conformance::memory::ScanShape::PLAIN,
    );
    let cx = Context::new("p");
    let store = reference().open_offline(&cx, config("reference", "errors", json!({})));
    let store = store.await.unwrap();
    let error = store
        .schema(&cx, &SourceRef::table("nowhere"))
        .await
        .unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, "P120"));
    assert_eq!(
        error.message(),
        "plug-in reference: there is no table \"nowhere\" in memory"
    );
    assert!(
        error
            .context_pairs()
            .contains(&("plugin".into(), "reference".to_owned()))
    );
    let unsupported = store.pin(&cx, &SourceRef::table("t")).await.unwrap_err();
    assert_eq!(unsupported.kind(), ErrorKind::Unsupported);
    // An error in the middle of what a write is given crosses in the stream, and back in the answer.
    let schema = std::sync::Arc::new(arrow_schema::Schema::empty());
    let failing = BatchStream::new(
        schema,
        futures::stream::iter([Err(provender_core::Error::new(
            &provender_core::codes::CHECKED_CAST,
            "the value 7\0 does not fit",
        ))]),
    );
    let write = OfflineWrite {
        table: "t".to_owned(),
        mode: WriteMode::Append,
        partition_by: Vec::new(),
        id: None,
    };
    let error = store.write(&cx, write, failing).await.unwrap_err();
    assert_eq!(error.code(), "P501");
    assert!(
        error.message().ends_with("the value 7\0 does not fit"),
        "{error}"
    );
}
