//! Responses as they are kept. The only module that writes the table `responses`.

use openapi::responses::{Item, Response};
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;

/// A response that is kept, and the input that was its own.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kept {
    pub(super) input: Vec<Item>,
    pub(super) response: Response,
}

/// A conversation up to a response, in order. Instructions are not part of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Past {
    pub(super) items: Vec<Item>,
    /// As they are stored.
    pub(super) bytes: i64,
}

/// Why there is no conversation to go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPast {
    /// No such response in this account.
    Unknown,
    /// What it goes on from is not there any more.
    Broken,
    /// It has more bytes than may be asked for.
    TooLong,
}

/// What is written down.
pub(super) struct New<'a> {
    pub(super) id: Uuid,
    pub(super) account: Uuid,
    pub(super) previous: Option<Uuid>,
    pub(super) input: &'a [Item],
    pub(super) response: &'a Response,
    /// Of the conversation before it.
    pub(super) past_bytes: i64,
}

/// Keeps a response.
pub(super) async fn insert(database: &PgPool, new: &New<'_>) -> Result<(), sqlx::Error> {
    let text = |value: serde_json::Result<String>| value.map_err(|error| sqlx::Error::Encode(error.into()));
    let (input, response) = (text(serde_json::to_string(new.input))?, text(serde_json::to_string(new.response))?);
    let bytes = i64::try_from(input.len() + response.len()).unwrap_or(i64::MAX).saturating_add(new.past_bytes);
    sqlx::query!(
        "insert into responses (id, account_id, previous_id, input, response, bytes)
         values ($1, $2, $3, $4::text::json, $5::text::json, $6)",
        new.id,
        new.account,
        new.previous,
        input,
        response,
        bytes
    )
    .execute(database)
    .await
    .map(drop)
}

/// One of the account's responses.
pub(super) async fn find(database: &PgPool, account: Uuid, id: Uuid) -> Result<Option<Kept>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select input as "input: Json<Vec<Item>>", response as "response: Json<Response>"
         from responses where id = $1 and account_id = $2"#,
        id,
        account
    );
    let row = row.fetch_optional(database).await?;
    Ok(row.map(|row| Kept { input: row.input.0, response: row.response.0 }))
}

/// The conversation up to and with one of the account's responses, if it has at most so many bytes.
pub(super) async fn past(
    database: &PgPool,
    account: Uuid,
    id: Uuid,
    most_bytes: i64,
) -> Result<Result<Past, NoPast>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"with recursive past as (
             select previous_id, input, response, bytes as all_bytes, 0 as depth
             from responses where id = $1 and account_id = $2
             union all
             select r.previous_id, r.input, r.response, p.all_bytes, p.depth + 1
             from past p join responses r on r.id = p.previous_id and r.account_id = $2
             where p.all_bytes <= $3
         )
         select previous_id, input as "input!: Json<Vec<Item>>", response as "response!: Json<Response>",
             all_bytes as "all_bytes!"
         from past order by depth desc"#,
        id,
        account,
        most_bytes
    )
    .fetch_all(database)
    .await?;
    let Some(first) = rows.first() else { return Ok(Err(NoPast::Unknown)) };
    let bytes = first.all_bytes;
    if bytes > most_bytes {
        return Ok(Err(NoPast::TooLong));
    }
    if first.previous_id.is_some() {
        return Ok(Err(NoPast::Broken));
    }
    let items = rows.into_iter().flat_map(|row| row.input.0.into_iter().chain(row.response.0.output)).collect();
    Ok(Ok(Past { items, bytes }))
}

/// Forgets one of the account's responses; false when there is none.
pub(super) async fn delete(database: &PgPool, account: Uuid, id: Uuid) -> Result<bool, sqlx::Error> {
    let deleted =
        sqlx::query!("delete from responses where id = $1 and account_id = $2", id, account).execute(database).await?;
    Ok(deleted.rows_affected() == 1)
}

/// Deletes what is older than so many days, and says how many. Call it every hour.
///
/// # Errors
/// When the database fails.
pub(super) async fn sweep(database: &PgPool, days: u16) -> Result<u64, sqlx::Error> {
    let swept =
        sqlx::query!("delete from responses where created_at < now() - make_interval(days => $1)", i32::from(days));
    Ok(swept.execute(database).await?.rows_affected())
}
