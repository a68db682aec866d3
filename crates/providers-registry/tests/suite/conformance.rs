//! The rules that every registry must keep.

use provender_conformance::registry;

use crate::common::Backend;

pub async fn every_rule_of_the_kit_holds(backend: &Backend) {
    let opened = backend.open().await;
    if let Err(broken) = registry::all(opened.as_ref()).await {
        panic!("{}: {broken}", backend.scheme);
    }
}

pub async fn rules_hold_for_two_who_share_a_database(backend: &Backend) {
    let (first, second) = (backend.open().await, backend.open().await);
    let answers = tokio::join!(
        registry::all(first.as_ref()),
        registry::all(second.as_ref())
    );
    assert_eq!(answers, (Ok(()), Ok(())), "{}", backend.scheme);
}
