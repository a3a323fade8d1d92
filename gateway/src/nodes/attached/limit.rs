//! How long the answers of an attached server may be: the server can't be told once it computes, so the gateway itself
//! keeps the limit, and ends an answer that has come to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use openapi::node::moved_limit;
use tokio::sync::watch;
use uuid::Uuid;

use crate::nodes::{Call, lock};

/// One attempt of a request.
type Key = (Uuid, u32);

/// The limits of the answers that run.
#[derive(Clone, Default)]
pub(super) struct Limits(Arc<Mutex<HashMap<Key, watch::Sender<u32>>>>);

impl Limits {
    /// An attempt begins.
    pub(super) fn begin(&self, call: &Call) -> Allowance {
        let (sender, limit) = watch::channel(call.max_tokens);
        let key = (call.request, call.attempt);
        lock(&self.0).insert(key, sender);
        Allowance { limits: self.clone(), key, limit }
    }

    /// Moves the limit of an attempt. False when it does not run.
    pub(super) fn move_to(&self, call: &Call) -> bool {
        let running = lock(&self.0);
        let Some(limit) = running.get(&(call.request, call.attempt)) else { return false };
        limit.send_modify(|now| *now = moved_limit(*now, call.max_tokens));
        true
    }
}

/// What one answer may have, as long as it is held.
pub(super) struct Allowance {
    limits: Limits,
    key: Key,
    limit: watch::Receiver<u32>,
}

impl Allowance {
    /// True when an answer of so many tokens must end. A server that keeps to the limit by itself says so with its last
    /// token, so reaching it is no reason yet.
    pub(super) fn ends(&self, tokens: u64) -> bool {
        let limit = *self.limit.borrow();
        limit == 0 || tokens > u64::from(limit)
    }

    /// Waits until the limit is another.
    pub(super) async fn moved(&mut self) {
        if self.limit.changed().await.is_err() {
            // Nobody will move it any more.
            std::future::pending().await
        }
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        lock(&self.limits.0).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use openapi::energy::EnergyTerms;
    use openapi::price::Price;

    use super::*;

    fn call(request: Uuid, max_tokens: u32) -> Call {
        let (price, energy) = (Price::default(), EnergyTerms::default());
        Call { request, attempt: 1, model: "m".to_owned(), max_tokens, price, energy, salt: None, trace: None }
    }

    #[tokio::test]
    async fn a_limit_grows_ends_and_is_forgotten_with_its_answer() {
        let (limits, request) = (Limits::default(), Uuid::now_v7());
        let mut allowance = limits.begin(&call(request, 10));
        assert!(!allowance.ends(10) && allowance.ends(11));
        assert!(limits.move_to(&call(request, 20)) && !limits.move_to(&call(Uuid::now_v7(), 0)));
        allowance.moved().await;
        assert!(!allowance.ends(20));
        assert!(limits.move_to(&call(request, 0)) && limits.move_to(&call(request, 30)));
        assert!(allowance.ends(0), "an answer that was ended stays so");
        drop(allowance);
        assert!(!limits.move_to(&call(request, 40)));
    }
}
