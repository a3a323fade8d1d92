//! Claims in a real database.

use openapi::author::{Author, AuthorClaim, VERSION};
use openapi::receipt::jws::Signer;
use openapi::units::Microseconds;
use sqlx::PgPool;
use uuid::Uuid;

use super::table::{Refused, Row, assign, list, take_back, take_up};
use crate::auth::user::somebody;
use crate::ledger::account::Account;
use crate::ledger::event::{Kind, NewEvent, Posting, post};

/// Lets an author earn.
async fn earns(database: &PgPool, author: &str, nanocredits: i64) {
    let lines = [(Account::External, -nanocredits), (Account::author(author).unwrap(), nanocredits)];
    let postings = lines.map(|(account, nanocredits)| Posting { account, nanocredits }).to_vec();
    let key = Uuid::now_v7().to_string();
    let new = NewEvent {
        kind: Kind::Adjustment,
        idempotency_key: &key,
        request: None,
        split_version: None,
        reason: None,
        created_by: None,
    };
    let mut transaction = database.begin().await.unwrap();
    post(&mut transaction, new, postings).await.unwrap();
    transaction.commit().await.unwrap();
}

async fn claims(database: &PgPool, author: &str, account: Uuid, at: u64, by: Uuid) -> Result<(), Refused> {
    let signer = Signer::from_seed(&[1; 32]).unwrap();
    let (author, gateway, at) = (author.to_owned(), "gateway.example/log".to_owned(), Microseconds::new(at));
    let claim = AuthorClaim { v: VERSION, author, gateway, account, at };
    take_up(database, &claim, &claim.sign(&signer).unwrap(), by).await
}

fn keyed(name: &str) -> String {
    Author { name, key: Some(Signer::from_seed(&[1; 32]).unwrap().public()) }.to_string()
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn the_latest_signature_says_whose_it_is(database: PgPool) {
    let ((first, by), (second, _)) = (somebody(&database).await, somebody(&database).await);
    let author = keyed("Ada");
    // Before anything is earned.
    claims(&database, &author, first, 5, by).await.unwrap();
    earns(&database, &author, 70).await;
    let account = async || list(&database, None, 10).await.unwrap()[0].account;
    assert_eq!(account().await, Some(first));
    claims(&database, &author, second, 6, by).await.unwrap();
    assert_eq!(account().await, Some(second));
    for (account, at) in [(second, 6), (first, 6), (first, 5), (first, 1)] {
        let refused = claims(&database, &author, account, at, by).await;
        assert!(matches!(refused, Err(Refused::Outdated)), "{at}: {refused:?}");
    }
    assert_eq!(account().await, Some(second), "nobody goes back");
    assert!(matches!(take_back(&database, &author).await, Err(Refused::NoClaim)), "nor does an administrator");
    assert_eq!(list(&database, None, 10).await.unwrap(), [Row { author, balance: 70, account: Some(second) }]);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn of_claims_at_once_the_latest_stays(database: PgPool) {
    let (account, by) = somebody(&database).await;
    let author = keyed("Ada");
    let all = (1..=20).map(|at| claims(&database, &author, account, at, by));
    let done = futures_util::future::join_all(all).await;
    assert!(done.iter().all(|done| matches!(done, Ok(()) | Err(Refused::Outdated))), "{done:?}");
    assert!(done[19].is_ok());
    let kept =
        sqlx::query_scalar!(r#"select claim as "claim!" from author_claims"#).fetch_one(&database).await.unwrap();
    assert_eq!(AuthorClaim::read(&kept).unwrap().at.get(), 20);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn an_administrator_says_it_for_whoever_has_no_key_and_takes_it_back(database: PgPool) {
    let ((account, by), (other, _)) = (somebody(&database).await, somebody(&database).await);
    assert!(
        matches!(assign(&database, "org/Ada", account, by).await, Err(Refused::NoAuthor)),
        "perhaps a typing error"
    );
    earns(&database, "org/Ada", 5).await;
    assert!(matches!(assign(&database, "org/Ada", Uuid::now_v7(), by).await, Err(Refused::NoAccount)));
    for account in [account, account, other] {
        assign(&database, "org/Ada", account, by).await.unwrap();
        assert_eq!(list(&database, None, 10).await.unwrap()[0].account, Some(account));
    }
    take_back(&database, "org/Ada").await.unwrap();
    assert!(matches!(take_back(&database, "org/Ada").await, Err(Refused::NoClaim)));
    assert_eq!(
        list(&database, None, 10).await.unwrap(),
        [Row { author: "org/Ada".to_owned(), balance: 5, account: None }]
    );
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn authors_come_in_pages_by_name_and_nobody_else_is_among_them(database: PgPool) {
    let (account, by) = somebody(&database).await;
    for author in ["b", "B", "ä", "a", "operator:x"] {
        earns(&database, author, 1).await;
    }
    claims(&database, &keyed("a"), account, 1, by).await.unwrap();
    let all: Vec<Row> = list(&database, None, 10).await.unwrap();
    let names: Vec<&str> = all.iter().map(|row| row.author.as_str()).collect();
    assert_eq!(names, ["B", "a", &keyed("a"), "b", "operator:x", "ä"]);
    let mut paged: Vec<Row> = Vec::new();
    loop {
        let after = paged.last().map(|row| row.author.clone());
        let page = list(&database, after.as_deref(), 4).await.unwrap();
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
}
