//! Packs a row that the input decides, reads it back, and changes a few of its bytes: the change is
//! noticed, and with the checksum put right it does no harm.

#![no_main]

use std::sync::Arc;

use arrow_array::RecordBatch;
use libfuzzer_sys::fuzz_target;
use provender_codec::{RowFormat, order};
use provender_codec_fuzz::{Input, check, layout, nullable, seal, value};
use provender_conformance::generate::build;
use provender_conformance::oracle::Value;
use provender_core::ValueType;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let layout = layout(&mut input);
    let format = RowFormat::new(&layout).expect("a layout that rows can hold");

    let mut values = vec![
        value(&mut input, &ValueType::Timestamp),
        nullable(&mut input, &ValueType::Timestamp),
        nullable(&mut input, &ValueType::Bool),
    ];
    let types = layout.tie_breakers.iter();
    for value_type in types.chain(layout.features.iter().map(|(_, feature)| feature)) {
        values.push(nullable(&mut input, value_type));
    }
    let schema = Arc::new(layout.write_schema());
    let columns = schema.fields().iter().zip(&values);
    let columns = columns
        .map(|(field, value)| build(field.data_type(), std::slice::from_ref(value)))
        .collect::<Result<_, _>>()
        .expect("columns");
    let batch = RecordBatch::try_new(schema, columns).expect("a batch");
    let mut row = Vec::new();
    let encoder = format.encoder(&batch).expect("a batch of the layout");
    encoder.append(0, &mut row).expect("a small row");

    let all: Vec<usize> = (0..layout.features.len()).collect();
    let decoder = format.decoder(&all).expect("indices of features");
    let answer = decoder.decode(&[Some(&row)]).expect("a small answer");
    check(&answer, all.len());
    assert_eq!(answer.unreadable, []);
    let is_tombstone = matches!(values[2], Value::Bool(true));
    let n_before = 3 + layout.tie_breakers.len();
    for (column, expected) in answer
        .features
        .iter()
        .zip(batch.columns().iter().skip(n_before))
    {
        let found = Value::read(column.as_ref(), 0).expect("a value");
        let expected = match is_tombstone {
            true => Value::Null,
            false => Value::read(expected.as_ref(), 0).expect("a value"),
        };
        assert!(found.is_identical(&expected), "{found:?}, not {expected:?}");
    }
    assert_eq!(
        Some(order(&row).expect("a row").event_us),
        values[0].instant_us().expect("a time")
    );

    // A CRC notices every change within 32 bits, and a lost end shows by the length.
    let mut changed = row.clone();
    let at = usize::from(u16::from_le_bytes(input.bytes())) % row.len();
    let change: [u8; 4] = input.bytes();
    let end = if at < 6 { 6 } else { row.len() };
    let from = if (6..10).contains(&at) { 10 } else { at };
    for (byte, change) in changed[from.min(end)..end].iter_mut().zip(change) {
        *byte ^= change;
    }
    let is_cut = input.byte() & 7 == 1;
    if is_cut {
        changed = row[..at].to_vec();
    }
    if changed != row {
        let answer = decoder.decode(&[Some(&changed)]).expect("a small answer");
        check(&answer, all.len());
        assert_eq!(answer.unreadable.len(), 1);
    }
    seal(&mut changed, format.fingerprint());
    let answer = decoder.decode(&[Some(&changed)]).expect("a small answer");
    check(&answer, all.len());
});
