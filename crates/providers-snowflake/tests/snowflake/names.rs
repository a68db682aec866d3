//! Names of tables and columns: what is made is found again by its name, by SQL without quotes, and by others.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Decimal128Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use provender_core::provider::OfflineStore;
use provender_core::request::{Scan, SourceRef};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::support::*;

/// A name as people give them: mostly plain ones, and ones that need quotes.
fn random_name(rng: &mut StdRng) -> String {
    let letters = match rng.random_range(0..4) {
        0 => "AbCdE_",
        1 => "aB .\"'`$;-%éÄ日\\(",
        2 => "ABCD_",
        _ => "abcdefg_",
    };
    let letters: Vec<char> = letters.chars().collect();
    let n_letters = rng.random_range(1..4);
    let mut name: String = (0..n_letters)
        .map(|_| letters[rng.random_range(0..letters.len())])
        .collect();
    // With a digit behind it, no name is a keyword.
    name.push(char::from(b'0' + rng.random_range(0..3)));
    name
}

fn is_plain(name: &str, is_letter: fn(&char) -> bool) -> bool {
    let rest = |it: char| is_letter(&it) || it.is_ascii_digit() || it == '_' || it == '$';
    name.starts_with(|first| is_letter(&first) || first == '_') && name.chars().all(rest)
}

