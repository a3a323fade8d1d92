//! Waiting for a condition, with a deadline and without a panic.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// For one connection to open: more than the slowest link with a lost packet takes.
pub(crate) const REACHED_WITHIN: Duration = Duration::from_secs(4);

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks again and again until there is something, at most for `within`.
///
/// # Errors
/// What the look says, or that the deadline has passed; `what` names what was waited for.
pub(crate) async fn until<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>, String>,
) -> Result<T, String> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            return Err(format!("{what}: not within {within:?}"));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// The value that this many percent do not exceed; nothing of nothing.
pub(crate) fn quantile(values: &[Duration], percent: usize) -> Option<Duration> {
    let mut values = values.to_vec();
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100);
    values.get(rank.saturating_sub(1)).copied()
}

/// For people: `0.41 s`, or a dash where nothing was measured.
pub(crate) fn seconds(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "-".to_owned(), |duration| format!("{:.2} s", duration.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_never_comes_is_named_after_its_deadline() {
        let began = Instant::now();
        let never = until("the tide", Duration::from_secs(3), async || Ok(None::<()>)).await;
        assert_eq!(never, Err("the tide: not within 3s".to_owned()));
        assert!(began.elapsed() >= Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_ends_the_wait_at_once() {
        let began = Instant::now();
        let failed =
            until("a node", Duration::from_secs(3), async || Err::<Option<()>, _>("it has ended".into())).await;
        assert_eq!((failed, began.elapsed()), (Err("it has ended".to_owned()), Duration::ZERO));
    }

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values: Vec<Duration> = (1..=20).rev().map(Duration::from_secs).collect();
        assert_eq!(quantile(&values, 50), Some(Duration::from_secs(10)));
        assert_eq!(quantile(&values, 95), Some(Duration::from_secs(19)));
        assert_eq!(quantile(&values[..1], 95), Some(Duration::from_secs(20)));
        assert_eq!(quantile(&[], 95), None);
    }
}
