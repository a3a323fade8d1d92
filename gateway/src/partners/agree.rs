//! Two gateways become partners, or stop being so. Each of both is told by its own administrator.

use uuid::Uuid;

use super::client::Shown;
use super::table::{self, NewPartner, Partner};
use crate::app::App;
use crate::nodes::attached::table::{self as servers, NotAttached};
use crate::nodes::direct::url::{NodeUrl, PlainText, Purpose};
use crate::nodes::enrol;

/// What an administrator says of a gateway.
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    pub(super) account: Uuid,
    pub(super) url: &'a str,
    /// With which it answers us.
    pub(super) key: Option<String>,
}

/// Makes a gateway a partner, once it can be reached and says what its log is called.
///
/// # Errors
/// What the administrator has to change.
pub(super) async fn begin(app: &App, user: Uuid, wanted: Wanted<'_>) -> Result<Uuid, NotAttached> {
    let url = address(wanted.url)?;
    let (origin, log_keys) = log_of(app, &url).await?;
    if origin == app.log.origin() {
        return Err(NotAttached::Refused("That is this gateway itself.".to_owned()));
    }
    let (account, name) = (wanted.account, wanted.name);
    let new = NewPartner { account, name, url: &url, origin: &origin, log_keys: &log_keys, by: user };
    let added = table::add(&app.database, &new).await?.ok_or_else(|| {
        let advice = "There is no such account, or it is another partner's already. Make one for the partner with POST /api/users.";
        NotAttached::Refused(advice.to_owned())
    })?;
    if let Some(key) = wanted.key
        && let Err(error) = buy(app, user, (added, account), (name, &url, key)).await
    {
        table::end(&app.database, added).await?;
        return Err(error);
    }
    Ok(added)
}

/// Has a partner answer us from now on, with this key; or with another one than before.
///
/// # Errors
/// What the administrator has to change.
pub(super) async fn set_key(app: &App, user: Uuid, partner: &Partner, key: String) -> Result<(), NotAttached> {
    match partner.node {
        Some(node) => servers::set_key(app, node, Some(key)).await.map(drop),
        None => buy(app, user, (partner.id, partner.account), (&partner.name, &partner.url, key)).await,
    }
}

/// Believes the keys that a partner's log has now: it has changed them, and said so to the administrator.
///
/// # Errors
/// When it can't be asked, or its log is another one.
pub(super) async fn trust_log(app: &App, partner: &Partner) -> Result<(), NotAttached> {
    let (origin, log_keys) = log_of(app, &partner.url).await?;
    if origin != partner.origin {
        let advice = format!("Its log is called {origin}, and was {}: that is another gateway.", partner.origin);
        return Err(NotAttached::Refused(advice));
    }
    Ok(table::trust(&app.database, partner.id, &log_keys).await?)
}

/// Ends it: nothing is asked of the partner any more. What was owed until then stays in the books.
///
/// # Errors
/// When the database fails.
pub(super) async fn end(app: &App, partner: &Partner) -> Result<(), sqlx::Error> {
    table::end(&app.database, partner.id).await?;
    if let Some(node) = partner.node {
        enrol::detach(&app.database, node).await?;
        app.nodes.register(&app.database, Some(node)).await?;
    }
    Ok(())
}

async fn buy(
    app: &App,
    user: Uuid,
    (partner, account): (Uuid, Uuid),
    (name, url, key): (&str, &str, String),
) -> Result<(), NotAttached> {
    servers::attach_partner(app, (user, account), partner, (name, &format!("{url}/v1"), key)).await.map(drop)
}

async fn log_of(app: &App, url: &str) -> Result<(String, String), NotAttached> {
    let said = async { Shown::at(app, url)?.log_keys().await };
    said.await.map_err(|error| NotAttached::Refused(format!("The gateway can't be used: {error:#}.")))
}

/// What comes before `/v1`.
fn address(url: &str) -> Result<String, NotAttached> {
    let bare = url.trim_end_matches('/');
    let bare = bare.strip_suffix("/v1").unwrap_or(bare);
    let parsed = NodeUrl::parse(bare, Purpose::Attached, PlainText::Allowed);
    parsed.map(|parsed| parsed.to_string()).map_err(|error| NotAttached::Refused(error.to_string()))
}
