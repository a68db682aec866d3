//! The hot path of reads: a few commands over connections that hand out replies as they came.
//!
//! Reads cost little more than Redis itself if values are neither copied nor boxed one by one. So requests
//! are spelled into one buffer, and the replies to one request are one piece of what was read from the
//! socket, in which values are found in place. This module knows replies that are as expected, on plain
//! connections, and nothing else: whatever is unusual is left to the general client, which knows more and
//! tells it better.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use crate::client::{Dialling, Health, Waiting};
use crate::config::Address;
use crate::error::{Fault, FaultKind};
use crate::lane::Link;

/// What is made ready to be read into: at first, before every read, and where much is on its way.
const READ_BYTES: usize = 64 << 10;
const LEAST_READ_BYTES: usize = 16 << 10;
const MUCH_READ_BYTES: usize = 256 << 10;

/// Commands that are sent in one piece, spelled.
#[derive(Default)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    n_replies: usize,
}

impl Request {
    pub(crate) fn with_capacity(n_bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(n_bytes),
            n_replies: 0,
        }
    }

    /// Begins a command; as many arguments as said must follow.
    #[inline]
    pub(crate) fn begin(&mut self, name: &str, n_args: usize) {
        self.n_replies += 1;
        self.number(b'*', n_args + 1);
        self.arg(name.as_bytes());
    }

    #[inline]
    pub(crate) fn arg(&mut self, arg: &[u8]) {
        self.number(b'$', arg.len());
        self.bytes.extend_from_slice(arg);
        self.bytes.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn number(&mut self, kind: u8, value: usize) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = value;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&digits[at..]);
        self.bytes.extend_from_slice(b"\r\n");
    }
}

/// A request on its way.
struct Ask {
    request: Request,
    answer: oneshot::Sender<Bytes>,
}

/// A connection that many calls share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct HotConnection {
    sender: mpsc::UnboundedSender<Ask>,
    health: Arc<Health>,
    timeout: std::time::Duration,
    address: Arc<Address>,
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
        let (sender, receiver) = mpsc::unbounded_channel();
        let health = Arc::new(Health::new());
        let driven = Arc::clone(&health);
        tokio::spawn(async move {
            serve(stream, receiver).await;
            driven.is_broken.store(true, Ordering::Relaxed);
        });
        Ok(Self {
            sender,
            health,
            timeout: dialling.timeout,
            address: Arc::new(address),
        })
    }

    fn is_broken(&self) -> bool {
        self.health.is_broken.load(Ordering::Relaxed)
    }
}

