//! Which rows are held, and how they are answered.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use provender_core::provider::OnlineStore;
use provender_core::{BatchStream, ErrorKind};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::support::*;

fn random_row(random: &mut StdRng, value: i64) -> Row {
    Row {
        key: format!("k{}", random.random_range(0..12)),
        event: random.random_range(0..4),
        created: random.random_bool(0.6).then(|| random.random_range(0..3)),
        tie: random.random_bool(0.6).then(|| random.random_range(-2..3)),
        tombstone: random.random_bool(0.15),
        value,
        label: "x".repeat(random.random_range(0..3000)),
    }
}

#[tokio::test]
async fn newest_row_is_held_whatever_the_order_and_the_batches() {
    for seed in 0..25 {
        let mut random = StdRng::seed_from_u64(seed);
        let folder = tempfile::tempdir().unwrap();
        let (store, layout) = (store(folder.path()), layout("v"));
        let mut model = Model::default();
        let mut value = 0;
        for _ in 0..random.random_range(1..8) {
            let rows: Vec<Row> = (0..random.random_range(0..30))
                .map(|_| {
                    value += 1;
                    random_row(&mut random, value)
                })
                .collect();
            let n_applied = rows.iter().filter(|row| model.write(row)).count();
            let summary = write(&store, &layout, &rows).await;
            assert_eq!(
                (summary.n_rows, summary.n_applied),
                (rows.len() as u64, n_applied as u64),
                "seed {seed}"
            );
            agrees(&store, &layout, &model).await;
        }
    }
}

#[tokio::test]
async fn shuffled_writes_end_in_the_same_state() {
    let mut random = StdRng::seed_from_u64(7);
    let mut rows: Vec<Row> = (0..200)
        .map(|value| random_row(&mut random, value))
        .collect();
    // Full ties go to the later write, so an order is only of no matter without them.
    rows.sort_by_key(|row| (row.key.clone(), row.order()));
    rows.dedup_by_key(|row| (row.key.clone(), row.order()));
    let mut model = Model::default();
    for row in &rows {
        model.write(row);
    }
    for _ in 0..5 {
        rows.shuffle(&mut random);
        let folder = tempfile::tempdir().unwrap();
        let (store, layout) = (store(folder.path()), layout("v"));
        for some in rows.chunks(17) {
            write(&store, &layout, some).await;
        }
        agrees(&store, &layout, &model).await;
    }
}

#[tokio::test]
async fn more_rows_than_a_transaction_takes_are_all_written() {
    let folder = tempfile::tempdir().unwrap();
    let (store, layout) = (store(folder.path()), layout("v"));
    let wanted = numbered(60_000);
    let mut rows: Vec<Row> = (0_i64..)
        .zip(&wanted)
        .map(|(value, key)| row(key, 5, value))
        .collect();
    // The same keys again, in the same call: in the same and in other transactions.
    rows.extend(
        (0_i64..)
            .zip(&wanted)
            .map(|(value, key)| row(key, 6 - value % 3, -value)),
    );
    let mut model = Model::default();
    let n_applied = rows.iter().filter(|row| model.write(row)).count();
    let summary = write(&store, &layout, &rows).await;
    assert_eq!(
        (summary.n_rows, summary.n_applied),
        (120_000, n_applied as u64)
    );
    agrees(&store, &layout, &model).await;
    let stats = store.stats(&cx(), &layout.view_version()).await.unwrap();
    assert_eq!(stats.n_rows, Some(60_000));
    let bytes = std::fs::metadata(data_file(folder.path(), &layout, 1)).unwrap();
    assert_eq!(stats.n_bytes, Some(bytes.len()));
}

