//! Makes checkpoints exist: the coordinator's epoch, and a worker's part in it.
//!
//! ```text
//!  coordinator                          worker                                   repo
//!  Epoch::start                                                                  Fence
//!  Epoch::begin ──────── Barrier ─────►                                          lease
//!                                       Store::freeze (microseconds)
//!                                       Worker::ship: flush, upload what lacks   parcels
//!               ◄─────── ClaimRef ─────                                          claim
//!  Epoch::complete: coverage, read back                                          Completion
//!               ──────── confirm ─────►                                          lease ends
//! ```
//!
//! What stands between them is plain data: a distributed runtime carries it as it likes. Nothing here is trusted by the
//! coordinator that it has not read back itself.
//!
//! A checkpoint exists when its completion stands in the chain, which is written last. Giving one up deletes nothing: what was
//! uploaded for it is used again while it is young, and collected when it is old.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bedload_lsm::fs::Fs;
use bedload_lsm::{Frozen, FrozenStacks, RunId, RunRef};
use futures_util::{StreamExt, TryStreamExt};

use crate::chain::{Chain, ChainState};
use crate::error::{Error, ErrorKind, Result, damaged};
use crate::fetch::{read_claim, unseen};
use crate::key_group::{KeyGroups, coverage_fault};
use crate::lease::HeldLease;
use crate::manifest::{
    Claim, ClaimRef, ClaimedRun, ClaimedSlice, ClaimedStack, Completion, Fence, Lease, Timings, digest_of,
};
use crate::names::{Attempt, CheckpointId, JobName, LeaseId, ObjectName, ParcelName, WorkerName};
use crate::repo::{Published, Repo};
use crate::ship::{ShipOptions, upload_runs};

/// How many objects are looked at once.
const LOOKS_AT_ONCE: usize = 16;

/// For how long uploads of a checkpoint that was given up are used again: half of the grace time of a collector.
const REUSE_MS: u64 = 12 * 3600 * 1000;

/// What a coordinator tells its workers: take part in this checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Barrier {
    /// Which checkpoint.
    pub checkpoint: CheckpointId,
    /// The checkpoint that it may be built upon: its runs are kept.
    pub base: Option<CheckpointId>,
    /// The lease under which it is made.
    pub lease: LeaseId,
}

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
    /// What new checkpoints are built upon: its slot, and which it is.
    base: Option<(u64, CheckpointId)>,
    leases: BTreeMap<CheckpointId, HeldLease>,
    /// Parcels that this coordinator has looked at.
    seen: BTreeSet<ParcelName>,
}

impl Epoch {
    /// Starts an epoch of `job`, which has `key_groups`: those before it complete nothing any more. `holder` tells people who
    /// this is.
    ///
    /// # Errors
    /// Those of the requests.
    pub async fn start(repo: &Repo, job: &JobName, key_groups: u32, holder: &str) -> Result<Epoch> {
        let mut chain = Chain::read(repo, job).await?;
        let fence = Fence { holder: holder.to_owned(), started_at_ms: repo.ambient().now_ms() };
        let number = chain.fence(fence).await?;
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
        self.base = Some((slot, checkpoint));
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
        if self.base.is_some_and(|(slot, _)| !self.chain.state().live().contains_key(&slot)) {
            self.base = None;
        }
        let checkpoint = CheckpointId { epoch: self.number, number: self.last + 1 };
        let lease = Lease {
            job: self.chain.job().clone(),
            holder: self.holder.clone(),
            making: Some(checkpoint),
            bases: self.base.iter().map(|(slot, _)| *slot).collect(),
            parcels: Vec::new(),
        };
        let held = HeldLease::take(&mut self.chain, &self.repo, lease).await?;
        self.last += 1;
        let barrier = Barrier { checkpoint, base: self.base.map(|(_, base)| base), lease: held.id };
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
            let claim = read_claim(&self.repo, self.chain.job(), barrier.checkpoint, claim).await?;
            parcels.extend(claim.runs.iter().map(|run| (run.parcel, run.parcel_bytes)));
        }
        let new: Vec<(ParcelName, u64)> =
            parcels.iter().filter(|(name, _)| !self.seen.contains(name)).map(|(name, bytes)| (*name, *bytes)).collect();
        let looks = new.iter().map(|(parcel, bytes)| self.look_at(*parcel, *bytes));
        futures_util::stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE).try_collect::<()>().await?;
        let completion = Completion {
            checkpoint: barrier.checkpoint,
            key_groups: self.key_groups,
            claims,
            lease: barrier.lease,
            completed_at_ms: self.repo.ambient().now_ms(),
        };
        let slot = self.chain.complete(completion).await?;
        self.seen = parcels.into_keys().collect();
        self.base = Some((slot, barrier.checkpoint));
        self.end_lease(barrier.checkpoint).await;
        // A boundary only spares readers time: the next completion makes one if this fails.
        self.chain.mark_boundary_if_due().await.ok();
        Ok(slot)
    }

    /// Gives a checkpoint up. Deletes nothing that was uploaded for it.
    pub async fn abort(&mut self, barrier: &Barrier) {
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
        match self.repo.head(&name).await? {
            Some(meta) if meta.bytes == bytes => Ok(()),
            Some(meta) => {
                Err(damaged(&self.repo.place(&name), None, format_args!("{} bytes, expected {bytes}", meta.bytes)))
            }
            None => Err(unseen(&self.repo, &name)),
        }
    }
}

