//! Who computes an answer, and the answers that are kept, in Postgres. The only module that writes the table
//! `idempotent_requests`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;

use super::ask::Ask;

/// A run says this often that it lives; after ten seconds of silence (see the statements) it is taken for dead.
const RENEW_EVERY: Duration = Duration::from_secs(2);

/// An answer as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) status: u16,
    pub(super) headers: Headers,
    /// As [`Ask::seal`] made it.
    pub(super) sealed: Vec<u8>,
}

/// Names and values.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Headers(BTreeMap<String, String>);

impl From<&HeaderMap> for Headers {
    fn from(headers: &HeaderMap) -> Self {
        let text =
            |(name, value): (&HeaderName, &HeaderValue)| Some((name.to_string(), value.to_str().ok()?.to_owned()));
        Self(headers.iter().filter_map(text).collect())
    }
}

impl From<Headers> for HeaderMap {
    fn from(headers: Headers) -> Self {
        headers.0.into_iter().filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?))).collect()
    }
}

/// What stands under a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing that counts: it may be claimed.
    Nothing,
    /// Somebody computes the answer now.
    Running,
    /// The answer.
    Kept(Kept),
    /// The answer was given and billed, and was too long to be kept.
    TooLong,
    /// Another request.
    Another,
}

/// What becomes of a claim.
#[derive(Debug)]
pub(super) enum End {
    Kept(Kept),
    TooLong,
    /// It failed: the next try runs anew.
    Freed,
}

/// The claims of one replica.
#[derive(Clone)]
pub(super) struct Claims {
    database: PgPool,
    replica: Uuid,
}

impl Claims {
    pub(super) fn new(database: PgPool, replica: Uuid) -> Self {
        Self { database, replica }
    }

    /// The request in whose name the answer is billed, when it is now the caller's to compute: nobody had asked, or what
    /// stood there has expired, or its run is dead. Then it is the dead run's: that may have been settled before it fell
    /// silent, or live on and only be cut off from the database, and one of them is to be paid.
    pub(super) async fn claim(&self, ask: &Ask) -> Result<Option<Uuid>, sqlx::Error> {
        sqlx::query_scalar!(
            "insert into idempotent_requests as old
                 (account_id, key_hash, fingerprint, request_id, billed_as, replica_id, state)
             values ($1, $2, $3, $4, $4, $5, 'running')
             on conflict (account_id, key_hash) do update
             set fingerprint = excluded.fingerprint, request_id = excluded.request_id, replica_id = excluded.replica_id,
                 billed_as = case when old.expires_at <= now() then excluded.billed_as else old.billed_as end,
                 state = excluded.state, status = null, headers = null, answer = null,
                 created_at = excluded.created_at, alive_at = excluded.alive_at, expires_at = excluded.expires_at
             where old.expires_at <= now() or (old.state = 'running' and old.fingerprint = excluded.fingerprint
                 and old.alive_at < now() - interval '10 seconds')
             returning billed_as",
            ask.account,
            ask.key_hash.as_slice(),
            ask.fingerprint.as_slice(),
            ask.request,
            self.replica
        )
        .fetch_optional(&self.database)
        .await
    }

    /// Whether anything stands under the key of a request.
    pub(super) async fn knows(&self, ask: &Ask) -> Result<bool, sqlx::Error> {
        let known = sqlx::query_scalar!(
            "select 1 as one from idempotent_requests where account_id = $1 and key_hash = $2 and expires_at > now()",
            ask.account,
            ask.key_hash.as_slice()
        );
        Ok(known.fetch_optional(&self.database).await?.is_some())
    }

    /// What stands under the key of a request.
    pub(super) async fn look(&self, ask: &Ask) -> Result<Found, sqlx::Error> {
        let row = sqlx::query!(
            r#"select fingerprint, state, status, headers as "headers: Json<Headers>", answer,
                alive_at < now() - interval '10 seconds' as "silent!"
             from idempotent_requests where account_id = $1 and key_hash = $2 and expires_at > now()"#,
            ask.account,
            ask.key_hash.as_slice()
        )
        .fetch_optional(&self.database)
        .await?;
        let Some(row) = row else { return Ok(Found::Nothing) };
        if row.fingerprint != ask.fingerprint {
            return Ok(Found::Another);
        }
        Ok(match (row.state.as_str(), row.status, row.headers, row.answer) {
            ("kept", Some(status), Some(Json(headers)), Some(sealed)) => {
                Found::Kept(Kept { status: status.unsigned_abs(), headers, sealed })
            }
            ("too_long", ..) => Found::TooLong,
            _ if row.silent => Found::Nothing,
            _ => Found::Running,
        })
    }

