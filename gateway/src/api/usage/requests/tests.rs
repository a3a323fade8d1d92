//! Lists of made-up requests.

use std::collections::BTreeMap;

use time::macros::datetime;

use super::*;
use crate::api::usage::gather::gather;
use crate::api::usage::synthetic::{Meant, Row, cell, cells, insert, two_months};

fn query(text: &str) -> RequestsQuery {
    let uri = format!("/api/requests?{text}").parse().unwrap();
    axum::extract::Query::try_from_uri(&uri).unwrap().0
}

async fn ask_all(database: &PgPool, account: Uuid, text: &str, limit: i64) -> Vec<Uuid> {
    let (mut all, mut before) = (Vec::new(), String::new());
    loop {
        let page = page(database, account, &query(&format!("{text}&limit={limit}{before}"))).await.unwrap();
        all.extend(page.data.iter().map(|row| row.id));
        let Some(next) = page.next else { return all };
        before = format!("&before={next}");
    }
}

fn newest_first<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<Uuid> {
    let mut ids: Vec<Uuid> = rows.map(|row| row.id).collect();
    ids.sort_by(|one, other| other.cmp(one));
    ids
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn pages_are_the_whole_and_nobody_else_s(database: PgPool) {
    let (account, mut rows) = two_months();
    // Beyond every month there is.
    rows.push(Row::at(account, OffsetDateTime::UNIX_EPOCH));
    rows.push(Row::at(account, datetime!(2200-01-01 0:00 UTC)));
    insert(&database, &rows).await;
    let expected = newest_first(rows.iter().filter(|row| row.account == account));
    assert_eq!(ask_all(&database, account, "", 7).await, expected);
    assert_eq!(ask_all(&database, account, "", 200).await, expected);
    let theirs = rows.iter().find(|row| row.account != account).unwrap();
    assert!(detail(&database, account, theirs.id).await.is_err());
    assert!(detail(&database, theirs.account, theirs.id).await.is_ok());
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn filters_narrow_down(database: PgPool) {
    let (account, rows) = two_months();
    insert(&database, &rows).await;
    let of = rows.iter().find(|row| row.account == account && row.node.is_some() && row.model == "m").unwrap();
    let at = of.at.format(&time::format_description::well_known::Rfc3339).unwrap();
    let filters: [(String, Meant); 7] = [
        (format!("key={}", of.key), |row, of| row.key == of.key),
        (format!("user={}", of.user), |row, of| row.user == of.user),
        ("model=m".to_owned(), |row, of| row.model == of.model),
        (format!("node={}", of.node.unwrap()), |row, of| row.node == of.node),
        (format!("outcome={}", of.outcome), |row, of| row.outcome == of.outcome),
        (format!("from={at}"), |row, of| row.at >= of.at),
        (format!("to={at}"), |row, of| row.at < of.at),
    ];
    for (filter, meant) in filters {
        let ours = rows.iter().filter(|row| row.account == account && meant(row, of));
        let expected = newest_first(ours);
        assert_eq!(ask_all(&database, account, &filter, 50).await, expected, "{filter}");
        assert_eq!(ask_all(&database, account, &filter, 3).await, expected, "{filter}");
        // The hours are found, gathered or not.
        gather(&database).await.unwrap();
        assert_eq!(ask_all(&database, account, &filter, 50).await, expected, "{filter}");
    }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_is_rare_is_found_between_any_two_moments(database: PgPool) {
    let account = Uuid::now_v7();
    let at = datetime!(2028-02-28 0:00 UTC);
    let minutes = [0, 1, 59, 60, 61, 23 * 60 + 59, 24 * 60, 24 * 60 + 1, 70 * 60, 70 * 60 + 30];
    let row =
        |minute: &i64| Row { model: "rare".to_owned(), ..Row::at(account, at + time::Duration::minutes(*minute)) };
    let rare: Vec<Row> = minutes.iter().map(row).collect();
    let common = (0..300).map(|number| Row::at(account, at + time::Duration::minutes(number * 15)));
    insert(&database, &rare.iter().cloned().chain(common).collect::<Vec<_>>()).await;
    gather(&database).await.unwrap();
    let text = |at: OffsetDateTime| at.format(&time::format_description::well_known::Rfc3339).unwrap();
    for from in &rare {
        for to in rare.iter().filter(|to| to.at > from.at) {
            let span = format!("model=rare&from={}&to={}", text(from.at), text(to.at));
            let within = newest_first(rare.iter().filter(|row| row.at >= from.at && row.at < to.at));
            assert_eq!(ask_all(&database, account, &span, 2).await, within, "{span}");
        }
    }
    assert_eq!(ask_all(&database, account, "model=rarer", 2).await, Vec::<Uuid>::new());
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn csv_says_what_json_says(database: PgPool) {
    let (account, rows) = two_months();
    insert(&database, &rows).await;
    let request = axum::http::Request::get("/api/requests?limit=20&format=csv").body(()).unwrap();
    let (mut parts, ()) = request.into_parts();
    let reply = <Reply as axum::extract::FromRequestParts<()>>::from_request_parts(&mut parts, &()).await.unwrap();
    let listed = page(&database, account, &query("limit=20")).await.unwrap();
    let json: Vec<_> = listed.data.iter().map(|row| serde_json::to_value(row).unwrap()).collect();
    let next = listed.next.clone().unwrap();
    let response = reply.send(&TABLE, Some(Format::Csv), listed).unwrap();
    assert_eq!(response.headers()["content-type"], "text/csv; charset=utf-8; header=present");
    let link = format!("</api/requests?limit=20&format=csv&before={next}>; rel=\"next\"");
    assert_eq!(response.headers()["link"], link);
    let written = cells(response).await;
    assert_eq!(written.len(), 20);
    for (written, row) in written.iter().zip(json) {
        let expected = row.as_object().unwrap().iter().map(|(name, value)| (name.clone(), cell(value)));
        assert_eq!(*written, expected.collect::<BTreeMap<_, _>>());
    }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_request_is_shown_with_its_money_and_its_attempts(database: PgPool) {
    let row = Row { nanocredits: 1_500_000_001, ..Row::at(Uuid::now_v7(), OffsetDateTime::now_utc()) };
    insert(&database, std::slice::from_ref(&row)).await;
    let shown = serde_json::to_value(detail(&database, row.account, row.id).await.unwrap()).unwrap();
    assert_eq!((&shown["nanocredits"], &shown["cost"]), (&1_500_000_001_i64.into(), &"1.500000001".into()));
    assert_eq!((&shown["microjoules"], &shown["joules"]), (&7.into(), &0.000007.into()));
    assert_eq!(shown["attempts"][0]["overclaimed_tokens"], 0);
}
