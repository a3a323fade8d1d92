//! Work that is async in name, and reads and computes for seconds between two awaits.

use tokio::runtime::Handle;
use tokio::task::{JoinError, spawn_blocking};

/// Does it on a thread that serves nobody. It goes on when whoever waits for it leaves.
pub(crate) async fn aside<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, JoinError> {
    let handle = Handle::current();
    spawn_blocking(move || handle.block_on(work)).await
}
