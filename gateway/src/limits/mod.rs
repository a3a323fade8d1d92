//! What a key, a user or an account may use. A key's requests keep to all three; what is not limited is null. The only
//! module that writes the table `limits`.

pub mod body;

pub mod check;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};
use sqlx::types::Json as SqlJson;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::address::network;
use crate::auth::key::Scope;
use crate::error::Problem;

/// Limits of one subject. None: no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Limits {
    pub requests_per_minute: Option<u64>,
    pub tokens_per_minute: Option<u64>,
    pub concurrent_requests: Option<u64>,
    pub nanocredits_per_day: Option<u64>,
    pub nanocredits_per_month: Option<u64>,
    pub microjoules_per_day: Option<u64>,
    /// As they are sent in `model`; never aliases, for which the model itself must be allowed.
    pub models: Option<Vec<String>>,
    #[serde(deserialize_with = "networks")]
    pub networks: Option<Vec<IpNet>>,
}

impl Limits {
    /// Management keys ask no models: only their networks can be limited.
    ///
    /// # Errors
    /// When there are limits that mean nothing to a key of this scope.
    pub fn suit(&self, scope: Scope) -> Result<(), Problem> {
        let only_networks = Self { networks: self.networks.clone(), ..Self::default() };
        if scope == Scope::Management && *self != only_networks {
            return Err(Problem::bad_request(
                "A management key asks no models: of the limits only `networks` is for it.",
            ));
        }
        Ok(())
    }
}

/// All limits that hold for a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyLimits {
    pub key: Limits,
    pub user: Limits,
    pub account: Limits,
}

impl KeyLimits {
    /// The key's, its creator's, its account's.
    pub fn all(&self) -> [&Limits; 3] {
        [&self.key, &self.user, &self.account]
    }
}

/// Whom limits are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Key(Uuid),
    User(Uuid),
    Account(Uuid),
}

/// Whom an administrator can limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    User,
    Account,
}

impl Kind {
    /// The user or the account of this id.
    pub const fn subject(self, id: Uuid) -> Subject {
        match self {
            Self::User => Subject::User(id),
            Self::Account => Subject::Account(id),
        }
    }
}

/// The limits of a key, a user or an account.
///
/// # Errors
/// When the database fails.
pub async fn of(connection: &mut PgConnection, subject: Uuid) -> Result<Limits, sqlx::Error> {
    let limits = sqlx::query_scalar!(
        r#"select to_jsonb(l) as "limits!: SqlJson<Limits>" from limits l where subject = $1"#,
        subject
    )
    .fetch_optional(connection)
    .await?;
    Ok(limits.map_or_else(Limits::default, |SqlJson(limits)| limits))
}

/// Gives a subject these limits instead of those that it had.
///
/// # Errors
/// When the database fails.
pub async fn set(connection: &mut PgConnection, subject: Subject, limits: &Limits) -> Result<(), sqlx::Error> {
    let (kind, id) = match subject {
        Subject::Key(id) => ("key", id),
        Subject::User(id) => ("user", id),
        Subject::Account(id) => ("account", id),
    };
    if *limits == Limits::default() {
        return sqlx::query!("delete from limits where subject = $1", id).execute(connection).await.map(drop);
    }
    let networks: Option<Vec<String>> =
        limits.networks.as_ref().map(|networks| networks.iter().map(IpNet::to_string).collect());
    sqlx::query!(
        "insert into limits (subject, kind, requests_per_minute, tokens_per_minute, concurrent_requests,
             nanocredits_per_day, nanocredits_per_month, microjoules_per_day, models, networks)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         on conflict (subject) do update set requests_per_minute = excluded.requests_per_minute,
             tokens_per_minute = excluded.tokens_per_minute, concurrent_requests = excluded.concurrent_requests,
             nanocredits_per_day = excluded.nanocredits_per_day, nanocredits_per_month = excluded.nanocredits_per_month,
             microjoules_per_day = excluded.microjoules_per_day, models = excluded.models,
             networks = excluded.networks, updated_at = now()",
        id,
        kind,
        bigint(limits.requests_per_minute),
        bigint(limits.tokens_per_minute),
        bigint(limits.concurrent_requests),
        bigint(limits.nanocredits_per_day),
        bigint(limits.nanocredits_per_month),
        bigint(limits.microjoules_per_day),
        limits.models.as_deref(),
        networks.as_deref()
    )
    .execute(connection)
    .await
    .map(drop)
}

/// True when there is such a user or account.
///
/// # Errors
/// When the database fails.
pub async fn exists(database: &PgPool, kind: Kind, id: Uuid) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select case when $1 then exists (select from users where id = $2)
               else exists (select from accounts where id = $2) end as "exists!""#,
        kind == Kind::User,
        id
    )
    .fetch_one(database)
    .await
}

/// What is beyond a `BIGINT` is no limit that anybody could reach: it is held at the maximum.
fn bigint(limit: Option<u64>) -> Option<i64> {
    limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX))
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<IpNet>>, D::Error> {
    let texts = Option::<Vec<String>>::deserialize(deserializer)?;
    let read = |text: String| network(&text).ok_or_else(|| de::Error::custom(format!("'{text}' is no network")));
    texts.map(|texts| texts.into_iter().map(read).collect()).transpose()
}

#[cfg(test)]
mod tests;
