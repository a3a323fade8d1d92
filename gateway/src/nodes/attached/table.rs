//! Attached servers at rest: the only module that writes the table `attached_servers`. Their keys are encrypted, and never
//! leave here but to be sent.

use std::sync::Arc;

use sqlx::PgPool;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::described::Description;
use super::{Attached, follow, mirror};
use crate::app::App;
use crate::nodes::direct::url::{NodeUrl, PlainText, Purpose};
use crate::nodes::enrol;
use crate::partners;

/// An attached server to be.
pub struct NewServer {
    /// It is this partner.
    pub partner: Option<Uuid>,
    pub name: String,
    pub url: String,
    pub key: Option<String>,
    pub description: Description,
}

/// What is shown of one.
pub struct Server {
    pub id: Uuid,
    pub name: String,
    pub url: String,
    pub has_key: bool,
    pub description: Description,
    pub created_at: OffsetDateTime,
}

/// What is needed to call one.
pub(super) struct Row {
    pub(super) url: String,
    pub(super) sealed_key: Option<Vec<u8>>,
    pub(super) description: Description,
    /// It is another gateway, whose offers are followed.
    pub(super) is_partner: bool,
}

/// Why a server is not attached.
#[derive(Debug, thiserror::Error)]
pub enum NotAttached {
    /// What the administrator has to change.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

impl From<sqlx::Error> for NotAttached {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Attaches a server that answers, for the account that gets its income.
///
/// # Errors
/// When the description or the URL is wrong, or the server does not answer.
pub async fn attach(app: &App, (user, account): (Uuid, Uuid), new: &NewServer) -> Result<Uuid, NotAttached> {
    let url = tried(app, new).await?;
    let (id, offer) = (Uuid::now_v7(), new.description.offer());
    let sealed_key = new.key.as_deref().map(|key| app.secrets.seal(id, key)).transpose()?;
    let row = Row {
        url: url.to_string(),
        sealed_key,
        description: new.description.clone(),
        is_partner: new.partner.is_some(),
    };
    insert(&app.database, (id, &new.name), (user, account), (&row, new.partner)).await?;
    app.prices.welcome(&app.database, id, &offer).await?;
    app.nodes.remember(&offer);
    app.nodes.register(&app.database, Some(id)).await?;
    Ok(id)
}

/// Attaches a partner: what it offers is asked of itself, now and from now on.
///
/// # Errors
/// When it does not answer, or offers nothing.
pub(crate) async fn attach_partner(
    app: &App,
    user: (Uuid, Uuid),
    partner: Uuid,
    (name, url, key): (&str, &str, String),
) -> Result<Uuid, NotAttached> {
    let refused = |reason: &dyn std::fmt::Display| NotAttached::Refused(reason.to_string());
    let parsed = NodeUrl::parse(url, Purpose::Attached, PlainText::Allowed).map_err(|error| refused(&error))?;
    let server = Attached::new(Arc::clone(&app.dialler), parsed, Some(&key), &Description::default(), true);
    let server = server.map_err(|error| refused(&error))?;
    let offered = mirror::look(app, &server).await;
    let description = offered.map_err(|error| refused(&format_args!("The gateway can't be asked: {error:#}.")))?;
    if description.models.is_empty() {
        return Err(refused(&"The gateway offers no model to this key now. Try again when it does."));
    }
    let (name, url, key) = (name.to_owned(), url.to_owned(), Some(key));
    attach(app, user, &NewServer { partner: Some(partner), name, url, key, description }).await
}

/// Makes the node and what belongs to it, both or neither.
async fn insert(
    database: &PgPool,
    (id, name): (Uuid, &str),
    (user, account): (Uuid, Uuid),
    (row, partner): (&Row, Option<Uuid>),
) -> Result<(), sqlx::Error> {
    let mut transaction = database.begin().await?;
    enrol::attach(&mut transaction, (id, account), name, &row.description.offer()).await?;
    sqlx::query!(
        "insert into attached_servers (node_id, url, sealed_key, description, created_by) values ($1, $2, $3, $4, $5)",
        id,
        row.url,
        row.sealed_key,
        Json(&row.description) as _,
        user
    )
    .execute(&mut *transaction)
    .await?;
    if let Some(partner) = partner {
        partners::table::answers_as(&mut transaction, partner, id).await?;
    }
    transaction.commit().await
}

/// The URL, once everything is known to be right.
async fn tried(app: &App, new: &NewServer) -> Result<NodeUrl, NotAttached> {
    new.description.check().map_err(NotAttached::Refused)?;
    let refused = |reason: &dyn std::fmt::Display| NotAttached::Refused(reason.to_string());
    let url = NodeUrl::parse(&new.url, Purpose::Attached, PlainText::Allowed).map_err(|error| refused(&error))?;
    let dialler = Arc::clone(&app.dialler);
    let server = Attached::new(dialler, url.clone(), new.key.as_deref(), &new.description, new.partner.is_some());
    let server = server.map_err(|error| refused(&error))?;
    let probed = follow::probe(&server).await;
    probed.map_err(|error| refused(&format_args!("The server can't be used: {error:#}.")))?;
    Ok(url)
}

/// Gives a server another key, or none, once it is known to answer with it. False when there is no such server.
///
/// # Errors
/// When the server does not answer with the key.
pub async fn set_key(app: &App, id: Uuid, key: Option<String>) -> Result<bool, NotAttached> {
    let Some(row) = read(&app.database, id).await? else { return Ok(false) };
    let new = NewServer { partner: None, name: String::new(), url: row.url, key, description: row.description };
    tried(app, &new).await?;
    let sealed_key = new.key.as_deref().map(|key| app.secrets.seal(id, key)).transpose()?;
    let changed = sqlx::query!(
        "update attached_servers set sealed_key = $2, changed_at = now() where node_id = $1",
        id,
        sealed_key
    );
    let changed = changed.execute(&app.database).await?.rows_affected() == 1;
    app.nodes.register(&app.database, Some(id)).await?;
    Ok(changed)
}

/// Takes over what a server offers now. The way to it is made anew.
///
/// # Errors
/// When the database fails, or a price is beyond reason.
pub(super) async fn describe(app: &App, id: Uuid, description: &Description) -> anyhow::Result<()> {
    let offer = description.offer();
    sqlx::query!(
        "update attached_servers set description = $2, changed_at = now() where node_id = $1",
        id,
        Json(description) as _
    )
    .execute(&app.database)
    .await?;
    app.prices.welcome(&app.database, id, &offer).await?;
    app.nodes.remember(&offer);
    Ok(app.nodes.register(&app.database, Some(id)).await?)
}

/// Encrypts a server's key with the newest secret, unless somebody has changed it meanwhile.
///
/// # Errors
/// When the database or the system's randomness fails.
pub(super) async fn seal_anew(app: &App, id: Uuid, (key, sealed): (&str, &[u8])) -> anyhow::Result<()> {
    let anew = app.secrets.seal(id, key)?;
    let changed = sqlx::query!(
        "update attached_servers set sealed_key = $2 where node_id = $1 and sealed_key = $3",
        id,
        anew,
        sealed
    );
    changed.execute(&app.database).await?;
    Ok(())
}

/// All that are attached.
///
/// # Errors
/// When the database fails.
pub async fn list(database: &PgPool) -> Result<Vec<Server>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select n.id, n.name, a.url, a.sealed_key is not null as "has_key!",
               a.description as "description: Json<Description>", a.created_at
           from attached_servers a join nodes n on n.id = a.node_id where n.removed_at is null order by n.id"#
    );
    let server = |(id, name, url, has_key, description, created_at)| {
        let Json(description) = description;
        Server { id, name, url, has_key, description, created_at }
    };
    let rows = rows.fetch_all(database).await?.into_iter();
    Ok(rows.map(|row| server((row.id, row.name, row.url, row.has_key, row.description, row.created_at))).collect())
}

