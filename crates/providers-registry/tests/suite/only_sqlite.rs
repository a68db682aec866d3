//! What only a file can meet: other processes, other files, no room.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use provender_core::provider::{ProviderConfig, Revision};
use provender_core::{Error, ErrorKind};

use crate::common::{Backend, by, cx, open, put};

fn config(path: &Path) -> ProviderConfig {
    let mut config = Backend::sqlite().config();
    config.options =
        serde_json::Map::from_iter([("path".to_owned(), path.to_str().unwrap().into())]);
    config
}

async fn refusal(path: &Path) -> Error {
    open(config(path)).await.unwrap_err()
}

#[tokio::test]
async fn missing_folders_are_made_below_the_base_path() {
    let backend = Backend::sqlite();
    let registry = backend.open().await;
    assert!(backend.file().is_file());
    let name = registry.info().display_name;
    assert_eq!(
        name,
        format!("SQLite registry {}", backend.file().display())
    );
}

#[tokio::test]
async fn file_that_is_no_database_is_refused_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    let text = "not a database, but long enough to be looked at as if it were one. ".repeat(99);
    std::fs::write(&path, &text).unwrap();
    let error = refusal(&path).await;
    assert_eq!((error.kind(), error.code()), (ErrorKind::DataLoss, "P303"));
    let expected = format!(
        "the SQLite registry {} is no SQLite database, or a damaged one, while opening it",
        path.display()
    );
    assert_eq!(error.message(), expected);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn database_of_another_program_is_refused_and_kept() {
    let backend = Backend::sqlite();
    std::fs::create_dir(backend.file().parent().unwrap()).unwrap();
    std::fs::write(backend.file(), "").unwrap();
    backend.run("CREATE TABLE songs (title TEXT)").await;
    let before = std::fs::read(backend.file()).unwrap();
    let error = backend.try_open().await.unwrap_err();
    assert_eq!(error.code(), "P203");
    assert!(
        error
            .message()
            .ends_with("is the database of another program"),
        "{error}"
    );
    assert!(
        before == std::fs::read(backend.file()).unwrap(),
        "the file changed"
    );
}

#[tokio::test]
async fn damaged_pages_are_told_by_reads_and_by_check() {
    let backend = Backend::sqlite();
    let registry = backend.open().await;
    for base in 0..50 {
        let body = "x".repeat(2_000);
        let changes = [put(&format!("view_{base}"), 1, body)];
        registry
            .commit(&cx(), Revision(base), &changes, &by("ann"))
            .await
            .unwrap();
    }
    drop(registry);
    backend.closed().await;
    let mut bytes = std::fs::read(backend.file()).unwrap();
    let n_pages = bytes.len() / 4_096;
    for page in 3..n_pages {
        bytes[page * 4_096..page * 4_096 + 600].fill(0xa5);
    }
    std::fs::write(backend.file(), bytes).unwrap();
    // The format and the head may be whole; the objects are not.
    let error = match backend.try_open().await {
        Err(error) => error,
        Ok(registry) => {
            let error = registry.check(&cx()).await.unwrap_err();
            assert_eq!((error.kind(), error.code()), (ErrorKind::DataLoss, "P303"));
            registry.snapshot(&cx(), None).await.unwrap_err()
        }
    };
    assert_eq!((error.kind(), error.code()), (ErrorKind::DataLoss, "P303"));
    assert!(error.message().contains("is damaged"), "{error}");
}

#[tokio::test]
async fn path_below_a_file_and_path_of_a_folder_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = refusal(&file.join("below/registry.db")).await;
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::PermissionDenied, "P902")
    );
    let start = format!(
        "the registry's folder {} cannot be made: ",
        file.join("below").display()
    );
    assert!(error.message().starts_with(&start), "{error}");

    let error = refusal(folder.path()).await;
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::PermissionDenied, "P902")
    );
    assert!(error.message().ends_with("it is a folder"), "{error}");
}

#[tokio::test]
async fn empty_path_and_unknown_option_are_refused() {
    let error = refusal(Path::new("")).await;
    assert_eq!(
        (error.code(), error.message()),
        ("P203", "the registry's option path is empty")
    );
    let mut config = Backend::sqlite().config();
    config.options.insert("paht".to_owned(), "x".into());
    let error = open(config).await.unwrap_err();
    assert_eq!(error.code(), "P203");
    assert!(
        error
            .message()
            .contains("unknown field `paht`, expected `path`"),
        "{error}"
    );
}

