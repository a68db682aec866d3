//! A client's stream of rows: the command in its first message, then a schema, then batches.
//!
//! Decides how long a message counts among the bytes that are held: until the next one is asked for.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_array::RecordBatch;
use arrow_flight::{FlightData, FlightDescriptor};
use arrow_schema::SchemaRef;
use async_stream::try_stream;
use futures::{Stream, StreamExt};
use prost::Message;
use provender_core::{BatchStream, Error, ErrorKind, Result, codes};
use tokio::time::{Instant, Sleep, sleep};
use tonic::{Code, Status, Streaming};

use crate::command::Command;
use crate::edge::unreadable;
use crate::state::{Call, State};
use crate::status::CODE;
use crate::stop::{Aside, IDLE, stopping};
use crate::wire::{Decoder, Incoming, WireLimits};

/// Rows of a spine that are worked on at once, however many came in one message.
pub(crate) const SPINE_ROWS: usize = 1 << 20;
/// The bytes of gRPC around a message.
const FRAME_BYTES: usize = 5;

/// The messages of a client.
pub(crate) struct Messages {
    /// Read already, and still to be worked on: its rows may have come with the command.
    first: Option<FlightData>,
    rest: Streaming<FlightData>,
    call: Arc<Call>,
    /// What the message weighs that was handed out last.
    n_bytes: usize,
    state: Arc<State>,
    stopping: Aside<()>,
    /// Since the server stops: how long the next message is waited for.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Messages {
    /// Reads the first message, which must carry a descriptor.
    ///
    /// # Errors
    /// `InvalidArgument` (`P406`) for an empty stream and for a first message without a descriptor.
    pub(crate) async fn open(
        state: &Arc<State>,
        call: &Arc<Call>,
        incoming: Streaming<FlightData>,
    ) -> Result<(FlightDescriptor, Self)> {
        let mut messages = Self {
            first: None,
            rest: incoming,
            call: call.clone(),
            n_bytes: 0,
            state: state.clone(),
            stopping: Aside::new(state.stop.begun()),
            patience: None,
        };
        let first = messages.next().await.ok_or_else(|| {
            bad("the stream ended before its first message")
                .help("send a descriptor with a command in the first message")
        })??;
        let descriptor = first.flight_descriptor.clone().ok_or_else(|| {
            bad("the first message has no descriptor").help(
                "send a descriptor with a command, such as {\"op\":\"online\",\"service\":\"s\"}",
            )
        })?;
        messages.first = Some(first);
        Ok((descriptor, messages))
    }

    /// Whether the server is stopping and nothing has come for a moment.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(patience) = &mut self.patience {
                return patience.as_mut().poll(cx);
            }
            let has_begun = self.state.stop.has_begun();
            std::task::ready!(self.stopping.poll(cx, has_begun));
            self.patience = Some(Box::pin(sleep(IDLE)));
        }
    }
}

impl Stream for Messages {
    type Item = Result<FlightData>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let n_bytes = std::mem::take(&mut self.n_bytes);
        if n_bytes > 0 {
            self.call.received.release(n_bytes);
        }
        match self.rest.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(message))) => {
                self.call.turn.is_ours();
                self.n_bytes = message.encoded_len() + FRAME_BYTES;
                if let Some(patience) = &mut self.patience {
                    patience.as_mut().reset(Instant::now() + IDLE);
                }
                Poll::Ready(Some(Ok(message)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(broken(&error)))),
            Poll::Ready(None) => {
                self.call.turn.is_ours();
                Poll::Ready(None)
            }
            Poll::Pending => {
                self.call.turn.is_theirs();
                std::task::ready!(self.poll_idle(cx));
                Poll::Ready(Some(Err(stopping())))
            }
        }
    }
}

/// The command of a descriptor.
///
/// # Errors
/// `InvalidArgument` (`P406`) for a path, and what [`Command::parse`] says.
pub(crate) fn command_of(descriptor: &FlightDescriptor) -> Result<Command> {
    if descriptor.cmd.is_empty() && !descriptor.path.is_empty() {
        return Err(
            bad("the descriptor has a path, and this call takes a command")
                .help("send a command such as {\"op\":\"push\",\"view\":\"v\",\"to\":\"online\"}"),
        );
    }
    Command::parse(&descriptor.cmd)
}

/// Rows as they come, once their schema is there. A batch of more than `max_rows`
/// comes in parts.
///
/// # Errors
/// `InvalidArgument` (`P702`) for messages that are none and for a stream without a schema; errors of
/// later messages are the stream's.
pub(crate) async fn rows_of(
    mut incoming: Messages,
    limits: WireLimits,
    max_rows: usize,
) -> Result<BatchStream> {
    let mut decoder = Decoder::new(limits);
    let schema: SchemaRef = loop {
        let Some(message) = incoming.next().await else {
            return Err(
                Error::new(&codes::BAD_MESSAGE, "the stream ended before its schema")
                    .help("send a schema, even for no rows"),
            );
        };
        if let Incoming::Schema(schema) = decoder.accept(&message?)? {
            break schema;
        }
    };
    let batches = try_stream! {
        while let Some(message) = incoming.next().await {
            let message = message?;
            if let Incoming::Batch(batch) = decoder.accept(&message)? {
                for part in parts(&batch, max_rows) {
                    yield part;
                }
            }
        }
    };
    Ok(BatchStream::new(schema, batches))
}

/// A batch in parts of at most `max_rows`; one of zero rows is one part.
pub(crate) fn parts(
    batch: &RecordBatch,
    max_rows: usize,
) -> impl Iterator<Item = RecordBatch> + '_ {
    let n_rows = batch.num_rows();
    (0..n_rows.max(1))
        .step_by(max_rows)
        .map(move |start| batch.slice(start, max_rows.min(n_rows - start)))
}

/// The client's side of the stream broke, was no message, or was too large for one.
fn broken(error: &Status) -> Error {
    let text = format!("the client's stream broke: {}", error.message());
    // What this server refused while the bytes came.
    if error.metadata().contains_key(CODE) {
        let message = error.message().split(" [").next().unwrap_or_default();
        return Error::new(&codes::CALL_LIMIT, message)
            .help("try again a little later, or send smaller batches");
    }
    if error.code() == Code::DeadlineExceeded {
        return Error::new(&codes::CANCELLED, text).with_kind(ErrorKind::DeadlineExceeded);
    }
    unreadable(error).unwrap_or_else(|| Error::new(&codes::CANCELLED, text))
}

fn bad(message: &str) -> Error {
    Error::new(&codes::BAD_REQUEST, message)
}
