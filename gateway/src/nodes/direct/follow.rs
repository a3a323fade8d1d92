//! Keeps a connection to a node at the URL that it has told, for as long as it lasts. From then on it is as through a
//! tunnel, but that every replica has a connection of its own.

use std::sync::Arc;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use openapi::node::{CHALLENGE_HEADER, OFFER_PATH, Offer, PROOF_AUDIENCE, PROOF_HEADER, Proof};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::dial::Dialler;
use super::door::Door;
use super::url::{NodeUrl, PlainText, Purpose};
use crate::app::App;
use crate::nodes::connection::{self, Connection as _};
use crate::nodes::dialled::Joined;
use crate::nodes::enrol;
use crate::nodes::greeting::Guest;
use crate::nodes::offer;
use crate::nodes::pace::Paced;
use crate::nodes::tunnel;
use crate::nodes::way::{Kind, Way};
use crate::secrets::{self, Secrets};

/// Who dials.
pub(super) struct Caller<'a> {
    pub(super) dialler: &'a Dialler,
    pub(super) tasks: &'a TaskTracker,
    pub(super) secrets: &'a Arc<Secrets>,
}

/// A connection to a node that has proven who it is.
pub(super) struct Reached {
    pub(super) offer: Offer,
    pub(super) door: Door,
    connection: JoinHandle<hyper::Result<()>>,
}

/// Dials the node and uses it until the connection ends, or the node is removed.
///
/// # Errors
/// Why it is not connected.
pub(in super::super) async fn follow(app: &App, id: Uuid, url: &str) -> anyhow::Result<()> {
    let url = NodeUrl::parse(url, Purpose::Direct, PlainText::Allowed)?;
    let public_key = enrol::public_key(&app.database, id).await?.context("it was removed")?;
    let node = Guest { id, public_key };
    let caller = Caller { dialler: &app.dialler, tasks: &app.tasks, secrets: &app.secrets };
    let reached = reach(&caller, &url, &node).await?;
    let offer = tunnel::keep(app, id, reached.offer).await?;
    let dismissed = CancellationToken::new();
    let way = Way::dialled(Kind::Direct, offer, reached.door, dismissed.clone());
    let joined = Joined::new(&app.nodes, id, Arc::new(way));
    let told = tokio::select! {
        told = tunnel::attend(app, &node, &joined.way, reached.connection) => told,
        () = dismissed.cancelled() => Ok(()),
    };
    if let Err(error) = enrol::seen(&app.database, id).await {
        tracing::debug!(%error, "when the node was last seen could not be noted");
    }
    told
}

/// Dials a URL and has the node prove that it is there.
pub(super) async fn reach(caller: &Caller<'_>, url: &NodeUrl, node: &Guest) -> anyhow::Result<Reached> {
    let (io, _) = caller.dialler.connect(url).await?;
    let work = async {
        let (sender, connection) = connection::open(Paced::new(io), caller.tasks).await?;
        let door = Door::new(sender, Arc::clone(caller.secrets), url);
        let offer = prove(&door, node).await?;
        anyhow::Ok(Reached { offer, door, connection })
    };
    tokio::time::timeout(tunnel::OFFER_WITHIN, work).await.context("it is silent")?
}

/// What the node sells, once it has signed our challenge.
async fn prove(door: &Door, node: &Guest) -> anyhow::Result<Offer> {
    let nonce = secrets::random()?;
    let mut request = connection::get(OFFER_PATH)?;
    request.headers_mut().insert(CHALLENGE_HEADER, HeaderValue::try_from(&nonce)?);
    let response = door.send(node.id, request).await?;
    if response.status() != StatusCode::OK {
        bail!("it answered {}: no node serves its gateway there", response.status());
    }
    let proof = response.headers().get(PROOF_HEADER).and_then(|proof| proof.to_str().ok());
    let proof = proof.context("it gave no proof of who it is: no node serves its gateway there")?;
    check(proof, &nonce, node)?;
    offer::read(response.into_body()).await
}

fn check(proof: &str, nonce: &str, node: &Guest) -> anyhow::Result<()> {
    let another = "another node is there: its proof is not signed with the key that this node has enrolled with";
    let key = DecodingKey::from_ed_components(&BASE64_URL_SAFE_NO_PAD.encode(&node.public_key))?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[PROOF_AUDIENCE]);
    // The challenge is what makes it fresh.
    validation.set_required_spec_claims(&["aud"]);
    validation.validate_exp = false;
    let proof = jsonwebtoken::decode::<Proof>(proof, &key, &validation).ok().context(another)?.claims;
    if proof.sub != node.id || proof.nonce != nonce {
        bail!(another);
    }
    Ok(())
}
