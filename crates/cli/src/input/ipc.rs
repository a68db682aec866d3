//! Arrow IPC, as a file (with a footer) or as a stream.
//!
//! Lengths that a damaged or hostile header claims are checked before the reader believes them.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek, SeekFrom};

use arrow_array::RecordBatch;
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::ArrowError;
use provender_core::{Error, Result, codes};

use super::{Opened, cannot_read};

const FILE_MAGIC: &[u8] = b"ARROW1";
/// Before each message of a stream.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// The longest schema message that is believed.
const MAX_SCHEMA_BYTES: u64 = 64 << 20;

/// Whether bytes are the beginning of an Arrow file or stream.
pub(super) fn starts_as_arrow(bytes: &[u8]) -> bool {
    bytes.starts_with(FILE_MAGIC) || bytes.starts_with(&CONTINUATION)
}

/// Reads a file of either kind.
pub(super) fn open_file(name: String, mut file: File) -> Result<Opened> {
    let mut start = Vec::new();
    let n_bytes = file.metadata().map_or(0, |metadata| metadata.len());
    (&file)
        .take(8)
        .read_to_end(&mut start)
        .and_then(|_| file.seek(SeekFrom::Start(0)))
        .map_err(|error| cannot_read(&name, error))?;
    if !start.starts_with(FILE_MAGIC) {
        check_start(&name, &start, n_bytes.min(MAX_SCHEMA_BYTES))?;
        return open_stream(name, BufReader::with_capacity(1 << 18, file));
    }
    let reader = FileReader::try_new(BufReader::with_capacity(1 << 18, file), None)
        .map_err(|error| damaged(&name, error))?;
    Ok(Opened {
        schema: reader.schema(),
        n_rows: None,
        batches: readable(name, reader),
    })
}

/// Reads a pipe of either kind; a file is a stream behind its magic and some padding.
pub(super) fn open_pipe(name: String, mut reader: impl BufRead + 'static) -> Result<Opened> {
    let mut start = Vec::new();
    let read = (|| {
        reader.by_ref().take(8).read_to_end(&mut start)?;
        if start.starts_with(FILE_MAGIC) {
            skip_padding(&mut reader)?;
            start.clear();
            reader.by_ref().take(8).read_to_end(&mut start)?;
        }
        Ok(())
    })();
    read.map_err(|error| cannot_read(&name, error))?;
    check_start(&name, &start, MAX_SCHEMA_BYTES)?;
    open_stream(name, Cursor::new(start).chain(reader))
}

fn skip_padding(reader: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        let n_zeros = buffer.iter().take_while(|byte| **byte == 0).count();
        let more = n_zeros > 0 && n_zeros == buffer.len();
        reader.consume(n_zeros);
        if !more {
            return Ok(());
        }
    }
}

fn open_stream(name: String, reader: impl Read + 'static) -> Result<Opened> {
    let reader = StreamReader::try_new(reader, None).map_err(|error| damaged(&name, error))?;
    Ok(Opened {
        schema: reader.schema(),
        n_rows: None,
        batches: readable(name, reader),
    })
}

fn readable(
    name: String,
    reader: impl Iterator<Item = Result<RecordBatch, ArrowError>> + 'static,
) -> Box<dyn Iterator<Item = Result<RecordBatch>>> {
    Box::new(reader.map(move |batch| batch.map_err(|error| damaged(&name, error))))
}

fn check_start(name: &str, start: &[u8], limit: u64) -> Result<()> {
    let length = match start {
        [0xff, 0xff, 0xff, 0xff, a, b, c, d, ..] | [a, b, c, d, ..] => {
            u64::from(u32::from_le_bytes([*a, *b, *c, *d]))
        }
        _ => 0,
    };
    if length == 0 || length > limit {
        return Err(Error::new(
            &codes::BAD_INPUT_FILE,
            format!("{name} is not Arrow IPC: it starts with no schema"),
        ));
    }
    Ok(())
}

fn damaged(name: &str, error: ArrowError) -> Error {
    Error::new(
        &codes::BAD_INPUT_FILE,
        format!("{name} cannot be read as Arrow IPC: {error}"),
    )
    .source(error)
}
