//! A client that asks one thing after the other is looked out for, for a moment after each answer.
//!
//! To sleep until its next message comes takes the processor and the system as long as a good part of the answer
//! did. So the connection of a client that is alone looks for it again and again, lets other processes run between
//! two looks, and sleeps if the client takes longer than that is good for: clients that always do are soon left to
//! sleep ([`Luck`]). A thread that looks hears of nothing else, so it sleeps once in a while whatever comes, and
//! nobody looks while there are several clients, or while a call of the connection is worked on ([`Turns`]).

use std::io::{ErrorKind, Read, Result};
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use provender_core::luck::Luck;
use socket2::SockRef;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use crate::turns::Turns;

/// For how long a connection looks.
const PATIENCE: Duration = Duration::from_micros(100);
/// So many messages of one client in a row make it the only one.
const ALONE_FROM: u32 = 4;
/// So many are looked out for before the thread sleeps once.
const IN_A_ROW: u32 = 8;

/// How often anything came from any client.
#[derive(Debug, Default)]
pub(super) struct Arrivals(AtomicUsize);

/// What is known of one connection. Only its own task uses it.
#[derive(Debug)]
pub(super) struct Sight {
    stream: Arc<TcpStream>,
    turns: Arc<Turns>,
    arrivals: Arc<Arrivals>,
    /// Arrivals from anywhere when the last came from here.
    n_arrived: AtomicUsize,
    /// How many came from here with none from elsewhere between them.
    n_alone: AtomicU32,
    /// Turns of the server that had ended then.
    n_ended: AtomicUsize,
    /// Something was sent after the last that came.
    is_sent: AtomicBool,
    /// Something was seen that the runtime has not heard of.
    is_seen: AtomicBool,
    /// Looks since the thread last slept whatever came.
    n_in_a_row: AtomicU32,
    luck: Luck,
}

impl Sight {
    pub(super) fn new(stream: Arc<TcpStream>, arrivals: Arc<Arrivals>) -> Self {
        Self {
            stream,
            turns: Arc::default(),
            arrivals,
            n_arrived: AtomicUsize::new(0),
            n_alone: AtomicU32::new(0),
            n_ended: AtomicUsize::new(0),
            is_sent: AtomicBool::new(false),
            is_seen: AtomicBool::new(false),
            n_in_a_row: AtomicU32::new(0),
            luck: Luck::default(),
        }
    }

    /// Those of the connection's calls.
    pub(super) fn turns(&self) -> &Arc<Turns> {
        &self.turns
    }

    /// Something was sent.
    pub(super) fn sent(&self) {
        self.is_sent.store(true, Ordering::Relaxed);
    }

    /// Something came.
    pub(super) fn came(&self) {
        let n_before = self.arrivals.0.fetch_add(1, Ordering::Relaxed);
        let n_known = self.n_arrived.swap(n_before + 1, Ordering::Relaxed);
        if n_known == n_before {
            self.n_alone.fetch_add(1, Ordering::Relaxed);
        } else {
            self.n_alone.store(0, Ordering::Relaxed);
        }
        self.n_ended.store(self.turns.n_ended(), Ordering::Relaxed);
        self.is_sent.store(false, Ordering::Relaxed);
    }

