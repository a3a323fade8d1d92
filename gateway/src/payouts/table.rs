//! The only module that writes the tables `payouts` and `payout_destinations`.

use openapi::units::Nanocredits;
use sqlx::{PgConnection, PgExecutor, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Change, State};
use crate::ledger::account::Account;

/// What somebody is paid for an epoch.
#[derive(Clone, PartialEq, Eq)]
pub struct Payout {
    pub id: Uuid,
    pub epoch: i32,
    pub party: Account,
    /// Who is paid: the operator's account, or the one that claims what the author earns. `None` when no one does any more.
    pub account: Option<Uuid>,
    pub nanocredits: i64,
    pub state: State,
    /// Why it is held or cancelled.
    pub reason: Option<String>,
    /// Of whoever paid it.
    pub reference: Option<String>,
    /// Where it went, or is to go.
    pub destination: Option<String>,
    /// With which it left the ledger.
    pub event: Option<Uuid>,
    pub changed_at: OffsetDateTime,
}

/// Which payouts.
#[derive(Clone, Debug, Default)]
pub struct Which {
    pub state: Option<State>,
    pub party: Option<String>,
    pub account: Option<Uuid>,
    /// Older ones than this.
    pub before: Option<Uuid>,
    /// All if not given.
    pub limit: Option<i64>,
}

/// Makes payouts of what is owed to operators and to authors whom somebody has claimed: of each party's closing, and at most of
/// what the ledger holds of theirs, what no open payout is about yet, from the minimum on. A partner is paid what was agreed to
/// be left when both had offset what they owe. Called when an epoch is closed, in its
/// transaction, after its row and its events are written: what was paid since it ended is not taken off the closing yet, and
/// not owed again. Says how many.
///
/// # Errors
/// When the database fails.
pub async fn owe(
    connection: &mut PgConnection,
    epoch: i32,
    closings: &[(String, i64)],
    minimum: Nanocredits,
) -> Result<u64, sqlx::Error> {
    let ids: Vec<Uuid> = closings.iter().map(|_| Uuid::now_v7()).collect();
    let (parties, owed): (Vec<String>, Vec<i64>) = closings.iter().cloned().unzip();
    let made = sqlx::query!(
        "with paid_since as (
             select p.party, sum(p.nanocredits)::bigint as nanocredits from payouts p
             where p.state = 'paid' and not exists (select from epoch_events e where e.event_id = p.event_id)
             group by p.party),
         agreed as (
             select 'operator:' || p.account_id as party, coalesce(sum(greatest(n.we_owe - n.they_owe, 0)), 0)::bigint
                 - coalesce((select sum(x.nanocredits) from payouts x
                     where x.party = 'operator:' || p.account_id and x.state <> 'cancelled'), 0)::bigint as nanocredits
             from partners p left join nettings n on n.partner_id = p.id group by p.account_id)
         insert into payouts (id, epoch, party, nanocredits)
         select id, $1, party, owed from (
             select c.id, c.party, least(least(c.closing - coalesce(s.nanocredits, 0), coalesce(b.nanocredits, 0)) - coalesce((
                 select sum(p.nanocredits) from payouts p where p.party = c.party and p.state in ('due', 'held')), 0)::bigint,
                 g.nanocredits) as owed
             from unnest($2::uuid[], $3::text[], $4::bigint[]) as c (id, party, closing)
             left join balances b on b.account = c.party
             left join paid_since s on s.party = c.party
             left join agreed g on g.party = c.party
             where starts_with(c.party, 'operator:') or (starts_with(c.party, 'author:')
                 and exists (select from author_claims a where a.author = substr(c.party, 8)))) as claimed
         where owed >= greatest($5::bigint, 1)
         on conflict (epoch, party) do nothing",
        epoch,
        &ids,
        &parties,
        &owed,
        minimum.to_bigint()
    );
    Ok(made.execute(connection).await?.rows_affected())
}

/// Payouts, the newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(database: impl PgExecutor<'_>, which: &Which) -> Result<Vec<Payout>, sqlx::Error> {
    find(database, None, which).await
}

