//! Ctrl-C, and the signal to end: for commands that have something to put away before they do.

use bedload::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Both signals, which end the process no more once this was made.
pub struct Interrupt {
    interrupted: Signal,
    terminated: Signal,
}

impl Interrupt {
    /// # Errors
    /// Those of the system.
    pub fn listen() -> Result<Interrupt> {
        let failed = |cause| Error::io("wait for signals", "this process", cause);
        Ok(Interrupt {
            interrupted: signal(SignalKind::interrupt()).map_err(failed)?,
            terminated: signal(SignalKind::terminate()).map_err(failed)?,
        })
    }

    /// Waits for one of them. May be given up while it waits.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupted.recv() => {}
            _ = self.terminated.recv() => {}
        }
    }
}

/// Says what whoever was interrupted while it read a checkpoint may have left in the repo.
pub fn tell_of_lease() {
    eprintln!("bedload: interrupted; `bedload leases JOB` shows the lease that may be left, and --void ends it");
}
