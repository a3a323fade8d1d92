//! What an operator does with a node that has joined: its name, pauses, maintenance and key. With `enrol.rs` the only module
//! that writes the table `nodes`, and the only one that writes `node_maintenance`.

use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

/// So many times of maintenance of a node may go on or be to come.
pub const MOST_WINDOWS: i64 = 100;

/// Whose nodes may be touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those of an account.
    Own(Uuid),
    /// All: for administrators.
    All,
}

impl Reach {
    /// The account, if there is but one.
    pub const fn account(self) -> Option<Uuid> {
        match self {
            Self::Own(account) => Some(account),
            Self::All => None,
        }
    }
}

/// What is to be different about a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change<'a> {
    pub name: Option<&'a str>,
    /// True: no new work from now on; what runs goes on.
    pub paused: Option<bool>,
}

/// A time in which a node gets no new work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub id: Uuid,
    pub from: OffsetDateTime,
    pub until: OffsetDateTime,
}

/// What has become of a wish for maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planned {
    Window(Window),
    /// No such node within reach.
    NoNode,
    /// [`MOST_WINDOWS`] are open already.
    TooMany,
}

/// What has become of a change of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    Done,
    /// The key that was to be replaced counts no longer.
    Outdated,
    /// Another node has the new key.
    Taken,
}

/// Renames, pauses or resumes a node. False when there is no such node within reach.
///
/// # Errors
/// When the database fails.
pub async fn change(database: &PgPool, reach: Reach, node: Uuid, change: Change<'_>) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update nodes set name = coalesce($3, name),
             paused_at = case $4::boolean when true then coalesce(paused_at, now()) when false then null else paused_at end
         where id = $1 and removed_at is null and ($2::uuid is null or account_id = $2)",
        node,
        reach.account(),
        change.name,
        change.paused
    );
    Ok(done.execute(database).await?.rows_affected() == 1)
}

/// Notes a time of maintenance.
///
/// # Errors
/// When the database fails.
pub async fn plan(
    database: &PgPool,
    reach: Reach,
    node: Uuid,
    (from, until): (OffsetDateTime, OffsetDateTime),
) -> Result<Planned, sqlx::Error> {
    let mut transaction = database.begin().await?;
    // Whoever plans at the same time waits, so that both are counted.
    let found = sqlx::query_scalar!(
        "select 1 as one from nodes where id = $1 and removed_at is null and ($2::uuid is null or account_id = $2)
         for no key update",
        node,
        reach.account()
    );
    if found.fetch_optional(&mut *transaction).await?.is_none() {
        return Ok(Planned::NoNode);
    }
    let open = sqlx::query_scalar!(
        r#"select count(*) as "count!" from node_maintenance where node_id = $1 and ends_at > now()"#,
        node
    );
    if open.fetch_one(&mut *transaction).await? >= MOST_WINDOWS {
        return Ok(Planned::TooMany);
    }
    let window = sqlx::query_as!(
        Window,
        r#"insert into node_maintenance (id, node_id, starts_at, ends_at) values ($1, $2, $3, $4)
           returning id, starts_at as "from", ends_at as until"#,
        Uuid::now_v7(),
        node,
        from,
        until
    )
    .fetch_one(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(Planned::Window(window))
}

/// The times of maintenance that go on or are to come, the earliest first. None when there is no such node within reach.
///
/// # Errors
/// When the database fails.
pub async fn windows(database: &PgPool, reach: Reach, node: Uuid) -> Result<Option<Vec<Window>>, sqlx::Error> {
    let found = sqlx::query_scalar!(
        "select 1 as one from nodes where id = $1 and removed_at is null and ($2::uuid is null or account_id = $2)",
        node,
        reach.account()
    );
    if found.fetch_optional(database).await?.is_none() {
        return Ok(None);
    }
    let windows = sqlx::query_as!(
        Window,
        r#"select id, starts_at as "from", ends_at as until from node_maintenance
           where node_id = $1 and ends_at > now() order by starts_at, id"#,
        node
    );
    windows.fetch_all(database).await.map(Some)
}

/// Takes a time of maintenance back; if it goes on, it is over. False when there is none within reach.
///
/// # Errors
/// When the database fails.
pub async fn call_off(database: &PgPool, reach: Reach, node: Uuid, window: Uuid) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "delete from node_maintenance m using nodes n
         where m.id = $3 and m.node_id = $1 and n.id = m.node_id and n.removed_at is null
             and ($2::uuid is null or n.account_id = $2)",
        node,
        reach.account(),
        window
    );
    Ok(done.execute(database).await?.rows_affected() == 1)
}

/// Puts a new key in the place of the one that counts. That one is still known for what it has signed.
///
/// # Errors
/// When the database fails.
pub(super) async fn replace_key(
    database: &PgPool,
    node: Uuid,
    (previous, public_key): (&[u8], &[u8]),
) -> Result<Replaced, sqlx::Error> {
    let done = sqlx::query!(
        "update nodes set public_key = $3, previous_public_key = public_key
         where id = $1 and public_key = $2 and removed_at is null",
        node,
        previous,
        public_key
    );
    match done.execute(database).await {
        Ok(done) if done.rows_affected() == 1 => Ok(Replaced::Done),
        Ok(_) => Ok(Replaced::Outdated),
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(Replaced::Taken),
        Err(error) => Err(error),
    }
}

