//! Payouts in a real database.

use futures_util::future::join_all;
use sqlx::PgPool;

use super::table::{Which, list, set_destination};
use super::*;
use crate::auth::user::somebody;
use crate::ledger::audit;
use crate::ledger::event::{Kind, NewEvent, Posting, post};
use crate::ledger::movement::move_credits;

/// Somebody who earns, an administrator, and the epochs that were closed.
struct World {
    database: PgPool,
    account: Uuid,
    admin: Uuid,
}

impl World {
    async fn new(database: PgPool) -> Self {
        let ((account, _), (_, admin)) = (somebody(&database).await, somebody(&database).await);
        Self { database, account, admin }
    }

    fn operator(&self) -> Account {
        Account::Operator(self.account)
    }

    async fn earns(&self, party: &Account, nanocredits: i64) {
        let lines = [(Account::External, -nanocredits), (party.clone(), nanocredits)];
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
        let mut transaction = self.database.begin().await.unwrap();
        post(&mut transaction, new, postings).await.unwrap();
        transaction.commit().await.unwrap();
    }

    /// Closes an epoch in which this is owed, with a minimum of 10 nanocredits. Says how many payouts were made.
    async fn close(&self, number: i32, closings: &[(&Account, i64)]) -> u64 {
        let mut transaction = self.database.begin().await.unwrap();
        sqlx::query!(
            "insert into epochs (number, first_index, end_index, began_at, ended_at, digest, differing)
             values ($1, 0, 0, now() - interval '1 hour', now(), $2, 0)",
            number,
            &[0; 32]
        )
        .execute(&mut *transaction)
        .await
        .unwrap();
        let closings: Vec<(String, i64)> = closings.iter().map(|(party, owed)| (party.to_string(), *owed)).collect();
        let made = owe(&mut transaction, number, &closings, Nanocredits::new(10)).await.unwrap();
        transaction.commit().await.unwrap();
        made
    }

    /// A payout of so much to the operator.
    async fn due(&self, number: i32, nanocredits: i64) -> Uuid {
        self.earns(&self.operator(), nanocredits).await;
        let owed = self.owed(&self.operator()).await;
        assert_eq!(self.close(number, &[(&self.operator(), owed)]).await, 1);
        self.all().await[0].id
    }

    /// What the ledger holds.
    async fn owed(&self, party: &Account) -> i64 {
        let balance = sqlx::query_scalar!("select nanocredits from balances where account = $1", party.to_string());
        balance.fetch_optional(&self.database).await.unwrap().unwrap_or(0)
    }

    async fn all(&self) -> Vec<Payout> {
        list(&self.database, &Which::default()).await.unwrap()
    }

    /// Epoch, amount and state of all payouts, the newest first.
    async fn figures(&self) -> Vec<(i32, i64, State)> {
        self.all().await.iter().map(|payout| (payout.epoch, payout.nanocredits, payout.state)).collect()
    }

    async fn change(&self, id: Uuid, to: &Change) -> Result<Payout, String> {
        change(&self.database, id, to, self.admin).await.map_err(|why| why.to_string())
    }

    async fn refusal(&self, id: Uuid, to: &Change) -> String {
        self.change(id, to).await.err().unwrap()
    }

    async fn adds_up(&self) {
        assert_eq!(audit::compare(&self.database).await.unwrap().to_string(), "the ledger adds up");
    }
}

fn pay(reference: &str) -> Change {
    Change::Pay { reference: reference.to_owned() }
}

fn hold(reason: &str) -> Change {
    Change::Hold { reason: reason.to_owned() }
}