#[tokio::test]
async fn lock_held_by_another_program_is_waited_for_and_then_told() {
    let backend = Backend::sqlite();
    let registry = backend.open().await;
    let mut holder = Command::new("sqlite3");
    holder
        .arg(backend.file())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let Ok(mut holder) = holder.spawn() else {
        assert!(std::env::var_os("CI").is_none(), "sqlite3 is not installed");
        eprintln!("SKIPPED: sqlite3 is not installed");
        return;
    };
    let mut input = holder.stdin.take().unwrap();
    let output = holder.stdout.take().unwrap();
    std::io::Write::write_all(&mut input, b"BEGIN EXCLUSIVE;\nSELECT 'locked';\n").unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
    assert_eq!(line, "locked\n");

    // Readers are not held up.
    assert_eq!(registry.revision(&cx()).await.unwrap(), Revision(0));
    let late = cx().with_timeout(Duration::from_millis(700));
    let error = registry
        .commit(&late, Revision(0), &[], &by("ann"))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::DeadlineExceeded, "P905")
    );
    assert!(
        error
            .message()
            .starts_with("the call's deadline passed while committing changes"),
        "{error}"
    );
    let context = cx();
    let changes = [put("a", 1, 1)];
    let author = by("ann");
    let (committed, ()) = tokio::join!(
        registry.commit(&context, Revision(0), &changes, &author),
        async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            drop(input);
        }
    );
    assert_eq!(committed.unwrap(), Revision(1));
    holder.wait().unwrap();
}

/// Where a child process finds its task; without it, the tests below that are such tasks do nothing.
const TASK: &str = "PROVENDER_TEST_REGISTRY_TASK";
const N_CHILD_COMMITS: u32 = 100;

/// Runs one test of this binary as a process of its own.
fn child(test: &str, path: &Path, before: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    let script = format!("{before} exec \"$0\" --exact suite::only_sqlite::{test} --nocapture");
    command
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(TASK, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[tokio::test]
async fn task_of_child_commits_until_it_made_its_share() {
    let Some(path) = std::env::var_os(TASK) else {
        return;
    };
    let registry = open(config(Path::new(&path))).await.unwrap();
    let author = by(&format!("process {}", std::process::id()));
    let mut n_made = 0;
    let mut base = registry.revision(&cx()).await.unwrap();
    while n_made < N_CHILD_COMMITS {
        match registry
            .commit(&cx(), base, &[put("a", 1, n_made)], &author)
            .await
        {
            Ok(made) => {
                n_made += 1;
                base = made;
            }
            Err(error) => {
                assert_eq!(error.code(), "P301", "{error:?}");
                base = registry.revision(&cx()).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn processes_share_one_file_and_lose_nothing() {
    let backend = Backend::sqlite();
    // The children also race to make the registry.
    let children: Vec<_> = (0..4)
        .map(|_| {
            let test = "task_of_child_commits_until_it_made_its_share";
            child(test, &backend.file(), "").spawn().unwrap()
        })
        .collect();
    for running in children {
        let output = tokio::task::spawn_blocking(|| running.wait_with_output())
            .await
            .unwrap();
        let output = output.unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words}");
    }
    let registry = backend.open().await;
    let expected = u64::from(4 * N_CHILD_COMMITS);
    assert_eq!(registry.revision(&cx()).await.unwrap(), Revision(expected));
    let history = registry
        .history(&cx(), Revision(0), usize::MAX)
        .await
        .unwrap();
    let mut shares = std::collections::BTreeMap::new();
    for commit in history {
        *shares.entry(commit.author.name).or_insert(0) += 1;
    }
    assert_eq!(
        shares.into_values().collect::<Vec<u32>>(),
        [N_CHILD_COMMITS; 4]
    );
}

#[tokio::test]
async fn task_of_child_writes_until_there_is_no_room() {
    let Some(path) = std::env::var_os(TASK) else {
        return;
    };
    let registry = open(config(Path::new(&path))).await.unwrap();
    let mut base = registry.revision(&cx()).await.unwrap();
    let error = loop {
        let changes = [put("a", 1, "x".repeat(20_000))];
        match registry.commit(&cx(), base, &changes, &by("ann")).await {
            Ok(made) => base = made,
            Err(error) => break error,
        }
        assert!(base.0 < 1_000, "there was room for everything");
    };
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::ResourceExhausted, "P901")
    );
    assert!(
        error.message().contains("file size limit is full"),
        "{error}"
    );
    // What can still be read is what was committed.
    assert_eq!(registry.revision(&cx()).await.unwrap(), base);
}

#[tokio::test]
async fn full_disk_is_told_and_harms_nothing() {
    let backend = Backend::sqlite();
    // Without the signal ignored, the first write beyond the limit kills the process.
    let before = "trap '' XFSZ; ulimit -f 2048;";
    let task = "task_of_child_writes_until_there_is_no_room";
    let mut command = child(task, &backend.file(), before);
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words}");

    let registry = backend.open().await;
    let newest = registry.revision(&cx()).await.unwrap();
    assert!(newest.0 > 0);
    let history = registry
        .history(&cx(), Revision(0), usize::MAX)
        .await
        .unwrap();
    assert_eq!(u64::try_from(history.len()).unwrap(), newest.0);
    registry.check(&cx()).await.unwrap();
    registry
        .commit(&cx(), newest, &[put("a", 1, 1)], &by("ann"))
        .await
        .unwrap();
}