/// These payouts, the oldest first, which nobody else changes until the transaction ends.
///
/// # Errors
/// When the database fails.
pub async fn lock(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Payout>, sqlx::Error> {
    sqlx::query!("select 1 as one from payouts where id = any($1) order by id for update", ids)
        .fetch_all(&mut *connection)
        .await?;
    find(connection, Some(ids), &Which::default()).await
}

struct Row {
    id: Uuid,
    epoch: i32,
    party: String,
    account: Option<Uuid>,
    nanocredits: i64,
    state: String,
    reason: Option<String>,
    reference: Option<String>,
    destination: Option<String>,
    event: Option<Uuid>,
    changed_at: OffsetDateTime,
}

async fn find(database: impl PgExecutor<'_>, ids: Option<&[Uuid]>, which: &Which) -> Result<Vec<Payout>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select p.id, p.epoch, p.party, whose.account as "account?", p.nanocredits, p.state, p.reason, p.reference,
               case when p.state = 'paid' then p.destination else d.destination end as "destination?",
               p.event_id as event, p.changed_at
           from payouts p
           left join author_claims c on starts_with(p.party, 'author:') and c.author = substr(p.party, 8)
           cross join lateral (select case when starts_with(p.party, 'operator:') then substr(p.party, 10)::uuid
               else c.account_id end as account) as whose
           left join payout_destinations d on d.account_id = whose.account
           where ($1::uuid[] is null or p.id = any($1)) and ($2::text is null or p.state = $2)
               and ($3::text is null or p.party = $3) and ($4::uuid is null or whose.account = $4)
               and ($5::uuid is null or p.id < $5)
           order by p.id desc limit $6"#,
        ids as _,
        which.state.map(State::word),
        which.party,
        which.account,
        which.before,
        which.limit
    );
    rows.fetch_all(database).await?.into_iter().map(Payout::try_from).collect()
}

impl TryFrom<Row> for Payout {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let unreadable = |what: String| sqlx::Error::Decode(what.into());
        Ok(Self {
            id: row.id,
            epoch: row.epoch,
            party: row.party.parse().map_err(|error| unreadable(format!("{error}")))?,
            account: row.account,
            nanocredits: row.nanocredits,
            state: State::from_word(&row.state).ok_or_else(|| unreadable(row.state))?,
            reason: row.reason,
            reference: row.reference,
            destination: row.destination,
            event: row.event,
            changed_at: row.changed_at,
        })
    }
}

/// Writes what has become of a payout that is locked. One that is paid keeps where it went.
///
/// # Errors
/// When the database fails.
pub(super) async fn write(
    connection: &mut PgConnection,
    payout: &Payout,
    change: &Change,
    event: Option<Uuid>,
    by: Uuid,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update payouts set state = $2, reason = $3, reference = $4, destination = $5, event_id = $6, changed_by = $7,
            changed_at = now() where id = $1",
        payout.id,
        change.state().word(),
        change.reason(),
        change.reference(),
        payout.destination.as_deref().filter(|_| event.is_some()),
        event,
        by
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Where an account wants to be paid, and since when.
///
/// # Errors
/// When the database fails.
pub async fn destination(database: &PgPool, account: Uuid) -> Result<Option<(String, OffsetDateTime)>, sqlx::Error> {
    let row = sqlx::query!("select destination, set_at from payout_destinations where account_id = $1", account);
    Ok(row.fetch_optional(database).await?.map(|row| (row.destination, row.set_at)))
}

/// Says where an account wants to be paid from now on. Gives since when.
///
/// # Errors
/// When the database fails.
pub async fn set_destination(
    database: &PgPool,
    account: Uuid,
    destination: &str,
    by: Uuid,
) -> Result<OffsetDateTime, sqlx::Error> {
    let set_at = sqlx::query_scalar!(
        "insert into payout_destinations (account_id, destination, set_by) values ($1, $2, $3)
         on conflict (account_id) do update set destination = excluded.destination, set_by = excluded.set_by, set_at = now()
         returning set_at",
        account,
        destination,
        by
    );
    set_at.fetch_one(database).await
}
