//! The Arrow Flight front end: training sets, online reads and pushes over one port.
//!
//! Decides how calls of the protocol are spelled, let in, limited, measured and told as gRPC status, and
//! how rows become messages. What a request means is the store's business; this crate knows no vendor.
//!
//! The protocol is in `docs/flight.md`.

mod answering;
mod auth;
mod background;
pub mod command;
mod edge;
mod histogram;
mod incoming;
mod inflight;
mod meaning;
mod metrics;
mod online;
mod options;
mod read;
mod reflection;
mod serve;
mod service;
mod spines;
mod state;
mod status;
mod stop;
mod tls;
mod transport;
mod turns;
mod values;
mod verbs;
pub mod wire;

pub use auth::Role;
pub use options::Limits;
pub use serve::Server;
