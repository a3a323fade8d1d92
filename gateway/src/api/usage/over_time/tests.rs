//! Sums over made-up requests, and what is refused.

use std::collections::BTreeMap;

use time::Duration;
use time::macros::datetime;

use super::*;
use crate::api::usage::gather::gather;
use crate::api::usage::synthetic::{Meant, Row, cell, cells, insert, month_start, two_months};

type Group = (OffsetDateTime, Option<Uuid>, Option<Uuid>, Option<String>, Option<Uuid>, Option<String>);
/// Requests, tokens of the prompt, cached ones, those of the answer, money, energy.
type Sums = [i64; 6];

fn query(text: &str) -> Result<UsageQuery, String> {
    let uri = format!("/api/usage?{text}").parse().unwrap();
    axum::extract::Query::try_from_uri(&uri).map(|query| query.0).map_err(|error| error.body_text())
}

async fn ask(database: &PgPool, account: Uuid, text: &str) -> Result<Page<UsageRow>, u16> {
    let secrets = Secrets::derive(&[7; 32]).unwrap();
    let page = page(database, &secrets, account, &query(text).map_err(|_| 400_u16)?).await;
    page.map_err(|problem| axum::response::IntoResponse::into_response(problem).status().as_u16())
}

/// All pages after each other.
async fn ask_all(database: &PgPool, account: Uuid, text: &str, limit: i64) -> Vec<(Group, Sums)> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = ask(database, account, &format!("{text}&limit={limit}{after}")).await.unwrap();
        assert!(page.data.len() as i64 == limit || page.next.is_none());
        all.extend(page.data.into_iter().map(|row| {
            let group = (row.start, row.key, row.user, row.model, row.node, row.outcome);
            let tokens = [row.requests, row.prompt_tokens, row.cached_tokens, row.completion_tokens];
            (group, [tokens[0], tokens[1], tokens[2], tokens[3], row.nanocredits, row.microjoules])
        }));
        let Some(next) = page.next else { return all };
        after = format!("&after={next}");
    }
}

fn added<'a>(rows: impl Iterator<Item = &'a Row>, query: &UsageQuery) -> Vec<(Group, Sums)> {
    let mut sums = BTreeMap::<Group, Sums>::new();
    for row in rows {
        let day = row.at.replace_time(time::Time::MIDNIGHT);
        let start = match query.bucket {
            Bucket::Minute => row.at.truncate_to_minute(),
            Bucket::Hour => row.at.truncate_to_hour(),
            Bucket::Day => day,
            Bucket::Month => day.replace_day(1).unwrap(),
        };
        let by = query.group_by;
        let group = (
            start,
            by.key.then_some(row.key),
            by.user.then_some(row.user),
            by.model.then(|| row.model.clone()),
            row.node.filter(|_| by.node),
            by.outcome.then(|| row.outcome.to_owned()),
        );
        let used = [1, row.prompt_tokens, row.cached_tokens, row.completion_tokens, row.nanocredits, row.microjoules];
        let sum = sums.entry(group).or_default();
        *sum = std::array::from_fn(|at| sum[at] + used[at]);
    }
    sums.into_iter().collect()
}

