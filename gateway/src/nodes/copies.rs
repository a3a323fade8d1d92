//! Two machines with one key: a copied folder, or a stolen key. The newer connection counts. The older one is told why, and
//! a node program that is told does not drive the other out again; if it hears the word, two machines are there for certain.

use std::collections::HashMap;
use std::sync::Mutex;

use openapi::error::ApiError;
use openapi::node::{FarewellReason, Greeting};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::way::Way;
use super::{Nodes, farewell, lock};

/// Its operator reads of it for so long.
const REMEMBERED: Duration = Duration::DAY;

/// What the operator can do, whoever is told.
pub(super) const ADVICE: &str = "If the other machine is yours too, give it a key of its own: delete node.key and gateways.json \
    in its data folder and start it with another enrolment token. If it is not, the key was stolen: change it with \
    `commonwatt-node rotate-key`.";

/// When two machines were last found with the key of a node.
#[derive(Default)]
pub(super) struct Copies(Mutex<HashMap<Uuid, OffsetDateTime>>);

impl Copies {
    fn note(&self, node: Uuid) {
        let now = OffsetDateTime::now_utc();
        let mut found = lock(&self.0);
        found.retain(|_, at| now - *at < REMEMBERED);
        found.insert(node, now);
    }

    /// None when that is long ago, or has never been.
    pub(super) fn of(&self, node: Uuid) -> Option<OffsetDateTime> {
        lock(&self.0).get(&node).copied().filter(|at| OffsetDateTime::now_utc() - *at < REMEMBERED)
    }
}

/// Turns away a machine that leaves the place to another one with its key, as long as that is connected.
///
/// # Errors
/// 409 while it is.
pub(super) fn check_yielding(nodes: &Nodes, greeting: &Greeting) -> Result<(), ApiError> {
    let is_taken = || nodes.get(greeting.sub).is_some_and(|node| node.has_other_instance(greeting.instance));
    if !greeting.yields || !is_taken() {
        return Ok(());
    }
    nodes.copies.note(greeting.sub);
    let message =
        format!("Another machine with this node's key is connected, and keeps its place until it leaves. {ADVICE}");
    Err(ApiError::new(409, "invalid_request_error", Some("key_in_use"), message))
}

/// Tells a machine that another one with its key has taken its place. A machine that was started anew has nobody left who
/// would hear it.
pub(super) async fn send_away(nodes: &Nodes, id: Uuid, tunnel: &Way) {
    let message = format!(
        "Another machine has connected with this node's key, and has taken this one's place until it leaves. {ADVICE}"
    );
    let Ok(word) = farewell::of(FarewellReason::KeyInUse, &message) else { return };
    if farewell::is_heard(tunnel.send(id, word)).await {
        nodes.copies.note(id);
        tracing::warn!(node = %id, "two machines use this node's key: the one that connected later stays, its operator is told");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use openapi::node::{FAREWELL_PATH, Farewell};

    use super::super::scripted::Scripted;
    use super::*;

    fn greeting(node: Uuid, instance: Uuid, yields: bool) -> Greeting {
        let (aud, gateway, jti) = (String::new(), String::new(), Uuid::now_v7());
        Greeting { sub: node, aud, gateway, instance, yields, iat: 0, exp: 0, jti }
    }

    /// A tunnel of this run of the node program.
    async fn dial(node: &Scripted, instance: Uuid) -> Arc<Way> {
        let (way, _open) = node.dial().await;
        Arc::new(Arc::into_inner(way).unwrap().of_instance(Some(instance)))
    }

    #[tokio::test]
    async fn the_newer_connection_of_another_machine_displaces_the_older_and_never_its_own() {
        let (nodes, node) = (Nodes::default(), Scripted::new());
        let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
        let (first, again) = (dial(&node, one).await, dial(&node, one).await);
        nodes.add(node.id, Arc::clone(&first));
        nodes.add(node.id, Arc::clone(&again));
        assert!(!first.is_displaced(), "a connection of the same run may break and come back");
        let other = dial(&node, two).await;
        nodes.add(node.id, Arc::clone(&other));
        assert!(again.is_displaced() && !other.is_displaced());
        let live = nodes.get(node.id).unwrap();
        assert_eq!(live.best().connection, other.connection);
        nodes.remove(node.id, &again);
        assert!(nodes.get(node.id).is_some(), "the end of the older one is not the node's");

        assert!(check_yielding(&nodes, &greeting(node.id, one, false)).is_ok(), "whoever starts anew takes the place");
        let refused = check_yielding(&nodes, &greeting(node.id, one, true)).unwrap_err();
        assert_eq!((refused.status, refused.detail.code.as_deref()), (409, Some("key_in_use")));
        assert!(refused.detail.message.contains("rotate-key") && nodes.copies.of(node.id).is_some());
        assert!(check_yielding(&nodes, &greeting(node.id, two, true)).is_ok(), "its own connection is no other's");
        nodes.remove(node.id, &other);
        assert!(check_yielding(&nodes, &greeting(node.id, one, true)).is_ok(), "the place is free");
    }

    #[tokio::test]
    async fn only_a_machine_that_hears_it_is_a_second_one() {
        let (nodes, node) = (Nodes::default(), Scripted::new());
        node.answers_with(hyper::StatusCode::ACCEPTED);
        let (gone, broken) = node.dial().await;
        broken.cancel();
        send_away(&nodes, node.id, &gone).await;
        assert_eq!(nodes.copies.of(node.id), None, "the same machine, started anew");
        let (alive, _open) = node.dial().await;
        let (_, call) = tokio::join!(send_away(&nodes, node.id, &alive), node.called());
        let farewell: Farewell = serde_json::from_slice(&call.body).unwrap();
        assert_eq!((call.path.as_str(), farewell.reason), (FAREWELL_PATH, FarewellReason::KeyInUse));
        assert!(farewell.message.contains("rotate-key") && nodes.copies.of(node.id).is_some());
    }
}
