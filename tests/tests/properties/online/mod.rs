//! For every key, the row held online after materialising to T is the point-in-time row at T.
//!
//! Random tables of all types whose rows arrive in random order, several views of them, and random
//! runs; judged after each run by the oracle's point-in-time join, through a reader of the store and
//! through a prepared request for a service.

mod judge;
mod project;
mod served;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use provender_conformance::Tables;
use provender_conformance::generate::key_batch;
use provender_conformance::oracle::{
    Value, cast, check_latest_error, check_windows_error, windows,
};
use provender_core::request::{LatestPerKey, ViewJoin, ViewRows, WindowsAt};
use provender_core::{Error, codes};
use provender_store::MaterializeRange;

use self::judge::{Judge, is_same, times_of, windows_of};
use self::project::{HeldView, Project};
use self::served::serve;
use self::world::History;
use crate::runner::{block_on, n_cases, run};

/// What all histories met together, so that a test which meets nothing does not pass.
#[derive(Debug, Default)]
struct Met {
    /// A table's state and an instant, after a run to it.
    n_worlds: AtomicU64,
    n_keys: AtomicU64,
    n_held: AtomicU64,
    n_drained: AtomicU64,
    n_late: AtomicU64,
    n_ties: AtomicU64,
    n_expired: AtomicU64,
    n_refused: AtomicU64,
    n_delta: AtomicU64,
}

fn add(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}

#[test]
fn online_after_materialising_to_t_is_the_point_in_time_row_at_t() {
    let met = Met::default();
    // Every history has one instant at least, and on average nearly two.
    let n_histories = n_cases() / 12;
    run(n_histories, |seed| {
        let history = History::random(seed)?;
        let judged = block_on(check(&history, &met)).and_then(|judged| judged);
        judged.map_err(|why| format!("{why}\n{history}"))
    });
    if std::env::var_os("PROVENDER_SEED").is_some() {
        return;
    }
    let least = |counter: &AtomicU64, least: u64| {
        assert!(counter.load(Ordering::Relaxed) >= least, "{met:?}");
    };
    least(&met.n_worlds, n_histories * 3 / 2);
    least(&met.n_keys, 5 * n_histories);
    least(&met.n_held, 3 * n_histories);
    least(&met.n_drained, n_histories / 10);
    least(&met.n_late, n_histories);
    least(&met.n_ties, n_histories / 10);
    least(&met.n_delta, n_histories / 100);
    let refused = met.n_refused.load(Ordering::Relaxed);
    assert!(refused * 4 < n_histories, "{met:?}");
}

/// What the comparison is worth.
#[test]
fn late_rows_that_nothing_tells_of_are_missed_which_the_comparison_sees() {
    let missed = AtomicU64::new(0);
    let n_histories = n_cases() / 50;
    run(n_histories, |seed| {
        let history = History::forgetful(seed)?;
        match block_on(check(&history, &Met::default()))? {
            Err(why) if !why.contains("expected the row of") => return Err(why),
            judged => add(&missed, judged.is_err().into()),
        }
        Ok(())
    });
    let missed = missed.into_inner();
    let is_one_alone = std::env::var_os("PROVENDER_SEED").is_some();
    assert!(is_one_alone || missed >= n_histories / 100, "{missed}");
}

async fn check(history: &History, met: &Met) -> Result<(), String> {
    let mut project = Project::open(history).await;
    add(&met.n_delta, history.is_delta.into());
    let mut held: Option<Vec<HeldView>> = None;
    // Views whose source has a value that does not fit, or a sum that overflows, are left out from then.
    let mut is_live = vec![true; history.views.len()];
    for step in &history.steps {
        project.bring(&step.arrivals).await;
        add(&met.n_late, step.n_late as usize);
        let views = match held.take() {
            None => project.apply(history).await?,
            Some(views) => views,
        };
        for run in &step.runs {
            materialize(&project, history, &mut is_live, *run, step.end_us, met).await?;
        }
        let at = format!("as of {}us", step.end_us);
        let mut answers = Vec::new();
        for (index, view) in history.views.iter().enumerate() {
            let keys = keys(view, &project.arrived, &history.asked_keys[index])?;
            let rows = read(&project, &views[index], &keys).await?;
            let judge = Judge {
                view,
                keys: &keys,
                at_us: step.end_us,
                met,
            };
            if is_live[index] {
                judge
                    .rows(&project.arrived, &rows)
                    .map_err(|why| format!("{at}, view {:?}: {why}", view.name))?;
            }
            answers.push((keys, rows));
        }
        serve(&project, history, &answers)
            .await
            .map_err(|why| format!("{at}, served: {why}"))?;
        add(&met.n_worlds, 1);
        held = Some(views);
    }
    Ok(())
}

