//! A client's connection, whose comings and goings are told.

use std::io::{ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::sight::{Arrivals, Sight};

pub(super) struct Socket {
    stream: Arc<TcpStream>,
    sight: Arc<Sight>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, arrivals: &Arc<Arrivals>) -> Self {
        // Small answers must not wait for others to fill a packet.
        let _ = stream.set_nodelay(true);
        let stream = Arc::new(stream);
        Self {
            sight: Arc::new(Sight::new(stream.clone(), arrivals.clone())),
            stream,
        }
    }

    pub(super) fn sight(&self) -> Arc<Sight> {
        self.sight.clone()
    }

    /// Reads as soon as there is something.
    fn poll_read_buf(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read_buf(buf) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(drop)),
            }
        }
    }

    /// Writes as soon as the system takes something.
    fn poll_written(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&TcpStream) -> Result<usize>,
    ) -> Poll<Result<usize>> {
        self.sight.sent();
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match write(&self.stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let read = match self.sight.read(buf) {
            Some(read) => read,
            None => ready!(self.poll_read_buf(cx, buf)),
        };
        self.sight.came();
        Poll::Ready(read)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        self.poll_written(cx, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.poll_written(cx, |stream| stream.try_write_vectored(pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(SockRef::from(&*self.stream).shutdown(std::net::Shutdown::Write))
    }
}
