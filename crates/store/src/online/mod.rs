//! Online reads: the latest values of a service's features, or of a list of features, for some keys.
//!
//! Decides which versions serve a request, which columns a request brings and an answer has, what
//! a stored row is worth at the time of a read (its status, by age, nulls and windows), and that
//! all of this is settled once, when a query is prepared: reading asks the online stores and nothing
//! else. It deliberately knows nothing of how stores keep rows.

mod answer;
mod call;
mod columns;
mod labels;
mod query;
mod request;
mod select;
pub(crate) mod state;
mod watch;

pub use call::OnlineCall;
pub use query::OnlineQuery;
pub use request::OnlineRequest;
