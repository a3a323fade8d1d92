//! The requests that run on this replica, and the word to the node that ends one in good order or lets it go on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use http_body_util::Full;
use hyper::Request as HttpRequest;
use openapi::node::{LIMIT_PATH, TICKET_HEADER};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::nodes::{Call, Node};
use crate::secrets::Secrets;

/// All of them.
pub struct Running {
    requests: Mutex<HashMap<Uuid, Arc<Handle>>>,
    secrets: Arc<Secrets>,
    tasks: TaskTracker,
}

/// One of them, from outside.
struct Handle {
    account: Uuid,
    cancelled: AtomicBool,
    /// The attempts under way: one, or two until one of the nodes begins to answer.
    attempts: Mutex<Vec<(Arc<Node>, Call)>>,
}

/// A request's own hold on its entry; the entry goes when this is dropped.
pub(super) struct Entry {
    running: Arc<Running>,
    id: Uuid,
    handle: Arc<Handle>,
}

impl Running {
    /// Nobody yet.
    pub fn new(secrets: Arc<Secrets>, tasks: TaskTracker) -> Arc<Self> {
        Arc::new(Self { requests: Mutex::default(), secrets, tasks })
    }

    pub(super) fn enter(self: &Arc<Self>, id: Uuid, account: Uuid) -> Entry {
        // Seldom more than one, and room for four would be kept as long as a stream lasts.
        let attempts = Mutex::new(Vec::with_capacity(1));
        let handle = Arc::new(Handle { account, cancelled: AtomicBool::new(false), attempts });
        self.lock().insert(id, Arc::clone(&handle));
        Entry { running: Arc::clone(self), id, handle }
    }

    /// Ends a request of this account in good order: what there is of the answer is delivered with its usage. False when
    /// no such request runs here.
    pub fn cancel(&self, id: Uuid, account: Uuid) -> bool {
        let handle = self.lock().get(&id).filter(|handle| handle.account == account).cloned();
        let Some(handle) = handle else { return false };
        handle.cancelled.store(true, Ordering::Release);
        for (node, call) in handle.attempts().clone() {
            self.tell(node, Call { max_tokens: 0, ..call });
        }
        true
    }

    /// How many run.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Tells a node how long the answer may be. Nobody waits for it: a node that does not hear keeps to what it knew.
    fn tell(&self, node: Arc<Node>, call: Call) {
        let ticket = match node.ticket(&self.secrets, &call) {
            Ok(ticket) => ticket,
            Err(error) => return tracing::error!(%error, "a ticket could not be signed"),
        };
        self.tasks.spawn(async move {
            let id = call.request;
            let request = HttpRequest::post(LIMIT_PATH).header(TICKET_HEADER, ticket).extension(call);
            let Ok(request) = request.body(Full::<Bytes>::default()) else { return };
            if let Err(error) = node.call(request).await {
                tracing::debug!(%error, request = %id, "a node could not be told a request's limit");
            }
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Arc<Handle>>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    fn attempts(&self) -> MutexGuard<'_, Vec<(Arc<Node>, Call)>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// An attempt begins.
    pub(super) fn attempts(&self, node: &Arc<Node>, call: &Call) {
        self.handle.attempts().push((Arc::clone(node), call.clone()));
        if self.is_cancelled() {
            self.running.tell(Arc::clone(node), Call { max_tokens: 0, ..call.clone() });
        }
    }

    /// An attempt is over.
    pub(super) fn ends(&self, attempt: u32) {
        self.handle.attempts().retain(|(_, call)| call.attempt != attempt);
    }

    /// Lets the answer grow to so many tokens.
    pub(super) fn raise_limit(&self, max_tokens: u32) {
        if self.is_cancelled() {
            return;
        }
        for (node, call) in self.handle.attempts().iter_mut() {
            call.max_tokens = max_tokens;
            self.running.tell(Arc::clone(node), call.clone());
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.handle.cancelled.load(Ordering::Acquire)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.running.lock().remove(&self.id);
    }
}
