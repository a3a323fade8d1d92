//! The gateways over one Postgres. Each is known by an id and says every second that it lives; one that has been silent
//! for a lease's time is dead, and what it held returns. The only module that writes the table `replicas`.
//!
//! A node tunnelled to one replica is usable from all: each tells its `news` on its internal `listener`, and each keeps
//! a `mirror` of every other.

mod credentials;

mod listener;

mod mirror;

mod news;

pub(crate) mod remote;

#[cfg(test)]
mod stories;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use sqlx::postgres::types::PgInterval;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::nodes::Nodes;
pub(crate) use credentials::Credentials;
pub(crate) use listener::serve;
pub(crate) use mirror::follow_all;

const BEAT_EVERY: Duration = Duration::from_secs(1);
/// A database that takes longer is away.
const BEAT_WITHIN: Duration = Duration::from_secs(2);
/// How long before the others may take its leases a replica stops to spend them.
const MARGIN: Duration = Duration::from_secs(10);

/// This gateway among the others.
pub struct Replica {
    id: Uuid,
    address: Option<String>,
    /// How long leases live without a sign of life.
    lease: Duration,
    last_beat: Mutex<Instant>,
    epoch: AtomicU64,
    living: AtomicU64,
}

/// What the connections between replicas need.
#[derive(Clone)]
pub(crate) struct Internal {
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) tasks: TaskTracker,
    /// Calls that are handed on to the nodes here.
    pub(crate) relayed: TaskTracker,
    /// Given when this replica is told to stop; the others are told.
    pub(crate) stop: CancellationToken,
    /// Given when nobody needs it any more.
    pub(crate) closing: CancellationToken,
}

/// Another replica that lives, and where to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Other {
    id: Uuid,
    address: String,
}

