//! The ledger against a real Postgres: repetition, contention, and what the database refuses by itself.

mod differences;

mod sequences;

use std::collections::BTreeMap;

use futures_util::future::join_all;
use openapi::units::Nanocredits;
use sqlx::PgPool;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::account::Account;
use super::audit;
use super::event::{Kind, NewEvent, Posted, Posting, Refused, post};
use super::movement::{Against, Direction, Movement, Order, move_credits};
use super::statement::{self, Part};
use crate::auth::user::{self, NewUser};

/// A new account with this many nanocredits.
pub(crate) async fn customer(database: &PgPool, email: &str, nanocredits: u64) -> Uuid {
    let new = NewUser { email, name: "A", password_hash: "-", is_admin: false };
    let id = user::create(database, new).await.unwrap().unwrap();
    let account = user::find(database, id).await.unwrap().unwrap().account_id;
    if nanocredits > 0 {
        ask(database, &Movement::TopUp(account), nanocredits, email).await.unwrap();
    }
    account
}

/// A settled request of an account: what was paid goes to the account's own node, and to an author if there are two of it.
async fn settle(database: &PgPool, account: Uuid, paid: i64, lost: i64) -> Uuid {
    let request = Uuid::now_v7();
    let author = Account::author("A").unwrap();
    let lines = [
        (Account::Customer(account), -paid),
        (Account::Losses, -lost),
        (Account::Operator(account), paid + lost - 1),
        (author, 1),
    ];
    let postings = lines.into_iter().filter(|line| line.1 != 0);
    let postings = postings.map(|(account, nanocredits)| Posting { account, nanocredits }).collect();
    let mut transaction = database.begin().await.unwrap();
    let key = request.to_string();
    let new = NewEvent {
        kind: Kind::Settlement,
        idempotency_key: &key,
        request: Some(request),
        split_version: Some(1),
        reason: None,
        created_by: None,
    };
    post(&mut transaction, new, postings).await.unwrap();
    transaction.commit().await.unwrap();
    request
}

async fn ask(database: &PgPool, movement: &Movement, nanocredits: u64, key: &str) -> Result<Posted, Refused> {
    let order = Order { idempotency_key: key, reason: "test", created_by: None };
    move_credits(database, movement, Nanocredits::new(nanocredits), order).await
}

