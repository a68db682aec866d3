//! Who wins: rows of a chunk against those that Redis holds.
//!
//! Decided inside of Redis alone: a plain SET NX for keys that are likely new, a script for those that turn
//! out to be held, so that writers at once and in any order end alike. How much one command is given is
//! bounded here, so that none keeps Redis from its other clients for long.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{StreamExt, TryStreamExt};
use provender_codec::{RowDecoder, order};
use provender_core::{Error, Result, codes};
use rand::Rng;

use crate::chunk::{Chunk, Entry, Packing, spans};
use crate::client::{Command, Commands, Reply};
use crate::fleet::Fleet;
use crate::lane::Purpose;
use crate::route::{Used, sound};
use crate::script::{BATCH, Call, LARGE, MEND};

/// Rows and bytes that are sent in one piece, and how many pieces are on their way at once.
const PIECE_ROWS: usize = 1_000;
const PIECE_BYTES: usize = 1 << 20;
const PIECES_AT_ONCE: usize = 4;
/// Rows and bytes that one script is given: tenths of a millisecond.
const SCRIPT_ROWS: usize = 50;
const SCRIPT_BYTES: usize = 64 << 10;
/// A row of more bytes is put beside its place by a plain SET, so that a script has only to rename it.
const LARGE_ROW_BYTES: usize = 64 << 10;
/// How long a large row may lie beside its place if its writer is killed.
const ASIDE_MS: i64 = 600_000;
/// What a script answers if all its rows won against rows held.
pub(crate) const ALL_WON: &[u8] = b"W";
/// Held rows of at most so many bytes are compared whole, which is quicker.
const SHORT_ROW_BYTES: usize = 1 << 10;

/// What rows are written to.
pub(crate) struct Target {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) packing: Packing,
    /// Tells whether a row can be read at all.
    pub(crate) reader: RowDecoder,
    /// Whether all rows of the view are short, whatever their values.
    pub(crate) is_short: bool,
    /// Whether most keys are held already, by what the last rows met.
    pub(crate) expects_held: AtomicBool,
    pub(crate) used: Used,
}

impl Target {
    pub(crate) async fn send(&self, commands: &Commands, slots: &[u16]) -> Result<Vec<Reply>> {
        let used = Some(&self.used);
        let sent = self
            .fleet
            .send_noting(Purpose::Write, commands, slots, used);
        Ok(sent.await?)
    }
}

/// Writes a chunk; answers how many of its rows won.
pub(crate) async fn apply(target: &Target, mut chunk: Chunk) -> Result<u64> {
    chunk.keep_newest()?;
    if target.packing.is_cluster {
        chunk.rows.sort_by_key(|entry| entry.slot);
    }
    let chunk = &chunk;
    let pieces = spans(&chunk.rows, PIECE_ROWS, PIECE_BYTES);
    let tried: Vec<(u64, Vec<Entry>)> = futures::stream::iter(pieces)
        .map(|piece| try_new(target, chunk, &chunk.rows[piece]))
        .buffered(PIECES_AT_ONCE)
        .try_collect()
        .await?;
    let mut n_applied = tried.iter().map(|(n_applied, _)| n_applied).sum();
    let held: Vec<Entry> = tried.into_iter().flat_map(|(_, held)| held).collect();
    let (large, small): (Vec<Entry>, Vec<Entry>) = held
        .into_iter()
        .partition(|entry| entry.row_bytes() > LARGE_ROW_BYTES);
    let small = &small;
    let pieces = spans(small, PIECE_ROWS, PIECE_BYTES);
    let contested: Vec<(u64, Vec<Entry>)> = futures::stream::iter(pieces)
        .map(|piece| contest(target, chunk, &small[piece], SCRIPT_ROWS))
        .buffered(PIECES_AT_ONCE)
        .try_collect()
        .await?;
    let mut lost = Vec::new();
    for (n_won, piece_lost) in contested {
        n_applied += n_won;
        lost.extend(piece_lost);
    }
    for entry in large {
        match contest_large(target, chunk, &entry).await? {
            true => n_applied += u64::from(entry.n_won),
            false => lost.push(entry),
        }
    }
    for piece in lost.chunks(if target.is_short { PIECE_ROWS } else { 16 }) {
        n_applied += mend(target, chunk, piece).await?;
    }
    Ok(n_applied)
}

