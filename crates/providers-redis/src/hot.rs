//! The hot path of reads: a few commands over connections that hand out replies as they came.
//!
//! Reads cost little more than Redis itself if values are neither copied nor boxed one by one. So requests
//! are spelled into one buffer, and the replies to one request are one piece of what was read from the
//! socket, in which values are found in place. No task stands between a call and its socket, since waking
//! another one takes as long as Redis does for some keys: a call sends by itself, and one of those that wait
//! reads for all, and sends what was gathered while much was on its way. A caller may stop polling a call
//! without dropping it, as one does whose own client does not take answers; whoever looks after the connection
//! ([`watch`]) then reads instead, and ends calls that wait too long, so that no call sets a timer of its own.
//! A call that is alone does not even sleep while it waits, for a moment ([`alone`]).
//! This module knows replies that are as expected, on plain connections, and nothing else: whatever is
//! unusual is left to the general client, which knows more and tells it better.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use futures::task::AtomicWaker;
use provender_core::luck::Luck;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;

use crate::client::{Dialling, Health, Waiting};
use crate::config::Address;
use crate::error::{Fault, FaultKind};
use crate::lane::Link;
use crate::resp::{Replies, Request, Scan};

use alone::CALLS;

/// What is made ready to be read into: at first, before every read, and where much is on its way.
const READ_BYTES: usize = 64 << 10;
const LEAST_READ_BYTES: usize = 16 << 10;
const MUCH_READ_BYTES: usize = 256 << 10;

/// Requests on their way from which on others are gathered: the reader sends them in one piece when the next
/// replies are there. By then Redis has had enough to do, and each piece costs both sides a call of the system.
const GATHERED_FROM: usize = 4;

/// A connection that many calls share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct HotConnection {
    shared: Arc<Shared>,
}

struct Shared {
    writing: OwnedWriteHalf,
    /// How it went for calls that looked for their replies without sleeping.
    luck: Luck,
    /// Held while a call is polled and never longer; before `traffic` where both are.
    reading: Mutex<Reading>,
    traffic: Mutex<Traffic>,
    health: Health,
    timeout: Duration,
    address: Address,
    watched: Arc<Watched>,
}

/// How calls reach who looks after their connection.
#[derive(Default)]
struct Watched {
    /// Nobody looks until `woken`, since there was no call for a while.
    is_asleep: AtomicBool,
    woken: Notify,
}

/// What is on its way.
struct Traffic {
    /// What was gathered, and what the system has not taken yet. Whoever reads sends it, and so does a call
    /// that was not gathered.
    unsent: BytesMut,
    /// Whose replies come next, in order.
    waiting: VecDeque<Arc<Waiter>>,
    /// Who reads for all: a call, or who looks after the connection.
    reader: Option<Arc<Waiter>>,
    /// When the last replies came.
    heard: Instant,
    /// How many calls were given their replies, ever.
    n_answered: u64,
    is_broken: bool,
}

/// The reading side: what was read and is nobody's yet.
struct Reading {
    half: OwnedReadHalf,
    /// The same connection, to look without sleeping whether there is anything.
    raw: std::net::TcpStream,
    read: BytesMut,
    /// How far the replies to the first request that waits were looked through.
    scan: Option<Scan>,
}

/// A call that waits.
struct Waiter {
    n_replies: usize,
    begun: Instant,
    replies: Mutex<Option<Bytes>>,
    waker: AtomicWaker,
    /// Nobody wants the replies any more.
    is_given_up: AtomicBool,
    /// It has waited for as long as it may.
    is_late: AtomicBool,
}

impl Waiter {
    fn new(n_replies: usize) -> Arc<Self> {
        Arc::new(Self {
            n_replies,
            begun: Instant::now(),
            replies: Mutex::default(),
            waker: AtomicWaker::new(),
            is_given_up: AtomicBool::new(false),
            is_late: AtomicBool::new(false),
        })
    }

    fn take(&self) -> Option<Bytes> {
        lock(&self.replies).take()
    }
}

