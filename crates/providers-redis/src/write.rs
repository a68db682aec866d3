//! Writing rows: how a stream becomes chunks, and when a write is done.
//!
//! Rows are packed and gathered; the next chunk is packed while one is written. Which rows win is decided
//! elsewhere.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures::StreamExt;
use provender_codec::RowFormat;
use provender_core::request::{ViewLayout, WriteSummary};
use provender_core::{BatchStream, Context, Error, Result, ValueType, codes};
use tokio::task::JoinSet;

use crate::chunk::{Chunk, Packing};
use crate::client::{Command, Commands};
use crate::contest::{Target, apply};
use crate::fleet::Fleet;
use crate::keys::{Keys, slot, view_field};
use crate::route::{Used, sound};
use crate::within::within;

/// Rows packed between two looks at how full a chunk is.
const SLICE_ROWS: usize = 4_096;
/// Rows and bytes of a chunk where one server holds everything.
const CHUNK_ROWS: usize = 16_384;
const CHUNK_BYTES: usize = 4 << 20;
/// Rows and most bytes of a chunk for a cluster: a script takes keys of one slot alone, so the more rows a
/// chunk has, the more of them go into one script.
const CLUSTER_CHUNK_ROWS: usize = 400_000;
const CLUSTER_CHUNK_BYTES: u64 = 64 << 20;
/// The part of the memory limit that a chunk for a cluster may take.
const CHUNKS_IN_MEMORY: u64 = 16;

/// Where the view is listed among those that are held.
struct Listing {
    key: Vec<u8>,
    field: Vec<u8>,
}

/// Whether values of a type have one width.
fn has_one_width(value_type: &ValueType) -> bool {
    matches!(
        value_type,
        ValueType::Bool
            | ValueType::Float32
            | ValueType::Float64
            | ValueType::Date
            | ValueType::Timestamp
            | ValueType::Decimal(_, _)
    ) || value_type.is_integer()
}

/// Writes all rows of a stream. They are in Redis when it returns.
pub(crate) async fn write(
    cx: &Context,
    fleet: &Arc<Fleet>,
    keys: &Keys,
    memory_limit_bytes: u64,
    layout: &ViewLayout,
    mut rows: BatchStream,
) -> Result<WriteSummary> {
    cx.check()?;
    let format = RowFormat::new(layout)?;
    let view = layout.view_version();
    let values = layout.features.iter().map(|(_, value_type)| value_type);
    let is_short = values.chain(&layout.tie_breakers).all(has_one_width);
    let map = within(cx, async { Ok(fleet.map().await?) }).await?;
    let target = Arc::new(Target {
        fleet: Arc::clone(fleet),
        reader: format.decoder(&[])?,
        packing: Packing {
            keys: keys.clone(),
            id: keys.id(&view),
            format,
            ttl_us: layout.ttl_us,
            is_cluster: map.is_cluster(),
        },
        is_short,
        expects_held: AtomicBool::new(false),
        used: Used::default(),
    });
    let (chunk_rows, chunk_bytes) = if map.is_cluster() {
        let bytes = (memory_limit_bytes / CHUNKS_IN_MEMORY).min(CLUSTER_CHUNK_BYTES);
        let bytes = usize::try_from(bytes).unwrap_or(CHUNK_BYTES);
        (CLUSTER_CHUNK_ROWS, bytes.max(CHUNK_BYTES))
    } else {
        (CHUNK_ROWS, CHUNK_BYTES)
    };
    let mut summary = WriteSummary::default();
    let mut chunk = Chunk::default();
    let mut writing = Writing {
        cx: cx.clone(),
        target: Arc::clone(&target),
        listing: Some(Listing {
            key: keys.views(&view.project),
            field: view_field(&view),
        }),
        task: JoinSet::new(),
        n_applied: 0,
    };
    while let Some(batch) = within(cx, async { rows.batches.next().await.transpose() }).await? {
        if batch.num_rows() > SLICE_ROWS || batch.num_rows() == 0 {
            // What is wrong with a batch is said before any of its rows is written.
            target.packing.format.encoder(&batch)?;
        }
        summary.n_rows += batch.num_rows() as u64;
        for start in (0..batch.num_rows()).step_by(SLICE_ROWS) {
            let n_rows = SLICE_ROWS.min(batch.num_rows() - start);
            chunk.append(&target.packing, &batch.slice(start, n_rows))?;
            if chunk.rows.len() >= chunk_rows || chunk.n_bytes() >= chunk_bytes {
                writing.start(std::mem::take(&mut chunk)).await?;
            }
        }
    }
    if summary.n_rows > 0 {
        writing.start(chunk).await?;
    }
    writing.finish().await?;
    target.used.lasted()?;
    summary.n_applied = writing.n_applied;
    Ok(summary)
}

/// The chunk that is being written while the next one is packed. Dropping it gives the chunk up.
struct Writing {
    cx: Context,
    target: Arc<Target>,
    /// Where the view is to be listed with the first chunk.
    listing: Option<Listing>,
    task: JoinSet<Result<u64>>,
    n_applied: u64,
}

impl Writing {
    /// Waits for the chunk before, and starts this one.
    async fn start(&mut self, chunk: Chunk) -> Result<()> {
        self.finish().await?;
        let listing = self.listing.take();
        let (cx, target) = (self.cx.clone(), Arc::clone(&self.target));
        self.task.spawn(async move {
            let work = async {
                let Some(listing) = listing else {
                    return apply(&target, chunk).await;
                };
                let listed = list(&target, &listing);
                let (listed, applied) = futures::join!(listed, apply(&target, chunk));
                listed.and(applied)
            };
            within(&cx, work).await
        });
        Ok(())
    }

    /// Waits for the chunk that is being written, if there is one.
    async fn finish(&mut self) -> Result<()> {
        if let Some(task) = self.task.join_next().await {
            let written = task.map_err(|error| {
                Error::new(&codes::INTERNAL, "a write ended without a result").source(error)
            })?;
            self.n_applied += written?;
        }
        Ok(())
    }
}

/// Lists the view among those that are held.
async fn list(target: &Target, listing: &Listing) -> Result<()> {
    let commands =
        Commands::from_iter([Command::of("HSET", &[&listing.key, &listing.field, b"1"])]);
    let replies = target.send(&commands, &[slot(&listing.key)]).await?;
    replies.iter().try_for_each(sound)
}
