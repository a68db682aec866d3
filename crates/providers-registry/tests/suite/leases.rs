//! Leases.

use std::time::Duration;

use provender_core::provider::Lease;
use provender_core::{Context, ErrorKind};

use crate::common::{Backend, cx};

const LONG: Duration = Duration::from_secs(60);
/// Long enough for a call to end before it on a busy machine.
const SHORT: Duration = Duration::from_millis(1_500);
const MORE_THAN_SHORT: Duration = Duration::from_millis(1_700);

pub async fn held_lease_is_refused_with_holder_and_time_left(backend: &Backend) {
    let registry = backend.open().await;
    let lease = registry
        .acquire_lease(&cx(), "materialize v@1", "host a", LONG)
        .await
        .unwrap();
    assert_eq!(
        (
            lease.project.as_str(),
            lease.name.as_str(),
            lease.holder.as_str()
        ),
        ("flights", "materialize v@1", "host a")
    );
    let left_us = lease.expires_us - provender_core::time::now_us();
    assert!((50_000_000..=60_000_000).contains(&left_us), "{left_us}");

    let other = backend.open().await;
    let refused = other
        .acquire_lease(&cx(), "materialize v@1", "host b", LONG)
        .await;
    let error = refused.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "P305"));
    let start = "\"materialize v@1\" of project \"flights\" is in progress: \"host a\" holds its lease for ";
    let message = error.message();
    assert!(message.starts_with(start), "{message}");
    let left = message[start.len()..].strip_suffix(" s more").unwrap();
    assert!(
        (50..=60).contains(&left.parse::<u32>().unwrap()),
        "{message}"
    );

    // Other work and other projects are free.
    other
        .acquire_lease(&cx(), "materialize w@1", "host b", LONG)
        .await
        .unwrap();
    let elsewhere = Context::new("other");
    other
        .acquire_lease(&elsewhere, "materialize v@1", "host b", LONG)
        .await
        .unwrap();

    registry.release_lease(&cx(), &lease).await.unwrap();
    other
        .acquire_lease(&cx(), "materialize v@1", "host b", LONG)
        .await
        .unwrap();
    // A late release by the former holder takes nothing away.
    registry.release_lease(&cx(), &lease).await.unwrap();
    let error = registry
        .acquire_lease(&cx(), "materialize v@1", "host a", LONG)
        .await
        .unwrap_err();
    assert!(error.message().contains("\"host b\" holds"), "{error}");
}

pub async fn tokens_grow_with_each_holder_only(backend: &Backend) {
    let registry = backend.open().await;
    let first = registry
        .acquire_lease(&cx(), "x", "a", SHORT)
        .await
        .unwrap();
    assert_eq!(first.token, 1);
    let again = registry.acquire_lease(&cx(), "x", "a", LONG).await.unwrap();
    assert_eq!(again.token, 1);
    assert!(again.expires_us > first.expires_us + 30_000_000);
    let renewed = registry.renew_lease(&cx(), &again, 2 * LONG).await.unwrap();
    assert_eq!(renewed.token, 1);
    assert!(renewed.expires_us > again.expires_us + 30_000_000);
    registry.release_lease(&cx(), &renewed).await.unwrap();
    registry.release_lease(&cx(), &renewed).await.unwrap();
    let second = registry.acquire_lease(&cx(), "x", "a", LONG).await.unwrap();
    assert_eq!(second.token, 2);
    registry.release_lease(&cx(), &second).await.unwrap();
    let third = registry
        .acquire_lease(&cx(), "x", "b", Duration::MAX)
        .await
        .unwrap();
    assert_eq!((third.token, third.expires_us), (3, i64::MAX));
    assert_eq!(
        registry
            .acquire_lease(&cx(), "y", "b", LONG)
            .await
            .unwrap()
            .token,
        1
    );
}

pub async fn lease_that_ran_out_can_be_taken(backend: &Backend) {
    let registry = backend.open().await;
    let lease = registry
        .acquire_lease(&cx(), "x", "a", SHORT)
        .await
        .unwrap();
    assert!(
        registry
            .acquire_lease(&cx(), "x", "b", SHORT)
            .await
            .is_err()
    );
    tokio::time::sleep(MORE_THAN_SHORT).await;
    let taken = registry.acquire_lease(&cx(), "x", "b", LONG).await.unwrap();
    assert_eq!((taken.holder.as_str(), taken.token), ("b", lease.token + 1));
}

pub async fn renewal_fails_once_somebody_else_took_over(backend: &Backend) {
    let registry = backend.open().await;
    let lease = registry
        .acquire_lease(&cx(), "x", "a", SHORT)
        .await
        .unwrap();
    tokio::time::sleep(MORE_THAN_SHORT).await;
    // It ran out, but nobody took it.
    let lease = registry.renew_lease(&cx(), &lease, SHORT).await.unwrap();
    tokio::time::sleep(MORE_THAN_SHORT).await;
    let other = registry.acquire_lease(&cx(), "x", "b", LONG).await.unwrap();
    let error = registry.renew_lease(&cx(), &lease, LONG).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "P305"));
    assert!(
        error.message().contains("\"b\" holds its lease for"),
        "{error}"
    );

    registry.release_lease(&cx(), &other).await.unwrap();
    for (lease, how) in [
        (&lease, "it ran out and \"b\" had it since"),
        (&other, "it was given back"),
        (
            &Lease {
                name: "y".to_owned(),
                ..lease.clone()
            },
            "it was never taken",
        ),
    ] {
        let error = registry.renew_lease(&cx(), lease, LONG).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "P305"));
        assert!(error.message().ends_with(how), "{error}");
    }
}

pub async fn of_many_only_one_gets_a_lease(backend: &Backend) {
    let pools = [backend.open().await, backend.open().await];
    for round in 1..=5_u64 {
        let mut takers = tokio::task::JoinSet::new();
        for taker in 0..16_usize {
            let registry = pools[taker % 2].clone();
            takers.spawn(async move {
                registry
                    .acquire_lease(&cx(), "x", &format!("host {taker}"), LONG)
                    .await
            });
        }
        let mut won = Vec::new();
        while let Some(ended) = takers.join_next().await {
            match ended.unwrap() {
                Ok(lease) => won.push(lease),
                Err(error) => assert_eq!(error.code(), "P305", "{error:?}"),
            }
        }
        assert_eq!(won.len(), 1, "{won:?}");
        assert_eq!(won[0].token, round);
        pools[0].release_lease(&cx(), &won[0]).await.unwrap();
    }
}
