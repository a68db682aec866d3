//! What the fuzz targets do with an input; the server's tests do the same with the seeds.

use arrow_flight::FlightData;
use provender_core::{Error, ErrorKind};
use provender_server::command::{Command, FeatureItem, references};
use provender_server::wire::{Decoder, Encoder, Incoming, WireLimits};

/// Reads a ticket: it is a command, or a mistake that says so.
pub fn command(bytes: &[u8]) {
    match Command::parse(bytes) {
        Ok(Command::Online(command)) => features(command.features.as_deref()),
        Ok(Command::Historical(command)) => features(command.features.as_deref()),
        Ok(_) => {}
        Err(error) => mistake(&error),
    }
}

fn features(items: Option<&[FeatureItem]>) {
    if let Some(Err(error)) = items.map(references) {
        mistake(&error);
    }
}

fn mistake(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(!error.message().is_empty());
}

/// Reads a stream of messages: each is rows, or a mistake that says so. Rows are written again, which
/// touches every value of them.
///
/// The input is messages one after the other: two bytes with the length of a header, two with the length
/// of a body, then both.
pub fn wire(bytes: &[u8]) {
    let limits = WireLimits {
        max_decoded_bytes: 4 << 20,
        ..WireLimits::default()
    };
    let mut decoder = Decoder::new(limits);
    let mut rest = bytes;
    while let Some((message, after)) = next(rest) {
        rest = after;
        match decoder.accept(&message) {
            Ok(Incoming::Batch(batch)) => {
                for column in batch.columns() {
                    column.to_data().validate_full().expect("valid columns");
                }
                let mut encoder = Encoder::new(64 << 20);
                encoder.schema(&batch.schema());
                if let Err(error) = encoder.batch(&batch) {
                    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
                }
            }
            Ok(Incoming::Schema(_) | Incoming::Nothing) => {}
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    ErrorKind::InvalidArgument | ErrorKind::ResourceExhausted
                ),
                "{error}"
            ),
        }
    }
}

fn next(bytes: &[u8]) -> Option<(FlightData, &[u8])> {
    let (lengths, rest) = bytes.split_first_chunk::<4>()?;
    let header = usize::from(u16::from_le_bytes([lengths[0], lengths[1]])).min(rest.len());
    let (header, rest) = rest.split_at(header);
    let body = usize::from(u16::from_le_bytes([lengths[2], lengths[3]])).min(rest.len());
    let (body, rest) = rest.split_at(body);
    let message = FlightData {
        data_header: header.to_vec().into(),
        data_body: body.to_vec().into(),
        ..FlightData::default()
    };
    Some((message, rest))
}

/// A message as [`wire`] reads it.
pub fn framed(message: &FlightData) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in [&message.data_header, &message.data_body] {
        let length = u16::try_from(part.len()).expect("a small message");
        bytes.extend(length.to_le_bytes());
    }
    bytes.extend(message.data_header.iter().chain(message.data_body.iter()));
    bytes
}
