//! The one place where failures of Redis and of the client become the product's errors.

use std::fmt;

use provender_core::{Error, codes};

/// What sort of failure it is, as far as this crate acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// The server cannot be reached, or does not answer.
    Away,
    /// The server took as long as it may and did not answer.
    Silent,
    /// The server is there and cannot serve now: it loads its data, or its cluster is down.
    NotReady,
    /// The server is no primary any more, or holds other slots than was thought.
    Moved,
    /// Who connects is not known.
    Credentials,
    /// Who connects may not do this.
    NotAllowed,
    /// The server's memory is full.
    Full,
    /// The server says something that this crate has no meaning for.
    Refused,
}

/// One failure of a call to a server. Cheap enough to be told to all that wait for one connection.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// What happened, as a sentence's end: `10.0.0.1:6379 does not answer`.
    pub(crate) what: String,
}

impl Fault {
    pub(crate) fn new(kind: FaultKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
        }
    }

    /// Whether another try can help, after a look at who serves what.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(
            self.kind,
            FaultKind::Away | FaultKind::Silent | FaultKind::NotReady | FaultKind::Moved
        )
    }

    /// Whether any other failure would tell people more than this one.
    pub(crate) fn says_less(&self) -> bool {
        self.kind == FaultKind::Away
    }

    /// What a reply that is an error means; `address` is who sent it.
    pub(crate) fn of_reply(address: &dyn fmt::Display, code: &str, detail: &str) -> Self {
        let kind = match code {
            "LOADING" | "CLUSTERDOWN" | "MASTERDOWN" | "TRYAGAIN" | "BUSY" | "MISCONF"
            | "NOREPLICAS" => FaultKind::NotReady,
            "READONLY" | "MOVED" | "ASK" => FaultKind::Moved,
            "NOAUTH" | "WRONGPASS" => FaultKind::Credentials,
            "NOPERM" => FaultKind::NotAllowed,
            "OOM" => FaultKind::Full,
            _ => FaultKind::Refused,
        };
        Self::new(kind, format!("{address} answers {code} {detail}"))
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let (code, what, help) = match fault.kind {
            FaultKind::Away | FaultKind::Silent => (
                &codes::ONLINE_UNAVAILABLE,
                "Redis cannot be reached",
                "check that it runs and that its address is right, and try again",
            ),
            FaultKind::NotReady | FaultKind::Moved => (
                &codes::ONLINE_UNAVAILABLE,
                "Redis cannot serve now",
                "try again a little later",
            ),
            FaultKind::Credentials => (
                &codes::ONLINE_CREDENTIALS,
                "Redis does not take the login",
                "check the online store's options username and password, and the variables that they name",
            ),
            FaultKind::NotAllowed => (
                &codes::ONLINE_DENIED,
                "Redis does not allow its user this",
                "let the ACL user use the commands and keys that the documentation of `type: redis` lists",
            ),
            FaultKind::Full => (
                &codes::ONLINE_MEMORY,
                "Redis has no memory left for more rows",
                "raise maxmemory, drop what is not needed, or give views a ttl; what was written before is unharmed, and writing all again is right",
            ),
            FaultKind::Refused => (
                &codes::ONLINE_UNAVAILABLE,
                "Redis refuses a command",
                "see the documentation of `type: redis` for the versions that it works with",
            ),
        };
        let error = Self::new(code, format!("{what}: {}", fault.what)).help(help);
        match fault.kind {
            FaultKind::Refused => error.retryable(false),
            _ => error,
        }
    }
}
