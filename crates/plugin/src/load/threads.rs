//! Threads on which a library's code may wait as long as it likes.
//!
//! Each library has its own, so that one whose calls never come back holds up no other library and no
//! thread of the program's runtime. Decides how many there are and how many calls wait for one; it
//! does not know what the calls do.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use provender_core::{Error, Result, codes};

/// Threads of one library.
const MAX_THREADS: usize = 64;
/// Calls that wait for a thread. More are refused at once.
const MAX_QUEUED: usize = 1_024;
/// How long a thread without work is kept.
const IDLE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// The threads of one library.
#[derive(Default)]
pub(super) struct Threads {
    state: Mutex<State>,
    ready: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    n_threads: usize,
    n_idle: usize,
}

impl Threads {
    /// Runs a job on a thread that may wait, after those that came before it if all are taken.
    ///
    /// # Errors
    /// `ResourceExhausted` (`P805`) if too many wait already.
    pub(super) fn run(&'static self, job: impl FnOnce() + Send + 'static) -> Result<()> {
        let mut state = self.state();
        if state.queue.len() >= MAX_QUEUED {
            return Err(busy(&format!(
                "{MAX_QUEUED} calls wait for one of its {MAX_THREADS} threads"
            )));
        }
        state.queue.push_back(Box::new(job));
        if state.n_idle < state.queue.len() && state.n_threads < MAX_THREADS {
            let thread = std::thread::Builder::new().name("plugin-call".to_owned());
            match thread.spawn(move || self.work()) {
                Ok(_) => state.n_threads += 1,
                // The others will come to it.
                Err(_) if state.n_threads > 0 => {}
                Err(error) => {
                    state.queue.pop_back();
                    return Err(busy("no thread could be started for a call").source(error));
                }
            }
        }
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    fn work(&self) {
        let mut state = self.state();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                job();
                state = self.state();
                continue;
            }
            state.n_idle += 1;
            let (woken, waited) = self
                .ready
                .wait_timeout(state, IDLE)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.n_idle -= 1;
            if waited.timed_out() && state.queue.is_empty() {
                state.n_threads -= 1;
                return;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer where a library holds too much already.
pub(super) fn busy(why: &str) -> Error {
    Error::new(
        &codes::PLUGIN_BUSY,
        format!("the plug-in does not come back from its calls: {why}"),
    )
    .help("its store may hang; look there, and start the program again if it stays so")
    .retryable(true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::sync::mpsc;

    use super::*;

    #[test]
    fn jobs_that_never_end_take_their_threads_and_no_more() {
        let threads: &'static Threads = Box::leak(Box::default());
        let (hold, held) = mpsc::channel::<()>();
        let held = std::sync::Arc::new(Mutex::new(held));
        let hang = || {
            let held = held.clone();
            move || {
                let _ = held.lock().unwrap().recv();
            }
        };
        // One thread less than there are hangs, so the next job still runs.
        for _ in 1..MAX_THREADS {
            threads.run(hang()).unwrap();
        }
        let (done, ended) = mpsc::channel();
        let again = done.clone();
        threads.run(move || again.send(1).unwrap()).unwrap();
        assert_eq!(ended.recv_timeout(Duration::from_secs(20)), Ok(1));
        threads.run(hang()).unwrap();
        // Now all are taken, and what comes waits, up to a number.
        let mut refused = None;
        for _ in 0..=2 * MAX_QUEUED {
            let done = done.clone();
            if let Err(error) = threads.run(move || {
                let _ = done.send(2);
            }) {
                refused = Some(error);
                break;
            }
        }
        assert_eq!(refused.unwrap().code(), "P805");
        assert_eq!(threads.state().n_threads, MAX_THREADS);
        drop(hold);
        assert_eq!(ended.recv_timeout(Duration::from_secs(20)), Ok(2));
    }
}
