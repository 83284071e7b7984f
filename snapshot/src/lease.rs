//! Leases: what is being written or read is kept, without any counts that could be wrong.
//!
//! Whoever reads a checkpoint writes a lease that names it, and *then* looks again whether the checkpoint still exists. A collector
//! reads the chain, then the leases, then the chain again; so either it sees the lease, or the reader sees what the collector
//! acted upon. Whoever makes a checkpoint writes one too: what is written after it is kept however long that takes. Leases have
//! no timeout: their holder ends them, the epoch of the checkpoint that is made ends, or they are declared void in the chain.
//! Collections drop those that keep nothing: the ones that collectors write to know the time, and the ones on checkpoints that
//! were collected before.

use crate::chain::Chain;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{Lease, LiveCompletion};
use crate::names::{CheckpointId, JobName, LeaseId, ObjectName, ParcelName};
use crate::pins::pins;
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
    /// Writes a lease on a checkpoint that is to be read, then looks whether it still exists, or a pin keeps it.
    ///
    /// # Errors
    /// Those of the requests; `Missing` when the checkpoint does not exist any more.
    pub async fn read(chain: &mut Chain, repo: &Repo, holder: &str, reading: LiveCompletion) -> Result<HeldLease> {
        let (slot, checkpoint) = (reading.slot, reading.completion.checkpoint);
        let (job, holder) = (chain.job().clone(), holder.to_owned());
        let lease = Lease { job, holder, making: None, reading: Some(reading), parcels: Vec::new() };
        let held = HeldLease::write(repo, &lease).await?;
        let checked = async {
            chain.catch_up().await?;
            let is_kept = chain.state().live().contains_key(&slot)
                || pins(repo, chain.job()).await?.iter().any(|(_, pin)| pin.checkpoint.slot == slot);
            if is_kept {
                return Ok(());
            }
            let message = format!("job {}: checkpoint {checkpoint} has expired just now", chain.job());
            Err(Error::new(ErrorKind::Missing, message))
        };
        let checked = checked.await;
        match checked {
            Ok(()) => Ok(held),
            Err(error) => {
                held.end().await.ok();
                Err(error)
            }
        }
    }

    /// Writes a lease under which a checkpoint is made: what is written from here on is kept, and so are `parcels`.
    pub async fn make(
        repo: &Repo,
        job: &JobName,
        holder: &str,
        making: CheckpointId,
        parcels: Vec<ParcelName>,
    ) -> Result<HeldLease> {
        let (job, holder) = (job.clone(), holder.to_owned());
        HeldLease::write(repo, &Lease { job, holder, making: Some(making), reading: None, parcels }).await
    }

    /// Writes a lease on nothing, to know the store's time.
    pub async fn read_time(repo: &Repo, job: &JobName) -> Result<HeldLease> {
        let (job, holder) = (job.clone(), "collector".to_owned());
        HeldLease::write(repo, &Lease { job, holder, making: None, reading: None, parcels: Vec::new() }).await
    }

    async fn write(repo: &Repo, lease: &Lease) -> Result<HeldLease> {
        let random = || u128::from(repo.ambient().random());
        let id = LeaseId(random() << 64 | random());
        let name = ObjectName::Lease(lease.job.clone(), id);
        let mut held = HeldLease { repo: repo.clone(), job: lease.job.clone(), id, written_ms: 0 };
        let written = async {
            repo.publish(&name, lease).await?;
            let meta = repo.head(&name).await?;
            meta.ok_or_else(|| repo.missing(&name, "it was written a moment ago; is this object store consistent?"))
        };
        match written.await {
            Ok(meta) => {
                held.written_ms = meta.modified_ms;
                Ok(held)
            }
            Err(error) => {
                // It may be there all the same, and nobody else knows of it.
                held.end().await.ok();
                Err(error)
            }
        }
    }

    /// Ends it. A failure leaves it to be declared void; nothing is lost by that but space.
    pub async fn end(&self) -> Result<()> {
        self.repo.delete(&ObjectName::Lease(self.job.clone(), self.id)).await
    }
}
