//! Sessions of the management API: a signed access token of 15 minutes, renewed with a refresh token that works once.
//!
//! A reply with the next token may be lost. So a token that was used a moment ago gives the same next one again: that is made of
//! the token before and the time, and need not be kept for it. A thief gains that moment and no more: one token counts, and of
//! two who have it the one who uses it later than that ends the session.

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
/// A renewal is repeated for at least so many seconds, and at most twice as many.
const REPEATED_SECONDS: i64 = 30;
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

/// Renews a session. `None` when the refresh token is not the current one. Presenting the one before it gives the same reply for a
/// moment, and then ends the session, since two people have it.
///
/// # Errors
/// When the database fails.
pub async fn renew(database: &PgPool, secrets: &Secrets, refresh_token: &str) -> anyhow::Result<Option<Tokens>> {
    renew_at(database, secrets, refresh_token, OffsetDateTime::now_utc()).await
}

async fn renew_at(
    database: &PgPool,
    secrets: &Secrets,
    refresh_token: &str,
    now: OffsetDateTime,
) -> anyhow::Result<Option<Tokens>> {
    let old = secrets.hashes(refresh_token);
    let next = secrets.newest.next_refresh_token(refresh_token, period(now));
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
    match renewed {
        Some(session) => Ok(Some(tokens(secrets, session.user_id, session.id, next, now)?)),
        None => repeat(database, secrets, refresh_token, now).await,
    }
}

/// What a renewal a moment ago has given; the end of the session if it is longer ago.
async fn repeat(
    database: &PgPool,
    secrets: &Secrets,
    used: &str,
    now: OffsetDateTime,
) -> anyhow::Result<Option<Tokens>> {
    let found = sqlx::query!(
        "select id, user_id, refresh_hash from sessions
         where previous_hash = any($1) and ended_at is null and expires_at > $2",
        &secrets.hashes(used),
        now
    )
    .fetch_optional(database)
    .await?;
    let Some(session) = found else { return Ok(None) };
    // The replica that has renewed it may have a clock that goes before ours.
    let periods = [-1, 0, 1].map(|difference| period(now) + difference);
    let given = secrets.all().flat_map(|derived| periods.map(|period| derived.next_refresh_token(used, period)));
    let mut current = given.filter(|token| secrets.is_hash(&session.refresh_hash, token));
    if let Some(current) = current.next() {
        return Ok(Some(tokens(secrets, session.user_id, session.id, current, now)?));
    }
    end(database, session.id).await?;
    Ok(None)
}

/// The stretch of time in which a token was renewed, which its successor is made of.
fn period(now: OffsetDateTime) -> i64 {
    now.unix_timestamp() / REPEATED_SECONDS
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
    use crate::auth::user::somebody;
    use crate::secrets::Standing;

    const ONE: [u8; 32] = [7; 32];

    /// A session, and how its tokens are renewed so many seconds after it began, as periods are cut.
    async fn session(database: &PgPool, secrets: &Secrets) -> (String, OffsetDateTime) {
        let (_, user) = somebody(database).await;
        let began = OffsetDateTime::now_utc().unix_timestamp();
        let began = OffsetDateTime::from_unix_timestamp(began - began % REPEATED_SECONDS).unwrap();
        (begin(database, secrets, user).await.unwrap().refresh_token.unwrap(), began)
    }

    async fn renewed(database: &PgPool, secrets: &Secrets, token: &str, at: OffsetDateTime) -> Option<String> {
        renew_at(database, secrets, token, at).await.unwrap().map(|tokens| tokens.refresh_token.unwrap())
    }

    #[sqlx::test(migrations = "../migrations")]
    async fn a_reply_that_was_lost_comes_again(database: PgPool) {
        let secrets = Secrets::derive(&ONE).unwrap();
        let (first, began) = session(&database, &secrets).await;
        let renew =
            async |token: &str, second| renewed(&database, &secrets, token, began + Duration::seconds(second)).await;
        let second = renew(&first, 29).await.unwrap();
        assert_ne!(first, second);
        assert_eq!(renew(&first, 59).await.as_ref(), Some(&second));
        let third = renew(&second, 59).await.unwrap();
        assert!(third != second && renew(&first, 59).await.is_none(), "one token before the current one, no more");
        assert_eq!(renew(&second, 29).await.as_ref(), Some(&third), "by a clock that goes after");
        assert!(renew(&third, 60).await.is_some());
    }

    #[sqlx::test(migrations = "../migrations")]
    async fn a_token_that_two_people_have_ends_the_session(database: PgPool) {
        let secrets = Secrets::derive(&ONE).unwrap();
        let (first, began) = session(&database, &secrets).await;
        let renew =
            async |token: &str, second| renewed(&database, &secrets, token, began + Duration::seconds(second)).await;
        let second = renew(&first, 0).await.unwrap();
        assert_eq!(renew(&first, 59).await.as_ref(), Some(&second), "the thief is as fast as a client that asks again");
        let third = renew(&second, 900).await.unwrap();
        assert!(renew(&second, 960).await.is_none(), "the other one, when the access token has ended");
        assert!(renew(&third, 961).await.is_none(), "neither has it any more");
        assert!(renew(&second, 930).await.is_none());
    }

    #[sqlx::test(migrations = "../migrations")]
    async fn a_reply_comes_again_whatever_becomes_of_the_secret(database: PgPool) {
        let (before, forgotten) = (Secrets::derive(&ONE).unwrap(), Secrets::derive(&[9; 32]).unwrap());
        for standing in [Standing::Trusted, Standing::Retired] {
            let (first, began) = session(&database, &before).await;
            let second = renewed(&database, &before, &first, began).await;
            let after = Secrets::derive(&[8; 32]).unwrap().beside(&ONE, standing).unwrap();
            assert_eq!(renewed(&database, &after, &first, began).await, second, "{standing:?}");
            assert!(renewed(&database, &forgotten, &first, began).await.is_none());
            assert!(renewed(&database, &after, &second.unwrap(), began).await.is_some(), "nothing was ended by that");
        }
    }

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