/// Writes the rows whose keys are not held; answers how many rows that were, and those that are left. Does
/// not try where most keys were held before.
async fn try_new(target: &Target, chunk: &Chunk, piece: &[Entry]) -> Result<(u64, Vec<Entry>)> {
    if target.expects_held.load(Ordering::Relaxed) {
        return Ok((0, piece.to_vec()));
    }
    let mut commands = Commands::with_capacity(piece.len());
    for entry in piece {
        let mut command = Command::new("SET", 5, entry.n_bytes() + 24);
        command.push(chunk.key(entry));
        command.push(chunk.row(entry));
        command.push(b"NX");
        if let Some(at_ms) = entry.expires_ms {
            command.push(b"PXAT");
            command.push_int(at_ms);
        }
        commands.push(command);
    }
    let slots: Vec<u16> = piece.iter().map(|entry| entry.slot).collect();
    let replies = target.send(&commands, &slots).await?;
    let mut n_applied = 0;
    let mut held = Vec::new();
    for (entry, reply) in piece.iter().zip(&replies) {
        sound(reply)?;
        if reply.is_nil() {
            held.push(*entry);
        } else {
            n_applied += u64::from(entry.n_won);
        }
    }
    let is_most = held.len() * 2 > piece.len();
    target.expects_held.store(is_most, Ordering::Relaxed);
    Ok((n_applied, held))
}

/// An expiry as scripts take it.
fn expiry<'a>(entry: &Entry) -> Cow<'a, [u8]> {
    entry
        .expires_ms
        .map(|at_ms| at_ms.to_string().into_bytes())
        .unwrap_or_default()
        .into()
}

/// Has Redis write the rows that win against those held; answers how many rows won, and which lost.
/// `together` is how many keys a script may be given.
async fn contest(
    target: &Target,
    chunk: &Chunk,
    piece: &[Entry],
    together: usize,
) -> Result<(u64, Vec<Entry>)> {
    let mut calls = Vec::new();
    let mut parts: Vec<&[Entry]> = Vec::new();
    for same_slot in piece.chunk_by(|a, b| a.slot == b.slot) {
        let spans = spans(same_slot, together, SCRIPT_BYTES);
        parts.extend(spans.into_iter().map(|span| &same_slot[span]));
    }
    for part in &parts {
        let are_short = target.is_short
            && part
                .iter()
                .all(|entry| entry.row_bytes() <= SHORT_ROW_BYTES);
        let mut args: Vec<Cow<'_, [u8]>> = Vec::with_capacity(part.len() * 2 + 1);
        let mode: &[u8] = if are_short { b"all" } else { b"head" };
        args.push(Cow::Borrowed(mode));
        args.extend(part.iter().map(|entry| Cow::Borrowed(chunk.row(entry))));
        if target.packing.ttl_us.is_some() {
            args.extend(part.iter().map(expiry));
        }
        calls.push(Call {
            script: &BATCH,
            slot: part[0].slot,
            keys: part.iter().map(|entry| chunk.key(entry).into()).collect(),
            args,
        });
    }
    let replies = target.fleet.run_noting(&calls, Some(&target.used)).await?;
    let mut n_won = 0;
    let mut n_new = 0;
    let mut lost = Vec::new();
    let mut apart = Vec::new();
    for (part, reply) in parts.iter().zip(&replies) {
        // Their slot is moving, and some of them have gone.
        if part.len() > 1 && matches!(reply.refusal(), Some(("TRYAGAIN", _))) {
            apart.extend_from_slice(part);
            continue;
        }
        sound(reply)?;
        if reply.bytes() == Some(ALL_WON) {
            n_won += part.iter().map(|entry| u64::from(entry.n_won)).sum::<u64>();
            continue;
        }
        let verdicts = verdicts(reply, part.len())?;
        for (entry, verdict) in part.iter().zip(verdicts) {
            match verdict {
                b'l' => lost.push(*entry),
                verdict => {
                    n_new += usize::from(*verdict == b'n');
                    n_won += u64::from(entry.n_won);
                }
            }
        }
    }
    if n_new * 2 > piece.len() {
        target.expects_held.store(false, Ordering::Relaxed);
    }
    if !apart.is_empty() {
        let (more_won, more_lost) = Box::pin(contest(target, chunk, &apart, 1)).await?;
        n_won += more_won;
        lost.extend(more_lost);
    }
    Ok((n_won, lost))
}

