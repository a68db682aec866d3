//! Expired rows, free pages, and files that take each other's place.

use std::path::Path;

use provender_core::provider::OnlineStore;
use provender_core::request::ViewLayout;
use provender_core::time::now_us;

use crate::support::*;

fn expiring(ttl_us: i64) -> ViewLayout {
    let mut layout = layout("v");
    layout.ttl_us = Some(ttl_us);
    layout
}

fn size(root: &Path, layout: &ViewLayout, generation: u32) -> u64 {
    std::fs::metadata(data_file(root, layout, generation))
        .unwrap()
        .len()
}

fn folders(root: &Path, layout: &ViewLayout) -> Vec<String> {
    let folder = data_file(root, layout, 1);
    let folder = folder.parent().unwrap().parent().unwrap();
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// 5,000 rows, of which every tenth is of now and the others of an hour ago.
fn old_and_new(now: i64) -> (Vec<String>, Vec<Row>) {
    let wanted = numbered(5_000);
    let rows = (0_i64..)
        .zip(&wanted)
        .map(|(i, key)| {
            let event = if i % 10 == 0 { now } else { now - HOUR };
            row(key, event, i).with_label("x".repeat(400))
        })
        .collect();
    (wanted, rows)
}

#[tokio::test]
async fn expired_rows_are_swept_and_their_space_is_given_back_under_open_readers() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (store(folder.path()), store(folder.path()));
    let layout = expiring(2 * HOUR);
    let now = now_us();
    let (wanted, rows) = old_and_new(now);
    write(&one, &layout, &rows).await;
    let reader = reader(&two, &layout).await;
    let before = size(folder.path(), &layout, 1);
    assert!(before > 1 << 20);

    // Half of the ttl has not passed since the first write.
    let early = one
        .sweep(&cx(), &layout, now + HOUR - 60_000_000)
        .await
        .unwrap();
    assert_eq!(
        (early.swept, early.n_deleted, early.compacted),
        (false, 0, false)
    );
    // Rows of an hour ago are of exactly the ttl's age: they still count.
    let edge = one.sweep(&cx(), &layout, now + HOUR).await.unwrap();
    assert!(!edge.compacted);
    assert_eq!(edge.n_deleted, 0);
    let swept = one.sweep(&cx(), &layout, now + 2 * HOUR).await.unwrap();
    assert_eq!(
        (swept.swept, swept.n_deleted, swept.compacted),
        (true, 4_500, true)
    );

    assert_eq!(folders(folder.path(), &layout), ["0002"]);
    let after = size(folder.path(), &layout, 2);
    assert!(after < before / 2, "{after} of {before}");
    let expected: Vec<_> = rows
        .iter()
        .map(|row| (row.event == now).then_some((row.event, row.value)))
        .collect();
    // A reader from before, one of a store from before, and one that opens now.
    let answered = reader.read(&cx(), &keys(&layout, &wanted)).await.unwrap();
    assert_eq!(answers(&answered), expected);
    assert_eq!(read(&two, &layout, &wanted).await, expected);
    drop((one, two, reader));
    let again = store(folder.path());
    assert_eq!(read(&again, &layout, &wanted).await, expected);
    let stats = again.stats(&cx(), &layout.view_version()).await.unwrap();
    assert_eq!(stats.n_rows, Some(500));
    // It goes on from there, generation by generation.
    let swept = again.sweep(&cx(), &layout, now + 9 * HOUR).await.unwrap();
    assert_eq!(swept.n_deleted, 500);
    write(&again, &expiring(100 * HOUR), &rows).await;
    assert_eq!(folders(folder.path(), &layout).len(), 1);
    let expected: Vec<_> = rows
        .iter()
        .map(|row| Some((row.event, row.value)))
        .collect();
    assert_eq!(read(&again, &layout, &wanted).await, expected);
}

#[tokio::test]
async fn sweep_of_a_view_without_rows_or_ttl_does_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let none = store.sweep(&cx(), &expiring(1), i64::MAX).await.unwrap();
    assert_eq!(none, provender_providers_local::SweepSummary::default());
    write(&store, &layout("v"), &[row("a", 0, 1)]).await;
    assert!(
        !store
            .sweep(&cx(), &layout("v"), i64::MAX)
            .await
            .unwrap()
            .swept
    );
    assert!(
        !store
            .compact_if_sparse(&cx(), &layout("v").view_version())
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn newer_row_that_arrives_under_a_sweep_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let layout = expiring(HOUR);
    let now = now_us();
    let mut tombstone = row("gone", now - 3 * HOUR, 1);
    tombstone.tombstone = true;
    write(&store, &layout, &[row("a", now - 3 * HOUR, 1), tombstone]).await;
    write(&store, &layout, &[row("a", now + HOUR, 2)]).await;
    let swept = store.sweep(&cx(), &layout, now + HOUR).await.unwrap();
    assert_eq!(swept.n_deleted, 1);
    assert_eq!(
        read(&store, &layout, &["a".to_owned()]).await,
        [Some((now + HOUR, 2))]
    );
    // The tombstone went too, so an older row is held again.
    write(
        &store,
        &expiring(9 * HOUR),
        &[row("gone", now - 4 * HOUR, 3)],
    )
    .await;
    assert_eq!(
        read(&store, &layout, &["gone".to_owned()]).await,
        [Some((now - 4 * HOUR, 3))]
    );
}

