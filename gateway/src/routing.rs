//! What an account asks of nodes where its requests do not: a `provider` object. The only module that writes the table
//! `account_routing`.

use openapi::error::ApiError;
use serde_json::Value;
use sqlx::PgPool;
use sqlx::types::Json as SqlJson;
use uuid::Uuid;

use crate::nodes::preference::Preference;

/// Reads what was kept. It was valid then; a field that has become unknown asks for nothing.
pub fn given(provider: &Value) -> Preference {
    Preference::read(Some(provider)).unwrap_or_else(|error: ApiError| {
        tracing::error!(reason = error.detail.message, "an account's routing is not understood any more");
        Preference::default()
    })
}

/// What the account asks for; an empty object when nothing.
///
/// # Errors
/// When the database fails.
pub async fn of(database: &PgPool, account: Uuid) -> Result<Value, sqlx::Error> {
    let provider = sqlx::query_scalar!(
        r#"select provider as "provider: SqlJson<Value>" from account_routing where account_id = $1"#,
        account
    );
    let provider = provider.fetch_optional(database).await?;
    Ok(provider.map_or_else(|| Value::Object(serde_json::Map::new()), |SqlJson(provider)| provider))
}

/// Keeps what the account asks for. Every replica hears of it within a second.
///
/// # Errors
/// When the database fails.
pub async fn set(database: &PgPool, account: Uuid, preference: &Preference) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into account_routing (account_id, provider) values ($1, $2)
         on conflict (account_id) do update set provider = excluded.provider, updated_at = now()",
        account,
        SqlJson(preference.to_value()) as _
    )
    .execute(database)
    .await
    .map(drop)
}
