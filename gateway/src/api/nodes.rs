//! Nodes of the account, and the tokens with which they join. Administrators see every node.

use axum::http::StatusCode;
use openapi::node::{NodeStatus, Offer};
use serde::Serialize;
use sqlx::types::Json as SqlJson;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::internal;
use crate::app::App;
use crate::auth::User;
use crate::body::{Json, Path};
use crate::error::Problem;
use crate::nodes::enrol;

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
    /// What it offered last; null before it first connected.
    offer: Option<Offer>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    last_seen_at: Option<OffsetDateTime>,
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
    let rows = sqlx::query!(
        r#"select id, name, offer as "offer: SqlJson<Offer>", created_at, last_seen_at from nodes
           where removed_at is null and (account_id = $1 or $2) order by created_at"#,
        user.account,
        user.is_admin
    )
    .fetch_all(&app.database)
    .await?;
    let summary = |(id, name, offer, created_at, last_seen_at): (Uuid, String, Option<SqlJson<Offer>>, _, _)| {
        let live = app.nodes.get(id);
        NodeSummary {
            id,
            name,
            connected: live.is_some(),
            ways: live.as_ref().map(|node| node.reached_by()).unwrap_or_default(),
            status: live.map(|node| node.status()),
            offer: offer.map(|SqlJson(offer)| offer),
            created_at,
            last_seen_at,
        }
    };
    let data =
        rows.into_iter().map(|row| summary((row.id, row.name, row.offer, row.created_at, row.last_seen_at))).collect();
    Ok(Json(NodeList { data }))
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
