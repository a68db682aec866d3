//! Reading rows: what is prepared once, and what every call does.
//!
//! A call makes the keys of all its views, has them found in one round trip, and hands the bytes of the
//! replies to the codec as they came. Where keys are absent, the marks of views that have some are looked at, so
//! that rows which Redis lost are not taken for rows that never were.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::{ArrayRef, RecordBatch};
use async_trait::async_trait;
use provender_codec::{KeyFormat, RowDecoder, RowFormat};
use provender_core::provider::OnlineReader;
use provender_core::request::{OnlineRows, ReadPlan, ViewRead, ViewRows};
use provender_core::{Context, Error, Result, codes};

use crate::find::{Found, KeyList, MarkAt, find};
use crate::fleet::Fleet;
use crate::keys::{Keys, ViewId};
use crate::marks::{self, Seen};
use crate::within::within;

/// What a reader knows of a view's marks.
#[derive(Clone, Default)]
enum Known {
    /// Nothing yet.
    #[default]
    Nothing,
    /// That there were none when it first read.
    None,
    /// These.
    Some(Seen),
}

/// No key was made for a row, since it has a null.
const NO_KEY: u32 = u32::MAX;

/// A prepared read.
pub(crate) struct RedisReader {
    fleet: Arc<Fleet>,
    keys: Keys,
    n_key_columns: usize,
    views: Vec<PreparedView>,
    /// Whether the call before met keys that are not held.
    expects_absent: AtomicBool,
}

struct PreparedView {
    name: String,
    id: ViewId,
    marks: Mutex<Known>,
    format: KeyFormat,
    key_columns: Vec<usize>,
    decoder: RowDecoder,
}

