//! Results of statements as streams: in order, several chunks ahead of the reader, and links to chunks
//! asked for anew when they have expired.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use provender_core::time::{now_us, parse_instant};
use provender_core::{BatchStream, Context, Error, Result, codes};
use provender_engine::parts::{self, PartLimits, PartSource, pause};

use super::http::{Ask, Http, LinkFailure, Links, MAX_LINK_ATTEMPTS, link_headers};
use super::nested;
use super::statement::{Chunk, Finished, Link, ResultPart, Statement, Warehouse};
use super::types::{self, is_nested};
use crate::convert::rearrange;

/// A link that ends sooner than this is not followed any more.
const LEAST_LEFT_US: i64 = 5_000_000;

/// Runs statements in a warehouse and reads their results. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub warehouse: Warehouse,
    links: Links,
    limits: PartLimits,
}

impl Client {
    pub(crate) fn new(warehouse: Warehouse, limits: PartLimits) -> Result<Self> {
        Ok(Self {
            warehouse,
            links: Links::new()?,
            limits,
        })
    }

    /// Runs a statement whose result does not matter.
    ///
    /// # Errors
    /// As [`Warehouse::run`].
    pub(crate) async fn execute(&self, cx: &Context, statement: &Statement) -> Result<()> {
        self.warehouse.run(cx, statement).await.map(drop)
    }

    /// Runs a query and answers its rows in several streams, the first rows first.
    ///
    /// # Errors
    /// As [`Warehouse::run`], and `P504` for columns of a type that has no meaning here.
    pub(crate) async fn query(&self, cx: &Context, sql: &str) -> Result<Vec<BatchStream>> {
        let finished = self.warehouse.run(cx, &Statement::read(sql)).await?;
        self.streams(cx, finished, self.limits)
    }

    /// Runs a query and answers its rows in one stream, in order.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub(crate) async fn query_in_order(&self, cx: &Context, sql: &str) -> Result<BatchStream> {
        let finished = self.warehouse.run(cx, &Statement::read(sql)).await?;
        let limits = PartLimits {
            n_streams: 1,
            ..self.limits
        };
        let stream = self.streams(cx, finished, limits)?.pop();
        stream.ok_or_else(|| Error::new(&codes::INTERNAL, "a result has no stream"))
    }

    /// The columns that a query answers; no row is read.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub(crate) async fn columns(&self, cx: &Context, rows: &str) -> Result<SchemaRef> {
        let sql = format!("SELECT * FROM {rows} AS s LIMIT 0");
        let finished = self.warehouse.run(cx, &Statement::read(sql)).await?;
        types::schema(&finished.manifest.schema.columns)
    }

    /// Runs a query of few rows and answers them as text, null as `None`.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub(crate) async fn texts(&self, cx: &Context, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        let mut rows = Vec::new();
        for batch in self.query_in_order(cx, sql).await?.collect().await? {
            let columns = batch
                .columns()
                .iter()
                .map(|column| cast(column, &DataType::Utf8))
                .collect::<std::result::Result<Vec<_>, _>>()
                .map_err(|error| {
                    Error::new(&codes::OFFLINE_DATA, "a small result is not text").source(error)
                })?;
            for row in 0..batch.num_rows() {
                use arrow_array::Array;
                let cells = columns.iter().map(|column| {
                    let texts = column.as_string::<i32>();
                    texts.is_valid(row).then(|| texts.value(row).to_owned())
                });
                rows.push(cells.collect());
            }
        }
        Ok(rows)
    }

    fn streams(
        &self,
        cx: &Context,
        finished: Finished,
        limits: PartLimits,
    ) -> Result<Vec<BatchStream>> {
        let manifest = finished.manifest;
        if manifest.truncated {
            return Err(Error::new(
                &codes::OFFLINE_REQUEST,
                "a result is larger than Databricks hands out (100 GiB)",
            )
            .help("ask for less at a time, or set execution: direct"));
        }
        let schema = types::schema(&manifest.schema.columns)?;
        let mut chunks = manifest.chunks;
        // Not every server lists them.
        for index in chunks.len() as i64..manifest.total_chunk_count {
            chunks.push(Chunk {
                chunk_index: index,
                byte_count: 0,
            });
        }
        let known = finished.result.external_links;
        let known = known.into_iter().map(|link| (link.chunk_index, link));
        let source = Arc::new(LinkedChunks {
            http: self.warehouse.http.clone(),
            links: self.links.clone(),
            statement_id: finished.statement_id,
            known: Mutex::new(known.collect()),
        });
        Ok(parts::streams(cx, &source, &schema, None, chunks, limits))
    }
}

