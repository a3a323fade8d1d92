//! Settlements: what a request cost goes from its account to those who earned it, in the transaction that writes its row.
//!
//! The customer pays from what this replica has leased. Should that lease be lost (the replica was dead for longer than a
//! lease lives, and the credit is spent elsewhere), the gateway bears the rest from `losses`: nobody is overdrawn, and
//! whoever computed is paid in full.

use std::collections::{BTreeMap, HashMap, HashSet};

use openapi::units::Nanocredits;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::account::Account;
use super::split::{self, SplitVersion};
use crate::admission::lease;
use crate::nodes::enrol;

/// What a request owes.
#[derive(Clone, Debug)]
pub struct Due<'a> {
    pub request: Uuid,
    /// In whose name. Of all that bear the same one, the first is settled.
    pub billed_as: Uuid,
    pub account: Uuid,
    /// Whose operator earns.
    pub node: Uuid,
    pub authors: &'a [String],
    pub cost: Nanocredits,
    /// Decides which split counts, of those that are in the log.
    pub at: OffsetDateTime,
}

/// What an account can pay.
#[derive(Clone, Copy, Debug, Default)]
struct Funds {
    /// Leased by this replica.
    leased: i64,
    /// Beyond all leases.
    free: i64,
}

/// One settlement.
struct Event<'a> {
    id: Uuid,
    due: &'a Due<'a>,
    split: &'a SplitVersion,
}

