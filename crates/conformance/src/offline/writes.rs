//! Writes: what they add, what they replace, and what failed ones leave.

use futures::future::join_all;
use provender_core::error::{Error, codes};
use provender_core::request::{OfflineWrite, SourceRef, WriteMode};
use provender_core::{BatchStream, Context, ErrorKind, ValueType};

use super::tables::{
    Rows, all_of, fresh_table, int, made, plain, put, request, same_rows, scanned, send,
};
use super::{Harness, ensure, fails, works};
use crate::oracle::Value;
use crate::{Table, generate::without_rows};

async fn holds(harness: &Harness, cx: &Context, table: &str, rows: &Rows) -> Result<(), String> {
    let found = scanned(harness.handle(1), cx, all_of(table)).await?;
    same_rows(&found, rows)
}

pub(super) async fn appends_add_rows(harness: &Harness, cx: Context) -> Result<(), String> {
    let store = harness.handle(0);
    let mut rows = plain(&["a", "b", "a"], 1);
    let name = made(store, &cx, &rows).await?;
    // Rows that are there already are added once more, and batches may be many and empty.
    for more in [plain(&["c"], 9), plain(&["a", "b", "a"], 1)] {
        let table = more.table()?;
        let (batch, empty) = (
            table.one_batch()?,
            without_rows(&table, &(0..more.rows.len())),
        );
        let mut batches = empty.batches;
        batches.push(batch.slice(0, 0));
        batches.extend((0..batch.num_rows()).map(|row| batch.slice(row, 1)));
        batches.push(batch.slice(0, 0));
        let parts = Table {
            schema: table.schema,
            batches,
        };
        put(store, &cx, request(&name, WriteMode::Append), &parts).await?;
        rows = rows.and(&more.rows);
        holds(harness, &cx, &name, &rows).await?;
    }
    let other = made(store, &cx, &plain(&["z"], 1)).await?;
    holds(harness, &cx, &name, &rows).await?;
    holds(harness, &cx, &other, &plain(&["z"], 1)).await
}

pub(super) async fn overwrites_replace_rows(harness: &Harness, cx: Context) -> Result<(), String> {
    let store = harness.handle(0);
    let name = made(store, &cx, &plain(&["a", "b"], 1)).await?;
    for rows in [plain(&["c", "a", "d"], 5), plain(&[], 1)] {
        put(
            store,
            &cx,
            request(&name, WriteMode::Overwrite),
            &rows.table()?,
        )
        .await?;
        holds(harness, &cx, &name, &rows).await?;
    }
    let rows = plain(&["e"], 7);
    let new = fresh_table(&cx);
    put(
        store,
        &cx,
        request(&new, WriteMode::Overwrite),
        &rows.table()?,
    )
    .await?;
    holds(harness, &cx, &new, &rows).await
}

pub(super) async fn writes_with_an_id_count_once(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let once = |table: &str, id: &str| OfflineWrite {
        id: Some(id.to_owned()),
        ..request(table, WriteMode::Append)
    };
    let first = plain(&["a", "b"], 1);
    let name = fresh_table(&cx);
    put(
        harness.handle(0),
        &cx,
        once(&name, "run é 1"),
        &first.table()?,
    )
    .await?;
    for at in 0..3 {
        // The same rows, as a retry brings them.
        let again = send(
            harness.handle(at),
            &cx,
            once(&name, "run é 1"),
            &first.table()?,
        )
        .await;
        let summary = works("a write whose id was written", again)?;
        ensure(summary.n_applied == 0, || {
            format!("a write whose id was written applies nothing, got {summary:?}")
        })?;
        holds(harness, &cx, &name, &first).await?;
    }
    let second = plain(&["c"], 5);
    put(
        harness.handle(1),
        &cx,
        once(&name, "run é 2"),
        &second.table()?,
    )
    .await?;
    holds(harness, &cx, &name, &first.and(&second.rows)).await?;
    // An id belongs to its table.
    let other = fresh_table(&cx);
    put(
        harness.handle(0),
        &cx,
        once(&other, "run é 1"),
        &second.table()?,
    )
    .await?;
    holds(harness, &cx, &other, &second).await?;
    // Two who try at once: both are told that it is done, or one that it lost and may try again.
    let table = fresh_table(&cx);
    put(
        harness.handle(0),
        &cx,
        request(&table, WriteMode::Append),
        &first.table()?,
    )
    .await?;
    let rows = second.table()?;
    let racing = (0..4).map(|at| send(harness.handle(at), &cx, once(&table, "race"), &rows));
    let mut n_worked = 0;
    for answer in join_all(racing).await {
        match answer {
            Ok(_) => n_worked += 1,
            Err(_) => {
                fails("a write that lost a race", ErrorKind::Conflict, answer)?;
            }
        }
    }
    ensure(n_worked > 0, || {
        "of 4 writes of one id at once none worked".to_owned()
    })?;
    holds(harness, &cx, &table, &first.and(&second.rows)).await
}

