//! Shows that the ledger adds up, and says where it does not. Balances are a projection and may be rebuilt; postings never
//! change.

use std::fmt;
use std::time::Duration;

use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

/// The hour (UTC) of the nightly audit.
const HOUR: u64 = 3;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The one replica that audits keeps the others out for this long, since clocks differ.
const KEEP_OUT: Duration = Duration::from_secs(60);

/// Reads everything, as of one moment. That takes longer than a statement of the service may.
const MOMENT: &str = "begin isolation level repeatable read read only; set local statement_timeout = '1h'";
/// Writes all balances, which takes as long.
const REBUILD: &str = "begin; set local statement_timeout = '1h'";
/// Waits for another transaction to audit, and then for the others.
const TURN: &str = "begin; set local idle_in_transaction_session_timeout = '2h'";

/// What does not add up: sentences, a hundred of each kind at most. Empty when all is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Balances that are not the sum of their postings.
    pub balances: Vec<String>,
    /// Set when all postings together are not zero.
    pub total: Vec<String>,
    /// Events with fewer than two postings, or whose postings are not zero together.
    pub events: Vec<String>,
    /// Requests that are not settled as they were charged.
    pub requests: Vec<String>,
    /// Accounts of which replicas hold more than there is.
    pub leases: Vec<String>,
    /// Epochs whose receipts say otherwise than what was settled.
    pub epochs: Vec<String>,
}

impl Differences {
    /// True when everything adds up.
    pub fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        [&self.balances, &self.total, &self.events, &self.requests, &self.leases, &self.epochs].into_iter().flatten()
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return formatter.write_str("the ledger adds up");
        }
        write!(formatter, "the ledger does not add up:")?;
        self.all().try_for_each(|difference| write!(formatter, "\n  {difference}"))
    }
}

/// Compares everything with everything, as of one moment.
///
/// # Errors
/// When the database fails.
pub async fn compare(database: &PgPool) -> Result<Differences, sqlx::Error> {
    let mut moment = database.begin_with(MOMENT).await?;
    let differences = Differences {
        balances: balances(&mut moment).await?,
        total: total(&mut moment).await?,
        events: events(&mut moment).await?,
        requests: requests(&mut moment).await?,
        leases: leases(&mut moment).await?,
        epochs: epochs(&mut moment).await?,
    };
    moment.commit().await?;
    Ok(differences)
}

async fn balances(moment: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select format('%s has a balance of %s, and postings of %s', account, coalesce(b.nanocredits, 0),
               coalesce(p.nanocredits, 0)) as "text!"
           from balances b full join (
               select account, sum(nanocredits) as nanocredits from postings group by account) p using (account)
           where coalesce(b.nanocredits, 0) <> coalesce(p.nanocredits, 0) order by account limit 100"#
    )
    .fetch_all(moment)
    .await
}

async fn total(moment: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select format('all postings together are %s, not 0', sum(nanocredits)) as "text!"
           from postings having sum(nanocredits) <> 0"#
    )
    .fetch_all(moment)
    .await
}

async fn events(moment: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select format('event %s has %s postings, which are %s together', e.id, count(p.event_id),
               coalesce(sum(p.nanocredits), 0)) as "text!"
           from events e left join postings p on p.event_id = e.id
           group by e.id having count(p.event_id) < 2 or sum(p.nanocredits) <> 0 order by e.id limit 100"#
    )
    .fetch_all(moment)
    .await
}

/// A request's price is what its customer paid and what was booked as a loss. Requests that are over their retention are
/// gone; their settlements stay.
async fn requests(moment: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"with settled as (
               select e.request_id as id, count(distinct e.id) as times, -sum(p.nanocredits) filter (
                   where p.account = 'losses' or p.account like 'customer:%') as nanocredits,
                   max(p.account) filter (where p.account like 'customer:%') as customer
               from events e join postings p on p.event_id = e.id
               where e.kind = 'settlement' and e.request_id is not null group by e.request_id)
           select format('request %s of customer:%s cost %s, and was settled %s times with %s from %s', r.id,
               r.account_id, r.nanocredits, coalesce(s.times, 0), coalesce(s.nanocredits, 0),
               coalesce(s.customer, 'nobody')) as "text!"
           from requests r left join settled s on s.id = r.id
           where coalesce(s.times, 0) <> case when r.nanocredits > 0 then 1 else 0 end
               or coalesce(s.nanocredits, 0) <> r.nanocredits or s.customer <> 'customer:' || r.account_id
           order by r.id limit 100"#
    )
    .fetch_all(moment)
    .await
}

