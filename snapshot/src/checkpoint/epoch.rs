//! The coordinator's part: fence, leases, and the completion that makes a checkpoint exist.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt};

use super::{Barrier, Base};
use crate::chain::{Chain, ChainState};
use crate::error::{Error, ErrorKind, Result};
use crate::fetch::{find_claim, is_there};
use crate::key_group::coverage_fault;
use crate::lease::HeldLease;
use crate::manifest::{ClaimRef, Completion, Fence};
use crate::names::{CheckpointId, JobName, ObjectName, ParcelName};
use crate::repo::Repo;

/// How many objects are looked at once.
const LOOKS_AT_ONCE: usize = 16;

/// The time from the start of a coordinator to that of the next one: only the newest may complete checkpoints.
///
/// One task has it; `&mut self` keeps the order of a job's checkpoints.
#[derive(Debug)]
pub struct Epoch {
    repo: Repo,
    chain: Chain,
    holder: String,
    key_groups: u32,
    number: u64,
    last: u64,
    /// What new checkpoints are built upon.
    base: Option<Base>,
    leases: BTreeMap<CheckpointId, HeldLease>,
    /// Parcels that this coordinator has looked at.
    seen: BTreeSet<ParcelName>,
}

impl Epoch {
    /// Starts an epoch of `job`, which has `key_groups`: those before it complete nothing any more. `holder` tells people who
    /// this is.
    ///
    /// # Errors
    /// Those of the requests; `Fix` when checkpoints of the job have another number of key groups.
    pub async fn start(repo: &Repo, job: &JobName, key_groups: u32, holder: &str) -> Result<Epoch> {
        let mut chain = Chain::read(repo, job).await?;
        if let Some(other) = chain.state().live().values().find(|live| live.key_groups != key_groups) {
            let message = format!(
                "job {job}: started with {key_groups} key groups, but its checkpoint {} has {}: their number is fixed for the life \
                 of a job",
                other.checkpoint, other.key_groups
            );
            return Err(Error::new(ErrorKind::Fix, message));
        }
        let fence = Fence { holder: holder.to_owned(), started_at_ms: repo.ambient().now_ms() };
        let number = chain.fence(fence).await?;
        tracing::info!(%job, epoch = number, holder, "an epoch began: coordinators before it are fenced off");
        let holder = holder.to_owned();
        let (leases, seen) = (BTreeMap::new(), BTreeSet::new());
        Ok(Epoch { repo: repo.clone(), chain, holder, key_groups, number, last: 0, base: None, leases, seen })
    }

    /// Its number: the slot of its fence.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What the chain says, as far as it was read.
    pub fn state(&self) -> &ChainState {
        self.chain.state()
    }

    /// Says which checkpoint the workers were restored from, so that the next one is built upon it.
    ///
    /// # Errors
    /// `Fix` when it does not exist.
    pub fn build_upon(&mut self, checkpoint: CheckpointId) -> Result<()> {
        let slot = self.chain.state().find(checkpoint).ok_or_else(|| {
            Error::new(ErrorKind::Fix, format!("job {}: checkpoint {checkpoint} does not exist", self.chain.job()))
        })?;
        self.base = Some(Base { slot, checkpoint });
        Ok(())
    }

    /// Begins a checkpoint: takes the lease under which it is made.
    ///
    /// # Errors
    /// Those of the requests; `Fenced` when a newer coordinator has started. A base that does not exist any more is no
    /// error: the checkpoint is built upon nothing then, and everything is uploaded.
    pub async fn begin(&mut self) -> Result<Barrier> {
        self.chain.catch_up().await?;
        self.check_fence()?;
        if self.base.is_some_and(|base| !self.chain.state().live().contains_key(&base.slot)) {
            self.base = None;
        }
        let checkpoint = CheckpointId { epoch: self.number, number: self.last + 1 };
        let held = HeldLease::make(&self.repo, self.chain.job(), &self.holder, checkpoint, Vec::new()).await?;
        self.last += 1;
        let barrier = Barrier { checkpoint, base: self.base, lease: held.id };
        self.leases.insert(checkpoint, held);
        Ok(barrier)
    }