/// One worker's part in the checkpoints of a job: some key groups, one store.
///
/// May be shared between tasks, but one checkpoint is shipped at a time.
#[derive(Debug)]
pub struct Worker {
    repo: Repo,
    job: JobName,
    name: WorkerName,
    groups: KeyGroups,
    fs: Arc<dyn Fs>,
    options: ShipOptions,
    shipped: Mutex<Shipped>,
}

/// What a worker knows to be in the repo.
#[derive(Debug, Default)]
struct Shipped {
    /// The runs of checkpoints that may exist.
    claimed: BTreeMap<CheckpointId, BTreeMap<RunId, ClaimedRun>>,
    /// Runs of no checkpoint, which are used again while they are young.
    orphans: BTreeMap<RunId, ClaimedRun>,
    /// Leases on such runs.
    leases: Vec<(CheckpointId, HeldLease)>,
}

impl Worker {
    /// A worker that has shipped nothing yet. `fs` is where its store's files are.
    pub fn new(repo: &Repo, job: &JobName, name: &WorkerName, groups: KeyGroups, fs: Arc<dyn Fs>) -> Worker {
        Worker {
            repo: repo.clone(),
            job: job.clone(),
            name: name.clone(),
            groups,
            fs,
            options: ShipOptions::default(),
            shipped: Mutex::new(Shipped::default()),
        }
    }

    /// How runs are sent.
    pub fn ship_options(mut self, options: ShipOptions) -> Worker {
        self.options = options;
        self
    }

    /// Its key groups.
    pub fn groups(&self) -> KeyGroups {
        self.groups
    }

    fn shipped(&self) -> MutexGuard<'_, Shipped> {
        self.shipped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the store was restored from `checkpoint`: these runs are in the repo.
    pub fn restored(&self, checkpoint: CheckpointId, runs: &[ClaimedRun]) {
        let runs = runs.iter().map(|run| (run.parcel.run, *run)).collect();
        self.shipped().claimed.insert(checkpoint, runs);
    }

    /// Ships a frozen state and writes the claim. `pause_us` is what the writer waited for the freeze, for the record.
    ///
    /// # Errors
    /// Those of the flush, of the requests, and of the disk. Nothing of the checkpoint exists then; what was uploaded is used
    /// again by the next one.
    pub async fn ship(&self, frozen: Frozen, barrier: &Barrier, pause_us: u64) -> Result<ClaimRef> {
        let clock = || self.repo.ambient().elapsed_us();
        let start = clock();
        let stacks = tokio::task::spawn_blocking(move || frozen.wait()).await;
        let stacks = stacks.map_err(|cause| Error::new(ErrorKind::Bug, format!("waiting for a flush: {cause}")))??;
        let flushed = clock();
        let runs = self.upload(&stacks, barrier).await?;
        let timings =
            Timings { pause_us, flush_us: flushed - start, upload_us: clock() - flushed, ..Timings::default() };
        self.claim(&stacks, runs, barrier, timings).await
    }

    /// Uploads what the repo lacks of a frozen state; gives all its runs.
    async fn upload(&self, stacks: &FrozenStacks, barrier: &Barrier) -> Result<BTreeMap<RunId, ClaimedRun>> {
        let mut wanted = BTreeMap::new();
        for (_, tile) in self.clipped_tiles(stacks) {
            wanted.extend(tile.slices.iter().map(|slice| (slice.run.id(), slice.run.clone())));
        }
        let mut runs = BTreeMap::new();
        if let Some(base) = barrier.base.and_then(|base| self.shipped().claimed.get(&base).cloned()) {
            runs.extend(base.into_iter().filter(|(id, _)| wanted.contains_key(id)));
        }
        let orphans: Vec<ClaimedRun> = {
            let shipped = self.shipped();
            let is_wanted =
                |run: &&ClaimedRun| wanted.contains_key(&run.parcel.run) && !runs.contains_key(&run.parcel.run);
            shipped.orphans.values().filter(is_wanted).copied().collect()
        };
        for run in self.young(orphans, barrier).await? {
            runs.insert(run.parcel.run, run);
        }
        let lacking: Vec<RunRef> =
            wanted.into_iter().filter(|(id, _)| !runs.contains_key(id)).map(|(_, run)| run).collect();
        let uploaded = upload_runs(&self.repo, &self.job, &self.fs, &lacking, &self.options).await?;
        self.shipped().orphans.extend(uploaded.iter().map(|run| (run.parcel.run, *run)));
        runs.extend(uploaded.into_iter().map(|run| (run.parcel.run, run)));
        Ok(runs)
    }

