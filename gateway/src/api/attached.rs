//! Servers with OpenAI's API that administrators attach: each is a node from then on.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{administrators_only, checked_name, internal};
use crate::app::App;
use crate::auth::User;
use crate::body::{Json, Path};
use crate::error::Problem;
use crate::nodes::attached::described::{DescribedModel, Description};
use crate::nodes::attached::table::{self, NewServer, NotAttached, Server};
use crate::nodes::enrol;

/// A server to attach.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAttached {
    name: String,
    /// What comes before `/chat/completions`, such as `http://10.0.0.5:8000/v1`.
    url: String,
    /// Its API key, if it asks for one. Kept encrypted, never shown again.
    key: Option<String>,
    models: Vec<DescribedModel>,
    /// Requests that it computes at the same time.
    slots: u32,
    /// Where it stands: a country of ISO 3166-1 or a part of one.
    region: Option<openapi::region::Region>,
    /// Its operator's word that nothing of what is sent to it is kept or learned from.
    #[serde(default)]
    denies_data_collection: bool,
    /// Zone of its electricity grid, such as `DE` or `US-CA`, for its carbon.
    zone: Option<String>,
}

/// Another key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttachedKey {
    /// Null: it asks for none any more.
    key: Option<String>,
}

/// An attached server.
#[derive(Serialize, ToSchema)]
pub struct AttachedView {
    /// As a node.
    id: Uuid,
    name: String,
    url: String,
    has_key: bool,
    /// It answers the replica that answers this.
    connected: bool,
    #[serde(flatten)]
    description: Description,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

/// All attached servers.
#[derive(Serialize, ToSchema)]
pub struct AttachedList {
    data: Vec<AttachedView>,
}

/// The node that the server is from now on.
#[derive(Serialize, ToSchema)]
pub struct AttachedNode {
    id: Uuid,
}

impl From<NotAttached> for Problem {
    fn from(error: NotAttached) -> Self {
        match error {
            NotAttached::Refused(reason) => Self::bad_request(reason),
            NotAttached::Failed(error) => internal(&error),
        }
    }
}

/// Attaches a server, once it answers at its URL. Its income is the administrator's account's. For administrators.
#[utoipa::path(post, path = "/api/attached", tag = "Nodes", security(("session" = [])), request_body = NewAttached,
    responses((status = 201, body = AttachedNode), Problem))]
pub async fn attach(
    app: App,
    user: User,
    Json(new): Json<NewAttached>,
) -> Result<(StatusCode, Json<AttachedNode>), Problem> {
    administrators_only(&user)?;
    let new = NewServer {
        partner: None,
        name: checked_name(&new.name)?.to_owned(),
        url: new.url,
        key: new.key,
        description: Description {
            models: new.models,
            slots: new.slots,
            region: new.region,
            denies_data_collection: new.denies_data_collection,
            zone: new.zone,
        },
    };
    let id = table::attach(&app, (user.id, user.account), &new).await?;
    Ok((StatusCode::CREATED, Json(AttachedNode { id })))
}

/// Lists the attached servers. For administrators.
#[utoipa::path(get, path = "/api/attached", tag = "Nodes", security(("session" = [])),
    responses((status = 200, body = AttachedList), Problem))]
pub async fn list(app: App, user: User) -> Result<Json<AttachedList>, Problem> {
    administrators_only(&user)?;
    let view = |server: Server| AttachedView {
        connected: app.nodes.get(server.id).is_some(),
        id: server.id,
        name: server.name,
        url: server.url,
        has_key: server.has_key,
        description: server.description,
        created_at: server.created_at,
    };
    Ok(Json(AttachedList { data: table::list(&app.database).await?.into_iter().map(view).collect() }))
}

/// Gives a server another key, once it answers with it. For administrators.
#[utoipa::path(patch, path = "/api/attached/{id}", tag = "Nodes", security(("session" = [])), params(("id" = Uuid, Path)),
    request_body = AttachedKey, responses((status = 204), Problem))]
pub async fn change(
    app: App,
    user: User,
    Path(id): Path<Uuid>,
    Json(AttachedKey { key }): Json<AttachedKey>,
) -> Result<StatusCode, Problem> {
    administrators_only(&user)?;
    if table::set_key(&app, id, key).await? { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("server")) }
}

/// Detaches a server for good, and forgets its key. For administrators.
#[utoipa::path(delete, path = "/api/attached/{id}", tag = "Nodes", security(("session" = [])), params(("id" = Uuid, Path)),
    responses((status = 204), Problem))]
pub async fn detach(app: App, user: User, Path(id): Path<Uuid>) -> Result<StatusCode, Problem> {
    administrators_only(&user)?;
    if !enrol::detach(&app.database, id).await? {
        return Err(Problem::not_found("server"));
    }
    app.nodes.register(&app.database, Some(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
