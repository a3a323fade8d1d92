//! Accounts with their members, as administrators see all and everybody sees their own.

use openapi::units::signed_credits;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::types::Json;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// Somebody who may use an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    pub user: Uuid,
    pub email: String,
    pub name: String,
    /// `owner` or `member`.
    pub role: String,
    pub is_admin: bool,
}

/// An account, what it has, and who may use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct AccountView {
    pub id: Uuid,
    pub name: String,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// What it may spend, in nanocredits.
    pub nanocredits: i64,
    /// The same as a decimal string.
    pub credits: String,
    /// Its nodes that have not been removed.
    pub nodes: i64,
    pub members: Vec<Member>,
}

/// Which accounts.
#[derive(Clone, Debug, Default)]
pub struct Which {
    /// This one alone.
    pub account: Option<Uuid>,
    /// Those in whose name, or in whose members' names or addresses, this text is, in any case of letters.
    pub text: Option<String>,
    /// Those that are older than this one.
    pub before: Option<Uuid>,
    pub limit: i64,
}

/// The accounts, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(database: &PgPool, which: &Which) -> Result<Vec<AccountView>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select a.id, a.name, a.created_at,
               coalesce((select nanocredits from balances where account = 'customer:' || a.id), 0) as "nanocredits!",
               (select count(*) from nodes n where n.account_id = a.id and n.removed_at is null) as "nodes!",
               (select coalesce(json_agg(json_build_object('user', u.id, 'email', u.email, 'name', u.name, 'role', m.role,
                       'is_admin', u.is_admin) order by m.created_at, u.id), '[]')
                   from members m join users u on u.id = m.user_id where m.account_id = a.id)
                   as "members!: Json<Vec<Member>>"
           from accounts a
           where ($1::uuid is null or a.id = $1) and ($2::uuid is null or a.id < $2)
               and ($3::text is null or strpos(lower(a.name), lower($3)) > 0 or exists (
                   select from members m join users u on u.id = m.user_id
                   where m.account_id = a.id and strpos(lower(u.email || ' ' || u.name), lower($3)) > 0))
           order by a.id desc limit $4"#,
        which.account,
        which.before,
        which.text,
        which.limit
    )
    .fetch_all(database)
    .await?;
    let views = rows.into_iter().map(|row| AccountView {
        id: row.id,
        name: row.name,
        created_at: row.created_at,
        nanocredits: row.nanocredits,
        credits: signed_credits(row.nanocredits),
        nodes: row.nodes,
        members: row.members.0,
    });
    Ok(views.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::user::{NewUser, create, find};

    async fn somebody(database: &PgPool, email: &str, name: &str) -> Uuid {
        let new = NewUser { email, name, password_hash: "none", is_admin: email.starts_with("admin") };
        let user = create(database, new).await.unwrap().unwrap();
        find(database, user).await.unwrap().unwrap().account_id
    }

    #[sqlx::test(migrations = "../migrations")]
    async fn accounts_are_found_by_whoever_may_use_them(database: PgPool) {
        let ada = somebody(&database, "admin@example.com", "Ada Byron").await;
        let bob = somebody(&database, "bob@example.com", "Bob 100%").await;
        let found = async |text: &str, before| {
            let which = Which { text: Some(text.to_owned()), before, limit: 10, account: None };
            list(&database, &which).await.unwrap().into_iter().map(|account| account.id).collect::<Vec<_>>()
        };
        assert_eq!(found("", None).await, [bob, ada], "newest first");
        assert_eq!(found("", Some(bob)).await, [ada]);
        assert_eq!(found("BYRON", None).await, [ada]);
        assert_eq!(found("bob@", None).await, [bob]);
        assert_eq!(found("%", None).await, [bob], "no pattern");
        let own = list(&database, &Which { account: Some(ada), limit: 1, ..Which::default() }).await.unwrap();
        let [AccountView { name, members, nodes: 0, nanocredits: 0, credits, .. }] = own.as_slice() else {
            panic!("{own:?}")
        };
        assert_eq!((name.as_str(), credits.as_str(), members.len()), ("Ada Byron", "0", 1));
        assert_eq!((members[0].role.as_str(), members[0].is_admin), ("owner", true));
    }
}
