//! The floor under the embedded store: LMDB alone, which puts and gets the same bytes.
//!
//! Rows are encoded before the clock starts. No comparison with what is there, no checksum, no
//! decoding, one table in one environment: whatever the embedded store takes beyond this is its own.

use std::path::Path;
use std::time::Instant;

use arrow_array::RecordBatch;
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions, WithTls};
use provender_codec::{KeyFormat, RowFormat};
use provender_core::request::ViewLayout;
use serde_json::{Value, json};

use crate::measure::Calls;
use crate::{Outcome, data};

const MAP_BYTES: usize = 16 << 30;

/// A key's bytes and its row's.
type Row = (Vec<u8>, Vec<u8>);

/// The bytes that the embedded store holds for a view's rows, in the order in which they come, but that
/// as many as are sorted at a time are in the order of their keys.
pub(crate) fn encode(layout: &ViewLayout, n_drivers: u64, n_sorted: usize) -> Outcome<Vec<Row>> {
    let format = RowFormat::new(layout)?;
    let mut rows = Vec::new();
    for batch in data::online_batches(layout, n_drivers)?.1 {
        let encoder = format.encoder(&batch)?;
        for number in 0..encoder.n_rows() {
            let (mut key, mut row) = Row::default();
            encoder.append_key(number, &mut key);
            encoder.append(number, &mut row)?;
            rows.push((key, row));
        }
    }
    for chunk in rows.chunks_mut(n_sorted) {
        chunk.sort();
    }
    Ok(rows)
}

/// One LMDB environment with one view's rows.
pub(crate) struct Floor {
    environment: Env<WithTls>,
    rows: Database<'static, Bytes, Bytes>,
}

impl Floor {
    /// Makes an environment in a folder and puts all rows into it; each commit is durable.
    pub(crate) fn fill(
        path: &Path,
        rows: &[Row],
        rows_per_commit: usize,
    ) -> Outcome<(Self, Value)> {
        std::fs::create_dir_all(path)?;
        let environment = open(path)?;
        let transaction = environment.write_txn()?;
        let made =
            environment.create_databases_and_commit(transaction, |opener, transaction| {
                let table = opener.create_database::<Bytes, Bytes>(transaction, None)?;
                Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(table))
            })?;
        let CommitOrAbort::Commit(table) = made else {
            return Err("the table was not made".into());
        };
        let started = Instant::now();
        for chunk in rows.chunks(rows_per_commit) {
            let mut transaction = environment.write_txn()?;
            for (key, row) in chunk {
                table.put(&mut transaction, key, row)?;
            }
            transaction.commit()?;
        }
        let answer = json!({
            "seconds": started.elapsed().as_secs_f64(),
            "n_rows": rows.len(),
            "n_bytes": rows.iter().map(|(key, row)| key.len() + row.len()).sum::<usize>(),
        });
        let floor = Self {
            environment,
            rows: table,
        };
        Ok((floor, answer))
    }

    /// Gets rows and copies their bytes.
    pub(crate) fn read(
        &self,
        layout: &ViewLayout,
        requests: &[RecordBatch],
        seconds: f64,
    ) -> Outcome<Value> {
        let format = KeyFormat::new(&layout.join_keys)?;
        let mut keys: Vec<Vec<Vec<u8>>> = Vec::new();
        for request in requests {
            let bound = format.bind(request.columns(), request.num_rows())?;
            let mut of_request = vec![Vec::new(); request.num_rows()];
            for (number, key) in of_request.iter_mut().enumerate() {
                bound.append(number, key);
            }
            keys.push(of_request);
        }
        let mut copied = Vec::new();
        let mut calls = Calls::new(seconds);
        while let Some(number) = calls.next() {
            let transaction = self.environment.read_txn()?;
            copied.clear();
            for key in &keys[number % keys.len()] {
                let row = self.rows.get(&transaction, key)?;
                copied.extend_from_slice(row.ok_or("a driver is missing")?);
            }
            std::hint::black_box(&copied);
            drop(transaction);
            calls.done();
        }
        calls.answer()
    }
}

fn open(path: &Path) -> Outcome<Env<WithTls>> {
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES);
    // SAFETY: the folder was made for this run of the benchmark, and no other process and nothing else
    // in this one touches its files while the environment is open.
    #[allow(unsafe_code)]
    let environment = unsafe { options.open(path) }?;
    Ok(environment)
}