fn span_of_all() -> String {
    let from = month_start(OffsetDateTime::now_utc(), -1);
    let text = |at: OffsetDateTime| at.format(&time::format_description::well_known::Rfc3339).unwrap();
    format!("from={}&to={}", text(from), text(from + Duration::days(62)))
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn sums_equal_the_rows_and_pages_the_whole(database: PgPool) {
    let (account, rows) = two_months();
    insert(&database, &rows).await;
    let ours = |row: &&Row| row.account == account;
    for bucket in ["hour", "day", "month"] {
        for groups in ["", "key", "node,outcome", "model", "key,user,model,node,outcome"] {
            let text = format!("{}&bucket={bucket}&group_by={groups}", span_of_all());
            let expected = added(rows.iter().filter(ours), &query(&text).unwrap());
            assert_eq!(ask_all(&database, account, &text, 1000).await, expected, "{text}");
            assert_eq!(ask_all(&database, account, &text, 7).await, expected, "{text}");
        }
        // What is gathered and what is not yet add up.
        gather(&database).await.unwrap();
    }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_span_that_keeps_to_no_border_is_summed_up_to_the_millisecond(database: PgPool) {
    let (account, rows) = two_months();
    insert(&database, &rows).await;
    gather(&database).await.unwrap();
    let mut ours: Vec<&Row> = rows.iter().filter(|row| row.account == account).collect();
    ours.sort_by_key(|row| row.at);
    let text = |at: OffsetDateTime| at.format(&time::format_description::well_known::Rfc3339).unwrap();
    for (first, last) in [(0, 1), (0, 40), (3, 90), (90, 150)] {
        let (from, to) = (ours[first].at, ours[last].at);
        for bucket in ["hour", "day", "month"] {
            let text = format!("from={}&to={}&bucket={bucket}&group_by=model", text(from), text(to));
            let within = ours.iter().copied().filter(|row| row.at >= from && row.at < to);
            assert_eq!(ask_all(&database, account, &text, 1000).await, added(within, &query(&text).unwrap()), "{text}");
        }
    }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn filters_narrow_down(database: PgPool) {
    let (account, rows) = two_months();
    insert(&database, &rows).await;
    let of = rows.iter().find(|row| row.account == account && row.node.is_some() && row.model == "=1+1").unwrap();
    let filters: [(String, Meant); 6] = [
        (format!("key={}", of.key), |row, of| row.key == of.key),
        (format!("user={}", of.user), |row, of| row.user == of.user),
        ("model=%3D1%2B1".to_owned(), |row, of| row.model == of.model),
        (format!("node={}", of.node.unwrap()), |row, of| row.node == of.node),
        (format!("outcome={}", of.outcome), |row, of| row.outcome == of.outcome),
        ("model=%00".to_owned(), |_, _| false),
    ];
    for (filter, meant) in filters {
        let text = format!("{}&{filter}", span_of_all());
        let ours = rows.iter().filter(|row| row.account == account && meant(row, of));
        assert_eq!(ask_all(&database, account, &text, 1000).await, added(ours, &query(&text).unwrap()), "{filter}");
    }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn csv_says_what_json_says(database: PgPool) {
    let (account, rows) = two_months();
    insert(&database, &rows).await;
    let text = format!("{}&group_by=key,user,model,node,outcome&limit=1000", span_of_all());
    let request = axum::http::Request::get("/api/usage").header("accept", "application/json;q=0.5, text/csv");
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    let reply = <Reply as axum::extract::FromRequestParts<()>>::from_request_parts(&mut parts, &()).await.unwrap();
    let written = reply.send(&TABLE, None, ask(&database, account, &text).await.unwrap()).unwrap();
    let (written, page) = (cells(written).await, ask(&database, account, &text).await.unwrap());
    assert_eq!(written.len(), page.data.len());
    for (written, row) in written.iter().zip(&page.data) {
        let row = serde_json::to_value(row).unwrap();
        let expected = row.as_object().unwrap().iter().map(|(name, value)| (name.clone(), cell(value)));
        assert_eq!(*written, expected.collect::<BTreeMap<_, _>>());
    }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_cursor_is_for_its_own_question_alone(database: PgPool) {
    let (account, rows) = two_months();
    insert(&database, &rows).await;
    let next = ask(&database, account, "limit=1").await.unwrap().next.unwrap();
    assert!(ask(&database, account, &format!("limit=5&format=csv&after={next}")).await.is_ok());
    let other = rows.iter().find(|row| row.account != account).unwrap().account;
    assert_eq!(ask(&database, other, &format!("limit=1&after={next}")).await.err(), Some(400));
    for wrong in [
        format!("after={next}&bucket=month"),
        format!("after={next}&model=m"),
        format!("after={next}&group_by=key"),
        format!("after={}", next.to_uppercase()),
        format!("after={}", &next[1..]),
        "after=".to_owned(),
        "after=x%00".to_owned(),
    ] {
        assert_eq!(ask(&database, account, &wrong).await.err(), Some(400), "{wrong}");
    }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn buckets_keep_to_utc_s_borders_and_the_end_is_exclusive(database: PgPool) {
    let account = Uuid::now_v7();
    let times = [
        datetime!(2028-01-31 23:59:59.999 UTC),
        datetime!(2028-02-01 00:00 UTC),
        datetime!(2028-02-29 23:59:59.999 UTC),
        datetime!(2028-03-01 00:00 UTC),
        datetime!(1970-01-01 00:00 UTC),
        datetime!(2200-12-31 23:59:59.999 UTC),
    ];
    insert(&database, &times.map(|at| Row::at(account, at))).await;
    let starts = async |text: &str| -> Vec<(OffsetDateTime, i64)> {
        let rows = ask_all(&database, account, &format!("{text}&group_by="), 1000).await;
        rows.into_iter().map(|(group, sums)| (group.0, sums[0])).collect()
    };
    let spring = "from=2028-01-31T00:00:00Z&to=2028-03-01T00:00:00Z";
    let (january, february) = (datetime!(2028-01-01 0:00 UTC), datetime!(2028-02-01 0:00 UTC));
    assert_eq!(starts(&format!("{spring}&bucket=month")).await, [(january, 1), (february, 2)]);
    let days = [(datetime!(2028-01-31 0:00 UTC), 1), (february, 1), (datetime!(2028-02-29 0:00 UTC), 1)];
    assert_eq!(starts(spring).await, days);
    // The same, however the span is written.
    let elsewhere = "from=2028-01-31T05:00:00%2B05:00&to=2028-02-29T19:00:00-05:00&bucket=day";
    assert_eq!(starts(elsewhere).await, days);
    let minutes = "from=2028-02-29T23:59:59.999Z&to=2028-03-01T00:00:00.001Z&bucket=minute";
    let expected = [(datetime!(2028-02-29 23:59 UTC), 1), (datetime!(2028-03-01 0:00 UTC), 1)];
    assert_eq!(starts(minutes).await, expected);
    let ancient = "from=0000-01-01T00:00:00Z&to=0000-01-02T00:00:00Z";
    assert_eq!(starts(ancient).await, []);
    assert_eq!(starts("from=1969-12-31T00:00:00Z&to=1970-01-02T00:00:00Z").await, [(times[4], 1)]);
    let far = "from=2200-12-01T00:00:00Z&to=2201-01-01T00:00:00Z&bucket=month";
    assert_eq!(starts(far).await, [(datetime!(2200-12-01 0:00 UTC), 1)]);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_can_t_be_meant_is_refused(database: PgPool) {
    for wrong in [
        "bucket=minute&from=2028-01-01T00:00:00Z&to=2028-01-08T00:00:01Z",
        "bucket=hour&from=2020-01-01T00:00:00Z",
        "from=2028-01-02T00:00:00Z&to=2028-01-01T00:00:00Z",
        "limit=0",
        "limit=1001",
        "group_by=colour",
        "bucket=year",
        "outcome=lost",
        "format=xml",
        "colour=red",
    ] {
        assert_eq!(ask(&database, Uuid::now_v7(), wrong).await.err(), Some(400), "{wrong}");
    }
    let week = "bucket=minute&from=2028-01-01T00:00:00Z&to=2028-01-08T00:00:00Z";
    assert!(ask(&database, Uuid::now_v7(), week).await.is_ok());
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn figures_beyond_a_bigint_are_held_at_its_maximum(database: PgPool) {
    let account = Uuid::now_v7();
    let row = || Row { microjoules: i64::MAX, ..Row::at(account, OffsetDateTime::now_utc()) };
    insert(&database, &[row(), row()]).await;
    let page = ask(&database, account, "bucket=month&group_by=").await.unwrap();
    assert_eq!((page.data[0].requests, page.data[0].microjoules), (2, i64::MAX));
}