pub(super) async fn empty_writes_make_tables(harness: &Harness, cx: Context) -> Result<(), String> {
    let store = harness.handle(0);
    let none = plain(&[], 1);
    let without_batches = Table::empty(none.schema());
    for table in [none.table()?, without_batches] {
        let name = fresh_table(&cx);
        put(store, &cx, request(&name, WriteMode::Append), &table).await?;
        let schema = store.schema(&cx, &SourceRef::table(&name)).await;
        let schema = works("schema of a table without rows", schema)?;
        let names: Vec<&String> = schema.fields().iter().map(|it| it.name()).collect();
        ensure(names == ["k", "n", "x", "t"], || {
            format!("a table without rows has its columns, got {names:?}")
        })?;
        holds(harness, &cx, &name, &none).await?;
        let rows = plain(&["a"], 1);
        put(
            store,
            &cx,
            request(&name, WriteMode::Append),
            &rows.table()?,
        )
        .await?;
        put(store, &cx, request(&name, WriteMode::Append), &table).await?;
        holds(harness, &cx, &name, &rows).await?;
    }
    Ok(())
}

pub(super) async fn other_columns_are_refused(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let rows = plain(&["a", "b"], 1);
    let name = made(harness.handle(0), &cx, &rows).await?;
    let with = |change: &dyn Fn(&mut Rows)| {
        let mut rows = plain(&["c"], 9);
        change(&mut rows);
        rows
    };
    let wrong = [
        (
            "with one more column",
            with(&|rows| {
                rows.columns.push(("more".to_owned(), ValueType::Int64));
                rows.rows[0].push(int(1));
            }),
        ),
        (
            "with a column of another type",
            with(&|rows| {
                rows.columns[1].1 = ValueType::String;
                rows.rows[0][1] = super::tables::string("one");
            }),
        ),
        (
            "with a column of another name",
            with(&|rows| {
                "other".clone_into(&mut rows.columns[1].0);
            }),
        ),
    ];
    for (what, rows_of_it) in &wrong {
        let write = request(&name, WriteMode::Append);
        let answer = send(harness.handle(0), &cx, write, &rows_of_it.table()?).await;
        let what = format!("an append {what}");
        let error = fails(&what, ErrorKind::FailedPrecondition, answer)?;
        ensure(error.code() == codes::TABLE_EXISTS.id, || {
            format!("{what} has the code P505, got {error:?}")
        })?;
        holds(harness, &cx, &name, &rows)
            .await
            .map_err(|why| format!("after {what}: {why}"))?;
    }
    Ok(())
}

