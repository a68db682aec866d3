//! Rows with a right checksum that say what no writer of ours says.

use provender_conformance::oracle::Value;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::generate::{Case, layout_of, pack, rows_of};
use crate::RowFormat;
use crate::header::seal;

/// Where the null bitmap of a row without created time and tie breakers starts.
const PAYLOAD: usize = 18;

/// A row of one feature in the heap, with these bytes as its value.
fn row_of(format: &RowFormat, heap: &[u8]) -> Vec<u8> {
    let mut row = Vec::new();
    crate::header::begin(&mut row, 0, format.fingerprint(), 7, None);
    row.push(1);
    row.extend_from_slice(&(heap.len() as u32).to_le_bytes());
    row.extend_from_slice(heap);
    seal(&mut row);
    row
}

/// What is said of a value of the type between two rows that stay readable.
fn said_of(value_type: &str, good: &[u8], bad: &[u8]) -> String {
    let format = RowFormat::new(&layout_of(&[("a", "int8"), ("f", value_type)])).unwrap();
    let fix = |heap: &[u8]| {
        let one = RowFormat::new(&layout_of(&[("f", value_type)])).unwrap();
        let mut row = row_of(&one, heap);
        // The second feature, after an int8 of 5.
        row[2..6].copy_from_slice(&format.fingerprint().to_le_bytes());
        row[PAYLOAD] = 0b11;
        row.insert(PAYLOAD + 1, 5);
        seal(&mut row);
        row
    };
    let (good, bad) = (fix(good), fix(bad));
    let decoder = format.decoder(&[0, 1]).unwrap();
    let rows = [Some(&good[..]), Some(&bad[..]), Some(&good[..])];
    let answer = decoder.decode(&rows).unwrap();
    assert_eq!(answer.unreadable.len(), 1, "{value_type} {bad:?}");
    let (row, reason) = answer.unreadable[0].clone();
    assert_eq!(row, 1);
    // The other feature of the row is null as well, though it could be read.
    let numbers: Vec<Value> = (0..3)
        .map(|row| Value::read(answer.features[0].as_ref(), row).unwrap())
        .collect();
    assert_eq!(format!("{numbers:?}"), "[5, null, 5]");
    let times: Vec<_> = answer.event_times.iter().collect();
    assert_eq!(times, [Some(7), None, Some(7)]);
    for row in [0, 2] {
        assert!(answer.features[1].is_valid(row));
    }
    reason
}

#[test]
fn text_that_is_not_utf8_makes_only_its_row_unreadable() {
    let said = "feature \"f\" has text that is not UTF-8";
    assert_eq!(said_of("string", b"good", b"\xFF"), said);
    assert_eq!(said_of("json", b"{}", b"\xC3"), said);
    assert_eq!(
        said_of("list<string>", &[0; 4], b"\x01\0\0\0\0\x01\0\0\0\xFF"),
        said
    );
}

#[test]
fn halves_of_a_character_in_two_rows_do_not_make_one() {
    let format = RowFormat::new(&layout_of(&[("f", "string")])).unwrap();
    let rows = [b"\xC3".as_slice(), b"\xA9", b"\xC3\xA9"].map(|text| row_of(&format, text));
    let rows = rows.each_ref().map(|row| Some(row.as_slice()));
    let answer = format.decoder(&[0]).unwrap().decode(&rows).unwrap();
    let unreadable: Vec<usize> = answer.unreadable.iter().map(|(row, _)| *row).collect();
    assert_eq!(unreadable, [0, 1]);
    let last = Value::read(answer.features[0].as_ref(), 2).unwrap();
    assert!(last.is_identical(&Value::String("é".to_owned())));
}

#[test]
fn lengths_beyond_the_row_make_it_unreadable() {
    let said = "feature \"f\" has a length that does not fit its bytes";
    let most = [0xFF; 4];
    let with = |rest: &[u8]| [&most[..], rest].concat();
    for (value_type, good, bad) in [
        ("list<int64>", vec![0; 4], with(&[0; 64])),
        ("list<string>", vec![0; 4], with(&[0; 64])),
        ("list<bool>", vec![0; 4], with(&[0; 64])),
        (
            "list<struct<a: list<int8>, b: bool>>",
            vec![0; 4],
            with(&[0; 64]),
        ),
        ("list<embedding<1000>>", vec![0; 4], with(&[0; 64])),
        ("map<string, int8>", vec![0; 4], with(&[0; 64])),
        ("map<int8, list<int8>>", vec![0; 4], with(&[])),
        (
            "struct<a: string>",
            vec![0; 5],
            [&[1][..], &most, &[0; 9]].concat(),
        ),
        (
            "list<list<int8>>",
            vec![0; 4],
            [&[1, 0, 0, 0, 0][..], &most].concat(),
        ),
        // More items than bytes, all of them null.
        (
            "list<int64>",
            vec![0; 4],
            [&[16, 0, 0, 0, 1][..], &[0; 2]].concat(),
        ),
        // Bytes that no item uses.
        ("list<int8>", vec![0; 4], vec![0; 5]),
        ("embedding<2>", vec![0; 8], vec![0; 7]),
        ("embedding<2>", vec![0; 8], vec![0; 10]),
        ("list<int8>", vec![0; 4], vec![]),
    ] {
        assert_eq!(said_of(value_type, &good, &bad), said, "{value_type}");
    }
}

