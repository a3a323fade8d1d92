//! How many requests are computed at once, and how many may wait. A [`Slot`] lives as long as its sequence does.

use std::sync::Arc;

use openapi::node::NodeStatus;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// The node's places, first come, first served.
#[derive(Clone)]
pub struct Slots {
    free: Arc<Semaphore>,
    status: watch::Sender<NodeStatus>,
    /// Given when the node is on its way out.
    leaving: CancellationToken,
    slots: u32,
    queue: u32,
}

/// Nobody else may wait now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue is full")]
pub struct QueueFull;

impl Slots {
    /// `slots` requests at once, `queue` more waiting.
    pub fn new(slots: u32, queue: u32) -> Self {
        let (status, _) = watch::channel(NodeStatus::default());
        Self { free: Arc::new(Semaphore::new(slots as usize)), status, leaving: CancellationToken::new(), slots, queue }
    }

    /// Takes a place in the queue.
    ///
    /// # Errors
    /// When the queue is full, the node is on its way out, or what computes is away.
    pub fn enter(&self) -> Result<Place, QueueFull> {
        let entered = self.status.send_if_modified(|status| {
            let room = status.running + status.waiting < self.slots + self.queue && !status.draining;
            status.waiting += u32::from(room);
            room
        });
        if entered { Ok(Place { slots: self.clone() }) } else { Err(QueueFull) }
    }

    /// Takes nothing new from now on.
    pub fn drain(&self) {
        self.leaving.cancel();
        self.status.send_modify(|status| status.draining = true);
    }

    /// Takes nothing new while what computes is away.
    pub fn set_away(&self, away: bool) {
        self.status.send_if_modified(|status| {
            // Asked for in here: who leaves at the same moment says so afterwards.
            let draining = away || self.leaving.is_cancelled();
            std::mem::replace(&mut status.draining, draining) != draining
        });
    }

    /// True once the node is on its way out.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_cancelled()
    }

    /// True while what computes is away.
    pub fn is_away(&self) -> bool {
        self.status.borrow().draining && !self.is_leaving()
    }

    /// What runs and waits, now and at every change.
    pub fn status(&self) -> watch::Receiver<NodeStatus> {
        self.status.subscribe()
    }

    /// Requests computed at once.
    pub fn count(&self) -> u32 {
        self.slots
    }

    /// Requests that may wait beyond those.
    pub fn queue(&self) -> u32 {
        self.queue
    }
}

/// A place in the queue; given up when dropped.
pub struct Place {
    slots: Slots,
}

impl Place {
    /// Waits for a free slot.
    pub async fn slot(self) -> Slot {
        let permit = Arc::clone(&self.slots.free).acquire_owned().await.ok();
        let status = self.slots.status.clone();
        // Counted as running before the place is given up, so that the sum never dips.
        status.send_modify(|status| status.running += 1);
        Slot { _permit: permit, status }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.slots.status.send_modify(|status| status.waiting -= 1);
    }
}

/// A place in the engine; free again when dropped.
pub struct Slot {
    _permit: Option<OwnedSemaphorePermit>,
    status: watch::Sender<NodeStatus>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.status.send_modify(|status| status.running -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_runs_one_waits_and_the_next_is_refused() {
        let slots = Slots::new(1, 1);
        let status = slots.status();
        let running = slots.enter().unwrap().slot().await;
        let waiting = slots.enter().unwrap();
        assert_eq!(*status.borrow(), NodeStatus { running: 1, waiting: 1, draining: false });
        assert_eq!(slots.enter().err(), Some(QueueFull));
        drop(running);
        let next = waiting.slot().await;
        assert_eq!(*status.borrow(), NodeStatus { running: 1, waiting: 0, draining: false });
        drop(next);
        slots.drain();
        assert_eq!(slots.enter().err(), Some(QueueFull));
        assert_eq!(*status.borrow(), NodeStatus { running: 0, waiting: 0, draining: true });
    }

    #[test]
    fn what_is_away_comes_back_and_who_leaves_does_not() {
        let slots = Slots::new(1, 1);
        let mut status = slots.status();
        slots.set_away(false);
        assert!(!status.has_changed().unwrap() && !slots.is_away());
        slots.set_away(true);
        assert!(status.borrow_and_update().draining && slots.is_away() && !slots.is_leaving());
        assert_eq!(slots.enter().err(), Some(QueueFull));
        slots.set_away(false);
        assert!(!status.borrow_and_update().draining && slots.enter().is_ok());
        slots.drain();
        slots.set_away(false);
        assert!(status.borrow_and_update().draining && slots.is_leaving() && !slots.is_away());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_leaves_no_trace() {
        let slots = Slots::new(1, 5);
        let running = slots.enter().unwrap().slot().await;
        let mut waiting = Box::pin(slots.enter().unwrap().slot());
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(waiting);
        drop(running);
        assert_eq!(*slots.status().borrow(), NodeStatus::default());
    }
}
