//! Several processes on one store: what was acknowledged is there, whoever is killed when.
//!
//! The processes are this test's own binary again, told by an environment variable what to do.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use provender_core::provider::OnlineStore;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::*;

const ROLE: &str = "PROVENDER_LOCAL_TEST_ROLE";

/// What another process does; not a test by itself.
#[test]
fn role() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let mut words = role.split('|');
    let mut word = || words.next().unwrap().to_owned();
    let (name, root, log) = (word(), PathBuf::from(word()), PathBuf::from(word()));
    let seed: u64 = word().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        match name.as_str() {
            "write" => write_forever(&root, &log, seed).await,
            "compact" => compact_forever(&root, seed).await,
            "fill" => fill_until_refused(&root, &log).await,
            "drop" => {
                let store = store(&root);
                store
                    .drop_view(&cx(), &layout("v").view_version())
                    .await
                    .unwrap();
            }
            "drop-and-write" => {
                let store = store(&root);
                store
                    .drop_view(&cx(), &layout("v").view_version())
                    .await
                    .unwrap();
                write(&store, &layout("v"), &[row("a", 1, 1)]).await;
            }
            other => panic!("{other}"),
        }
    });
}

fn command(name: &str, root: &Path, log: &Path, seed: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "processes::role",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(
            ROLE,
            format!("{name}|{}|{}|{seed}", root.display(), log.display()),
        )
        .stdout(Stdio::null());
    command
}

fn spawn(name: &str, root: &Path, log: &Path, seed: u64) -> Child {
    command(name, root, log, seed).spawn().unwrap()
}

/// The rows of a writer's n-th write.
fn rows_of(seed: u64, n: u64) -> Vec<Row> {
    let mut random = StdRng::seed_from_u64(seed << 32 | n);
    (0..random.random_range(1..60))
        .map(|i| {
            let key = format!("k{}", random.random_range(0..300));
            // Times that no two rows share, so that who wins does not hang on who came first.
            let event = random.random_range(0..1_000_000_i64) * 100_000
                + i64::try_from(seed * 1_000 + i).unwrap();
            row(key, event, event).with_label("w".repeat(random.random_range(0..3_000)))
        })
        .collect()
}

async fn write_forever(root: &Path, log: &Path, seed: u64) {
    let store = store(root);
    let mut log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(log)
        .unwrap();
    for n in 0.. {
        write(&store, &layout("v"), &rows_of(seed, n)).await;
        // Acknowledged: whoever reads this line may count on the rows.
        writeln!(log, "{n}").unwrap();
    }
}

async fn compact_forever(root: &Path, seed: u64) {
    let store = store(root);
    let mut random = StdRng::seed_from_u64(seed);
    let filler = layout("v");
    loop {
        // Rows that make a large file, and go again.
        let some: Vec<String> = (0..600).map(|i| format!("filler-{i}")).collect();
        let rows: Vec<Row> = some
            .iter()
            .map(|key| row(key, 1, 1).with_label("f".repeat(random.random_range(4_000..9_000))))
            .collect();
        write(&store, &filler, &rows).await;
        store
            .delete(&cx(), &filler, keys(&filler, &some))
            .await
            .unwrap();
        store
            .compact_if_sparse(&cx(), &filler.view_version())
            .await
            .unwrap();
    }
}

async fn fill_until_refused(root: &Path, log: &Path) {
    let store = store(root);
    for n in 0_i64.. {
        let new = row(format!("k{n}"), n, n).with_label("x".repeat(20_000));
        if let Err(error) = try_write(&store, &layout("v"), &[new]).await {
            let again = read(&store, &layout("v"), &["k0".to_owned()]).await;
            std::fs::write(log, format!("{n}\n{}\n{error}\n{again:?}", error.code())).unwrap();
            return;
        }
    }
}