#[test]
fn marks_that_mean_nothing_make_the_row_unreadable() {
    for (value_type, bad, said) in [
        (
            "list<int8>",
            vec![1, 0, 0, 0, 2, 0],
            "feature \"f\" has a mark of nulls that is neither 0 nor 1",
        ),
        (
            "list<int8>",
            vec![1, 0, 0, 0, 1, 0b11, 0],
            "feature \"f\" has a bitmap of nulls that is longer than its values",
        ),
        (
            "list<bool>",
            vec![1, 0, 0, 0, 0, 7],
            "feature \"f\" has a bool that is neither 0 nor 1",
        ),
    ] {
        assert_eq!(said_of(value_type, &[0; 4], &bad), said);
    }
}

#[test]
fn slots_that_mean_nothing_make_the_row_unreadable() {
    let layout = layout_of(&[("b", "bool"), ("s", "string"), ("t", "string")]);
    let format = RowFormat::new(&layout).unwrap();
    let text = |text: &str| vec![Value::String(text.to_owned())];
    let columns = [vec![Value::Bool(true)], text("one"), text("two")];
    let row = pack(&format, &rows_of(&layout, &columns)).remove(0);
    let said = |change: fn(&mut Vec<u8>)| {
        let mut row = row.clone();
        change(&mut row);
        seal(&mut row);
        let decoder = format.decoder(&[0, 1, 2]).unwrap();
        let mut answer = decoder.decode(&[Some(&row)]).unwrap();
        assert_eq!(answer.unreadable.len(), 1);
        assert!(answer.features.iter().all(|column| column.is_null(0)));
        answer.unreadable.remove(0).1
    };
    assert_eq!(
        said(|row| row[PAYLOAD + 1] = 2),
        "feature \"b\" has a bool that is neither 0 nor 1"
    );
    assert_eq!(
        said(|row| row[PAYLOAD] |= 1 << 3),
        "it has values for features that do not exist"
    );
    let length = "its length does not fit what it holds";
    assert_eq!(said(|row| row.push(0)), length);
    assert_eq!(said(|row| row.truncate(PAYLOAD + 3)), length);
    assert_eq!(said(|row| row[PAYLOAD + 6] = 7), length);
    // The first text ends after the second one.
    assert_eq!(
        said(|row| row[PAYLOAD + 2] = 9),
        "feature \"s\" has a length that does not fit its bytes"
    );
    // A tombstone holds nothing.
    assert_eq!(said(|row| row[1] |= 2), length);
}

#[test]
fn sealed_mutations_never_panic_and_never_touch_other_rows() {
    for seed in 0..400 {
        let mut rng = StdRng::seed_from_u64(seed);
        let case = Case::random(&mut rng);
        let packed = case.packed();
        let all: Vec<usize> = (0..case.layout.features.len()).collect();
        let decoder = case.format.decoder(&all).unwrap();
        for _ in 0..20 {
            let victim = rng.random_range(0..packed.len());
            let mut rows = packed.clone();
            let row = &mut rows[victim];
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(0..row.len());
                match rng.random_range(0..4) {
                    0 => row[at] = [0, 1, 0x7F, 0x80, 0xFF][rng.random_range(0..5)],
                    1 => row[at] ^= 1 << rng.random_range(0..8),
                    2 => row.truncate(at.max(1)),
                    _ => row.insert(at, rng.random()),
                }
            }
            seal(row);
            let bytes: Vec<_> = rows.iter().map(|row| Some(row.as_slice())).collect();
            let answer = decoder.decode(&bytes).unwrap();
            for (row, _) in &answer.unreadable {
                assert_eq!(*row, victim);
            }
            for (feature, column) in answer.features.iter().enumerate() {
                for row in (0..rows.len()).filter(|row| *row != victim) {
                    let expected = match case.is_tombstone(row) {
                        true => Value::Null,
                        false => case.value(row, feature),
                    };
                    let found = Value::read(column.as_ref(), row).unwrap();
                    assert!(found.is_identical(&expected));
                }
            }
        }
    }
}
