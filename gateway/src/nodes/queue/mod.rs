//! Where requests wait that find every suitable node full: bounded, fair between accounts, and each up to its deadline.
//!
//! Accounts take turns, whatever their number of requests or keys; only what somebody had to wait for counts as a turn.
//! Within an account high comes before normal before low, first come first served; ten seconds of waiting raise a class.

#[cfg(test)]
mod concurrency;

mod line;

mod pace;

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests;

mod wait;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use line::Line;
pub use wait::{Passed, Waiting};

/// Those who wait for a `T`, a lease on a node.
///
/// Nothing of a waiter's is woken or dropped, and no `T` is dropped, while the queue is locked: a `T` may call
/// [`Queue::serve`] when it is dropped, on whatever thread, and a call during another is done by the one that runs.
pub struct Queue<T> {
    bounds: Bounds,
    line: Mutex<Line<Entry<T>>>,
    /// How many wait, for those who only want to know whether anybody does.
    waiting: AtomicUsize,
    /// Calls of [`Queue::serve`] that are not done; whoever makes the first does them all.
    calls: AtomicUsize,
}

/// How much may wait at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub requests: usize,
    /// Of the bodies of all that wait.
    pub bytes: usize,
    pub requests_of_an_account: usize,
}

/// Who wants to wait.
#[derive(Clone, Copy, Debug)]
pub struct Waiter {
    pub account: Uuid,
    pub priority: Priority,
    /// Of its body.
    pub bytes: usize,
    /// A hash of everything on which it depends which nodes suit: when one can't be served, no other of its kind is tried.
    pub kind: u64,
    pub deadline: Instant,
}

/// How much a request minds waiting, compared with others of its account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
}

/// A text that is no priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a priority is low, normal (or default, auto), or high (or priority)")]
pub struct NoPriority;

impl FromStr for Priority {
    type Err = NoPriority;

    fn from_str(word: &str) -> Result<Self, NoPriority> {
        match word {
            "low" => Ok(Self::Low),
            "normal" | "default" | "auto" => Ok(Self::Normal),
            "high" | "priority" => Ok(Self::High),
            _ => Err(NoPriority),
        }
    }
}

/// No more may wait now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}; try again in {} seconds", .retry_after.as_secs())]
pub struct Full {
    pub why: Why,
    /// When there may be room, by the pace at which requests of this kind were served: 1 to 60 seconds, whole ones.
    pub retry_after: Duration,
}

/// The bound that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("too many requests are waiting")]
    TooMany,
    #[error("the requests that are waiting are too large together")]
    TooManyBytes,
    #[error("too many requests of this account are waiting")]
    TooManyOfAccount,
}

/// How a waiter is served: what tries to get it a `T`, and where that goes.
struct Entry<T> {
    take: Box<dyn FnMut() -> Option<T> + Send>,
    given: oneshot::Sender<T>,
}

impl<T: Send + 'static> Queue<T> {
    /// An empty one.
    pub fn new(bounds: Bounds) -> Arc<Self> {
        let (waiting, calls) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { bounds, line: Mutex::new(Line::default()), waiting, calls })
    }

    /// True when nobody waits: one load. Then a request may take what it finds without passing anybody.
    pub fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
    }

    /// How many wait.
    pub fn length(&self) -> usize {
        self.lock().length()
    }

    /// How many of an account wait.
    pub fn length_of(&self, account: Uuid) -> usize {
        self.lock().length_of(account)
    }

    /// Bytes of the bodies that wait.
    pub fn bytes(&self) -> usize {
        self.lock().bytes()
    }

    /// Takes a place. `take` tries to get a `T` that suits the waiter, now and at each chance until it leaves; it is called
    /// while the queue is locked, so it must neither block, nor drop a `T`, nor call the queue.
    ///
    /// Who comes for something that nobody waits for gets it at once if it is there, even when the queue is full; else the
    /// one whose turn it is among its kind is tried. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// When there is nothing for it now and no more may wait.
    pub fn enter(
        self: &Arc<Self>,
        waiter: Waiter,
        take: impl FnMut() -> Option<T> + Send + 'static,
    ) -> Result<Waiting<T>, Full> {
        let now = Instant::now();
        let (given, receiver) = oneshot::channel();
        let mut entry = Entry { take: Box::new(take), given };
        let mut line = self.lock();
        // Room that was announced and not yet handed out belongs to those who wait.
        let announced = self.calls.load(Ordering::Acquire) > 0;
        let mut handed = if announced { line.hand_out(now, Entry::take) } else { Vec::new() };
        // Counted before it looks: whoever makes room afterwards sees it (see `serve`).
        self.waiting.store(line.length() + 1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let others = line.has(waiter.kind);
        let found = if others { None } else { entry.take() };
        let place = if let Some(found) = found {
            handed.push((entry, found));
            Ok(None)
        } else if let Some(why) = self.reached(&line, &waiter) {
            Err(Full { why, retry_after: line.retry_after(waiter.kind) })
        } else {
            let place = line.enter(waiter, now, entry);
            if others {
                handed.extend(line.hand_out_of(vec![waiter.kind], now, Entry::take));
            }
            Ok(Some(place))
        };
        self.unlock(line);
        give(handed);
        place.map(|place| Waiting::new(Arc::clone(self), place, receiver, (now, waiter.deadline)))
    }

    /// To be called after whatever may have made room: hands out in fair order as long as anybody can be served.
    ///
    /// With k kinds waiting it tries k times in vain at most, each at the cost of a logarithm and of its `take`, however
    /// many wait; each hand-out costs the logarithm for every kind for which that account waits.
    pub fn serve(&self) {
        // Either this load sees a waiter that has entered, or its `take` sees the room.
        fence(Ordering::SeqCst);
        if self.is_empty() || self.calls.fetch_add(1, Ordering::AcqRel) > 0 {
            return;
        }
        let mut calls = 1;
        while calls > 0 {
            let mut line = self.lock();
            let handed = line.hand_out(Instant::now(), Entry::take);
            self.unlock(line);
            give(handed);
            calls = self.calls.fetch_sub(calls, Ordering::AcqRel) - calls;
        }
    }

    /// Gives up a place; says when to try again. None when it was given up, or served, before.
    fn leave(&self, place: &line::Place) -> Option<Duration> {
        let mut line = self.lock();
        let left = line.leave(place);
        let retry_after = line.retry_after(place.waiter.kind);
        self.unlock(line);
        left.map(|_| retry_after)
    }

    fn reached(&self, line: &Line<Entry<T>>, waiter: &Waiter) -> Option<Why> {
        if line.length_of(waiter.account) >= self.bounds.requests_of_an_account {
            Some(Why::TooManyOfAccount)
        } else if line.length() >= self.bounds.requests {
            Some(Why::TooMany)
        } else if waiter.bytes > self.bounds.bytes.saturating_sub(line.bytes()) {
            Some(Why::TooManyBytes)
        } else {
            None
        }
    }

    fn lock(&self) -> MutexGuard<'_, Line<Entry<T>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unlock(&self, line: MutexGuard<'_, Line<Entry<T>>>) {
        self.waiting.store(line.length(), Ordering::Relaxed);
    }
}

impl<T> Entry<T> {
    /// One that panics finds nothing: it must not end the round of whoever serves.
    fn take(&mut self) -> Option<T> {
        catch_unwind(AssertUnwindSafe(&mut self.take)).unwrap_or_default()
    }
}

/// Hands over what was found. What is for somebody who has just left is dropped.
fn give<T>(handed: Vec<(Entry<T>, T)>) {
    for (entry, found) in handed {
        drop(entry.given.send(found));
    }
}
