//! The online store when the machine fails it: no space, no permission, damaged and foreign files; and
//! when two processes use it at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::product::binary;
use crate::visits::{Project, Size, assert_rows_of, end_of, fails, succeeds};

const SIZE: Size = Size {
    n_rows: 4_000,
    n_keys: 2_000,
    n_days: 30,
    n_page_bytes: 40,
};

/// Long before the first row.
const BEGINNING: &str = "2019-01-01";

fn materialized(day: u32) -> Project {
    let project = Project::new(SIZE);
    succeeds(project.incremental(day));
    project
}

/// Everything to the end of a day, done before or not.
fn again(project: &Project, day: u32) -> Command {
    project.command(&["materialize", BEGINNING, &end_of(day)])
}

/// The same command in a process that cannot make a file longer than `n_bytes`.
fn with_file_size_limit(command: &Command, n_bytes: u64) -> Command {
    // The limit is a process's own, so a shell sets it before it becomes the process.
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("ulimit -f {} && exec \"$0\" \"$@\"", n_bytes / 512))
        .arg(command.get_program())
        .args(command.get_args());
    shell
}

#[test]
fn full_disk_fails_the_run_and_keeps_what_was_there() {
    let size = Size {
        n_page_bytes: 1_500,
        ..SIZE
    };
    // A first run, which finds no files.
    let project = Project::new(size);
    let nothing = project.online();
    let first = project.incremental(28);
    fails(with_file_size_limit(&first, 512 << 10), "P901");
    let during = project.online();
    succeeds(first);
    project.verify();
    let all = project.online();
    assert_rows_of(&during, &[&nothing, &all]);

    // A later run, when values are served.
    let project = Project::new(size);
    succeeds(project.incremental(2));
    let before = project.online();
    let (status, n_bytes) = (
        succeeds(project.command(&["status", "--output", "csv"])),
        fs::metadata(project.data_file("last_visit@1"))
            .unwrap()
            .len(),
    );
    let run = project.incremental(28);
    for _ in 0..2 {
        let complaint = fails(with_file_size_limit(&run, n_bytes + (256 << 10)), "P901");
        assert!(
            complaint.contains("last_visit@1 was not materialised"),
            "{complaint}"
        );
        let place = project.data_file("last_visit@1");
        let place = place.parent().unwrap().canonicalize().unwrap();
        assert!(complaint.contains(place.to_str().unwrap()), "{complaint}");
        assert!(
            complaint.contains("what was written before is unharmed"),
            "{complaint}"
        );
    }
    let during = project.online();
    // The view that failed has not moved on.
    let last_end = |status: &str| {
        let mut lines = status.lines();
        let line = lines.find(|line| line.starts_with("last_visit,")).unwrap();
        line.split(',').nth(4).unwrap().to_owned()
    };
    let failed = succeeds(project.command(&["status", "--output", "csv"]));
    assert_eq!(last_end(&failed), last_end(&status));
    assert_eq!(last_end(&failed), end_of(2));
    // With space again the same run succeeds.
    succeeds(run);
    project.verify();
    let after = project.online();
    assert_rows_of(&during, &[&before, &after]);
    assert!(before != after && after == all);
}

#[test]
fn read_only_file_system_is_read_and_not_written() {
    let project = materialized(10);
    let before = project.online();
    let online = project.path().join(".provender/online");
    // In a name space of its own a process may see the folder as a file system that is read-only.
    let read_only = |script: &str, command: &Command| {
        let mut unshare = Command::new("unshare");
        let mount = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\"";
        unshare
            .args(["--map-root-user", "--mount", "sh", "-c"])
            .arg(format!("{mount} && {script}"))
            .arg(&online)
            .arg(command.get_program())
            .args(command.get_args());
        unshare
    };
    let exec = "exec \"$@\"";
    let possible = read_only("true", &project.read()).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        println!("skipped: this user may not mount in a name space of its own");
        return;
    }
    assert!(succeeds(read_only(exec, &project.read())) == before);
    let complaint = fails(read_only(exec, &project.incremental(20)), "P902");
    for view in ["last_visit@1", "visits_lately@1"] {
        assert!(complaint.contains(view), "{complaint}");
    }
    let folder = named(&online);
    assert!(complaint.contains(&folder), "{complaint}");
    assert!(complaint.contains("Read-only file system"), "{complaint}");
    let found = succeeds(read_only(exec, &project.command(&["doctor"])));
    assert!(
        found.contains(&format!("{folder} can only be read")),
        "{found}"
    );
    let verify = project.command(&["verify", "--full"]);
    succeeds(read_only(exec, &verify));
    assert!(project.online() == before);
    succeeds(project.incremental(20));
    project.verify();
    assert!(project.online() != before);
}

