//! Leases: who may work on what, until when, by the database's clock.
//!
//! Decides that the row of a lease stays when it is given back, so that its token goes on counting.

use std::time::Duration;

use provender_core::provider::Lease;
use provender_core::{Error, codes};

use crate::connection::{Session, Value};
use crate::database::{Mode, Work};
use crate::error::Failure;
use crate::schema::head;

/// The `expires_us` of a lease that nobody holds.
const GIVEN_BACK: i64 = i64::MIN;

/// Takes a lease, or prolongs it for its present holder.
pub(crate) struct AcquireLease<'a> {
    pub(crate) project: &'a str,
    pub(crate) name: &'a str,
    pub(crate) holder: &'a str,
    pub(crate) ttl: Duration,
}

impl Work for AcquireLease<'_> {
    type Output = Lease;
    const MODE: Mode = Mode::Write;
    const DOING: &'static str = "taking a lease";

    async fn run(&self, session: &mut Session) -> Result<Lease, Failure> {
        head(session, self.project).await?;
        // Makes the row or changes nothing of it; either way it is locked from here on.
        let row = session
            .row(
                "INSERT INTO leases (project, name, holder, token, expires_us)
                    VALUES ($1, $2, '', 0, $3)
                    ON CONFLICT (project, name) DO UPDATE SET token = leases.token
                    RETURNING holder, token, expires_us",
                &[
                    Value::Text(self.project),
                    Value::Text(self.name),
                    Value::Int(GIVEN_BACK),
                ],
            )
            .await?;
        let (holder, token, expires_us) = (row.text(0)?, row.int(1)?, row.int(2)?);
        let now_us = session.now_us().await?;
        let is_held = expires_us > now_us;
        if is_held && holder != self.holder {
            return Err(held(self.project, self.name, holder, expires_us, now_us).into());
        }
        let token = if is_held { token } else { token + 1 };
        let lease = Lease {
            project: self.project.to_owned(),
            name: self.name.to_owned(),
            holder: self.holder.to_owned(),
            token: u64::try_from(token).unwrap_or(0),
            expires_us: end(now_us, self.ttl),
        };
        session
            .execute(
                "UPDATE leases SET holder = $3, token = $4, expires_us = $5
                    WHERE project = $1 AND name = $2",
                &[
                    Value::Text(&lease.project),
                    Value::Text(&lease.name),
                    Value::Text(&lease.holder),
                    Value::Int(token),
                    Value::Int(lease.expires_us),
                ],
            )
            .await?;
        Ok(lease)
    }
}

/// Prolongs a lease that nobody else took meanwhile.
pub(crate) struct RenewLease<'a> {
    pub(crate) lease: &'a Lease,
    pub(crate) ttl: Duration,
}

impl Work for RenewLease<'_> {
    type Output = Lease;
    const MODE: Mode = Mode::Write;
    const DOING: &'static str = "prolonging a lease";

    async fn run(&self, session: &mut Session) -> Result<Lease, Failure> {
        let lease = self.lease;
        head(session, &lease.project).await?;
        let rows = session
            .rows(
                "UPDATE leases SET token = token WHERE project = $1 AND name = $2
                    RETURNING holder, token, expires_us",
                &[Value::Text(&lease.project), Value::Text(&lease.name)],
            )
            .await?;
        let now_us = session.now_us().await?;
        let Some(row) = rows.first() else {
            return Err(lost(lease, "it was never taken").into());
        };
        let (holder, token, expires_us) = (row.text(0)?, row.int(1)?, row.int(2)?);
        if u64::try_from(token) != Ok(lease.token) || holder != lease.holder {
            return Err(if expires_us > now_us {
                held(&lease.project, &lease.name, holder, expires_us, now_us).into()
            } else {
                lost(lease, &format!("it ran out and {holder:?} had it since")).into()
            });
        }
        if expires_us == GIVEN_BACK {
            return Err(lost(lease, "it was given back").into());
        }
        let prolonged = Lease {
            expires_us: end(now_us, self.ttl),
            ..lease.clone()
        };
        session
            .execute(
                "UPDATE leases SET expires_us = $3 WHERE project = $1 AND name = $2",
                &[
                    Value::Text(&lease.project),
                    Value::Text(&lease.name),
                    Value::Int(prolonged.expires_us),
                ],
            )
            .await?;
        Ok(prolonged)
    }
}

/// Gives a lease back, if it is still the one that is held.
pub(crate) struct ReleaseLease<'a> {
    pub(crate) lease: &'a Lease,
}

impl Work for ReleaseLease<'_> {
    type Output = ();
    const MODE: Mode = Mode::Write;
    const DOING: &'static str = "giving a lease back";

    async fn run(&self, session: &mut Session) -> Result<(), Failure> {
        let lease = self.lease;
        head(session, &lease.project).await?;
        session
            .execute(
                "UPDATE leases SET expires_us = $5
                    WHERE project = $1 AND name = $2 AND holder = $3 AND token = $4",
                &[
                    Value::Text(&lease.project),
                    Value::Text(&lease.name),
                    Value::Text(&lease.holder),
                    Value::Int(i64::try_from(lease.token).unwrap_or(i64::MAX)),
                    Value::Int(GIVEN_BACK),
                ],
            )
            .await?;
        Ok(())
    }
}

fn end(now_us: i64, ttl: Duration) -> i64 {
    now_us.saturating_add(i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX))
}

fn held(project: &str, name: &str, holder: &str, expires_us: i64, now_us: i64) -> Error {
    // Rounded up: a lease that is held has some time left.
    let left_s = expires_us.saturating_sub(now_us).saturating_add(999_999) / 1_000_000;
    Error::new(
        &codes::LEASE_HELD,
        format!("{name:?} of project {project:?} is in progress: {holder:?} holds its lease for {left_s} s more"),
    )
    .help("wait until that run ends, or until its lease runs out")
    .context("project", project)
    .context("lease", name)
    .context("holder", holder)
}

fn lost(lease: &Lease, how: &str) -> Error {
    Error::new(
        &codes::LEASE_HELD,
        format!(
            "{:?} no longer holds the lease {:?} of project {:?}: {how}",
            lease.holder, lease.name, lease.project
        ),
    )
    .help("stop this run and start another")
    .context("project", lease.project.clone())
    .context("lease", lease.name.clone())
    .retryable(false)
}