    fn check_fence(&self) -> Result<()> {
        let newest = self.chain.state().epoch();
        if newest == self.number {
            return Ok(());
        }
        let message = format!(
            "job {}: a coordinator of epoch {newest} has started since; this one, of epoch {}, may complete nothing any more",
            self.chain.job(),
            self.number
        );
        Err(Error::new(ErrorKind::Fenced, message))
    }

    /// Completes a checkpoint with the claims of its workers: from now on it exists. Returns its slot.
    ///
    /// Reads every claim back, and looks at every object that no earlier checkpoint of this epoch had: what workers say they
    /// wrote must be visible from here.
    ///
    /// # Errors
    /// `Fix` when the claims do not cover every key group once, or when an object that a worker wrote is not to be seen from
    /// here; `Fenced`. It may be tried again after `Retry`, and must be given up after everything else.
    pub async fn complete(&mut self, barrier: &Barrier, mut claims: Vec<ClaimRef>) -> Result<u64> {
        claims.sort_by_key(|claim| claim.groups);
        if let Some(fault) = coverage_fault(self.key_groups, claims.iter().map(|claim| claim.groups)) {
            let message = format!("job {}: checkpoint {}: {fault}", self.chain.job(), barrier.checkpoint);
            return Err(Error::new(ErrorKind::Fix, message));
        }
        let mut parcels = BTreeMap::new();
        for claim in &claims {
            let found = find_claim(&self.repo, self.chain.job(), barrier.checkpoint, claim).await?;
            let (worker, attempt) = (claim.worker.clone(), claim.attempt);
            let name = ObjectName::Claim(self.chain.job().clone(), barrier.checkpoint, worker, attempt);
            let claim = found.ok_or_else(|| unseen(&self.repo, &name))?;
            parcels.extend(claim.runs.iter().map(|run| (run.parcel, run.parcel_bytes)));
        }
        let new: Vec<(ParcelName, u64)> =
            parcels.iter().filter(|(name, _)| !self.seen.contains(name)).map(|(name, bytes)| (*name, *bytes)).collect();
        let looks = new.into_iter().map(|(parcel, bytes)| self.look_at(parcel, bytes));
        futures_util::stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE).try_collect::<()>().await?;
        let completion = Completion {
            checkpoint: barrier.checkpoint,
            key_groups: self.key_groups,
            claims,
            base: barrier.base.map(|base| base.slot),
            lease: barrier.lease,
            completed_at_ms: self.repo.ambient().now_ms(),
        };
        let slot = self.chain.complete(completion).await?;
        tracing::info!(job = %self.chain.job(), checkpoint = %barrier.checkpoint, slot, "a checkpoint exists");
        self.seen = parcels.into_keys().collect();
        self.base = Some(Base { slot, checkpoint: barrier.checkpoint });
        self.end_lease(barrier.checkpoint).await;
        // A boundary only spares readers time: the next completion makes one if this fails.
        self.chain.mark_boundary_if_due().await.ok();
        Ok(slot)
    }

    /// Gives a checkpoint up. Deletes nothing that was uploaded for it.
    pub async fn abort(&mut self, barrier: &Barrier) {
        tracing::info!(job = %self.chain.job(), checkpoint = %barrier.checkpoint, "a checkpoint was given up");
        self.end_lease(barrier.checkpoint).await;
    }

    async fn end_lease(&mut self, checkpoint: CheckpointId) {
        if let Some(lease) = self.leases.remove(&checkpoint) {
            // A lease that stays ends with this epoch.
            lease.end().await.ok();
        }
    }

    async fn look_at(&self, parcel: ParcelName, bytes: u64) -> Result<()> {
        let name = ObjectName::Parcel(self.chain.job().clone(), parcel);
        if is_there(&self.repo, &name, bytes).await? { Ok(()) } else { Err(unseen(&self.repo, &name)) }
    }
}

/// The error for an object that a worker has claimed and that is not to be seen from here.
fn unseen(repo: &Repo, name: &ObjectName) -> Error {
    let message = "a worker has claimed this object, and it is not to be seen from here: does this address name the same \
                   place on every machine? (file:///checkpoints on separate machines does not) if it does, somebody has deleted \
                   the object: give this checkpoint up, and begin one that is built upon nothing";
    Error::at(ErrorKind::Fix, repo.place(name), None, message)
}
