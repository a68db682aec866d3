//! Runs seeds over all cores and reports the first failures.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use provender_conformance::Table;
use provender_core::provider::Resources;
use provender_core::{BatchStream, Context, Result, codes};
use tokio::runtime::{Builder, Runtime};

/// How many failures of one test are reported; more of them seldom say more.
fn max_failures() -> usize {
    std::env::var("PROVENDER_FAILURES").map_or(3, |text| text.parse().expect("PROVENDER_FAILURES"))
}

/// How many cases had a small memory limit, and how many of these were refused for it.
#[derive(Default)]
pub struct Limited {
    asked: AtomicU64,
    refused: AtomicU64,
}

impl Limited {
    /// Takes note of an answer; true if the case is one whose limit may be too small for a single
    /// key and that was refused for it.
    pub fn is_refusal<T>(&self, limit: Option<u64>, answer: &Result<T>) -> bool {
        if limit.is_none() {
            return false;
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        let refused = matches!(answer, Err(error) if error.code() == codes::MEMORY_LIMIT.id);
        self.refused.fetch_add(refused.into(), Ordering::Relaxed);
        refused
    }

    /// An engine that gives up under every small limit does not spill: most must be answered.
    pub fn assert_most_are_answered(&self) {
        let (asked, refused) = (
            self.asked.load(Ordering::Relaxed),
            self.refused.load(Ordering::Relaxed),
        );
        assert!(
            refused * 2 <= asked,
            "{refused} of {asked} small memory limits were refused"
        );
    }
}

thread_local! {
    static RUNTIME: RefCell<Option<Runtime>> = const { RefCell::new(None) };
}

/// How many cases the point-in-time join runs.
pub fn n_cases() -> u64 {
    std::env::var("PROVENDER_CASES").map_or(10_000, |text| text.parse().expect("PROVENDER_CASES"))
}

/// Runs `check` on every seed from 0 to `n_cases`, or on `PROVENDER_SEED` alone, and panics with the
/// first failures.
pub fn run(n_cases: u64, check: impl Fn(u64) -> Result<(), String> + Sync) {
    let only = std::env::var("PROVENDER_SEED").ok();
    let only: Option<u64> = only.map(|text| text.parse().expect("PROVENDER_SEED"));
    let next = AtomicU64::new(only.unwrap_or(0));
    let end = only.map_or(n_cases, |seed| seed + 1);
    let failures = Mutex::new(Vec::new());
    let max_failures = max_failures();
    let n_threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || failures.lock().unwrap().len() >= max_failures {
                        return;
                    }
                    if let Err(why) = check(seed) {
                        failures.lock().unwrap().push(format!("seed {seed}: {why}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "\n{}", failures.join("\n\n"));
}

/// Runs a request to its end on this thread's runtime; a panic is an error text.
pub fn answer(request: impl Future<Output = Result<BatchStream>>) -> Result<Result<Table>, String> {
    block_on(async {
        let stream = request.await?;
        Table::collect(stream).await
    })
}

/// Runs work to its end on this thread's runtime; a panic is an error text.
pub fn block_on<T>(work: impl Future<Output = T>) -> Result<T, String> {
    RUNTIME.with(|runtime| {
        let mut runtime = runtime.borrow_mut();
        let runtime = runtime.get_or_insert_with(|| {
            let mut builder = Builder::new_current_thread();
            builder.enable_all().build().expect("a runtime")
        });
        let finished = catch_unwind(AssertUnwindSafe(|| runtime.block_on(work)));
        finished.map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("panicked: {}", text.unwrap_or("?"))
        })
    })
}

/// A context that ends a request which hangs.
pub fn context() -> Context {
    Context::new("properties").with_timeout(Duration::from_secs(60))
}

/// Limits: the case's own, or enough for any case.
pub fn resources(memory_limit_bytes: Option<u64>) -> Resources {
    Resources {
        memory_limit_bytes: memory_limit_bytes.unwrap_or(256 << 20),
        spill_path: None,
        n_threads: 2,
    }
}
