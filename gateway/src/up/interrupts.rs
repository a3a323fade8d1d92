//! Ctrl-C and SIGTERM, as often as they come.

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind, signal};

/// From `listen` on, neither ends the process any more.
pub(super) struct Interrupts {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Interrupts {
    pub(super) fn listen() -> anyhow::Result<Interrupts> {
        Ok(Interrupts { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
        }
    }
}
