//! Incoming messages: a schema, then batches.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_flight::FlightData;
use arrow_ipc::convert::fb_to_schema;
use arrow_ipc::reader::{read_dictionary, read_record_batch};
use arrow_ipc::{Message, MessageHeader};
use arrow_schema::{ArrowError, SchemaRef};
use provender_core::{Error, Result};

use super::inspect::{self, refused};
use super::{WireLimits, hydrated};

/// Reads the messages of one incoming stream, in order.
#[derive(Debug)]
pub struct Decoder {
    limits: WireLimits,
    schema: Option<SchemaRef>,
    dictionaries: HashMap<i64, ArrayRef>,
}

/// What a message was.
#[derive(Clone, Debug)]
pub enum Incoming {
    /// The stream's schema.
    Schema(SchemaRef),
    /// Rows of the stream's schema.
    Batch(RecordBatch),
    /// Nothing of ours: a message without header, or a dictionary that later batches refer to.
    Nothing,
}

impl Decoder {
    /// A decoder of a new stream.
    pub fn new(limits: WireLimits) -> Self {
        Self {
            limits,
            schema: None,
            dictionaries: HashMap::new(),
        }
    }

    /// The schema, once it has come.
    pub fn schema(&self) -> Option<&SchemaRef> {
        self.schema.as_ref()
    }

    /// Reads one message.
    ///
    /// # Errors
    /// `InvalidArgument` (`P702`) for bytes that are no Arrow message, for rows before the schema and
    /// for a second schema; `ResourceExhausted` (`P703`) for too many bytes.
    pub fn accept(&mut self, data: &FlightData) -> Result<Incoming> {
        if data.data_header.is_empty() {
            return Ok(Incoming::Nothing);
        }
        let message = inspect::message(&data.data_header)?;
        match message.header_type() {
            MessageHeader::Schema => self.accept_schema(message),
            MessageHeader::RecordBatch => self.accept_batch(message, data),
            MessageHeader::DictionaryBatch => self.accept_dictionary(message, data),
            _ => Err(refused(
                "it is neither a schema nor a batch nor a dictionary".to_owned(),
            )),
        }
    }

    fn accept_schema(&mut self, message: Message<'_>) -> Result<Incoming> {
        if self.schema.is_some() {
            return Err(refused("it is a second schema in one stream".to_owned())
                .help("open another stream for rows of another schema"));
        }
        let header = message
            .header_as_schema()
            .ok_or_else(|| refused("its schema is missing".to_owned()))?;
        inspect::schema(header)?;
        let schema = Arc::new(fenced(|| Ok(fb_to_schema(header)))?);
        self.schema = Some(schema.clone());
        Ok(Incoming::Schema(schema))
    }

    fn accept_batch(&mut self, message: Message<'_>, data: &FlightData) -> Result<Incoming> {
        let schema = self.known_schema()?;
        let header = message
            .header_as_record_batch()
            .ok_or_else(|| refused("its batch is missing".to_owned()))?;
        inspect::batch(header, &data.data_body, &self.limits)?;
        let body = Buffer::from(data.data_body.clone());
        let version = message.version();
        let dictionaries = &self.dictionaries;
        let batch =
            fenced(|| read_record_batch(&body, header, schema, dictionaries, None, &version))?;
        hydrated::check(&batch, &self.limits)?;
        Ok(Incoming::Batch(batch))
    }

    fn accept_dictionary(&mut self, message: Message<'_>, data: &FlightData) -> Result<Incoming> {
        let schema = self.known_schema()?;
        let header = message
            .header_as_dictionary_batch()
            .ok_or_else(|| refused("its dictionary is missing".to_owned()))?;
        inspect::dictionary(header, &data.data_body, &self.limits)?;
        let body = Buffer::from(data.data_body.clone());
        let version = message.version();
        let dictionaries = &mut self.dictionaries;
        fenced(|| read_dictionary(&body, header, &schema, dictionaries, &version))?;
        Ok(Incoming::Nothing)
    }

    fn known_schema(&self) -> Result<SchemaRef> {
        self.schema.clone().ok_or_else(|| {
            refused("rows come before the schema".to_owned())
                .help("send the schema as the first message")
        })
    }
}

/// Runs Arrow's reader. Inspection leaves it nothing to panic about that is known; what it does all
/// the same is a mistake of the message and not the end of the call's thread.
fn fenced<T>(read: impl FnOnce() -> Result<T, ArrowError>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(not_arrow().source(error)),
        Err(_) => Err(not_arrow()),
    }
}

fn not_arrow() -> Error {
    refused("its rows do not fit its schema".to_owned())
}
