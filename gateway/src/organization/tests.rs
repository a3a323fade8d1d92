//! OpenAI's shapes over made-up requests.

use serde_json::{Value, json};
use time::Duration;
use time::macros::datetime;

use super::*;
use crate::api::usage::synthetic::{Row, insert, two_months};

fn asked(kind: Kind, query: &str) -> Result<Asked, Failure> {
    Ok(Asked::read(kind, &format!("/v1/organization?{query}").parse().unwrap())?)
}

async fn usage(database: &PgPool, account: Uuid, now: OffsetDateTime, query: &str) -> Result<Value, Failure> {
    let page = page(database, account, &asked(Kind::Usage, query)?, now, CompletionsResult::new).await?;
    Ok(serde_json::to_value(page).unwrap())
}

async fn paid(database: &PgPool, account: Uuid, now: OffsetDateTime, query: &str) -> Result<Value, Failure> {
    let page = page(database, account, &asked(Kind::Costs, query)?, now, CostsResult::new).await?;
    Ok(serde_json::to_value(page).unwrap())
}

fn results(page: &Value) -> Vec<&Value> {
    page["data"].as_array().unwrap().iter().flat_map(|bucket| bucket["results"].as_array().unwrap()).collect()
}

fn total(page: &Value, field: &str) -> i64 {
    results(page).iter().map(|result| result[field].as_i64().unwrap()).sum()
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_page_has_openai_s_shape_with_its_empty_buckets(database: PgPool) {
    let account = Uuid::now_v7();
    let noon = datetime!(2028-02-28 12:00 UTC);
    let times = [noon - Duration::milliseconds(1), noon, datetime!(2028-03-01 0:00 UTC)];
    insert(&database, &times.map(|at| Row::at(account, at))).await;
    let (start, now) = (noon.unix_timestamp(), datetime!(2028-03-01 6:00 UTC));
    let (leap_day, march) =
        (datetime!(2028-02-29 0:00 UTC).unix_timestamp(), datetime!(2028-03-01 0:00 UTC).unix_timestamp());
    let result = |project: Option<Uuid>| {
        json!({"object": "organization.usage.completions.result", "input_tokens": 3, "output_tokens": 2,
            "input_cached_tokens": 1, "input_audio_tokens": 0, "output_audio_tokens": 0, "num_model_requests": 1,
            "project_id": project, "user_id": null, "api_key_id": null, "model": null, "batch": null,
            "service_tier": null})
    };
    let whole = usage(&database, account, now, &format!("start_time={start}&group_by[]=project_id")).await.unwrap();
    let bucket = |start: i64, end: i64, results: &[Value]| json!({"object": "bucket", "start_time": start, "end_time": end, "results": results});
    let expected = json!({"object": "page", "has_more": false, "next_page": null, "data": [
        bucket(start, leap_day, &[result(Some(account))]),
        bucket(leap_day, march, &[]),
        bucket(march, march + 86_400, &[result(Some(account))]),
    ]});
    assert_eq!(whole, expected);

    let first = usage(&database, account, now, &format!("start_time={start}&limit=2")).await.unwrap();
    assert_eq!((&first["has_more"], &first["next_page"]), (&json!(true), &json!(format!("page_{march}"))));
    let next = format!("start_time={start}&limit=2&page=page_{march}&end_time={}", march + 60);
    let second = usage(&database, account, now, &next).await.unwrap();
    assert_eq!(second["data"], json!([bucket(march, march + 60, &[result(None)])]));
    assert_eq!(second["has_more"], false);

    let costs = paid(&database, account, now, &format!("start_time={march}&group_by=line_item")).await.unwrap();
    let result = json!({"object": "organization.costs.result", "amount": {"value": 5e-9, "currency": "credits"},
        "cost": "0.000000005", "line_item": "m", "project_id": null, "api_key_id": null, "quantity": null});
    assert_eq!(costs["data"], json!([bucket(march, march + 86_400, &[result])]));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn pages_and_groups_add_up_to_the_rows(database: PgPool) {
    let (account, rows) = two_months();
    insert(&database, &rows).await;
    let ours: Vec<&Row> = rows.iter().filter(|row| row.account == account).collect();
    let first = ours.iter().map(|row| row.at).min().unwrap();
    let (start, now) = (first.unix_timestamp(), first + Duration::days(70));
    let mut pages = 0;
    let (mut page, mut tokens, mut requests) = (String::new(), 0, 0);
    loop {
        let groups = "group_by=model&group_by=user_id&group_by=api_key_id&limit=31";
        let found = usage(&database, account, now, &format!("start_time={start}&{groups}{page}")).await.unwrap();
        tokens += total(&found, "input_tokens");
        requests += total(&found, "num_model_requests");
        assert!(results(&found).iter().all(|result| result["model"].is_string() && result["user_id"].is_string()));
        pages += 1;
        let Some(next) = found["next_page"].as_str() else { break };
        page = format!("&page={next}");
    }
    assert_eq!((pages, requests), (3, ours.len() as i64));
    assert_eq!(tokens, ours.iter().map(|row| row.prompt_tokens).sum::<i64>());

    let costs =
        paid(&database, account, now, &format!("start_time={start}&limit=180&group_by=api_key_id")).await.unwrap();
    let exact = |result: &&Value| openapi::units::Nanocredits::from_credits(result["cost"].as_str().unwrap()).unwrap();
    let sum: openapi::units::Nanocredits = results(&costs).iter().map(exact).sum();
    assert_eq!(sum.to_bigint(), ours.iter().map(|row| row.nanocredits).sum::<i64>());
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn filters_narrow_down_in_either_way_of_writing_lists(database: PgPool) {
    let (account, rows) = two_months();
    insert(&database, &rows).await;
    let ours: Vec<&Row> = rows.iter().filter(|row| row.account == account).collect();
    let (one, other) = (ours[0], ours.iter().find(|row| row.key != ours[0].key).unwrap());
    let first = ours.iter().map(|row| row.at).min().unwrap();
    let now = first + Duration::days(31);
    let counted = async |query: &str| {
        let query = format!("start_time={}&limit=31&{query}", first.unix_timestamp());
        total(&usage(&database, account, now, &query).await.unwrap(), "num_model_requests")
    };
    let meant = |meant: &dyn Fn(&Row) -> bool| ours.iter().filter(|row| row.at < now && meant(row)).count() as i64;
    let both = |row: &Row| row.key == one.key || row.key == other.key;
    assert_eq!(counted(&format!("api_key_ids={}&api_key_ids={}", one.key, other.key)).await, meant(&both));
    assert_eq!(counted(&format!("api_key_ids[]={}&api_key_ids%5B%5D={}", one.key, other.key)).await, meant(&both));
    assert_eq!(counted(&format!("user_ids[0]={}", one.user)).await, meant(&|row| row.user == one.user));
    assert_eq!(counted("models=m&models=%3D1%2B1").await, meant(&|row| row.model == "m" || row.model == "=1+1"));
    assert_eq!(counted(&format!("project_ids={account}&batch=false")).await, meant(&|_| true));
    assert_eq!(counted("project_ids=proj_other").await, 0);
    assert_eq!(counted("batch=true").await, 0);
}

#[test]
fn what_is_wrong_is_named() {
    let refused = |kind, query: &str| {
        let detail = asked(kind, query).unwrap_err().0.detail;
        (detail.param.unwrap(), detail.code)
    };
    for (query, param) in [
        ("", "start_time"),
        ("start_time=now", "start_time"),
        ("start_time=-1", "start_time"),
        ("start_time=1&start_time=2", "start_time"),
        ("start_time=2&end_time=2", "end_time"),
        ("start_time=0&end_time=99999999999999", "end_time"),
        ("start_time=0&bucket_width=1w", "bucket_width"),
        ("start_time=0&limit=32", "limit"),
        ("start_time=0&bucket_width=1h&limit=169", "limit"),
        ("start_time=0&limit=0", "limit"),
        ("start_time=0&page=page_1", "page"),
        ("start_time=90000&page=page_86400", "page"),
        ("start_time=0&page=AAAA", "page"),
        ("start_time=0&group_by=line_item", "group_by"),
        ("start_time=0&user_ids=user-abc", "user_ids"),
        ("start_time=0&batch=maybe", "batch"),
        ("start_time=0&colour=red", "colour"),
    ] {
        assert_eq!(refused(Kind::Usage, query).0, param, "{query}");
    }
    assert_eq!(refused(Kind::Costs, "start_time=0&bucket_width=1h").0, "bucket_width");
    assert_eq!(refused(Kind::Costs, "start_time=0&group_by[]=model").0, "group_by");
    assert!(asked(Kind::Costs, "start_time=0&limit=180&group_by=line_item").is_ok());
    assert!(asked(Kind::Usage, "start_time=0&bucket_width=1m&limit=1440&end_time=&project_ids=").is_ok());
}
