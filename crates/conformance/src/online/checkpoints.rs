//! What a store says of rows that it may have lost.
//!
//! How rows get lost is a store's own; what can be judged here is that a checkpoint which is held vouches for
//! those before it, that none is held of what was never marked or was dropped, and that nothing goes on from one
//! that is gone.

use provender_core::error::{ErrorKind, codes};
use provender_core::{Context, ValueType};

use super::judge::{int, layout, row, string, write};
use super::{Harness, ensure, fails, works};

pub(super) async fn checkpoints_vouch_for_what_came_before(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let own = layout(&cx, "marked", &[ValueType::String], &[ValueType::Int64]);
    let other = layout(&cx, "other", &[ValueType::String], &[ValueType::Int64]);
    let (view, other) = (own.view_version(), other.view_version());
    let rows = [row(vec![string("a")], 10, vec![int(1)])];
    write(harness.handle(0), &cx, &own, &rows).await?;
    let mark = async |handle: usize, since| {
        let marked = harness.handle(handle).checkpoint(&cx, &view, since).await;
        works("checkpoint", marked)
    };
    let holds = async |handle: usize, number| {
        let held = harness.handle(handle).holds(&cx, &view, number).await;
        works("holds", held)
    };
    if !harness.handle(0).capabilities().checkpoints {
        let marked = mark(0, None).await?;
        let is_held = holds(1, 1).await?;
        return ensure(marked.is_none() && is_held, || {
            format!(
                "a store that declares no checkpoints makes none and holds all, got {marked:?} and {is_held}"
            )
        });
    }
    let number = |marked: Option<i64>| marked.ok_or("a checkpoint of held rows has a number");
    let first = number(mark(0, None).await?)?;
    let second = number(mark(1, Some(first)).await?)?;
    write(harness.handle(1), &cx, &own, &rows).await?;
    let third = number(mark(2, Some(second)).await?)?;
    ensure(first < second && second < third, || {
        format!("numbers grow, got {first}, {second}, {third}")
    })?;
    for (handle, number) in [first, second, third].into_iter().enumerate() {
        let is_held = holds(handle, number).await?;
        ensure(is_held, || format!("{number} is held, after {third}"))?;
    }
    let after = holds(0, third + 1).await?;
    let of_other = harness.handle(0).holds(&cx, &other, third).await;
    let of_other = works("holds of another view", of_other)?;
    ensure(!after && !of_other, || {
        format!(
            "what was never marked is not held, got {after} after the last, {of_other} of another view"
        )
    })?;
    let anew = number(mark(0, None).await?)?;
    let (old, new) = (holds(1, third).await?, holds(2, anew).await?);
    ensure(!old && new, || {
        format!("a history that began anew vouches for itself alone, got {old} before, {new} after")
    })?;
    let dropped = harness.handle(1).drop_view(&cx, &view).await;
    works("drop_view", dropped)?;
    let is_held = holds(0, anew).await?;
    ensure(!is_held, || {
        "a dropped version holds no checkpoint".to_owned()
    })?;
    let gone = harness.handle(0).checkpoint(&cx, &view, Some(anew)).await;
    let what = "a checkpoint that goes on from one that is gone";
    let error = fails(what, ErrorKind::DataLoss, gone)?;
    ensure(error.code() == codes::ONLINE_LOST.id, || {
        format!("{what} is {}, got {error:?}", codes::ONLINE_LOST.id)
    })
}
