//! Leases: what is being written or read is kept, without any counts that could be wrong.
//!
//! Whoever builds upon a checkpoint or reads one writes a lease that names it, and *then* looks again whether the checkpoint still
//! exists. A collector reads the chain, then the leases, then the chain again; so either it sees the lease, or its holder sees
//! what the collector acted upon. Leases have no timeout: their holder ends them, or they are declared void in the chain.

use crate::chain::Chain;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::Lease;
use crate::names::{CheckpointId, JobName, LeaseId, ObjectName, ParcelName};
use crate::repo::Repo;

/// A lease that was written, and that its holder must end.
#[derive(Clone, Debug)]
pub(crate) struct HeldLease {
    repo: Repo,
    job: JobName,
    /// Its name.
    pub id: LeaseId,
    /// When it was written, by the store's clock.
    pub written_ms: u64,
}

impl HeldLease {
    /// Writes a lease, then looks whether its bases still exist.
    ///
    /// # Errors
    /// Those of the requests; `Fix` when a base does not exist (any more).
    pub async fn take(chain: &mut Chain, repo: &Repo, lease: Lease) -> Result<HeldLease> {
        let held = HeldLease::write(repo, &lease).await?;
        let checked = chain.catch_up().await.and_then(|()| check_bases(chain, &lease));
        match checked {
            Ok(()) => Ok(held),
            Err(error) => {
                held.end().await.ok();
                Err(error)
            }
        }
    }

    /// Writes a lease that names parcels of no checkpoint.
    pub async fn take_parcels(
        repo: &Repo,
        job: &JobName,
        holder: &str,
        making: CheckpointId,
        parcels: Vec<ParcelName>,
    ) -> Result<HeldLease> {
        let (job, holder) = (job.clone(), holder.to_owned());
        HeldLease::write(repo, &Lease { job, holder, making: Some(making), bases: Vec::new(), parcels }).await
    }

    async fn write(repo: &Repo, lease: &Lease) -> Result<HeldLease> {
        let random = || u128::from(repo.ambient().random());
        let id = LeaseId(random() << 64 | random());
        let name = ObjectName::Lease(lease.job.clone(), id);
        repo.publish(&name, lease).await?;
        let meta = repo.head(&name).await?;
        let meta = meta.ok_or_else(|| repo.missing(&name, "it was written a moment ago"))?;
        Ok(HeldLease { repo: repo.clone(), job: lease.job.clone(), id, written_ms: meta.modified_ms })
    }

    /// Ends it. A failure leaves it to be declared void; nothing is lost by that but space.
    pub async fn end(&self) -> Result<()> {
        self.repo.delete(&ObjectName::Lease(self.job.clone(), self.id)).await
    }
}

fn check_bases(chain: &Chain, lease: &Lease) -> Result<()> {
    let missing = lease.bases.iter().find(|slot| !chain.state().live().contains_key(slot));
    missing.map_or(Ok(()), |slot| {
        let message = format!("job {}: the checkpoint of slot {slot} does not exist any more", chain.job());
        Err(Error::new(ErrorKind::Fix, message))
    })
}
