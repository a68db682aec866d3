//! Every unsafe block of the interface, run once: calls, streams and arrays in both directions, errors,
//! panics, cancellation. Small enough for Miri (`scripts/miri.sh`), which is what it is for; what the
//! interface means is tested elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(unused)]
#[path = "plugin/doubles.rs"]
mod doubles;

use std::sync::Arc;
use std::time::Duration;

use arrow_array::types::{Int32Type, TimestampMicrosecondType};
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, ListArray, PrimitiveArray, RecordBatch, StringArray,
    new_null_array,
};
use futures::StreamExt;
use provender_conformance::memory::ScanShape;
use provender_conformance::{Table, Tables};
use provender_core::model::JoinKey;
use provender_core::request::{
    OfflineWrite, ReadPlan, Scan, SourceRef, ViewLayout, ViewRead, WriteMode,
};
use provender_core::{BatchStream, Context, ErrorKind, ValueType};
use serde_json::json;

use crate::doubles::{config, hold, reference};

fn on_a_runtime(work: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap()
        .block_on(work);
}

fn layout() -> ViewLayout {
    ViewLayout {
        project: "p".to_owned(),
        view: "v".to_owned(),
        version: 1,
        join_keys: vec![JoinKey {
            name: "k".to_owned(),
            value_type: ValueType::String,
        }],
        features: vec![("text".to_owned(), ValueType::String)],
        tie_breakers: Vec::new(),
        ttl_us: None,
    }
}

fn texts(texts: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(texts.to_vec()))
}

#[test]
fn online_rows_cross_in_both_directions() {
    on_a_runtime(async {
        let cx = Context::new("p").with_timeout(Duration::from_secs(600));
        let block = config("memory", "online_store", json!({"name": "memory test"}));
        let store = reference().open_online(&cx, block).await.unwrap();
        let layout = layout();
        let schema = Arc::new(layout.write_schema());
        let times = PrimitiveArray::<TimestampMicrosecondType>::from(vec![1, 2]);
        let columns: Vec<ArrayRef> = vec![
            texts(&[Some("a"), Some("")]),
            Arc::new(times.with_data_type(schema.field(1).data_type().clone())),
            new_null_array(schema.field(2).data_type(), 2),
            Arc::new(BooleanArray::from(vec![false, false])),
            texts(&[Some("a longer text"), None]),
        ];
        let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
        let rows = BatchStream::from_batches(schema.clone(), vec![batch.slice(1, 1), batch]);
        let summary = store.write(&cx, &layout, rows).await.unwrap();
        assert_eq!(summary.n_rows, 3);
        let plan = Arc::new(ReadPlan {
            keys: layout.join_keys.clone(),
            views: vec![ViewRead {
                layout: Arc::new(layout.clone()),
                key_columns: vec![0],
                features: vec![0],
            }],
        });
        let reader = store.prepare(&cx, plan).await.unwrap();
        let keys = texts(&[Some("a"), None, Some(""), Some("nobody")]);
        let keys = RecordBatch::try_from_iter_with_nullable([("k", keys, true)]).unwrap();
        for keys in [keys.clone(), keys.slice(1, 2), keys.slice(0, 0)] {
            let answer = reader.read(&cx, &keys).await.unwrap();
            assert_eq!(answer.views[0].features[0].len(), keys.num_rows());
        }
        store.delete(&cx, &layout, keys).await.unwrap();
        store.drop_view(&cx, &layout.view_version()).await.unwrap();
    });
}

#[test]
fn streams_of_nested_rows_cross_whole_half_read_and_failing() {
    on_a_runtime(async {
        let cx = Context::new("p");
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1), None]),
            None,
            Some(vec![]),
        ]);
        let words: DictionaryArray<Int32Type> = ["x", "y", "x"].into_iter().collect();
        let columns: [(&str, ArrayRef, bool); 2] = [
            ("lists", Arc::new(lists), true),
            ("words", Arc::new(words), true),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let table = Table {
            schema: batch.schema(),
            batches: vec![batch.clone(), batch.slice(1, 2)],
        };
        hold(
            "memory test",
            Tables::from([("t".to_owned(), table)]),
            ScanShape::PLAIN,
        );
        let block = config("reference", "memory test", json!({}));
        let store = reference().open_offline(&cx, block).await.unwrap();
        let scan = || Scan {
            source: SourceRef::table("t"),
            columns: None,
            ranges: Vec::new(),
        };
        let mut n_rows = 0;
        for mut stream in store.scan(&cx, scan()).await.unwrap() {
            while let Some(batch) = stream.batches.next().await {
                n_rows += batch.unwrap().num_rows();
            }
        }
        assert_eq!(n_rows, 5);
        for mut stream in store.scan(&cx, scan()).await.unwrap() {
            drop(stream.batches.next().await);
        }
        drop(store.scan(&cx, scan()).await.unwrap());
        let write = OfflineWrite {
            table: "t".to_owned(),
            mode: WriteMode::Append,
            partition_by: Vec::new(),
            id: None,
        };
        let panicking = futures::stream::iter([1]).map(|n| panic!("row {n}"));
        let rows = BatchStream::new(batch.schema(), panicking);
        assert!(store.write(&cx, write, rows).await.is_err());
        let error = store
            .schema(&cx, &SourceRef::table("nowhere"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let gone = Context::new("p");
        gone.cancel();
        assert!(store.scan(&gone, scan()).await.is_err());
    });
}
