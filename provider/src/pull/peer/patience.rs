//! How often something that may pass is tried again, and after which pauses.

use std::time::Duration;

use super::super::{error::SourceError, source::PullSettings};

const RETRIES: u32 = 6;
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// What is left of it; each pause is twice as long as the one before.
pub(super) struct Patience {
    retries: u32,
    pause: Duration,
}

impl Patience {
    pub(super) fn new(settings: &PullSettings) -> Self {
        Self { retries: RETRIES, pause: settings.backoff }
    }

    /// Waits before another try, or gives the error back when there should be none.
    pub(super) async fn after(&mut self, error: SourceError) -> Result<(), SourceError> {
        let may_pass = match &error {
            SourceError::Unreachable { .. } | SourceError::Interrupted { .. } => true,
            SourceError::Answer { passing, .. } => *passing,
            _ => false,
        };
        if self.retries == 0 || !may_pass {
            return Err(error);
        }
        tracing::warn!(%error, pause_ms = self.pause.as_millis(), "trying again");
        tokio::time::sleep(self.pause).await;
        self.retries -= 1;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}
