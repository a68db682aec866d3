//! Provender's side of the online benchmark, which `benches/online/run.sh` of the repository starts.
//!
//! Does what it is told, a JSON line for each command on its standard input, and answers with a JSON
//! line; nothing of this decides what is compared with what. Started without a project, as
//! `cargo bench` does it, it only says where the benchmark is.
#![allow(clippy::print_stdout)]

mod data;
mod floor;
mod measure;
mod store;

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::floor::Floor;
use crate::store::Store;

/// What goes wrong ends the command, and its text is the answer.
type Outcome<T> = Result<T, Box<dyn Error>>;

/// What is read, and from where.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reader {
    /// `FeatureStore`'s prepared call.
    Store,
    /// The online store's own reader.
    #[serde(rename = "reader")]
    OnlineStore,
    /// LMDB alone.
    Floor,
}

/// One command. `seed` chooses the keys; `seconds` is how long calls are counted.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Command {
    /// Writes the narrow view's rows to a table of the offline store.
    Import { table: String, drivers: u64 },
    /// Applies the project's definitions.
    Apply,
    /// Materialises a view through `FeatureStore`.
    Materialize { view: String },
    /// Writes a view's rows to a new embedded store, without reading them from anywhere.
    Write {
        view: String,
        path: PathBuf,
        drivers: u64,
    },
    /// Puts the same bytes into LMDB, those of each commit in the order of their keys, or all of them.
    Put {
        view: String,
        path: PathBuf,
        drivers: u64,
        rows_per_commit: usize,
        all_sorted: bool,
    },
    /// Reads random keys, one call after the other.
    Read {
        reader: Reader,
        view: String,
        n_keys: usize,
        seconds: f64,
        drivers: u64,
        seed: u64,
    },
    /// The features of some drivers, column by column.
    Values {
        reader: Reader,
        view: String,
        drivers: Vec<i64>,
    },
}

fn main() -> Outcome<()> {
    // `cargo bench` adds arguments of its own.
    let project = std::env::args().skip(1).find(|text| !text.starts_with('-'));
    let Some(project) = project else {
        println!("benches/online/run.sh runs this benchmark");
        return Ok(());
    };
    let started = Instant::now();
    let mut worker = Worker {
        store: Store::open(project.as_ref())?,
        floors: Vec::new(),
    };
    tell(&json!({"seconds": started.elapsed().as_secs_f64()}))?;
    for line in std::io::stdin().lock().lines() {
        let answer = serde_json::from_str(&line?)
            .map_err(Into::into)
            .and_then(|command| worker.run(command));
        tell(&answer.unwrap_or_else(|error| json!({"error": error.to_string()})))?;
    }
    Ok(())
}

fn tell(answer: &Value) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{answer}")?;
    Ok(out.flush()?)
}

struct Worker {
    store: Store,
    /// By view.
    floors: Vec<(String, Floor)>,
}

impl Worker {
    fn run(&mut self, command: Command) -> Outcome<Value> {
        match command {
            Command::Import { table, drivers } => self.store.import(table, drivers),
            Command::Apply => self.store.apply(),
            Command::Materialize { view } => self.store.materialize(&view),
            Command::Write {
                view,
                path,
                drivers,
            } => self.store.write(&view, &path, drivers),
            Command::Put {
                view,
                path,
                drivers,
                rows_per_commit,
                all_sorted,
            } => {
                let layout = self.store.layout(&view)?;
                let n_sorted = if all_sorted {
                    usize::MAX
                } else {
                    rows_per_commit
                };
                let rows = floor::encode(&layout, drivers, n_sorted)?;
                let (floor, answer) = Floor::fill(&path, &rows, rows_per_commit)?;
                // Reads are measured where rows came as the store gets them.
                if !all_sorted {
                    self.floors.retain(|(known, _)| *known != view);
                    self.floors.push((view, floor));
                }
                Ok(answer)
            }
            Command::Read {
                reader,
                view,
                n_keys,
                seconds,
                drivers,
                seed,
            } => {
                let requests = data::requests(n_keys, drivers, seed)?;
                match reader {
                    Reader::Store => self.store.read(&view, &requests, seconds),
                    Reader::OnlineStore => self.store.read_bare(&view, &requests, seconds),
                    Reader::Floor => {
                        let layout = self.store.layout(&view)?;
                        self.floor(&view)?.read(&layout, &requests, seconds)
                    }
                }
            }
            Command::Values {
                reader,
                view,
                drivers,
            } => match reader {
                Reader::Store => self.store.values(&view, drivers),
                Reader::OnlineStore => self.store.values_bare(&view, drivers),
                Reader::Floor => Err("LMDB alone knows no values".into()),
            },
        }
    }

    fn floor(&self, view: &str) -> Outcome<&Floor> {
        let found = self.floors.iter().find(|(known, _)| known == view);
        Ok(&found.ok_or("nothing was put for this view")?.1)
    }
}
