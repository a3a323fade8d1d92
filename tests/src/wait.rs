//! Waiting for a condition, with a deadline.

use std::future::Future;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::{Instant, sleep};

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks again and again until there is something, at most for `within`.
///
/// # Panics
/// When the deadline passes; `what` names what was waited for.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {within:?}");
        sleep(LOOK_EVERY).await;
    }
}

/// Waits for a minute of which so many seconds are left: what is counted by the minute would begin anew in between.
pub async fn early_in_a_minute(seconds: u8) {
    eventually("the next minute", Duration::from_secs(70), || async {
        (OffsetDateTime::now_utc().second() + seconds < 60).then_some(())
    })
    .await;
}
