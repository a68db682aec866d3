//! Materialisation intervals and leases, which live beside the revisions.

use std::time::Duration;

use futures::future::join_all;
use provender_core::ErrorKind;
use provender_core::error::codes;
use provender_core::provider::{Interval, Registry, Revision, ViewVersion};

use super::{ensure, fails, fresh_project, rule, sleep, works};

/// Intervals come back by end, merged where they overlap or touch; per view version; they make no
/// revision and can be forgotten.
///
/// # Errors
/// A text that says which of it does not hold.
pub async fn intervals_are_merged(registry: &dyn Registry) -> Result<(), String> {
    rule("intervals_are_merged", async {
        let cx = &fresh_project("intervals");
        let view = |name: &str, version| ViewVersion {
            project: cx.project().to_owned(),
            view: name.to_owned(),
            version,
        };
        let weather = &view("weather", 1);
        // Each step: what is recorded, and what all intervals are then.
        let steps = [
            (interval(10, 20), vec![interval(10, 20)]),
            (interval(30, 40), vec![interval(10, 20), interval(30, 40)]),
            (
                interval(-5, 5),
                vec![interval(-5, 5), interval(10, 20), interval(30, 40)],
            ),
            (
                interval(12, 18),
                vec![interval(-5, 5), interval(10, 20), interval(30, 40)],
            ),
            (interval(5, 10), vec![interval(-5, 20), interval(30, 40)]),
            (
                interval(21, 29),
                vec![interval(-5, 20), interval(21, 29), interval(30, 40)],
            ),
            (interval(19, 31), vec![interval(-5, 40)]),
            (
                from_the_beginning(-100),
                vec![from_the_beginning(-100), interval(-5, 40)],
            ),
            (from_the_beginning(0), vec![from_the_beginning(40)]),
            (interval(7, 9), vec![from_the_beginning(40)]),
        ];
        for (recorded, expected) in steps {
            let answer = registry.record_interval(cx, weather, recorded).await;
            works("record_interval", answer)?;
            let got = works("intervals", registry.intervals(cx, weather).await)?;
            ensure(got == expected, || {
                format!("after recording {recorded:?}: expected {expected:?}, got {got:?}")
            })?;
        }
        let others = [view("weather", 2), view("wind", 1)];
        for other in &others {
            let got = works("intervals", registry.intervals(cx, other).await)?;
            ensure(got.is_empty(), || {
                format!("{other:?} has no intervals of its own, got {got:?}")
            })?;
            let answer = registry.record_interval(cx, other, interval(1, 2)).await;
            works("record_interval", answer)?;
        }
        works(
            "forget_intervals",
            registry.forget_intervals(cx, weather).await,
        )?;
        works(
            "forget_intervals twice",
            registry.forget_intervals(cx, weather).await,
        )?;
        let got = works("intervals", registry.intervals(cx, weather).await)?;
        ensure(got.is_empty(), || {
            format!("forgotten intervals are gone, got {got:?}")
        })?;
        let got = works("intervals", registry.intervals(cx, &others[0]).await)?;
        ensure(got == [interval(1, 2)], || {
            format!("another version's intervals stay, got {got:?}")
        })?;
        let revision = works("revision", registry.revision(cx).await)?;
        ensure(revision == Revision(0), || {
            format!("intervals make no revision, got {}", revision.0)
        })
    })
    .await
}

/// A lease excludes other holders until it is released or runs out, and its holder gets it again;
/// tokens only grow; a lease that somebody else took cannot be renewed or released; of many who ask
/// at once one gets it; names and projects are apart.
///
/// # Errors
/// A text that says which of it does not hold.
pub async fn leases_exclude(registry: &dyn Registry) -> Result<(), String> {
    const LONG: Duration = Duration::from_secs(600);
    const SHORT: Duration = Duration::from_millis(200);
    rule("leases_exclude", async {
        let cx = &fresh_project("leases");
        let acquire = |name: &'static str, holder: &'static str, ttl: Duration| {
            registry.acquire_lease(cx, name, holder, ttl)
        };
        let held = |answer| {
            let error = fails("a lease that another holds", ErrorKind::Conflict, answer)?;
            ensure(error.code() == codes::LEASE_HELD.id, || {
                format!("a held lease has the code P305, got {}", error.code())
            })?;
            Ok::<_, String>(error.to_string())
        };
        let first = works("acquire_lease", acquire("weather", "ann", LONG).await)?;
        let is_named =
            first.project == cx.project() && first.name == "weather" && first.holder == "ann";
        ensure(is_named, || {
            format!("a lease says whose it is, got {first:?}")
        })?;
        let refused = fails(
            "a lease that ann holds",
            ErrorKind::Conflict,
            acquire("weather", "bob", LONG).await,
        )?;
        let mut context = refused.context_pairs().iter();
        ensure(
            context.any(|(key, holder)| key == "holder" && holder == "ann"),
            || format!("the refusal has its holder as context, got {refused:?}"),
        )?;
        let text = held(acquire("weather", "bob", LONG).await)?;
        ensure(text.contains("ann"), || {
            format!("the refusal names the holder, got {text}")
        })?;
        let again = works(
            "acquire_lease by the holder",
            acquire("weather", "ann", LONG).await,
        )?;
        ensure(
            again.token >= first.token && again.expires_us >= first.expires_us,
            || format!("the holder gets the lease with a new end, got {again:?} after {first:?}"),
        )?;
        let renewed = works(
            "renew_lease",
            registry.renew_lease(cx, &again, LONG * 2).await,
        )?;
        ensure(renewed.expires_us > again.expires_us, || {
            format!("renewing moves the end, got {renewed:?} after {again:?}")
        })?;
        ensure(renewed.token == again.token, || {
            "renewing keeps the token".to_owned()
        })?;
        works(
            "acquire_lease of another name",
            acquire("wind", "bob", LONG).await,
        )?;
        let other = &fresh_project("leases_other");
        let answer = registry.acquire_lease(other, "weather", "bob", LONG).await;
        works("acquire_lease in another project", answer)?;

        works("release_lease", registry.release_lease(cx, &renewed).await)?;
        works(
            "release_lease twice",
            registry.release_lease(cx, &renewed).await,
        )?;
        let short = works(
            "acquire_lease after release",
            acquire("weather", "bob", SHORT).await,
        )?;
        ensure(short.token > renewed.token, || {
            format!("tokens grow from holder to holder, got {short:?} after {renewed:?}")
        })?;
        held(registry.renew_lease(cx, &renewed, LONG).await)?;
        works(
            "release_lease of a lost one",
            registry.release_lease(cx, &renewed).await,
        )?;
        held(acquire("weather", "cid", LONG).await)?;

        sleep(SHORT * 2).await;
        let taken = works(
            "acquire_lease after it ran out",
            acquire("weather", "cid", LONG).await,
        )?;
        ensure(taken.token > short.token, || {
            format!("tokens grow from holder to holder, got {taken:?} after {short:?}")
        })?;
        held(registry.renew_lease(cx, &short, LONG).await)?;

        let holders = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let answers = join_all(holders.map(|holder| acquire("run", holder, LONG))).await;
        let n_got = answers.iter().filter(|answer| answer.is_ok()).count();
        ensure(n_got == 1, || {
            format!("of 8 who ask at once 1 gets the lease, {n_got} got it")
        })
    })
    .await
}

fn interval(start_us: i64, end_us: i64) -> Interval {
    Interval {
        start_us: Some(start_us),
        end_us,
    }
}

fn from_the_beginning(end_us: i64) -> Interval {
    Interval {
        start_us: None,
        end_us,
    }
}
