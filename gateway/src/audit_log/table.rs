//! The table `audit_log`.

use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Who;

/// Longest act: what follows is cut off.
const LONGEST: usize = 2_000;

/// Something that was done, or refused.
#[derive(Debug)]
pub(crate) struct Act {
    pub(crate) id: Uuid,
    /// None at the command line.
    pub(crate) who: Option<Who>,
    pub(crate) address: Option<String>,
    /// As `POST /api/keys`, or `admin grant`.
    pub(crate) act: String,
    /// The HTTP status; 0 at the command line.
    pub(crate) status: u16,
}

/// An act as it is read.
pub struct Row {
    pub id: Uuid,
    pub at: OffsetDateTime,
    pub user_id: Option<Uuid>,
    pub email: Option<String>,
    pub account_id: Option<Uuid>,
    pub session_id: Option<Uuid>,
    pub key_id: Option<Uuid>,
    pub address: Option<String>,
    pub act: String,
    pub status: i16,
}

/// Adds an act.
pub(crate) async fn add(database: &PgPool, act: &Act) -> Result<(), sqlx::Error> {
    let text: String = act.act.chars().filter(|character| !character.is_control()).take(LONGEST).collect();
    sqlx::query!(
        "insert into audit_log (id, user_id, account_id, session_id, key_id, address, act, status)
         values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (id) do nothing",
        act.id,
        act.who.map(|who| who.user),
        act.who.map(|who| who.account),
        act.who.and_then(|who| who.session),
        act.who.and_then(|who| who.key),
        act.address,
        text,
        i16::try_from(act.status).unwrap_or(i16::MAX)
    )
    .execute(database)
    .await?;
    Ok(())
}

/// The latest acts before one, newest first: of an account, or of all.
///
/// # Errors
/// When the database fails.
pub async fn list(
    database: &PgPool,
    account: Option<Uuid>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"select a.id, a.at, a.user_id, u.email as "email?", a.account_id, a.session_id, a.key_id, a.address, a.act, a.status
           from audit_log a left join users u on u.id = a.user_id
           where ($1::uuid is null or a.account_id = $1) and ($2::uuid is null or a.id < $2)
           order by a.id desc limit $3"#,
        account,
        before,
        limit
    )
    .fetch_all(database)
    .await
}
