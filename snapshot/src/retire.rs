//! Ends a job for good: nothing of it exists any more, and collections may delete all of it but for a boundary.
//!
//! ```text
//!   chain to its end ─► retirement ─► boundary ─ ─ collections, for a week ─ ─►  the boundary, and what the last collection writes down
//! ```
//!
//! The newest checkpoint of a job never expires, so that a job that is stopped keeps what it had. A retirement is the one event that
//! ends it too. It names the epoch that it ends, and is refused when a coordinator has started since.
//!
//! What holds for collections holds on: leases keep what is being read, pins keep what they name, and nothing is deleted before it is
//! old enough. Slots go a week after the boundary behind them; the boundary stays. A coordinator that stood still all that time finds it
//! behind the slot that it creates, as behind any other, and is fenced: so it must not be deleted.

use crate::chain::Chain;
use crate::error::Result;
use crate::names::{CheckpointId, JobName, PinName};
use crate::pins::pins;
use crate::repo::Repo;

/// A job that was ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// The checkpoints that existed, oldest first.
    pub ended: Vec<CheckpointId>,
    /// What still keeps some of them: remove these pins to let them go.
    pub pins: Vec<PinName>,
}

/// Ends `job`: its coordinator completes nothing any more, and none of its checkpoints exists. Their objects stay until they are
/// [collected](crate::collect), where more than half of the bytes are garbage then, as they should be. May be called again.
///
/// A coordinator that starts later begins the job anew, with nothing.
///
/// # Errors
/// Those of the requests; `Fenced` when a coordinator started just now.
pub async fn retire(repo: &Repo, job: &JobName, reason: &str) -> Result<Retired> {
    retire_chain(repo, Chain::read(repo, job).await?, reason).await
}

/// Ends the job of a chain as it was read: not when a coordinator has started since.
///
/// # Errors
/// As [`retire`].
pub async fn retire_chain(repo: &Repo, mut chain: Chain, reason: &str) -> Result<Retired> {
    let (epoch, before) = (chain.state().epoch(), chain.state().live().clone());
    if !before.is_empty() {
        chain.retire(epoch, reason).await?;
    }
    if chain.state().next_slot() > 1 {
        // Slots behind the last one are none, where this was done before.
        chain.mark_boundary().await?;
    }
    let pins = pins(repo, chain.job()).await?.into_iter().map(|(name, _)| name).collect();
    Ok(Retired { ended: before.values().map(|completion| completion.checkpoint).collect(), pins })
}