async fn balances(database: &PgPool) -> BTreeMap<String, i128> {
    let rows = sqlx::query!("select account, nanocredits from balances").fetch_all(database).await.unwrap();
    rows.into_iter().map(|row| (row.account, i128::from(row.nanocredits))).collect()
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn twenty_at_once_with_one_key_post_once(database: PgPool) {
    let account = customer(&database, "a@example.com", 100).await;
    // All of it: a second one would find nothing.
    let take = Movement::Adjustment { account, against: Against::Losses, direction: Direction::Take };
    let all = join_all((0..20).map(|_| ask(&database, &take, 100, "once"))).await;
    let ids: Vec<(bool, Uuid)> = all
        .into_iter()
        .map(|posted| match posted.unwrap() {
            Posted::Now(event) => (true, event.id),
            Posted::Before(event) => (false, event.id),
        })
        .collect();
    assert_eq!(ids.iter().filter(|(new, _)| *new).count(), 1);
    assert!(ids.iter().all(|(_, id)| *id == ids[0].1));
    assert_eq!(balances(&database).await[&Account::Customer(account).to_string()], 0);
    assert!(audit::compare(&database).await.unwrap().is_empty());
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn twenty_at_once_with_own_keys_take_no_more_than_there_is(database: PgPool) {
    let account = customer(&database, "a@example.com", 100).await;
    let request = settle(&database, account, 50, 0).await;
    let take = Movement::Adjustment { account, against: Against::Gateway, direction: Direction::Take };
    let refund = Movement::Refund { account, request };
    let payout = Movement::Payout(Account::Operator(account));
    for (movement, possible) in [(take, 5), (refund, 5), (payout, 4)] {
        let keys: Vec<String> = (0..20).map(|_| Uuid::now_v7().to_string()).collect();
        let all = join_all(keys.iter().map(|key| ask(&database, &movement, 10, key))).await;
        let refused = all.iter().filter(|result| matches!(result, Err(Refused::NotEnough { .. }))).count();
        let posted = all.iter().filter(|result| matches!(result, Ok(Posted::Now(_)))).count();
        assert_eq!((posted, refused), (possible, 20 - possible), "{movement:?} {all:?}");
    }
    assert!(audit::compare(&database).await.unwrap().is_empty());
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn what_replicas_hold_is_not_taken(database: PgPool) {
    let account = customer(&database, "a@example.com", 800).await;
    let replica = Uuid::now_v7();
    sqlx::query!("insert into replicas (id, version) values ($1, '1')", replica).execute(&database).await.unwrap();
    sqlx::query!("select lease_credit($1, $2, 1, 100, 100)", replica, account).fetch_one(&database).await.unwrap();
    let take = Movement::Adjustment { account, against: Against::Gateway, direction: Direction::Take };
    let refused = ask(&database, &take, 701, "too much").await.unwrap_err();
    assert_eq!(refused.to_string(), "There are not enough credits: at most 0.0000007 can be taken.");
    ask(&database, &take, 700, "just enough").await.unwrap();
    let balance = statement::balance(&database, account).await.unwrap().unwrap();
    assert_eq!((balance.customer, balance.leased, balance.operator), (100, 100, 0));
    let stranger = ask(&database, &Movement::Grant(Uuid::now_v7()), 1, "nobody").await;
    assert!(matches!(stranger, Err(Refused::NoAccount(_))));
    assert_eq!(statement::balance(&database, Uuid::now_v7()).await.unwrap(), None);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn a_statement_has_every_line_once_newest_first(database: PgPool) {
    let account = customer(&database, "a@example.com", 1000).await;
    let other = customer(&database, "b@example.com", 1000).await;
    settle(&database, other, 5, 0).await;
    for _ in 0..4 {
        settle(&database, account, 10, 0).await;
    }
    let part = |before, limit| Part { from: None, to: None, before, limit };
    let whole = statement::lines(&database, account, part(None, 100)).await.unwrap();
    let amounts: Vec<i64> = whole.iter().map(|line| line.nanocredits).collect();
    assert_eq!(amounts, [9, -10, 9, -10, 9, -10, 9, -10, 1000], "as operator and as customer, of the same requests");
    assert!(whole.is_sorted_by_key(|line| std::cmp::Reverse(line.event)));
    // Pages of an odd size end between two lines of one event.
    let mut paged = Vec::new();
    loop {
        let before = paged.last().map(|last: &statement::Line| last.cursor().to_string().parse().unwrap());
        let page = statement::lines(&database, account, part(before, 3)).await.unwrap();
        paged.extend(page.clone());
        if page.len() < 3 {
            break;
        }
    }
    assert_eq!(paged, whole);
    let now = OffsetDateTime::now_utc();
    for (from, to, lines) in [(-60, 60, 9), (60, 120, 0), (-120, -60, 0)] {
        let [from, to] = [from, to].map(|seconds| Some(now + Duration::seconds(seconds)));
        let span = Part { from, to, before: None, limit: 100 };
        assert_eq!(statement::lines(&database, account, span).await.unwrap().len(), lines);
    }
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn nobody_changes_what_was_posted(database: PgPool) {
    let account = customer(&database, "a@example.com", 1000).await;
    settle(&database, account, 10, 0).await;
    for table in ["events", "postings", "splits"] {
        for change in ["delete from {}", "truncate {} cascade", "update {} set {}"] {
            let column = match table {
                "events" => "reason = 'x'",
                "postings" => "nanocredits = 1",
                _ => "operator_ppm = 0",
            };
            let change = change.replacen("{}", table, 1).replacen("{}", column, 1);
            for (role, reason) in [("none", "append-only"), ("commonwatt_service", "permission denied")] {
                let mut connection = database.begin().await.unwrap();
                sqlx::raw_sql(sqlx::AssertSqlSafe(format!("set local role {role}")))
                    .execute(&mut *connection)
                    .await
                    .unwrap();
                let refused = sqlx::raw_sql(sqlx::AssertSqlSafe(change.clone())).execute(&mut *connection).await;
                let refused = refused.unwrap_err().to_string();
                assert!(refused.contains(reason), "{change} as {role}: {refused}");
            }
        }
    }
    assert!(audit::compare(&database).await.unwrap().is_empty());
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn the_service_s_role_may_post(database: PgPool) {
    let account = customer(&database, "a@example.com", 0).await;
    let mut transaction = database.begin().await.unwrap();
    sqlx::raw_sql("set local role commonwatt_service").execute(&mut *transaction).await.unwrap();
    let lines = [(Account::External, -5), (Account::Customer(account), 5)];
    let postings = lines.map(|(account, nanocredits)| Posting { account, nanocredits }).to_vec();
    let new = NewEvent {
        kind: Kind::TopUp,
        idempotency_key: "k",
        request: None,
        split_version: None,
        reason: None,
        created_by: None,
    };
    post(&mut transaction, new, postings).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(balances(&database).await[&Account::Customer(account).to_string()], 5);
}

#[sqlx::test(migrator = "crate::MIGRATOR")]
async fn the_database_itself_refuses_what_does_not_add_up_and_what_is_overdrawn(database: PgPool) {
    let account = customer(&database, "a@example.com", 10).await;
    let posted = async |id: Uuid, lines: &[(&str, i64)]| {
        let (accounts, amounts): (Vec<String>, Vec<i64>) =
            lines.iter().map(|(name, by)| ((*name).to_owned(), *by)).unzip();
        sqlx::query!(
            "insert into postings select $1, seq, account, nanocredits
             from unnest($2::text[], $3::bigint[]) with ordinality as line (account, nanocredits, seq)",
            id,
            &accounts,
            &amounts
        )
        .execute(&database)
        .await
    };
    let lines = async |lines: &[(&str, i64)]| {
        let id = Uuid::now_v7();
        sqlx::query!("insert into events (id, kind, idempotency_key) values ($1, 'grant', $2)", id, id.to_string())
            .execute(&database)
            .await
            .unwrap();
        posted(id, lines).await.map(drop)
    };
    let customer = Account::Customer(account).to_string();
    let refusal = |refused: Result<(), sqlx::Error>| refused.unwrap_err().to_string();
    assert!(refusal(lines(&[("gateway", -5), (&customer, 6)]).await).contains("do not add up to zero"));
    assert!(refusal(lines(&[(&customer, -11), ("gateway", 11)]).await).contains("customers_are_never_overdrawn"));
    assert!(refusal(lines(&[("nobody", -1), ("gateway", 1)]).await).contains("postings_account_check"));
    let of_no_event = posted(Uuid::now_v7(), &[(&customer, -1), ("gateway", 1)]).await.map(drop);
    assert!(refusal(of_no_event).contains("there is no event"));
    lines(&[(&customer, -10), ("gateway", 10)]).await.unwrap();
    let unbalanced = vec![Posting { account: Account::Gateway, nanocredits: 1 }];
    let new = NewEvent {
        kind: Kind::Grant,
        idempotency_key: "k",
        request: None,
        split_version: None,
        reason: None,
        created_by: None,
    };
    let refused = post(&mut database.acquire().await.unwrap(), new, unbalanced).await;
    assert!(matches!(refused, Err(Refused::Unbalanced)));
}
