//! Marks by which it is noticed that Redis lost rows which it had acknowledged.
//!
//! A checkpoint is a number that grows with time. It is put on every primary, behind the rows, so that a
//! server which has the checkpoint has all rows that were acknowledged before it, whatever else it lost:
//! with a failover, a restart or a flush the mark goes as the rows go. Whoever asked for the checkpoint
//! keeps the number elsewhere. Each mark also says which checkpoint its unbroken history began with, so that
//! a newer checkpoint vouches for older ones, and one after a loss does not.
//!
//! What is done about a loss is not decided here.

use std::sync::Arc;

use provender_core::provider::ViewVersion;
use provender_core::time::now_us;
use provender_core::{Context, Error, Result, codes};

use crate::client::{Command, Commands, Reply};
use crate::fleet::Fleet;
use crate::keys::{Keys, ViewId, slot, tag_of};
use crate::lane::Purpose;
use crate::route::sound;
use crate::script::{CHECKPOINT, Call};
use crate::within::within;

/// What a reader knows of a view's marks: the newest checkpoint that it has seen, and where its marks are.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) last: i64,
    /// Key and slot of each mark.
    pub(crate) places: Arc<[(Vec<u8>, u16)]>,
}

/// The newest checkpoint of a view's version, if it has any.
pub(crate) async fn see(fleet: &Arc<Fleet>, keys: &Keys, id: ViewId) -> Result<Option<Seen>> {
    let marks = Marks { fleet, keys, id };
    let own = marks.tags().await?;
    let mut last = None;
    let mut tags: Vec<u32> = Vec::new();
    for mark in marks.read(&own).await?.into_iter().flatten() {
        last = last.max(Some(mark.last));
        tags.extend(mark.tags);
    }
    tags.sort_unstable();
    tags.dedup();
    Ok(last.map(|last| {
        let keys = tags.iter().map(|tag| keys.marks(&id, *tag));
        let places = keys.map(|key| {
            let slot = slot(&key);
            (key, slot)
        });
        Seen {
            last,
            places: places.collect(),
        }
    }))
}

/// Whether a checkpoint that was seen is not held any more.
pub(crate) async fn is_lost(
    fleet: &Arc<Fleet>,
    keys: &Keys,
    id: ViewId,
    seen: i64,
) -> Result<bool> {
    let marks = Marks { fleet, keys, id };
    // A newer one that began anew is as good: the view was filled again.
    let is_newer = see(fleet, keys, id)
        .await?
        .is_some_and(|now| now.last > seen);
    Ok(!is_newer && marks.held_since(seen).await?.is_none())
}

/// The marks of one view's version.
struct Marks<'a> {
    fleet: &'a Arc<Fleet>,
    keys: &'a Keys,
    id: ViewId,
}

/// One mark.
struct Mark {
    /// The checkpoint that its unbroken history began with.
    first: i64,
    last: i64,
    /// Where all marks of the last checkpoint are.
    tags: Vec<u32>,
}

/// Marks everything that was acknowledged; `since` is the checkpoint that it goes on from.
pub(crate) async fn checkpoint(
    cx: &Context,
    fleet: &Arc<Fleet>,
    keys: &Keys,
    view: &ViewVersion,
    since: Option<i64>,
) -> Result<i64> {
    let id = keys.id(view);
    let marks = Marks { fleet, keys, id };
    within(cx, async {
        let checkpoint = since.map_or_else(now_us, |since| now_us().max(since.saturating_add(1)));
        let held = match since {
            Some(since) => marks.held_since(since).await?,
            None => Some(Vec::new()),
        };
        let Some(held) = held else {
            return Err(lost(view));
        };
        let tags = marks.tags().await?;
        let all: Vec<String> = tags.iter().map(u32::to_string).collect();
        // A server that joined since has no mark to go on from.
        let calls: Vec<Call<'_>> = tags
            .iter()
            .map(|tag| {
                let key = keys.marks(&id, *tag);
                let before = since.filter(|_| held.contains(tag));
                let first = match before {
                    Some(before) => before.to_string(),
                    None => String::new(),
                };
                Call {
                    script: &CHECKPOINT,
                    slot: slot(&key),
                    keys: vec![key.into()],
                    args: vec![
                        checkpoint.to_string().into_bytes().into(),
                        first.into_bytes().into(),
                        all.join(",").into_bytes().into(),
                        since.unwrap_or(checkpoint).to_string().into_bytes().into(),
                    ],
                }
            })
            .collect();
        for reply in fleet.run(&calls).await? {
            sound(&reply)?;
            if reply.int() != Some(1) {
                return Err(lost(view));
            }
        }
        let stale: Vec<u32> = held.into_iter().filter(|tag| !tags.contains(tag)).collect();
        marks.remove(&stale).await?;
        Ok(checkpoint)
    })
    .await
}

