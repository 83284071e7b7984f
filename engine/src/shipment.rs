//! A frozen state on its way into the repo, beside the operator.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bedload_lsm::fs::Fs;
use bedload_lsm::{Clocks, Env, Expiry, Frozen, Store};
use bedload_snapshot::{Barrier, ClaimRef, ShipReport, Worker};
use tracing::{Instrument, Span};

use crate::error::{Error, ErrorKind, Result};
use crate::heap::Kept;
use crate::state_key::{StateRules, StateShape};
use crate::tally::Tally;
use crate::ttl::Clock;

/// A frozen state on its way into the repo.
pub struct Shipment {
    pub(crate) worker: Arc<Worker>,
    pub(crate) barrier: Barrier,
    pub(crate) content: Content,
    pub(crate) attachment: serde_json::Value,
    pub(crate) pause: Duration,
    /// Where its end is counted.
    pub(crate) tally: Arc<Tally>,
    /// That of the checkpoint.
    pub(crate) span: Span,
}

/// What is shipped.
pub(crate) enum Content {
    Frozen(Box<Frozen>),
    Copied { entries: Vec<(Vec<u8>, Kept)>, clocks: Clocks, directory: PathBuf, fs: Arc<dyn Fs> },
}

/// What a worker contributes to a checkpoint: for the coordinator.
#[derive(Clone, Debug)]
pub struct Shipped {
    /// The claim.
    pub claim: ClaimRef,
    /// What was uploaded for it.
    pub report: ShipReport,
    /// What the operator waited for.
    pub pause: Duration,
}

impl Shipment {
    /// What the operator waited for.
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// Uploads what the repo lacks, and claims it.
    ///
    /// When the checkpoint was given up, drop what this gives: the upload ends then. Runs that were uploaded as a whole are used again by
    /// the next checkpoint.
    ///
    /// # Errors
    /// Those of [`Worker::ship`].
    pub async fn ship(self) -> Result<Shipped> {
        let (span, tally) = (self.span.clone(), Arc::clone(&self.tally));
        let shipped = self.ship_in_span().instrument(span).await;
        tally.shipped(shipped.as_ref().ok().map(|shipped| &shipped.report));
        shipped
    }

    async fn ship_in_span(self) -> Result<Shipped> {
        let Shipment { worker, barrier, content, attachment, pause, .. } = self;
        let pause_us = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
        let (claim, report) = match content {
            Content::Frozen(frozen) => worker.ship_with(*frozen, &barrier, pause_us, attachment).await?,
            Content::Copied { entries, clocks, directory, fs } => {
                let built = tokio::task::spawn_blocking(move || build_store(&fs, &directory, &entries, &clocks)).await;
                let (store, frozen) =
                    built.map_err(|cause| Error::new(ErrorKind::Bug, format!("writing a heap: {cause}")))??;
                // Its runs are new ones each time: there is nothing to build upon.
                let barrier = Barrier { base: None, ..barrier };
                let shipped = worker.ship_with(frozen, &barrier, pause_us, attachment).await?;
                drop(store);
                shipped
            }
        };
        Ok(Shipped { claim, report, pause })
    }
}

/// Writes what was copied from a heap into a store, for its runs.
fn build_store(
    fs: &Arc<dyn Fs>,
    directory: &Path,
    entries: &[(Vec<u8>, Kept)],
    clocks: &Clocks,
) -> Result<(Store, Frozen)> {
    fs.create_dir(directory)?;
    for file in fs.read_dir(directory)? {
        fs.remove(&directory.join(&file.name))?;
    }
    let env = Env::builder().memory(64 << 20).threads(0).fs(Arc::clone(fs)).build()?;
    let mut store = Store::options().env(&env).shape(StateShape).rules(StateRules::default()).open(directory)?;
    for clock in [Clock::Processing, Clock::Event] {
        store.set_clock(clock.id(), clocks.now(clock.id()))?;
    }
    for (key, Kept { bytes, expiry }) in entries {
        match *expiry {
            None => store.put(key, bytes)?,
            Some(expiry) => store.put_until(key, bytes, Expiry { ..expiry })?,
        }
    }
    let frozen = store.freeze()?;
    Ok((store, frozen))
}
