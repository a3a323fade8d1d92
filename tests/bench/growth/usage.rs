//! How long the calls take that the console's overview makes.

use std::time::Instant;

use serde::Serialize;
use serde_json::Value;
use tests::Gateway;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::figures::{quantile, say, verdict};

const TIMES: usize = 20;
const MOST_MILLISECONDS: i64 = 200;

/// Its ranges: a name, a bucket, how many seconds that has, and how many of them are shown.
const RANGES: [(&str, &str, i64, i64); 5] = [
    ("1 hour", "minute", 60, 60),
    ("24 hours", "hour", 3600, 24),
    ("7 days", "hour", 3600, 168),
    ("30 days", "day", 86_400, 30),
    ("12 months", "month", 86_400, 365),
];

/// One call, again and again; nanoseconds.
#[derive(Serialize)]
pub(super) struct Call {
    range: String,
    group_by: String,
    times: Vec<i64>,
}

pub(super) async fn measure(gateway: &Gateway) -> Vec<Call> {
    let mut calls = Vec::new();
    for group_by in ["model", "key", "node"] {
        for (range, bucket, seconds, shown) in RANGES {
            let now = OffsetDateTime::now_utc();
            let begin = now - Duration::seconds(now.unix_timestamp() % seconds + (shown - 1) * seconds);
            let from = begin.replace_nanosecond(0).expect("none").format(&Rfc3339).expect("a moment");
            let path = format!("/api/usage?bucket={bucket}&group_by={group_by}&from={from}&limit=1000");
            let mut times = Vec::new();
            for _ in 0..TIMES {
                let begin = Instant::now();
                let usage: Value = gateway.get(&path).await;
                times.push(begin.elapsed().as_nanos() as i64);
                assert!(usage["data"].as_array().is_some_and(|rows| !rows.is_empty()), "{path} shows what was used");
            }
            calls.push(Call { range: range.to_owned(), group_by: group_by.to_owned(), times });
        }
    }
    calls
}

impl Call {
    pub(super) fn print(&self) {
        let milliseconds = |percent| quantile(&self.times, percent) / 1_000_000;
        let late = milliseconds(95);
        say(&format!(
            "usage of {} by {}: {} ms, {late} ms at the 95th percentile; at most {MOST_MILLISECONDS} ms: {}",
            self.range,
            self.group_by,
            milliseconds(50),
            verdict(late <= MOST_MILLISECONDS)
        ));
    }
}
