//! The only module that writes the table `author_claims`.

use openapi::author::{AuthorClaim, NotClaimed};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// An author whom the ledger knows, or who has claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// As manifests have it.
    pub author: String,
    /// Nanocredits that were earned and not paid out.
    pub balance: i64,
    /// Whose that is.
    pub account: Option<Uuid>,
}

/// Why a claim changes nothing.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("This author has signed a claim at the same time or later. Sign a new one.")]
    Outdated,
    #[error("This author has a key, and claims with it: see `commonwatt author claim`.")]
    HasKey,
    #[error(
        "Nothing that this author has made was paid for yet, so the ledger does not know them. Their name is as in the manifest."
    )]
    NoAuthor,
    #[error("There is no such account.")]
    NoAccount,
    #[error("Nobody has claimed for this author.")]
    NoClaim,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// The authors whose earnings are an account's.
///
/// # Errors
/// When the database fails.
pub async fn of_account(database: &PgPool, account: Uuid) -> Result<Vec<String>, sqlx::Error> {
    let authors =
        sqlx::query_scalar!("select author from author_claims where account_id = $1 order by author", account);
    authors.fetch_all(database).await
}

/// Authors by name, those after one.
///
/// # Errors
/// When the database fails.
pub async fn list(database: &PgPool, after: Option<&str>, limit: i64) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"select author as "author!", coalesce(b.nanocredits, 0) as "balance!", c.account_id as "account?"
           from (select substr(account, 8) as author, nanocredits from balances where starts_with(account, 'author:')) b
           full join author_claims c using (author)
           where $1::text is null or author collate "C" > $1
           order by author collate "C" limit $2"#,
        after,
        limit
    )
    .fetch_all(database)
    .await
}

/// Takes a claim up that its author has signed, in place of an earlier one.
///
/// # Errors
/// [`Refused`] says why it changes nothing.
pub async fn take_up(database: &PgPool, claim: &AuthorClaim, token: &str, by: Uuid) -> Result<(), Refused> {
    let mut transaction = database.begin().await?;
    lock(&mut transaction, &claim.author).await?;
    let before = sqlx::query_scalar!("select claim from author_claims where author = $1", claim.author);
    if let Some(Some(before)) = before.fetch_optional(&mut *transaction).await? {
        let before = AuthorClaim::read(&before).map_err(unreadable)?;
        if before.at >= claim.at {
            return Err(Refused::Outdated);
        }
    }
    write(&mut transaction, &claim.author, claim.account, Some(token), by).await?;
    transaction.commit().await?;
    Ok(())
}

/// Says whose the earnings of an author without a key are.
///
/// # Errors
/// [`Refused`] says why it changes nothing.
pub async fn assign(database: &PgPool, author: &str, account: Uuid, by: Uuid) -> Result<(), Refused> {
    let mut transaction = database.begin().await?;
    lock(&mut transaction, author).await?;
    let known = sqlx::query!(
        r#"select exists (select from balances where account = 'author:' || $1::text)
               or exists (select from author_claims where author = $1) as "author!",
               exists (select from accounts where id = $2) as "account!""#,
        author,
        account
    );
    let known = known.fetch_one(&mut *transaction).await?;
    if !known.author {
        return Err(Refused::NoAuthor);
    }
    if !known.account {
        return Err(Refused::NoAccount);
    }
    write(&mut transaction, author, account, None, by).await?;
    transaction.commit().await?;
    Ok(())
}

/// Takes back what [`assign`] has said. What is paid stays paid.
///
/// # Errors
/// [`Refused`] says why it changes nothing.
pub async fn take_back(database: &PgPool, author: &str) -> Result<(), Refused> {
    let gone = sqlx::query!("delete from author_claims where author = $1 and claim is null", author);
    if gone.execute(database).await?.rows_affected() == 0 { Err(Refused::NoClaim) } else { Ok(()) }
}

/// One claim for an author at a time.
async fn lock(connection: &mut PgConnection, author: &str) -> Result<(), sqlx::Error> {
    let lock = sqlx::query!("select pg_advisory_xact_lock(hashtextextended($1, 0))", format!("claims of {author}"));
    lock.execute(connection).await.map(drop)
}

async fn write(
    connection: &mut PgConnection,
    author: &str,
    account: Uuid,
    claim: Option<&str>,
    by: Uuid,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into author_claims (author, account_id, claim, claimed_by) values ($1, $2, $3, $4)
         on conflict (author) do update set account_id = excluded.account_id, claim = excluded.claim,
            claimed_by = excluded.claimed_by, claimed_at = now()",
        author,
        account,
        claim,
        by
    )
    .execute(connection)
    .await
    .map(drop)
}

fn unreadable(error: NotClaimed) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}
