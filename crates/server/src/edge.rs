//! What happens to a call before its messages are read: it is let in or refused by its headers alone,
//! and what it sends is counted as it comes.
//!
//! Decides also that what the transport says about a client's mistakes (bytes that are no message) is
//! told as one: the transport itself calls it an internal error.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_flight::flight_service_server::FlightServiceServer;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use provender_core::{Error, codes};
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, HeaderValue, Request, Response};
use tonic::codegen::{BoxFuture, Service as Respond, StdError};
use tonic::server::NamedService;
use tonic::{Code, Status};

use crate::metrics::Operation;
use crate::service::Service;
use crate::state::{Call, State};
use crate::status::{CODE, status};
use crate::turns::Turns;

/// The Flight service behind admission.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    inner: FlightServiceServer<Service>,
    state: Arc<State>,
}

impl Edge {
    pub(crate) fn new(inner: FlightServiceServer<Service>, state: Arc<State>) -> Self {
        Self { inner, state }
    }
}

impl NamedService for Edge {
    const NAME: &'static str = <FlightServiceServer<Service> as NamedService>::NAME;
}

impl Respond<Request<Body>> for Edge {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let turns = parts.extensions.remove::<Arc<Turns>>().unwrap_or_default();
        let call = match self.state.admit(&parts.headers, &turns) {
            Ok(call) => Arc::new(call),
            Err(error) => {
                self.state.metrics.failed(Operation::other, &error);
                tracing::debug!(code = error.code(), "a call was not let in");
                return Box::pin(futures::future::ready(Ok(status(&error).into_http())));
            }
        };
        parts.extensions.insert(call.clone());
        let body = Counted { body, call };
        let answered = self.inner.call(Request::from_parts(parts, body));
        let state = self.state.clone();
        Box::pin(async move {
            let mut response = answered.await?;
            if let Some(error) = mistake(response.headers()) {
                state.metrics.failed(Operation::other, &error);
                response = status(&error).into_http();
            }
            Ok(response)
        })
    }
}

/// What is wrong with the call if the transport refused it, and not this crate, whose statuses have a
/// code of ours.
fn mistake(headers: &HeaderMap<HeaderValue>) -> Option<Error> {
    if headers.contains_key(CODE) {
        return None;
    }
    let refused = Status::from_header_map(headers)?;
    unreadable(&refused)
}

/// The transport's verdict about what a client sent, in our terms; `None` for what is none.
pub(crate) fn unreadable(refused: &Status) -> Option<Error> {
    let code = match refused.code() {
        Code::Internal | Code::InvalidArgument => &codes::BAD_MESSAGE,
        Code::OutOfRange | Code::ResourceExhausted => &codes::MESSAGE_TOO_LARGE,
        _ => return None,
    };
    Some(Error::new(
        code,
        format!("the call's messages cannot be read: {}", refused.message()),
    ))
}

/// A request's body, of which every byte counts until the call has worked on it.
struct Counted {
    body: Body,
    call: Arc<Call>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(error) = self.call.received.add(data.len())
        {
            return Poll::Ready(Some(Err(Box::new(status(&error)))));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
