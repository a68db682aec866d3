//! Tasks that are polled again at once if they wake themselves.
//!
//! HTTP/2 wakes the task of a stream from within that task whenever it has room for a message. The runtime takes
//! that for more work than one thread has, and calls another one, which finds nothing to do and then waits for the
//! next message in place of the first: each call would go to a thread, a processor and caches that are cold.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use hyper::rt::Executor;

/// How often a task is polled in a row. Then others have their turn.
const IN_A_ROW: usize = 2;

/// Runs the transport's tasks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spawner;

impl<F> Executor<F> for Spawner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        tokio::spawn(Steady::new(future));
    }
}

/// A future that is polled again at once if it was woken while it was polled, and else only if it was woken.
pub(super) struct Steady<F> {
    future: Pin<Box<F>>,
    state: Arc<State>,
    waker: Waker,
}

/// Neither woken nor polled.
const IDLE: u8 = 0;
const POLLED: u8 = 1;
const WOKEN: u8 = 2;

struct State {
    phase: AtomicU8,
    task: Mutex<Option<Waker>>,
}

impl<F: Future> Steady<F> {
    pub(super) fn new(future: F) -> Self {
        let state = Arc::new(State {
            phase: AtomicU8::new(WOKEN),
            task: Mutex::new(None),
        });
        Self {
            future: Box::pin(future),
            waker: Waker::from(state.clone()),
            state,
        }
    }
}

impl<F: Future> Future for Steady<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let state = &*this.state;
        state.belongs_to(cx.waker());
        for _ in 0..IN_A_ROW {
            if state.moves(WOKEN, POLLED) {
                let polled = this
                    .future
                    .as_mut()
                    .poll(&mut Context::from_waker(&this.waker));
                state.moves(POLLED, IDLE);
                if polled.is_ready() {
                    return polled;
                }
            }
        }
        if state.phase.load(Ordering::Acquire) == WOKEN {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl State {
    fn moves(&self, from: u8, to: u8) -> bool {
        let (moved, other) = (Ordering::AcqRel, Ordering::Acquire);
        self.phase.compare_exchange(from, to, moved, other).is_ok()
    }

    fn belongs_to(&self, task: &Waker) {
        let mut known = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.as_ref().is_some_and(|known| known.will_wake(task)) {
            *known = Some(task.clone());
        }
    }
}

impl Wake for State {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // While it is polled it sees that by itself, and once woken it is not woken again.
        if self.phase.swap(WOKEN, Ordering::AcqRel) == IDLE
            && let Some(task) = &*self.task.lock().unwrap_or_else(PoisonError::into_inner)
        {
            task.wake_by_ref();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use futures::task::noop_waker;

    use super::*;

    /// Counts wake-ups of the task.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Task {
        fn n_woken(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn a_task_that_wakes_itself_is_polled_again_and_not_woken() {
        let task = Arc::new(Task::default());
        let mut n_polled = 0;
        let mut steady = pin!(Steady::new(poll_fn(|cx| {
            n_polled += 1;
            if n_polled == 1 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(n_polled)
        })));
        let waker = Waker::from(task.clone());
        let polled = steady.as_mut().poll(&mut Context::from_waker(&waker));
        assert_eq!(polled, Poll::Ready(2));
        assert_eq!(task.n_woken(), 0);
    }

    #[test]
    fn a_task_that_always_wakes_itself_lets_others_have_their_turn() {
        let task = Arc::new(Task::default());
        let n_polled = AtomicUsize::new(0);
        let mut steady = pin!(Steady::new(poll_fn(|cx| {
            n_polled.fetch_add(1, Ordering::Relaxed);
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        })));
        let waker = Waker::from(task.clone());
        for turn in 1..4 {
            assert!(
                steady
                    .as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_pending()
            );
            assert_eq!(n_polled.load(Ordering::Relaxed), turn * IN_A_ROW);
            assert_eq!(task.n_woken(), turn);
        }
    }

    #[test]
    fn it_is_polled_when_woken_and_not_otherwise() {
        let task = Arc::new(Task::default());
        let inner: Arc<Mutex<Option<Waker>>> = Arc::default();
        let n_polled = AtomicUsize::new(0);
        let (kept, polled) = (inner.clone(), &n_polled);
        let mut steady = pin!(Steady::new(poll_fn(move |cx| {
            polled.fetch_add(1, Ordering::Relaxed);
            *kept.lock().unwrap() = Some(cx.waker().clone());
            Poll::<()>::Pending
        })));
        let waker = Waker::from(task.clone());
        let mut cx = Context::from_waker(&waker);
        assert!(steady.as_mut().poll(&mut cx).is_pending());
        assert!(steady.as_mut().poll(&mut cx).is_pending());
        assert_eq!(n_polled.load(Ordering::Relaxed), 1);
        let waker = inner.lock().unwrap().clone().unwrap();
        waker.wake_by_ref();
        waker.wake_by_ref();
        assert_eq!(task.n_woken(), 1, "once until it is polled");
        assert!(steady.as_mut().poll(&mut cx).is_pending());
        assert_eq!(n_polled.load(Ordering::Relaxed), 2);
        waker.wake();
        assert_eq!(task.n_woken(), 2);
    }

    #[test]
    fn it_wakes_the_task_that_polled_it_last() {
        let task = Arc::new(Task::default());
        let inner: Arc<Mutex<Option<Waker>>> = Arc::default();
        let kept = inner.clone();
        let mut steady = pin!(Steady::new(poll_fn(move |cx| {
            *kept.lock().unwrap() = Some(cx.waker().clone());
            Poll::<()>::Pending
        })));
        let first = noop_waker();
        assert!(
            steady
                .as_mut()
                .poll(&mut Context::from_waker(&first))
                .is_pending()
        );
        let second = Waker::from(task.clone());
        assert!(
            steady
                .as_mut()
                .poll(&mut Context::from_waker(&second))
                .is_pending()
        );
        inner.lock().unwrap().take().unwrap().wake();
        assert_eq!(task.n_woken(), 1);
    }

    /// Wake-ups from other threads at any moment are not lost.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_wake_up_is_lost() {
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<u32>(1);
        let counting = tokio::spawn(Steady::new(async move {
            let mut sum = 0_u64;
            while let Some(number) = receiver.recv().await {
                sum += u64::from(number);
            }
            sum
        }));
        for number in 0..20_000 {
            sender.send(number).await.unwrap();
        }
        drop(sender);
        let ended = tokio::time::timeout(Duration::from_secs(60), counting).await;
        assert_eq!(ended.unwrap().unwrap(), 20_000 * 19_999 / 2);
    }
}