impl Link for HotConnection {
    async fn open(address: Address, dialling: &Dialling) -> Result<Self, Fault> {
        let connecting = connect(&address, dialling);
        let stream = match tokio::time::timeout(dialling.connect_timeout, connecting).await {
            Ok(stream) => stream?,
            Err(_) => {
                let took = format!(
                    "connecting to {address} took more than {:?}",
                    dialling.connect_timeout
                );
                return Err(Fault::new(FaultKind::Silent, took));
            }
        };
        let (stream, raw) = twice(stream)
            .map_err(|error| Fault::new(FaultKind::Away, format!("{address}: {error}")))?;
        let (half, writing) = stream.into_split();
        let reading = Reading {
            half,
            raw,
            read: BytesMut::with_capacity(READ_BYTES),
            scan: None,
        };
        let shared = Shared {
            writing,
            luck: Luck::default(),
            reading: Mutex::new(reading),
            traffic: Mutex::new(Traffic {
                unsent: BytesMut::new(),
                waiting: VecDeque::new(),
                reader: None,
                heard: Instant::now(),
                n_answered: 0,
                is_broken: false,
            }),
            health: Health::new(),
            timeout: dialling.timeout,
            address,
            watched: Arc::default(),
        };
        let shared = Arc::new(shared);
        tokio::spawn(watch::watch(Arc::downgrade(&shared)));
        Ok(Self { shared })
    }

    fn is_broken(&self) -> bool {
        self.shared.health.is_broken.load(Ordering::Relaxed)
    }
}

impl HotConnection {
    /// Sends a request and answers the replies, for [`Replies`] to read.
    ///
    /// # Errors
    /// If the connection breaks, or nothing comes for too long.
    pub(crate) async fn ask(&self, request: Request) -> Result<Bytes, Fault> {
        let shared = &*self.shared;
        let waiting = Waiting::begin(&shared.health, shared.timeout);
        let on_its_way = CALLS.begin();
        let (mut call, is_all_sent) = shared.send(&request)?;
        drop(request);
        if is_all_sent && alone::is_worth_a_try(&on_its_way, &shared.luck) {
            let Reading { raw, read, .. } = &mut *lock(&shared.reading);
            alone::look(&on_its_way, &shared.luck, raw, read);
        }
        let answered = async {
            if !is_all_sent {
                let answered = call.answered();
                tokio::select! {
                    biased;
                    answered = answered => return answered,
                    flushed = shared.flush() => flushed?,
                }
            }
            call.answered().await
        };
        let answered = answered.await;
        if answered.is_ok() {
            waiting.answered();
        }
        answered
    }
}

impl Shared {
    /// Sends what the system takes at once, or adds to what is gathered, and gets in line. Answers whether
    /// nothing is left that the call should send by itself.
    fn send(&self, request: &Request) -> Result<(Calling<'_>, bool), Fault> {
        let waiter = Waiter::new(request.n_replies);
        let mut traffic = lock(&self.traffic);
        if traffic.is_broken {
            return Err(self.broken());
        }
        let is_gathered = traffic.waiting.len() >= GATHERED_FROM;
        let mut n_taken = 0;
        if traffic.unsent.is_empty() && !is_gathered {
            match self.writing.try_write(&request.bytes) {
                Ok(n) => n_taken = n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Err(self.give_up(traffic)),
            }
        }
        traffic.unsent.extend_from_slice(&request.bytes[n_taken..]);
        traffic.waiting.push_back(Arc::clone(&waiter));
        let is_all_sent = traffic.unsent.is_empty() || is_gathered;
        let call = Calling {
            shared: self,
            waiter,
            is_done: false,
        };
        if traffic.reader.is_none() {
            traffic.reader = Some(Arc::clone(&call.waiter));
        }
        drop(traffic);
        self.watched.wake();
        Ok((call, is_all_sent))
    }