impl RedisReader {
    /// Prepares a plan. Asks nobody.
    pub(crate) fn new(fleet: &Arc<Fleet>, keys: &Keys, plan: &ReadPlan) -> Result<Self> {
        let views = plan
            .views
            .iter()
            .map(|read| {
                check_keys(plan, read)?;
                let layout = &read.layout;
                Ok(PreparedView {
                    name: format!("{}@{}", layout.view, layout.version),
                    marks: Mutex::default(),
                    id: keys.id(&read.layout.view_version()),
                    format: KeyFormat::new(&read.layout.join_keys)?,
                    key_columns: read.key_columns.clone(),
                    decoder: RowFormat::new(&read.layout)?.decoder(&read.features)?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            fleet: Arc::clone(fleet),
            keys: keys.clone(),
            n_key_columns: plan.keys.len(),
            views,
            expects_absent: AtomicBool::new(false),
        })
    }
}

fn check_keys(plan: &ReadPlan, read: &ViewRead) -> Result<()> {
    let wrong = |what: String| {
        Error::new(
            &codes::BAD_REQUEST,
            format!("the read of view {:?} {what}", read.layout.view),
        )
        .context("view", read.layout.view.clone())
    };
    if read.key_columns.len() != read.layout.join_keys.len() {
        return Err(wrong(format!(
            "brings {} key columns, and the view has {} join keys",
            read.key_columns.len(),
            read.layout.join_keys.len()
        )));
    }
    for (index, key) in read.key_columns.iter().zip(&read.layout.join_keys) {
        match plan.keys.get(*index) {
            None => {
                return Err(wrong(format!(
                    "names key column {index} of {}",
                    plan.keys.len()
                )));
            }
            Some(column) if column.value_type != key.value_type => {
                return Err(wrong(format!(
                    "takes join key {:?} of type {} from a column of type {}",
                    key.name, key.value_type, column.value_type
                )));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The keys of one call, and for each view which key is each row's.
#[derive(Default)]
struct Asked {
    keys: KeyList,
    views: Vec<Vec<u32>>,
}

impl Asked {
    /// Adds one view's keys.
    fn add(&mut self, keys: &Keys, view: &PreparedView, batch: &RecordBatch) -> Result<()> {
        let n_rows = batch.num_rows();
        let columns: Vec<ArrayRef> = view
            .key_columns
            .iter()
            .map(|index| Arc::clone(batch.column(*index)))
            .collect();
        let bound = view.format.bind(&columns, n_rows)?;
        // A view without keys has one row, which is asked for once.
        let n_distinct = if columns.is_empty() {
            1.min(n_rows)
        } else {
            n_rows
        };
        let mut rows = Vec::with_capacity(n_rows);
        for row in 0..n_distinct {
            let bytes = &mut self.keys.bytes;
            let start = bytes.len();
            keys.begin_row(bytes);
            if bound.append(row, bytes) {
                Keys::end_row(&view.id, bytes);
                rows.push(u32::try_from(self.keys.len()).unwrap_or(NO_KEY));
                self.keys.end();
            } else {
                bytes.truncate(start);
                rows.push(NO_KEY);
            }
        }
        if let Some(&only) = rows.first() {
            rows.resize(n_rows, only);
        }
        self.views.push(rows);
        Ok(())
    }
}

impl RedisReader {
    /// What lies under the keys, and the views of which Redis lost rows.
    async fn find(&self, asked: &Asked) -> Result<(Found, Vec<usize>)> {
        if asked.keys.len() == 0 {
            return Ok((Found::default(), Vec::new()));
        }
        let mut marks = self.known_marks();
        let found = find(&self.fleet, &asked.keys, &mut marks, &self.expects_absent).await?;
        let lost = self.judge_marks(&marks, &found).await?;
        Ok((found, lost))
    }

    /// The marks to be read along.
    fn known_marks(&self) -> Vec<MarkAt> {
        let mut marks = Vec::new();
        for (view, prepared) in self.views.iter().enumerate() {
            if let Known::Some(seen) = &*lock(&prepared.marks) {
                marks.extend(seen.places.iter().map(|(key, slot)| MarkAt {
                    view,
                    key: key.clone(),
                    slot: *slot,
                }));
            }
        }
        marks
    }

    /// Looks at the marks that were read along, and for those that are not known yet.
    async fn judge_marks(&self, marks: &[MarkAt], found: &Found) -> Result<Vec<usize>> {
        let mut lost = Vec::new();
        for (mark, said) in marks.iter().zip(&found.marks) {
            let view = &self.views[mark.view];
            let Known::Some(mut seen) = lock(&view.marks).clone() else {
                continue;
            };
            match *said {
                Some(last) if last >= seen.last => {
                    if last > seen.last {
                        seen.last = last;
                        *lock(&view.marks) = Known::Some(seen);
                    }
                }
                // Gone or older; or it lies elsewhere, since slots have moved.
                _ if lost.contains(&mark.view) => {}
                _ => match marks::is_lost(&self.fleet, &self.keys, view.id, seen.last).await? {
                    true => lost.push(mark.view),
                    false => *lock(&view.marks) = Known::Nothing,
                },
            }
        }
        for view in &self.views {
            let is_unknown = matches!(*lock(&view.marks), Known::Nothing);
            if is_unknown {
                let seen = marks::see(&self.fleet, &self.keys, view.id).await?;
                *lock(&view.marks) = seen.map_or(Known::None, Known::Some);
            }
        }
        Ok(lost)
    }

    fn decode(&self, view: usize, asked: &Asked, found: &Found, is_lost: bool) -> Result<ViewRows> {
        let rows = &asked.views[view];
        let stored: Vec<Option<&[u8]>> = rows
            .iter()
            .map(|&key| found.values.get(key as usize)?.as_deref())
            .collect();
        let mut decoded = self.views[view].decoder.decode(&stored)?;
        if is_lost || !found.foreign.is_empty() {
            for (row, key) in rows.iter().enumerate() {
                if found.foreign.binary_search(&(*key as usize)).is_ok() {
                    let why = "under its key lies a value of another type, which another program put there";
                    decoded.unreadable.push((row, why.to_owned()));
                } else if is_lost && *key != NO_KEY && stored[row].is_none() {
                    let why = format!(
                        "it is not there, and Redis has lost rows of {} that it had acknowledged; materialise the view again",
                        self.views[view].name
                    );
                    decoded.unreadable.push((row, why));
                }
            }
            decoded.unreadable.sort_by_key(|(row, _)| *row);
        }
        Ok(decoded)
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl OnlineReader for RedisReader {
    async fn read(&self, cx: &Context, keys: &RecordBatch) -> Result<OnlineRows> {
        cx.check()?;
        if keys.num_columns() != self.n_key_columns {
            return Err(Error::new(
                &codes::BAD_REQUEST,
                format!(
                    "a read brings {} key columns, and {} were prepared",
                    keys.num_columns(),
                    self.n_key_columns
                ),
            ));
        }
        let mut asked = Asked::default();
        for view in &self.views {
            asked.add(&self.keys, view, keys)?;
        }
        let (found, lost) = within(cx, self.find(&asked)).await?;
        let views = (0..self.views.len())
            .map(|view| self.decode(view, &asked, &found, lost.contains(&view)))
            .collect::<Result<_>>()?;
        Ok(OnlineRows { views })
    }
}
