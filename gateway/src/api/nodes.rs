//! Nodes of the account, and the tokens with which they join. Administrators see and change every node.

use axum::http::StatusCode;
use openapi::node::{NodeStatus, Offer};
use serde::{Deserialize, Serialize};
use sqlx::types::Json as SqlJson;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{checked_name, internal};
use crate::app::App;
use crate::auth::User;
use crate::body::{Json, Path};
use crate::error::Problem;
use crate::limits::body::given;
use crate::nodes::enrol;
use crate::nodes::operate::{self, Change, Reach};
use crate::nodes::standing::{self, Work};

/// A token just made.
#[derive(Serialize, ToSchema)]
pub struct EnrolmentToken {
    /// Give it to the node as `COMMONWATT_TOKEN`. It works once and is shown this once.
    token: String,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
}

/// A node as its operator sees it.
#[derive(Serialize, ToSchema)]
pub struct NodeSummary {
    id: Uuid,
    name: String,
    /// Connected to the gateway, whichever replica answers.
    connected: bool,
    /// How the replica that answers reaches it, the best way first: `tunnel`, `attached`, `direct`, `replica`.
    ways: Vec<&'static str>,
    /// How it is now; null while it is not connected.
    status: Option<NodeStatus>,
    /// It gets no new work, because its operator wants none.
    paused: bool,
    /// What it offered last; null before it first connected.
    offer: Option<Offer>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    last_seen_at: Option<OffsetDateTime>,
}

/// A node, and what becomes of its work.
#[derive(Serialize, ToSchema)]
pub struct NodeDetail {
    #[serde(flatten)]
    summary: NodeSummary,
    work: Work,
}

/// What is to change about a node. What is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangedNode {
    #[serde(default, deserialize_with = "given")]
    name: Option<String>,
    /// True: it gets no new work, and running answers go on. False: it gets work again.
    #[serde(default, deserialize_with = "given")]
    paused: Option<bool>,
}

/// All nodes.
#[derive(Serialize, ToSchema)]
pub struct NodeList {
    data: Vec<NodeSummary>,
}

/// Makes a token with which one node can join this account.
#[utoipa::path(post, path = "/api/enrolment-tokens", tag = "Nodes", security(("session" = [])),
    responses((status = 201, body = EnrolmentToken), Problem))]
pub async fn create_token(app: App, user: User) -> Result<(StatusCode, Json<EnrolmentToken>), Problem> {
    let created = enrol::create_token(&app.database, &app.secrets, user.account).await;
    let (token, expires_at) = created.map_err(|error| internal(&error))?;
    Ok((StatusCode::CREATED, Json(EnrolmentToken { token, expires_at })))
}

/// Lists the account's nodes; all nodes for administrators.
#[utoipa::path(get, path = "/api/nodes", tag = "Nodes", security(("session" = [])), responses((status = 200, body = NodeList), Problem))]
pub async fn list(app: App, user: User) -> Result<Json<NodeList>, Problem> {
    let data = summaries(&app, reach(&user), None).await?;
    Ok(Json(NodeList { data }))
}

/// One node of the account, why it gets work or none, and what to do about it. Any node for administrators.
#[utoipa::path(get, path = "/api/nodes/{id}", tag = "Nodes", security(("session" = [])), params(("id" = Uuid, Path)),
    responses((status = 200, body = NodeDetail), Problem))]
pub async fn show(app: App, user: User, Path(id): Path<Uuid>) -> Result<Json<NodeDetail>, Problem> {
    let found = summaries(&app, reach(&user), Some(id)).await?.pop();
    let summary = found.ok_or_else(|| Problem::not_found("node"))?;
    let seen = standing::see(&app, id, summary.offer.clone()).await?.ok_or_else(|| Problem::not_found("node"))?;
    Ok(Json(NodeDetail { summary, work: seen.work }))
}

/// Renames, pauses or resumes a node. A paused node ends what runs: `work.running` of the node says when that is done.
#[utoipa::path(patch, path = "/api/nodes/{id}", tag = "Nodes", security(("session" = [])), params(("id" = Uuid, Path)),
    request_body = ChangedNode, responses((status = 204), Problem))]
pub async fn change(
    app: App,
    user: User,
    Path(id): Path<Uuid>,
    Json(changed): Json<ChangedNode>,
) -> Result<StatusCode, Problem> {
    let change = asked(&changed)?;
    if !operate::change(&app.database, reach(&user), id, change).await? {
        return Err(Problem::not_found("node"));
    }
    app.nodes.register(&app.database, Some(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn asked(changed: &ChangedNode) -> Result<Change<'_>, Problem> {
    let name = changed.name.as_deref().map(checked_name).transpose()?;
    let change = Change { name, paused: changed.paused };
    if change == Change::default() {
        return Err(Problem::bad_request("Nothing is to change: give `name`, `paused` or both."));
    }
    Ok(change)
}

/// Which nodes a user may touch.
pub(super) const fn reach(user: &User) -> Reach {
    if user.is_admin { Reach::All } else { Reach::Own(user.account) }
}

/// The nodes within reach, the oldest first; one or all.
async fn summaries(app: &App, reach: Reach, only: Option<Uuid>) -> Result<Vec<NodeSummary>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select id, name, paused_at is not null as "paused!", offer as "offer: SqlJson<Offer>", created_at, last_seen_at
           from nodes where removed_at is null and ($1::uuid is null or account_id = $1) and ($2::uuid is null or id = $2)
           order by created_at"#,
        reach.account(),
        only
    )
    .fetch_all(&app.database)
    .await?;
    let summaries = rows.into_iter().map(|row| {
        let live = app.nodes.get(row.id);
        NodeSummary {
            id: row.id,
            name: row.name,
            connected: live.is_some(),
            ways: live.as_ref().map(|node| node.reached_by()).unwrap_or_default(),
            status: live.map(|node| node.status()),
            paused: row.paused,
            offer: row.offer.map(|SqlJson(offer)| offer),
            created_at: row.created_at,
            last_seen_at: row.last_seen_at,
        }
    });
    Ok(summaries.collect())
}

/// Removes a node for good; its tunnel is closed and it must enrol anew to come back.
#[utoipa::path(delete, path = "/api/nodes/{id}", tag = "Nodes", security(("session" = [])), params(("id" = Uuid, Path)),
    responses((status = 204), Problem))]
pub async fn remove(app: App, user: User, Path(id): Path<Uuid>) -> Result<StatusCode, Problem> {
    if !enrol::remove(&app.database, user.account, id).await? {
        return Err(Problem::not_found("node"));
    }
    app.nodes.dismiss(id);
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(body: Value) -> Result<ChangedNode, serde_json::Error> {
        serde_json::from_value(body)
    }

    #[test]
    fn a_change_names_what_is_to_be_different() {
        let both = read(json!({"name": " two ", "paused": true})).unwrap();
        assert_eq!(asked(&both).unwrap(), Change { name: Some("two"), paused: Some(true) });
        assert_eq!(
            asked(&read(json!({"paused": false})).unwrap()).unwrap(),
            Change { name: None, paused: Some(false) }
        );
        for unreadable in [json!({"name": null}), json!({"paused": "yes"}), json!({"pause": true})] {
            assert!(read(unreadable.clone()).is_err(), "{unreadable}");
        }
        for wrong in [json!({}), json!({"name": " "}), json!({"name": "n".repeat(101), "paused": true})] {
            assert!(asked(&read(wrong.clone()).unwrap()).is_err(), "{wrong}");
        }
    }
}
