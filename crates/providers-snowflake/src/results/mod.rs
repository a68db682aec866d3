//! Results as streams: a first part inside of the answer, and chunks in the storage behind Snowflake.
//!
//! Decides how often a download is repeated, and what a result's first part is. That parts come in
//! order, several ahead of the reader, is the engine's.

mod decode;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use base64::Engine;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use provender_core::{BatchStream, Context, Error, Result, codes};
pub(crate) use provender_engine::parts::PartLimits as Limits;
use provender_engine::parts::{self, PartSource, pause};

pub(crate) use self::decode::decode;
use crate::session::protocol::{Chunk, QueryData};
use crate::session::{Http, MAX_CHUNK_ATTEMPTS};
use crate::types::Columns;

/// The rows of an answer in streams, each a range of it, in order.
///
/// # Errors
/// `P504` if the answer holds no Arrow rows.
pub(crate) fn streams(
    cx: &Context,
    http: &Http,
    data: QueryData,
    limits: Limits,
) -> Result<Vec<BatchStream>> {
    let schema = Columns::new(data.rowtype.clone()).answered;
    if data.rowset.as_ref().is_some_and(|rows| !rows.is_empty()) {
        return Err(Error::new(
            &codes::OFFLINE_DATA,
            "Snowflake answers rows as JSON, which carries values less exactly than Arrow",
        )
        .help(
            "ask for rows with a SELECT, and leave the session parameters of result formats alone",
        ));
    }
    let first = match data.rowset_base64.as_deref() {
        None | Some("") => None,
        Some(text) => Some(Bytes::from(
            base64::engine::general_purpose::STANDARD
                .decode(text)
                .map_err(|error| {
                    Error::new(
                        &codes::OFFLINE_DATA,
                        "the first part of a result is not base64",
                    )
                    .source(error)
                })?,
        )),
    };
    let source = Arc::new(Chunks {
        http: http.clone(),
        headers: chunk_headers(&data)?,
    });
    Ok(parts::streams(
        cx,
        &source,
        &schema,
        first,
        data.chunks,
        limits,
    ))
}

/// The chunks of one result.
struct Chunks {
    http: Http,
    headers: HeaderMap,
}

#[async_trait]
impl PartSource for Chunks {
    type Part = Chunk;

    fn n_bytes(&self, part: &Chunk) -> u64 {
        part.uncompressed_size
    }

    /// A chunk that ends early is asked for again as well.
    async fn fetch(&self, part: &Chunk) -> Result<Bytes> {
        let mut attempt = 0;
        loop {
            let failure = match self.http.chunk(&part.url, &self.headers).await {
                Ok(bytes) => return Ok(bytes),
                Err(failure) => failure,
            };
            attempt += 1;
            if !failure.passes || attempt >= MAX_CHUNK_ATTEMPTS {
                return Err(failure.error);
            }
            tracing::debug!(attempt, "the download of a part of a result is repeated");
            tokio::time::sleep(failure.wait.unwrap_or_else(|| pause(attempt))).await;
        }
    }

    fn decode(&self, batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
        decode(batch, schema)
    }
}

fn chunk_headers(data: &QueryData) -> Result<HeaderMap> {
    let mut pairs: Vec<(String, String)> = match &data.chunk_headers {
        Some(headers) => headers.clone().into_iter().collect(),
        None => Vec::new(),
    };
    if let (true, Some(key)) = (pairs.is_empty(), &data.qrmk) {
        let prefix = "x-amz-server-side-encryption-customer";
        pairs.push((format!("{prefix}-algorithm"), "AES256".to_owned()));
        pairs.push((format!("{prefix}-key"), key.clone()));
    }
    let bad = || Error::new(&codes::OFFLINE_DATA, "a result names headers that are none");
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let mut value = HeaderValue::from_str(&value).map_err(|_| bad())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}
