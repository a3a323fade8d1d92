//! `commonwatt-node rotate-key`: a new key beside the old one, then every gateway is told, then the new one takes the old
//! one's place. Whatever breaks it off, running it again goes on where it stopped.

use anyhow::{Context, bail};
use openapi::error::ErrorBody;
use openapi::node::{Enrolled, KEY_PATH, KeyChange};
use url::Url;
use uuid::Uuid;

use crate::config::RotateConfig;
use crate::identity::{Identity, KnownGateway};
use crate::key::NodeKey;
use crate::standing::{self, Answer};

/// Changes the node's key, and says what was done.
///
/// # Errors
/// When a gateway could not be told; the old key then stays, and the sentence says what to do.
pub async fn rotate(config: &RotateConfig) -> anyhow::Result<String> {
    let folder = config.data.display();
    let identity = Identity::find(&config.data)?
        .with_context(|| format!("there is no node's key in {folder}: give the node's folder with --data"))?;
    let gateways = meant(identity.gateways()?, config)?;
    let successor = identity.make_successor()?;
    let mut failures = Vec::new();
    for gateway in &gateways {
        if let Err(error) = tell(gateway, &identity.key(), &successor).await {
            failures.push(format!("{}: {error:#}", named(gateway)));
        }
    }
    if !failures.is_empty() {
        bail!(
            "the key is not changed yet. The old one stays, and the new one waits beside it: run this again once these know \
             it. {}",
            failures.join(". ")
        );
    }
    identity.succeed(successor)?;
    let told: Vec<String> = gateways.iter().map(named).collect();
    Ok(format!("The node has a new key, and {} knows it. A running node uses it when it dials next.", told.join(", ")))
}

/// The gateways to tell: all that know the node, since the key is one for all.
fn meant(known: Vec<KnownGateway>, config: &RotateConfig) -> anyhow::Result<Vec<KnownGateway>> {
    if known.is_empty() {
        bail!(
            "this node is enrolled with no gateway, so there is nobody to tell: delete node.key and it makes another"
        );
    }
    if config.gateway.is_empty() {
        return Ok(known);
    }
    let is_named = |gateway: &KnownGateway| {
        config.gateway.iter().flat_map(|named| &named.addresses).any(|named| gateway.addresses.contains(named))
    };
    if let Some(left_out) = known.iter().find(|gateway| !is_named(gateway)) {
        bail!(
            "this node is enrolled with {} too, which would not know the new key: leave --gateway out and all are told, or \
             take it out of gateways.json",
            named(left_out)
        );
    }
    Ok(known)
}

fn named(gateway: &KnownGateway) -> String {
    gateway.addresses.first().map(Url::to_string).unwrap_or_default()
}