#[tokio::test]
async fn file_is_compacted_only_when_most_of_it_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let (store, layout) = (store(folder.path()), layout("v"));
    let version = layout.view_version();
    let (wanted, rows) = old_and_new(0);
    write(&store, &layout, &rows).await;
    assert!(!store.compact_if_sparse(&cx(), &version).await.unwrap());
    store
        .delete(&cx(), &layout, keys(&layout, &wanted[..4_000]))
        .await
        .unwrap();
    assert!(store.compact_if_sparse(&cx(), &version).await.unwrap());
    assert!(!store.compact_if_sparse(&cx(), &version).await.unwrap());
    assert_eq!(folders(folder.path(), &layout), ["0002"]);
    let expected: Vec<_> = (0..5_000)
        .map(|i| (i >= 4_000).then(|| (rows[i].event, rows[i].value)))
        .collect();
    assert_eq!(read(&store, &layout, &wanted).await, expected);
    // And it goes on from there.
    write(&store, &layout, &rows).await;
    let expected: Vec<_> = rows
        .iter()
        .map(|row| Some((row.event, row.value)))
        .collect();
    assert_eq!(read(&store, &layout, &wanted).await, expected);
}

#[tokio::test]
async fn copy_that_an_interrupted_compaction_left_is_never_read() {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout("v");
    let (wanted, rows) = old_and_new(0);
    write(&store(folder.path()), &layout, &rows).await;
    // Killed after the rename of the copy and before the mark: the copy is there and the old file lives.
    let (first, second) = (
        data_file(folder.path(), &layout, 1),
        data_file(folder.path(), &layout, 2),
    );
    std::fs::create_dir(second.parent().unwrap()).unwrap();
    std::fs::copy(&first, &second).unwrap();
    // Killed before the rename.
    let unfinished = first
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join(".compact-1-2-3");
    std::fs::create_dir(&unfinished).unwrap();
    std::fs::write(unfinished.join("data.mdb"), "half").unwrap();

    let one = store(folder.path());
    let newer: Vec<Row> = wanted[..4_900].iter().map(|key| row(key, 7, 7)).collect();
    write(&one, &layout, &newer).await;
    one.delete(&cx(), &layout, keys(&layout, &wanted[..4_800]))
        .await
        .unwrap();
    let expected: Vec<_> = (0..5_000)
        .map(|i| match i {
            ..4_800 => None,
            4_800..4_900 => Some((7, 7)),
            _ => Some((rows[i].event, rows[i].value)),
        })
        .collect();
    assert_eq!(read(&one, &layout, &wanted).await, expected);
    drop(one);
    let two = store(folder.path());
    assert_eq!(read(&two, &layout, &wanted).await, expected);
    assert!(
        two.compact_if_sparse(&cx(), &layout.view_version())
            .await
            .unwrap()
    );
    assert_eq!(folders(folder.path(), &layout), ["0002"]);
    assert_eq!(read(&two, &layout, &wanted).await, expected);
}

#[tokio::test]
async fn generation_that_moved_and_was_not_removed_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout("v");
    let (wanted, rows) = old_and_new(0);
    let one = store(folder.path());
    write(&one, &layout, &rows).await;
    one.delete(&cx(), &layout, keys(&layout, &wanted[..4_900]))
        .await
        .unwrap();
    let first = data_file(folder.path(), &layout, 1);
    let kept = folder.path().join("kept");
    std::fs::hard_link(&first, &kept).unwrap();
    assert!(
        one.compact_if_sparse(&cx(), &layout.view_version())
            .await
            .unwrap()
    );
    drop(one);
    // Killed after the mark and before the removal: the marked file is still there.
    std::fs::create_dir(first.parent().unwrap()).unwrap();
    std::fs::rename(&kept, &first).unwrap();
    let two = store(folder.path());
    write(&two, &layout, &[row(&wanted[0], 3, 3)]).await;
    let expected: Vec<_> = (0..5_000)
        .map(|i| match i {
            0 => Some((3, 3)),
            _ => (i >= 4_900).then(|| (rows[i].event, rows[i].value)),
        })
        .collect();
    assert_eq!(read(&two, &layout, &wanted).await, expected);
    two.drop_view(&cx(), &layout.view_version()).await.unwrap();
    assert_eq!(two.views(&cx()).await.unwrap(), Vec::new());
}

#[tokio::test]
async fn rows_that_moved_to_a_missing_generation_are_an_error_not_an_absence() {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout("v");
    let (wanted, rows) = old_and_new(0);
    let one = store(folder.path());
    write(&one, &layout, &rows).await;
    one.delete(&cx(), &layout, keys(&layout, &wanted[..4_900]))
        .await
        .unwrap();
    let first = data_file(folder.path(), &layout, 1);
    let kept = folder.path().join("kept");
    std::fs::hard_link(&first, &kept).unwrap();
    assert!(
        one.compact_if_sparse(&cx(), &layout.view_version())
            .await
            .unwrap()
    );
    drop(one);
    std::fs::remove_dir_all(data_file(folder.path(), &layout, 2).parent().unwrap()).unwrap();
    std::fs::create_dir(first.parent().unwrap()).unwrap();
    std::fs::rename(&kept, &first).unwrap();
    let two = store(folder.path());
    let error = try_read(&two, &layout, &wanted).await.unwrap_err();
    assert_eq!(error.code(), "P604");
    assert!(
        error
            .message()
            .contains("a later generation, which is missing"),
        "{error}"
    );
    let error = try_write(&two, &layout, &rows).await.unwrap_err();
    assert_eq!(error.code(), "P604");
    // Dropping is the way out without touching files.
    two.drop_view(&cx(), &layout.view_version()).await.unwrap();
    write(&two, &layout, &rows[..1]).await;
    assert_eq!(
        read(&two, &layout, &wanted[..1]).await,
        [Some((rows[0].event, rows[0].value))]
    );
}
