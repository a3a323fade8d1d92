//! What people do with credits: buy, give, give back, put right, pay out. Each knows what may not happen.

use openapi::units::{Nanocredits, signed_credits};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::account::Account;
use super::event::{Kind, NewEvent, Posted, Posting, Refused, enter, write_postings};

/// The most that moves at once: what a `BIGINT` of nanocredits holds, rounded down.
pub const MOST: Nanocredits = Nanocredits::new(9_200_000_000 * Nanocredits::PER_CREDIT);
/// A key and whose it is; the table's constraint says the same.
const KEY_LENGTHS: std::ops::RangeInclusive<usize> = 1..=300;
const LONGEST_REASON: usize = 500;

/// A movement of credits, without its amount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Movement {
    /// Credits bought: from outside to an account.
    TopUp(Uuid),
    /// Credits given: from the gateway to an account.
    Grant(Uuid),
    /// A request's price or a part of it given back, by the gateway.
    Refund { account: Uuid, request: Uuid },
    /// Something put right: given to an account, or taken from it, against the gateway or the losses.
    Adjustment { account: Uuid, against: Against, direction: Direction },
    /// Earnings of an operator or an author that leave the ledger.
    Payout(Account),
    /// Earnings of an account's nodes that it spends here: what a partner has earned pays for what it has used.
    Netting(Uuid),
}

/// The other side of an adjustment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Against {
    Gateway,
    Losses,
}

/// Which way an adjustment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Give,
    Take,
}

/// Who asks for a movement, why, and under which key.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Unique to whoever asks: begin it with who that is.
    pub idempotency_key: &'a str,
    pub reason: &'a str,
    /// `None` from the command line.
    pub created_by: Option<Uuid>,
}

/// Moves credits, once for the order's key.
///
/// # Errors
/// [`Refused`] says why; then nothing has changed.
pub async fn move_credits(
    database: &PgPool,
    movement: &Movement,
    amount: Nanocredits,
    order: Order<'_>,
) -> Result<Posted, Refused> {
    let mut transaction = database.begin().await?;
    let posted = move_within(&mut transaction, movement, amount, order).await?;
    transaction.commit().await?;
    Ok(posted)
}

/// The same within the caller's transaction, who rolls back when it is refused.
///
/// # Errors
/// [`Refused`] says why; nothing may be committed then.
pub async fn move_within(
    connection: &mut PgConnection,
    movement: &Movement,
    amount: Nanocredits,
    order: Order<'_>,
) -> Result<Posted, Refused> {
    if amount == Nanocredits::ZERO || amount > MOST {
        return Err(Refused::Wrong("An amount is above 0 and at most 9200000000 credits."));
    }
    if !KEY_LENGTHS.contains(&order.idempotency_key.chars().count()) {
        return Err(Refused::Wrong("An idempotency key has 1 to 200 characters."));
    }
    let reason = order.reason.trim();
    if reason.is_empty() || reason.chars().count() > LONGEST_REASON || reason.contains('\0') {
        return Err(Refused::Wrong("A reason has 1 to 500 characters."));
    }
    let new = NewEvent {
        kind: movement.kind(),
        idempotency_key: order.idempotency_key,
        request: movement.request(),
        split_version: None,
        reason: Some(reason),
        created_by: order.created_by,
    };
    let posted = enter(connection, new, movement.postings(amount)?).await?;
    if let Posted::Now(event) = &posted {
        movement.check(connection, amount).await?;
        write_postings(connection, event).await?;
    }
    Ok(posted)
}

/// Locks balances until the transaction ends. Whoever moves the credits of several accounts in one transaction locks them first,
/// in one order everywhere.
///
/// # Errors
/// When the database fails.
pub async fn lock(connection: &mut PgConnection, accounts: &[Account]) -> Result<(), sqlx::Error> {
    let accounts = Account::texts(accounts);
    sqlx::query!("select 1 as one from balances where account = any($1) order by account for update", &accounts)
        .fetch_all(connection)
        .await
        .map(drop)
}

impl Movement {
    /// What kind of event it makes.
    pub fn kind(&self) -> Kind {
        match self {
            Self::TopUp(_) => Kind::TopUp,
            Self::Grant(_) => Kind::Grant,
            Self::Refund { .. } => Kind::Refund,
            Self::Adjustment { .. } => Kind::Adjustment,
            Self::Payout(_) => Kind::Payout,
            Self::Netting(_) => Kind::Netting,
        }
    }