/// The user that a process of root becomes, whom files can be denied.
const NOBODY: &str = "65534";

/// A user who may do everything in a project but write to the rows that are online.
enum Stranger {
    /// This one.
    Oneself,
    /// Another one, and the program under a name that others may run.
    Nobody(PathBuf),
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let mut ids = uid.unwrap_or_default().split_whitespace();
    ids.nth(1) == Some("0")
}

/// Runs a script that knows the project's folder as `$0`.
fn shell(script: &str, project: &Project) {
    let mut shell = Command::new("sh");
    shell.args(["-ec", script]).arg(project.path());
    succeeds(shell);
}

impl Stranger {
    /// Denies them the files of rows, and leaves them those that readers lock; `None` if that cannot be.
    fn of(project: &Project) -> Option<Self> {
        let online = "cd \"$0\"/.provender/online";
        if !is_root() {
            let deny = format!("{online} && chmod -R a-w . && chmod u+w shop/*/*/lock.mdb");
            shell(&deny, project);
            return Some(Self::Oneself);
        }
        let setpriv = Command::new("setpriv").arg("--version").output();
        if !setpriv.is_ok_and(|output| output.status.success()) {
            println!("skipped: nothing is denied to root, and there is no setpriv");
            return None;
        }
        // The program's own folder may be closed to others.
        let program = project.path().join("provender");
        if fs::hard_link(binary(), &program).is_err() {
            fs::copy(binary(), &program).unwrap();
        }
        let give = format!(
            "chmod 755 \"$0\" && chown -R {NOBODY} \"$0\" \
             && {online} && chown -R 0 . && chmod -R a+rX . && chown {NOBODY} shop/*/*/lock.mdb"
        );
        shell(&give, project);
        Some(Self::Nobody(program))
    }

    fn command(&self, command: &Command) -> Command {
        let mut other = match self {
            Self::Oneself => Command::new(command.get_program()),
            Self::Nobody(program) => {
                let mut setpriv = Command::new("setpriv");
                let ids = ["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
                setpriv.args(ids).arg("--").arg(program);
                setpriv
            }
        };
        other.args(command.get_args());
        other
    }
}

/// Gives the rights back, so that the folder can be removed.
struct WritableOnDrop<'a>(&'a Project);

impl Drop for WritableOnDrop<'_> {
    fn drop(&mut self) {
        let mut shell = Command::new("sh");
        shell.args(["-c", "chmod -R u+w \"$0\"/.provender/online"]);
        let _ = shell.arg(self.0.path()).status();
    }
}

#[test]
fn files_without_write_permission_are_read_and_not_written() {
    let project = materialized(10);
    let before = project.online();
    let writable = WritableOnDrop(&project);
    let Some(stranger) = Stranger::of(&project) else {
        return;
    };
    assert!(succeeds(stranger.command(&project.read())) == before);
    let folder = named(&project.path().join(".provender/online"));
    let complaint = fails(stranger.command(&project.incremental(20)), "P902");
    assert!(complaint.contains(&folder), "{complaint}");
    assert!(
        complaint.contains("check who may write there"),
        "{complaint}"
    );
    assert!(succeeds(stranger.command(&project.read())) == before);
    // Without the right to lock, a reader could not be protected from writers, so it is told.
    shell(
        "chmod a-w \"$0\"/.provender/online/shop/*/*/lock.mdb && chown 0 \"$0\"/.provender/online/shop/*/*/lock.mdb || true",
        &project,
    );
    let complaint = fails(stranger.command(&project.read()), "P902");
    assert!(complaint.contains(&folder), "{complaint}");
    drop(writable);
    succeeds(project.incremental(20));
    project.verify();
    assert!(project.online() != before);
}

/// The path as messages spell it.
fn named(file: &Path) -> String {
    file.canonicalize().unwrap().display().to_string()
}

/// What reads a view alone.
fn read_view(project: &Project, view: &str) -> Command {
    let mut command = project.command(&["online", "--features", view, "--output", "csv"]);
    command.arg("--entities").arg(project.keys());
    command
}