impl Replica {
    /// Makes this gateway known. What it held in an earlier life is released: call it when that life's records are all
    /// in the database.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn register(
        database: &PgPool,
        id: Uuid,
        address: Option<String>,
        lease: Duration,
    ) -> Result<Self, sqlx::Error> {
        let replica = Self {
            id,
            address,
            lease,
            last_beat: Mutex::new(Instant::now()),
            epoch: AtomicU64::new(0),
            living: AtomicU64::new(1),
        };
        replica.enter(database).await?;
        Ok(replica)
    }

    /// Which one this is.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// True while the others are sure to respect what it has leased.
    pub fn is_alive(&self) -> bool {
        self.last_beat.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < self.lease.saturating_sub(MARGIN)
    }

    /// True when the database answered a moment ago.
    pub fn is_current(&self) -> bool {
        self.last_beat.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < 3 * BEAT_EVERY
    }

    /// Replicas that lived when the database answered last, this one among them.
    pub fn living(&self) -> u64 {
        self.living.load(Ordering::Relaxed)
    }

    /// Grows each time the others took this replica for dead: what it had leased before is not its own any more.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Says every second that it lives, and takes back what the dead held, until `stop`.
    pub async fn keep_alive(&self, database: &PgPool, stop: CancellationToken) {
        loop {
            let beat = tokio::time::timeout(BEAT_WITHIN, self.beat(database)).await;
            if let Err(error) = beat.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
                tracing::warn!(%error, "the other replicas could not be told that this one lives");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(BEAT_EVERY) => {}
            }
        }
    }

    /// The other replicas that said lately that they live and can be reached.
    async fn others(&self, database: &PgPool) -> Result<Vec<Other>, sqlx::Error> {
        sqlx::query_as!(
            Other,
            r#"select id, address as "address!" from replicas where id <> $1 and address is not null
               and seen_at > clock_timestamp() - interval '10 seconds'"#,
            self.id
        )
        .fetch_all(database)
        .await
    }

    async fn beat(&self, database: &PgPool) -> Result<(), sqlx::Error> {
        // The moment before: what counts for the others is when their clock saw it.
        let now = Instant::now();
        let known = sqlx::query!("update replicas set seen_at = clock_timestamp() where id = $1", self.id)
            .execute(database)
            .await?
            .rows_affected()
            == 1;
        if !known {
            tracing::warn!("the other replicas took this one for dead: it begins anew");
            self.enter(database).await?;
            self.epoch.fetch_add(1, Ordering::AcqRel);
        }
        *self.last_beat.lock().unwrap_or_else(PoisonError::into_inner) = now;
        bury(database, self.lease).await?;
        let living = sqlx::query_scalar!(r#"select count(*) as "count!" from replicas"#).fetch_one(database).await?;
        self.living.store(u64::try_from(living).unwrap_or(1).max(1), Ordering::Relaxed);
        Ok(())
    }

    async fn enter(&self, database: &PgPool) -> Result<(), sqlx::Error> {
        let mut transaction = database.begin().await?;
        sqlx::query!("select release_leases($1)", self.id).execute(&mut *transaction).await?;
        sqlx::query!(
            "insert into replicas (id, address, version) values ($1, $2, $3) on conflict (id) do update
             set address = excluded.address, version = excluded.version, started_at = now(), seen_at = clock_timestamp()",
            self.id,
            self.address,
            env!("CARGO_PKG_VERSION")
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await
    }

    /// Gives everything back and goes. Call it when every record is in the database.
    ///
    /// # Errors
    /// When the database fails; the others will notice.
    pub async fn leave(&self, database: &PgPool) -> Result<(), sqlx::Error> {
        let mut transaction = database.begin().await?;
        sqlx::query!("select release_leases($1)", self.id).execute(&mut *transaction).await?;
        sqlx::query!("delete from replicas where id = $1", self.id).execute(&mut *transaction).await?;
        transaction.commit().await
    }
}

/// Takes back what replicas hold that were silent for longer than a lease.
async fn bury(database: &PgPool, lease: Duration) -> Result<(), sqlx::Error> {
    let lease = PgInterval { months: 0, days: 0, microseconds: i64::try_from(lease.as_micros()).unwrap_or(i64::MAX) };
    let mut transaction = database.begin().await?;
    let dead = sqlx::query_scalar!(
        "select id from replicas where seen_at < clock_timestamp() - $1::interval for update skip locked",
        lease
    )
    .fetch_all(&mut *transaction)
    .await?;
    for id in dead {
        tracing::warn!(replica = %id, "a replica is dead: what it had leased returns");
        sqlx::query!("select release_leases($1)", id).execute(&mut *transaction).await?;
        sqlx::query!("delete from replicas where id = $1", id).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(900);

    async fn replica(database: &PgPool) -> Replica {
        Replica::register(database, Uuid::now_v7(), None, LEASE).await.unwrap()
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn the_living_bury_the_dead_and_who_comes_back_begins_anew(database: PgPool) {
        let (quiet, lively) = (replica(&database).await, replica(&database).await);
        sqlx::query!("update replicas set seen_at = now() - interval '901 seconds' where id = $1", quiet.id)
            .execute(&database)
            .await
            .unwrap();
        lively.beat(&database).await.unwrap();
        let left = sqlx::query_scalar!("select id from replicas").fetch_all(&database).await.unwrap();
        assert_eq!(left, [lively.id]);
        assert_eq!((quiet.epoch(), lively.epoch()), (0, 0));
        quiet.beat(&database).await.unwrap();
        assert_eq!(quiet.epoch(), 1, "it must not spend what it held");
        quiet.leave(&database).await.unwrap();
        lively.leave(&database).await.unwrap();
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn the_others_are_those_who_live_and_can_be_reached(database: PgPool) {
        let enter =
            |address: Option<&str>| Replica::register(&database, Uuid::now_v7(), address.map(str::to_owned), LEASE);
        let this = enter(Some("one:1")).await.unwrap();
        let (other, quiet) = (enter(Some("two:2")).await.unwrap(), enter(Some("three:3")).await.unwrap());
        enter(None).await.unwrap();
        sqlx::query!("update replicas set seen_at = now() - interval '11 seconds' where id = $1", quiet.id)
            .execute(&database)
            .await
            .unwrap();
        let others = this.others(&database).await.unwrap();
        assert_eq!(others, [Other { id: other.id, address: "two:2".to_owned() }]);
    }
}
