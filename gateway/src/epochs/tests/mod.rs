//! Epochs over a real Postgres: what they give everybody, that they come out the same again, and what is not believed.

pub(crate) mod world;

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use fastrand::Rng;
use openapi::log::entry::Kind;
use openapi::statement::{ClosedEpoch, Statement};
use openapi::units::Nanocredits;
use sqlx::PgPool;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::close::{self, Failed};
use super::{Epochs, Figures, over_at, table};
use crate::ledger::account::Account;
use crate::ledger::event::{NewEvent, Posting, post};
use crate::ledger::movement::{Movement, Order, move_credits};
use crate::ledger::{audit, event};
use crate::payouts;
use crate::payouts::table::Which;
use world::World;

/// Everybody who shares the income, by the ledger.
async fn balances(database: &PgPool) -> BTreeMap<String, i64> {
    let rows = sqlx::query!(
        "select account, nanocredits from balances where account !~ '^(customer:|losses$|external$)' and nanocredits <> 0"
    );
    rows.fetch_all(database).await.unwrap().into_iter().map(|row| (row.account, row.nanocredits)).collect()
}

const MINIMUM_PAYOUT: Nanocredits = Nanocredits::new(1_000);

async fn close_at(world: &World, at: OffsetDateTime) -> Result<Option<u32>, Failed> {
    Epochs::new(0, MINIMUM_PAYOUT).close(&world.database, &world.log, at).await
}

async fn close_now(world: &World) -> u32 {
    close_at(world, OffsetDateTime::now_utc()).await.unwrap().unwrap()
}

async fn documents(world: &World, number: u32) -> (ClosedEpoch, Vec<Statement>) {
    let rows = table::with_documents(&world.database, Some(number + 1), 1).await.unwrap();
    let closed: ClosedEpoch = serde_json::from_str(&rows[0].1).unwrap();
    let mut statements = Vec::new();
    for party in closed.statements.keys() {
        let epoch = i32::try_from(number).unwrap();
        let text = table::statement(&world.database, epoch, party).await.unwrap().unwrap();
        statements.push(serde_json::from_str(&text).unwrap());
    }
    (closed, statements)
}

fn closings(statements: &[Statement]) -> BTreeMap<String, i64> {
    let closing = |statement: &Statement| (statement.party.clone(), statement.closing);
    statements.iter().map(closing).filter(|(_, closing)| *closing != 0).collect()
}

