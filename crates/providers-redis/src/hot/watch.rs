//! Who looks after a connection: reads where a caller that was to read does not, and ends calls that wait
//! too long.
//!
//! Decides this for all calls at once and every few milliseconds, so that a call needs no timer: each would
//! be the next to ring, and so wake a thread. While there are no calls, nobody looks.

use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Shared, Traffic, Waiter, Watched, lock};

/// After how long without a reply to anybody somebody else reads, whoever was to read; how often that is
/// looked at.
const PATIENCE: Duration = Duration::from_millis(5);

/// Looks without a call in between, after which nobody looks until the next call.
const IDLE_LOOKS: u32 = 100;

/// Looks after a connection for as long as anybody has it.
pub(super) async fn watch(watched: Weak<Shared>) {
    let Some(handle) = watched.upgrade().map(|shared| Arc::clone(&shared.watched)) else {
        return;
    };
    let mut n_idle = 0;
    loop {
        if n_idle < IDLE_LOOKS {
            tokio::time::sleep(PATIENCE).await;
        } else {
            sleep_until_called(&watched, &handle).await;
            n_idle = 0;
        }
        let Some(shared) = watched.upgrade() else {
            return;
        };
        match shared.look() {
            Looked::Broken => return,
            Looked::Idle => n_idle += 1,
            Looked::Busy => n_idle = 0,
            Looked::Stuck { n_waiting } => {
                n_idle = 0;
                shared.read_instead(n_waiting).await;
            }
        }
    }
}

async fn sleep_until_called(watched: &Weak<Shared>, handle: &Watched) {
    handle.is_asleep.store(true, Ordering::SeqCst);
    // A call that came before it could see this does not wake.
    let is_called = watched
        .upgrade()
        .is_none_or(|shared| !lock(&shared.traffic).waiting.is_empty());
    if !is_called {
        handle.woken.notified().await;
    }
    handle.is_asleep.store(false, Ordering::SeqCst);
}

/// What is to be done about a connection.
enum Looked {
    /// Nothing any more.
    Broken,
    /// Nobody waits.
    Idle,
    /// Replies come, or it is too early to say.
    Busy,
    /// So many wait, and nobody has heard anything.
    Stuck { n_waiting: usize },
}

impl Shared {
    fn look(&self) -> Looked {
        let traffic = lock(&self.traffic);
        if traffic.is_broken {
            return Looked::Broken;
        }
        let Some(first) = traffic.waiting.front() else {
            return Looked::Idle;
        };
        self.end_late(&traffic);
        match first.begun.max(traffic.heard).elapsed() >= PATIENCE {
            true => Looked::Stuck {
                n_waiting: traffic.waiting.len(),
            },
            false => Looked::Busy,
        }
    }

    /// Reads until those who waited have their replies; then calls read again.
    async fn read_instead(self: Arc<Self>, n_waiting: usize) {
        let reader = Waiter::new(0);
        let until = {
            let mut traffic = lock(&self.traffic);
            traffic.reader = Some(Arc::clone(&reader));
            traffic.n_answered + n_waiting as u64
        };
        // Somebody else may still want the connection.
        while Arc::strong_count(&self) > 1 {
            let read = poll_fn(|cx| {
                self.poll_read(&reader, cx, || {
                    (lock(&self.traffic).n_answered >= until).then_some(())
                })
            });
            // A connection that broke has told everybody.
            if tokio::time::timeout(PATIENCE, read).await.is_ok() {
                break;
            }
            self.end_late(&lock(&self.traffic));
        }
        self.let_go(&reader);
    }

    /// Ends those who wait too long; the first have waited longest.
    fn end_late(&self, traffic: &Traffic) {
        let waiting = traffic.waiting.iter();
        for waiter in waiting.take_while(|waiter| waiter.begun.elapsed() >= self.timeout) {
            if !waiter.is_late.swap(true, Ordering::Relaxed) {
                waiter.waker.wake();
            }
        }
    }
}