/// Settles a batch. Requests that cost nothing leave no event. Returns those that were settled before under another
/// request of the same name.
///
/// # Errors
/// When the database fails; the caller's transaction is then void.
pub async fn settle(connection: &mut PgConnection, replica: Uuid, dues: &[Due<'_>]) -> Result<Vec<Uuid>, sqlx::Error> {
    let dues: Vec<&Due<'_>> = dues.iter().filter(|due| due.cost > Nanocredits::ZERO).collect();
    if dues.is_empty() {
        return Ok(Vec::new());
    }
    let splits = split::list(&mut *connection).await?;
    let event =
        |due| Ok(Event { id: Uuid::now_v7(), due, split: split::of(&splits, due.at).ok_or(sqlx::Error::RowNotFound)? });
    let mut events = dues.into_iter().map(event).collect::<Result<Vec<_>, sqlx::Error>>()?;
    let settled_before = insert_events(connection, &mut events).await?;
    post(connection, replica, &events).await?;
    Ok(settled_before)
}

/// Posts who pays and who earns.
async fn post(connection: &mut PgConnection, replica: Uuid, events: &[Event<'_>]) -> Result<(), sqlx::Error> {
    let mut funds = lock_funds(connection, replica, events).await?;
    let nodes: Vec<Uuid> = events.iter().map(|event| event.due.node).collect();
    let operators = enrol::operators(connection, &nodes).await?;
    let mut spent: BTreeMap<Uuid, i64> = BTreeMap::new();
    let mut lines = Vec::with_capacity(events.len());
    for Event { id, due, split } in events {
        let funds = funds.entry(due.account).or_default();
        let from_lease = due.cost.to_bigint().min(funds.leased);
        let from_free = (due.cost.to_bigint() - from_lease).min(funds.free);
        funds.leased -= from_lease;
        funds.free -= from_free;
        *spent.entry(due.account).or_default() += from_lease;
        let operator = operators.get(&due.node).copied();
        lines.push((*id, postings(due, from_lease + from_free, operator, split)));
    }
    let (accounts, amounts): (Vec<Uuid>, Vec<i64>) = spent.into_iter().filter(|(_, amount)| *amount > 0).unzip();
    lease::spend_credit(connection, replica, &accounts, &amounts).await?;
    insert_postings(connection, &lines).await
}

/// The postings of one settlement, without the ones of nothing.
fn postings(due: &Due<'_>, paid: i64, operator: Option<Uuid>, split: &SplitVersion) -> Vec<(Account, i64)> {
    let authors: Vec<Account> = due.authors.iter().filter_map(|name| Account::author(name)).collect();
    let shares = split.split.divide(due.cost, authors.len());
    let mut postings = vec![
        (Account::Customer(due.account), -paid),
        (Account::Losses, paid - due.cost.to_bigint()),
        // A node whose operator is gone leaves its share here.
        (operator.map_or(Account::Gateway, Account::Operator), shares.operator.to_bigint()),
    ];
    postings.extend(authors.into_iter().zip(shares.authors.iter().map(|share| share.to_bigint())));
    postings
        .extend([(Account::Gateway, shares.gateway.to_bigint()), (Account::AuditFund, shares.audit_fund.to_bigint())]);
    postings.retain(|(_, amount)| *amount != 0);
    postings
}

/// Locks the balances of all who pay, in one order everywhere, and reads what they can pay.
async fn lock_funds(
    connection: &mut PgConnection,
    replica: Uuid,
    events: &[Event<'_>],
) -> Result<HashMap<Uuid, Funds>, sqlx::Error> {
    let mut accounts: Vec<Uuid> = events.iter().map(|event| event.due.account).collect();
    accounts.sort_unstable();
    accounts.dedup();
    let names = Account::texts(&accounts.iter().copied().map(Account::Customer).collect::<Vec<_>>());
    sqlx::query!("select 1 as one from balances where account = any($1) order by account for update", &names)
        .fetch_all(&mut *connection)
        .await?;
    let rows = sqlx::query!(
        r#"select a.id as "account!",
               coalesce((select b.nanocredits from balances b where b.account = 'customer:' || a.id), 0) as "balance!",
               coalesce((select sum(l.nanocredits) from credit_leases l where l.account_id = a.id), 0)::bigint as "all_leased!",
               coalesce((select l.nanocredits from credit_leases l
                         where l.account_id = a.id and l.replica_id = $2), 0) as "leased!"
           from unnest($1::uuid[]) as a (id)"#,
        &accounts,
        replica
    )
    .fetch_all(connection)
    .await?;
    let funds = |leased: i64, balance: i64, all: i64| Funds { leased, free: (balance - all).max(0) };
    Ok(rows.into_iter().map(|row| (row.account, funds(row.leased, row.balance, row.all_leased))).collect())
}

/// Inserts the events, and takes out those whose names are settled. Their requests are returned.
async fn insert_events(connection: &mut PgConnection, events: &mut Vec<Event<'_>>) -> Result<Vec<Uuid>, sqlx::Error> {
    let ids: Vec<Uuid> = events.iter().map(|event| event.id).collect();
    let names: Vec<Uuid> = events.iter().map(|event| event.due.billed_as).collect();
    let requests: Vec<Uuid> = events.iter().map(|event| event.due.request).collect();
    let versions: Vec<i32> = events.iter().map(|event| event.split.version).collect();
    // In one order everywhere: who finds a name that is being inserted waits to see whether it stays.
    let inserted = sqlx::query!(
        "insert into events (id, kind, idempotency_key, request_id, split_version)
         select id, 'settlement', name::text, request, version
         from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::integer[]) as e (id, name, request, version) order by name
         on conflict (idempotency_key) do nothing",
        &ids,
        &names,
        &requests,
        &versions
    )
    .execute(&mut *connection)
    .await?;
    if inserted.rows_affected() == ids.len() as u64 {
        return Ok(Vec::new());
    }
    let there = sqlx::query_scalar!("select id from events where id = any($1)", &ids).fetch_all(connection).await?;
    let there: HashSet<Uuid> = there.into_iter().collect();
    let settled_before = events.extract_if(.., |event| !there.contains(&event.id));
    Ok(settled_before.map(|event| event.due.request).collect())
}

async fn insert_postings(
    connection: &mut PgConnection,
    lines: &[(Uuid, Vec<(Account, i64)>)],
) -> Result<(), sqlx::Error> {
    let (mut of, mut seqs, mut accounts, mut amounts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (event, postings) in lines {
        for (seq, (account, amount)) in postings.iter().enumerate() {
            of.push(*event);
            seqs.push(i16::try_from(seq + 1).unwrap_or(i16::MAX));
            accounts.push(account.to_string());
            amounts.push(*amount);
        }
    }
    sqlx::query!(
        "insert into postings (event_id, seq, account, nanocredits)
         select * from unnest($1::uuid[], $2::smallint[], $3::text[], $4::bigint[])",
        &of,
        &seqs,
        &accounts,
        &amounts
    )
    .execute(connection)
    .await
    .map(drop)
}
