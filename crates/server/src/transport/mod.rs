//! Connections of clients: HTTP/2, encrypted if there is a certificate, until the server stops.
//!
//! Decides how tasks of connections are run, which is what a short call costs most of: what tonic's own server does
//! for any service costs threads that wake each other ([`steady`]) and sleeps that are over at once ([`sight`]).

mod preface;
mod sight;
mod socket;
mod steady;

use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::Request;
use tonic::service::Routes;

use crate::stop::Stop;
use preface::Preface;
use sight::{Arrivals, Sight};
use socket::Socket;
use steady::{Spawner, Steady};

/// How much a client may send on one stream before it is taken in. It bounds what a stream that is not
/// read holds, beside `max_bytes`.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// The same for all streams of a connection, so that a few that are not read leave room for others.
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// The headers of one call.
const HEADER_BYTES: u32 = 16 << 10;
/// Clients that say nothing are asked whether they are there, and have so long to say so.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(20);
/// How long a client may take to agree on encryption, and then to begin to speak.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long to wait where the system has no more connections to give.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// How connections are served. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Transport {
    protocol: http2::Builder<Spawner>,
    tls: Option<TlsAcceptor>,
    routes: Routes,
    arrivals: Arc<Arrivals>,
}

impl Transport {
    /// Serves `routes`, at most so many streams at once on a connection.
    pub(crate) fn new(routes: Routes, tls: Option<TlsAcceptor>, max_streams: u32) -> Self {
        let mut protocol = http2::Builder::new(Spawner);
        protocol
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(max_streams)
            .max_header_list_size(HEADER_BYTES)
            .keep_alive_interval(Some(KEEP_ALIVE))
            .keep_alive_timeout(KEEP_ALIVE_ANSWER);
        Self {
            protocol,
            tls,
            routes: routes.prepare(),
            arrivals: Arc::default(),
        }
    }

    /// Takes connections until the server stops; then none, and serves those that are open until they end.
    pub(crate) async fn serve(self, listener: TcpListener, stop: &Stop) {
        let mut connections = JoinSet::new();
        let mut begun = pin!(stop.begun());
        loop {
            let accepted = tokio::select! {
                () = &mut begun => break,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    connections.spawn(self.clone().connection(stream, stop.begun()));
                }
                Err(error) if is_of_one(error.kind()) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection can be taken");
                    tokio::time::sleep(EXHAUSTED).await;
                }
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    async fn connection(
        self,
        stream: TcpStream,
        stopping: impl Future<Output = ()> + Send + 'static,
    ) {
        let socket = Socket::new(stream, &self.arrivals);
        let sight = socket.sight();
        let Some(tls) = &self.tls else {
            return self.answer(socket, sight, stopping).await;
        };
        match tokio::time::timeout(HANDSHAKE, tls.accept(socket)).await {
            Ok(Ok(stream)) => self.answer(stream, sight, stopping).await,
            Ok(Err(error)) => tracing::debug!(%error, "a client did not agree on encryption"),
            Err(_) => tracing::debug!("a client did not agree on encryption in time"),
        }
    }

    async fn answer(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        sight: Arc<Sight>,
        stopping: impl Future<Output = ()> + Send + 'static,
    ) {
        let (routes, turns) = (self.routes.clone(), sight.turns().clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(turns.clone());
            routes.clone().call(request.map(Body::new))
        });
        let mut connection = Box::pin(
            self.protocol
                .serve_connection(TokioIo::new(Preface::new(stream, HANDSHAKE)), service),
        );
        let mut stopping = Box::pin(stopping);
        let mut is_stopping = false;
        let serving = poll_fn(move |cx| {
            if !is_stopping && stopping.as_mut().poll(cx).is_ready() {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            loop {
                let polled = connection.as_mut().poll(cx);
                if polled.is_ready() || !sight.look() {
                    return polled;
                }
            }
        });
        if let Err(error) = Steady::new(serving).await {
            tracing::debug!(%error, "a connection broke");
        }
    }
}

/// Whether a connection that was not taken says nothing about the next.
fn is_of_one(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::Interrupted
    )
}
