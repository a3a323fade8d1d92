//! The connection to Postgres: migrated first, then used under a role that may add to the ledger and never change it.

use std::str::FromStr;
use std::time::Duration;

use anyhow::anyhow;
use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction};
use tokio::time::timeout;

use crate::MIGRATOR;

/// A request that waits longer than this for a connection to the database is told so.
const CONNECTION_WITHIN: Duration = Duration::from_secs(2);
/// How long a start waits for the database.
const AT_START: Duration = Duration::from_secs(30);
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// No statement of the service takes longer; one that does is in nobody's interest any more. And a transaction that says
/// nothing for so long has lost its gateway: its locks must not outlive it. Compiling a statement to machine code, which
/// Postgres does by an estimate of its cost, takes half a second where the statement takes milliseconds.
const SETTINGS: [(&str, &str); 3] =
    [("statement_timeout", "30s"), ("idle_in_transaction_session_timeout", "10s"), ("jit", "off")];

/// Connects and brings the tables up to date.
///
/// # Errors
/// When the database can't be reached or its tables are of a newer version.
pub async fn open(url: &str, connections: u32) -> anyhow::Result<PgPool> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| anyhow!("DATABASE_URL is no Postgres address such as postgres://user:password@host/database"))?;
    let mut connection = timeout(AT_START, connect(&options)).await.map_err(|_| {
        anyhow!("the database in DATABASE_URL can't be reached. Is it running, and are user and password right?")
    })?;
    MIGRATOR.run(&mut connection).await.map_err(|error| match error {
        MigrateError::VersionMissing(_) => {
            anyhow!("the database's tables are of a newer version than this program: start that version of it")
        }
        error => anyhow!(error).context("the database's tables can't be brought up to date"),
    })?;
    drop(connection.close().await);
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(CONNECTION_WITHIN)
        .after_connect(|connection, _| Box::pin(take_service_role(connection)))
        // A connection that has carried a batch of receipts would keep megabytes for the next one.
        .after_release(|connection, _| {
            connection.shrink_buffers();
            Box::pin(std::future::ready(Ok(true)))
        });
    let options = options.options(SETTINGS);
    Ok(pool.connect_with(options).await?)
}

/// How a [batch](begin_batch) begins.
const BATCH: &str = "begin; set local plan_cache_mode = force_generic_plan";
/// How [looking up](begin_look_up) begins.
const LOOK_UP: &str = "begin; set local plan_cache_mode = force_generic_plan; set local enable_seqscan = off;
    set local enable_hashjoin = off; set local enable_mergejoin = off";

/// Begins a transaction that writes many rows at once. A plan for these is no better than one for any, and takes tens of
/// milliseconds, as every partition is looked at.
///
/// # Errors
/// When the database fails.
pub async fn begin_batch(database: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    database.begin_with(BATCH).await
}

/// Begins a batch that looks rows up by their keys before it writes. A plan that was made while the tables were small, and
/// is kept, must not compare all with all when they no longer are.
///
/// # Errors
/// When the database fails.
pub async fn begin_look_up(database: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    database.begin_with(LOOK_UP).await
}

async fn connect(options: &PgConnectOptions) -> PgConnection {
    loop {
        match PgConnection::connect_with(options).await {
            Ok(connection) => return connection,
            Err(error) => tracing::warn!(%error, "the database does not answer yet"),
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

/// Where the role exists and this user may take it; elsewhere triggers alone keep the ledger as it is.
async fn take_service_role(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query_scalar!(
        "select set_config('role', rolname, false) from pg_roles
         where rolname = 'commonwatt_service' and pg_has_role(rolname, 'member')"
    )
    .fetch_optional(connection)
    .await
    .map(drop)
}

#[cfg(test)]
mod tests {
    use sqlx::PgPool;

    use super::*;

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn the_service_works_under_its_role_and_cannot_change_the_ledger(database: PgPool) {
        let mut connection = database.acquire().await.unwrap();
        take_service_role(&mut connection).await.unwrap();
        let role = sqlx::query_scalar!(r#"select current_user::text as "role!""#).fetch_one(&mut *connection).await;
        assert_eq!(role.unwrap(), "commonwatt_service");
        for refused in [
            sqlx::query!("update postings set nanocredits = 1").execute(&mut *connection).await,
            sqlx::query!("delete from events").execute(&mut *connection).await,
            sqlx::query!("update splits set operator_ppm = 0").execute(&mut *connection).await,
        ] {
            let error = refused.unwrap_err();
            assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("42501"), "{error}");
        }
        sqlx::query!("select create_months(1)").execute(&mut *connection).await.unwrap();
    }
}