/// The key that a server is called with, if it has one.
///
/// # Errors
/// When the database fails, or the key can't be decrypted.
pub(crate) async fn key_of(app: &App, id: Uuid) -> anyhow::Result<Option<String>> {
    let Some(row) = read(&app.database, id).await? else { return Ok(None) };
    let unsealed = row.sealed_key.as_deref().map(|sealed| app.secrets.unseal(id, sealed)).transpose()?;
    Ok(unsealed.map(|unsealed| unsealed.key))
}

/// One that has not been removed.
pub(super) async fn read(database: &PgPool, id: Uuid) -> Result<Option<Row>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select url, sealed_key, description as "description: Json<Description>",
               exists (select from partners p where p.node_id = a.node_id and p.ended_at is null) as "is_partner!"
           from attached_servers a where a.node_id = $1"#,
        id
    );
    let row = row.fetch_optional(database).await?;
    Ok(row.map(|row| {
        let Json(description) = row.description;
        Row { url: row.url, sealed_key: row.sealed_key, description, is_partner: row.is_partner }
    }))
}

#[cfg(test)]
mod tests {
    use super::super::described::tests::described;
    use super::*;
    use crate::auth::user::{self, NewUser};
    use crate::nodes::registry::{self, Dialled};

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn a_server_is_a_node_that_is_dialled_until_it_is_detached_and_its_key_goes_with_it(database: PgPool) {
        let new = NewUser { email: "a@example.com", name: "A", password_hash: "-", is_admin: true };
        let user = user::create(&database, new).await.unwrap().unwrap();
        let account = user::find(&database, user).await.unwrap().unwrap().account_id;
        let (id, url, description) = (Uuid::now_v7(), "http://10.0.0.5:8000/v1".to_owned(), described());
        let row = Row {
            url: url.clone(),
            sealed_key: Some(vec![7; 40]),
            description: description.clone(),
            is_partner: false,
        };
        insert(&database, (id, "rack"), (user, account), (&row, None)).await.unwrap();

        let listed = list(&database).await.unwrap();
        assert_eq!((listed.len(), listed[0].id, listed[0].name.as_str(), listed[0].has_key), (1, id, "rack", true));
        assert_eq!((&listed[0].url, &listed[0].description), (&url, &description));
        assert_eq!(read(&database, id).await.unwrap().unwrap().sealed_key, Some(vec![7; 40]));
        let known = registry::read(&database, Some(id)).await.unwrap();
        assert!(matches!(known[&id].dialled, Some(Dialled::Attached(_))) && known[&id].operator == account);
        assert_eq!(enrol::public_key(&database, id).await.unwrap(), None, "it can't greet");
        assert_eq!(enrol::offers(&database).await.unwrap(), [description.offer()]);

        assert!(enrol::detach(&database, id).await.unwrap() && !enrol::detach(&database, id).await.unwrap());
        assert!(read(&database, id).await.unwrap().is_none() && list(&database).await.unwrap().is_empty());
        assert!(registry::read(&database, Some(id)).await.unwrap().is_empty());
    }

    #[sqlx::test(migrator = "crate::MIGRATOR")]
    async fn a_node_without_a_key_of_its_own_is_no_node(database: PgPool) {
        let new = NewUser { email: "a@example.com", name: "A", password_hash: "-", is_admin: true };
        let user = user::create(&database, new).await.unwrap().unwrap();
        let account = user::find(&database, user).await.unwrap().unwrap().account_id;
        let keyless = sqlx::query!("insert into nodes (id, account_id, name) values ($1, $2, 'n')", user, account);
        assert!(keyless.execute(&database).await.unwrap_err().to_string().contains("nodes_key_of_kind"));
    }
}