    /// Reads what was seen, if anything was.
    pub(super) fn read(&self, buf: &mut ReadBuf<'_>) -> Option<Result<()>> {
        if !self.is_seen.swap(false, Ordering::Relaxed) {
            return None;
        }
        let socket = SockRef::from(&*self.stream);
        match (&*socket).read(buf.initialize_unfilled()) {
            Ok(n) => {
                buf.advance(n);
                Some(Ok(()))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Looks for the client's next message if that is worth it. Answers whether it is there.
    pub(super) fn look(&self) -> bool {
        if !self.is_sent.swap(false, Ordering::Relaxed) || !self.is_answered() || !self.is_alone() {
            return false;
        }
        if !self.luck.is_worth_a_try() {
            return false;
        }
        if self.n_in_a_row.fetch_add(1, Ordering::Relaxed) >= IN_A_ROW {
            self.n_in_a_row.store(0, Ordering::Relaxed);
            return false;
        }
        let is_seen = self.sees();
        self.luck.tell(is_seen);
        self.is_seen.store(is_seen, Ordering::Relaxed);
        is_seen
    }

    /// Whether the last that came was worked on, and everything else.
    fn is_answered(&self) -> bool {
        self.turns.are_all_theirs() && self.turns.n_ended() != self.n_ended.load(Ordering::Relaxed)
    }

    /// Whether the last that came, and some before it, all came from here.
    fn is_alone(&self) -> bool {
        self.n_alone.load(Ordering::Relaxed) >= ALONE_FROM
            && self.arrivals.0.load(Ordering::Relaxed) == self.n_arrived.load(Ordering::Relaxed)
    }

    fn sees(&self) -> bool {
        let begun = Instant::now();
        let socket = SockRef::from(&*self.stream);
        loop {
            match socket.peek(&mut [MaybeUninit::uninit()]) {
                Ok(_) => return true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Whoever reads next learns of it.
                Err(_) => return false,
            }
            if begun.elapsed() > PATIENCE || !self.is_alone() || !self.turns.are_all_theirs() {
                return false;
            }
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// A connection of a server, and the client's end of it.
    async fn connection(server: &Arc<Arrivals>) -> (Sight, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let stream = Arc::new(accepted.unwrap().0);
        (Sight::new(stream, server.clone()), client.unwrap())
    }

    /// A message comes, is worked on and answered.
    fn answer(sight: &Sight) {
        sight.came();
        drop(sight.turns.begin());
        sight.sent();
    }

    /// A client that was the only one for a while.
    async fn alone() -> (Sight, TcpStream) {
        let (sight, client) = connection(&Arc::default()).await;
        for _ in 0..ALONE_FROM {
            sight.came();
        }
        (sight, client)
    }

    #[tokio::test]
    async fn what_came_is_read_once() {
        let (sight, mut client) = alone().await;
        let mut bytes = [MaybeUninit::uninit(); 16];
        let mut buf = ReadBuf::uninit(&mut bytes);
        answer(&sight);
        client.write_all(b"next").await.unwrap();
        sight.stream.readable().await.unwrap();
        assert!(sight.look());
        assert!(sight.read(&mut buf).unwrap().is_ok());
        assert_eq!(buf.filled(), b"next");
        assert!(sight.read(&mut buf).is_none());
        // Whoever is told by the runtime as well finds nothing.
        let again = sight.stream.try_read(&mut [0; 16]).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn only_after_an_answer() {
        let (sight, mut client) = alone().await;
        client.write_all(b"next").await.unwrap();
        sight.stream.readable().await.unwrap();
        assert!(!sight.look(), "nothing was sent");
        sight.sent();
        assert!(!sight.look(), "nothing was worked on");
        let turn = sight.turns.begin();
        sight.sent();
        assert!(!sight.look(), "it is worked on");
        turn.is_theirs();
        assert!(!sight.look(), "the answer is not sent");
        sight.sent();
        assert!(sight.look());
        answer(&sight);
        let another = sight.turns.begin();
        assert!(!sight.look(), "something else is worked on");
        drop(another);
        answer(&sight);
        sight.came();
        assert!(!sight.look(), "the next is there already");
    }

    #[tokio::test]
    async fn a_thread_sleeps_once_in_a_while_whatever_comes() {
        let (sight, mut client) = alone().await;
        client.write_all(b"much").await.unwrap();
        sight.stream.readable().await.unwrap();
        let looks = (0..27).map(|_| {
            answer(&sight);
            sight.look()
        });
        let looks: Vec<bool> = looks.collect();
        let expected = [vec![true; 8], vec![false]].concat().repeat(3);
        assert_eq!(looks, expected);
    }

    #[tokio::test]
    async fn slow_clients_are_left_to_sleep() {
        let (sight, _client) = alone().await;
        for _ in 0..100 {
            answer(&sight);
            assert!(!sight.look());
        }
        let n_looks = sight.n_in_a_row.load(Ordering::Relaxed);
        assert_eq!(n_looks, 7, "0, 1, 3, 7, 15 and 31 answers apart");
    }

    #[tokio::test]
    async fn nobody_looks_while_there_are_several() {
        let server = Arc::default();
        let (first, _client) = connection(&server).await;
        let (second, mut client) = connection(&server).await;
        client.write_all(b"next").await.unwrap();
        second.stream.readable().await.unwrap();
        for _ in 0..10 {
            first.came();
            answer(&second);
            assert!(!second.look());
        }
        for _ in 0..ALONE_FROM {
            answer(&second);
        }
        assert!(second.look(), "the other one says nothing any more");
        answer(&second);
        first.came();
        assert!(!second.look());
    }

    #[tokio::test]
    async fn a_connection_that_broke_is_left_to_who_reads_next() {
        let (sight, client) = alone().await;
        client.set_zero_linger().unwrap();
        drop(client);
        sight.stream.readable().await.unwrap();
        answer(&sight);
        assert!(!sight.look());
        assert!(sight.read(&mut ReadBuf::new(&mut [0; 4])).is_none());
    }
}