/// Does one run, of all views at once. Where values make views fail, each is run alone, and the
/// oracle must agree that it fails.
async fn materialize(
    project: &Project,
    history: &History,
    is_live: &mut [bool],
    run: MaterializeRange,
    end_us: i64,
    met: &Met,
) -> Result<(), String> {
    let live = |is_live: &[bool]| -> Vec<usize> {
        (0..is_live.len()).filter(|index| is_live[*index]).collect()
    };
    let indices = live(is_live);
    let names = indices
        .iter()
        .map(|index| history.views[*index].name.clone());
    if indices.is_empty() || project.materialize(names.collect(), run).await.is_ok() {
        return Ok(());
    }
    for index in indices {
        let view = &history.views[index];
        if let Err(error) = project.materialize(vec![view.name.clone()], run).await {
            check_refusal(view, &project.arrived, end_us, &error)
                .map_err(|why| format!("{run:?} of view {:?}: {why}", view.name))?;
            add(&met.n_refused, 1);
            is_live[index] = false;
        }
    }
    Ok(())
}

fn check_refusal(
    view: &ViewJoin,
    tables: &Tables,
    at_us: i64,
    error: &Error,
) -> Result<(), String> {
    let is_of_values = [codes::CHECKED_CAST.id, codes::SUM_OVERFLOW.id].contains(&error.code());
    if !is_of_values {
        return Err(format!("{error:?}"));
    }
    if view.aggregations.is_empty() {
        let latest = LatestPerKey {
            features: view.features.clone(),
            ..times_of(view, None)
        };
        check_latest_error(&latest, tables, error)
    } else {
        check_windows_error(&windows_of(view, at_us, i64::MIN), tables, error)
    }
}

/// Every key of the view's table, some that may not be there, and one with a null.
fn keys(
    view: &ViewJoin,
    tables: &Tables,
    others: &[Vec<Value>],
) -> Result<Vec<Vec<Value>>, String> {
    let every = WindowsAt {
        aggregations: Vec::new(),
        ..windows_of(view, i64::MAX, i64::MIN)
    };
    let held = windows(&every, tables)?;
    let mut keys: Vec<Vec<Value>> = held.into_iter().map(|key| key.keys).collect();
    for other in others {
        let types = view.keys.iter().map(|key| &key.value_type);
        let other = other.iter().zip(types);
        let other: Vec<Value> = other
            .map(|(value, value_type)| cast(value, value_type))
            .collect::<Result<_, _>>()?;
        if keys.iter().all(|key| !is_same(key, &other)) {
            keys.push(other);
        }
    }
    if view.keys.is_empty() {
        return Ok(vec![Vec::new()]);
    }
    keys.push(vec![Value::Null; view.keys.len()]);
    Ok(keys)
}

/// What a store holds of some keys: of each its event time, and its features.
struct HeldRows {
    event_us: Vec<Option<i64>>,
    features: Vec<Vec<Value>>,
}

async fn read(project: &Project, view: &HeldView, keys: &[Vec<Value>]) -> Result<HeldRows, String> {
    let keys = key_batch(&view.layout.join_keys, keys)?;
    let answer = view.reader.read(&project.cx, &keys).await;
    let mut answer = answer.map_err(|error| format!("{error:?}"))?;
    let ViewRows {
        event_times,
        features,
        unreadable,
    } = answer.views.remove(0);
    if !unreadable.is_empty() {
        return Err(format!("rows that cannot be read: {unreadable:?}"));
    }
    let mut rows = HeldRows {
        event_us: event_times.iter().collect(),
        features: Vec::new(),
    };
    for row in 0..keys.num_rows() {
        let cells = features.iter();
        let cells = cells.map(|column| Value::read(column.as_ref(), row));
        rows.features.push(cells.collect::<Result<_, _>>()?);
    }
    Ok(rows)
}
