//! A small project whose rows come day by day and partly late, and what its commands say.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::product::{binary, provender};

const DEFINITIONS: &str = "
entities: [{name: customer, join_keys: [{name: customer, type: string}]}]
sources:
  - name: visits
    table: visits
    timestamp: at
    created_timestamp: known_at
    tie_breakers: [seq]
feature_views:
  - name: last_visit
    entities: [customer]
    source: visits
    # Longer than all that is asked, so that values are served whenever the test is run.
    ttl: 36500d
    features:
      - {name: page, type: string}
      - {name: amount, type: float64}
      - {name: seq, type: int64}
  - name: visits_lately
    entities: [customer]
    source: visits
    aggregations:
      - {feature: n_visits, function: count, window: 1d}
      - {feature: total, function: sum, column: seq, window: 3d}
      - {feature: greatest, function: max, column: amount, window: 2d}
feature_services: [{name: customers, features: [last_visit, visits_lately]}]
";

/// The columns of each view in what [`Project::online`] answers.
const COLUMNS_OF_VIEWS: [std::ops::Range<usize>; 2] = [1..4, 4..7];

/// How much the project holds.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub n_rows: usize,
    pub n_keys: usize,
    pub n_days: u32,
    /// Bytes of each row's text.
    pub n_page_bytes: usize,
}

/// A project whose definitions are applied, with nothing online.
pub struct Project {
    folder: tempfile::TempDir,
}

/// The end of a day, counted from the one before the first row.
pub fn end_of(day: u32) -> String {
    time_of(day * 24 * 60)
}

/// Minutes since 2020 began, within its first months.
fn time_of(minutes: u32) -> String {
    let (mut day, month_lengths) = (minutes / (24 * 60), [31, 29, 31, 30, 31]);
    let mut month = 0;
    while day >= month_lengths[month] {
        day -= month_lengths[month];
        month += 1;
    }
    let (hour, minute) = (minutes / 60 % 24, minutes % 60);
    format!(
        "2020-{:02}-{:02}T{hour:02}:{minute:02}:00Z",
        month + 1,
        day + 1
    )
}

impl Project {
    /// The project of a size; one size makes one project, always the same.
    pub fn new(size: Size) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let project = Self { folder };
        fs::create_dir(project.path().join("features")).unwrap();
        fs::write(project.path().join("provender.yaml"), "project: shop\n").unwrap();
        fs::write(project.path().join("features/all.yaml"), DEFINITIONS).unwrap();
        let rows = project.path().join("visits.csv");
        fs::write(&rows, rows_of(size)).unwrap();
        let mut keys = "customer\n".to_owned();
        // Some keys never have a row.
        for key in 0..size.n_keys + 5 {
            writeln!(keys, "c{key:05}").unwrap();
        }
        fs::write(project.keys(), keys).unwrap();
        provender(project.path(), ["import", "visits", rows.to_str().unwrap()]);
        provender(project.path(), ["apply", "--yes"]);
        project
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A file of all keys.
    pub fn keys(&self) -> PathBuf {
        self.path().join("keys.csv")
    }

    /// The command, its output caught.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .arg("-C")
            .arg(self.path())
            .args(args)
            .env_remove("PROVENDER_ENV")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn incremental(&self, day: u32) -> Command {
        self.command(&["materialize-incremental", "--end", &end_of(day)])
    }

    /// Reads all keys, as CSV.
    pub fn read(&self) -> Command {
        let mut command = self.command(&["online", "--service", "customers", "--output", "csv"]);
        command.arg("--entities").arg(self.keys());
        command
    }

    /// What is online of all keys, as CSV.
    pub fn online(&self) -> String {
        succeeds(self.read())
    }

    /// Compares all keys of all views with the offline store; panics unless all agree.
    #[track_caller]
    pub fn verify(&self) {
        let told = succeeds(self.command(&["verify", "--full"]));
        for view in ["last_visit@1", "visits_lately@1"] {
            let mut lines = told.lines();
            let line = lines.find(|line| line.starts_with(view));
            let line = line.unwrap_or_else(|| panic!("nothing of {view}: {told}"));
            assert!(line.contains(" 100.00% of "), "{told}");
        }
    }

    /// The folder that holds the rows of a view online.
    pub fn online_folder(&self, view: &str) -> PathBuf {
        self.path().join(".provender/online/shop").join(view)
    }

    /// The file that holds the rows of a view online.
    pub fn data_file(&self, view: &str) -> PathBuf {
        let generations = fs::read_dir(self.online_folder(view)).unwrap();
        let files: Vec<PathBuf> = generations
            .map(|generation| generation.unwrap().path().join("data.mdb"))
            .filter(|file| file.exists())
            .collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }
}

/// Rows of all days, some of which became known days later.
fn rows_of(size: Size) -> String {
    let mut rng = StdRng::seed_from_u64(7);
    let mut rows = "customer,at,known_at,seq,page,amount\n".to_owned();
    let n_minutes = size.n_days * 24 * 60;
    for seq in 0..size.n_rows {
        let key = rng.random_range(0..size.n_keys);
        // Whole hours make ties and edges of windows.
        let at = rng.random_range(1..n_minutes) / 60 * 60;
        let late = match rng.random_range(0..4) {
            0 => rng.random_range(0..4 * 24 * 60),
            _ => 0,
        };
        let (at, known_at) = (time_of(at), time_of(at + late));
        let amount = f64::from(rng.random_range(-9_999..99_999_i32)) / 100.0;
        let page = format!("/{}{}", seq % 97, "x".repeat(size.n_page_bytes));
        writeln!(rows, "c{key:05},{at},{known_at},{seq},{page},{amount}").unwrap();
    }
    rows
}

/// Runs a command and answers what it printed; panics with all of its output if it fails.
#[track_caller]
pub fn succeeds(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", told(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must fail with an error, and answers what it complained of.
#[track_caller]
pub fn fails(mut command: Command, code: &str) -> String {
    let output = command.output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(1),
        "{command:?}: {}",
        told(&output)
    );
    let complaint = String::from_utf8(output.stderr).unwrap();
    let start = format!("error[{code}]: ");
    assert!(complaint.contains(&start), "{command:?}: {complaint}");
    complaint
}

pub fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    format!("{}\n{stdout}\n{stderr}", output.status)
}

/// Panics unless each key's row of each view is that of one of the states. A run that is under way
/// replaces rows one view and some keys at a time, but never a part of a row.
#[track_caller]
pub fn assert_rows_of(answer: &str, states: &[&str]) {
    let states: Vec<Vec<&str>> = states.iter().map(|state| state.lines().collect()).collect();
    let answer: Vec<&str> = answer.lines().collect();
    for state in &states {
        assert_eq!(answer.len(), state.len());
    }
    for (line, answered) in answer.iter().enumerate() {
        let cells: Vec<&str> = answered.split(',').collect();
        for columns in COLUMNS_OF_VIEWS {
            let known: BTreeSet<Vec<&str>> = states
                .iter()
                .map(|state| state[line].split(',').collect::<Vec<_>>())
                .filter(|known| known[0] == cells[0])
                .map(|known| known[columns.clone()].to_vec())
                .collect();
            assert!(
                known.contains(&cells[columns.clone()]),
                "{answered}: columns {columns:?} are none of {known:?}"
            );
        }
    }
}
