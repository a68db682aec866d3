//! Smaller cases that still fail, so that a failure can be read.

use super::JoinCase;
use super::cases::renumbered;
use crate::Table;
use crate::memory::ScanShape;

/// Takes parts out of a failing case for as long as it still fails: views, features, spine rows,
/// source rows, then limits and batches.
pub fn shrink(case: &JoinCase, fails: impl Fn(&JoinCase) -> bool) -> JoinCase {
    let mut smallest = case.clone();
    loop {
        let Some(smaller) = candidates(&smallest).into_iter().find(|case| fails(case)) else {
            return smallest;
        };
        smallest = smaller;
    }
}

/// Cases with one part less, the greatest parts first.
pub(crate) fn candidates(case: &JoinCase) -> Vec<JoinCase> {
    let mut cases = Vec::new();
    let mut with = |change: &dyn Fn(&mut JoinCase) -> bool| {
        let mut smaller = case.clone();
        if change(&mut smaller) {
            cases.push(smaller);
        }
    };
    for at in 0..case.join.views.len() {
        with(&|case| {
            case.join.views.remove(at);
            !case.join.views.is_empty()
        });
    }
    for range in chunks(case.spine.table.n_rows()) {
        with(&|case| {
            let kept = without_rows(&case.spine.table, &range);
            match renumbered(&kept, &case.spine.row_number) {
                Ok(table) => {
                    case.spine.table = table;
                    true
                }
                Err(_) => false,
            }
        });
    }
    for (at, view) in case.join.views.iter().enumerate() {
        for feature in 0..view.features.len() {
            with(&|case| {
                let view = &mut case.join.views[at];
                view.features.remove(feature);
                !(view.features.is_empty() && view.aggregations.is_empty())
            });
        }
        for aggregation in 0..view.aggregations.len() {
            with(&|case| {
                let view = &mut case.join.views[at];
                view.aggregations.remove(aggregation);
                !(view.features.is_empty() && view.aggregations.is_empty())
            });
        }
        with(&|case| case.join.views[at].ttl_us.take().is_some());
        with(&|case| case.join.views[at].source.tie_breakers.pop().is_some());
    }
    for (name, table) in &case.tables {
        for range in chunks(table.n_rows()) {
            with(&|case| {
                case.tables
                    .insert(name.clone(), without_rows(table, &range));
                true
            });
        }
        with(&|case| {
            let all: Vec<_> = table.batches.iter().filter(|b| b.num_rows() > 0).collect();
            let has_empty = all.len() < table.batches.len();
            let batches = all.into_iter().cloned().collect();
            case.tables.insert(
                name.clone(),
                Table {
                    schema: table.schema.clone(),
                    batches,
                },
            );
            has_empty
        });
    }
    with(&|case| std::mem::take(&mut case.join.as_known));
    with(&|case| case.memory_limit_bytes.take().is_some());
    with(&|case| std::mem::replace(&mut case.scan, ScanShape::PLAIN) != ScanShape::PLAIN);
    cases
}

/// Ranges of rows to take out: halves, then quarters, down to single rows.
pub(crate) fn chunks(n_rows: usize) -> Vec<std::ops::Range<usize>> {
    let mut ranges = Vec::new();
    let mut size = n_rows;
    while size > 0 {
        let mut start = 0;
        while start < n_rows {
            ranges.push(start..(start + size).min(n_rows));
            start += size;
        }
        size /= 2;
    }
    ranges
}

/// The table without the rows of a range.
pub(crate) fn without_rows(table: &Table, range: &std::ops::Range<usize>) -> Table {
    let mut batches = Vec::new();
    let mut start = 0;
    for batch in &table.batches {
        let end = start + batch.num_rows();
        let cut_from = range.start.clamp(start, end) - start;
        let cut_to = range.end.clamp(start, end) - start;
        if cut_from == cut_to {
            batches.push(batch.clone());
        } else {
            for (from, to) in [(0, cut_from), (cut_to, batch.num_rows())] {
                if from < to {
                    batches.push(batch.slice(from, to - from));
                }
            }
        }
        start = end;
    }
    Table {
        schema: table.schema.clone(),
        batches,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_failure_that_needs_two_rows_keeps_two_rows() {
        let case = (0..100)
            .map(|seed| JoinCase::random(seed).unwrap())
            .find(|case| case.spine.table.n_rows() > 20)
            .unwrap();
        let small = shrink(&case, |case| case.spine.table.n_rows() >= 2);
        assert_eq!(small.spine.table.n_rows(), 2);
        assert_eq!(small.join.views.len(), 1);
        assert!(small.tables.values().all(|table| table.n_rows() == 0));
    }
}