impl HotConnection {
    /// Sends a request and answers the replies, for [`Replies`] to read.
    ///
    /// # Errors
    /// If the connection breaks, or nothing comes for too long.
    pub(crate) async fn ask(&self, request: Request) -> Result<Bytes, Fault> {
        let waiting = Waiting::begin(&self.health, self.timeout);
        let (answer, answered) = oneshot::channel();
        let broken = || {
            self.health.is_broken.store(true, Ordering::Relaxed);
            let what = format!("the connection to {} broke", self.address);
            Fault::new(FaultKind::Away, what)
        };
        self.sender
            .send(Ask { request, answer })
            .map_err(|_| broken())?;
        match tokio::time::timeout(self.timeout, answered).await {
            Ok(Ok(replies)) => {
                waiting.answered();
                Ok(replies)
            }
            Ok(Err(_)) => Err(broken()),
            Err(_) => {
                self.health.is_broken.store(true, Ordering::Relaxed);
                let what = format!("{} did not answer for {:?}", self.address, self.timeout);
                Err(Fault::new(FaultKind::Silent, what))
            }
        }
    }
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

/// Writes requests and reads replies until nobody asks any more, or the connection breaks.
async fn serve(mut stream: TcpStream, mut receiver: mpsc::UnboundedReceiver<Ask>) {
    let mut waiting: VecDeque<(usize, oneshot::Sender<Bytes>)> = VecDeque::new();
    let mut requests = BytesMut::with_capacity(READ_BYTES);
    let mut read = BytesMut::with_capacity(READ_BYTES);
    let mut scan = None;
    let (mut reading, mut writing) = stream.split();
    loop {
        tokio::select! {
            biased;
            asked = receiver.recv() => {
                let Some(ask) = asked else { return };
                let mut next = Some(ask);
                while let Some(ask) = next {
                    // Nobody waits for what was given up before it was sent.
                    if !ask.answer.is_closed() {
                        requests.extend_from_slice(&ask.request.bytes);
                        waiting.push_back((ask.request.n_replies, ask.answer));
                    }
                    next = receiver.try_recv().ok();
                }
                // What does not go at once goes beside the reading, so that neither side blocks the other.
                match writing.try_write(&requests) {
                    Ok(n_written) => drop(requests.split_to(n_written)),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
            got = reading.read_buf(&mut read) => {
                if !matches!(got, Ok(1..)) {
                    return;
                }
                while let Some((n_replies, _)) = waiting.front() {
                    let scan_of = scan.get_or_insert_with(|| Scan::of(*n_replies));
                    match scan_of.find_end(&read) {
                        Ok(Some(end)) => {
                            let replies = read.split_to(end).freeze();
                            scan = None;
                            if let Some((_, answer)) = waiting.pop_front() {
                                // Whoever gave up does not listen.
                                let _ = answer.send(replies);
                            }
                        }
                        Ok(None) => break,
                        Err(_) => return,
                    }
                }
                let is_more = read.len() > READ_BYTES;
                read.reserve(if is_more { MUCH_READ_BYTES } else { LEAST_READ_BYTES });
            }
            written = writing.write_buf(&mut requests), if !requests.is_empty() => {
                if !matches!(written, Ok(1..)) {
                    return;
                }
            }
        }
    }
}

fn not_a_reply() -> Fault {
    Fault::new(
        FaultKind::Refused,
        "the server sends something that is no reply",
    )
}

/// Where the replies to one request end, looked for as bytes arrive.
struct Scan {
    /// Replies, and items of arrays, that have not been seen.
    n_left: usize,
    at: usize,
}

impl Scan {
    fn of(n_replies: usize) -> Self {
        Self {
            n_left: n_replies,
            at: 0,
        }
    }

    /// The end, if it is there.
    fn find_end(&mut self, read: &[u8]) -> Result<Option<usize>, Fault> {
        while self.n_left > 0 {
            let Some((kind, number, after)) = line(read, self.at)? else {
                return Ok(None);
            };
            match kind {
                b'$' => {
                    let end = match usize::try_from(number) {
                        Ok(n_bytes) => after.saturating_add(n_bytes).saturating_add(2),
                        Err(_) => after,
                    };
                    if end > read.len() {
                        return Ok(None);
                    }
                    self.at = end;
                }
                b'*' => {
                    let n_items = usize::try_from(number).unwrap_or(0);
                    self.n_left = self.n_left.saturating_add(n_items);
                    self.at = after;
                }
                _ => self.at = after,
            }
            self.n_left -= 1;
        }
        Ok(Some(self.at))
    }
}

/// The kind of the line at a place, its number where it has one, and where the line ends; `None` if it does not end yet.
#[inline]
fn line(read: &[u8], at: usize) -> Result<Option<(u8, i64, usize)>, Fault> {
    let rest = read.get(at..).unwrap_or_default();
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
        return Ok(None);
    };
    let (Some(kind), Some(text)) = (rest.first(), rest.get(1..end.saturating_sub(1))) else {
        return Err(not_a_reply());
    };
    let number = match kind {
        b'$' | b'*' | b':' => number(text).ok_or_else(not_a_reply)?,
        b'+' | b'-' => 0,
        _ => return Err(not_a_reply()),
    };
    Ok(Some((*kind, number, at + end + 1)))
}

#[inline]
fn number(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut number = 0_i64;
    for digit in digits {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number = number.checked_mul(10)?.checked_add(i64::from(digit))?;
    }
    Some(if is_negative { -number } else { number })
}

/// Reads the replies to one request, one after the other.
pub(crate) struct Replies {
    read: Bytes,
    at: usize,
}

/// A reply that is as expected.
pub(crate) enum Hot {
    Nil,
    Int(i64),
    Bytes(Bytes),
    /// As many items follow as replies of their own.
    Array(usize),
    Text,
}

impl Replies {
    pub(crate) fn new(read: Bytes) -> Self {
        Self { read, at: 0 }
    }

    /// The next reply.
    ///
    /// # Errors
    /// For a reply that is an error, and at the end.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Hot, Fault> {
        let Some((kind, number, after)) = line(&self.read, self.at)? else {
            return Err(not_a_reply());
        };
        self.at = after;
        Ok(match kind {
            b'$' => match usize::try_from(number) {
                Err(_) => Hot::Nil,
                Ok(n_bytes) => {
                    let end = after.saturating_add(n_bytes);
                    if self.read.len() < end.saturating_add(2) {
                        return Err(not_a_reply());
                    }
                    self.at = end + 2;
                    Hot::Bytes(self.read.slice(after..end))
                }
            },
            b'*' => usize::try_from(number).map_or(Hot::Nil, Hot::Array),
            b':' => Hot::Int(number),
            b'+' => Hot::Text,
            _ => {
                return Err(Fault::new(
                    FaultKind::Refused,
                    "the server answers an error",
                ));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    const REPLIES: &[u8] = b"*3\r\n$2\r\n\r\n\r\n$-1\r\n$0\r\n\r\n:-12\r\n+OK\r\n$5\r\nabcde\r\n";

    #[test]
    fn the_end_is_found_wherever_bytes_are_cut() {
        for cut in 0..=REPLIES.len() {
            let mut scan = Scan::of(4);
            let first = scan.find_end(&REPLIES[..cut]).unwrap();
            assert_eq!(first.is_some(), cut == REPLIES.len(), "cut at {cut}");
            let mut more = REPLIES.to_vec();
            more.extend_from_slice(b"$1\r\nx");
            assert_eq!(scan.find_end(&more).unwrap(), Some(REPLIES.len()));
        }
    }

    #[test]
    fn replies_are_read_in_place() {
        let mut replies = Replies::new(Bytes::from_static(REPLIES));
        assert!(matches!(replies.next().unwrap(), Hot::Array(3)));
        assert!(matches!(replies.next().unwrap(), Hot::Bytes(bytes) if &bytes[..] == b"\r\n"));
        assert!(matches!(replies.next().unwrap(), Hot::Nil));
        assert!(matches!(replies.next().unwrap(), Hot::Bytes(bytes) if bytes.is_empty()));
        assert!(matches!(replies.next().unwrap(), Hot::Int(-12)));
        assert!(matches!(replies.next().unwrap(), Hot::Text));
        assert!(matches!(replies.next().unwrap(), Hot::Bytes(bytes) if &bytes[..] == b"abcde"));
        assert!(replies.next().is_err());
    }

    #[test]
    fn what_is_no_reply_is_refused_and_never_trusted() {
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"$x\r\n",
            b"$\r\n",
            b"*99999999999999999999\r\n",
            b"\r\n",
            b"\n",
        ] {
            assert!(Scan::of(1).find_end(bytes).is_err(), "{bytes:?}");
            assert!(Replies::new(Bytes::from_static(bytes)).next().is_err());
        }
        assert!(
            Replies::new(Bytes::from_static(b"-ERR no\r\n"))
                .next()
                .is_err()
        );
        assert!(
            Replies::new(Bytes::from_static(b"$9\r\nabc\r\n"))
                .next()
                .is_err()
        );
        let great = b"$9223372036854775807\r\n";
        assert_eq!(Scan::of(1).find_end(great).unwrap(), None);
    }

    #[test]
    fn requests_are_spelled_as_redis_reads_them() {
        let mut request = Request::default();
        request.begin("MGET", 2);
        request.arg(b"a\r\n");
        request.arg(&[b'x'; 100]);
        let mut expected = b"*3\r\n$4\r\nMGET\r\n$3\r\na\r\n\r\n$100\r\n".to_vec();
        expected.extend([b'x'; 100]);
        expected.extend(b"\r\n");
        assert_eq!(request.bytes, expected);
        assert_eq!(request.n_replies, 1);
    }
}
