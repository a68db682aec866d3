//! Rows whose bytes changed since they were written.

use provender_conformance::oracle::Value;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::generate::{Case, layout_of, pack, rows_of};
use crate::{RowDecoder, RowFormat, is_tombstone, order};

/// What is said of one row.
fn reason(decoder: &RowDecoder, row: &[u8]) -> Option<String> {
    let answer = decoder.decode(&[None, Some(row)]).unwrap();
    let (index, reason) = answer.unreadable.into_iter().next()?;
    assert_eq!(index, 1);
    assert_eq!(answer.event_times.iter().collect::<Vec<_>>(), [None, None]);
    for column in &answer.features {
        assert_eq!(column.null_count(), 2);
    }
    Some(reason)
}

fn mutated(rng: &mut StdRng, row: &[u8]) -> Vec<u8> {
    let mut row = row.to_vec();
    for _ in 0..rng.random_range(1..=3) {
        let at = rng.random_range(0..row.len().max(1));
        match rng.random_range(0..7) {
            0 => row.truncate(at),
            1 => row.push(rng.random()),
            2 => row.insert(at.min(row.len()), rng.random()),
            3 if !row.is_empty() => drop(row.remove(at)),
            4 if !row.is_empty() => row[at] ^= 1 << rng.random_range(0..8),
            5 if !row.is_empty() => row[at..].fill(rng.random()),
            _ if !row.is_empty() => row[at] = rng.random(),
            _ => {}
        }
    }
    row
}

#[test]
fn random_mutations_make_their_row_unreadable_and_no_other() {
    for seed in 0..400 {
        let mut rng = StdRng::seed_from_u64(seed);
        let case = Case::random(&mut rng);
        let packed = case.packed();
        let all: Vec<usize> = (0..case.layout.features.len()).collect();
        let decoder = case.format.decoder(&all).unwrap();
        for _ in 0..20 {
            let victim = rng.random_range(0..packed.len());
            let mut rows = packed.clone();
            rows[victim] = mutated(&mut rng, &packed[victim]);
            let is_changed = rows[victim] != packed[victim];
            let bytes: Vec<_> = rows.iter().map(|row| Some(row.as_slice())).collect();
            let answer = decoder.decode(&bytes).unwrap();
            let unreadable: Vec<usize> = answer.unreadable.iter().map(|(row, _)| *row).collect();
            assert_eq!(unreadable, if is_changed { vec![victim] } else { vec![] });
            for row in 0..rows.len() {
                let is_read = !(case.is_tombstone(row) || row == victim && is_changed);
                assert_eq!(
                    answer.event_times.iter().nth(row).unwrap(),
                    is_read.then(|| case.event_us(row))
                );
                for (feature, column) in answer.features.iter().enumerate() {
                    let expected = match is_read {
                        true => case.value(row, feature),
                        false => Value::Null,
                    };
                    let found = Value::read(column.as_ref(), row).unwrap();
                    assert!(found.is_identical(&expected), "{found:?}, not {expected:?}");
                }
            }
            // The header alone is read without its checksum: anything but a panic.
            drop(order(&rows[victim]));
            is_tombstone(&rows[victim]);
        }
    }
}

#[test]
fn every_flipped_bit_and_every_truncation_is_noticed() {
    for seed in 0..30 {
        let mut rng = StdRng::seed_from_u64(seed);
        let case = Case::random(&mut rng);
        let decoder = case.format.decoder(&[]).unwrap();
        let row = &case.packed()[0];
        assert_eq!(reason(&decoder, row), None);
        for len in 0..row.len() {
            assert!(reason(&decoder, &row[..len]).is_some(), "{len} bytes");
        }
        for bit in 0..row.len() * 8 {
            let mut row = row.clone();
            row[bit / 8] ^= 1 << (bit % 8);
            assert!(reason(&decoder, &row).is_some(), "bit {bit}");
        }
    }
}

#[test]
fn unreadable_rows_say_what_is_wrong() {
    let layout = layout_of(&[("a", "int64"), ("s", "string")]);
    let format = RowFormat::new(&layout).unwrap();
    let decoder = format.decoder(&[0, 1]).unwrap();
    let columns = [vec![Value::Int(7)], vec![Value::String("x".to_owned())]];
    let row = pack(&format, &rows_of(&layout, &columns)).remove(0);
    let said = |row: &[u8]| reason(&decoder, row).unwrap();

    assert_eq!(said(&[]), "it is too short (0 bytes)");
    assert_eq!(said(&row[..9]), "it is too short (9 bytes)");
    let mut newer = row.clone();
    newer[0] = 2;
    assert_eq!(said(&newer), "it has format 2, of a newer version");
    newer[0] = 0;
    assert_eq!(said(&newer), "it has format 0, which does not exist");
    let mut damaged = row.clone();
    damaged[20] ^= 1;
    let text = "its checksum does not match, so it is damaged";
    assert_eq!(said(&damaged), text);
    assert_eq!(said(&row[..row.len() - 1]), text);
    let mut flags = row.clone();
    flags[1] |= 0x80;
    crate::header::seal(&mut flags);
    assert_eq!(said(&flags), "it has unknown flags (0x80)");

    let other = RowFormat::new(&layout_of(&[("a", "int64"), ("s", "json")])).unwrap();
    let decoder = other.decoder(&[]).unwrap();
    assert_eq!(
        reason(&decoder, &row).unwrap(),
        format!(
            "it was written for another schema (fingerprint {:08x}, not {:08x})",
            format.fingerprint(),
            other.fingerprint()
        )
    );
}

#[test]
fn order_of_no_row_is_an_error_that_says_why() {
    let error = order(&[3; 40]).unwrap_err();
    assert_eq!(error.code(), "P603");
    assert_eq!(
        error.to_string(),
        "a stored online row cannot be compared: it has format 3, of a newer version; materialise \
         its view again"
    );
    assert!(!is_tombstone(&[3; 40]));
    assert!(!is_tombstone(&[]));
}
