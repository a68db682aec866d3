//! What comes out: JSON lines in a file, and tables.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::Outcome;
use crate::measure::Sample;

/// From this share of the cores on, other processes make a measurement doubtful.
const NOISE: f64 = 0.1;

/// The results of one run.
pub(crate) struct Report {
    file: File,
    started_at: String,
    profile: String,
    /// Cores that others kept busy, and for how many seconds.
    noise: Vec<(f64, f64)>,
    wrong: Vec<String>,
}

impl Report {
    /// Adds to a file.
    pub(crate) fn new(results: &Path, profile: String) -> Outcome<Self> {
        if let Some(folder) = results.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let now_us = provender_core::time::now_us();
        Ok(Self {
            file: OpenOptions::new().create(true).append(true).open(results)?,
            started_at: provender_core::time::format_instant(now_us),
            profile,
            noise: Vec::new(),
            wrong: Vec::new(),
        })
    }

    /// Adds one line to the results.
    pub(crate) fn record(&mut self, kind: &str, values: &Value) -> Outcome<()> {
        let mut line = json!({
            "kind": kind, "started_at": self.started_at, "profile": self.profile,
        });
        if let (Some(line), Some(values)) = (line.as_object_mut(), values.as_object()) {
            line.extend(values.clone());
        }
        Ok(writeln!(self.file, "{line}")?)
    }

    /// Adds a sample to the results, with what it is a sample of.
    pub(crate) fn sample(&mut self, kind: &str, of: &Value, sample: &Sample) -> Outcome<()> {
        self.noise.push((sample.noise, sample.seconds));
        let mut values = sample.to_json();
        if let (Some(values), Some(of)) = (values.as_object_mut(), of.as_object()) {
            values.extend(of.clone());
        }
        self.record(kind, &values)
    }

    /// An answer is not what it must be.
    pub(crate) fn wrong(&mut self, what: String) {
        self.wrong.push(what);
    }

    /// Says on what machine this runs, and with which arguments.
    pub(crate) fn describe(&mut self, asked: &str) -> Outcome<()> {
        let value = |path: &str, name: &str| -> String {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let line = text
                .lines()
                .find(|line| line.starts_with(name))
                .unwrap_or("=unknown");
            let value = line.split_once([':', '=']).map_or("", |(_, value)| value);
            value.trim().trim_matches('"').to_owned()
        };
        let cpu = value("/proc/cpuinfo", "model name");
        let memory = value("/proc/meminfo", "MemTotal");
        let distribution = value("/etc/os-release", "PRETTY_NAME");
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let kernel = kernel.trim();
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split_whitespace().next().unwrap_or("unknown");
        let n_cores = std::thread::available_parallelism()?;
        println!("{cpu}, {n_cores} cores, {memory}, {distribution}, Linux {kernel}, load {load}");
        println!("profile {}; {asked}", self.profile);
        self.record(
            "machine",
            &json!({
                "cpu": cpu, "n_cores": n_cores, "memory": memory, "distribution": distribution,
                "kernel": kernel, "load_1_minute": load, "asked": asked,
            }),
        )
    }

    /// Says what disturbed the run and what was wrong; answers whether nothing was.
    pub(crate) fn end(&mut self) -> Outcome<bool> {
        let seconds: f64 = self.noise.iter().map(|(_, seconds)| seconds).sum();
        let busy: f64 = self
            .noise
            .iter()
            .map(|(cores, seconds)| cores * seconds)
            .sum();
        let cores = if seconds > 0.0 { busy / seconds } else { 0.0 };
        println!();
        if cores > NOISE {
            println!(
                "Other processes kept {cores:.1} cores busy meanwhile: trust ratios more than times."
            );
        }
        for what in &self.wrong {
            println!("WRONG: {what}");
        }
        if self.wrong.is_empty() {
            println!("All answers that were looked at are right.");
        }
        let values = json!({"noise": cores, "wrong": self.wrong});
        self.record("end", &values)?;
        Ok(self.wrong.is_empty())
    }
}

/// The middle of some figures, none of none.
pub(crate) fn median(figures: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    let upper = *figures.get(middle)?;
    Some(if figures.len() % 2 == 1 {
        upper
    } else {
        f64::midpoint(figures[middle - 1], upper)
    })
}

/// Two digits after the point of small figures, none of great ones.
pub(crate) fn figure(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

/// The same, with its sign.
pub(crate) fn difference(value: Option<f64>) -> String {
    let sign = if value.is_some_and(|value| value >= 0.0) {
        "+"
    } else {
        ""
    };
    format!("{sign}{}", figure(value))
}

/// Prints a table under a title; the first columns are texts, the others figures.
pub(crate) fn table(title: &str, n_texts: usize, lines: &[Vec<String>]) {
    println!("\n{title}\n");
    let n_columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..n_columns).map(width).collect();
    for line in lines {
        let cells = line.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, &width))| {
            if column < n_texts {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// A line of a table.
pub(crate) fn line<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}
