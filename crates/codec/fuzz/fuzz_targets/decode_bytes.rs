//! Decodes arbitrary bytes for a layout that the input decides: as they are, and with the header and
//! checksum put right, so that the values are reached.

#![no_main]

use libfuzzer_sys::fuzz_target;
use provender_codec::{RowFormat, is_tombstone, order};
use provender_codec_fuzz::{Input, check, layout, seal};

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input::new(bytes);
    let layout = layout(&mut input);
    let format = RowFormat::new(&layout).expect("a layout that rows can hold");
    let all: Vec<usize> = (0..layout.features.len()).collect();
    let decoder = format.decoder(&all).expect("indices of features");

    let mut row = input.rest().to_vec();
    for _ in 0..2 {
        drop(order(&row));
        is_tombstone(&row);
        let answer = decoder.decode(&[Some(&row)]).expect("a small answer");
        check(&answer, all.len());
        // Every feature alone is what it is among all, if the row is readable.
        for feature in &all {
            let alone = format.decoder(&[*feature]).expect("an index of a feature");
            let alone = alone.decode(&[Some(&row)]).expect("a small answer");
            check(&alone, 1);
            if answer.unreadable.is_empty() {
                assert_eq!(
                    alone.features[0].to_data(),
                    answer.features[*feature].to_data()
                );
            }
        }
        seal(&mut row, format.fingerprint());
    }
});
