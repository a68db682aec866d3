//! Arrow messages to and from `FlightData`, one at a time.
//!
//! Decides which bytes of a client are handed to Arrow's reader at all, and how large a message may be.
//! Written on the messages themselves and not on arrow-flight's streams: those trust what they read,
//! send nothing for a batch of zero rows, and split by the size of whole buffers, so that slices of a
//! large batch become many small messages.

mod decode;
mod encode;
mod hydrated;
mod inspect;
#[cfg(test)]
mod tests;

pub use decode::{Decoder, Incoming};
pub use encode::{Encoder, Pieces, row_bytes};

/// How large messages may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireLimits {
    /// The most bytes of a message that is sent: what most clients accept.
    pub max_sent_bytes: usize,
    /// The most bytes that the buffers of one message may have once they are decompressed.
    pub max_decoded_bytes: usize,
}

impl Default for WireLimits {
    fn default() -> Self {
        Self {
            max_sent_bytes: 4 << 20,
            max_decoded_bytes: 256 << 20,
        }
    }
}
