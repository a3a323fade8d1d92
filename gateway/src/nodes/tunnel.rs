//! The gateway's end of a tunnel: a node dials in, proves who it is, and from then on the gateway calls the node.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, CONNECTION, UPGRADE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use openapi::error::ApiError;
use openapi::node::{
    Greeting, NodeStatus, OFFER_PATH, Offer, STATUS_PATH, TUNNEL_AUDIENCE, TUNNEL_PATH, TUNNEL_PROTOCOL,
};
use openapi::sse::Scanner;
use uuid::Uuid;

use super::{Node, enrol, lock};
use crate::app::App;
use crate::error::Failure;

/// A dead connection is noticed after at most the sum of the two.
const PING_EVERY: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
const OFFER_WITHIN: Duration = Duration::from_secs(15);
const LONGEST_OFFER: usize = 1024 * 1024;
const LONGEST_STATUS: usize = 4096;
/// The clocks of gateway and node may differ by this many seconds.
const CLOCK_SKEW_SECONDS: u64 = 120;

/// Opens a tunnel to the node that calls.
#[utoipa::path(get, path = TUNNEL_PATH, tag = "Nodes", responses((status = 101, description = "The roles swap: HTTP/2 to the node"), Failure))]
pub async fn open(app: App, mut request: Request) -> Result<Response, Failure> {
    let node = who(&app, request.headers()).await?;
    let upgrade = request.headers().get(UPGRADE).is_some_and(|protocol| protocol == TUNNEL_PROTOCOL);
    let Some(upgraded) = request.extensions_mut().remove::<OnUpgrade>().filter(|_| upgrade) else {
        let message = format!("A tunnel is opened with 'Connection: upgrade' and 'Upgrade: {TUNNEL_PROTOCOL}'.");
        return Err(ApiError::new(426, "invalid_request_error", Some("upgrade_required"), message).into());
    };
    app.tasks.spawn(hold(app.clone(), node, upgraded));
    let headers =
        [(CONNECTION, HeaderValue::from_static("upgrade")), (UPGRADE, HeaderValue::from_static(TUNNEL_PROTOCOL))];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

/// The node that signed the greeting.
async fn who(app: &App, headers: &HeaderMap) -> Result<Uuid, Failure> {
    let refused =
        || ApiError::new(401, "invalid_request_error", Some("unknown_node"), "This node is not enrolled here.");
    let greeting = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let greeting = greeting.ok_or_else(refused)?;
    let claimed = jsonwebtoken::dangerous::insecure_decode::<Greeting>(greeting).map_err(|_| refused())?.claims.sub;
    let key = enrol::public_key(&app.database, claimed).await?.ok_or_else(refused)?;
    let key = DecodingKey::from_ed_components(&BASE64_URL_SAFE_NO_PAD.encode(key)).map_err(|_| refused())?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[TUNNEL_AUDIENCE]);
    validation.leeway = CLOCK_SKEW_SECONDS;
    let proven = jsonwebtoken::decode::<Greeting>(greeting, &key, &validation).map_err(|_| refused())?.claims;
    Ok(proven.sub)
}

/// Keeps a tunnel for as long as it lasts.
async fn hold(app: App, id: Uuid, upgraded: OnUpgrade) {
    let ended = match upgraded.await {
        Ok(upgraded) => serve(&app, id, upgraded).await,
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => tracing::info!(node = %id, "a node has left"),
        Err(error) => tracing::warn!(node = %id, "a tunnel ended: {error:#}"),
    }
}

async fn serve(app: &App, id: Uuid, upgraded: Upgraded) -> anyhow::Result<()> {
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true);
    http.adaptive_window(true);
    let (sender, connection) = http.handshake(upgraded).await?;
    let connection = app.tasks.spawn(connection);
    let node = welcome(app, id, sender).await?;
    app.nodes.add(Arc::clone(&node));
    tracing::info!(node = %id, models = ?node.models.iter().map(|model| &model.name).collect::<Vec<_>>(), "a node is connected");
    let told = tokio::select! {
        told = follow_status(&node) => told,
        ended = connection => ended?.map_err(anyhow::Error::from),
        () = app.closing.cancelled() => Ok(()),
        () = node.dismissed.cancelled() => Ok(()),
    };
    app.nodes.remove(&node);
    if let Err(error) = enrol::seen(&app.database, id).await {
        tracing::debug!(%error, "when the node was last seen could not be noted");
    }
    told
}

/// Asks what the node sells, and keeps it.
async fn welcome(app: &App, id: Uuid, mut sender: http2::SendRequest<Full<Bytes>>) -> anyhow::Result<Arc<Node>> {
    let ask = async {
        let response = sender.send_request(get(OFFER_PATH)?).await?;
        let body = Limited::new(response.into_body(), LONGEST_OFFER)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!(error))?;
        anyhow::Ok(serde_json::from_slice::<Offer>(&body.to_bytes())?)
    };
    let offer = tokio::time::timeout(OFFER_WITHIN, ask).await??;
    enrol::keep_offer(&app.database, id, &offer).await?;
    Ok(Arc::new(Node::new(id, offer, sender)))
}

/// Reads the node's own word on its state until the stream ends.
async fn follow_status(node: &Node) -> anyhow::Result<()> {
    let mut body: Incoming = node.call(get(STATUS_PATH)?).await?.into_body();
    let mut scanner = Scanner::new(LONGEST_STATUS);
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame?.into_data() else { continue };
        for event in scanner.push(&bytes)? {
            if let Some(data) = event.data() {
                *lock(&node.status) = serde_json::from_str::<NodeStatus>(data)?;
            }
        }
    }
    Ok(())
}

fn get(path: &str) -> hyper::http::Result<hyper::Request<Full<Bytes>>> {
    hyper::Request::get(path).body(Full::default())
}
