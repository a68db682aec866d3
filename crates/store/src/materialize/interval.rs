//! Which interval of time a run is about. Intervals are (start, end] in whole microseconds.

use provender_core::model::FeatureView;
use provender_core::provider::Interval;
use provender_core::request::{ColumnRange, TimedSource};
use provender_core::time::format_instant;
use provender_core::{Error, Result, codes};

use super::MaterializeRange;

/// What is to do for a view.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Rows of an interval.
    Run(Interval),
    /// Nothing, and why; the interval is the one recorded last.
    Nothing { done: Interval, why: String },
}

impl MaterializeRange {
    /// # Errors
    /// `InvalidArgument` (`P406`) for an empty interval.
    pub(super) fn check(self) -> Result<()> {
        match self {
            Self::Explicit { start_us, end_us } if start_us >= end_us => Err(Error::new(
                &codes::BAD_REQUEST,
                format!(
                    "the start {} is not before the end {}",
                    format_instant(start_us),
                    format_instant(end_us)
                ),
            )
            .help("the start is excluded and the end included; give an end after the start")),
            _ => Ok(()),
        }
    }

    /// What is to do for a view whose recorded intervals are `recorded`, by end; `is_lost` says that rows of
    /// them are not online any more.
    pub(super) fn work(self, recorded: &[Interval], is_lost: bool, now_us: i64) -> Work {
        match self {
            Self::Incremental { end_us } if is_lost => {
                let end_us = end_us.unwrap_or(now_us);
                let recorded_end_us = recorded.last().map(|last| last.end_us);
                Work::Run(Interval {
                    // They are disjoint, so the first to end is the first to start.
                    start_us: recorded.first().and_then(|first| first.start_us),
                    end_us: recorded_end_us.map_or(end_us, |recorded| recorded.max(end_us)),
                })
            }
            Self::Explicit { start_us, end_us } => Work::Run(Interval {
                start_us: Some(start_us),
                end_us,
            }),
            Self::Incremental { end_us } => {
                let end_us = end_us.unwrap_or(now_us);
                match recorded.last() {
                    Some(&done) if end_us <= done.end_us => Work::Nothing {
                        done,
                        why: format!(
                            "already materialised to {}, which is not before {}",
                            format_instant(done.end_us),
                            format_instant(end_us)
                        ),
                    },
                    last => Work::Run(Interval {
                        start_us: last.map(|done| done.end_us),
                        end_us,
                    }),
                }
            }
        }
    }
}

/// Whether an interval holds all that was recorded.
pub(super) fn covers(interval: Interval, recorded: &[Interval]) -> bool {
    let (Some(first), Some(last)) = (recorded.first(), recorded.last()) else {
        return true;
    };
    let starts_before = match (interval.start_us, first.start_us) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(start_us), Some(first_us)) => start_us <= first_us,
    };
    starts_before && interval.end_us >= last.end_us
}

/// The part of a materialised interval that may be recorded: rows that come after `now` were not
/// there to be read, so the next incremental run must look for them. `None` if all of it lies ahead.
pub(super) fn known_part(interval: Interval, now_us: i64) -> Option<Interval> {
    let end_us = interval.end_us.min(now_us);
    let is_empty = interval.start_us.is_some_and(|start_us| start_us >= end_us);
    (!is_empty).then_some(Interval { end_us, ..interval })
}

/// The conditions on rows of a view's source that belong to an interval: rows that fulfil all of one
/// list belong to it.
pub(super) fn row_ranges(
    view: &FeatureView,
    source: &TimedSource,
    interval: Interval,
) -> Vec<Vec<ColumnRange>> {
    let range = |column: &str, min_us: Option<i64>, max_us: i64| ColumnRange {
        column: column.to_owned(),
        min_us,
        max_us: Some(max_us),
    };
    // In whole microseconds, after the start is from the next one on.
    let after = |start_us: i64| start_us.saturating_add(1);
    let lookback_us = match source.created_timestamp {
        // Its late rows are found by the time they became known.
        Some(_) => 0,
        None => view.source.lookback_us.unwrap_or(0),
    };
    let first_us = interval
        .start_us
        .map(|start_us| after(start_us.saturating_sub(lookback_us)));
    let mut lists = vec![vec![range(&source.timestamp, first_us, interval.end_us)]];
    if let (Some(created), Some(start_us)) = (&source.created_timestamp, interval.start_us) {
        lists.push(vec![
            range(created, Some(after(start_us)), interval.end_us),
            range(&source.timestamp, None, start_us),
        ]);
    }
    lists
}

