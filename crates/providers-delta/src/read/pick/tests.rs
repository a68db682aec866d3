#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{Int32Builder, Int64Builder};
use arrow_array::{
    ArrayRef, Date32Array, Float32Array, Float64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array,
};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::Hints;
use super::super::bytes::Origin;
use super::super::file::{DataFile, Listed, Wanted};
use super::{Bytes, Picked, UInt64Type, Values};

/// Columns of every type that is picked, and of others, with nulls in none, some, runs or all of the rows.
fn rows(random: &mut StdRng, n_rows: usize) -> RecordBatch {
    let mut columns: Vec<(String, ArrayRef, bool)> = Vec::new();
    for nulls in ["never", "at times", "in runs", "always"] {
        let mut is_null = false;
        let mut value = || {
            is_null = match nulls {
                "never" => false,
                "at times" => random.random_bool(0.3),
                "in runs" if random.random_bool(0.02) => !is_null,
                "in runs" => is_null,
                _ => true,
            };
            // Few values make a dictionary, and some of their indices runs.
            let few = if random.random_bool(0.5) { 3 } else { i32::MAX };
            (!is_null).then(|| random.random_range(-few..few))
        };
        let values: Vec<Option<i32>> = (0..n_rows).map(|_| value()).collect();
        let mut long = Int64Builder::new();
        let mut short = Int32Builder::new();
        for value in &values {
            long.append_option(value.map(|value| i64::from(value) << 20));
            short.append_option(*value);
        }
        let each = || values.iter().copied();
        let times: TimestampMicrosecondArray = each().map(|it| it.map(i64::from)).collect();
        let doubles: Float64Array = each().map(|it| it.map(|it| f64::from(it) / 7.0)).collect();
        let floats: Float32Array = each().map(|it| it.map(|it| it as f32 / 7.0)).collect();
        let texts: StringArray = each().map(|it| it.map(|it| it.to_string())).collect();
        let arrays: [ArrayRef; 7] = [
            Arc::new(long.finish()),
            Arc::new(short.finish()),
            Arc::new(times.with_timezone("UTC")),
            Arc::new(doubles),
            Arc::new(floats),
            Arc::new(each().collect::<Date32Array>()),
            Arc::new(texts),
        ];
        for (number, array) in arrays.into_iter().enumerate() {
            let is_nullable = nulls != "never" || random.random_bool(0.5);
            columns.push((format!("{nulls} {number}"), array, is_nullable));
        }
    }
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn write(random: &mut StdRng, path: &Path, batch: &RecordBatch) {
    let compressions = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::ZSTD(ZstdLevel::default()),
    ];
    let mut properties = WriterProperties::builder()
        .set_compression(compressions[random.random_range(0..3)])
        .set_writer_version(match random.random_bool(0.5) {
            true => WriterVersion::PARQUET_1_0,
            false => WriterVersion::PARQUET_2_0,
        })
        .set_dictionary_enabled(random.random_bool(0.7))
        .set_dictionary_page_size_limit(random.random_range(100..10_000))
        .set_offset_index_disabled(random.random_bool(0.5))
        .set_max_row_group_row_count(Some(random.random_range(500..3_000)))
        .set_write_batch_size(random.random_range(1..100))
        .set_data_page_row_count_limit(random.random_range(1..1_000));
    if random.random_bool(0.3) {
        // An encoding that is not known, of doubles and floats.
        for field in batch.schema().fields() {
            if field.data_type().is_floating() {
                let path = ColumnPath::from(vec![field.name().clone()]);
                properties = properties
                    .set_column_dictionary_enabled(path.clone(), false)
                    .set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT);
            }
        }
    }
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

async fn opened(path: &Path) -> DataFile {
    let listed = Listed {
        name: "facts".to_owned(),
        origin: Origin::Local(path.to_owned()),
        size: path.metadata().unwrap().len(),
    };
    listed
        .open(false, &Hints::new(&[], &[]))
        .await
        .unwrap()
        .unwrap()
}

/// Rows of a row group, and how many columns were picked.
async fn read(file: &DataFile, group: usize, wanted: Wanted<'_>) -> (RecordBatch, usize) {
    let group = &file.groups[group];
    let schema = file.schema().clone();
    let memory = Arc::default();
    let mut batches = file
        .read(group, &schema, wanted, 100, &memory)
        .await
        .unwrap();
    let n_picked = batches.n_picked();
    let read: Vec<_> = std::iter::from_fn(|| batches.next(None)).collect();
    let read: Vec<_> = read.into_iter().map(Result::unwrap).collect();
    let rows = arrow_select::concat::concat_batches(&schema, &read).unwrap();
    (rows, n_picked)
}

#[tokio::test]
async fn what_is_picked_is_what_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("facts.parquet");
    let mut n_picked = 0;
    for seed in 0..40 {
        let mut random = StdRng::seed_from_u64(seed);
        let n_rows = random.random_range(1..5_000);
        let batch = rows(&mut random, n_rows);
        write(&mut random, &path, &batch);
        let file = opened(&path).await;
        for (number, group) in file.groups.iter().enumerate() {
            let (all, _) = read(&file, number, Wanted::All).await;
            let written = batch.slice(group.first_row as usize, group.n_rows);
            assert_eq!(all.columns(), written.columns(), "seed {seed}");
            let share = [0.002, 0.1, 0.9][random.random_range(0..3)];
            let mut wanted: Vec<usize> = (0..all.num_rows())
                .filter(|_| random.random_bool(share))
                .collect();
            if wanted.is_empty() {
                wanted.push(random.random_range(0..all.num_rows()));
            }
            let indices: UInt32Array = wanted.iter().map(|&row| Some(row as u32)).collect();
            let expected = arrow_select::take::take_record_batch(&all, &indices).unwrap();
            let (found, n) = read(&file, number, Wanted::Rows(&wanted)).await;
            assert_eq!(found, expected, "seed {seed}, row group {number}");
            n_picked += n;
        }
    }
    // Six of seven columns, but for those in an encoding that is not known.
    assert!(n_picked > 1_000, "{n_picked}");
}

/// Page headers are the reader's; what is inside of pages is read here.
#[test]
fn bytes_that_are_no_page_are_errors_or_other_values_and_never_a_panic() {
    let mut random = StdRng::seed_from_u64(0);
    let (mut n_fits, mut n_errors) = (0, 0);
    for _ in 0..200_000 {
        let n_bytes = random.random_range(0..40);
        let mut bytes = vec![0; n_bytes];
        random.fill(&mut bytes[..]);
        // Widths and the lengths of runs are small more often than not.
        if let Some(first) = bytes.first_mut() {
            *first &= random.random::<u8>() & random.random::<u8>();
        }
        let n_rows = random.random_range(1..500);
        let wanted = (0..n_rows).filter(|row| row % 3 == 0);
        let mut picked = Picked::<UInt64Type>::of(n_rows);
        let done = super::places(&bytes, n_rows, wanted).and_then(|places| {
            let bytes = Bytes::from(bytes);
            let page = Values { bytes, places };
            match random.random_bool(0.5) {
                true => picked.of_plain(&page),
                false => picked.of_indices(&page, &[7; 100]),
            }
        });
        match done {
            Ok(()) => n_fits += 1,
            Err(_) => n_errors += 1,
        }
    }
    assert!(n_fits > 100 && n_errors > 100, "{n_fits} {n_errors}");
}
