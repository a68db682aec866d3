//! A call that is alone looks for its replies without sleeping, for a moment.
//!
//! Falling asleep and being woken takes as long as Redis does for some keys, and whoever runs meanwhile leaves the
//! processor's caches cold. So the only call of a process that is on its way to Redis looks again and again, lets
//! others run between two looks, and sleeps as soon as there is a second call, or Redis takes longer than that is
//! good for. Where that happens, as with a server that is far away, later calls do not try.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use provender_core::luck::Luck;

/// For how long a call looks.
const PATIENCE: Duration = Duration::from_micros(300);

/// What is read at once.
const READ_BYTES: usize = 16 << 10;

/// Calls of this process that are on their way to any server.
pub(super) static CALLS: Calls = Calls(AtomicUsize::new(0));

/// Counts calls that are on their way.
pub(super) struct Calls(AtomicUsize);

/// One of them.
pub(super) struct OnItsWay<'a>(&'a Calls);

impl Calls {
    pub(super) fn begin(&self) -> OnItsWay<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        OnItsWay(self)
    }
}

impl OnItsWay<'_> {
    fn is_alone(&self) -> bool {
        self.0.0.load(Ordering::Relaxed) == 1
    }
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a call should look.
pub(super) fn is_worth_a_try(call: &OnItsWay<'_>, luck: &Luck) -> bool {
    call.is_alone() && luck.is_worth_a_try()
}

/// Reads the next bytes behind those that were read, if they come soon. Errors are left to who reads next.
pub(super) fn look(call: &OnItsWay<'_>, luck: &Luck, mut stream: &TcpStream, read: &mut BytesMut) {
    let begun = Instant::now();
    let n_before = read.len();
    read.resize(n_before + READ_BYTES, 0);
    let n_read = loop {
        match stream.read(&mut read[n_before..]) {
            Ok(n) => break n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break 0,
        }
        if begun.elapsed() > PATIENCE {
            luck.tell(false);
            break 0;
        }
        if !call.is_alone() {
            break 0;
        }
        std::thread::yield_now();
    };
    read.truncate(n_before + n_read);
    if n_read > 0 {
        luck.tell(true);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        near.set_nonblocking(true).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn what_is_there_is_read_behind_what_was_and_makes_the_next_call_look() {
        let (near, mut far) = pair();
        let (calls, luck) = (Calls(AtomicUsize::new(0)), Luck::default());
        let mut read = BytesMut::from(&b"before "[..]);
        far.write_all(b"and after").unwrap();
        // Loopback takes a moment at times, and looking ends after one.
        while read.len() < 16 {
            look(&calls.begin(), &luck, &near, &mut read);
        }
        assert_eq!(read, b"before and after"[..]);
        assert!(is_worth_a_try(&calls.begin(), &luck));
    }

    #[test]
    fn looking_in_vain_is_told() {
        let (near, _far) = pair();
        let (calls, luck) = (Calls(AtomicUsize::new(0)), Luck::default());
        let mut read = BytesMut::new();
        for _ in 0..2 {
            look(&calls.begin(), &luck, &near, &mut read);
        }
        assert!(read.is_empty());
        assert!(!is_worth_a_try(&calls.begin(), &luck));
        assert!(is_worth_a_try(&calls.begin(), &luck));
    }

    #[test]
    fn two_calls_do_not_look() {
        let calls = Calls(AtomicUsize::new(0));
        let (first, luck) = (calls.begin(), Luck::default());
        assert!(is_worth_a_try(&first, &luck));
        let second = calls.begin();
        assert!(!is_worth_a_try(&first, &luck) && !is_worth_a_try(&second, &luck));
        drop(second);
        assert!(is_worth_a_try(&first, &luck));
    }

    #[test]
    fn a_connection_that_broke_is_left_to_who_reads_next() {
        let (near, far) = pair();
        drop(far);
        let (calls, luck) = (Calls(AtomicUsize::new(0)), Luck::default());
        let mut read = BytesMut::from(&b"half"[..]);
        look(&calls.begin(), &luck, &near, &mut read);
        assert_eq!(read, b"half"[..]);
    }
}
