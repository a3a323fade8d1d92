//! Users and their accounts.

use sqlx::PgPool;
use uuid::Uuid;

/// A user as the other modules need one.
#[derive(Debug)]
pub struct Found {
    pub id: Uuid,
    pub account_id: Uuid,
    pub email: String,
    pub name: String,
    pub is_admin: bool,
    pub password_hash: String,
}

/// What a user is created from.
pub struct NewUser<'a> {
    pub email: &'a str,
    pub name: &'a str,
    pub password_hash: &'a str,
    pub is_admin: bool,
}

/// A user by id, with the account that was theirs first.
///
/// # Errors
/// When the database fails.
pub async fn find(database: &PgPool, id: Uuid) -> Result<Option<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        "select u.id, m.account_id, u.email, u.name, u.is_admin, u.password_hash
         from users u join members m on m.user_id = u.id where u.id = $1 order by m.created_at limit 1",
        id
    )
    .fetch_optional(database)
    .await
}

/// An address as it is stored, so that one address is one user. Letters become small as Unicode has it, here and not in
/// Postgres, whose ways depend on how the database was made.
pub fn normalised(email: &str) -> String {
    email.to_lowercase()
}

/// A user by address, in any case of letters.
///
/// # Errors
/// When the database fails.
pub async fn find_by_email(database: &PgPool, email: &str) -> Result<Option<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        "select u.id, m.account_id, u.email, u.name, u.is_admin, u.password_hash
         from users u join members m on m.user_id = u.id where u.email = $1 order by m.created_at limit 1",
        normalised(email)
    )
    .fetch_optional(database)
    .await
}

/// True when the user owns the account.
///
/// # Errors
/// When the database fails.
pub async fn owns(database: &PgPool, user: Uuid, account: Uuid) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from members where account_id = $1 and user_id = $2 and role = 'owner') as "owns!""#,
        account,
        user
    )
    .fetch_one(database)
    .await
}

/// True when this can be the address of a user.
pub fn is_address(email: &str) -> bool {
    email.contains('@')
        && email.len() <= 254
        && !email.contains(|letter: char| letter.is_control() || letter.is_whitespace())
}

/// Gives a user another password.
///
/// # Errors
/// When the database fails.
pub async fn set_password(database: &PgPool, user: Uuid, password_hash: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("update users set password_hash = $2 where id = $1", user, password_hash)
        .execute(database)
        .await
        .map(drop)
}

/// Creates a user who owns an account of the same name. `None` when the address is taken.
///
/// # Errors
/// When the database fails.
pub async fn create(database: &PgPool, user: NewUser<'_>) -> Result<Option<Uuid>, sqlx::Error> {
    let mut transaction = database.begin().await?;
    let (id, account) = (Uuid::now_v7(), Uuid::now_v7());
    let inserted = sqlx::query!(
        "insert into users (id, email, name, password_hash, is_admin) values ($1, $2, $3, $4, $5)
         on conflict on constraint users_email_key do nothing",
        id,
        normalised(user.email),
        user.name,
        user.password_hash,
        user.is_admin
    )
    .execute(&mut *transaction)
    .await?;
    if inserted.rows_affected() == 0 {
        return Ok(None);
    }
    sqlx::query!("insert into accounts (id, name) values ($1, $2)", account, user.name)
        .execute(&mut *transaction)
        .await?;
    sqlx::query!("insert into members (account_id, user_id, role) values ($1, $2, 'owner')", account, id)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(Some(id))
}

/// A user for tests: the account and the user.
#[cfg(test)]
pub(crate) async fn somebody(database: &PgPool) -> (Uuid, Uuid) {
    let email = format!("{}@example.com", Uuid::now_v7());
    let new = NewUser { email: &email, name: "Somebody", password_hash: "none", is_admin: false };
    let id = create(database, new).await.unwrap().unwrap();
    (find(database, id).await.unwrap().unwrap().account_id, id)
}
