//! The mock node's process: it enrols once, and holds a tunnel to every gateway, for ever.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openapi::receipt::jws;
use provider::chain::Chain;
use provider::identity::Identity;
use provider::ticket::TicketVerifier;
use provider::{enrol, tunnel};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::MockOffer;
use super::facts::Facts;
use super::receipt::Receipts;
use super::router::{Work, router};
use super::trouble::Luck;

const DIAL_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What the process is told at its start.
#[derive(Clone, Debug)]
pub struct MockSettings {
    /// Replicas of one gateway.
    pub gateways: Vec<Url>,
    /// One enrolment token for each node.
    pub tokens: Vec<String>,
    /// Identities are kept here, so that a second start needs no second enrolment.
    pub folder: PathBuf,
    /// Where the facts are written.
    pub facts: PathBuf,
    pub offer: MockOffer,
}

/// Enrols and begins to serve; returns as soon as every tunnel is on its way.
///
/// # Panics
/// When it can't enrol.
pub async fn serve(settings: &MockSettings, stop: &CancellationToken) {
    let (facts, luck) = (Arc::new(Facts::open(&settings.facts).expect("the file of facts")), Arc::<Luck>::default());
    for (number, token) in settings.tokens.iter().enumerate() {
        let folder = settings.folder.join(number.to_string());
        std::fs::create_dir_all(&folder).expect("a folder");
        let identity = Arc::new(Identity::open(&folder).expect("an identity"));
        let gateway = &settings.gateways[0];
        let enrolled = match identity.enrolled_with(&settings.gateways).expect("readable") {
            Some(enrolled) => enrolled,
            None => {
                let enrolled = enrol::enrol(&identity, gateway, token, "mock").await.expect("enrolled");
                identity.remember(&settings.gateways, &enrolled).expect("written");
                enrolled
            }
        };
        let work = Arc::new(Work {
            verifier: TicketVerifier::new(enrolled.node, &enrolled.ticket_key).expect("a ticket key"),
            facts: Arc::clone(&facts),
            offer: settings.offer,
            receipts: receipts(&folder, &identity, enrolled.ticket_key.clone()),
            running: Mutex::new(HashMap::new()),
            luck: Arc::clone(&luck),
        });
        for gateway in settings.gateways.clone() {
            let (identity, work, stop) = (Arc::clone(&identity), Arc::clone(&work), stop.clone());
            let enrolled = enrolled.clone();
            tokio::spawn(async move {
                while !stop.is_cancelled() {
                    let greeting = identity.greeting(&enrolled).expect("a greeting");
                    // Gateways come and go here: the reason does not matter.
                    if let Ok(dialled) = tunnel::dial(&gateway, &greeting).await {
                        drop(tunnel::serve(dialled, router(Arc::clone(&work)), &stop).await);
                    }
                    tokio::time::sleep(DIAL_AGAIN_AFTER).await;
                }
            });
        }
    }
}

fn receipts(folder: &Path, identity: &Arc<Identity>, gateway: String) -> Receipts {
    let (chain, _) = Chain::open(&folder.join("receipts"), Arc::clone(identity), jws::digest).expect("a chain");
    Receipts { chain: Arc::new(chain), gateway }
}
