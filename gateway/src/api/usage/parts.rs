//! From where the sums over a span of time are read: whole days and hours are summed up already, and what is left at the
//! ends is read request by request.

use time::{Duration, OffsetDateTime};

use super::sums::Bucket;

/// Half-open spans of time, as two arrays for a query.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Spans {
    pub(super) from: Vec<OffsetDateTime>,
    pub(super) to: Vec<OffsetDateTime>,
}

impl Spans {
    fn add(&mut self, from: OffsetDateTime, to: OffsetDateTime) -> bool {
        if from < to {
            self.from.push(from);
            self.to.push(to);
        }
        from < to
    }
}

/// The parts of a span, which overlap nowhere and leave nothing out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// Read request by request.
    pub(super) rows: Spans,
    /// Read off the sums, each of the kind in `words`.
    pub(super) sums: Spans,
    pub(super) words: Vec<&'static str>,
    /// All that is read off the sums.
    pub(super) from: OffsetDateTime,
    pub(super) to: OffsetDateTime,
}

impl Parts {
    /// The parts from a time to another, for buckets of this length.
    pub(super) fn of(from: OffsetDateTime, to: OffsetDateTime, bucket: Bucket) -> Self {
        let (first, last) = (border_after(from, Duration::HOUR), border_before(to, Duration::HOUR));
        let mut parts =
            Self { rows: Spans::default(), sums: Spans::default(), words: Vec::new(), from: first, to: last };
        if bucket == Bucket::Minute || first >= last {
            (parts.from, parts.to) = (to, to);
            parts.rows.add(from, to);
            return parts;
        }
        parts.rows.add(from, first);
        parts.rows.add(last, to);
        let days = match bucket {
            Bucket::Minute | Bucket::Hour => (last, last),
            Bucket::Day | Bucket::Month => (border_after(first, Duration::DAY), border_before(last, Duration::DAY)),
        };
        if days.0 < days.1 {
            parts.add("hour", first, days.0);
            parts.add("day", days.0, days.1);
            parts.add("hour", days.1, last);
        } else {
            parts.add("hour", first, last);
        }
        parts
    }

    fn add(&mut self, word: &'static str, from: OffsetDateTime, to: OffsetDateTime) {
        if self.sums.add(from, to) {
            self.words.push(word);
        }
    }
}

/// The last of UTC's borders that is not after a time.
fn border_before(at: OffsetDateTime, every: Duration) -> OffsetDateTime {
    let past = at.unix_timestamp_nanos().rem_euclid(every.whole_nanoseconds());
    at - Duration::nanoseconds(i64::try_from(past).unwrap_or_default())
}

/// The first of UTC's borders that is not before a time.
pub(super) fn border_after(at: OffsetDateTime, every: Duration) -> OffsetDateTime {
    let before = border_before(at, every);
    if before == at { at } else { before.saturating_add(every) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_month_is_read_off_its_days_and_the_hours_at_its_ends() {
        let (from, to) = (datetime!(2026-01-31 22:30 UTC), datetime!(2026-03-01 01:00:00.001 UTC));
        let parts = Parts::of(from, to, Bucket::Day);
        assert_eq!(parts.words, ["hour", "day", "hour"]);
        let borders = [datetime!(2026-01-31 23:00 UTC), datetime!(2026-02-01 0:00 UTC), datetime!(2026-03-01 0:00 UTC)];
        assert_eq!(parts.sums.from, borders);
        assert_eq!(parts.sums.to, [borders[1], borders[2], datetime!(2026-03-01 1:00 UTC)]);
        assert_eq!(parts.rows.from, [from, datetime!(2026-03-01 1:00 UTC)]);
        assert_eq!(parts.rows.to, [borders[0], to]);
        assert_eq!(Parts::of(from, to, Bucket::Hour).words, ["hour"]);
        assert_eq!(Parts::of(borders[1], borders[2], Bucket::Month).words, ["day"]);
    }

    #[test]
    fn minutes_and_parts_of_an_hour_are_read_request_by_request() {
        let (from, to) = (datetime!(2026-01-31 22:30 UTC), datetime!(2026-03-01 01:00 UTC));
        assert_eq!(Parts::of(from, to, Bucket::Minute).rows, Spans { from: vec![from], to: vec![to] });
        let soon = from + Duration::minutes(40);
        let parts = Parts::of(from, soon, Bucket::Day);
        assert_eq!((parts.rows, parts.words), (Spans { from: vec![from], to: vec![soon] }, vec![]));
    }

    proptest! {
        #[test]
        fn nothing_is_left_out_and_nothing_counted_twice(from in 0_i64..400_000, long in 1_i64..400_000, bucket in 0_usize..4) {
            let bucket = [Bucket::Minute, Bucket::Hour, Bucket::Day, Bucket::Month][bucket];
            let at = |minute| OffsetDateTime::UNIX_EPOCH + Duration::minutes(minute);
            let parts = Parts::of(at(from), at(from + long), bucket);
            let all = [&parts.rows, &parts.sums].into_iter().flat_map(|spans| spans.from.iter().zip(&spans.to));
            let mut all: Vec<_> = all.collect();
            all.sort();
            prop_assert_eq!((*all[0].0, *all[all.len() - 1].1), (at(from), at(from + long)));
            prop_assert!(all.windows(2).all(|pair| pair[0].1 == pair[1].0), "{:?}", all);
        }
    }
}
