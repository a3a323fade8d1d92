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
    let (old, next, now) = (secrets.hash(refresh_token), secrets::random()?, OffsetDateTime::now_utc());
    let new = secrets.hash(&next);
    let renewed = sqlx::query!(
        "update sessions set refresh_hash = $2, previous_hash = $1
         where refresh_hash = $1 and ended_at is null and expires_at > $3 returning id, user_id",
        old.0.as_slice(),
        new.0.as_slice(),
        now
    )
    .fetch_optional(database)
    .await?;
    let Some(session) = renewed else {
        sqlx::query!(
            "update sessions set ended_at = $2 where previous_hash = $1 and ended_at is null",
            old.0.as_slice(),
            now
        )
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

/// The claims of an access token that is valid now.
pub fn check(secrets: &Secrets, access_token: &str) -> Option<Claims> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_audience(&[AUDIENCE]);
    validation.leeway = 0;
    jsonwebtoken::decode::<Claims>(access_token, &secrets.session_checking, &validation).ok().map(|data| data.claims)
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
    let access_token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &secrets.session_signing)?;
    Ok(Tokens { access_token, expires_in: ACCESS.whole_seconds(), refresh_token: Some(refresh_token) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_token_ends_and_can_t_be_forged() {
        let secrets = Secrets::derive(&[7; 32]).unwrap();
        let (user, session) = (Uuid::now_v7(), Uuid::now_v7());
        let at = |now| tokens(&secrets, user, session, String::new(), now).unwrap().access_token;
        let now = OffsetDateTime::now_utc();
        assert_eq!(check(&secrets, &at(now)).map(|claims| claims.sub), Some(user));
        assert!(check(&secrets, &at(now - Duration::minutes(16))).is_none());
        assert!(check(&Secrets::derive(&[8; 32]).unwrap(), &at(now)).is_none());
    }
}