    /// Says again and again that the run lives. A database that is away changes nothing for the run.
    pub(super) async fn keep_alive(&self, ask: &Ask) -> Infallible {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            match self.renew(ask).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(request = %ask.request, "taken for dead: another run may compute this answer too");
                    return std::future::pending().await;
                }
                Err(error) => tracing::warn!(%error, request = %ask.request, "a claim could not be renewed"),
            }
        }
    }

    async fn renew(&self, ask: &Ask) -> Result<bool, sqlx::Error> {
        let renewed = sqlx::query!(
            "update idempotent_requests set alive_at = now()
             where account_id = $1 and key_hash = $2 and request_id = $3 and state = 'running'",
            ask.account,
            ask.key_hash.as_slice(),
            ask.request
        )
        .execute(&self.database)
        .await?;
        Ok(renewed.rows_affected() == 1)
    }

    /// Ends a claim. Nothing happens when it was taken over.
    pub(super) async fn end(&self, ask: &Ask, end: &End) -> Result<(), sqlx::Error> {
        let (state, kept) = match end {
            End::Kept(kept) => ("kept", Some(kept)),
            End::TooLong => ("too_long", None),
            End::Freed => return self.free(ask).await,
        };
        sqlx::query!(
            "update idempotent_requests set state = $4, status = $5, headers = $6, answer = $7
             where account_id = $1 and key_hash = $2 and request_id = $3 and state = 'running'",
            ask.account,
            ask.key_hash.as_slice(),
            ask.request,
            state,
            kept.map(|kept| i16::try_from(kept.status).unwrap_or(i16::MAX)),
            kept.map(|kept| Json(&kept.headers)) as _,
            kept.map(|kept| kept.sealed.as_slice())
        )
        .execute(&self.database)
        .await
        .map(drop)
    }

    async fn free(&self, ask: &Ask) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "delete from idempotent_requests
             where account_id = $1 and key_hash = $2 and request_id = $3 and state = 'running'",
            ask.account,
            ask.key_hash.as_slice(),
            ask.request
        )
        .execute(&self.database)
        .await
        .map(drop)
    }

    /// Removes what has expired, and says how much it was.
    pub(super) async fn sweep(&self) -> Result<u64, sqlx::Error> {
        let swept =
            sqlx::query!("delete from idempotent_requests where expires_at <= now()").execute(&self.database).await?;
        Ok(swept.rows_affected())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::ask::tests::ask;
    use super::*;

    /// An account to ask for.
    pub(crate) async fn account(database: &PgPool) -> Uuid {
        let id = Uuid::now_v7();
        sqlx::query!("insert into accounts (id, name) values ($1, 'a')", id).execute(database).await.unwrap();
        id
    }

    /// Lets time pass for all that stands in the table.
    pub(crate) async fn pass(database: &PgPool, seconds: i32) {
        sqlx::query!(
            "update idempotent_requests set alive_at = alive_at - make_interval(secs => $1),
                expires_at = expires_at - make_interval(secs => $1)",
            f64::from(seconds)
        )
        .execute(database)
        .await
        .unwrap();
    }

    fn kept() -> Kept {
        let headers = HeaderMap::from_iter([("content-type".parse().unwrap(), HeaderValue::from_static("text/plain"))]);
        Kept { status: 200, headers: Headers::from(&headers), sealed: vec![1, 2, 3] }
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn one_claims_and_the_others_find_its_answer(database: PgPool) {
        let (account, claims) = (account(&database).await, Claims::new(database.clone(), Uuid::now_v7()));
        let (first, second) = (ask(account, "k", "{}"), ask(account, "k", "{}"));
        let tries = futures_util::future::join_all((0..8).map(|_| claims.claim(&first))).await;
        let claimed: Vec<Uuid> = tries.into_iter().filter_map(Result::unwrap).collect();
        assert_eq!(claimed, [first.request]);
        assert!(claims.claim(&second).await.unwrap().is_none());
        assert_eq!(claims.look(&second).await.unwrap(), Found::Running);
        claims.end(&first, &End::Kept(kept())).await.unwrap();
        assert!(claims.claim(&second).await.unwrap().is_none());
        assert_eq!(claims.look(&second).await.unwrap(), Found::Kept(kept()));
        let headers = HeaderMap::from(kept().headers);
        assert_eq!(headers["content-type"], "text/plain");
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn another_request_or_account_under_the_same_key_gets_nothing_of_it(database: PgPool) {
        let (mine, claims) = (account(&database).await, Claims::new(database.clone(), Uuid::now_v7()));
        let (first, other) = (ask(mine, "k", "{}"), ask(mine, "k", "{ }"));
        assert!(claims.claim(&first).await.unwrap().is_some());
        pass(&database, 11).await;
        assert!(claims.claim(&other).await.unwrap().is_none(), "not even when the first is dead");
        assert_eq!(claims.look(&other).await.unwrap(), Found::Another);
        claims.end(&first, &End::TooLong).await.unwrap();
        assert_eq!(claims.look(&first).await.unwrap(), Found::TooLong);
        assert_eq!(claims.look(&other).await.unwrap(), Found::Another);
        let theirs = ask(account(&database).await, "k", "{}");
        assert!(claims.claim(&theirs).await.unwrap().is_some());
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn a_failure_frees_the_key_for_any_request(database: PgPool) {
        let (account, claims) = (account(&database).await, Claims::new(database.clone(), Uuid::now_v7()));
        let first = ask(account, "k", "{}");
        assert!(claims.claim(&first).await.unwrap().is_some());
        claims.end(&first, &End::Freed).await.unwrap();
        assert_eq!(claims.look(&first).await.unwrap(), Found::Nothing);
        assert!(claims.claim(&ask(account, "k", "{ }")).await.unwrap().is_some());
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn a_silent_run_is_taken_over_and_can_then_change_nothing(database: PgPool) {
        let (account, claims) = (account(&database).await, Claims::new(database.clone(), Uuid::now_v7()));
        let (dead, heir) = (ask(account, "k", "{}"), ask(account, "k", "{}"));
        assert!(claims.claim(&dead).await.unwrap().is_some());
        pass(&database, 11).await;
        assert!(claims.renew(&dead).await.unwrap());
        assert!(claims.claim(&heir).await.unwrap().is_none(), "it has just said that it lives");
        pass(&database, 11).await;
        assert_eq!(claims.look(&heir).await.unwrap(), Found::Nothing);
        assert_eq!(claims.claim(&heir).await.unwrap(), Some(dead.request), "billed in the name of the first");
        assert!(!claims.renew(&dead).await.unwrap());
        claims.end(&dead, &End::TooLong).await.unwrap();
        claims.end(&dead, &End::Freed).await.unwrap();
        assert_eq!(claims.look(&heir).await.unwrap(), Found::Running);
        claims.end(&heir, &End::Kept(kept())).await.unwrap();
        pass(&database, 11).await;
        assert_eq!(claims.look(&dead).await.unwrap(), Found::Kept(kept()), "an answer does not fall silent");
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn after_a_day_a_key_is_free_and_swept(database: PgPool) {
        let (account, claims) = (account(&database).await, Claims::new(database.clone(), Uuid::now_v7()));
        let (first, other) = (ask(account, "k", "{}"), ask(account, "k", "{ }"));
        assert!(claims.claim(&first).await.unwrap().is_some());
        claims.end(&first, &End::Kept(kept())).await.unwrap();
        pass(&database, 24 * 3600 - 60).await;
        assert_eq!(claims.sweep().await.unwrap(), 0);
        assert!(claims.claim(&other).await.unwrap().is_none());
        pass(&database, 61).await;
        assert_eq!(claims.look(&first).await.unwrap(), Found::Nothing);
        assert!(claims.claim(&other).await.unwrap().is_some());
        assert_eq!(claims.look(&other).await.unwrap(), Found::Running);
        pass(&database, 24 * 3600 + 1).await;
        assert_eq!(claims.sweep().await.unwrap(), 1);
    }
}