#[tokio::test]
async fn duplicate_and_unknown_keys_are_answered_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (store, layout) = (store(folder.path()), layout("v"));
    write(&store, &layout, &[row("a", 1, 10), row("b", 2, 20)]).await;
    let wanted: Vec<String> = ["b", "x", "a", "b", "b"].map(str::to_owned).to_vec();
    assert_eq!(
        read(&store, &layout, &wanted).await,
        [
            Some((2, 20)),
            None,
            Some((1, 10)),
            Some((2, 20)),
            Some((2, 20))
        ]
    );
    assert_eq!(read(&store, &layout, &[]).await, []);
    // So many that the call leaves the runtime's threads.
    let many: Vec<String> = std::iter::repeat_n("a".to_owned(), 30_000).collect();
    assert_eq!(
        read(&store, &layout, &many).await,
        vec![Some((1, 10)); 30_000]
    );
}

#[tokio::test]
async fn keys_of_any_length_stay_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (store, layout) = (store(folder.path()), layout("v"));
    let mut wanted: Vec<String> = (0..600).map(|n| "k".repeat(n)).collect();
    wanted.extend((0..600).map(|n| "\0".repeat(n + 1)));
    for n in [1_000, 100_000] {
        wanted.push("k".repeat(n) + "a");
        wanted.push("k".repeat(n) + "b");
    }
    let rows: Vec<Row> = (0_i64..)
        .zip(&wanted)
        .map(|(value, key)| row(key, 1, value))
        .collect();
    assert_eq!(
        write(&store, &layout, &rows).await.n_applied,
        rows.len() as u64
    );
    let expected: Vec<_> = (0_i64..).take(rows.len()).map(|v| Some((1, v))).collect();
    assert_eq!(read(&store, &layout, &wanted).await, expected);
    store
        .delete(&cx(), &layout, keys(&layout, &wanted[500..700]))
        .await
        .unwrap();
    let found = read(&store, &layout, &wanted).await;
    for (index, found) in found.into_iter().enumerate() {
        let expected = (!(500..700).contains(&index)).then_some((1, index as i64));
        assert_eq!(found, expected, "{index}");
    }
}

#[tokio::test]
async fn deleted_keys_are_gone_until_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let (store, layout) = (store(folder.path()), layout("v"));
    let nulls: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("zzz")]));
    let some = RecordBatch::try_new(Arc::new(layout.key_schema()), vec![nulls]).unwrap();
    // Nothing is held yet, and nothing is made.
    store.delete(&cx(), &layout, some.clone()).await.unwrap();
    assert!(!folder.path().join("p").exists());

    write(&store, &layout, &[row("a", 9, 1), row("b", 9, 2)]).await;
    store.delete(&cx(), &layout, some).await.unwrap();
    let wanted = ["a".to_owned(), "b".to_owned()];
    assert_eq!(read(&store, &layout, &wanted).await, [None, Some((9, 2))]);
    // An erased key has no time that an older row could lose against.
    write(&store, &layout, &[row("a", 1, 3)]).await;
    assert_eq!(
        read(&store, &layout, &wanted).await,
        [Some((1, 3)), Some((9, 2))]
    );
}

#[tokio::test]
async fn bad_batch_is_refused_by_name_and_leaves_no_view_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (store, layout) = (store(folder.path()), layout("v"));
    let good = batch(&layout, &[row("a", 1, 1)]);
    let mut columns = good.columns().to_vec();
    columns[0] = Arc::new(StringArray::from(vec![None::<&str>]));
    let bad = RecordBatch::try_new(good.schema(), columns).unwrap();
    let stream = BatchStream::from_batches(good.schema(), vec![good.clone(), bad]);
    let error = store.write(&cx(), &layout, stream).await.unwrap_err();
    assert_eq!(error.code(), "P406", "{error}");
    assert!(error.message().contains("\"v\""), "{error}");
    assert_eq!(store.views(&cx()).await.unwrap(), Vec::new());

    let mut other = layout.clone();
    other.features.pop();
    let error = try_read(&store, &other, &["a".to_owned()]).await;
    assert_eq!(answers(&error.unwrap()), [None]);
}