async fn leases(moment: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select format('replicas hold %s of customer:%s, which has %s', sum(l.nanocredits), l.account_id,
               coalesce(b.nanocredits, 0)) as "text!"
           from credit_leases l left join balances b on b.account = 'customer:' || l.account_id
           group by l.account_id, b.nanocredits having sum(l.nanocredits) > coalesce(b.nanocredits, 0)
           order by l.account_id limit 100"#
    )
    .fetch_all(moment)
    .await
}

async fn epochs(moment: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select format('in epoch %s receipts and settlements differ by %s', number, differing) as "text!"
           from epochs where differing <> 0 order by number limit 100"#
    )
    .fetch_all(moment)
    .await
}

/// Writes all balances anew from the postings, while nobody else moves any. Returns how many there are.
///
/// # Errors
/// When the database fails, or refuses a balance: then all stay as they were.
pub async fn rebuild_balances(database: &PgPool) -> Result<u64, sqlx::Error> {
    let mut transaction = database.begin_with(REBUILD).await?;
    sqlx::query!("lock table balances in exclusive mode").execute(&mut *transaction).await?;
    sqlx::query!("delete from balances").execute(&mut *transaction).await?;
    let written = sqlx::query!(
        "insert into balances (account, nanocredits)
         select account, sum(nanocredits)::bigint from postings group by account order by account"
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(written.rows_affected())
}

/// Audits every night and logs what it finds, until `stop`. Of several replicas one does it.
pub async fn run_nightly(database: PgPool, stop: CancellationToken) {
    loop {
        let night = async {
            tokio::time::sleep(until_next(OffsetDateTime::now_utc())).await;
            if let Err(error) = audit_alone(&database).await {
                tracing::error!(%error, "the ledger could not be audited");
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = night => {}
        }
    }
}

/// Audits, unless another replica is doing so.
async fn audit_alone(database: &PgPool) -> Result<(), sqlx::Error> {
    let Some(turn) = take_turn(database).await? else { return Ok(()) };
    let differences = compare(database).await?;
    if differences.is_empty() {
        tracing::info!("{differences}");
    } else {
        tracing::error!("{differences}");
    }
    tokio::time::sleep(KEEP_OUT).await;
    turn.commit().await
}

/// No other replica audits as long as this transaction lasts.
async fn take_turn(database: &PgPool) -> Result<Option<Transaction<'static, Postgres>>, sqlx::Error> {
    let mut turn = database.begin_with(TURN).await?;
    let mine = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock(hashtext('commonwatt audit')) as "mine!""#);
    Ok(mine.fetch_one(&mut *turn).await?.then_some(turn))
}

/// The time from now to the next audit.
fn until_next(now: OffsetDateTime) -> Duration {
    let today = Duration::from_secs(now.unix_timestamp().rem_euclid(DAY.as_secs() as i64) as u64);
    let hour = Duration::from_secs(HOUR * 60 * 60);
    if today < hour { hour - today } else { DAY + hour - today }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_audit_is_at_three() {
        let at = |hours: i64, seconds: i64| {
            until_next(OffsetDateTime::UNIX_EPOCH + time::Duration::hours(hours) + time::Duration::seconds(seconds))
        };
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        assert_eq!((at(0, 0), at(4, 0), at(24 + 2, 0)), (hours(3), hours(23), hours(1)));
        assert_eq!((at(3, -1), at(3, 0)), (Duration::from_secs(1), hours(24)), "once, not twice");
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn an_audit_may_take_long_and_its_turn_lasts_as_long(database: PgPool) {
        const IMPATIENT: [(&str, &str); 2] =
            [("statement_timeout", "1s"), ("idle_in_transaction_session_timeout", "1s")];
        let options = (*database.connect_options()).clone().options(IMPATIENT);
        let service = PgPool::connect_with(options).await.unwrap();
        let mut turn = take_turn(&service).await.unwrap().unwrap();
        for begin in [MOMENT, REBUILD] {
            let mut transaction = service.begin_with(begin).await.unwrap();
            sqlx::query!("select pg_sleep(1.1)::text as slept").fetch_one(&mut *transaction).await.unwrap();
            transaction.commit().await.unwrap();
        }
        sqlx::query!("select 1 as one").fetch_one(&mut *turn).await.unwrap();
        assert!(take_turn(&database).await.unwrap().is_none());
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn one_replica_audits(database: PgPool) {
        let mut other = database.begin().await.unwrap();
        let taken = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock(hashtext('commonwatt audit')) as "mine!""#);
        assert!(taken.fetch_one(&mut *other).await.unwrap());
        // It would keep others out for a minute if it were its turn.
        tokio::time::timeout(KEEP_OUT / 2, audit_alone(&database)).await.unwrap().unwrap();
    }
}
