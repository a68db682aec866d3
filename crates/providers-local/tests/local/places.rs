//! Where views lie, and how they go.

use provender_core::provider::{OnlineStore, ProviderConfig, Providers, Resources, ViewVersion};
use provender_core::{Context, ErrorKind};
use provender_providers_local::{LocalConfig, LocalOnlineStore, factory};

use crate::support::*;

fn config(base: &std::path::Path, options: serde_json::Value) -> ProviderConfig {
    ProviderConfig {
        scheme: "local".to_owned(),
        block: "online_store".to_owned(),
        options: options.as_object().unwrap().clone(),
        base_path: base.to_owned(),
        resources: Resources::default(),
    }
}

#[tokio::test]
async fn store_opens_by_configuration_beside_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut providers = Providers::default();
    providers.register(factory());
    let store = providers
        .open_online(&cx(), config(folder.path(), serde_json::json!({})))
        .await
        .unwrap();
    assert_eq!(store.info().scheme, "local");
    let capabilities = store.capabilities();
    assert!(capabilities.expiry && capabilities.shared);
    let layout = layout("v");
    let stream = provender_core::BatchStream::from_batches(
        std::sync::Arc::new(layout.write_schema()),
        vec![batch(&layout, &[row("a", 1, 1)])],
    );
    store.write(&cx(), &layout, stream).await.unwrap();
    assert!(data_file(&folder.path().join(".provender/online"), &layout, 1).exists());
    let schema = factory().options_schema();
    assert_eq!(schema["properties"]["path"]["default"], ".provender/online");

    for (options, expected) in [
        (
            serde_json::json!({"paht": "x"}),
            "online_store (type local): unknown field `paht`",
        ),
        (
            serde_json::json!({"map_size": "2 apples"}),
            "its unit is unknown",
        ),
        (serde_json::json!({"path": ""}), "path is empty"),
    ] {
        let error = providers
            .open_online(&cx(), config(folder.path(), options))
            .await
            .unwrap_err();
        assert_eq!(error.code(), "P203");
        assert!(error.message().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn path_that_is_a_file_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = LocalOnlineStore::open(
            &LocalConfig {
                path,
                ..LocalConfig::default()
            },
            &config(folder.path(), serde_json::json!({})),
        )
        .unwrap_err();
        assert_eq!(
            (error.code(), error.kind()),
            ("P902", ErrorKind::PermissionDenied)
        );
        let expected = format!(
            "the online store cannot be kept in {}: it is not a folder",
            file.display()
        );
        assert_eq!(error.message(), expected);
    }
    // It becomes a file after the store was opened.
    let later = folder.path().join("later");
    let (store, layout) = (store(&later), layout("v"));
    std::fs::write(&later, "x").unwrap();
    let error = try_write(&store, &layout, &[row("a", 1, 1)])
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P902", "{error}");
    assert!(error.message().contains("it is not a folder"), "{error}");
}

#[tokio::test]
async fn folder_without_write_permission_is_refused_and_rows_in_it_can_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let layout = layout("v");
    write(&store(folder.path()), &layout, &[row("a", 1, 1)]).await;
    let data = data_file(folder.path(), &layout, 1);
    let permit = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&data, permissions).unwrap();
    };
    permit(0o400);
    if std::fs::File::options().write(true).open(&data).is_ok() {
        eprintln!("skipped: this user may write to everything");
        return;
    }
    let again = store(folder.path());
    assert_eq!(
        read(&again, &layout, &["a".to_owned()]).await,
        [Some((1, 1))]
    );
    let error = try_write(&again, &layout, &[row("a", 2, 2)])
        .await
        .unwrap_err();
    assert_eq!(error.code(), "P902");
    assert!(error.message().contains("v@1"), "{error}");
    permit(0o600);
}