/// The name in SQL, as somebody who knows Snowflake's rules writes what was made under it.
fn in_sql(name: &str, is_free: bool) -> String {
    match is_free && is_plain(name, char::is_ascii_lowercase) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

async fn values(store: &dyn OfflineStore, scan: Scan) -> Vec<i128> {
    let batch = read(store, scan.clone()).await;
    let batch = batch.unwrap_or_else(|error| panic!("{scan:?}: {error:?}"));
    let columns = batch.columns().iter();
    columns
        .map(|column| column.as_primitive::<Decimal128Type>().value(0))
        .collect()
}

#[tokio::test]
async fn what_is_made_is_found_by_its_name_and_by_sql_without_quotes() {
    let Some(account) = Account::under_test() else {
        return;
    };
    let store = account.open(json!({})).await;
    for seed in 0..crate::properties::n_cases(25) {
        let mut rng = StdRng::seed_from_u64(seed);
        let part = random_name(&mut rng);
        let is_quoted = part.contains(['.', '"', '`']) || part.starts_with(' ');
        let is_quoted = is_quoted || rng.random_bool(0.2);
        let name = format!("{part}{}", unique("_n"));
        let spelled = match is_quoted {
            true => format!("\"{}\"", name.replace('"', "\"\"")),
            false => name.clone(),
        };
        let mut names: Vec<String> = Vec::new();
        while names.len() < rng.random_range(1..6) {
            let name = match names.last().filter(|_| rng.random_bool(0.2)) {
                Some(last) => last.to_uppercase(),
                None => random_name(&mut rng),
            };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let what = format!("seed {seed}: table {spelled}, columns {names:?}");
        let columns = names.iter().enumerate().map(|(at, name)| {
            let column: ArrayRef = Arc::new(Int64Array::from(vec![at as i64]));
            (name.clone(), column)
        });
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        append(&*store, &spelled, rows)
            .await
            .unwrap_or_else(|error| panic!("{what}: {error:?}"));

        let folded: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
        let is_alone = |name: &str| {
            let name = name.to_lowercase();
            folded.iter().filter(|other| **other == name).count() == 1
        };
        let has_plain = |is_letter: fn(&char) -> bool| {
            let mut names = names.iter();
            names.any(|name| is_plain(name, is_letter) && name.contains(|it| is_letter(&it)))
        };
        let (has_lower, has_upper) = (
            has_plain(char::is_ascii_lowercase),
            has_plain(char::is_ascii_uppercase),
        );
        let is_clear = names.iter().all(|name| is_alone(name)) && !(has_lower && has_upper);
        let shown: Vec<String> = names
            .iter()
            .map(
                |name| match is_clear && is_plain(name, char::is_ascii_uppercase) {
                    true => name.to_lowercase(),
                    false => name.clone(),
                },
            )
            .collect();
        let source = SourceRef::table(&spelled);
        let schema = store.schema(&cx(), &source).await.unwrap();
        let found: Vec<&String> = schema.fields().iter().map(|it| it.name()).collect();
        assert_eq!(found, shown.iter().collect::<Vec<_>>(), "{what}");

        let all_values: Vec<i128> = (0..names.len() as i128).collect();
        let case_free = [spelled.to_ascii_uppercase(), spelled.to_ascii_lowercase()];
        for spelled in case_free.iter().chain([&spelled]) {
            let found = values(&*store, all(SourceRef::table(spelled))).await;
            assert_eq!(found, all_values, "{what}: {spelled}");
        }
        for (at, name) in names.iter().enumerate() {
            let others = match is_alone(name) {
                true => vec![name.clone(), name.to_ascii_uppercase(), shown[at].clone()],
                false => vec![name.clone()],
            };
            for asked in others {
                let scan = Scan {
                    columns: Some(vec![asked.clone()]),
                    ..all(source.clone())
                };
                assert_eq!(values(&*store, scan).await, [at as i128], "{what}: {asked}");
            }
        }
        let list: Vec<String> = names.iter().map(|name| in_sql(name, is_clear)).collect();
        let sql = format!(
            "SELECT {} FROM {}",
            list.join(", "),
            in_sql(&name, !is_quoted)
        );
        assert_eq!(values(&*store, all(query(&sql))).await, all_values, "{sql}");
    }
}

#[tokio::test]
async fn tables_of_others_are_read_and_written_in_lower_case() {
    let Some(account) = Account::under_test() else {
        return;
    };
    let (name, twin) = (unique("others"), unique("Twin"));
    let made = account
        .run(&[
            format!("CREATE TABLE {name} (ID NUMBER(38,0), AMOUNT NUMBER(38,0), \"Net of tax\" NUMBER(38,0))"),
            format!("INSERT INTO {name} VALUES (1, 2, 3)"),
            format!("CREATE TABLE \"{twin}\" (ID NUMBER(38,0), \"Ab\" NUMBER(38,0), \"aB\" NUMBER(38,0))"),
            format!("CREATE TABLE {twin} (ID NUMBER(38,0))"),
        ])
        .await;
    if !made {
        return;
    }
    let store = account.open(json!({})).await;
    let columns = async |table: &str| -> Vec<String> {
        let schema = store.schema(&cx(), &SourceRef::table(table)).await.unwrap();
        schema.fields().iter().map(|it| it.name().clone()).collect()
    };
    assert_eq!(columns(&name).await, ["id", "amount", "Net of tax"]);
    let rows = ["amount", "Net of tax"].map(|name| {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        (name, column)
    });
    let rows = RecordBatch::try_from_iter(rows).unwrap();
    append(&*store, &name, rows).await.unwrap();
    let sums =
        format!("SELECT SUM(amount) AS a, SUM(\"Net of tax\") AS b, COUNT(id) AS n FROM {name}");
    assert_eq!(values(&*store, all(query(&sums))).await, [9, 10, 1]);

    assert_eq!(columns(&twin).await, ["ID", "Ab", "aB"]);
    assert_eq!(columns(&twin.to_uppercase()).await, ["id"]);
    let scan = Scan {
        columns: Some(vec!["AB".to_owned()]),
        ..all(SourceRef::table(&twin))
    };
    let error = failure(&*store, scan).await;
    assert_eq!(error.code(), "P121");
    assert_eq!(
        error.message(),
        "column \"AB\" is not clear: Ab, aB differ only in case"
    );
    let error = failure(&*store, all(SourceRef::table(twin.to_lowercase()))).await;
    assert_eq!(error.code(), "P120");
    assert!(error.message().contains("differ only in case"), "{error}");
}

#[test]
fn random_names_are_of_every_kind() {
    let names: BTreeSet<String> = (0..200)
        .map(|seed| random_name(&mut StdRng::seed_from_u64(seed)))
        .collect();
    for is_letter in [char::is_ascii_lowercase, char::is_ascii_uppercase] {
        assert!(names.iter().any(|name| is_plain(name, is_letter)));
    }
    for needle in ['.', '"', '`', ' '] {
        assert!(names.iter().any(|name| name.contains(needle)), "{needle}");
    }
}
