//! A node's last word on an attempt reaches its row, whichever of the two comes first.

use super::super::table;
use super::*;

async fn keep(database: &PgPool, node: Uuid, sequence: u64, settled: Vec<SettledAttempt>) {
    assert!(table::keep(database, node, "signed", &report(sequence, noon(), Vec::new(), settled)).await.unwrap());
}

/// Words that wait for their rows.
async fn waiting(database: &PgPool) -> i64 {
    let waiting = sqlx::query_scalar!(r#"select count(*) as "count!" from energy_settlements"#);
    waiting.fetch_one(database).await.unwrap()
}

/// What stands in `requests` and in `attempts` of a request with two attempts.
async fn elsewhere(database: &PgPool, request: Uuid) -> (i64, Vec<i64>) {
    let of_request = sqlx::query_scalar!("select microjoules from requests where id = $1", request);
    let of_attempts =
        sqlx::query_scalar!("select microjoules from attempts where request_id = $1 order by attempt", request);
    (of_request.fetch_one(database).await.unwrap(), of_attempts.fetch_all(database).await.unwrap())
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_provisional_attempt_is_settled_everywhere_it_stands(database: PgPool) {
    let (node, request) = (Uuid::now_v7(), Uuid::now_v7());
    ship(&database, &[record(node, request, &[energy(400, false), energy(1_000, false)])]).await;
    assert_eq!(row(&database, request, 1).await, expected(400, 100, "provisional"));
    assert_eq!(row(&database, request, 2).await, expected(1_000, 250, "provisional"));

    keep(&database, node, 1, vec![settled(request, 2, 1_100)]).await;
    assert_eq!(row(&database, request, 2).await, expected(1_100, 275, "settled"), "the idle share grows along");
    assert_eq!(row(&database, request, 1).await, expected(400, 100, "provisional"));
    assert_eq!(elsewhere(&database, request).await, (1_100, vec![400, 1_100]));

    keep(&database, node, 2, vec![settled(request, 1, 444)]).await;
    assert_eq!(row(&database, request, 1).await, expected(444, 111, "settled"));
    assert_eq!(
        elsewhere(&database, request).await,
        (1_100, vec![444, 1_100]),
        "the one that failed is not the answer's"
    );
    let parts = sqlx::query!(
        "select e.low_microjoules, e.high_microjoules, e.marginal_microjoules, e.prefill_microjoules,
            r.low_microjoules as lowest, r.high_microjoules as highest
         from request_energy e join requests r on r.id = e.request_id where e.attempt = 2"
    )
    .fetch_one(&database)
    .await
    .unwrap();
    assert_eq!((parts.low_microjoules, parts.high_microjoules), (550, 2_200));
    assert_eq!((parts.marginal_microjoules, parts.prefill_microjoules), (366, 275));
    assert_eq!((parts.lowest, parts.highest), (550, 2_200));
    assert_eq!(waiting(&database).await, 0);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_row_that_comes_after_the_last_word_need_not_wait_for_the_next_report(database: PgPool) {
    let (node, request) = (Uuid::now_v7(), Uuid::now_v7());
    keep(&database, node, 1, vec![settled(request, 1, 900)]).await;
    assert!(table::settle_rest(&database, node).await.unwrap(), "the row may still come");
    ship(&database, &[record(node, request, &[energy(1_000, false)])]).await;
    assert!(!table::settle_rest(&database, node).await.unwrap(), "nothing waits any more");
    assert_eq!(row(&database, request, 1).await, expected(900, 225, "settled"));
    assert_eq!(waiting(&database).await, 0);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_waits_is_settled_by_the_next_report_at_the_latest(database: PgPool) {
    let (node, request) = (Uuid::now_v7(), Uuid::now_v7());
    keep(&database, node, 1, vec![settled(request, 1, 900), settled(Uuid::now_v7(), 1, 7)]).await;
    ship(&database, &[record(node, request, &[energy(1_000, false)])]).await;
    keep(&database, node, 2, Vec::new()).await;
    assert_eq!(row(&database, request, 1).await, expected(900, 225, "settled"));
    assert_eq!(waiting(&database).await, 1, "the other one's row never came");
    sqlx::query!("update energy_settlements set at = now() - interval '73 hours'").execute(&database).await.unwrap();
    keep(&database, node, 3, Vec::new()).await;
    assert_eq!(waiting(&database).await, 0);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn the_first_last_word_counts_and_nobody_has_one_on_another_s_attempts(database: PgPool) {
    let (node, request, sure) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    ship(&database, &[record(node, request, &[energy(1_000, false)]), record(node, sure, &[energy(500, true)])]).await;
    keep(&database, Uuid::now_v7(), 1, vec![settled(request, 1, 1)]).await;
    assert_eq!(row(&database, request, 1).await, expected(1_000, 250, "provisional"), "a stranger's word");
    keep(&database, node, 1, vec![settled(request, 1, 1_200), settled(sure, 1, 5)]).await;
    keep(&database, node, 2, vec![settled(request, 1, 2)]).await;
    assert_eq!(row(&database, request, 1).await, expected(1_200, 300, "settled"));
    assert_eq!(row(&database, sure, 1).await, expected(500, 125, "settled"), "its frame said so before");
    assert_eq!(waiting(&database).await, 0);
}
