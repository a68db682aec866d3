//! Reads and writes without pause while something happens to Redis, and what of it is wrong.
//!
//! Every key's value grows with each write. A read that starts when value n is acknowledged and ends when m
//! was sent must answer a value from n to m, whole; and no call may outlive its deadline.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use provender_core::Context;
use provender_core::request::ViewLayout;
use provender_providers_redis::RedisOnlineStore;
use tokio::task::JoinSet;

use crate::servers::PATIENCE;
use crate::support::{answers, is_away, keys, label, numbered, reader, rows, try_write};

/// What a call is given.
const DEADLINE: Duration = Duration::from_secs(1);
/// How much later than that it may end on a machine that is busy.
const LATENESS: Duration = Duration::from_secs(3);
const N_KEYS: usize = 400;
const N_WRITERS: usize = 2;
const N_READERS: usize = 3;
const KEYS_A_CALL: usize = 40;

/// The tasks, and what they found so far.
pub struct Load {
    state: Arc<State>,
    tasks: JoinSet<()>,
}

struct State {
    store: RedisOnlineStore,
    layout: ViewLayout,
    keys: Vec<String>,
    sent: Vec<AtomicI64>,
    acknowledged: Vec<AtomicI64>,
    is_over: AtomicBool,
    n_reads: AtomicU64,
    n_writes: AtomicU64,
    n_failed: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

impl Load {
    /// Writes every key once, and begins.
    pub async fn start(store: RedisOnlineStore, layout: ViewLayout) -> Self {
        let keys = numbered(N_KEYS);
        crate::support::write(&store, &layout, &rows(&keys, 1)).await;
        let ones = || (0..N_KEYS).map(|_| AtomicI64::new(1)).collect();
        let state = Arc::new(State {
            store,
            layout,
            keys,
            sent: ones(),
            acknowledged: ones(),
            is_over: AtomicBool::new(false),
            n_reads: AtomicU64::new(0),
            n_writes: AtomicU64::new(0),
            n_failed: AtomicU64::new(0),
            wrong: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for writer in 0..N_WRITERS {
            tasks.spawn(writes(Arc::clone(&state), writer));
        }
        for number in 0..N_READERS {
            tasks.spawn(reads(Arc::clone(&state), number));
        }
        let load = Self { state, tasks };
        load.settled().await;
        load
    }

    /// Waits until every kind of call works that begins from now on.
    ///
    /// # Panics
    /// If that takes too long.
    pub async fn settled(&self) {
        let state = &self.state;
        let n_done = || {
            let (n_reads, n_writes) = (&state.n_reads, &state.n_writes);
            (
                n_reads.load(Ordering::SeqCst),
                n_writes.load(Ordering::SeqCst),
            )
        };
        let before = n_done();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = n_done();
            // Some of those had begun before.
            if now.0 >= before.0 + 10 && now.1 >= before.1 + 10 {
                return;
            }
            let wrong = state.wrong.lock().unwrap().clone();
            assert!(
                Instant::now() < deadline,
                "not used again: {before:?}, then {now:?}, {} failed, {wrong:?}",
                self.n_failed()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Calls that were told that Redis is away.
    pub fn n_failed(&self) -> u64 {
        self.state.n_failed.load(Ordering::SeqCst)
    }

    /// Waits until a call fails.
    ///
    /// # Panics
    /// If none does.
    pub async fn failing(&self) {
        let before = self.n_failed();
        let deadline = Instant::now() + PATIENCE;
        while self.n_failed() == before {
            assert!(Instant::now() < deadline, "no call fails");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends, and reads every key once more.
    ///
    /// # Panics
    /// If anything was wrong.
    pub async fn stop(mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        let state = &self.state;
        let all: Vec<usize> = (0..N_KEYS).collect();
        let reader = reader(&state.store, &state.layout).await;
        let cx = crate::support::cx();
        let batch = keys(&state.layout, &state.keys);
        let least = state.acknowledged.iter();
        let least: Vec<i64> = least.map(|value| value.load(Ordering::SeqCst)).collect();
        let found = reader.read(&cx, &batch).await.unwrap();
        state.judge(&all, &least, &found);
        let wrong = state.wrong.lock().unwrap();
        assert!(
            wrong.is_empty(),
            "{} wrong, such as {:#?}",
            wrong.len(),
            &wrong[..wrong.len().min(5)]
        );
    }
}

impl State {
    fn tell(&self, wrong: String) {
        self.wrong.lock().unwrap().push(wrong);
    }

    /// Whether a call ended in time, and, if it failed, for a reason that it may have.
    fn judge_call<T>(
        &self,
        what: &str,
        started: Instant,
        ended: provender_core::Result<T>,
    ) -> Option<T> {
        let took = started.elapsed();
        if took > DEADLINE + LATENESS {
            self.tell(format!("a {what} of {DEADLINE:?} took {took:?}"));
        }
        match ended {
            Ok(done) => Some(done),
            Err(error) => {
                self.n_failed.fetch_add(1, Ordering::SeqCst);
                if !is_away(&error) {
                    self.tell(format!("a {what} failed: {error:?}"));
                }
                None
            }
        }
    }

    fn judge(&self, chosen: &[usize], least: &[i64], found: &provender_core::request::OnlineRows) {
        if let Some((row, why)) = found.views[0].unreadable.first() {
            self.tell(format!("{}: {why}", self.keys[chosen[*row]]));
        }
        for ((number, least), found) in chosen.iter().zip(least).zip(answers(found)) {
            let key = &self.keys[*number];
            let most = self.sent[*number].load(Ordering::SeqCst);
            match found {
                Some((event, value, text))
                    if event == value
                        && text == label(key, value)
                        && (*least..=most).contains(&value) => {}
                other => self.tell(format!("{key} is {other:?}, not of {least} to {most}")),
            }
        }
    }
}

/// Each writer has keys of its own, so that they only grow.
async fn writes(state: Arc<State>, writer: usize) {
    let mine: Vec<usize> = (writer..N_KEYS).step_by(N_WRITERS).collect();
    let mut value = 1;
    while !state.is_over.load(Ordering::SeqCst) {
        value += 1;
        for chosen in mine.chunks(KEYS_A_CALL) {
            let rows: Vec<_> = chosen
                .iter()
                .map(|number| crate::support::row(&state.keys[*number], value))
                .collect();
            for number in chosen {
                state.sent[*number].store(value, Ordering::SeqCst);
            }
            let cx = Context::new("p").with_timeout(DEADLINE);
            let started = Instant::now();
            let written = try_write(&cx, &state.store, &state.layout, &rows).await;
            if state.judge_call("write", started, written).is_some() {
                for number in chosen {
                    state.acknowledged[*number].store(value, Ordering::SeqCst);
                }
                state.n_writes.fetch_add(1, Ordering::SeqCst);
            } else {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        tokio::task::yield_now().await;
    }
}

async fn reads(state: Arc<State>, number: usize) {
    let reader = reader(&state.store, &state.layout).await;
    let mut start = number * 131;
    while !state.is_over.load(Ordering::SeqCst) {
        start += 1;
        let chosen: Vec<usize> = (0..KEYS_A_CALL)
            .map(|i| (start * 7 + i * 61) % N_KEYS)
            .collect();
        let least: Vec<i64> = chosen
            .iter()
            .map(|number| state.acknowledged[*number].load(Ordering::SeqCst))
            .collect();
        let wanted: Vec<String> = chosen
            .iter()
            .map(|number| state.keys[*number].clone())
            .collect();
        let cx = Context::new("p").with_timeout(DEADLINE);
        let started = Instant::now();
        let found = reader.read(&cx, &keys(&state.layout, &wanted)).await;
        match state.judge_call("read", started, found) {
            Some(found) => {
                state.judge(&chosen, &least, &found);
                state.n_reads.fetch_add(1, Ordering::SeqCst);
            }
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
        tokio::task::yield_now().await;
    }
}
