//! The audit finds what is planted, and nothing in a sound ledger.

use sqlx::PgPool;
use uuid::Uuid;

use super::super::account::Account;
use super::super::audit::{Differences, compare, rebuild_balances};
use super::{customer, settle};

/// Runs statements that only the owner can, with the ledger's guards away.
async fn plant(database: &PgPool, statement: &'static str) {
    for statement in [
        "alter table postings disable trigger user",
        "alter table events disable trigger user",
        statement,
        "alter table postings enable trigger user",
        "alter table events enable trigger user",
    ] {
        sqlx::raw_sql(statement).execute(database).await.unwrap();
    }
}

/// A customer of 1000 nanocredits who has paid 100 for one request and owes 20 for it.
async fn sound_ledger(database: &PgPool) -> Uuid {
    let account = customer(database, "a@example.com", 1000).await;
    let request = settle(database, account, 100, 20).await;
    sqlx::query!(
        "insert into requests (id, account_id, user_id, key_id, endpoint, model, streamed, outcome, status,
            prompt_tokens, cached_tokens, completion_tokens, nanocredits, microjoules, low_microjoules,
            high_microjoules, started_at, duration_microseconds)
         values ($1, $2, $2, $2, 'completions', 'm', false, 'completed', 200, 1, 0, 1, 120, 0, 0, 0, now(), 1)",
        request,
        account
    )
    .execute(database)
    .await
    .unwrap();
    account
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_sound_ledger_has_no_differences_and_its_balances_can_be_rebuilt(database: PgPool) {
    let account = sound_ledger(&database).await;
    assert_eq!(compare(&database).await.unwrap(), Differences::default());
    plant(
        &database,
        "update balances set nanocredits = nanocredits + 1; delete from balances where account = 'losses'",
    )
    .await;
    let found = compare(&database).await.unwrap();
    assert_eq!(found.balances.len(), 5, "{found}");
    assert_eq!(rebuild_balances(&database).await.unwrap(), 5);
    assert_eq!(compare(&database).await.unwrap(), Differences::default());
    let customer = Account::Customer(account).to_string();
    let rebuilt = sqlx::query_scalar!("select nanocredits from balances where account = $1", customer);
    assert_eq!(rebuilt.fetch_one(&database).await.unwrap(), 900);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_changed_posting_is_found(database: PgPool) {
    sound_ledger(&database).await;
    plant(&database, "update postings set nanocredits = nanocredits + 1 where account = 'losses'").await;
    let found = compare(&database).await.unwrap();
    let counts = (found.balances.len(), found.total.len(), found.events.len(), found.requests.len());
    assert_eq!(counts, (1, 1, 1, 1), "{found}");
    assert!(found.to_string().contains("all postings together are 1, not 0"), "{found}");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn an_event_without_postings_and_a_request_without_its_settlement_are_found(database: PgPool) {
    sound_ledger(&database).await;
    plant(
        &database,
        "delete from postings where event_id in (select id from events where kind = 'settlement');
         delete from balances; insert into balances select account, sum(nanocredits) from postings group by account",
    )
    .await;
    let found = compare(&database).await.unwrap();
    let counts = (found.balances.len(), found.total.len(), found.events.len(), found.requests.len());
    assert_eq!(counts, (0, 0, 1, 1), "{found}");
    assert!(found.requests[0].contains("cost 120, and was settled 0 times"), "{found}");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_request_that_was_charged_otherwise_is_found(database: PgPool) {
    let account = sound_ledger(&database).await;
    for wrong in [
        "update requests set nanocredits = 119",
        "update requests set nanocredits = 0",
        "update requests set nanocredits = 120, account_id = user_id, id = gen_random_uuid()",
    ] {
        sqlx::raw_sql(wrong).execute(&database).await.unwrap();
        assert_eq!(compare(&database).await.unwrap().requests.len(), 1, "{wrong}");
    }
    sqlx::query!(
        "update requests set id = (select request_id from events where kind = 'settlement'), account_id = $1",
        Uuid::nil()
    )
    .execute(&database)
    .await
    .unwrap();
    let found = compare(&database).await.unwrap();
    assert!(found.requests.len() == 1 && found.requests[0].contains(&format!("from customer:{account}")), "{found}");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_request_that_was_settled_twice_is_found(database: PgPool) {
    sound_ledger(&database).await;
    plant(
        &database,
        "insert into events (id, kind, idempotency_key, request_id, split_version)
             select gen_random_uuid(), kind, 'again', request_id, split_version from events where kind = 'settlement';
         insert into postings (event_id, seq, account, nanocredits)
             select e.id, line.seq, line.account, line.nanocredits from events e,
                 (values (1, 'losses', -5), (2, 'gateway', 5)) as line (seq, account, nanocredits)
             where e.idempotency_key = 'again';
         insert into balances values ('gateway', 5);
         update balances set nanocredits = nanocredits - 5 where account = 'losses'",
    )
    .await;
    let found = compare(&database).await.unwrap();
    assert!(found.requests.len() == 1 && found.requests[0].contains("settled 2 times with 125"), "{found}");
    assert!(found.balances.is_empty() && found.events.is_empty(), "{found}");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn leases_beyond_the_balance_are_found(database: PgPool) {
    let account = sound_ledger(&database).await;
    let lease = async |nanocredits: i64| {
        sqlx::query!(
            "with replica as (insert into replicas (id, version) values ($1, '1'))
             insert into credit_leases values ($1, $2, $3)",
            Uuid::now_v7(),
            account,
            nanocredits
        )
        .execute(&database)
        .await
        .unwrap();
        compare(&database).await.unwrap()
    };
    assert!(lease(900).await.is_empty());
    let found = lease(1).await;
    assert!(found.leases.len() == 1 && found.leases[0].contains("hold 901"), "{found}");
}