/// As of when windows are computed, and the instant after which a key must have a row for them to be
/// written: a key whose last row left the greatest window since then has a value online that must be
/// overwritten.
///
/// Both reach to the end that was recorded last, if there is one. Rows as of an earlier instant would
/// lose against those online, but for keys that have none, which would keep old values; and after a
/// gap the values as of that end would stay.
pub(super) fn windows_at(
    view: &FeatureView,
    interval: Interval,
    last_end_us: Option<i64>,
) -> (i64, i64) {
    let windows = view.aggregations.iter().map(|window| window.window_us);
    let greatest_us = windows.max().unwrap_or(0);
    let at_us = last_end_us.map_or(interval.end_us, |last| interval.end_us.max(last));
    let active_after_us = interval.start_us.map_or(i64::MIN, |start_us| {
        let start_us = last_end_us.map_or(start_us, |last| start_us.min(last));
        start_us.saturating_sub(greatest_us)
    });
    (at_us, active_after_us)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    const fn interval(start_us: Option<i64>, end_us: i64) -> Interval {
        Interval { start_us, end_us }
    }

    #[test]
    fn incremental_goes_on_from_the_greatest_end() {
        let incremental = |end_us| MaterializeRange::Incremental { end_us };
        let done = [interval(None, 5), interval(Some(7), 9)];
        assert_eq!(
            incremental(None).work(&[], false, 20),
            Work::Run(interval(None, 20))
        );
        assert_eq!(
            incremental(None).work(&done, false, 20),
            Work::Run(interval(Some(9), 20))
        );
        assert_eq!(
            incremental(Some(10)).work(&done, false, 20),
            Work::Run(interval(Some(9), 10))
        );
        for end_us in [9, 3] {
            let Work::Nothing { done, why } = incremental(Some(end_us)).work(&done, false, 20)
            else {
                panic!("{end_us} lies before the recorded end");
            };
            assert_eq!(done, interval(Some(7), 9));
            assert!(
                why.starts_with("already materialised to 1970-01-01T00:00:00.000009Z"),
                "{why}"
            );
        }
    }

    #[test]
    fn explicit_ranges_run_whatever_is_recorded_and_are_not_empty() {
        let explicit = |start_us, end_us| MaterializeRange::Explicit { start_us, end_us };
        let done = [interval(None, 50)];
        assert_eq!(
            explicit(1, 2).work(&done, false, 20),
            Work::Run(interval(Some(1), 2))
        );
        assert!(explicit(1, 2).check().is_ok());
        for (start_us, end_us) in [(2, 2), (3, 2), (i64::MAX, i64::MIN)] {
            let error = explicit(start_us, end_us).check().unwrap_err();
            assert_eq!(error.code(), "P406");
        }
    }

    #[test]
    fn what_was_lost_is_done_again_from_where_it_began() {
        let incremental = |end_us| MaterializeRange::Incremental { end_us };
        let lost = |recorded: &[Interval], end_us| incremental(end_us).work(recorded, true, 20);
        let all = [interval(None, 5), interval(Some(7), 9)];
        assert_eq!(lost(&all, None), Work::Run(interval(None, 20)));
        assert_eq!(lost(&all, Some(3)), Work::Run(interval(None, 9)));
        let some = [interval(Some(2), 5), interval(Some(7), 9)];
        assert_eq!(lost(&some, None), Work::Run(interval(Some(2), 20)));
        assert_eq!(lost(&[], Some(6)), Work::Run(interval(None, 6)));
        let explicit = MaterializeRange::Explicit {
            start_us: 3,
            end_us: 4,
        };
        assert_eq!(
            explicit.work(&all, true, 20),
            Work::Run(interval(Some(3), 4))
        );
    }

    #[test]
    fn a_range_covers_what_was_recorded_from_end_to_end() {
        let some = [interval(Some(2), 5), interval(Some(7), 9)];
        assert!(covers(interval(Some(2), 9), &some) && covers(interval(None, 10), &some));
        assert!(!covers(interval(Some(3), 9), &some) && !covers(interval(Some(2), 8), &some));
        assert!(!covers(interval(Some(0), 99), &[interval(None, 5)]));
        assert!(covers(interval(None, 5), &[interval(None, 5)]));
        assert!(covers(interval(Some(1), 2), &[]));
    }

    #[test]
    fn what_lies_ahead_is_not_recorded() {
        assert_eq!(
            known_part(interval(Some(1), 9), 9),
            Some(interval(Some(1), 9))
        );
        assert_eq!(
            known_part(interval(Some(1), 9), 5),
            Some(interval(Some(1), 5))
        );
        assert_eq!(known_part(interval(None, 9), 5), Some(interval(None, 5)));
        assert_eq!(known_part(interval(Some(5), 9), 5), None);
        assert_eq!(known_part(interval(Some(7), 9), 5), None);
    }
}