/// Whether everything that was acknowledged before a checkpoint is still held.
pub(crate) async fn holds(
    cx: &Context,
    fleet: &Arc<Fleet>,
    keys: &Keys,
    view: &ViewVersion,
    checkpoint: i64,
) -> Result<bool> {
    let id = keys.id(view);
    let marks = Marks { fleet, keys, id };
    within(cx, async {
        Ok(marks.held_since(checkpoint).await?.is_some())
    })
    .await
}

/// Removes the marks of a view's version.
pub(crate) async fn forget(fleet: &Arc<Fleet>, keys: &Keys, id: ViewId) -> Result<()> {
    let marks = Marks { fleet, keys, id };
    let mut tags = marks.tags().await?;
    for mark in marks.read(&tags).await?.into_iter().flatten() {
        tags.extend(mark.tags);
    }
    tags.sort_unstable();
    tags.dedup();
    marks.remove(&tags).await
}

/// What is told to whoever goes on from a checkpoint that is gone.
fn lost(view: &ViewVersion) -> Error {
    Error::new(
        &codes::ONLINE_LOST,
        format!(
            "Redis has lost rows of {}@{} that it had acknowledged",
            view.view, view.version
        ),
    )
    .help("run `provender materialize-incremental`, which then fills the view from the beginning")
    .context("view", view.view.clone())
}

impl Marks<'_> {
    /// One tag for each primary, whose marks lie there.
    async fn tags(&self) -> Result<Vec<u32>> {
        let map = self.fleet.map().await?;
        let firsts = (0..map.primaries.len()).filter_map(|index| map.first_slot_of(index));
        Ok(firsts.map(tag_of).collect())
    }

    /// The tags of the marks that vouch for a checkpoint, if all that there were do.
    async fn held_since(&self, checkpoint: i64) -> Result<Option<Vec<u32>>> {
        let own = self.tags().await?;
        let mut wanted: Vec<u32> = Vec::new();
        for mark in self.read(&own).await?.into_iter().flatten() {
            wanted.extend(mark.tags);
        }
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            return Ok(None);
        }
        // Slots may have moved since, and their marks with them.
        let vouches = |mark: &Option<Mark>| {
            mark.as_ref()
                .is_some_and(|mark| mark.first <= checkpoint && checkpoint <= mark.last)
        };
        let marks = self.read(&wanted).await?;
        Ok(marks.iter().all(vouches).then_some(wanted))
    }

    async fn remove(&self, tags: &[u32]) -> Result<()> {
        let keys: Vec<Vec<u8>> = tags
            .iter()
            .map(|tag| self.keys.marks(&self.id, *tag))
            .collect();
        let commands: Commands = keys
            .iter()
            .map(|key| Command::of("UNLINK", &[key]))
            .collect();
        let slots: Vec<u16> = keys.iter().map(|key| slot(key)).collect();
        let replies = self.fleet.send(Purpose::Write, &commands, &slots).await?;
        replies.iter().try_for_each(sound)
    }

    async fn read(&self, tags: &[u32]) -> Result<Vec<Option<Mark>>> {
        let keys: Vec<Vec<u8>> = tags
            .iter()
            .map(|tag| self.keys.marks(&self.id, *tag))
            .collect();
        let commands: Commands = keys
            .iter()
            .map(|key| Command::of("HMGET", &[key, b"first", b"last", b"tags"]))
            .collect();
        let slots: Vec<u16> = keys.iter().map(|key| slot(key)).collect();
        let replies = self.fleet.send(Purpose::Read, &commands, &slots).await?;
        replies
            .into_iter()
            .map(|reply| {
                // Something else under the key is no mark.
                match reply.refusal() {
                    Some(("WRONGTYPE", _)) => return Ok(None),
                    _ => sound(&reply)?,
                }
                let fields = reply.into_items();
                let number = |at: usize| fields.get(at).and_then(Reply::int);
                let tags = fields.get(2).and_then(Reply::text).unwrap_or_default();
                Ok(number(0).zip(number(1)).map(|(first, last)| Mark {
                    first,
                    last,
                    tags: tags.split(',').filter_map(|tag| tag.parse().ok()).collect(),
                }))
            })
            .collect()
    }
}
