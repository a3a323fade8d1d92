//! How many tokens each answer may have: its ticket says so at the start, and the gateway moves it while the answer runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openapi::node::{Ticket, moved_limit};
use tokio::sync::watch;

use crate::node::unix_seconds;
use crate::seen::{Attempt, Seen};
use crate::ticket::CLOCK_SKEW_SECONDS;

/// The limits of all ticketed answers that wait or run on this node.
#[derive(Clone, Default)]
pub struct Limits {
    attempts: Arc<Mutex<HashMap<Attempt, watch::Sender<usize>>>>,
    seen: Arc<Mutex<Seen>>,
}

/// One attempt is answered once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Repeated {
    /// It waits or runs.
    #[error("this attempt of the request is already being answered")]
    Runs,
    /// It has ended: its ticket is not the gateway's any more, which counts on with each try.
    #[error("this attempt of the request has been answered")]
    Over,
}

impl Limits {
    /// Opens the limit of an answer that begins.
    ///
    /// # Errors
    /// When the same attempt is being answered already, or has been while its ticket was valid.
    pub fn open(&self, ticket: &Ticket) -> Result<Limit, Repeated> {
        let attempt = attempt(ticket);
        let mut attempts = self.lock();
        if attempts.contains_key(&attempt) {
            return Err(Repeated::Runs);
        }
        let until = ticket.exp.saturating_add(CLOCK_SKEW_SECONDS);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.insert(attempt, until, unix_seconds()) {
            return Err(Repeated::Over);
        }
        let (sender, tokens) = watch::channel(ticket.max_tokens as usize);
        attempts.insert(attempt, sender);
        Ok(Limit { tokens, _entry: Some(Entry { limits: self.clone(), attempt }) })
    }

    /// Moves the limit of an answer to what this ticket says, as [`moved_limit`] does. False when no such answer waits or
    /// runs.
    pub fn set(&self, ticket: &Ticket) -> bool {
        let attempts = self.lock();
        let Some(limit) = attempts.get(&attempt(ticket)).filter(|limit| !limit.is_closed()) else { return false };
        limit.send_modify(|limit| *limit = moved_limit(*limit, ticket.max_tokens as usize));
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Attempt, watch::Sender<usize>>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn attempt(ticket: &Ticket) -> Attempt {
    (ticket.aud, ticket.request, ticket.attempt)
}

/// The limit of one answer; nobody can move it any more once it is dropped.
pub struct Limit {
    tokens: watch::Receiver<usize>,
    _entry: Option<Entry>,
}

impl Limit {
    /// For an answer that no ticket limits.
    pub fn none() -> Self {
        let (_, tokens) = watch::channel(usize::MAX);
        Self { tokens, _entry: None }
    }

    /// The same limit, which lasts as long as this one does.
    pub fn again(&self) -> Self {
        Self { tokens: self.tokens.clone(), _entry: None }
    }

    /// Tokens that the answer may have, as things are now.
    pub fn now(&self) -> usize {
        *self.tokens.borrow()
    }

    /// Waits until the answer may have no more than these tokens.
    pub async fn reached(&mut self, tokens: usize) {
        self.is(|limit| limit <= tokens).await;
    }

    /// Waits until the limit is such.
    pub async fn is(&mut self, such: impl Fn(usize) -> bool) {
        if self.tokens.wait_for(|limit| such(*limit)).await.is_err() {
            // Nobody is there who could move it.
            std::future::pending().await
        }
    }

    /// The same limit for somebody else to read.
    pub fn subscribe(&self) -> watch::Receiver<usize> {
        self.tokens.clone()
    }
}

struct Entry {
    limits: Limits,
    attempt: Attempt,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.limits.lock().remove(&self.attempt);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;
    use uuid::Uuid;

    use super::*;

    fn ticket(request: Uuid, attempt: u32, max_tokens: u32) -> Ticket {
        let price = openapi::price::Price::default();
        Ticket {
            aud: Uuid::nil(),
            request,
            attempt,
            model: "m".to_owned(),
            max_tokens,
            price,
            energy: openapi::energy::EnergyTerms::default(),
            seed: 0,
            salt: None,
            exp: 4_102_444_800,
        }
    }

    #[tokio::test]
    async fn a_limit_grows_whatever_comes_first_and_its_end_wakes_who_waits() {
        let (limits, request) = (Limits::default(), Uuid::now_v7());
        let mut limit = limits.open(&ticket(request, 1, 5)).unwrap();
        let elsewhere = limit.subscribe();
        for (asked, now) in [(9, 9), (7, 9), (12, 12)] {
            assert!(limits.set(&ticket(request, 1, asked)));
            assert_eq!((limit.now(), *elsewhere.borrow()), (now, now), "{asked}");
        }
        let mut reached = Box::pin(limit.reached(4));
        assert!(poll!(&mut reached).is_pending());
        assert!(limits.set(&ticket(request, 1, 0)));
        assert!(poll!(&mut reached).is_ready());
        drop(reached);
        assert!(limits.set(&ticket(request, 1, 20)));
        assert_eq!(limit.now(), 0, "what has ended does not go on");
    }

    #[test]
    fn only_the_attempt_that_runs_has_a_limit_and_only_one() {
        let (limits, request) = (Limits::default(), Uuid::now_v7());
        let limit = limits.open(&ticket(request, 2, 5)).unwrap();
        assert_eq!(limits.open(&ticket(request, 2, 5)).err(), Some(Repeated::Runs));
        assert!(!limits.set(&ticket(request, 1, 9)), "another attempt");
        assert!(!limits.set(&ticket(Uuid::now_v7(), 2, 9)), "another request");
        let elsewhere = Ticket { aud: Uuid::now_v7(), ..ticket(request, 2, 0) };
        assert!(!limits.set(&elsewhere), "another gateway");
        let theirs = limits.open(&elsewhere).unwrap();
        assert_eq!((limit.now(), theirs.now()), (5, 0), "each has its own");
        drop(limit);
        assert!(!limits.set(&ticket(request, 2, 9)), "it has ended");
        assert_eq!(limits.open(&ticket(request, 2, 5)).err(), Some(Repeated::Over), "a ticket is for one answer");
        assert!(limits.open(&ticket(request, 3, 5)).is_ok());
    }

    #[tokio::test]
    async fn without_a_ticket_there_is_no_limit() {
        let mut limit = Limit::none();
        assert_eq!(limit.now(), usize::MAX);
        assert!(poll!(Box::pin(limit.reached(1_000_000))).is_pending());
    }
}
