//! The fuzz targets over their seeds and some thousand changes of them.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray, RecordBatch, StringViewArray};
use provender_server::wire::Encoder;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::*;

#[path = "../../fuzz/src/targets.rs"]
#[allow(dead_code)]
mod targets;

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|file| (file.clone(), std::fs::read(file).unwrap()))
        .collect()
}

fn over(target: &str, run: fn(&[u8]), n_each: usize) {
    let mut rng = StdRng::seed_from_u64(99);
    let seeds = seeds(target);
    assert!(seeds.len() >= 3, "{target} has too few seeds");
    for (_, seed) in &seeds {
        run(seed);
        for _ in 0..n_each {
            let mut bytes = seed.clone();
            for _ in 0..rng.random_range(1..6) {
                if bytes.is_empty() {
                    break;
                }
                let at = rng.random_range(0..bytes.len());
                match rng.random_range(0..6) {
                    0 => bytes[at] = rng.random(),
                    1 => bytes[at] ^= 1 << rng.random_range(0..8),
                    2 => bytes.truncate(at),
                    3 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.random_range(0..5)],
                    4 => bytes.insert(at, rng.random()),
                    _ => {
                        let (_, other) = &seeds[rng.random_range(0..seeds.len())];
                        let from = rng.random_range(0..=other.len());
                        bytes.truncate(at);
                        bytes.extend(&other[from..]);
                    }
                }
            }
            run(&bytes);
        }
    }
}

#[test]
fn changed_commands_are_commands_or_mistakes() {
    over("command", targets::command, 2_000);
}

#[test]
fn changed_messages_are_rows_or_mistakes() {
    over("wire", targets::wire, 2_000);
}

/// Streams of the kinds that clients send.
fn streams() -> Vec<(&'static str, RecordBatch)> {
    let codes: DictionaryArray<Int32Type> = ["a", "b", "a"].into_iter().collect();
    let views = StringViewArray::from(vec!["a long enough value to be in a buffer", "b", "c"]);
    vec![
        (
            "numbers",
            batch(&[("a", ints(&[1, 2, 3])), ("b", floats(&[0.5, 1.5, 2.5]))]),
        ),
        ("words", spine(4)),
        (
            "dictionary",
            batch(&[("code", Arc::new(codes) as ArrayRef)]),
        ),
        ("view", batch(&[("view", Arc::new(views) as ArrayRef)])),
    ]
}

/// The seeds are what this writes: run it with PROVENDER_WRITE_SEEDS=1 after the format has moved.
#[test]
fn seeds_are_streams_that_are_read() {
    for (name, rows) in streams() {
        let mut encoder = Encoder::new(1 << 20);
        let mut bytes = targets::framed(&encoder.schema(&rows.schema()));
        for message in encoder.batch(&rows).unwrap() {
            bytes.extend(targets::framed(&message));
        }
        targets::wire(&bytes);
        if std::env::var_os("PROVENDER_WRITE_SEEDS").is_some() {
            let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/wire");
            std::fs::write(folder.join(name), &bytes).unwrap();
        }
    }
}
