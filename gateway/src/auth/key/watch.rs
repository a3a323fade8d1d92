//! Keys in use: a request watches its key for as long as it runs, so that a revocation ends it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The keys that requests run with, each with how many.
#[derive(Clone, Default)]
pub(super) struct InUse(Arc<Mutex<HashMap<Uuid, (CancellationToken, usize)>>>);

impl InUse {
    pub(super) fn watch(&self, key: Uuid) -> Watch {
        let mut in_use = self.lock();
        let (revoked, users) = in_use.entry(key).or_default();
        *users += 1;
        Watch { key, revoked: revoked.clone(), in_use: self.clone() }
    }

    pub(super) fn ids(&self) -> Vec<Uuid> {
        self.lock().keys().copied().collect()
    }

    /// Ends what runs with a key.
    pub(super) fn end(&self, key: Uuid) {
        let in_use = self.lock().get(&key).cloned();
        if let Some((revoked, users)) = in_use {
            tracing::info!(%key, users, "ending the requests of a revoked key");
            revoked.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, (CancellationToken, usize)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A key in use; the watch ends when dropped.
pub struct Watch {
    key: Uuid,
    revoked: CancellationToken,
    in_use: InUse,
}

impl Watch {
    /// Given when the key is revoked.
    pub fn revoked(&self) -> CancellationToken {
        self.revoked.clone()
    }
}

impl Clone for Watch {
    /// Another watch of the same key.
    fn clone(&self) -> Self {
        self.in_use.watch(self.key)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut in_use = self.in_use.lock();
        if let Some((_, users)) = in_use.get_mut(&self.key) {
            *users -= 1;
            if *users == 0 {
                in_use.remove(&self.key);
            }
        }
    }
}
