//! A client has to begin to speak HTTP/2 in time: one that never does would be held for as long as it likes, since
//! clients are asked whether they are still there only once they have begun.

use std::io::{ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// What each client sends first.
const PREFACE_BYTES: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

/// A connection that breaks unless its first bytes are there in time.
pub(super) struct Preface<S> {
    stream: S,
    /// How many bytes are still to come, and until when.
    awaited: Option<(usize, Pin<Box<Sleep>>)>,
}

impl<S> Preface<S> {
    pub(super) fn new(stream: S, within: Duration) -> Self {
        Self {
            stream,
            awaited: Some((PREFACE_BYTES, Box::pin(sleep(within)))),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Preface<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let Self { stream, awaited } = self.get_mut();
        let Some((n_left, patience)) = awaited else {
            return Pin::new(stream).poll_read(cx, buf);
        };
        if patience.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        let n_before = buf.filled().len();
        ready!(Pin::new(stream).poll_read(cx, buf))?;
        *n_left = n_left.saturating_sub(buf.filled().len() - n_before);
        if *n_left == 0 {
            *awaited = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Preface<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn who_says_nothing_or_too_little_is_not_waited_for() {
        for said in [0, 1, PREFACE_BYTES - 1] {
            let (mut client, server) = duplex(100);
            client.write_all(&vec![b'P'; said]).await.unwrap();
            let mut server = Preface::new(server, SHORT);
            let mut heard = Vec::new();
            let error = server.read_to_end(&mut heard).await.unwrap_err();
            assert_eq!((error.kind(), heard.len()), (ErrorKind::TimedOut, said));
        }
    }

    #[tokio::test]
    async fn who_has_begun_may_be_silent_afterwards() {
        let (mut client, server) = duplex(100);
        let mut server = Preface::new(server, SHORT);
        client.write_all(&[b'P'; PREFACE_BYTES]).await.unwrap();
        server.read_exact(&mut [0; PREFACE_BYTES]).await.unwrap();
        tokio::time::sleep(2 * SHORT).await;
        client.write_all(b"more").await.unwrap();
        let mut heard = [0; 4];
        server.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"more");
    }
}
