//! The only module that writes the table `model_aliases`. Every replica hears of a change within a second.

use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

/// An alias and the model that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub alias: String,
    pub model: String,
    pub updated_at: OffsetDateTime,
}

/// All of them, in alphabetical order.
///
/// # Errors
/// When the database fails.
pub async fn all(database: &PgPool) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(Row, "select alias, model, updated_at from model_aliases order by alias").fetch_all(database).await
}

/// Lets a name stand for a model from now on, in the name of a user.
///
/// # Errors
/// When the database fails.
pub async fn set(database: &PgPool, alias: &str, model: &str, user: Uuid) -> Result<Row, sqlx::Error> {
    sqlx::query_as!(
        Row,
        "insert into model_aliases (alias, model, set_by) values ($1, $2, $3)
         on conflict (alias) do update set model = excluded.model, set_by = excluded.set_by, updated_at = now()
         returning alias, model, updated_at",
        alias,
        model,
        user
    )
    .fetch_one(database)
    .await
}

/// Forgets an alias. False when there is none of this name.
///
/// # Errors
/// When the database fails.
pub async fn remove(database: &PgPool, alias: &str) -> Result<bool, sqlx::Error> {
    let removed = sqlx::query!("delete from model_aliases where alias = $1", alias).execute(database).await?;
    Ok(removed.rows_affected() > 0)
}