    fn request(&self) -> Option<Uuid> {
        match self {
            Self::Refund { request, .. } => Some(*request),
            _ => None,
        }
    }

    fn postings(&self, amount: Nanocredits) -> Result<Vec<Posting>, Refused> {
        let (from, to) = match self {
            Self::TopUp(account) => (Account::External, Account::Customer(*account)),
            Self::Grant(account) | Self::Refund { account, .. } => (Account::Gateway, Account::Customer(*account)),
            Self::Adjustment { account, against, direction } => {
                let other = match against {
                    Against::Gateway => Account::Gateway,
                    Against::Losses => Account::Losses,
                };
                match direction {
                    Direction::Give => (other, Account::Customer(*account)),
                    Direction::Take => (Account::Customer(*account), other),
                }
            }
            Self::Payout(earner @ (Account::Operator(_) | Account::Author(_))) => (earner.clone(), Account::External),
            Self::Payout(_) => return Err(Refused::Wrong("Payouts are for operators and authors.")),
            Self::Netting(account) => (Account::Operator(*account), Account::Customer(*account)),
        };
        let nanocredits = amount.to_bigint();
        Ok(vec![Posting { account: from, nanocredits: -nanocredits }, Posting { account: to, nanocredits }])
    }

    /// Looks whether it may happen. What is looked at stays locked until the transaction ends. Locks are taken in the order
    /// of the accounts' names, as the trigger on the postings takes them.
    async fn check(&self, connection: &mut PgConnection, amount: Nanocredits) -> Result<(), Refused> {
        let amount = amount.to_bigint();
        match self {
            Self::TopUp(account)
            | Self::Grant(account)
            | Self::Adjustment { account, direction: Direction::Give, .. } => exists(connection, *account).await,
            Self::Refund { account, request } => enough(refundable(connection, *account, *request).await?, amount),
            Self::Adjustment { account, direction: Direction::Take, .. } => {
                exists(connection, *account).await?;
                enough(available(connection, *account).await?, amount)
            }
            Self::Payout(earner) => enough(locked_balance(connection, earner).await?, amount),
            Self::Netting(account) => {
                lock(connection, &[Account::Customer(*account), Account::Operator(*account)]).await?;
                enough(locked_balance(connection, &Account::Operator(*account)).await?, amount)
            }
        }
    }
}

fn enough(available: i64, amount: i64) -> Result<(), Refused> {
    if available >= amount {
        return Ok(());
    }
    Err(Refused::NotEnough { available: signed_credits(available.max(0)) })
}

async fn exists(connection: &mut PgConnection, account: Uuid) -> Result<(), Refused> {
    let found = sqlx::query_scalar!("select 1 as one from accounts where id = $1", account);
    match found.fetch_optional(connection).await? {
        Some(_) => Ok(()),
        None => Err(Refused::NoAccount(Account::Customer(account))),
    }
}

async fn locked_balance(connection: &mut PgConnection, account: &Account) -> Result<i64, sqlx::Error> {
    let balance =
        sqlx::query_scalar!("select nanocredits from balances where account = $1 for update", account.to_string());
    Ok(balance.fetch_optional(connection).await?.unwrap_or(0))
}

/// What no replica has leased. The lock is the one under which credit is leased: see `lease_credit` in the migrations.
async fn available(connection: &mut PgConnection, account: Uuid) -> Result<i64, sqlx::Error> {
    let balance = locked_balance(connection, &Account::Customer(account)).await?;
    let leased = sqlx::query_scalar!(
        r#"select coalesce(sum(nanocredits), 0)::bigint as "leased!" from credit_leases where account_id = $1"#,
        account
    );
    Ok(balance - leased.fetch_one(connection).await?)
}

/// What an account paid for a request and has not got back. The lock makes refunds of one account wait for each other.
async fn refundable(connection: &mut PgConnection, account: Uuid, request: Uuid) -> Result<i64, Refused> {
    let customer = Account::Customer(account);
    locked_balance(connection, &customer).await?;
    let sums = sqlx::query!(
        r#"select coalesce(-sum(p.nanocredits) filter (where e.kind = 'settlement'), 0)::bigint as "paid!",
               coalesce(sum(p.nanocredits) filter (where e.kind = 'refund'), 0)::bigint as "refunded!"
           from events e join postings p on p.event_id = e.id where e.request_id = $1 and p.account = $2"#,
        request,
        customer.to_string()
    )
    .fetch_one(connection)
    .await?;
    if sums.paid == 0 { Err(Refused::NoRequest) } else { Ok(sums.paid - sums.refunded) }
}
