//! Sessions of the management API: a signed access token of 15 minutes, renewed with a refresh token that works once.

use jsonwebtoken::{Algorithm, Header, Validation};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::secrets::{self, Secrets};

const ACCESS: Duration = Duration::minutes(15);
/// How long a refresh token is good for.
pub(super) const REFRESH: Duration = Duration::days(30);
const AUDIENCE: &str = "commonwatt-api";

/// What an access token says.
#[derive(Debug, Serialize, Deserialize)]
pub struct Claims {
    /// The user.
    pub sub: Uuid,
    /// The session.
    pub sid: Uuid,
    aud: String,
    exp: i64,
    iat: i64,
}

/// A pair of tokens.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tokens {
    /// Send as `Authorization: Bearer …` on `/api`.
    pub access_token: String,
    /// Seconds until it ends.
    pub expires_in: i64,
    /// Gives the next pair, once, at `POST /api/sessions/refresh`. Not there when a cookie bears it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
}

/// Begins a session.
///
/// # Errors
/// When the database or the system's randomness fails.
pub async fn begin(database: &PgPool, secrets: &Secrets, user: Uuid) -> anyhow::Result<Tokens> {
    let (id, refresh_token, now) = (Uuid::now_v7(), secrets::random()?, OffsetDateTime::now_utc());
    let hash = secrets.hash(&refresh_token);
    sqlx::query!(
        "insert into sessions (id, user_id, refresh_hash, expires_at) values ($1, $2, $3, $4)",
        id,
        user,
        hash.0.as_slice(),
        now + REFRESH
    )
    .execute(database)
    .await?;
    Ok(tokens(secrets, user, id, refresh_token, now)?)
}

/// Renews a session. `None` when the refresh token is not the current one; presenting an older one ends the session,
/// since two people have it then.
///
/// # Errors
/// When the database or the system's randomness fails.
pub async fn renew(database: &PgPool, secrets: &Secrets, refresh_token: &str) -> anyhow::Result<Option<Tokens>> {
    let (old, next, now) = (secrets.hashes(refresh_token), secrets::random()?, OffsetDateTime::now_utc());
    let new = secrets.hash(&next);
    let renewed = sqlx::query!(
        "update sessions set refresh_hash = $2, previous_hash = refresh_hash
         where refresh_hash = any($1) and ended_at is null and expires_at > $3 returning id, user_id",
        &old,
        new.0.as_slice(),
        now
    )
    .fetch_optional(database)
    .await?;
    let Some(session) = renewed else {
        sqlx::query!("update sessions set ended_at = $2 where previous_hash = any($1) and ended_at is null", &old, now)
            .execute(database)
            .await?;
        return Ok(None);
    };
    Ok(Some(tokens(secrets, session.user_id, session.id, next, now)?))
}

/// Ends a session. Its access token runs out by itself.
///
/// # Errors
/// When the database fails.
pub async fn end(database: &PgPool, session: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("update sessions set ended_at = now() where id = $1 and ended_at is null", session)
        .execute(database)
        .await
        .map(drop)
}

/// Ends every session of a user but one. Their access tokens run out by themselves.
///
/// # Errors
/// When the database fails.
pub async fn end_others(database: &PgPool, user: Uuid, but: Option<Uuid>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update sessions set ended_at = now() where user_id = $1 and id is distinct from $2 and ended_at is null",
        user,
        but
    )
    .execute(database)
    .await
    .map(drop)
}

/// The claims of an access token that is valid now.
pub fn check(secrets: &Secrets, access_token: &str) -> Option<Claims> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_audience(&[AUDIENCE]);
    validation.leeway = 0;
    let read = |key| jsonwebtoken::decode::<Claims>(access_token, key, &validation).ok();
    secrets.trusted().find_map(|trusted| read(&trusted.session_checking)).map(|data| data.claims)
}

fn tokens(
    secrets: &Secrets,
    user: Uuid,
    session: Uuid,
    refresh_token: String,
    now: OffsetDateTime,
) -> jsonwebtoken::errors::Result<Tokens> {
    let claims = Claims {
        sub: user,
        sid: session,
        aud: AUDIENCE.to_owned(),
        exp: (now + ACCESS).unix_timestamp(),
        iat: now.unix_timestamp(),
    };
    let access_token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &secrets.newest.session_signing)?;
    Ok(Tokens { access_token, expires_in: ACCESS.whole_seconds(), refresh_token: Some(refresh_token) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Standing;

    #[test]
    fn an_access_token_ends_and_can_t_be_forged() {
        let secrets = Secrets::derive(&[7; 32]).unwrap();
        let (user, session) = (Uuid::now_v7(), Uuid::now_v7());
        let at = |now| tokens(&secrets, user, session, String::new(), now).unwrap().access_token;
        let now = OffsetDateTime::now_utc();
        assert_eq!(check(&secrets, &at(now)).map(|claims| claims.sub), Some(user));
        assert!(check(&secrets, &at(now - Duration::minutes(16))).is_none());
        let another = || Secrets::derive(&[8; 32]).unwrap();
        assert!(check(&another(), &at(now)).is_none());
        for (standing, counts) in [(Standing::Trusted, true), (Standing::Retired, false)] {
            let both = another().beside(&[7; 32], standing).unwrap();
            assert_eq!(check(&both, &at(now)).is_some(), counts, "{standing:?}");
        }
    }
}