#[tokio::test]
async fn failing_stream_is_answered_and_cancelled_calls_stop() {
    let folder = tempfile::tempdir().unwrap();
    let (store, layout) = (store(folder.path()), layout("v"));
    let failing = BatchStream::new(
        Arc::new(layout.write_schema()),
        futures::stream::iter([Err(provender_core::Error::new(
            &provender_core::codes::OFFLINE_UNAVAILABLE,
            "the source is gone",
        ))]),
    );
    let error = store.write(&cx(), &layout, failing).await.unwrap_err();
    assert_eq!(error.message(), "the source is gone");
    write(&store, &layout, &[row("a", 1, 1)]).await;
    let cancelled = cx();
    let reader = reader(&store, &layout).await;
    cancelled.cancel();
    let wanted = keys(&layout, &["a".to_owned()]);
    let error = reader.read(&cancelled, &wanted).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    let error = store.drop_view(&cancelled, &layout.view_version()).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(
        answers(&reader.read(&cx(), &wanted).await.unwrap()),
        [Some((1, 1))]
    );
}

#[tokio::test]
async fn rows_are_there_after_reopening_and_for_other_stores_of_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout("v");
    let wanted = ["a".to_owned()];
    {
        let (one, two) = (store(folder.path()), store(folder.path()));
        write(&one, &layout, &[row("a", 1, 1)]).await;
        assert_eq!(read(&two, &layout, &wanted).await, [Some((1, 1))]);
        write(&two, &layout, &[row("a", 2, 2)]).await;
        assert_eq!(read(&one, &layout, &wanted).await, [Some((2, 2))]);
    }
    let again = store(folder.path());
    assert_eq!(read(&again, &layout, &wanted).await, [Some((2, 2))]);
    // Another spelling of the same folder.
    let other = store(&folder.path().join("p").join(".."));
    assert_eq!(read(&other, &layout, &wanted).await, [Some((2, 2))]);
    write(&other, &layout, &[row("a", 3, 3)]).await;
    assert_eq!(read(&again, &layout, &wanted).await, [Some((3, 3))]);
}

#[tokio::test]
async fn reader_of_an_unwritten_view_makes_nothing_and_answers_once_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("not").join("there");
    let (store, layout) = (store(&root), layout("v"));
    let reader = reader(&store, &layout).await;
    let wanted = keys(&layout, &["a".to_owned()]);
    assert_eq!(answers(&reader.read(&cx(), &wanted).await.unwrap()), [None]);
    let stats = store.stats(&cx(), &layout.view_version()).await.unwrap();
    assert_eq!((stats.n_rows, stats.n_bytes), (Some(0), Some(0)));
    assert_eq!(store.views(&cx()).await.unwrap(), Vec::new());
    assert_eq!(
        provender_core::provider::Provider::check(&store, &cx())
            .await
            .unwrap(),
        [format!(
            "the folder {} does not exist yet; the first write makes it",
            root.display()
        )]
    );
    assert!(!root.exists());
    write(&store, &layout, &[row("a", 1, 1)]).await;
    assert_eq!(
        answers(&reader.read(&cx(), &wanted).await.unwrap()),
        [Some((1, 1))]
    );
}

#[test]
fn many_threads_read_and_write_one_view_at_once() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (store, layout) = (store(folder.path()), layout("v"));
    let wanted = numbered(200);
    let rows =
        |event: i64| -> Vec<Row> { wanted.iter().map(|key| row(key, event, event)).collect() };
    runtime.block_on(write(&store, &layout, &rows(0)));
    let reader = runtime.block_on(reader(&store, &layout));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let wanted = keys(&layout, &wanted);
                let mut before = 0;
                for _ in 0..200 {
                    let found = runtime.handle().block_on(reader.read(&cx(), &wanted));
                    let found = answers(&found.unwrap());
                    // One call sees one state: all rows of a write, or none.
                    let (event, _) = found[0].unwrap();
                    assert!(event >= before);
                    before = event;
                    assert_eq!(found, vec![Some((event, event)); wanted.num_rows()]);
                }
            });
        }
        for event in 1..=60 {
            runtime.block_on(write(&store, &layout, &rows(event)));
        }
    });
}