#[test]
fn damaged_file_is_named_and_is_made_again_by_a_run() {
    let project = materialized(20);
    let before = project.online();
    let others = succeeds(read_view(&project, "visits_lately"));
    let sound = fs::read(project.data_file("last_visit@1")).unwrap();
    let truncated = sound[..sound.len() / 3].to_vec();
    let overwritten: Vec<u8> = (0..sound.len()).map(|at| (at * 7 % 251) as u8).collect();
    let emptied = Vec::new();
    for damaged in [truncated, overwritten, emptied] {
        let file = project.data_file("last_visit@1");
        fs::write(&file, &damaged).unwrap();
        let start = format!("{} is damaged: ", named(&file));
        for command in [
            project.read(),
            read_view(&project, "last_visit:seq"),
            again(&project, 20),
        ] {
            let complaint = fails(command, "P604");
            assert!(complaint.contains(&start), "{complaint}");
            assert!(
                complaint.contains("run `provender materialize` again"),
                "{complaint}"
            );
        }
        // Nobody made it worse, and the other view is as it was.
        assert!(fs::read(&file).unwrap() == damaged);
        assert!(succeeds(read_view(&project, "visits_lately")) == others);
        // What the message says helps.
        fs::remove_dir_all(project.online_folder("last_visit@1")).unwrap();
        succeeds(again(&project, 20));
        project.verify();
        assert!(project.online() == before);
    }
}

#[test]
fn files_of_other_formats_are_refused_and_kept() {
    let project = materialized(20);
    let before = succeeds(read_view(&project, "last_visit"));
    let file = project.data_file("last_visit@1");
    let sound = fs::read(&file).unwrap();
    for (mark, what) in [
        (b"format9", "it has format 9, written by provender "),
        (b"format0", "it has format 0, written by provender "),
    ] {
        let mut foreign = sound.clone();
        let mut n_marks = 0;
        for at in 0..foreign.len() - mark.len() {
            if foreign[at..].starts_with(b"format1") {
                foreign[at..at + mark.len()].copy_from_slice(mark);
                n_marks += 1;
            }
        }
        assert!(n_marks > 0);
        fs::write(&file, &foreign).unwrap();
        for command in [project.read(), again(&project, 20), project.incremental(25)] {
            let complaint = fails(command, "P605");
            assert!(complaint.contains(&named(&file)), "{complaint}");
            assert!(complaint.contains(what), "{complaint}");
            assert!(complaint.contains("update this program"), "{complaint}");
        }
        assert!(fs::read(&file).unwrap() == foreign);
    }
    fs::write(&file, &sound).unwrap();
    assert!(succeeds(read_view(&project, "last_visit")) == before);
    // The run that failed for one view went on for the other.
    succeeds(project.incremental(25));
    project.verify();
}

#[test]
fn readers_answer_rightly_while_another_process_materialises() {
    let days = [5, 8, 11, 14, 17, 20, 23, 26];
    // The states in a project that nobody reads meanwhile.
    let alone = Project::new(SIZE);
    let mut states = vec![alone.online()];
    for day in days {
        succeeds(alone.incremental(day));
        states.push(alone.online());
    }
    let project = Project::new(SIZE);
    // One reader that asks for all keys many times over, and stays for several runs.
    let keys = fs::read_to_string(project.keys()).unwrap();
    let (head, keys) = keys.split_once('\n').unwrap();
    let n_times = 100;
    let many = project.path().join("many.csv");
    fs::write(&many, format!("{head}\n{}", keys.repeat(n_times))).unwrap();
    let mut long = project.command(&["online", "--service", "customers", "--output", "csv"]);
    long.arg("--entities").arg(&many);
    let (answers, long) = thread::scope(|scope| {
        let runs = scope.spawn(|| {
            for day in days {
                succeeds(project.incremental(day));
            }
        });
        let long = scope.spawn(|| succeeds(long));
        let mut answers = Vec::new();
        loop {
            let is_last = runs.is_finished();
            answers.push(project.online());
            if is_last {
                break;
            }
        }
        runs.join().unwrap();
        (answers, long.join().unwrap())
    });
    let states: Vec<&str> = states.iter().map(String::as_str).collect();
    for answer in &answers {
        assert_rows_of(answer, &states);
    }
    assert!(answers.last().unwrap() == states.last().unwrap());
    let (head, rows) = long.split_once('\n').unwrap();
    let rows: Vec<&str> = rows.lines().collect();
    assert_eq!(rows.len(), n_times * keys.lines().count());
    for part in rows.chunks(keys.lines().count()) {
        assert_rows_of(&format!("{head}\n{}\n", part.join("\n")), &states);
    }
    println!(
        "{} answers while {} runs went on",
        answers.len(),
        days.len()
    );
    project.verify();
}