fn cancel(reason: &str) -> Change {
    Change::Cancel { reason: reason.to_owned() }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_is_owed_from_the_minimum_on_becomes_due_once(database: PgPool) {
    let world = World::new(database).await;
    let (operator, poor) = (world.operator(), Account::Operator(world.admin));
    world.earns(&operator, 100).await;
    world.earns(&poor, 9).await;
    world.earns(&Account::Gateway, 100).await;
    let closings = [(&operator, 100), (&poor, 9), (&Account::Gateway, 100), (&Account::AuditFund, 100)];
    assert_eq!(world.close(1, &closings).await, 1);
    assert_eq!(world.figures().await, [(1, 100, State::Due)]);
    // The statement has not changed: nothing was paid.
    assert_eq!(world.close(2, &closings).await, 0, "it is on its way");
    world.earns(&operator, 30).await;
    world.earns(&poor, 1).await;
    assert_eq!(world.close(3, &[(&operator, 130), (&poor, 10)]).await, 2);
    let figures: Vec<_> = world.all().await.iter().map(|payout| (payout.party.clone(), payout.nanocredits)).collect();
    assert_eq!(figures, [(poor, 10), (operator.clone(), 30), (operator, 100)]);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn no_more_is_due_than_the_ledger_holds(database: PgPool) {
    let world = World::new(database).await;
    let operator = world.operator();
    world.earns(&operator, 100).await;
    assert_eq!(world.close(1, &[(&operator, 5_000)]).await, 1);
    assert_eq!(world.figures().await, [(1, 100, State::Due)]);
    assert_eq!(world.close(2, &[(&operator, 5_000)]).await, 0);
    let below_zero = [(&operator, -50), (&Account::Operator(world.admin), 50)];
    assert_eq!(world.close(3, &below_zero).await, 0, "nobody owes a payout, and what nobody has earned is none");
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_was_paid_after_an_epoch_s_end_is_not_owed_again_at_its_close(database: PgPool) {
    let world = World::new(database).await;
    let id = world.due(1, 100).await;
    let paid = world.change(id, &pay("r")).await.ok().unwrap();
    world.earns(&world.operator(), 70).await;
    // As the second epoch ended nothing was paid yet, and 30 were earned since the first.
    assert_eq!(world.close(2, &[(&world.operator(), 130)]).await, 1);
    assert_eq!(world.figures().await[0], (2, 30, State::Due));
    let event = sqlx::query!("insert into epoch_events (event_id, epoch) values ($1, 2)", paid.event);
    event.execute(&world.database).await.unwrap();
    assert_eq!(world.close(3, &[(&world.operator(), 70)]).await, 1);
    assert_eq!(world.figures().await[0], (3, 40, State::Due));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_an_author_earns_waits_for_a_claim_and_then_goes_out(database: PgPool) {
    let world = World::new(database).await;
    let author = Account::author("org/Ada").unwrap();
    world.earns(&author, 70).await;
    assert_eq!(world.close(1, &[(&author, 70)]).await, 0);
    crate::authors::table::assign(&world.database, "org/Ada", world.account, world.admin).await.unwrap();
    assert_eq!(world.close(2, &[(&author, 70)]).await, 1);
    let payout = world.all().await.remove(0);
    assert_eq!((payout.account, payout.nanocredits), (Some(world.account), 70));
    let mine = Which { account: Some(world.account), ..Which::default() };
    assert_eq!(list(&world.database, &mine).await.unwrap().len(), 1, "whoever claims it sees it");
    crate::authors::table::take_back(&world.database, "org/Ada").await.unwrap();
    assert!(world.refusal(payout.id, &pay("r")).await.contains("Nobody claims"));
    assert_eq!(list(&world.database, &mine).await.unwrap().len(), 0);
    world.change(payout.id, &cancel("unclaimed")).await.unwrap();
    assert_eq!(world.owed(&author).await, 70);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn paying_takes_it_off_the_ledger_once_and_keeps_where_it_went(database: PgPool) {
    let world = World::new(database).await;
    set_destination(&world.database, world.account, "somewhere", world.admin).await.unwrap();
    let id = world.due(1, 100).await;
    set_destination(&world.database, world.account, "DE00 1234", world.admin).await.unwrap();
    let change = pay("transfer 7");
    let at_once = join_all((0..10).map(|_| world.change(id, &change))).await;
    let first = at_once[0].as_ref().ok().unwrap();
    assert!(at_once.iter().all(|paid| paid.as_ref().ok() == Some(first)), "the same answer each time");
    assert_eq!((first.state, first.reference.as_deref()), (State::Paid, Some("transfer 7")));
    set_destination(&world.database, world.account, "elsewhere", world.admin).await.unwrap();
    let paid = world.all().await.remove(0);
    assert_eq!(paid.destination.as_deref(), Some("DE00 1234"));
    assert_eq!((world.owed(&world.operator()).await, world.owed(&Account::External).await), (0, 0));
    let event = sqlx::query!("select kind, idempotency_key, reason, created_by from events where id = $1", paid.event);
    let event = event.fetch_one(&world.database).await.unwrap();
    assert_eq!((event.kind.as_str(), event.idempotency_key), ("payout", format!("payout:{id}")));
    assert_eq!((event.reason.as_deref(), event.created_by), (Some("epoch 1: transfer 7"), Some(world.admin)));
    for change in [pay("another"), hold("r"), Change::Release, cancel("r")] {
        assert!(world.refusal(id, &change).await.contains("'transfer 7'"), "{change:?}");
    }
    world.adds_up().await;
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_is_disputed_is_held_and_what_is_cancelled_comes_again(database: PgPool) {
    let world = World::new(database).await;
    let id = world.due(1, 100).await;
    for reason in ["under review", "under review", "an appeal"] {
        let held = world.change(id, &hold(reason)).await.ok().unwrap();
        assert_eq!((held.state, held.reason.as_deref()), (State::Held, Some(reason)));
    }
    assert!(world.refusal(id, &pay("r")).await.contains("'an appeal'"));
    assert_eq!(world.close(2, &[(&world.operator(), 100)]).await, 0, "it is not paid by another way meanwhile");
    for _ in 0..2 {
        let due = world.change(id, &Change::Release).await.ok().unwrap();
        assert_eq!((due.state, due.reason), (State::Due, None));
    }
    for _ in 0..2 {
        world.change(id, &cancel("a lie")).await.ok().unwrap();
    }
    for change in [cancel("other"), hold("r"), Change::Release, pay("r")] {
        assert!(world.refusal(id, &change).await.contains("'a lie'"), "{change:?}");
    }
    assert_eq!(world.close(3, &[(&world.operator(), 100)]).await, 1);
    assert_eq!(world.figures().await, [(3, 100, State::Due), (1, 100, State::Cancelled)]);
    assert!(world.refusal(Uuid::now_v7(), &pay("r")).await.contains("no such payout"));
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_was_paid_by_hand_is_not_paid_again(database: PgPool) {
    let world = World::new(database).await;
    let id = world.due(1, 100).await;
    let order = Order { idempotency_key: "by hand", reason: "in cash", created_by: None };
    let by_hand = Movement::Payout(world.operator());
    move_credits(&world.database, &by_hand, Nanocredits::new(1), order).await.unwrap();
    let refused = world.refusal(id, &pay("r")).await;
    assert!(refused.contains("0.000000099 credits for operator:"), "{refused}");
    assert_eq!(world.figures().await, [(1, 100, State::Due)]);
    let events = sqlx::query_scalar!(r#"select count(*) as "count!" from events where kind = 'payout'"#);
    assert_eq!(events.fetch_one(&world.database).await.unwrap(), 1, "nothing of what was refused stays");
    world.adds_up().await;
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_table_is_taken_up_whole_or_not_at_all(database: PgPool) {
    let world = World::new(database).await;
    let (first, second) = (world.due(1, 100).await, world.due(2, 50).await);
    let line = |number, payout, reference: &str| csv::Line { number, payout, reference: reference.to_owned() };
    let told = async |lines: &[csv::Line]| pay_all(&world.database, lines, world.admin).await.unwrap();
    let lines = [line(2, second, "b"), line(3, first, "a")];
    let nobody = line(4, Uuid::now_v7(), "c");
    world.change(first, &hold("why")).await.ok().unwrap();
    let wrong = told(&[&lines[..], &[nobody]].concat()).await.unwrap_err();
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert!(wrong[0].starts_with("Line 3: This payout is held") && wrong[1].starts_with("Line 4: There is no such"));
    assert_eq!(world.owed(&world.operator()).await, 150);
    world.change(first, &Change::Release).await.ok().unwrap();
    assert_eq!(told(&lines).await, Ok(Told { paid: 2, paid_before: 0 }));
    assert_eq!(told(&lines).await, Ok(Told { paid: 0, paid_before: 2 }));
    assert_eq!(told(&[]).await, Ok(Told::default()));
    assert!(told(&[line(2, first, "other")]).await.unwrap_err()[0].contains("'a'"));
    assert_eq!(world.figures().await, [(2, 50, State::Paid), (1, 100, State::Paid)]);
    world.adds_up().await;
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn whoever_pays_many_and_whoever_pays_one_do_not_wait_in_a_circle(database: PgPool) {
    let world = World::new(database).await;
    let parties: Vec<Account> = (0..40).map(|_| Account::Operator(Uuid::now_v7())).collect();
    for party in &parties {
        world.earns(party, 20).await;
    }
    let closings: Vec<(&Account, i64)> = parties.iter().map(|party| (party, 20)).collect();
    assert_eq!(world.close(1, &closings).await, 40);
    let ids: Vec<Uuid> = world.all().await.iter().map(|payout| payout.id).collect();
    let line = |payout: &Uuid| csv::Line { number: 2, payout: *payout, reference: "r".to_owned() };
    let upwards: Vec<csv::Line> = ids.iter().map(line).collect();
    let downwards: Vec<csv::Line> = ids.iter().rev().map(line).collect();
    let many = join_all([&upwards, &downwards].map(|lines| pay_all(&world.database, lines, world.admin)));
    let change = pay("r");
    let single = join_all(ids.iter().map(|id| world.change(*id, &change)));
    let (many, single) = tokio::join!(many, single);
    let told: Vec<Told> = many.into_iter().map(|told| told.unwrap().unwrap()).collect();
    assert!(told.iter().all(|told| told.paid + told.paid_before == 40), "{told:?}");
    assert!(single.iter().all(Result::is_ok));
    assert_eq!(world.owed(&Account::External).await, 0);
    world.adds_up().await;
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn the_database_itself_keeps_what_is_paid(database: PgPool) {
    let world = World::new(database).await;
    let id = world.due(1, 100).await;
    let refused =
        async |change: &'static str| sqlx::raw_sql(change).execute(&world.database).await.unwrap_err().to_string();
    assert!(refused("update payouts set nanocredits = 1").await.contains("keeps its amount"));
    assert!(refused("delete from payouts").await.contains("payouts"));
    world.change(id, &pay("r")).await.ok().unwrap();
    assert!(refused("update payouts set state = 'due', reference = null, event_id = null").await.contains("stays so"));
}
