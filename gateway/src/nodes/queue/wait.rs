//! One who waits.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Queue;
use super::line::Place;
use super::pace::Pace;

/// A place in the queue, and in the end what was waited for. It is given up when this is dropped or the deadline passes.
#[must_use = "dropping it gives the place up"]
pub struct Waiting<T: Send + 'static> {
    queue: Arc<Queue<T>>,
    /// None when it need not be given up any more.
    place: Option<Place>,
    given: oneshot::Receiver<T>,
    entered: Instant,
    deadline: Pin<Box<Sleep>>,
}

/// The deadline passed before its turn came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing became free in {} seconds; try again in {} seconds", .after.as_secs(), .retry_after.as_secs())]
pub struct Passed {
    /// The time it waited.
    pub after: Duration,
    /// When there may be room, by the pace at which requests of this kind were served: 1 to 60 seconds, whole ones.
    pub retry_after: Duration,
}

impl<T: Send + 'static> Waiting<T> {
    pub(super) fn new(
        queue: Arc<Queue<T>>,
        place: Option<Place>,
        given: oneshot::Receiver<T>,
        (entered, deadline): (Instant, Instant),
    ) -> Self {
        Self { queue, place, given, entered, deadline: Box::pin(sleep_until(deadline)) }
    }

    fn passed(&self, retry_after: Duration) -> Poll<Result<T, Passed>> {
        Poll::Ready(Err(Passed { after: self.entered.elapsed(), retry_after }))
    }
}

impl<T: Send + 'static> Future for Waiting<T> {
    type Output = Result<T, Passed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match Pin::new(&mut this.given).poll(context) {
            Poll::Ready(Ok(given)) => {
                this.place = None;
                return Poll::Ready(Ok(given));
            }
            // Whoever had it in hand has panicked.
            Poll::Ready(Err(_)) => return this.passed(Pace::unknown()),
            Poll::Pending => {}
        }
        ready!(this.deadline.as_mut().poll(context));
        // When its place is gone, what it waited for is on its way.
        match this.place.take().and_then(|place| this.queue.pass(&place)) {
            Some(Ok(given)) => Poll::Ready(Ok(given)),
            Some(Err(retry_after)) => this.passed(retry_after),
            None => Poll::Pending,
        }
    }
}

impl<T: Send + 'static> Drop for Waiting<T> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.queue.leave(&place);
        }
    }
}
