//! Files that are not what they were: never a crash, never a wrong row, nothing made worse.

use std::path::{Path, PathBuf};

use provender_core::ErrorKind;
use provender_core::provider::{OnlineStore, Provider};
use provender_core::request::ViewLayout;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::*;

const PAGE: usize = 4096;

/// A closed store of one view whose trees have branches, overflow pages and free pages.
struct Sound {
    folder: tempfile::TempDir,
    layout: ViewLayout,
    data: PathBuf,
    bytes: Vec<u8>,
    wanted: Vec<String>,
    expected: Vec<Option<(i64, i64)>>,
}

impl Sound {
    async fn make(n_rows: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layout = layout("v");
        let wanted = numbered(n_rows);
        let mut expected: Vec<Option<(i64, i64)>> = Vec::new();
        {
            let store = store(folder.path());
            for round in 0..3_i64 {
                let mut rows = Vec::new();
                for (i, key) in wanted.iter().enumerate() {
                    let i = i as i64;
                    let n_label = if i % 50 == 0 { 9_000 } else { i % 200 } as usize;
                    rows.push(row(key, round, i).with_label("y".repeat(n_label)));
                    if round == 2 {
                        expected.push(Some((2, i)));
                    }
                }
                for some in rows.chunks(500) {
                    write(&store, &layout, some).await;
                }
            }
            let n_gone = n_rows / 10;
            store
                .delete(&cx(), &layout, keys(&layout, &wanted[..n_gone]))
                .await
                .unwrap();
            expected[..n_gone].fill(None);
        }
        let data = data_file(folder.path(), &layout, 1);
        let bytes = std::fs::read(&data).unwrap();
        Self {
            folder,
            layout,
            data,
            bytes,
            wanted,
            expected,
        }
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Opens the file as it is now and reads every key: the error, or how many rows were not answered
    /// as they should be.
    async fn read(&self) -> Result<usize, provender_core::Error> {
        let rows = try_read(&store(self.root()), &self.layout, &self.wanted).await?;
        let unreadable: Vec<usize> = rows.views[0]
            .unreadable
            .iter()
            .map(|(row, _)| *row)
            .collect();
        let mut n_lost = 0;
        for (index, (found, expected)) in answers(&rows).iter().zip(&self.expected).enumerate() {
            if found != expected {
                // A row may be lost, or said to be unreadable; it is never another one.
                assert_eq!(*found, None, "key {index}");
                n_lost += usize::from(!unreadable.contains(&index));
            }
        }
        Ok(n_lost)
    }

    /// Everything else that could touch bad pages.
    async fn use_it(&self) {
        let store = store(self.root());
        let checked = store.check(&cx()).await;
        let rows: Vec<Row> = self.wanted.iter().map(|key| row(key, 9, 9)).collect();
        let written = try_write(&store, &self.layout, &rows).await;
        if checked.is_ok() {
            written.unwrap();
            let found = read(&store, &self.layout, &self.wanted).await;
            assert_eq!(found, vec![Some((9, 9)); rows.len()]);
        }
        let some = keys(&self.layout, &self.wanted[..50]);
        let _ = store.delete(&cx(), &self.layout, some).await;
        let _ = store
            .compact_if_sparse(&cx(), &self.layout.view_version())
            .await;
        store
            .drop_view(&cx(), &self.layout.view_version())
            .await
            .unwrap();
        assert_eq!(store.views(&cx()).await.unwrap(), Vec::new());
    }

    fn put(&self, bytes: &[u8]) {
        let folder = self.data.parent().unwrap();
        let _ = std::fs::remove_dir_all(folder.parent().unwrap());
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(&self.data, bytes).unwrap();
    }

    fn assert_damaged(&self, error: &provender_core::Error) {
        assert_eq!(
            (error.code(), error.kind()),
            ("P604", ErrorKind::DataLoss),
            "{error:?}"
        );
        let start = format!(
            "{} is damaged: ",
            self.data.canonicalize().unwrap().display()
        );
        assert!(error.message().starts_with(&start), "{error}");
        let help = error.help_text().unwrap();
        assert!(
            help.contains("provender materialize") && help.contains("v@1"),
            "{help}"
        );
    }
}

#[tokio::test]
async fn sound_file_is_found_sound() {
    let sound = Sound::make(3_000).await;
    assert_eq!(sound.read().await.unwrap(), 0);
    let findings = store(sound.root()).check(&cx()).await.unwrap();
    assert_eq!(findings.len(), 1);
    assert!(
        findings[0].starts_with("1 view with 2700 rows and "),
        "{findings:?}"
    );
    assert!(findings[0].ends_with(", all sound"), "{findings:?}");
}

#[tokio::test]
async fn every_state_of_a_living_file_is_found_sound() {
    let folder = tempfile::tempdir().unwrap();
    let (store, layout) = (store(folder.path()), layout("v"));
    let mut random = StdRng::seed_from_u64(3);
    let mut model = Model::default();
    for round in 0..120 {
        let rows: Vec<Row> = (0..random.random_range(1..400))
            .map(|_| {
                let n_label = *[0, 3, 40, 700, 1_900, 5_000, 30_000]
                    .get(random.random_range(0..7))
                    .unwrap();
                let n_key = *[1, 8, 200, 440].get(random.random_range(0..4)).unwrap();
                let key = format!("{}{}", "k".repeat(n_key), random.random_range(0..500));
                row(key, round, round).with_label("z".repeat(n_label))
            })
            .collect();
        for row in &rows {
            model.write(row);
        }
        write(&store, &layout, &rows).await;
        if round % 3 == 0 {
            let from = random.random_range(0..model.0.len());
            let gone: Vec<String> = model.0.keys().skip(from).take(150).cloned().collect();
            store
                .delete(&cx(), &layout, keys(&layout, &gone))
                .await
                .unwrap();
            for key in &gone {
                model.0.remove(key);
            }
        }
        store.check(&cx()).await.unwrap();
        if round % 40 == 39 {
            store
                .compact_if_sparse(&cx(), &layout.view_version())
                .await
                .unwrap();
            agrees(&store, &layout, &model).await;
        }
    }
}

#[tokio::test]
async fn file_cut_short_at_any_length_is_an_error_that_changes_nothing() {
    let sound = Sound::make(2_000).await;
    let mut random = StdRng::seed_from_u64(1);
    let n_bytes = sound.bytes.len();
    let mut lengths = vec![
        0,
        1,
        100,
        152,
        PAGE,
        PAGE + 152,
        2 * PAGE - 1,
        2 * PAGE,
        n_bytes - 1,
    ];
    lengths.extend((1..40).map(|n| n_bytes - n * PAGE));
    lengths.extend((0..60).map(|_| random.random_range(0..n_bytes)));
    let mut n_damaged = 0;
    for length in lengths {
        sound.put(&sound.bytes[..length]);
        match sound.read().await {
            // Pages at the end that hold nothing are no loss.
            Ok(n_lost) => assert_eq!(n_lost, 0, "cut to {length}"),
            Err(error) => {
                n_damaged += 1;
                sound.assert_damaged(&error);
                let written =
                    try_write(&store(sound.root()), &sound.layout, &[row("a", 1, 1)]).await;
                sound.assert_damaged(&written.unwrap_err());
                let checked = store(sound.root()).check(&cx()).await;
                sound.assert_damaged(&checked.unwrap_err());
                assert!(std::fs::read(&sound.data).unwrap() == sound.bytes[..length]);
            }
        }
    }
    assert!(n_damaged > 60, "{n_damaged}");
    // Put back, it is as it was.
    sound.put(&sound.bytes);
    assert_eq!(sound.read().await.unwrap(), 0);
}

#[tokio::test]
async fn overwritten_pages_are_an_error_or_of_no_matter_and_never_a_crash() {
    let sound = Sound::make(2_000).await;
    let mut random = StdRng::seed_from_u64(2);
    let n_pages = sound.bytes.len() / PAGE;
    let mut n_damaged = 0;
    for round in 0..600 {
        let page = random.random_range(0..n_pages);
        let mut bytes = sound.bytes.clone();
        let content = &mut bytes[page * PAGE..(page + 1) * PAGE];
        match round % 6 {
            0 => random.fill(content),
            1 => content.fill(0),
            2 => content.fill(0xFF),
            3 => {
                let from = random.random_range(0..n_pages) * PAGE;
                content.copy_from_slice(&sound.bytes[from..from + PAGE]);
            }
            // The header and what points to nodes.
            4 => {
                let at = random.random_range(0..64);
                content[at] ^= 1 << random.random_range(0..8);
            }
            _ => {
                let at = random.random_range(0..PAGE - 16);
                random.fill(&mut content[at..at + 16]);
            }
        }
        sound.put(&bytes);
        match sound.read().await {
            Ok(_) => {}
            Err(error) if error.code() == "P605" => {}
            Err(error) => {
                n_damaged += 1;
                sound.assert_damaged(&error);
                assert!(
                    std::fs::read(&sound.data).unwrap() == bytes,
                    "round {round}"
                );
            }
        }
        sound.use_it().await;
    }
    assert!(n_damaged > 100, "{n_damaged}");
}

#[tokio::test]
async fn damaged_value_is_answered_as_unreadable_and_mended_by_any_write() {
    let sound = Sound::make(100).await;
    // The key of one row, and the bytes of its event time after the header.
    let key = b"key-000051";
    // Every copy of the row, since older states of it may still lie in free pages; not the key in the
    // branch above it, which no row follows.
    let mut bytes = sound.bytes.clone();
    let mut n_found = 0;
    for start in 0..bytes.len() - 64 {
        let row = start + key.len();
        if bytes[start..].starts_with(key) && bytes[row] == 1 && bytes[row + 11..row + 18] == [0; 7]
        {
            bytes[row + 16] ^= 0x40;
            n_found += 1;
        }
    }
    assert!(n_found > 0);
    sound.put(&bytes);
    let store = store(sound.root());
    let rows = try_read(&store, &sound.layout, &sound.wanted)
        .await
        .unwrap();
    let unreadable = &rows.views[0].unreadable;
    assert_eq!(unreadable.len(), 1, "{unreadable:?}");
    assert_eq!(unreadable[0].0, 51);
    let mut expected = sound.expected.clone();
    expected[51] = None;
    assert_eq!(answers(&rows), expected);
    // Its time was flipped far into the future, but nobody can read it, so it wins over nothing.
    let summary = write(&store, &sound.layout, &[row(&sound.wanted[51], 1, 77)]).await;
    assert_eq!(summary.n_applied, 1);
    expected[51] = Some((1, 77));
    assert_eq!(read(&store, &sound.layout, &sound.wanted).await, expected);
}

#[tokio::test]
async fn other_formats_are_refused_and_not_touched() {
    let sound = Sound::make(100).await;
    let replaced = |from: &[u8], to: &[u8]| {
        let mut bytes = sound.bytes.clone();
        let mut n_found = 0;
        for start in 0..bytes.len() - from.len() {
            if bytes[start..].starts_with(from) {
                bytes[start..start + to.len()].copy_from_slice(to);
                n_found += 1;
            }
        }
        assert!(n_found > 0);
        bytes
    };
    let newer_lmdb = {
        let mut bytes = sound.bytes.clone();
        bytes[20] = 2;
        bytes[PAGE + 20] = 2;
        bytes
    };
    for (bytes, expected) in [
        (
            replaced(b"format1", b"format7"),
            "it has format 7, written by provender ",
        ),
        (
            replaced(b"format1", b"format0"),
            "it has format 0, written by provender ",
        ),
        (
            newer_lmdb,
            "its LMDB files have version 2, and this program reads version 1",
        ),
    ] {
        sound.put(&bytes);
        for error in [
            sound.read().await.unwrap_err(),
            try_write(&store(sound.root()), &sound.layout, &[row("a", 1, 1)])
                .await
                .unwrap_err(),
            store(sound.root())
                .drop_view(&cx(), &sound.layout.view_version())
                .await
                .unwrap_err(),
        ] {
            assert_eq!(
                (error.code(), error.kind()),
                ("P605", ErrorKind::FailedPrecondition)
            );
            assert!(error.message().contains(expected), "{error}");
            assert!(
                error.help_text().unwrap().contains("update this program"),
                "{error}"
            );
        }
        assert!(std::fs::read(&sound.data).unwrap() == bytes);
    }
}

#[tokio::test]
async fn missing_data_file_is_an_error_and_is_not_made_anew() {
    let sound = Sound::make(100).await;
    std::fs::remove_file(&sound.data).unwrap();
    let error = sound.read().await.unwrap_err();
    assert_eq!(error.code(), "P604");
    assert!(
        error
            .message()
            .ends_with("data.mdb is damaged: it is missing"),
        "{error}"
    );
    assert!(!sound.data.exists());
    // The way out that the help names.
    std::fs::remove_dir_all(sound.data.parent().unwrap().parent().unwrap()).unwrap();
    assert_eq!(sound.read().await.unwrap(), 90);
    write(&store(sound.root()), &sound.layout, &[row("a", 1, 1)]).await;
}

#[tokio::test]
async fn garbage_in_the_lock_file_of_a_closed_store_is_of_no_matter() {
    let sound = Sound::make(100).await;
    let lock = sound.data.with_file_name("lock.mdb");
    for garbage in [vec![], vec![0xAB; 100], vec![0xFF; 500_000]] {
        std::fs::write(&lock, garbage).unwrap();
        assert_eq!(sound.read().await.unwrap(), 0);
    }
}

#[tokio::test]
async fn files_of_others_are_left_alone() {
    let sound = Sound::make(100).await;
    let view = sound.data.parent().unwrap().parent().unwrap();
    std::fs::write(view.join("notes.txt"), "mine").unwrap();
    std::fs::create_dir(sound.root().join("p").join("not a view")).unwrap();
    let store = store(sound.root());
    assert_eq!(sound.read().await.unwrap(), 0);
    assert_eq!(
        store.views(&cx()).await.unwrap(),
        [sound.layout.view_version()]
    );
    // A folder that holds no generation but something else is not replaced.
    std::fs::remove_dir_all(sound.data.parent().unwrap()).unwrap();
    drop(store);
    let error = try_write(
        &crate::support::store(sound.root()),
        &sound.layout,
        &[row("a", 1, 1)],
    )
    .await
    .unwrap_err();
    assert_eq!(error.code(), "P902", "{error}");
    assert_eq!(
        std::fs::read_to_string(view.join("notes.txt")).unwrap(),
        "mine"
    );
}