    /// Those of some uploads of no checkpoint that may be used again: named in a lease, and then found to be there and young.
    async fn young(&self, orphans: Vec<ClaimedRun>, barrier: &Barrier) -> Result<Vec<ClaimedRun>> {
        if orphans.is_empty() {
            return Ok(orphans);
        }
        let parcels = orphans.iter().map(|run| run.parcel).collect();
        let holder = self.name.as_str();
        let lease = HeldLease::take_parcels(&self.repo, &self.job, holder, barrier.checkpoint, parcels).await?;
        let written_ms = lease.written_ms;
        self.shipped().leases.push((barrier.checkpoint, lease));
        let mut young = Vec::new();
        for run in orphans {
            let meta = self.repo.head(&ObjectName::Parcel(self.job.clone(), run.parcel)).await?;
            if meta.is_some_and(|meta| meta.bytes == run.parcel_bytes && meta.modified_ms + REUSE_MS > written_ms) {
                young.push(run);
            }
        }
        Ok(young)
    }

    async fn claim(
        &self,
        stacks: &FrozenStacks,
        runs: BTreeMap<RunId, ClaimedRun>,
        barrier: &Barrier,
        timings: Timings,
    ) -> Result<ClaimRef> {
        let place: BTreeMap<RunId, u32> = runs.keys().copied().zip(0..).collect();
        let stack = |(range, tile): (_, bedload_lsm::FrozenTile)| {
            let slices =
                tile.slices.iter().map(|slice| ClaimedSlice { run: place[&slice.run.id()], bytes: slice.bytes });
            ClaimedStack::new(&range, slices.collect())
        };
        let claim = Claim {
            job: self.job.clone(),
            checkpoint: barrier.checkpoint,
            worker: self.name.clone(),
            attempt: Attempt(self.repo.ambient().random()),
            groups: self.groups,
            clocks: Claim::clock_readings(stacks.clocks()),
            stacks: self.clipped_tiles(stacks).map(stack).collect(),
            runs: runs.values().copied().collect(),
            timings,
        };
        let name = ObjectName::Claim(self.job.clone(), barrier.checkpoint, self.name.clone(), claim.attempt);
        let (published, bytes) = self.repo.publish(&name, &claim).await?;
        if published != Published::Ours {
            let message = "another claim has the name of this attempt; please report this";
            return Err(Error::at(ErrorKind::Bug, self.repo.place(&name), None, message));
        }
        self.shipped().claimed.insert(barrier.checkpoint, runs);
        Ok(ClaimRef {
            worker: self.name.clone(),
            attempt: claim.attempt,
            groups: self.groups,
            bytes: bytes.len() as u64,
            digest: digest_of(&bytes),
        })
    }

    /// The tiles that hold something of the worker's key groups, and the part of their keys that does.
    fn clipped_tiles(
        &self,
        stacks: &FrozenStacks,
    ) -> impl Iterator<Item = (bedload_lsm::KeyRange, bedload_lsm::FrozenTile)> {
        let keys = self.groups.keys();
        let tiles: Vec<_> = stacks.tiles().collect();
        tiles
            .into_iter()
            .map(move |tile| (tile.range.intersect(&keys), tile))
            .filter(|(range, tile)| !range.is_empty() && !tile.slices.is_empty())
    }

    /// Says that a checkpoint exists: later ones are built upon it, and nothing before it is needed any more.
    pub async fn confirmed(&self, checkpoint: CheckpointId) {
        {
            let mut shipped = self.shipped();
            let claimed = shipped.claimed.get(&checkpoint).into_iter().flat_map(BTreeMap::keys);
            let runs: BTreeSet<RunId> = claimed.copied().collect();
            shipped.claimed.retain(|claimed, _| *claimed >= checkpoint);
            shipped.orphans.retain(|run, _| !runs.contains(run));
        }
        self.end_leases(checkpoint).await;
    }

    /// Says that a checkpoint was given up: what was uploaded for it may be used by a later one.
    pub async fn aborted(&self, checkpoint: CheckpointId) {
        self.end_leases(checkpoint).await;
    }

    async fn end_leases(&self, checkpoint: CheckpointId) {
        let ended: Vec<HeldLease> = {
            let mut shipped = self.shipped();
            let (ended, kept) =
                std::mem::take(&mut shipped.leases).into_iter().partition(|(made, _)| *made <= checkpoint);
            shipped.leases = kept;
            let ended: Vec<(CheckpointId, HeldLease)> = ended;
            ended.into_iter().map(|(_, lease)| lease).collect()
        };
        for lease in ended {
            // One that stays ends with the epoch.
            lease.end().await.ok();
        }
    }
}
