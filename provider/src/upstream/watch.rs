//! Whether the server is there. While it is away the node takes no work, and says so.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Upstream;
use super::config::UpstreamConfig;
use crate::slots::Slots;

impl Upstream {
    /// Looks until `stop` is given.
    pub async fn watch(self: Arc<Self>, slots: Slots, stop: CancellationToken) {
        let (mut doubted, mut away) = (false, false);
        loop {
            let pause = if doubted && !away { self.patience.look_again } else { self.patience.look };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                () = self.failed.notified(), if !away && !doubted => {}
            }
            let found = self.look().await;
            match &found {
                Ok(()) if away => tracing::info!(upstream = self.address(), "the server is back"),
                Err(error) if doubted && !away => tracing::warn!("{error:#}. The node takes no work until it is back"),
                _ => {}
            }
            away = found.is_err() && doubted;
            doubted = found.is_err();
            slots.set_away(away);
        }
    }

    async fn look(&self) -> anyhow::Result<()> {
        let listing = self.listing().await?;
        let is_there = listing.find(&self.model).is_some();
        anyhow::ensure!(is_there, "the server at {} has the model no longer. {}", self.address(), listing.choice());
        Ok(())
    }

    /// What the operator's server has, or why nobody knows, for people to read.
    ///
    /// # Errors
    /// When there can be no server at this address, or its key can't be read.
    pub async fn describe(config: &UpstreamConfig) -> anyhow::Result<String> {
        let upstream = Self::new(config, "")?;
        Ok(match upstream.listing().await {
            Ok(listing) => format!("{} answers and has {}", upstream.address(), listing.names()),
            Err(error) => format!("{error:#}"),
        })
    }
}
