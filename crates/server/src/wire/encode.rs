//! Outgoing messages: a schema, then batches of at most a certain size.

use std::collections::VecDeque;

use arrow_array::RecordBatch;
use arrow_flight::FlightData;
use arrow_ipc::writer::{
    DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteContext, IpcWriteOptions,
};
use arrow_schema::Schema;
use bytes::Bytes;
use provender_core::{Error, Result, codes};

/// What a message may need beside its rows: its header, framing, metadata.
const SLACK_BYTES: usize = 16 << 10;

/// What a message of many rows aims at: small enough that a client that does not read holds little.
const TARGET_BYTES: usize = 256 << 10;
/// Rows whose size is not looked at before they are written.
const SMALL_ROWS: usize = 256;

/// A batch on its way out.
#[derive(Debug)]
pub struct Pieces {
    batch: RecordBatch,
    /// The rows that come next, and how many make a message; zero before the first.
    next_row: usize,
    rows_per_message: usize,
    /// Written, and not asked for yet.
    messages: VecDeque<FlightData>,
}

impl Pieces {
    /// The rows of the next message; those of an empty batch are none, once.
    fn next_rows(
        &mut self,
        rows_per_message: impl FnOnce(&RecordBatch) -> usize,
    ) -> Option<RecordBatch> {
        let n_rows = self.batch.num_rows();
        if self.rows_per_message == 0 {
            self.rows_per_message = rows_per_message(&self.batch).max(1);
            if self.rows_per_message >= n_rows {
                self.next_row = n_rows;
                return Some(self.batch.clone());
            }
        }
        let length = self.rows_per_message.min(n_rows - self.next_row);
        let rows = (length > 0).then(|| self.batch.slice(self.next_row, length));
        self.next_row += length;
        rows
    }
}

/// Writes the messages of one outgoing stream, in order.
pub struct Encoder {
    max_bytes: usize,
    generator: IpcDataGenerator,
    dictionaries: DictionaryTracker,
    options: IpcWriteOptions,
    context: IpcWriteContext,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder")
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

impl Encoder {
    /// An encoder of a new stream, whose messages have at most `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            generator: IpcDataGenerator::default(),
            // Batches of one stream may bring different dictionaries.
            dictionaries: DictionaryTracker::new(false),
            options: IpcWriteOptions::default(),
            context: IpcWriteContext::default(),
        }
    }

    /// The first message of the stream.
    pub fn schema(&mut self, schema: &Schema) -> FlightData {
        let encoded = self.generator.schema_to_bytes_with_dictionary_tracker(
            schema,
            &mut self.dictionaries,
            &self.options,
        );
        message(encoded)
    }

    /// The messages of a batch: one or more of consecutive rows, after the dictionaries that they
    /// refer to. A batch of zero rows is one message.
    ///
    /// # Errors
    /// `ResourceExhausted` (`P703`) for a single row that is too large.
    pub fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<FlightData>> {
        let mut messages = VecDeque::with_capacity(1);
        self.append(batch, &mut messages)?;
        Ok(messages.into())
    }

    /// A batch that [`Self::next`] writes one message after the other.
    pub fn pieces(&self, batch: RecordBatch) -> Pieces {
        Pieces {
            batch,
            next_row: 0,
            rows_per_message: 0,
            messages: VecDeque::new(),
        }
    }

    /// The next message of a batch, none after its last. Rows are written when their message is asked
    /// for, so no more than one message of them is held.
    ///
    /// # Errors
    /// As [`Self::batch`].
    pub fn next(&mut self, pieces: &mut Pieces) -> Result<Option<FlightData>> {
        if pieces.messages.is_empty()
            && let Some(rows) =
                pieces.next_rows(|batch| batch.num_rows().div_ceil(self.n_parts(batch)))
        {
            self.append(&rows, &mut pieces.messages)?;
        }
        Ok(pieces.messages.pop_front())
    }

    /// How many messages a batch of its size should be.
    fn n_parts(&self, batch: &RecordBatch) -> usize {
        let n_rows = batch.num_rows();
        if n_rows <= SMALL_ROWS {
            return 1;
        }
        let wanted = TARGET_BYTES.min(self.max_bytes.saturating_sub(SLACK_BYTES).max(1));
        row_bytes(batch)
            .div_ceil(wanted)
            .clamp(1, n_rows.div_ceil(SMALL_ROWS))
    }

    fn append(&mut self, batch: &RecordBatch, messages: &mut VecDeque<FlightData>) -> Result<()> {
        let (dictionaries, rows) = self
            .generator
            .encode(
                batch,
                &mut self.dictionaries,
                &self.options,
                &mut self.context,
            )
            .map_err(|error| {
                Error::new(&codes::INTERNAL, "rows cannot be written as Arrow IPC").source(error)
            })?;
        for dictionary in dictionaries {
            let dictionary = message(dictionary);
            self.check(&dictionary)?;
            messages.push_back(dictionary);
        }
        let rows = message(rows);
        let n_bytes = size(&rows);
        if n_bytes <= self.max_bytes {
            messages.push_back(rows);
            return Ok(());
        }
        let n_rows = batch.num_rows();
        if n_rows <= 1 {
            return self.check(&rows);
        }
        // Rows differ in size, so a part may be too large again; it is then split further.
        let n_parts = (n_bytes.div_ceil(self.max_bytes) + 1).min(n_rows);
        let rows_per_part = n_rows.div_ceil(n_parts);
        for start in (0..n_rows).step_by(rows_per_part) {
            let length = rows_per_part.min(n_rows - start);
            self.append(&batch.slice(start, length), messages)?;
        }
        Ok(())
    }

    fn check(&self, message: &FlightData) -> Result<()> {
        let n_bytes = size(message);
        if n_bytes <= self.max_bytes {
            return Ok(());
        }
        Err(Error::new(
            &codes::MESSAGE_TOO_LARGE,
            format!(
                "one row takes {n_bytes} bytes, and a message has at most {}",
                self.max_bytes
            ),
        )
        .help("raise server.max_message_bytes, and the client's own limit with it"))
    }
}

/// The bytes of a batch's rows alone, whatever they are slices of.
pub fn row_bytes(batch: &RecordBatch) -> usize {
    let columns = batch.columns().iter();
    columns
        .map(|column| column.to_data().get_slice_memory_size().unwrap_or_default())
        .sum()
}

fn size(message: &FlightData) -> usize {
    message.data_header.len() + message.data_body.len() + SLACK_BYTES
}

fn message(encoded: EncodedData) -> FlightData {
    FlightData {
        flight_descriptor: None,
        data_header: Bytes::from(encoded.ipc_message),
        data_body: Bytes::from(encoded.arrow_data),
        app_metadata: Bytes::new(),
    }
}
