//! Lets checkpoints expire by a policy; what pins keep stays.

use std::collections::BTreeSet;

use crate::chain::Chain;
use crate::error::Result;
use crate::names::{CheckpointId, JobName};
use crate::pins::pins;
use crate::repo::Repo;
use crate::retention::Retention;

/// Which checkpoints of `job` the policy keeps no longer, oldest first. Changes nothing.
///
/// # Errors
/// Those of the requests; whatever a pin that cannot be read gives.
pub async fn plan_expiry(repo: &Repo, job: &JobName, retention: &Retention) -> Result<Vec<CheckpointId>> {
    let chain = Chain::read(repo, job).await?;
    let slots = expired_slots(repo, &chain, retention).await?;
    Ok(slots.iter().map(|slot| chain.state().live()[slot].checkpoint).collect())
}

/// Lets those checkpoints of `job` expire that the policy keeps no longer; gives them, oldest first. Their objects stay until they are
/// [collected](crate::collect).
///
/// # Errors
/// As [`plan_expiry`].
pub async fn expire(repo: &Repo, job: &JobName, retention: &Retention, reason: &str) -> Result<Vec<CheckpointId>> {
    let mut chain = Chain::read(repo, job).await?;
    let slots = expired_slots(repo, &chain, retention).await?;
    expire_slots(&mut chain, slots, reason).await
}

/// Lets these checkpoints of `job` expire, as far as they still exist and no pin keeps them; gives those that expired, oldest first.
///
/// # Errors
/// As [`plan_expiry`].
pub async fn expire_these(
    repo: &Repo,
    job: &JobName,
    checkpoints: &[CheckpointId],
    reason: &str,
) -> Result<Vec<CheckpointId>> {
    let mut chain = Chain::read(repo, job).await?;
    let pinned = pinned_slots(repo, &chain).await?;
    let live = chain.state().live().iter();
    let wanted = live.filter(|(slot, live)| checkpoints.contains(&live.checkpoint) && !pinned.contains(slot));
    let slots = wanted.map(|(slot, _)| *slot).collect();
    expire_slots(&mut chain, slots, reason).await
}

async fn expire_slots(chain: &mut Chain, slots: Vec<u64>, reason: &str) -> Result<Vec<CheckpointId>> {
    let before = chain.state().live().clone();
    chain.expire(slots, reason).await?;
    let gone = before.iter().filter(|(slot, _)| !chain.state().live().contains_key(slot));
    let gone: Vec<CheckpointId> = gone.map(|(_, completion)| completion.checkpoint).collect();
    if !gone.is_empty() {
        tracing::info!(job = %chain.job(), checkpoints = gone.len(), reason, "checkpoints expired");
    }
    Ok(gone)
}

async fn pinned_slots(repo: &Repo, chain: &Chain) -> Result<BTreeSet<u64>> {
    Ok(pins(repo, chain.job()).await?.into_iter().map(|(_, pin)| pin.checkpoint.slot).collect())
}

async fn expired_slots(repo: &Repo, chain: &Chain, retention: &Retention) -> Result<Vec<u64>> {
    let pinned = pinned_slots(repo, chain).await?;
    Ok(retention.expired(chain.state().live(), &pinned))
}
