//! Erasing: keys of a view, or all of its rows, in steps that keep Redis from nobody for long.

use std::sync::Arc;

use arrow_array::RecordBatch;
use futures::{StreamExt, TryStreamExt};
use provender_codec::KeyFormat;
use provender_core::provider::ViewVersion;
use provender_core::request::ViewLayout;
use provender_core::{Context, Result};

use crate::client::{Command, Commands, Reply};
use crate::error::Fault;
use crate::fleet::Fleet;
use crate::keys::{Keys, slot, view_field};
use crate::lane::{Purpose, Server};
use crate::marks;
use crate::route::sound;
use crate::within::within;

/// Keys that one command erases, and commands in one piece.
const KEYS_AT_ONCE: usize = 200;
const PIECES_AT_ONCE: usize = 4;
/// Keys that one step of a scan looks at: tenths of a millisecond.
const SCAN_STEP: &[u8] = b"1000";

/// Erases keys, whatever their rows.
pub(crate) async fn delete(
    cx: &Context,
    fleet: &Arc<Fleet>,
    keys: &Keys,
    layout: &ViewLayout,
    batch: &RecordBatch,
) -> Result<()> {
    cx.check()?;
    let format = KeyFormat::new(&layout.join_keys)?;
    let bound = format
        .bind(batch.columns(), batch.num_rows())
        .map_err(|error| {
            error
                .prefixed(format!("keys of view {:?} cannot be erased: ", layout.view))
                .context("view", layout.view.clone())
        })?;
    let id = keys.id(&layout.view_version());
    let mut stored = Vec::with_capacity(bound.n_rows());
    for index in 0..bound.n_rows() {
        let mut key = Vec::new();
        keys.begin_row(&mut key);
        if bound.append(index, &mut key) {
            Keys::end_row(&id, &mut key);
            stored.push(key);
        }
    }
    stored.sort_unstable();
    stored.dedup();
    within(cx, erase(fleet, &stored)).await
}

/// Erases keys in bounded pieces.
async fn erase(fleet: &Arc<Fleet>, stored: &[Vec<u8>]) -> Result<()> {
    if stored.is_empty() {
        return Ok(());
    }
    let is_cluster = fleet.map().await?.is_cluster();
    let starts: Vec<usize> = (0..stored.len()).step_by(KEYS_AT_ONCE).collect();
    futures::stream::iter(starts)
        .map(|start| {
            let end = stored.len().min(start + KEYS_AT_ONCE);
            erase_piece(fleet, is_cluster, &stored[start..end])
        })
        .buffer_unordered(PIECES_AT_ONCE)
        .try_collect()
        .await
}

async fn erase_piece(fleet: &Arc<Fleet>, is_cluster: bool, piece: &[Vec<u8>]) -> Result<()> {
    let (commands, slots): (Commands, Vec<u16>) = if is_cluster {
        let commands = piece.iter().map(|key| Command::of("UNLINK", &[key]));
        (
            commands.collect(),
            piece.iter().map(|key| slot(key)).collect(),
        )
    } else {
        let names: Vec<&[u8]> = piece.iter().map(Vec::as_slice).collect();
        (
            Commands::from_iter([Command::of("UNLINK", &names)]),
            vec![0],
        )
    };
    let replies = fleet.send(Purpose::Write, &commands, &slots).await?;
    replies.iter().try_for_each(sound)
}

/// Erases all rows of a view's version, and every trace of it.
pub(crate) async fn drop_view(
    cx: &Context,
    fleet: &Arc<Fleet>,
    keys: &Keys,
    view: &ViewVersion,
) -> Result<()> {
    within(cx, async {
        let id = keys.id(view);
        let pattern = keys.row_pattern(&id);
        // Keys that move to a server which was scanned already would be missed, so all is done again until
        // nothing has moved.
        loop {
            let map = fleet.map().await?;
            for primary in &map.primaries {
                drop_rows(fleet, primary, &pattern).await?;
            }
            if !map.is_cluster() {
                break;
            }
            fleet.look_again();
            if fleet.map().await?.serves_as(&map) {
                break;
            }
        }
        marks::forget(fleet, keys, id).await?;
        let list = keys.views(&view.project);
        let commands = Commands::from_iter([Command::of("HDEL", &[&list, &view_field(view)])]);
        let replies = fleet
            .send(Purpose::Write, &commands, &[slot(&list)])
            .await?;
        replies.iter().try_for_each(sound)
    })
    .await
}

/// Erases what a pattern matches on one server.
async fn drop_rows(fleet: &Arc<Fleet>, server: &Server, pattern: &[u8]) -> Result<()> {
    let mut cursor = b"0".to_vec();
    loop {
        let connection = server.connection(Purpose::Write).await?;
        let args = [cursor.as_slice(), b"MATCH", pattern, b"COUNT", SCAN_STEP];
        let reply = connection.ask("SCAN", &args).await?;
        if let Some((code, detail)) = reply.refusal() {
            return Err(Fault::of_reply(server.address(), code, detail).into());
        }
        let mut parts = reply.into_items().into_iter();
        let next = parts
            .next()
            .and_then(|next| next.bytes().map(<[u8]>::to_vec));
        let found: Vec<Vec<u8>> = parts
            .next()
            .map(Reply::into_items)
            .unwrap_or_default()
            .iter()
            .filter_map(|key| key.bytes().map(<[u8]>::to_vec))
            .collect();
        erase(fleet, &found).await?;
        match next {
            Some(next) if next != b"0" => cursor = next,
            _ => return Ok(()),
        }
    }
}
