//! Where requests wait that find every suitable node full: bounded, fair between accounts, and each up to its deadline.
//!
//! Accounts take turns, whatever their number of requests or keys; only what somebody had to wait for counts as a turn.
//! Within an account high comes before normal before low, first come first served; ten seconds of waiting raise a class.

#[cfg(test)]
mod chances;
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
    /// What was said in these and is not looked at yet.
    chances: Mutex<Vec<Chance>>,
}

/// Where something may be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chance {
    /// On any node.
    Anywhere,
    /// On the node of this id, and nowhere else that was not tried before.
    At(Uuid),
    /// On any node, for so many kinds of those that wait, others each time: a look at everything for everybody is too much
    /// to do often.
    Round(usize),
}

/// How much may wait at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub requests: usize,
    /// Of the bodies of all that wait.
    pub bytes: usize,
    pub requests_of_an_account: usize,
}

/// What came of a try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tried<T> {
    Got(T),
    /// Nothing that suits.
    #[default]
    Nothing,
    /// Nothing, and nobody else will get anything there either.
    NoMore,
}

impl<T> From<Option<T>> for Tried<T> {
    fn from(got: Option<T>) -> Self {
        got.map_or(Self::Nothing, Self::Got)
    }
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
    take: Box<dyn FnMut(Chance) -> Tried<T> + Send>,
    given: oneshot::Sender<T>,
}

impl<T: Send + 'static> Queue<T> {
    /// An empty one.
    pub fn new(bounds: Bounds) -> Arc<Self> {
        let (waiting, calls) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { bounds, line: Mutex::new(Line::default()), waiting, calls, chances: Mutex::default() })
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
    /// Who comes for something that nobody waits for gets it at once if it is there, even when the queue is full. Who comes
    /// for what others wait for stands behind them, and nothing is tried: they were, at each chance. Must be called in a
    /// tokio runtime.
    ///
    /// # Errors
    /// When there is nothing for it now and no more may wait.
    pub fn enter<R: Into<Tried<T>>>(
        self: &Arc<Self>,
        waiter: Waiter,
        mut take: impl FnMut(Chance) -> R + Send + 'static,
    ) -> Result<Waiting<T>, Full> {
        let now = Instant::now();
        let (given, receiver) = oneshot::channel();
        let mut entry = Entry { take: Box::new(move |chance| take(chance).into()), given };
        let mut line = self.lock();
        // Room that was announced and not yet handed out belongs to those who wait.
        let mut handed = self.hand_out(&mut line, now);
        // Counted before it looks: whoever makes room afterwards sees it (see `serve`).
        self.waiting.store(line.length() + 1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.reached(&line, &waiter).is_some() {
            // Room that nobody announced goes to those who wait, before anybody is turned away.
            handed.extend(line.hand_out_kind(waiter.kind, now, |entry| entry.take(Chance::Anywhere)));
        }
        let found = if line.has(waiter.kind) { Tried::Nothing } else { entry.take(Chance::Anywhere) };
        let place = if let Tried::Got(found) = found {
            handed.push((entry, found));
            Ok(None)
        } else if let Some(why) = self.reached(&line, &waiter) {
            Err(Full { why, retry_after: line.retry_after(waiter.kind) })
        } else {
            Ok(Some(line.enter(waiter, now, entry)))
        };
        self.unlock(line);
        give(handed);
        place.map(|place| Waiting::new(Arc::clone(self), place, receiver, (now, waiter.deadline)))
    }

    /// To be called after whatever may have made room: hands out in fair order as long as anybody can be served there.
    ///
    /// With k kinds waiting it tries k times in vain at most, each at the cost of a logarithm and of its `take`, however
    /// many wait, and ends as soon as one says that there is no more; each hand-out costs the logarithm for every kind for
    /// which that account waits.
    pub fn serve(&self, chance: Chance) {
        // Either this load sees a waiter that has entered, or its `take` sees the room.
        fence(Ordering::SeqCst);
        if self.is_empty() {
            return;
        }
        self.chances.lock().unwrap_or_else(PoisonError::into_inner).push(chance);
        if self.calls.fetch_add(1, Ordering::AcqRel) > 0 {
            return;
        }
        let mut calls = 1;
        while calls > 0 {
            let mut line = self.lock();
            let handed = self.hand_out(&mut line, Instant::now());
            self.unlock(line);
            give(handed);
            calls = self.calls.fetch_sub(calls, Ordering::AcqRel) - calls;
        }
    }

    /// Hands out what was announced.
    fn hand_out(&self, line: &mut Line<Entry<T>>, now: Instant) -> Vec<(Entry<T>, T)> {
        let mut chances = std::mem::take(&mut *self.chances.lock().unwrap_or_else(PoisonError::into_inner));
        // A look at everything sees what is at one node too.
        if chances.contains(&Chance::Anywhere) {
            chances = vec![Chance::Anywhere];
        }
        let mut handed = Vec::new();
        for chance in chances {
            let take = |entry: &mut Entry<T>| entry.take(chance);
            handed.extend(match chance {
                Chance::Round(most) => line.hand_out_round(most, now, take),
                Chance::Anywhere | Chance::At(_) => line.hand_out(now, take),
            });
        }
        handed
    }

    /// Gives up a place.
    fn leave(&self, place: &line::Place) {
        let mut line = self.lock();
        // Dropped once the queue is unlocked.
        let _left = line.leave(place);
        self.unlock(line);
    }

    /// Gives up a place whose time has passed, after a last look at all nodes: room that nobody announces, such as that of a
    /// node whose rest is over, is tried for some kinds only at a time. Else it says when to try again. None when the place
    /// was given up, or served, before.
    fn pass(&self, place: &line::Place) -> Option<Result<T, Duration>> {
        let mut line = self.lock();
        let last = line.look_last(place, Instant::now(), |entry| entry.take(Chance::Anywhere));
        let retry_after = line.retry_after(place.waiter.kind);
        self.unlock(line);
        last.map(|(_left, found)| match found {
            Tried::Got(found) => Ok(found),
            Tried::Nothing | Tried::NoMore => Err(retry_after),
        })
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
    fn take(&mut self, chance: Chance) -> Tried<T> {
        catch_unwind(AssertUnwindSafe(|| (self.take)(chance))).unwrap_or_default()
    }
}

/// Hands over what was found. What is for somebody who has just left is dropped.
fn give<T>(handed: Vec<(Entry<T>, T)>) {
    for (entry, found) in handed {
        drop(entry.given.send(found));
    }
}