/// Tells a gateway at the first address where it answers.
async fn tell(gateway: &KnownGateway, current: &NodeKey, successor: &NodeKey) -> anyhow::Result<()> {
    let mut last = None;
    for address in &gateway.addresses {
        match tell_at(address, &gateway.enrolled, current, successor).await {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    last.map_or(Ok(()), Err)
}

async fn tell_at(address: &Url, enrolled: &Enrolled, current: &NodeKey, successor: &NodeKey) -> anyhow::Result<()> {
    let request = standing::client()?.post(address.join(KEY_PATH)?).bearer_auth(current.greeting(enrolled, false)?);
    let response =
        request.json(&change(enrolled.node, current, successor)).send().await.context("it can't be reached")?;
    let status = response.status();
    match status.as_u16() {
        204 => Ok(()),
        // It may have been told before, by a try whose end nobody saw.
        401 => match standing::ask(address, &successor.greeting(enrolled, false)?).await? {
            Answer::Known(_) => Ok(()),
            _ => bail!("it does not know this node, under either key: enrol anew there"),
        },
        404 | 405 => bail!("its version knows no change of keys: its operator has to update it first"),
        _ => {
            let body = response.bytes().await.unwrap_or_default();
            let reason = serde_json::from_slice::<ErrorBody>(&body).map(|body| body.error.message);
            bail!("it refused ({status}): {}", reason.unwrap_or_else(|_| "no reason given".to_owned()))
        }
    }
}

/// The change, signed by both keys.
fn change(node: Uuid, current: &NodeKey, successor: &NodeKey) -> KeyChange {
    let public_key = successor.public();
    let signed = KeyChange::signed_bytes(node, &current.public(), &public_key);
    KeyChange { public_key, signature: successor.sign(&signed), previous_signature: current.sign(&signed) }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::{get, post};
    use openapi::node::STANDING_PATH;
    use openapi::standing::Standing;

    use super::*;
    use crate::gateway::Gateway;

    /// A gateway that knows one key of one node, and says 204, or what it is told to say.
    struct Scripted {
        address: Url,
        node: Uuid,
        knows: Arc<Mutex<String>>,
    }

    impl Scripted {
        /// `says` none: it takes the new key.
        async fn start(identity: &Identity, says: Option<StatusCode>) -> Self {
            let (node, knows) = (Uuid::now_v7(), Arc::new(Mutex::new(identity.key().public())));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
            let (changes, stands) = (Arc::clone(&knows), Arc::clone(&knows));
            let change = move |headers: HeaderMap, body: String| async move {
                let mut known = changes.lock().unwrap();
                if !greets(&headers, &known) {
                    return StatusCode::UNAUTHORIZED;
                }
                let change: KeyChange = serde_json::from_str(&body).unwrap();
                if says.is_none() {
                    *known = change.public_key;
                }
                says.unwrap_or(StatusCode::NO_CONTENT)
            };
            let stand = move |headers: HeaderMap| async move {
                let is_known = greets(&headers, &stands.lock().unwrap());
                (if is_known { StatusCode::OK } else { StatusCode::UNAUTHORIZED }, standing(node))
            };
            let router = Router::new().route(KEY_PATH, post(change)).route(STANDING_PATH, get(stand));
            tokio::spawn(async move { axum::serve(listener, router).await });
            let enrolled = Enrolled { node, ticket_key: "k".to_owned() };
            identity.remember(std::slice::from_ref(&address), &enrolled).unwrap();
            Self { address, node, knows }
        }

        fn knows(&self) -> String {
            self.knows.lock().unwrap().clone()
        }
    }

    fn standing(node: Uuid) -> String {
        let standing = Standing {
            node,
            name: "n".to_owned(),
            connected: true,
            paused: false,
            copied_key_at: None,
            maintenance: Vec::new(),
            prices: Vec::new(),
            chosen: 0,
            skipped: std::collections::BTreeMap::new(),
            advice: Vec::new(),
        };
        serde_json::to_string(&standing).unwrap()
    }

    /// True when the greeting is signed by this key.
    fn greets(headers: &HeaderMap, public: &str) -> bool {
        let greeting = headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap();
        let key = jsonwebtoken::DecodingKey::from_ed_components(public).unwrap();
        let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
        validation.set_audience(&[openapi::node::TUNNEL_AUDIENCE]);
        jsonwebtoken::decode::<openapi::node::Greeting>(greeting, &key, &validation).is_ok()
    }

    fn folder() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("rotate-{}", Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    fn config(folder: &Path, gateway: Vec<Gateway>) -> RotateConfig {
        RotateConfig { data: folder.to_owned(), gateway }
    }

    fn key_in(folder: &Path) -> String {
        Identity::find(folder).unwrap().unwrap().key().public()
    }

    #[tokio::test]
    async fn every_gateway_is_told_and_then_the_file_is_replaced() {
        let folder = folder();
        let identity = Identity::open(&folder).unwrap();
        let old = key_in(&folder);
        let (one, two) = (Scripted::start(&identity, None).await, Scripted::start(&identity, None).await);
        assert_ne!(one.node, two.node);
        let told = rotate(&config(&folder, Vec::new())).await.unwrap();
        assert!(told.contains(one.address.as_str()) && told.contains(two.address.as_str()), "{told}");
        let new = key_in(&folder);
        assert!(new != old && one.knows() == new && two.knows() == new);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn what_one_gateway_refuses_is_finished_by_running_it_again() {
        let folder = folder();
        let identity = Identity::open(&folder).unwrap();
        let old = key_in(&folder);
        let takes = Scripted::start(&identity, None).await;
        let refuses = Scripted::start(&identity, Some(StatusCode::NOT_FOUND)).await;
        let error = rotate(&config(&folder, Vec::new())).await.unwrap_err().to_string();
        assert!(error.contains(refuses.address.as_str()) && error.contains("update"), "{error}");
        let new = identity.successor().unwrap().unwrap().public();
        assert_eq!((key_in(&folder), takes.knows(), refuses.knows()), (old.clone(), new.clone(), old));
        // Its operator updates it, and takes the key.
        *refuses.knows.lock().unwrap() = new.clone();
        rotate(&config(&folder, Vec::new())).await.unwrap();
        assert_eq!(key_in(&folder), new, "no third key is made");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn nothing_is_changed_that_would_lock_the_node_out() {
        let folder = folder();
        assert!(rotate(&config(&folder, Vec::new())).await.is_err(), "no key");
        let identity = Identity::open(&folder).unwrap();
        assert!(rotate(&config(&folder, Vec::new())).await.is_err(), "no gateway");
        let (one, two) = (Scripted::start(&identity, None).await, Scripted::start(&identity, None).await);
        let named = Gateway { addresses: vec![one.address.clone()] };
        let error = rotate(&config(&folder, vec![named])).await.unwrap_err().to_string();
        assert!(error.contains(two.address.as_str()), "{error}");
        assert_eq!(identity.successor().unwrap().map(|key| key.public()), None, "no key was made before the check");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
