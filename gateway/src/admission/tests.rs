//! Holds over a real database: one replica, several, and no database at all.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::*;
use crate::auth::key::{Key, Scope};
use crate::ledger::tests::customer;
use crate::limits::{KeyLimits, Limits};

const LEASE: Duration = Duration::from_secs(900);

fn key(account: Uuid, limits: Limits) -> Arc<Key> {
    let limits = KeyLimits { key: limits, ..KeyLimits::default() };
    Arc::new(Key::for_tests(account, Scope::Inference, limits))
}

async fn replica(database: &PgPool) -> (Arc<Admissions>, Refills) {
    let replica = Arc::new(Replica::register(database, Uuid::now_v7(), None, LEASE).await.unwrap());
    let (admissions, refills) = Admissions::new(database.clone(), replica);
    (Arc::new(admissions), refills)
}

fn costs(nanocredits: u64) -> Amounts {
    Amounts { requests: 1, tokens: 10, nanocredits, microjoules: 0 }
}

/// Asks for so many holds at once, spread over the replicas, and says how many were given.
async fn ask(replicas: &[(Arc<Admissions>, Refills)], key: &Arc<Key>, count: usize, most: Amounts) -> Vec<Hold> {
    let asking = (0..count).map(|at| {
        let (admissions, key) = (Arc::clone(&replicas[at % replicas.len()].0), Arc::clone(key));
        tokio::spawn(async move { admissions.hold(&key, most).await })
    });
    let asking: Vec<_> = asking.collect();
    let mut holds = Vec::new();
    for asked in asking {
        holds.extend(asked.await.unwrap().ok());
    }
    holds
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_request_that_runs_is_topped_up_as_long_as_there_is_a_smallest_step(database: PgPool) {
    let key = key(customer(&database, "a@example.com", 10_000).await, Limits::default());
    let (admissions, _refills) = replica(&database).await;
    let mut hold = admissions.hold(&key, costs(8_000)).await.unwrap();
    let steps = [4_000, 1_000, 300].map(|nanocredits| Amounts { nanocredits, ..Amounts::default() });
    let mut more = 0;
    for _ in 0..20 {
        match hold.top_up(&steps) {
            Some(step) => more += steps[step].nanocredits,
            None => admissions.refill(&admissions.account(key.account)).await,
        }
    }
    assert!((1_701..=2_000).contains(&more), "{more}");
    assert_eq!(hold.nanocredits().get(), 8_000 + more);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn credit_for_ten_serves_ten_on_one_replica_and_on_three(database: PgPool) {
    let key = key(customer(&database, "a@example.com", 10_000).await, Limits::default());
    for count in [1, 3] {
        let mut replicas = Vec::new();
        for _ in 0..count {
            replicas.push(replica(&database).await);
        }
        let holds = ask(&replicas, &key, 200, costs(1_000)).await;
        assert_eq!(holds.len(), 10, "on {count} replicas");
        drop(holds);
        for (replica, _) in &replicas {
            replica.replica.leave(&database).await.unwrap();
        }
    }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_limit_is_exact_over_three_replicas(database: PgPool) {
    let limits = Limits { concurrent_requests: Some(30), ..Limits::default() };
    let key = key(customer(&database, "a@example.com", 10_000).await, limits);
    let replicas = [replica(&database).await, replica(&database).await, replica(&database).await];
    let holds = ask(&replicas, &key, 300, costs(0)).await;
    assert_eq!(holds.len(), 30);
    drop(holds);
    assert!(!ask(&replicas, &key, 30, costs(0)).await.is_empty(), "what was held is free again");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn all_is_taken_or_nothing(database: PgPool) {
    let account = customer(&database, "a@example.com", 10_000).await;
    let limits = Limits { tokens_per_minute: Some(15), ..Limits::default() };
    let (limited, free) = (key(account, limits), key(account, Limits::default()));
    let replicas = [replica(&database).await];
    let first = ask(&replicas, &limited, 1, costs(1_000)).await;
    assert_eq!(first.len(), 1);
    let refusal = replicas[0].0.hold(&limited, costs(1_000)).await.err().unwrap();
    assert_eq!(refusal.error().status, 429);
    assert!(refusal.error().detail.message.contains("tokens_per_minute"), "{}", refusal.error().detail.message);
    assert_eq!(ask(&replicas, &free, 9, costs(1_000)).await.len(), 9, "the refused one holds no credit");
    let too_large = replicas[0].0.hold(&limited, Amounts { tokens: 16, ..costs(0) }).await.err().unwrap();
    assert!(matches!(too_large, Refusal::TooLarge { amount: 16, .. }), "{too_large:?}");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn nothing_left_is_told_from_nobody_knows(database: PgPool) {
    let key = key(customer(&database, "a@example.com", 100).await, Limits::default());
    let replicas = [replica(&database).await];
    let refusal = replicas[0].0.hold(&key, costs(101)).await.err().unwrap();
    assert_eq!((refusal.error().status, refusal.error().detail.code.as_deref()), (402, Some("insufficient_quota")));
    database.close().await;
    let unknown = replicas[0].0.hold(&key, costs(1)).await.err().unwrap();
    assert_eq!(unknown.error().status, 503);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_is_leased_is_spent_without_the_database(database: PgPool) {
    let limits = Limits { requests_per_minute: Some(1_000), ..Limits::default() };
    let key = key(customer(&database, "a@example.com", 1_000_000).await, limits);
    let (admissions, _refills) = replica(&database).await;
    let living = tokio::spawn({
        let (replica, database) = (Arc::clone(&admissions.replica), database.clone());
        async move { replica.keep_alive(&database, CancellationToken::new()).await }
    });
    for _second in 0..20 {
        admissions.hold(&key, costs(100)).await.unwrap().settle(&costs(100));
        let account = admissions.account(key.account);
        account.tick(false);
        admissions.refill(&account).await;
    }
    living.abort();
    database.close().await;
    let mut served = 0;
    let refusal = loop {
        match admissions.hold(&key, costs(100)).await {
            Ok(hold) => hold.settle(&costs(100)),
            Err(refusal) => break refusal,
        };
        served += 1;
    };
    assert!(matches!(refusal, Refusal::Away), "{refusal:?}");
    assert!(served >= 300, "a hundred a second were used, and so minutes of it are leased: {served}");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn the_dead_give_back_what_they_did_not_spend(database: PgPool) {
    let key = key(customer(&database, "a@example.com", 1_000).await, Limits::default());
    let (dead, _refills) = replica(&database).await;
    let hold = dead.hold(&key, costs(1_000)).await.unwrap();
    let living = [replica(&database).await];
    assert!(ask(&living, &key, 1, costs(1_000)).await.is_empty());
    hold.settle(&costs(400));
    let mut connection = database.acquire().await.unwrap();
    lease::spend_credit(&mut connection, dead.replica.id(), &[key.account], &[400]).await.unwrap();
    dead.replica.leave(&database).await.unwrap();
    // Its settlement took the 400 from the balance in the same transaction; here only the lease is looked at.
    assert_eq!(ask(&living, &key, 1, costs(600)).await.len(), 1);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_lies_unused_elsewhere_is_recalled(database: PgPool) {
    let key = key(customer(&database, "a@example.com", 1_000).await, Limits::default());
    let (hoarding, short) = (replica(&database).await.0, replica(&database).await.0);
    // Held once for all of it, and given back to the purse: the other replica finds nothing to lease.
    drop(hoarding.hold(&key, costs(1_000)).await.unwrap());
    let recalled = {
        let (hoarding, database, account) = (Arc::clone(&hoarding), database.clone(), key.account);
        tokio::spawn(async move {
            let mut feed = sqlx::postgres::PgListener::connect_with(&database).await.unwrap();
            feed.listen("changes").await.unwrap();
            feed.recv().await.unwrap();
            hoarding.bring_all_back(account).await;
        })
    };
    while !listening(&database).await {
        tokio::task::yield_now().await;
    }
    assert!(short.hold(&key, costs(1_000)).await.is_ok());
    recalled.await.unwrap();
    assert!(hoarding.hold(&key, costs(1)).await.is_err(), "it is all elsewhere now");
}

async fn listening(database: &PgPool) -> bool {
    sqlx::query_scalar!(
        r#"select exists (select 1 from pg_stat_activity where datname = current_database() and query ilike 'listen%') as "is!""#
    )
    .fetch_one(database)
    .await
    .unwrap()
}
