//! What a server is told: limits with their defaults.

use std::time::Duration;

use provender_core::provider::Resources;
use provender_definitions::ServerConfig;

use crate::wire::WireLimits;

/// The limits of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls at work at once, of any kind; more are refused at once.
    pub max_calls: usize,
    /// Historical calls and materialisations at work at once; more are refused at once.
    pub max_background_calls: usize,
    /// Bytes of messages that all calls hold together: taken in and not worked on, or waiting to be
    /// sent; more are refused at once.
    pub max_bytes: usize,
    /// Sizes of messages.
    pub wire: WireLimits,
    /// The most bytes of a message that is taken in.
    pub max_received_bytes: usize,
    /// How long one online read may take, whatever the client allows.
    pub read_timeout: Duration,
    /// How long calls at work may go on once the server is asked to stop.
    pub grace: Duration,
    /// How often the registry is asked whether definitions or online data have moved.
    pub refresh: Duration,
    /// Threads for historical work and materialisation.
    pub background_threads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let n_threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            max_calls: 1_024,
            max_background_calls: 8,
            max_bytes: quarter(Resources::default().memory_limit_bytes),
            wire: WireLimits::default(),
            max_received_bytes: 64 << 20,
            read_timeout: Duration::from_secs(10),
            grace: Duration::from_secs(30),
            refresh: Duration::from_secs(1),
            background_threads: (n_threads / 2).max(1),
        }
    }
}

impl Limits {
    /// The limits of a configuration, with defaults for those that it leaves out.
    pub fn of(config: &ServerConfig, resources: &Resources) -> Self {
        let mut limits = Self {
            max_bytes: quarter(resources.memory_limit_bytes),
            ..Self::default()
        };
        let set = |limit: &mut usize, given: Option<usize>| {
            if let Some(given) = given {
                *limit = given;
            }
        };
        set(&mut limits.max_calls, config.max_calls);
        set(
            &mut limits.max_background_calls,
            config.max_background_calls,
        );
        set(&mut limits.background_threads, config.background_threads);
        set(&mut limits.wire.max_sent_bytes, config.max_message_bytes);
        set(&mut limits.max_bytes, config.max_bytes);
        limits
    }
}

fn quarter(n_bytes: u64) -> usize {
    usize::try_from(n_bytes / 4).unwrap_or(usize::MAX)
}