/// A script's answer, one character for each of its rows.
fn verdicts(reply: &Reply, n_rows: usize) -> Result<&[u8]> {
    reply
        .bytes()
        .filter(|verdicts| verdicts.len() == n_rows)
        .ok_or_else(|| {
            Error::new(
                &codes::PROVIDER_CONTRACT,
                "a script in Redis answered something else than one verdict for each row",
            )
        })
}

/// As [`contest`] for one row of many bytes: they go beside its place first. Answers whether it won.
async fn contest_large(target: &Target, chunk: &Chunk, entry: &Entry) -> Result<bool> {
    let key = chunk.key(entry);
    let mut aside = key.to_vec();
    aside.push(b'~');
    aside.extend_from_slice(format!("{:016x}", rand::rng().random::<u64>()).as_bytes());
    let mut command = Command::new("SET", 4, entry.n_bytes() + 32);
    command.push(&aside);
    command.push(chunk.row(entry));
    command.push(b"PX");
    command.push_int(ASIDE_MS);
    let commands = Commands::from_iter([command]);
    let replies = target.send(&commands, &[entry.slot]).await?;
    replies.iter().try_for_each(sound)?;
    let row = chunk.row(entry);
    let n_ties = order(row)?.ties.len();
    let header = &row[..row.len().min(28 + n_ties)];
    let calls = [Call {
        script: &LARGE,
        slot: entry.slot,
        keys: vec![key.into(), aside.into()],
        args: vec![header.into(), expiry(entry)],
    }];
    let replies = target.fleet.run_noting(&calls, Some(&target.used)).await?;
    replies.iter().try_for_each(sound)?;
    let verdict = replies
        .first()
        .map(|reply| verdicts(reply, 1))
        .transpose()?;
    match verdict {
        // `x`: the first of two tries went through, and its reply was lost with the connection.
        Some(b"n" | b"w" | b"x") => Ok(true),
        _ => Ok(false),
    }
}

/// Rows that lost: where what is held cannot be read by anybody, its time says nothing, and the row takes
/// its place. Answers how many rows that were.
async fn mend(target: &Target, chunk: &Chunk, lost: &[Entry]) -> Result<u64> {
    let commands: Commands = lost
        .iter()
        .map(|entry| Command::of("GET", &[chunk.key(entry)]))
        .collect();
    let slots: Vec<u16> = lost.iter().map(|entry| entry.slot).collect();
    let replies = target.send(&commands, &slots).await?;
    let held: Vec<Option<&[u8]>> = replies.iter().map(Reply::bytes).collect();
    let unreadable = target.reader.decode(&held)?.unreadable;
    if unreadable.is_empty() {
        return Ok(0);
    }
    let calls: Vec<Call<'_>> = unreadable
        .iter()
        .map(|(index, _)| {
            let entry = &lost[*index];
            Call {
                script: &MEND,
                slot: entry.slot,
                keys: vec![chunk.key(entry).into()],
                args: vec![
                    held[*index].unwrap_or_default().into(),
                    chunk.row(entry).into(),
                    expiry(entry),
                ],
            }
        })
        .collect();
    let replies = target.fleet.run_noting(&calls, Some(&target.used)).await?;
    let mut n_applied = 0;
    for ((index, _), reply) in unreadable.iter().zip(&replies) {
        sound(reply)?;
        if verdicts(reply, 1)? == b"y" {
            n_applied += u64::from(lost[*index].n_won);
        }
    }
    Ok(n_applied)
}