pub(super) async fn failed_writes_leave_nothing(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let rows = plain(&["a", "b"], 1);
    let name = made(harness.handle(0), &cx, &rows).await?;
    let new = fresh_table(&cx);
    let more = plain(&["c", "d", "e"], 9);
    let batch = more.batch()?;
    for (table, mode) in [
        (&name, WriteMode::Append),
        (&name, WriteMode::Overwrite),
        (&new, WriteMode::Append),
    ] {
        let broken = Error::new(&codes::OFFLINE_DATA, "the source went away");
        let batches = [Ok(batch.slice(0, 2)), Err(broken)];
        let stream = BatchStream::new(batch.schema(), futures::stream::iter(batches));
        let answer = harness
            .handle(0)
            .write(&cx, request(table, mode), stream)
            .await;
        let what = "a write whose rows end in an error";
        let error = fails(what, ErrorKind::DataLoss, answer)?;
        let is_passed_on = error.code() == codes::OFFLINE_DATA.id
            && error.to_string().contains("the source went away");
        ensure(is_passed_on, || {
            format!("the rows' own error is passed on, got {error:?}")
        })?;
        holds(harness, &cx, &name, &rows)
            .await
            .map_err(|why| format!("after {what} ({mode:?}): {why}"))?;
    }
    put(
        harness.handle(0),
        &cx,
        request(&name, WriteMode::Append),
        &more.table()?,
    )
    .await?;
    holds(harness, &cx, &name, &rows.and(&more.rows)).await?;
    put(
        harness.handle(0),
        &cx,
        request(&new, WriteMode::Append),
        &more.table()?,
    )
    .await?;
    holds(harness, &cx, &new, &more).await
}

pub(super) async fn concurrent_appends_are_all_held(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let first = plain(&["a"], 0);
    let name = made(harness.handle(0), &cx, &first).await?;
    let parts: Vec<Rows> = (1..=6).map(|at| plain(&["b", "c"], at * 100)).collect();
    let appends = parts.iter().enumerate().map(|(at, rows)| {
        let (name, cx) = (&name, &cx);
        async move {
            // A store may say that another was first, and to try again.
            for _ in 0..100 {
                let write = request(name, WriteMode::Append);
                match send(harness.handle(at), cx, write, &rows.table()?).await {
                    Err(error) if error.kind() == ErrorKind::Conflict => {}
                    answer => return works("an append at once with others", answer).map(|_| ()),
                }
            }
            Err("an append that is tried again and again always loses".to_owned())
        }
    });
    for answer in join_all(appends).await {
        answer?;
    }
    let mut all = first;
    for rows in &parts {
        all = all.and(&rows.rows);
    }
    holds(harness, &cx, &name, &all).await
}

pub(super) async fn handles_see_each_other(harness: &Harness, cx: Context) -> Result<(), String> {
    let mut rows = plain(&["a"], 0);
    let name = made(harness.handle(0), &cx, &rows).await?;
    for at in 1..4 {
        let found = scanned(harness.handle(at), &cx, all_of(&name)).await?;
        same_rows(&found, &rows).map_err(|why| format!("what another handle wrote: {why}"))?;
        let more = plain(&["b"], at as i64 * 10);
        put(
            harness.handle(at),
            &cx,
            request(&name, WriteMode::Append),
            &more.table()?,
        )
        .await?;
        rows = rows.and(&more.rows);
    }
    let found = scanned(harness.handle(0), &cx, all_of(&name)).await?;
    same_rows(&found, &rows).map_err(|why| format!("what another handle wrote: {why}"))
}

pub(super) async fn extended_tables_gain_columns(
    harness: &Harness,
    cx: Context,
) -> Result<(), String> {
    let old = plain(&["a", "b"], 1);
    let name = made(harness.handle(0), &cx, &old).await?;
    let mut new = plain(&["c"], 9);
    new.columns.push(("more".to_owned(), ValueType::String));
    new.rows[0].push(super::tables::string("m"));
    put(
        harness.handle(0),
        &cx,
        request(&name, WriteMode::Extend),
        &new.table()?,
    )
    .await?;
    let mut expected = new.clone();
    for row in &old.rows {
        let mut row = row.clone();
        row.push(Value::Null);
        expected.rows.push(row);
    }
    holds(harness, &cx, &name, &expected).await
}