#[tokio::test]
async fn views_are_listed_by_project_whatever_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut expected = Vec::new();
    let long = "long".repeat(100);
    for (project, view, version) in [
        ("p", "b", 2),
        ("p", "b", 1),
        ("p", "a/../x", 1),
        ("p", long.as_str(), 3),
        ("p", "", 1),
        ("other", "c", 1),
        ("..", "d", 1),
    ] {
        let mut layout = layout(view);
        layout.project = project.to_owned();
        layout.version = version;
        write(&store, &layout, &[row("a", 1, i64::from(version))]).await;
        assert_eq!(
            read(&store, &layout, &["a".to_owned()]).await,
            [Some((1, i64::from(version)))]
        );
        expected.push(layout.view_version());
    }
    expected.sort_by(|a, b| (&a.view, a.version).cmp(&(&b.view, b.version)));
    for project in ["p", "other", "..", "nothing"] {
        let found = store.views(&Context::new(project)).await.unwrap();
        let expected: Vec<&ViewVersion> = expected
            .iter()
            .filter(|view| view.project == project)
            .collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{project}");
    }
    // Only one's own folders are there.
    assert!(!folder.path().parent().unwrap().join("d@1").exists());
}

#[tokio::test]
async fn dropped_view_leaves_no_files_and_open_readers_find_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (store(folder.path()), store(folder.path()));
    let (layout, other) = (layout("v"), layout("w"));
    one.drop_view(&cx(), &layout.view_version()).await.unwrap();
    let wanted = keys(&layout, &["a".to_owned()]);
    for round in 0..5 {
        write(&one, &layout, &[row("a", 10 - round, round)]).await;
        write(&one, &other, &[row("a", 1, 1)]).await;
        let reader = reader(&two, &layout).await;
        let found = reader.read(&cx(), &wanted).await.unwrap();
        assert_eq!(answers(&found), [Some((10 - round, round))]);
        two.drop_view(&cx(), &layout.view_version()).await.unwrap();
        assert_eq!(answers(&reader.read(&cx(), &wanted).await.unwrap()), [None]);
        let left: Vec<_> = std::fs::read_dir(folder.path().join("p"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["w@1"]);
        assert_eq!(one.views(&cx()).await.unwrap(), [other.view_version()]);
        // An older row than those before the drop is held, and the same reader finds it.
        write(&one, &layout, &[row("a", 1, 7)]).await;
        let found = reader.read(&cx(), &wanted).await.unwrap();
        assert_eq!(answers(&found), [Some((1, 7))]);
    }
    assert_eq!(read(&one, &other, &["a".to_owned()]).await, [Some((1, 1))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_and_droppers_at_once_never_leave_a_lost_row() {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout("v");
    let tasks: Vec<_> = (0..4)
        .map(|task| {
            let (store, layout) = (store(folder.path()), layout.clone());
            tokio::spawn(async move {
                for round in 0..40 {
                    if task == 0 && round % 4 == 0 {
                        store
                            .drop_view(&cx(), &layout.view_version())
                            .await
                            .unwrap();
                    } else {
                        write(&store, &layout, &[row(format!("k{task}"), round, round)]).await;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let store = store(folder.path());
    let rows: Vec<Row> = (0..4)
        .map(|task| row(format!("k{task}"), 100, task))
        .collect();
    write(&store, &layout, &rows).await;
    let wanted: Vec<String> = (0..4).map(|task| format!("k{task}")).collect();
    let expected: Vec<_> = (0..4).map(|task| Some((100, task))).collect();
    assert_eq!(read(&store, &layout, &wanted).await, expected);
}

#[tokio::test]
async fn view_that_reaches_map_size_says_so_and_goes_on_with_more() {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout("v");
    let wanted = numbered(400);
    let small = LocalOnlineStore::at(folder.path(), Some(1 << 20)).unwrap();
    let mut n_written = 0;
    let error = loop {
        let new = row(&wanted[n_written], 1, n_written as i64).with_label("x".repeat(9_000));
        match try_write(&small, &layout, &[new]).await {
            Ok(_) => n_written += 1,
            Err(error) => break error,
        }
    };
    assert!(n_written > 10);
    assert_eq!(
        (error.code(), error.kind()),
        ("P606", ErrorKind::ResourceExhausted)
    );
    assert!(error.help_text().unwrap().contains("map_size"), "{error}");
    let expected: Vec<_> = (0..400)
        .map(|i| (i < n_written).then_some((1, i as i64)))
        .collect();
    assert_eq!(read(&small, &layout, &wanted).await, expected);
    drop(small);
    let large = store(folder.path());
    write(
        &large,
        &layout,
        &[row(&wanted[n_written], 1, n_written as i64)],
    )
    .await;
    assert_eq!(
        read(&large, &layout, &wanted[n_written..=n_written]).await,
        [Some((1, n_written as i64))]
    );
}