/// The chunks of one statement's result.
struct LinkedChunks {
    http: Http,
    links: Links,
    statement_id: String,
    /// Links that nobody has followed yet.
    known: Mutex<HashMap<i64, Link>>,
}

impl LinkedChunks {
    async fn link(&self, index: i64) -> Result<Link> {
        let known = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&index);
        if let Some(link) = known.filter(is_fresh) {
            return Ok(link);
        }
        let path = format!(
            "api/2.0/sql/statements/{}/result/chunks/{index}",
            self.statement_id
        );
        let found: ResultPart = self.http.send(&Ask::get(path)).await?;
        let mut found = found.external_links.into_iter();
        found.find(|link| link.chunk_index == index).ok_or_else(|| {
            Error::new(
                &codes::OFFLINE_DATA,
                format!("Databricks names no link to part {index} of a result"),
            )
            .context("statement_id", self.statement_id.clone())
        })
    }
}

/// Whether a link still lasts long enough to be followed.
fn is_fresh(link: &Link) -> bool {
    let ends = link.expiration.as_deref().map(parse_instant);
    match ends {
        Some(Ok(us)) => us - now_us() > LEAST_LEFT_US,
        // The storage says whether it is.
        _ => true,
    }
}

#[async_trait]
impl PartSource for LinkedChunks {
    type Part = Chunk;

    fn n_bytes(&self, part: &Chunk) -> u64 {
        part.byte_count
    }

    async fn fetch(&self, part: &Chunk) -> Result<Bytes> {
        let mut attempt = 0;
        loop {
            let link = self.link(part.chunk_index).await?;
            let headers = link.http_headers.iter().flatten();
            let headers = link_headers(
                headers
                    .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))),
            )?;
            let (error, wait) = match self.links.follow(&link.external_link, &headers).await {
                Ok(bytes) => return Ok(bytes),
                Err(LinkFailure::Stale(error)) => (error, None),
                Err(LinkFailure::Passing(error, wait)) => (error, wait),
            };
            attempt += 1;
            if attempt >= MAX_LINK_ATTEMPTS {
                return Err(error.context("statement_id", self.statement_id.clone()));
            }
            tracing::debug!(attempt, "the download of a part of a result is repeated");
            tokio::time::sleep(wait.unwrap_or_else(|| pause(attempt))).await;
        }
    }

    fn decode(&self, batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
        if batch.num_columns() != schema.fields().len() {
            return Err(Error::new(
                &codes::OFFLINE_DATA,
                format!(
                    "a part of a result has {} columns, and the result {}",
                    batch.num_columns(),
                    schema.fields().len()
                ),
            ));
        }
        let is_text = |(column, field): (&ArrayRef, &FieldRef)| {
            is_nested(field.data_type()) && !is_nested(column.data_type())
        };
        if !batch.columns().iter().zip(schema.fields()).any(is_text) {
            let all: Vec<usize> = (0..batch.num_columns()).collect();
            return rearrange(batch, &all, schema);
        }
        let columns = batch.columns().iter().zip(schema.fields());
        let columns = columns.map(|(column, field)| match is_text((column, field)) {
            true => nested::from_json(column, field),
            false => Ok(column.clone()),
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let fields = columns.iter().zip(schema.fields());
        let fields: Vec<_> = fields
            .map(|(column, field)| Field::new(field.name(), column.data_type().clone(), true))
            .collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns);
        let batch = &batch.map_err(|error| {
            Error::new(&codes::INTERNAL, "a result's columns are not its own").source(error)
        })?;
        let all: Vec<usize> = (0..batch.num_columns()).collect();
        rearrange(batch, &all, schema)
    }
}