/// The keys with which a node may have signed what it kept: the one that counts, and the one before it.
///
/// # Errors
/// When the database fails.
pub(crate) async fn signing_keys(database: &PgPool, node: Uuid) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    let keys = sqlx::query!("select public_key, previous_public_key from nodes where id = $1", node);
    let keys = keys.fetch_optional(database).await?;
    Ok(keys.map(|keys| keys.public_key.into_iter().chain(keys.previous_public_key).collect()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;
    use crate::auth::user::somebody;
    use crate::nodes::{enrol, registry};
    use crate::secrets::Secrets;

    async fn node(database: &PgPool, account: Uuid, key: [u8; 32]) -> Uuid {
        let secrets = Secrets::derive(&[1; 32]).unwrap();
        let (token, _) = enrol::create_token(database, &secrets, account).await.unwrap();
        enrol::bind(database, &secrets.hashes(&token), "one", &key).await.unwrap().unwrap()
    }

    async fn registered(database: &PgPool, node: Uuid) -> registry::Registered {
        registry::read(database, Some(node)).await.unwrap().remove(&node).unwrap().as_ref().clone()
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn operators_change_their_own_nodes_and_administrators_any(database: PgPool) {
        let (ada, eve) = (somebody(&database).await.0, somebody(&database).await.0);
        let node = node(&database, ada, [9; 32]).await;
        let rename = Change { name: Some("two"), paused: None };
        assert!(!change(&database, Reach::Own(eve), node, rename).await.unwrap());
        assert!(change(&database, Reach::Own(ada), node, rename).await.unwrap());
        let pause = |paused| Change { name: None, paused: Some(paused) };
        assert!(change(&database, Reach::All, node, pause(true)).await.unwrap());
        let both = registered(&database, node).await;
        assert_eq!((both.name.as_str(), both.paused), ("two", true), "what is not named stays");
        assert!(change(&database, Reach::Own(ada), node, rename).await.unwrap());
        assert!(registered(&database, node).await.paused, "a new name resumes nothing");
        assert!(change(&database, Reach::Own(ada), node, pause(false)).await.unwrap());
        assert!(!registered(&database, node).await.paused);
        assert!(enrol::remove(&database, ada, node).await.unwrap());
        assert!(!change(&database, Reach::All, node, rename).await.unwrap(), "a removed node is none");
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn maintenance_is_planned_listed_and_called_off(database: PgPool) {
        let (ada, eve) = (somebody(&database).await.0, somebody(&database).await.0);
        let node = node(&database, ada, [9; 32]).await;
        let now = OffsetDateTime::now_utc();
        let times = |from: i64, until: i64| (now + Duration::hours(from), now + Duration::hours(until));
        let Planned::Window(later) = plan(&database, Reach::Own(ada), node, times(5, 6)).await.unwrap() else {
            panic!()
        };
        let Planned::Window(soon) = plan(&database, Reach::All, node, times(-1, 1)).await.unwrap() else { panic!() };
        assert_eq!(plan(&database, Reach::Own(eve), node, times(1, 2)).await.unwrap(), Planned::NoNode);
        assert!(matches!(plan(&database, Reach::All, node, times(-3, -2)).await.unwrap(), Planned::Window(_)));
        assert_eq!(
            windows(&database, Reach::Own(ada), node).await.unwrap(),
            Some(vec![soon, later]),
            "past ones are gone"
        );
        assert_eq!(windows(&database, Reach::Own(eve), node).await.unwrap(), None);
        assert!(registered(&database, node).await.is_off(now));
        assert!(!call_off(&database, Reach::Own(eve), node, soon.id).await.unwrap());
        assert!(!call_off(&database, Reach::Own(ada), Uuid::now_v7(), soon.id).await.unwrap(), "another node's");
        assert!(call_off(&database, Reach::Own(ada), node, soon.id).await.unwrap());
        assert!(!registered(&database, node).await.is_off(now));
        for _ in 1..MOST_WINDOWS {
            assert!(matches!(plan(&database, Reach::All, node, times(1, 2)).await.unwrap(), Planned::Window(_)));
        }
        assert_eq!(plan(&database, Reach::All, node, times(1, 2)).await.unwrap(), Planned::TooMany);
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn a_key_is_replaced_once_and_the_one_before_it_is_remembered(database: PgPool) {
        let ada = somebody(&database).await.0;
        let (node, _other) = (node(&database, ada, [1; 32]).await, node(&database, ada, [7; 32]).await);
        let replace = async |from: u8, to: u8| replace_key(&database, node, (&[from; 32], &[to; 32])).await.unwrap();
        assert_eq!(signing_keys(&database, node).await.unwrap(), [vec![1; 32]]);
        assert_eq!(replace(1, 7).await, Replaced::Taken);
        assert_eq!(replace(1, 2).await, Replaced::Done);
        assert_eq!(replace(1, 3).await, Replaced::Outdated, "the old key counts no longer");
        assert_eq!(enrol::public_key(&database, node).await.unwrap(), Some(vec![2; 32]));
        assert_eq!(signing_keys(&database, node).await.unwrap(), [vec![2; 32], vec![1; 32]]);
        assert_eq!(replace(2, 3).await, Replaced::Done);
        assert_eq!(signing_keys(&database, node).await.unwrap(), [vec![3; 32], vec![2; 32]]);
        assert_eq!(signing_keys(&database, Uuid::now_v7()).await.unwrap(), Vec::<Vec<u8>>::new());
    }
}
