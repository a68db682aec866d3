#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use arrow_array::StringArray;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;

use super::*;

fn rules(ttl_us: Option<i64>, counts: Vec<usize>, n_features: usize) -> ViewRules {
    ViewRules {
        name: "weather@2".to_owned(),
        ttl_us,
        types: vec![DataType::Int64; n_features],
        counts,
        keys: vec![("origin".to_owned(), 0)],
    }
}

fn rows(event_times: &[Option<i64>], features: &[&[Option<i64>]]) -> ViewRows {
    ViewRows {
        event_times: TimestampMicrosecondArray::from(event_times.to_vec()).with_timezone("UTC"),
        features: features
            .iter()
            .map(|feature| Arc::new(Int64Array::from(feature.to_vec())) as ArrayRef)
            .collect(),
        unreadable: Vec::new(),
    }
}

fn keys(values: &[Option<&str>]) -> Vec<ArrayRef> {
    vec![Arc::new(StringArray::from(values.to_vec()))]
}

fn numbers(column: &ArrayRef) -> Vec<Option<i64>> {
    column.as_primitive::<Int64Type>().iter().collect()
}

fn words(answered: &Answered) -> Vec<&str> {
    let (status, _) = answered.status.as_ref().unwrap();
    status.as_string::<i32>().iter().flatten().collect()
}

#[test]
fn a_row_as_old_as_the_ttl_is_fresh_and_one_microsecond_older_is_not() {
    let rules = rules(Some(100), Vec::new(), 1);
    let held = rows(
        &[Some(900), Some(899), Some(1_500), None],
        &[&[Some(1), Some(2), Some(3), None]],
    );
    let keys = keys(&[Some("a"), Some("b"), Some("c"), Some("d")]);
    let answered = rules.judge(held, &keys, 1_000, true).unwrap();
    assert_eq!(
        words(&answered),
        ["PRESENT", "OUTSIDE_MAX_AGE", "PRESENT", "NOT_FOUND"]
    );
    assert_eq!(
        numbers(&answered.features[0]),
        [Some(1), None, Some(3), None]
    );
    let (_, times) = answered.status.as_ref().unwrap();
    assert!(
        times.is_valid(1),
        "the age of a row that is too old is told"
    );
    assert!(times.is_null(3));
}

#[test]
fn a_ttl_that_reaches_before_the_first_instant_expires_nothing() {
    let held = rows(&[Some(i64::MIN), Some(0)], &[&[Some(1), Some(2)]]);
    let keys = keys(&[Some("a"), Some("b")]);
    let answered = rules(Some(i64::MAX), Vec::new(), 1)
        .judge(held, &keys, -2, true)
        .unwrap();
    assert_eq!(words(&answered), ["PRESENT", "PRESENT"]);
}

#[test]
fn arrays_that_need_no_change_are_passed_on() {
    let held = rows(&[Some(900), None], &[&[Some(1), None]]);
    let given = held.features[0].clone();
    let keys = keys(&[Some("a"), None]);
    let answered = rules(Some(100), Vec::new(), 1)
        .judge(held, &keys, 1_000, false)
        .unwrap();
    assert!(Arc::ptr_eq(&answered.features[0], &given));
    assert!(answered.status.is_none());
}

#[test]
fn a_live_row_of_nulls_has_a_status_of_its_own() {
    let held = rows(
        &[Some(1), Some(1), Some(-9)],
        &[&[None, None, None], &[None, Some(1), None]],
    );
    let keys = keys(&[Some("a"), Some("b"), Some("c")]);
    let answered = rules(Some(5), Vec::new(), 2)
        .judge(held, &keys, 1, true)
        .unwrap();
    assert_eq!(
        words(&answered),
        ["NULL_VALUE", "PRESENT", "OUTSIDE_MAX_AGE"]
    );
}

#[test]
fn counts_are_zero_for_keys_without_a_row_and_null_for_null_keys() {
    let mut held = rows(
        &[Some(1), None, None, None],
        &[&[Some(7), None, None, None], &[Some(8), None, None, None]],
    );
    held.unreadable.push((3, "checksum".to_owned()));
    let keys = keys(&[Some("a"), Some("b"), None, Some("d")]);
    let answered = rules(None, vec![1], 2).judge(held, &keys, 1, true).unwrap();
    assert_eq!(
        words(&answered),
        ["PRESENT", "NOT_FOUND", "NOT_FOUND", "ERROR"]
    );
    assert_eq!(
        numbers(&answered.features[0]),
        [Some(7), None, None, None],
        "a sum of nothing is null"
    );
    assert_eq!(
        numbers(&answered.features[1]),
        [Some(8), Some(0), None, None]
    );
}

#[test]
fn an_unreadable_row_fails_a_call_without_statuses_and_is_named() {
    let mut held = rows(&[Some(1), None], &[&[Some(7), None]]);
    held.unreadable
        .push((1, "the checksum is wrong".to_owned()));
    let keys = keys(&[Some("a"), Some("JFK")]);
    let error = rules(None, Vec::new(), 1)
        .judge(held, &keys, 1, false)
        .unwrap_err();
    assert_eq!(error.code(), "P603");
    assert_eq!(
        error.message(),
        "the stored row of view \"weather@2\" for origin=JFK cannot be read: the checksum is wrong"
    );
}

#[test]
fn answers_of_another_shape_are_refused() {
    let store = ProviderInfo {
        scheme: "acme".to_owned(),
        version: "1".to_owned(),
        display_name: "Acme".to_owned(),
    };
    let rules = rules(None, Vec::new(), 1);
    let refused = |rows: ViewRows| {
        let error = rules.check(&rows, 2, &store).unwrap_err();
        assert_eq!(error.code(), "P802");
        error.message().to_owned()
    };
    let fine = rows(&[Some(1), None], &[&[Some(7), None]]);
    assert!(rules.check(&fine, 2, &store).is_ok());
    assert_eq!(
        refused(rows(&[Some(1)], &[&[Some(7)]])),
        "Acme was asked for 2 keys and answered 1 event times of view \"weather@2\""
    );
    assert_eq!(
        refused(rows(&[Some(1), None], &[&[Some(7)]])),
        "Acme was asked for 2 keys and answered 1 values for feature 0 of view \"weather@2\""
    );
    assert_eq!(
        refused(rows(&[Some(1), None], &[])),
        "Acme was asked for 1 features and answered 0 of view \"weather@2\""
    );
    let mut other = fine.clone();
    other.features[0] = Arc::new(StringArray::from(vec!["a", "b"]));
    assert_eq!(
        refused(other),
        "Acme was asked for Int64 and answered Utf8 for feature 0 of view \"weather@2\""
    );
    let mut other = fine.clone();
    other.event_times = TimestampMicrosecondArray::from(vec![1, 2]);
    assert!(refused(other).contains("event times and answered Timestamp"));
    let mut other = fine;
    other.unreadable.push((2, String::new()));
    assert!(refused(other).contains("answered about row 2"));
}