fn n_acknowledged(log: &Path) -> u64 {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    // A line without its end was being written when the writer was killed.
    text.matches('\n').count() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_writers_and_compactors_lose_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let mut random = StdRng::seed_from_u64(11);
    let layout = layout("v");
    let store = store(&root);
    let reader = reader(&store, &layout).await;
    let wanted: Vec<String> = (0..300).map(|i| format!("k{i}")).collect();
    // The rows of every write that was acknowledged, and of the one write that each killed writer may
    // or may not have made.
    let mut acknowledged = BTreeMap::<String, i64>::new();
    let mut possible = BTreeMap::<String, Vec<i64>>::new();
    let mut seed = 0;
    for round in 0..12 {
        let logs: Vec<(u64, PathBuf)> = (0..3)
            .map(|_| {
                seed += 1;
                (seed, folder.path().join(format!("log-{seed}")))
            })
            .collect();
        let mut children: Vec<Child> = logs
            .iter()
            .map(|(seed, log)| spawn("write", &root, log, *seed))
            .collect();
        children.push(spawn("compact", &root, Path::new("none"), round));
        // Everybody has started to work, and then each is killed at some moment of it.
        while logs.iter().any(|(_, log)| n_acknowledged(log) == 0) {
            for child in &mut children {
                assert_eq!(child.try_wait().unwrap(), None, "a process ended by itself");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let mut before = BTreeMap::new();
        for child in &mut children {
            for _ in 0..random.random_range(0..20) {
                let found = reader.read(&cx(), &keys(&layout, &wanted)).await.unwrap();
                assert_eq!(found.views[0].unreadable, Vec::new());
                for (key, found) in wanted.iter().zip(answers(&found)) {
                    let Some((event, value)) = found else {
                        continue;
                    };
                    assert_eq!(event, value);
                    // Newest wins, so what is read of a key only ever gets newer.
                    let last = before.insert(key.clone(), event);
                    assert!(last.is_none_or(|last| last <= event), "{key}");
                }
                tokio::time::sleep(Duration::from_micros(random.random_range(0..3_000))).await;
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }
        for (seed, log) in &logs {
            let n_acknowledged = n_acknowledged(log);
            for n in 0..n_acknowledged {
                for row in rows_of(*seed, n) {
                    let newest = acknowledged.entry(row.key).or_insert(i64::MIN);
                    *newest = row.event.max(*newest);
                }
            }
            for row in rows_of(*seed, n_acknowledged) {
                possible.entry(row.key).or_default().push(row.event);
            }
        }
        let found = answers(&reader.read(&cx(), &keys(&layout, &wanted)).await.unwrap());
        for (key, found) in wanted.iter().zip(found) {
            let found = found.map(|(event, _)| event);
            let least = acknowledged.get(key).copied();
            let unsure = possible.get(key).into_iter().flatten().copied();
            let fits = found == least
                || unsure
                    .into_iter()
                    .any(|e| Some(e) == found && found > least);
            assert!(
                fits,
                "round {round}: {key} is {found:?}, acknowledged is {least:?}"
            );
            // What was seen to be there is there from now on.
            if let Some(found) = found {
                acknowledged.insert(key.clone(), found);
            }
        }
        provender_core::provider::Provider::check(&store, &cx())
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn view_dropped_by_another_process_is_gone_and_can_be_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    let (store, layout) = (store(&root), layout("v"));
    let wanted = keys(&layout, &["a".to_owned()]);
    let reader = reader(&store, &layout).await;
    for round in 0..4 {
        write(&store, &layout, &[row("a", 100, round)]).await;
        let found = answers(&reader.read(&cx(), &wanted).await.unwrap());
        assert_eq!(found, [Some((100, round))]);
        let (name, expected) = if round % 2 == 0 {
            ("drop", None)
        } else {
            ("drop-and-write", Some((1, 1)))
        };
        assert!(
            spawn(name, &root, Path::new("none"), 0)
                .wait()
                .unwrap()
                .success()
        );
        let found = answers(&reader.read(&cx(), &wanted).await.unwrap());
        assert_eq!(found, [expected]);
        assert_eq!(root.join("p").join("v@1").exists(), expected.is_some());
    }
}

#[tokio::test]
async fn file_size_limit_is_answered_as_no_space_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (root, log) = (folder.path().join("store"), folder.path().join("log"));
    let fill = command("fill", &root, &log, 0);
    // The limit is a process's own, so a shell sets it before it becomes the process.
    let mut shell = Command::new("bash");
    shell
        .args(["-c", "trap '' XFSZ; ulimit -f 2000; exec \"$0\" \"$@\""])
        .arg(fill.get_program())
        .args(fill.get_args())
        .envs(
            fill.get_envs()
                .filter_map(|(key, value)| Some((key, value?))),
        )
        .stdout(Stdio::null());
    assert!(shell.status().unwrap().success());
    let log = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    let n_written: i64 = lines[0].parse().unwrap();
    assert!(n_written > 20, "{log}");
    assert_eq!(lines[1], "P901", "{log}");
    assert!(
        lines[2].contains("v@1") && lines[2].contains("was written before is unharmed"),
        "{log}"
    );
    assert_eq!(lines[3], "[Some((0, 0))]", "{log}");
    // Without the limit it goes on.
    let (store, layout) = (store(&root), layout("v"));
    write(&store, &layout, &[row("more", 1, 1)]).await;
    let wanted: Vec<String> = (0..=n_written).map(|n| format!("k{n}")).collect();
    let expected: Vec<_> = (0..=n_written)
        .map(|n| (n < n_written).then_some((n, n)))
        .collect();
    assert_eq!(read(&store, &layout, &wanted).await, expected);
}
