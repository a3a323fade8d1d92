//! The gateway's end of a tunnel: a node dials in, proves who it is, and from then on the gateway calls the node.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{CONNECTION, UPGRADE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{AppendHeaders, IntoResponse, Response};
use http_body_util::{BodyExt, Full};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use openapi::error::ApiError;
use openapi::node::{
    FarewellReason, MOVE_PATH, NodeStatus, OFFER_PATH, Offer, STATUS_PATH, SUCCESSION_HEADER, TUNNEL_PATH,
    TUNNEL_PROTOCOL,
};
use openapi::sse::{Event, Scanner};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::connection::{self, Connection as _, Sender};
use super::greeting::{self, Guest};
use super::offer::{self, OfferRefused};
use super::pace::Paced;
use super::way::Way;
use super::{Nodes, copies, enrol, farewell, unix_seconds};
use crate::app::App;
use crate::energy;
use crate::error::Failure;
use crate::receipts;

pub(super) const OFFER_WITHIN: Duration = Duration::from_secs(15);
const MOVE_WITHIN: Duration = Duration::from_secs(5);
const LONGEST_STATUS: usize = 4096;

/// Opens a tunnel to the node that calls.
#[utoipa::path(get, path = TUNNEL_PATH, tag = "Nodes", responses((status = 101, description = "The roles swap: HTTP/2 to the node"), Failure))]
pub async fn open(app: App, mut request: Request) -> Result<Response, Failure> {
    if app.stop.is_cancelled() {
        const SECONDS: u32 = 1;
        return Err(ApiError::overloaded("This replica of the gateway is stopping. Dial again.", SECONDS).into());
    }
    let (node, greeting) = greeting::read(&app, request.headers()).await?;
    copies::check_yielding(&app.nodes, &greeting)?;
    let upgrade = request.headers().get(UPGRADE).is_some_and(|protocol| protocol == TUNNEL_PROTOCOL);
    let Some(upgraded) = request.extensions_mut().remove::<OnUpgrade>().filter(|_| upgrade) else {
        let message = format!("A tunnel is opened with 'Connection: upgrade' and 'Upgrade: {TUNNEL_PROTOCOL}'.");
        return Err(ApiError::new(426, "invalid_request_error", Some("upgrade_required"), message).into());
    };
    let succession = app.secrets.succession(&greeting.gateway).map_err(|error| {
        tracing::error!(%error, "a succession could not be signed");
        ApiError::internal()
    })?;
    app.nodes.greetings.take(&greeting, unix_seconds())?;
    app.tasks.spawn(hold(app.clone(), node, greeting.instance, upgraded));
    let headers =
        [(CONNECTION, HeaderValue::from_static("upgrade")), (UPGRADE, HeaderValue::from_static(TUNNEL_PROTOCOL))];
    let succession = succession.and_then(|succession| HeaderValue::try_from(succession).ok());
    let succession = AppendHeaders(succession.map(|succession| (SUCCESSION_HEADER, succession)));
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers, succession).into_response())
}

/// Keeps a tunnel for as long as it lasts.
async fn hold(app: App, node: Guest, instance: Uuid, upgraded: OnUpgrade) {
    let id = node.id;
    let ended = match upgraded.await {
        Ok(upgraded) => serve(&app, node, instance, upgraded).await,
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => tracing::info!(node = %id, "a node has left"),
        Err(error) => tracing::warn!(node = %id, "a tunnel ended: {error:#}"),
    }
}

async fn serve(app: &App, node: Guest, instance: Uuid, upgraded: Upgraded) -> anyhow::Result<()> {
    let id = node.id;
    let (sender, connection) = connection::open(Paced::new(TokioIo::new(upgraded)), &app.tasks).await?;
    // A connection that ends here is cut off, whether the other side reads or not.
    let connection = AbortOnDropHandle::new(connection);
    let dismissed = CancellationToken::new();
    let offer = match welcome(app, id, sender.clone()).await {
        Ok(offer) => offer,
        Err(error) => {
            explain(&sender, id, &error).await;
            return Err(error);
        }
    };
    let tunnel = Arc::new(Way::tunnel(offer, sender, dismissed.clone()).of_instance(Some(instance)));
    app.nodes.add(id, Arc::clone(&tunnel));
    tracing::info!(node = %id, models = ?tunnel.models().iter().map(|model| &model.name).collect::<Vec<_>>(), "a node is connected");
    let told = tokio::select! {
        told = attend(app, &node, &tunnel, connection.detach()) => told,
        () = dismissed.cancelled() => Ok(()),
        () = tunnel.displaced() => Ok(()),
        () = send_away(&app.stop, id, &tunnel) => Ok(()),
    };
    app.nodes.remove(id, &tunnel);
    if tunnel.is_displaced() {
        copies::send_away(&app.nodes, id, &tunnel).await;
    }
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
        () = receipts::follow::follow(app, node.id, way) => Ok(()),
    }
}

/// Asks what the node sells, and keeps it.
async fn welcome(app: &App, id: Uuid, mut sender: Sender) -> anyhow::Result<Offer> {
    let ask = async {
        let response = sender.send_request(connection::get(OFFER_PATH)?).await?;
        offer::read(response.into_body()).await
    };
    let offer = tokio::time::timeout(OFFER_WITHIN, ask).await??;
    keep(app, id, offer).await
}

/// Tells a node why its offer is refused. It hears of nothing else: the rest is the gateway's.
async fn explain(sender: &Sender, id: Uuid, error: &anyhow::Error) {
    let refused = error.downcast_ref::<OfferRefused>();
    let word = refused.map(|refused| farewell::of(FarewellReason::OfferRefused, &refused.to_string()));
    if let Some(Ok(word)) = word {
        farewell::is_heard(sender.send(id, word)).await;
    }
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
        // Of several at once the last one counts: a node that talks without end costs no more than reading it.
        let events = scanner.push(&bytes)?;
        if let Some(data) = events.iter().rev().find_map(Event::data) {
            nodes.set_status(id, tunnel, serde_json::from_str::<NodeStatus>(data)?);
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
