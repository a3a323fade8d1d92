//! How a node says at which URL it can be dialled.

use axum::http::{HeaderMap, StatusCode};
use openapi::error::ApiError;
use openapi::node::{Advertisement, DIRECT_PATH};

use super::follow::{self, Caller};
use super::url::{NodeUrl, PlainText, Purpose};
use crate::app::App;
use crate::body::SmallJson;
use crate::error::Failure;
use crate::nodes::{enrol, greeting};

/// Takes note of the URL at which the node that calls can be dialled, once it has proven to be there; null takes it back.
#[utoipa::path(post, path = DIRECT_PATH, tag = "Nodes", request_body = Advertisement,
    responses((status = 204, description = "The gateway dials it from now on, or not any more"), Failure))]
pub async fn advertise(app: App, headers: HeaderMap, SmallJson(body): SmallJson) -> Result<StatusCode, Failure> {
    let node = greeting::who(&app, &headers).await?;
    let said: Advertisement =
        serde_json::from_slice(&body).map_err(|error| ApiError::invalid_json(&error.to_string()))?;
    let url = match said.url {
        None => None,
        Some(text) => {
            let refused = |message: String| ApiError::invalid(message).with_param("url").with_code("unreachable_url");
            let url = NodeUrl::parse(&text, Purpose::Direct, PlainText::Allowed);
            let url = url.map_err(|error| refused(error.to_string()))?;
            let caller = Caller { dialler: &app.dialler, tasks: &app.tasks, secrets: &app.secrets };
            let reached = follow::reach(&caller, &url, &node).await;
            reached.map_err(|error| refused(format!("The gateway can't use this URL: {error:#}.")))?;
            Some(url.to_string())
        }
    };
    enrol::set_direct(&app.database, node.id, url.as_deref()).await?;
    tracing::info!(node = %node.id, url, "a node says where it can be dialled");
    app.nodes.register(&app.database, Some(node.id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
