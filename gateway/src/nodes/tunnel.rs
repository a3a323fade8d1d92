//! The gateway's end of a tunnel: a node dials in, proves who it is, and from then on the gateway calls the node.

use std::sync::Arc;
use std::time::Duration;

use axum::BoxError;
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, CONNECTION, UPGRADE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http_body_util::{BodyExt, Full, Limited};
use hyper::upgrade::{OnUpgrade, Upgraded};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use openapi::error::ApiError;
use openapi::node::{
    Greeting, MOVE_PATH, NodeStatus, OFFER_PATH, Offer, STATUS_PATH, TUNNEL_AUDIENCE, TUNNEL_PATH, TUNNEL_PROTOCOL,
};
use openapi::sse::Scanner;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::connection::{self, Sender};
use super::way::Way;
use super::{Nodes, enrol};
use crate::app::App;
use crate::energy;
use crate::error::Failure;

pub(super) const OFFER_WITHIN: Duration = Duration::from_secs(15);
const MOVE_WITHIN: Duration = Duration::from_secs(5);
const LONGEST_OFFER: usize = 1024 * 1024;
const LONGEST_STATUS: usize = 4096;
/// The clocks of gateway and node may differ by this many seconds.
const CLOCK_SKEW_SECONDS: u64 = 120;

/// Opens a tunnel to the node that calls.
#[utoipa::path(get, path = TUNNEL_PATH, tag = "Nodes", responses((status = 101, description = "The roles swap: HTTP/2 to the node"), Failure))]
pub async fn open(app: App, mut request: Request) -> Result<Response, Failure> {
    if app.stop.is_cancelled() {
        const SECONDS: u32 = 1;
        return Err(ApiError::overloaded("This replica of the gateway is stopping. Dial again.", SECONDS).into());
    }
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

/// A node that has proven who it is.
pub(super) struct Guest {
    pub(super) id: Uuid,
    pub(super) public_key: Vec<u8>,
}

/// The node that signed the greeting.
pub(super) async fn who(app: &App, headers: &HeaderMap) -> Result<Guest, Failure> {
    let refused = unknown_node;
    let greeting = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let greeting = greeting.ok_or_else(refused)?;
    let claimed = jsonwebtoken::dangerous::insecure_decode::<Greeting>(greeting).map_err(|_| refused())?.claims.sub;
    let public_key = enrol::public_key(&app.database, claimed).await?.ok_or_else(refused)?;
    let key = DecodingKey::from_ed_components(&BASE64_URL_SAFE_NO_PAD.encode(&public_key)).map_err(|_| refused())?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[TUNNEL_AUDIENCE]);
    validation.leeway = CLOCK_SKEW_SECONDS;
    let proven = jsonwebtoken::decode::<Greeting>(greeting, &key, &validation).map_err(|_| refused())?.claims;
    Ok(Guest { id: proven.sub, public_key })
}

/// Whoever greets is no node of this gateway.
pub(super) fn unknown_node() -> ApiError {
    ApiError::new(401, "invalid_request_error", Some("unknown_node"), "This node is not enrolled here.")
}

/// Keeps a tunnel for as long as it lasts.
async fn hold(app: App, node: Guest, upgraded: OnUpgrade) {
    let id = node.id;
    let ended = match upgraded.await {
        Ok(upgraded) => serve(&app, node, upgraded).await,
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => tracing::info!(node = %id, "a node has left"),
        Err(error) => tracing::warn!(node = %id, "a tunnel ended: {error:#}"),
    }
}

async fn serve(app: &App, node: Guest, upgraded: Upgraded) -> anyhow::Result<()> {
    let id = node.id;
    let (sender, connection) = connection::open(upgraded, &app.tasks).await?;
    let dismissed = CancellationToken::new();
    let tunnel = Arc::new(Way::tunnel(welcome(app, id, sender.clone()).await?, sender, dismissed.clone()));
    app.nodes.add(id, Arc::clone(&tunnel));
    tracing::info!(node = %id, models = ?tunnel.models().iter().map(|model| &model.name).collect::<Vec<_>>(), "a node is connected");
    let told = tokio::select! {
        told = attend(app, &node, &tunnel, connection) => told,
        () = dismissed.cancelled() => Ok(()),
        () = send_away(&app.stop, id, &tunnel) => Ok(()),
    };
    app.nodes.remove(id, &tunnel);
    if let Err(error) = enrol::seen(&app.database, id).await {
        tracing::debug!(%error, "when the node was last seen could not be noted");
    }
    told
}

/// Listens to what a node says of itself for as long as its connection lasts.
pub(super) async fn attend(
    app: &App,
    node: &Guest,
    way: &Way,
    connection: JoinHandle<hyper::Result<()>>,
) -> anyhow::Result<()> {
    tokio::select! {
        told = follow_status(&app.nodes, node.id, way) => told,
        ended = connection => ended?.map_err(anyhow::Error::from),
        () = app.closing.cancelled() => Ok(()),
        () = energy::follow::follow(app, node.id, way) => Ok(()),
    }
}

/// Asks what the node sells, and keeps it.
async fn welcome(app: &App, id: Uuid, mut sender: Sender) -> anyhow::Result<Offer> {
    let ask = async {
        let response = sender.send_request(connection::get(OFFER_PATH)?).await?;
        read_offer(response.into_body()).await
    };
    let offer = tokio::time::timeout(OFFER_WITHIN, ask).await??;
    keep(app, id, offer).await
}

pub(super) async fn read_offer<B>(body: B) -> anyhow::Result<Offer>
where
    B: hyper::body::Body,
    B::Error: Into<BoxError>,
{
    let body = Limited::new(body, LONGEST_OFFER).collect().await.map_err(|error| anyhow::anyhow!(error))?;
    Ok(serde_json::from_slice::<Offer>(&body.to_bytes())?)
}

/// Keeps what a node sells.
pub(super) async fn keep(app: &App, id: Uuid, offer: Offer) -> anyhow::Result<Offer> {
    app.prices.welcome(&app.database, id, &offer).await?;
    enrol::keep_offer(&app.database, id, &offer).await?;
    app.nodes.register(&app.database, Some(id)).await?;
    Ok(offer)
}

/// Reads the node's own word on its state until the stream ends.
async fn follow_status(nodes: &Nodes, id: Uuid, tunnel: &Way) -> anyhow::Result<()> {
    let mut body = tunnel.send(id, connection::get(STATUS_PATH)?).await?.into_body();
    let mut scanner = Scanner::new(LONGEST_STATUS);
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame?.into_data() else { continue };
        for event in scanner.push(&bytes)? {
            if let Some(data) = event.data() {
                nodes.set_status(tunnel, serde_json::from_str::<NodeStatus>(data)?);
            }
        }
    }
    Ok(())
}

/// Once this replica is told to stop, asks the node to open its tunnel at another one. Never ends: this tunnel stays
/// for the answers that run.
pub(super) async fn send_away(stop: &CancellationToken, id: Uuid, tunnel: &Way) {
    stop.cancelled().await;
    let ask = async {
        let request = hyper::Request::post(MOVE_PATH).body(Full::default())?;
        anyhow::Ok(tunnel.send(id, request).await?.status())
    };
    match tokio::time::timeout(MOVE_WITHIN, ask).await {
        Ok(Ok(StatusCode::ACCEPTED)) => tracing::info!(node = %id, "a node moves to another replica"),
        answer => tracing::warn!(node = %id, ?answer, "a node does not move to another replica"),
    }
    std::future::pending().await
}
