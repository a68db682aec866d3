//! Finds what lies under some keys: which commands ask for them, and over which path.
//!
//! Where one server holds everything, keys are asked for by MGET in runs of bounded length; in a cluster, by
//! one GET a key, in one request for each server. The hot path is taken where there is one, and anything
//! that it does not know - a reply that is an error, a connection that broke - is done again over the general
//! one, which follows moved slots and tells what is wrong. What values mean is not known here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::future::join_all;
use provender_core::{Error, Result, codes};

use crate::client::{Command, Commands, Reply};
use crate::error::{Fault, FaultKind};
use crate::fleet::{Fleet, Map};
use crate::keys::slot;
use crate::lane::{Purpose, Server};
use crate::resp::{Hot, Replies, Request};
use crate::route::sound;

/// Keys that one command asks for: tenths of a millisecond of Redis' time.
const KEYS_AT_ONCE: usize = 500;
/// What a command takes beside its keys, about.
const COMMAND_BYTES: usize = 32;

/// Some keys, in one piece.
#[derive(Default)]
pub(crate) struct KeyList {
    pub(crate) bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl KeyList {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Makes a key of all bytes that were added since the last.
    pub(crate) fn end(&mut self) {
        self.ends.push(self.bytes.len());
    }

    #[inline]
    fn key(&self, index: usize) -> &[u8] {
        let start = match index {
            0 => 0,
            _ => self.ends[index - 1],
        };
        &self.bytes[start..self.ends[index]]
    }

    /// A command of some of the keys.
    fn command(&self, name: &str, indices: &[usize]) -> Command {
        let n_bytes = indices.iter().map(|index| self.key(*index).len()).sum();
        let mut command = Command::new(name, indices.len(), n_bytes);
        for index in indices {
            command.push(self.key(*index));
        }
        command
    }

    fn spell(&self, request: &mut Request, name: &str, indices: &[usize]) {
        request.begin(name, indices.len());
        for index in indices {
            request.arg(self.key(*index));
        }
    }
}

/// A mark that is read along with values.
pub(crate) struct MarkAt {
    /// Whose it is, as the caller numbers views.
    pub(crate) view: usize,
    pub(crate) key: Vec<u8>,
    pub(crate) slot: u16,
}

/// What lies under keys.
#[derive(Default)]
pub(crate) struct Found {
    /// For each key its value, if it is a string.
    pub(crate) values: Vec<Option<Bytes>>,
    /// Keys under which a value of another type lies, ascending.
    pub(crate) foreign: Vec<usize>,
    /// The checkpoints of the marks that were asked for.
    pub(crate) marks: Vec<Option<i64>>,
}

/// Finds the values of all keys, and what marks say; marks that were not looked at are taken out: those on
/// servers that hold none of the keys, and all where every key is found, since nothing follows from them then.
///
/// A value of another type reads as none by MGET. So where keys seem absent, those that exist are counted,
/// and where that differs each is looked at. They are counted in the same round trip if `expects_absent`,
/// which says whether the call before met absent keys.
///
/// # Errors
/// If a server cannot be reached or refuses.
pub(crate) async fn find(
    fleet: &Arc<Fleet>,
    keys: &KeyList,
    marks: &mut Vec<MarkAt>,
    expects_absent: &AtomicBool,
) -> Result<Found> {
    let map = fleet.map().await?;
    let all: Vec<usize> = (0..keys.len()).collect();
    if map.is_cluster() {
        let slots: Vec<u16> = all.iter().map(|index| slot(keys.key(*index))).collect();
        leave_asked(marks, &map, &slots);
        return match hot_each(&map, keys, &slots, marks).await? {
            Some(found) => Ok(found),
            None => each(fleet, keys, &all, marks).await,
        };
    }
    let counts = expects_absent.load(Ordering::Relaxed);
    let runs: Vec<&[usize]> = all.chunks(KEYS_AT_ONCE).collect();
    let wanted = Wanted {
        values: true,
        count: counts,
    };
    let along: &[MarkAt] = if counts { marks } else { &[] };
    let (answers, said) = ask_runs(fleet, &map, keys, &runs, wanted, along).await?;
    let mut found = Found {
        values: Vec::with_capacity(keys.len()),
        foreign: Vec::new(),
        marks: said,
    };
    let mut absent: Vec<usize> = Vec::new();
    let mut doubted: Vec<usize> = Vec::new();
    for answer in answers {
        let before = absent.len();
        let first = found.values.len();
        let own = answer.values.iter().enumerate();
        absent.extend(
            own.filter(|(_, value)| value.is_none())
                .map(|(at, _)| first + at),
        );
        let n_found = answer.values.len() - (absent.len() - before);
        if counts && answer.n_exist != i64::try_from(n_found).ok() {
            doubted.extend_from_slice(&absent[before..]);
        }
        found.values.extend(answer.values);
    }
    expects_absent.store(!absent.is_empty(), Ordering::Relaxed);
    if !counts && absent.is_empty() {
        marks.clear();
    }
    if !counts && !absent.is_empty() {
        let runs: Vec<&[usize]> = absent.chunks(KEYS_AT_ONCE).collect();
        let wanted = Wanted {
            values: false,
            count: true,
        };
        let (answers, said) = ask_runs(fleet, &map, keys, &runs, wanted, marks).await?;
        found.marks = said;
        for (run, answer) in runs.into_iter().zip(answers) {
            if answer.n_exist != Some(0) {
                doubted.extend_from_slice(run);
            }
        }
    }
    if !doubted.is_empty() {
        let looked = each(fleet, keys, &doubted, &[]).await?;
        for (index, value) in doubted.iter().zip(looked.values) {
            found.values[*index] = value;
        }
        let foreign = looked.foreign.into_iter();
        found.foreign = foreign.map(|at| doubted[at]).collect();
    }
    Ok(found)
}

/// Leaves the marks of servers that hold some of the slots.
fn leave_asked(marks: &mut Vec<MarkAt>, map: &Map, slots: &[u16]) {
    if marks.is_empty() {
        return;
    }
    let mut is_asked = vec![false; map.primaries.len()];
    for owner in slots.iter().filter_map(|slot| map.primary_of(*slot)) {
        is_asked[owner] = true;
    }
    marks.retain(|mark| {
        map.primary_of(mark.slot)
            .is_some_and(|owner| is_asked[owner])
    });
}

/// What is wanted of runs of keys.
#[derive(Clone, Copy)]
struct Wanted {
    values: bool,
    /// How many of the keys exist.
    count: bool,
}

#[derive(Default)]
struct RunAnswer {
    values: Vec<Option<Bytes>>,
    n_exist: Option<i64>,
}

type RunAnswers = (Vec<RunAnswer>, Vec<Option<i64>>);

async fn ask_runs(
    fleet: &Arc<Fleet>,
    map: &Map,
    keys: &KeyList,
    runs: &[&[usize]],
    wanted: Wanted,
    marks: &[MarkAt],
) -> Result<RunAnswers> {
    if let Some(server) = map.primaries.first()
        && let Some(answers) = hot_runs(server, keys, runs, wanted, marks).await?
    {
        return Ok(answers);
    }
    let mut commands = Commands::with_capacity(runs.len() * 2 + marks.len());
    for run in runs {
        if wanted.values {
            commands.push(keys.command("MGET", run));
        }
        if wanted.count {
            commands.push(keys.command("EXISTS", run));
        }
    }
    push_marks(&mut commands, &mut Vec::new(), marks);
    let mut replies = fleet.send(Purpose::Read, &commands, &[]).await?;
    replies.iter().try_for_each(sound)?;
    let said = take_marks(&mut replies, marks);
    let mut replies = replies.into_iter();
    let mut answers = Vec::with_capacity(runs.len());
    for run in runs {
        let mut answer = RunAnswer::default();
        if wanted.values {
            let items = replies.next().ok_or_else(short_answer)?.into_items();
            answer.values = items.into_iter().map(Reply::into_bytes).collect();
            if answer.values.len() != run.len() {
                return Err(short_answer());
            }
        }
        if wanted.count {
            answer.n_exist = replies.next().ok_or_else(short_answer)?.int();
        }
        answers.push(answer);
    }
    Ok((answers, said))
}

/// Some keys one by one, over the general path. Foreign ones are told by their place among `indices`.
async fn each(
    fleet: &Arc<Fleet>,
    keys: &KeyList,
    indices: &[usize],
    marks: &[MarkAt],
) -> Result<Found> {
    let mut commands = Commands::with_capacity(indices.len() + marks.len());
    let mut slots = Vec::with_capacity(indices.len() + marks.len());
    for index in indices {
        let key = keys.key(*index);
        slots.push(slot(key));
        commands.push(Command::of("GET", &[key]));
    }
    push_marks(&mut commands, &mut slots, marks);
    let mut replies = fleet.send(Purpose::Read, &commands, &slots).await?;
    let mut found = Found {
        marks: take_marks(&mut replies, marks),
        ..Found::default()
    };
    for (index, reply) in replies.into_iter().enumerate() {
        match reply.refusal() {
            Some(("WRONGTYPE", _)) => found.foreign.push(index),
            _ => sound(&reply)?,
        }
        found.values.push(reply.into_bytes());
    }
    Ok(found)
}

fn push_marks(commands: &mut Commands, slots: &mut Vec<u16>, marks: &[MarkAt]) {
    for mark in marks {
        commands.push(Command::of("HGET", &[&mark.key, b"last"]));
        slots.push(mark.slot);
    }
}

/// Takes the last replies, which are the marks'.
fn take_marks(replies: &mut Vec<Reply>, marks: &[MarkAt]) -> Vec<Option<i64>> {
    let at = replies.len().saturating_sub(marks.len());
    replies.split_off(at).iter().map(Reply::int).collect()
}

/// Whether a failure of the hot path is for the general one to see. One that took as long as it may is not.
fn left_to_others<T>(hot: Result<Option<T>, Fault>) -> Result<Option<T>> {
    match hot {
        Err(fault) if fault.kind == FaultKind::Silent => Err(fault.into()),
        hot => Ok(hot.unwrap_or(None)),
    }
}

/// As [`ask_runs`] over the hot path; `None` where that cannot do it.
async fn hot_runs(
    server: &Server,
    keys: &KeyList,
    runs: &[&[usize]],
    wanted: Wanted,
    marks: &[MarkAt],
) -> Result<Option<RunAnswers>> {
    let asked = async {
        let Some(connection) = server.hot().await? else {
            return Ok(None);
        };
        let n_bytes = keys.bytes.len() + keys.len() * 8 + (runs.len() * 2 + marks.len()) * 64;
        let mut request = Request::with_capacity(n_bytes);
        for run in runs {
            if wanted.values {
                keys.spell(&mut request, "MGET", run);
            }
            if wanted.count {
                keys.spell(&mut request, "EXISTS", run);
            }
        }
        spell_marks(&mut request, marks);
        let mut replies = Replies::new(connection.ask(request).await?);
        let mut answers = Vec::with_capacity(runs.len());
        for run in runs {
            let mut answer = RunAnswer::default();
            if wanted.values {
                match replies.next()? {
                    Hot::Array(n) if n == run.len() => {}
                    _ => return Ok(None),
                }
                answer.values.reserve(run.len());
                for _ in 0..run.len() {
                    match value(&mut replies)? {
                        Some(value) => answer.values.push(value),
                        None => return Ok(None),
                    }
                }
            }
            if wanted.count {
                match replies.next()? {
                    Hot::Int(n) => answer.n_exist = Some(n),
                    _ => return Ok(None),
                }
            }
            answers.push(answer);
        }
        let said = read_marks(&mut replies, marks.len())?;
        Ok(said.map(|said| (answers, said)))
    };
    left_to_others(asked.await)
}

/// All keys of a cluster, over the hot path; `None` where that cannot do it.
async fn hot_each(
    map: &Map,
    keys: &KeyList,
    slots: &[u16],
    marks: &[MarkAt],
) -> Result<Option<Found>> {
    let mut shares: Vec<Share> = map.primaries.iter().map(|_| Share::default()).collect();
    for (index, slot) in slots.iter().enumerate() {
        let Some(share) = map
            .primary_of(*slot)
            .and_then(|owner| shares.get_mut(owner))
        else {
            return Ok(None);
        };
        share.keys.push(index);
    }
    for (index, mark) in marks.iter().enumerate() {
        if let Some(share) = map
            .primary_of(mark.slot)
            .and_then(|owner| shares.get_mut(owner))
        {
            share.marks.push(index);
        }
    }
    let asked = map.primaries.iter().zip(&shares);
    let asked = asked.filter(|(_, share)| !share.keys.is_empty());
    let asked = asked.map(|(server, share)| hot_share(server, keys, marks, share));
    let mut found = Found {
        values: vec![None; keys.len()],
        foreign: Vec::new(),
        marks: vec![None; marks.len()],
    };
    let answers = join_all(asked).await;
    let shares = shares.iter().filter(|share| !share.keys.is_empty());
    for (share, answer) in shares.zip(answers) {
        let Some((values, said)) = left_to_others(answer)? else {
            return Ok(None);
        };
        for (index, value) in share.keys.iter().zip(values) {
            found.values[*index] = value;
        }
        for (index, said) in share.marks.iter().zip(said) {
            found.marks[*index] = said;
        }
    }
    Ok(Some(found))
}

/// The keys and marks that one server is asked for.
#[derive(Default)]
struct Share {
    keys: Vec<usize>,
    marks: Vec<usize>,
}

type ShareAnswer = (Vec<Option<Bytes>>, Vec<Option<i64>>);

async fn hot_share(
    server: &Server,
    keys: &KeyList,
    marks: &[MarkAt],
    share: &Share,
) -> Result<Option<ShareAnswer>, Fault> {
    let Some(connection) = server.hot().await? else {
        return Ok(None);
    };
    let n_bytes: usize = share.keys.iter().map(|index| keys.key(*index).len()).sum();
    let mut request = Request::with_capacity(n_bytes + share.keys.len() * COMMAND_BYTES);
    for index in &share.keys {
        request.begin("GET", 1);
        request.arg(keys.key(*index));
    }
    for index in &share.marks {
        spell_marks(&mut request, std::slice::from_ref(&marks[*index]));
    }
    let mut replies = Replies::new(connection.ask(request).await?);
    let mut values = Vec::with_capacity(share.keys.len());
    for _ in &share.keys {
        match value(&mut replies)? {
            Some(value) => values.push(value),
            None => return Ok(None),
        }
    }
    let said = read_marks(&mut replies, share.marks.len())?;
    Ok(said.map(|said| (values, said)))
}

/// The next reply as a value; the outer `None` if it is something else.
#[inline]
fn value(replies: &mut Replies) -> Result<Option<Option<Bytes>>, Fault> {
    Ok(match replies.next()? {
        Hot::Bytes(bytes) => Some(Some(bytes)),
        Hot::Nil => Some(None),
        _ => None,
    })
}

fn spell_marks(request: &mut Request, marks: &[MarkAt]) {
    for mark in marks {
        request.begin("HGET", 2);
        request.arg(&mark.key);
        request.arg(b"last");
    }
}

/// What so many marks say; `None` if a reply is something else.
fn read_marks(replies: &mut Replies, n_marks: usize) -> Result<Option<Vec<Option<i64>>>, Fault> {
    let mut said = Vec::with_capacity(n_marks);
    for _ in 0..n_marks {
        match value(replies)? {
            Some(value) => said.push(value.and_then(|text| {
                let text = std::str::from_utf8(&text).ok()?;
                text.parse().ok()
            })),
            None => return Ok(None),
        }
    }
    Ok(Some(said))
}

fn short_answer() -> Error {
    Error::new(
        &codes::PROVIDER_CONTRACT,
        "Redis answered another number of values than it was asked for",
    )
}