    /// Sends what is left, its own and others'.
    async fn flush(&self) -> Result<(), Fault> {
        loop {
            {
                let mut traffic = lock(&self.traffic);
                match self.writing.try_write(&traffic.unsent) {
                    Ok(n_taken) => drop(traffic.unsent.split_to(n_taken)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return Err(self.give_up(traffic)),
                }
                if traffic.unsent.is_empty() {
                    return Ok(());
                }
            }
            if self.writing.writable().await.is_err() {
                return Err(self.give_up(lock(&self.traffic)));
            }
        }
    }

    /// Sends what was gathered, as far as the system takes it; `cx` is woken when it takes more.
    fn poll_send(&self, cx: &mut Context<'_>) -> std::io::Result<()> {
        let mut traffic = lock(&self.traffic);
        while !traffic.unsent.is_empty() {
            match self.writing.try_write(&traffic.unsent) {
                Ok(n_taken) => traffic.unsent.advance(n_taken),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    match self.writing.as_ref().poll_write_ready(cx) {
                        Poll::Ready(ready) => ready?,
                        Poll::Pending => return Ok(()),
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads for all as `who`, as long as nobody has taken over, until `done` tells that it is.
    fn poll_read<T>(
        &self,
        who: &Arc<Waiter>,
        cx: &mut Context<'_>,
        mut done: impl FnMut() -> Option<T>,
    ) -> Poll<Result<T, Fault>> {
        let mut reading = lock(&self.reading);
        // Another may have taken over meanwhile, and only one can be woken by what comes.
        if !lock(&self.traffic).is_read_by(who) {
            return Poll::Pending;
        }
        // It may have been given replies before it began to read.
        loop {
            let handed_out = reading.hand_out(self, who);
            if handed_out.is_err() || self.poll_send(cx).is_err() {
                return Poll::Ready(Err(self.give_up(lock(&self.traffic))));
            }
            if let Some(done) = done() {
                return Poll::Ready(Ok(done));
            }
            let is_much = reading.read.len() > READ_BYTES;
            reading.read.reserve(match is_much {
                true => MUCH_READ_BYTES,
                false => LEAST_READ_BYTES,
            });
            let Reading { half, read, .. } = &mut *reading;
            let read = pin!(half.read_buf(read));
            match ready!(read.poll(cx)) {
                Ok(1..) => {}
                _ => return Poll::Ready(Err(self.give_up(lock(&self.traffic)))),
            }
        }
    }

    /// Reads no more as `who`, and wakes another call to do so.
    fn let_go(&self, who: &Arc<Waiter>) {
        let mut traffic = lock(&self.traffic);
        if traffic.is_read_by(who) {
            traffic.reader = None;
        }
        // A call that was woken to read, and is given up instead, passes that on as well.
        if traffic.reader.is_none() {
            let next = traffic.waiting.iter();
            let mut next = next.filter(|waiter| !waiter.is_given_up.load(Ordering::Relaxed));
            if let Some(next) = next.next() {
                next.waker.wake();
            }
        }
    }

    /// Ends all calls on a connection that broke.
    fn give_up(&self, mut traffic: MutexGuard<'_, Traffic>) -> Fault {
        traffic.is_broken = true;
        let waiting = std::mem::take(&mut traffic.waiting);
        drop(traffic);
        let fault = self.broken();
        waiting.iter().for_each(|waiter| waiter.waker.wake());
        fault
    }

    fn broken(&self) -> Fault {
        self.health.is_broken.store(true, Ordering::Relaxed);
        let what = format!("the connection to {} broke", self.address);
        Fault::new(FaultKind::Away, what)
    }

    fn silent(&self) -> Fault {
        self.health.is_broken.store(true, Ordering::Relaxed);
        let what = format!("{} did not answer for {:?}", self.address, self.timeout);
        Fault::new(FaultKind::Silent, what)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.watched.woken.notify_one();
    }
}

impl Watched {
    fn wake(&self) {
        if self.is_asleep.load(Ordering::Relaxed) && self.is_asleep.swap(false, Ordering::Relaxed) {
            self.woken.notify_one();
        }
    }
}

impl Traffic {
    fn is_read_by(&self, who: &Arc<Waiter>) -> bool {
        self.reader
            .as_ref()
            .is_some_and(|reader| Arc::ptr_eq(reader, who))
    }
}

/// A call that was sent. One call at a time reads, for itself and for those in line with it: whoever finds
/// nobody reading does. It lets go when its own replies are there or it is given up, and wakes the next.
struct Calling<'a> {
    shared: &'a Shared,
    waiter: Arc<Waiter>,
    is_done: bool,
}

impl Calling<'_> {
    /// The replies, waited for no longer than the connection's timeout.
    async fn answered(&mut self) -> Result<Bytes, Fault> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Fault>> {
        // Before the look: whoever brings the replies, or lets go of the reading, wakes after it.
        self.waiter.waker.register(cx.waker());
        if let Some(replies) = self.waiter.take() {
            self.is_done = true;
            return Poll::Ready(Ok(replies));
        }
        if self.waiter.is_late.load(Ordering::Relaxed) {
            return Poll::Ready(Err(self.shared.silent()));
        }
        {
            let mut traffic = lock(&self.shared.traffic);
            if traffic.is_broken {
                return Poll::Ready(Err(self.shared.broken()));
            }
            let reader = traffic
                .reader
                .get_or_insert_with(|| Arc::clone(&self.waiter));
            if !Arc::ptr_eq(reader, &self.waiter) {
                return Poll::Pending;
            }
        }
        self.shared.poll_read(&self.waiter, cx, || {
            self.waiter.take().inspect(|_| self.is_done = true)
        })
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.waiter.is_given_up.store(true, Ordering::Relaxed);
        }
        self.shared.let_go(&self.waiter);
    }
}

impl Reading {
    /// Gives everybody in line the replies that are there. `who` reads, and so looks by itself: to be woken,
    /// it would be polled once more for nothing, and another thread be called to do it.
    fn hand_out(&mut self, shared: &Shared, who: &Arc<Waiter>) -> Result<(), Fault> {
        loop {
            if self.read.is_empty() {
                return Ok(());
            }
            if self.scan.is_none() {
                let traffic = lock(&shared.traffic);
                let Some(first) = traffic.waiting.front() else {
                    return Ok(());
                };
                self.scan = Some(Scan::of(first.n_replies));
            }
            let Some(scan) = &mut self.scan else {
                return Ok(());
            };
            let Some(end) = scan.find_end(&self.read)? else {
                return Ok(());
            };
            self.scan = None;
            let replies = self.read.split_to(end).freeze();
            let first = {
                let mut traffic = lock(&shared.traffic);
                traffic.heard = Instant::now();
                traffic.n_answered += 1;
                traffic.waiting.pop_front()
            };
            if let Some(first) = first {
                *lock(&first.replies) = Some(replies);
                if !Arc::ptr_eq(&first, who) {
                    first.waker.wake();
                }
            }
        }
    }
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection, and the same one for the system's own calls.
fn twice(stream: TcpStream) -> std::io::Result<(TcpStream, std::net::TcpStream)> {
    let raw = stream.into_std()?;
    Ok((TcpStream::from_std(raw.try_clone()?)?, raw))
}

/// Connects and logs in.
async fn connect(address: &Address, dialling: &Dialling) -> Result<TcpStream, Fault> {
    let away = |error: std::io::Error| Fault::new(FaultKind::Away, format!("{address}: {error}"));
    let mut stream = TcpStream::connect((address.host.as_str(), address.port))
        .await
        .map_err(away)?;
    stream.set_nodelay(true).map_err(away)?;
    let mut request = Request::default();
    if let Some(password) = &dialling.login.password {
        let username = dialling.login.username.as_deref();
        request.begin("AUTH", 1 + usize::from(username.is_some()));
        if let Some(username) = username {
            request.arg(username.as_bytes());
        }
        request.arg(password.reveal().as_bytes());
    }
    if dialling.database != 0 {
        request.begin("SELECT", 1);
        request.arg(dialling.database.to_string().as_bytes());
    }
    if request.n_replies > 0 {
        stream.write_all(&request.bytes).await.map_err(away)?;
        let mut read = BytesMut::new();
        let mut scan = Scan::of(request.n_replies);
        while scan.find_end(&read)?.is_none() {
            if stream.read_buf(&mut read).await.map_err(away)? == 0 {
                return Err(away(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
        let mut replies = Replies::new(read.freeze());
        for _ in 0..request.n_replies {
            replies.next()?;
        }
    }
    Ok(stream)
}

mod alone;
mod watch;

#[cfg(test)]
mod tests;
