//! The protocol of Redis as the hot path needs it: requests spelled into one buffer, the end of replies found
//! as their bytes arrive, and values read in place.
//!
//! Knows replies that are as expected, and tells everything else as a fault. Connections are not known here.

use bytes::Bytes;

use crate::error::{Fault, FaultKind};

/// Commands that are sent in one piece, spelled.
#[derive(Default)]
pub(crate) struct Request {
    pub(crate) bytes: Vec<u8>,
    pub(crate) n_replies: usize,
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

fn not_a_reply() -> Fault {
    Fault::new(
        FaultKind::Refused,
        "the server sends something that is no reply",
    )
}

/// Where the replies to one request end, looked for as bytes arrive.
pub(crate) struct Scan {
    /// Replies, and items of arrays, that have not been seen.
    n_left: usize,
    at: usize,
}

impl Scan {
    pub(crate) fn of(n_replies: usize) -> Self {
        Self {
            n_left: n_replies,
            at: 0,
        }
    }

    /// The end, if it is there.
    ///
    /// # Errors
    /// For bytes that are no reply.
    pub(crate) fn find_end(&mut self, read: &[u8]) -> Result<Option<usize>, Fault> {
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