async fn pay_out(world: &World, account: Account, nanocredits: u64) {
    let order = Order { idempotency_key: &account.to_string(), reason: "by hand", created_by: None };
    move_credits(&world.database, &Movement::Payout(account), Nanocredits::new(nanocredits), order).await.unwrap();
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn everybody_is_owed_what_the_ledger_has_for_them_and_the_next_epoch_goes_on_from_there(database: PgPool) {
    let (world, mut random) = (World::new(database).await, Rng::with_seed(7));
    let asked = world.ask(300, &mut random);
    world.serve(&asked).await;
    assert_eq!(close_now(&world).await, 1);
    let (first, statements) = documents(&world, 1).await;
    assert_eq!(closings(&statements), balances(&world.database).await);
    assert!(statements.iter().all(|statement| statement.check().is_ok() && statement.opening == 0));
    assert_eq!(statements.len(), 7, "two operators, three authors, the gateway and the fund");
    let taken: i64 = sqlx::query_scalar!(r#"select sum(microjoules)::bigint as "sum!" from request_energy"#)
        .fetch_one(&world.database)
        .await
        .unwrap();
    assert_eq!((first.totals.receipts, first.totals.microjoules.to_bigint()), (300, taken));
    let site: i64 = sqlx::query_scalar!(r#"select sum(facility_microjoules)::bigint as "sum!" from request_energy"#)
        .fetch_one(&world.database)
        .await
        .unwrap();
    assert_eq!(first.totals.facility_microjoules.to_bigint(), site);
    let owed: i64 = closings(&statements).values().sum();
    assert_eq!((first.totals.income.to_bigint(), first.totals.paid_out), (owed, Nanocredits::ZERO));

    let due = payouts::table::list(&world.database, &Which::default()).await.unwrap();
    let due: BTreeMap<String, i64> =
        due.into_iter().map(|payout| (payout.party.to_string(), payout.nanocredits)).collect();
    let mut operators = closings(&statements);
    operators.retain(|party, _| party.starts_with("operator:"));
    assert_eq!(due, operators, "nobody has claimed what authors earn");

    pay_out(&world, Account::Operator(world.operators[0]), 1_000).await;
    pay_out(&world, Account::Author("Ada".to_owned()), 7).await;
    world.serve(&world.ask(50, &mut random)).await;
    assert_eq!(close_now(&world).await, 2);
    let (second, statements) = documents(&world, 2).await;
    assert_eq!((second.totals.receipts, second.totals.paid_out.get()), (50, 1_007));
    assert_eq!((second.epoch.first_index, second.epoch.began_at), (first.epoch.end_index, first.epoch.ended_at));
    assert_eq!(closings(&statements), balances(&world.database).await);
    let of_first: BTreeMap<String, i64> =
        statements.iter().map(|statement| (statement.party.clone(), statement.opening)).collect();
    assert_eq!(of_first, closings(&documents(&world, 1).await.1));
    assert!(table::list(&world.database, None).await.unwrap().iter().all(|epoch| epoch.differing == 0));
    assert!(audit::compare(&world.database).await.unwrap().is_empty());
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_closed_epoch_comes_out_the_same_again_and_its_documents_are_logged(database: PgPool) {
    let (world, mut random) = (World::new(database).await, Rng::with_seed(8));
    for _ in 0..2 {
        world.serve(&world.ask(40, &mut random)).await;
        pay_out(&world, Account::Operator(world.operators[1]), 1).await;
        close_now(&world).await;
    }
    world.serve(&world.ask(10, &mut random)).await;
    for number in [1, 2] {
        let closed = close::again(&world.database, &world.log, number).await.unwrap().closed;
        assert_eq!(table::others(&world.database, &closed).await.unwrap(), Vec::<String>::new());
        let logged = sqlx::query_scalar!(
            r#"select count(*) as "count!" from log_leaves where kind in ($1, $2) and leaf_hash = any($3)"#,
            Kind::Statement.word(),
            Kind::Epoch.word(),
            &closed.statements.iter().map(leaf).chain([leaf_of_epoch(&closed.epoch)]).collect::<Vec<_>>()
        );
        let logged = logged.fetch_one(&world.database).await.unwrap();
        assert_eq!(logged, closed.statements.len() as i64 + 1);
    }
    assert!(matches!(close::again(&world.database, &world.log, 3).await, Err(Failed::NoEpoch(3))));
}

fn leaf(statement: &Statement) -> Vec<u8> {
    leaf_of(Kind::Statement, &statement.to_document())
}

fn leaf_of_epoch(epoch: &ClosedEpoch) -> Vec<u8> {
    leaf_of(Kind::Epoch, &epoch.to_document())
}

fn leaf_of(kind: Kind, document: &str) -> Vec<u8> {
    crate::log::Entry::of(kind, document.as_bytes()).leaf().0.to_vec()
}

/// As everybody reads it at `/log/epochs`.
#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn epochs_are_listed_with_their_documents(database: PgPool) {
    let world = World::new(database).await;
    world.serve(&world.ask(3, &mut Rng::with_seed(14))).await;
    for _ in 0..3 {
        close_now(&world).await;
    }
    let numbers = async |before| {
        let rows = table::list(&world.database, before).await.unwrap();
        rows.iter().map(|row| row.number).collect::<Vec<_>>()
    };
    assert_eq!((numbers(None).await, numbers(Some(3)).await), (vec![3, 2, 1], vec![2, 1]));
    let row = table::list(&world.database, Some(2)).await.unwrap().remove(0);
    let (closed, _) = documents(&world, 1).await;
    let json = row.to_json();
    assert_eq!(json["document"], HEXLOWER.encode(&row.digest));
    assert_eq!(crate::log::Entry::of(Kind::Epoch, closed.to_document().as_bytes()).hash.as_slice(), row.digest);
    assert_eq!((json["number"].as_u64(), json["end_index"].as_u64()), (Some(1), Some(closed.epoch.end_index)));
    assert_eq!(row.epoch(), closed.epoch);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn of_two_replicas_one_closes(database: PgPool) {
    let world = World::new(database).await;
    world.serve(&world.ask(20, &mut Rng::with_seed(9))).await;
    let at = OffsetDateTime::now_utc();
    let both = tokio::join!(close_at(&world, at), close_at(&world, at));
    let closed: Vec<u32> = [both.0, both.1].into_iter().filter_map(Result::unwrap).collect();
    assert_eq!((closed, close_at(&world, at).await.unwrap()), (vec![1], None));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn an_empty_log_has_nothing_to_close(database: PgPool) {
    let world = World::new(database).await;
    let at = OffsetDateTime::now_utc();
    assert!(matches!(close_at(&world, at).await, Err(Failed::Empty)));
    let epochs = Epochs::new(1, MINIMUM_PAYOUT);
    epochs.look(&world.database, &world.log, at).await.unwrap();
    assert_eq!(epochs.figures().overdue, std::time::Duration::ZERO);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_was_settled_before_there_were_receipts_is_what_the_first_epoch_opens_with(database: PgPool) {
    let (world, mut random) = (World::new(database).await, Rng::with_seed(10));
    world.settle(&world.ask(20, &mut random)).await;
    let before = balances(&world.database).await;
    world.serve(&world.ask(20, &mut random)).await;
    close_now(&world).await;
    let (closed, statements) = documents(&world, 1).await;
    let opening: BTreeMap<String, i64> =
        statements.iter().map(|statement| (statement.party.clone(), statement.opening)).collect();
    assert!(before.iter().all(|(party, owed)| opening[party] == *owed) && !before.is_empty());
    assert_eq!((closings(&statements), closed.totals.receipts), (balances(&world.database).await, 20));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn an_event_that_commits_after_the_end_is_in_the_next_epoch(database: PgPool) {
    let world = World::new(database).await;
    world.serve(&world.ask(20, &mut Rng::with_seed(11))).await;
    let mut late = world.database.begin().await.unwrap();
    let (gateway, payer) = (Account::Gateway, Account::Customer(world.operators[0]));
    let lines = [(gateway, -5), (payer, 5)];
    let postings = lines.map(|(account, nanocredits)| Posting { account, nanocredits }).to_vec();
    let kind = event::Kind::Grant;
    let new =
        NewEvent { kind, idempotency_key: "late", request: None, split_version: None, reason: None, created_by: None };
    post(&mut late, new, postings).await.unwrap();
    close_now(&world).await;
    late.commit().await.unwrap();
    close_now(&world).await;
    let moved = async |number| {
        let (_, statements) = documents(&world, number).await;
        let gateway = statements.into_iter().find(|statement| statement.party == "gateway").unwrap();
        gateway.movements.iter().map(|movement| movement.nanocredits).collect::<Vec<_>>()
    };
    assert_eq!((moved(1).await, moved(2).await), (vec![], vec![-5]));
    assert_eq!(closings(&documents(&world, 2).await.1), balances(&world.database).await);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_the_ledger_settled_otherwise_than_receipts_say_is_found_out(database: PgPool) {
    let world = World::new(database).await;
    world.serve_for(&world.ask(5, &mut Rng::with_seed(12)), "Somebody else").await;
    close_now(&world).await;
    let newest = table::list(&world.database, None).await.unwrap().remove(0);
    assert!(newest.differing > 0);
    let made = close::again(&world.database, &world.log, 1).await.unwrap();
    assert_eq!(made.differing, newest.differing);
    let told = audit::compare(&world.database).await.unwrap().epochs;
    assert_eq!(told, [format!("in epoch 1 receipts and settlements differ by {}", newest.differing)]);
    let epochs = Epochs::new(168, MINIMUM_PAYOUT);
    epochs.look(&world.database, &world.log, OffsetDateTime::now_utc()).await.unwrap();
    assert_eq!(epochs.figures(), Figures { overdue: std::time::Duration::ZERO, differing: newest.differing });
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn rows_that_are_not_what_was_signed_make_no_statement(database: PgPool) {
    let world = World::new(database).await;
    world.serve(&world.ask(20, &mut Rng::with_seed(13))).await;
    let close = || close_at(&world, OffsetDateTime::now_utc());
    let by_force = async |change: &'static str| {
        let mut owner = world.database.begin().await.unwrap();
        sqlx::query!("set local session_replication_role = replica").execute(&mut *owner).await.unwrap();
        assert_eq!(sqlx::raw_sql(change).execute(&mut *owner).await.unwrap().rows_affected(), 1);
        owner.commit().await.unwrap();
    };
    by_force("update receipts set receipt = receipt || 'x' where ctid = (select min(ctid) from receipts)").await;
    assert!(matches!(close().await, Err(Failed::NoReceipt(_))));
    by_force("update receipts set digest = sha256(receipt::bytea) where receipt like '%x'").await;
    assert!(matches!(close().await, Err(Failed::Gone(_))));
    let entry =
        "update log_leaves set entry = (select ('receipt sha256:' || encode(digest, 'hex'))::bytea from receipts
        where receipt like '%x') where index = (select max(index) from log_leaves)";
    by_force(entry).await;
    assert!(matches!(close().await, Err(Failed::Log(_) | Failed::Gone(_))));
    by_force("delete from log_leaves where index = (select max(index) from log_leaves)").await;
    assert!(matches!(close().await, Err(Failed::Log(_))));
    let epochs = Epochs::new(1, MINIMUM_PAYOUT);
    let later = over_at(OffsetDateTime::now_utc(), 1) + Duration::HOUR + Duration::SECOND * 90;
    assert!(epochs.look(&world.database, &world.log, later).await.is_err());
    assert_eq!(epochs.figures().overdue.as_secs(), 90);
    assert_eq!(table::list(&world.database, None).await.unwrap(), []);
}

#[test]
fn a_week_ends_on_monday_at_midnight() {
    let monday = datetime!(2026-11-23 00:00 UTC);
    for now in [monday, monday + Duration::HOUR, monday + Duration::DAY * 7 - Duration::SECOND] {
        assert_eq!(over_at(now, 168), monday, "{now}");
    }
    assert_eq!(over_at(monday - Duration::SECOND, 168), monday - Duration::DAY * 7);
    assert_eq!(over_at(datetime!(2026-11-26 15:59:59 UTC), 1), datetime!(2026-11-26 15:00 UTC));
    assert_eq!(over_at(datetime!(1970-01-01 00:00 UTC), 168), datetime!(1969-12-29 00:00 UTC));
}
