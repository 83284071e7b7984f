//! A worker's part: freeze, upload what the repo lacks, claim.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bedload_lsm::fs::Fs;
use bedload_lsm::{Frozen, FrozenSlice, FrozenStacks, RunId, RunRef};
use futures_util::{StreamExt, TryStreamExt};
use tracing::{Instrument, info_span};

use super::Barrier;
use crate::error::{Error, ErrorKind, Result};
use crate::fetch::is_there;
use crate::key_group::KeyGroups;
use crate::lease::HeldLease;
use crate::local::LocalPool;
use crate::manifest::{Claim, ClaimRef, ClaimedRun, ClaimedSlice, ClaimedStack, Hex, LocalCopy, LocalRun, Timings};
use crate::names::{Attempt, CheckpointId, JobName, ObjectName, RunName, WorkerName};
use crate::repo::Repo;
use crate::seeded::{Bug, is_seeded};
use crate::ship::{RunUpload, Sent, ShipOptions, ShippedState, upload_runs, write_claim};
use crate::ship_plan::{Ahead, PlanDelta, PlanSlice, PlanStack, ShipInputs, ShipPlan, plan_shipping};

/// How many objects are looked at, at once.
const LOOKS_AT_ONCE: usize = 16;

/// How many uploads ahead may fail in a row before a checkpoint does.
const AHEAD_FAILURES_MAX: u32 = 5;

/// One worker's part in the checkpoints of a job: some key groups, one store.
///
/// May be shared between tasks, but one checkpoint is shipped at a time.
pub struct Worker {
    repo: Repo,
    job: JobName,
    name: WorkerName,
    groups: KeyGroups,
    fs: Arc<dyn Fs>,
    options: ShipOptions,
    /// Where copies of checkpoints are kept.
    pool: Option<LocalPool>,
    shipped: Mutex<Shipped>,
    /// Runs that are uploaded over several checkpoints.
    ahead: tokio::sync::Mutex<Vec<AheadRun>>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("job", &self.job).field("name", &self.name).finish_non_exhaustive()
    }
}

/// A run that is uploaded ahead of its use.
struct AheadRun {
    ahead: Ahead,
    /// `None` when all of it is in the repo.
    upload: Option<RunUpload>,
}

/// What a worker knows to be in the repo.
#[derive(Debug, Default)]
struct Shipped {
    /// What was claimed for checkpoints that may exist.
    claimed: BTreeMap<CheckpointId, ShippedState>,
    /// Runs of no checkpoint, which are used again while they are young.
    orphans: BTreeMap<RunId, ClaimedRun>,
    /// How many uploads ahead failed since the last one that did not.
    ahead_failures: u32,
    /// When the last checkpoint was shipped.
    shipped_at_ms: Option<u64>,
    /// Leases on such runs.
    leases: Vec<(CheckpointId, HeldLease)>,
}

/// What one checkpoint of a worker uploaded, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShipReport {
    /// Runs that were uploaded.
    pub uploaded_runs: usize,
    /// Bytes of runs that were uploaded, before compression.
    pub uploaded_bytes: u64,
    /// Those of them that belong to runs for later checkpoints: a tile or a merged run that outweighs what changed is uploaded over
    /// several.
    pub ahead_bytes: u64,
    /// What the uploaded bytes became.
    pub uploaded_parcel_bytes: u64,
    /// Tiles that were uploaded as a whole, in the place of their deltas.
    pub rebased_tiles: usize,
    /// Runs that were uploaded to shorten stacks.
    pub shortening_runs: usize,
    /// Bytes of all runs that the claim names, before compression.
    pub claimed_bytes: u64,
    /// How long the parts of it took.
    pub timings: Timings,
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
            pool: None,
            shipped: Mutex::new(Shipped::default()),
            ahead: tokio::sync::Mutex::new(Vec::new()),
        }
    }

    /// How runs are sent.
    pub fn ship_options(mut self, options: ShipOptions) -> Worker {
        self.options = options;
        self
    }

    /// Keeps a copy of the last confirmed checkpoint in `pool`, by links: a worker that starts again on this machine takes it
    /// instead of the download. It must lie on the device of the store.
    pub fn keep_copies(mut self, pool: &LocalPool) -> Worker {
        self.pool = Some(pool.clone());
        self
    }

    /// Its job.
    pub fn job(&self) -> &JobName {
        &self.job
    }

    /// Its name in claims.
    pub fn name(&self) -> &WorkerName {
        &self.name
    }

    /// Its key groups.
    pub fn groups(&self) -> KeyGroups {
        self.groups
    }

    fn shipped(&self) -> MutexGuard<'_, Shipped> {
        self.shipped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the store was restored from `checkpoint`, and what it adopted: that is in the repo.
    pub fn restored(&self, checkpoint: CheckpointId, state: ShippedState) {
        self.shipped().claimed.insert(checkpoint, state);
    }

    /// Ships a frozen state and writes the claim. `pause_us` is what the writer waited for the freeze, for the record.
    ///
    /// Uploads the deltas since the checkpoint that `barrier` builds upon, and tiles as a whole where that is cheaper than the
    /// deltas above them (see [`ShipPolicy`](crate::ShipPolicy)). Without such a checkpoint, or where the store was told to
    /// release deltas since, it uploads what the repo lacks of the local stacks.
    ///
    /// # Errors
    /// Those of the flush, of the requests, and of the disk. Nothing of the checkpoint exists then; what was uploaded is used
    /// again by the next one.
    pub async fn ship(&self, frozen: Frozen, barrier: &Barrier, pause_us: u64) -> Result<(ClaimRef, ShipReport)> {
        self.ship_with(frozen, barrier, pause_us, serde_json::Value::Null).await
    }

    /// As [`Worker::ship`], with something that stands in the claim beside the key groups and comes back with
    /// [`claims`](crate::claims): keep it small, it is written at every checkpoint.
    ///
    /// # Errors
    /// As [`Worker::ship`].
    pub async fn ship_with(
        &self,
        frozen: Frozen,
        barrier: &Barrier,
        pause_us: u64,
        attachment: serde_json::Value,
    ) -> Result<(ClaimRef, ShipReport)> {
        let span = info_span!("ship", job = %self.job, worker = %self.name, checkpoint = %barrier.checkpoint, pause_us);
        let shipped = self.ship_in_span(frozen, barrier, pause_us, attachment).instrument(span.clone()).await;
        if let Err(error) = &shipped {
            span.in_scope(|| tracing::warn!(%error, "a worker's part of a checkpoint could not be shipped"));
        }
        shipped
    }

    async fn ship_in_span(
        &self,
        frozen: Frozen,
        barrier: &Barrier,
        pause_us: u64,
        attachment: serde_json::Value,
    ) -> Result<(ClaimRef, ShipReport)> {
        let clock = || self.repo.ambient().elapsed_us();
        let start = clock();
        let stacks = tokio::task::spawn_blocking(move || frozen.wait()).instrument(info_span!("flush")).await;
        let stacks = stacks.map_err(|cause| Error::new(ErrorKind::Bug, format!("waiting for a flush: {cause}")))??;
        let flushed = clock();
        let base = barrier.base.and_then(|base| self.shipped().claimed.get(&base.checkpoint).cloned());
        let mut ahead = self.ahead.lock().await;
        let is_of_use = |run: &AheadRun| {
            let is_used = base.as_ref().is_some_and(|base| base.runs.contains_key(&run.ahead.run));
            !is_used && run.upload.as_ref().is_none_or(|upload| !upload.is_broken())
        };
        ahead.retain(is_of_use);
        let local = LocalState::new(&stacks, self.groups, base.as_ref());
        // Without a copy the next start is slower, and nothing else.
        let link = |pool: &LocalPool| match pool.link(local.tile_runs()) {
            Ok(is_linked) => is_linked,
            Err(error) => {
                tracing::warn!(%error, "no copy is kept on this machine: the next start will fetch");
                false
            }
        };
        let is_linked = info_span!("link").in_scope(|| self.pool.as_ref().is_some_and(link));
        let linked = clock();
        let (state, report, uploads) = {
            let span = info_span!("upload");
            self.upload(&stacks, &local, base.as_ref(), barrier, &mut ahead).instrument(span).await?
        };
        drop(ahead);
        let uploaded = clock();
        self.look_at(&uploads).instrument(info_span!("verify")).await?;
        let timings = Timings {
            pause_us,
            flush_us: flushed - start,
            link_us: linked - flushed,
            upload_us: uploaded - linked,
            verify_us: clock() - uploaded,
        };
        let claim = self.claim(&stacks, state, barrier, timings, attachment).instrument(info_span!("claim")).await?;
        let report = ShipReport { timings, ..report };
        let ShipReport { uploaded_runs, uploaded_bytes, uploaded_parcel_bytes, claimed_bytes, .. } = report;
        let Timings { flush_us, upload_us, .. } = timings;
        tracing::info!(
            uploaded_runs,
            uploaded_bytes,
            uploaded_parcel_bytes,
            claimed_bytes,
            flush_us,
            upload_us,
            "claimed a worker's part of a checkpoint"
        );
        if let Some(pool) = self.pool.as_ref().filter(|_| is_linked) {
            let copy = local.copy(&self.job, barrier.checkpoint, &claim, self.repo.ambient().boot());
            pool.keep(&copy, self.repo.ambient().random()).ok();
        }
        Ok((claim, report))
    }

    /// Uploads what the repo lacks of a frozen state; gives what it has then, and what of that was uploaded now.
    async fn upload(
        &self,
        stacks: &FrozenStacks,
        local: &LocalState,
        base: Option<&ShippedState>,
        barrier: &Barrier,
        ahead: &mut Vec<AheadRun>,
    ) -> Result<(ShippedState, ShipReport, Vec<ClaimedRun>)> {
        let mut known = base.map(|base| base.runs.clone()).unwrap_or_default();
        let orphans: Vec<ClaimedRun> = {
            let shipped = self.shipped();
            let is_wanted = |run: &&ClaimedRun| {
                let run = run.parcel.run;
                let is_needed = local.runs.contains_key(&run) || ahead.iter().any(|ahead| ahead.ahead.run == run);
                is_needed && !known.contains_key(&run)
            };
            shipped.orphans.values().filter(is_wanted).copied().collect()
        };
        let young = self.young(orphans, barrier).await?;
        known.extend(young.into_iter().map(|run| (run.parcel.run, run)));
        // One that is too old to be used is uploaded again, if it is of use still.
        ahead.retain(|run| run.upload.is_some() || known.contains_key(&run.ahead.run));
        let plan = local.plan(base, &known, ahead, self.checkpoints_ahead(), &self.options);
        ahead.retain(|run| !plan.useless.contains(&run.ahead.run));
        let lacking: Vec<RunRef> = plan.uploads.iter().map(|run| local.runs[run].clone()).collect();
        // Known at once: those that are there are used again when another one fails.
        let note = |run: ClaimedRun| {
            self.shipped().orphans.insert(run.parcel.run, run);
        };
        let uploads = upload_runs(&self.repo, &self.job, &self.fs, &lacking, &self.options, note);
        let (uploaded, sent) = tokio::try_join!(uploads, self.send_ahead(&plan, local, ahead))?;
        let report = ShipReport {
            uploaded_runs: uploaded.len(),
            uploaded_bytes: uploaded.iter().map(|run| run.bytes).sum::<u64>() + sent.bytes,
            ahead_bytes: sent.bytes,
            uploaded_parcel_bytes: uploaded.iter().map(|run| run.parcel_bytes).sum::<u64>() + sent.parcel_bytes,
            rebased_tiles: plan.rebased_tiles,
            shortening_runs: plan.shortening_runs,
            ..ShipReport::default()
        };
        known.extend(uploaded.iter().map(|run| (run.parcel.run, *run)));
        let state = ShippedState::new(stacks.seal(), plan.stacks, &known);
        let claimed_bytes = state.runs.values().map(|run| run.bytes).sum();
        Ok((state, ShipReport { claimed_bytes, ..report }, uploaded))
    }

    /// Over how many checkpoints a run may be uploaded, as they come now: so many as begin within a quarter of the time for which
    /// uploads are used. Takes note of this one.
    fn checkpoints_ahead(&self) -> u64 {
        let now = self.repo.ambient().now_ms();
        let last = self.shipped().shipped_at_ms.replace(now);
        last.map_or(u64::MAX, |last| self.options.reuse_ms / 4 / now.saturating_sub(last).max(1))
    }

    /// Begins and goes on to upload what a plan wants to be there for later checkpoints.
    async fn send_ahead(&self, plan: &ShipPlan, local: &LocalState, ahead: &mut Vec<AheadRun>) -> Result<Sent> {
        for begin in &plan.begin {
            let run = &local.runs[&begin.run];
            let upload = RunUpload::new(&self.repo, &self.job, &self.fs, run, self.options.level)?;
            ahead.push(AheadRun { ahead: begin.clone(), upload: Some(upload) });
        }
        let mut all = Sent::default();
        for run in ahead.iter_mut() {
            let Some(upload) = &mut run.upload else { continue };
            // Some stores date an object by the start of its upload: it must not be old when it can be used.
            let is_late = self.repo.ambient().now_ms().saturating_sub(upload.began_ms) > self.options.reuse_ms / 2;
            let allowance = if is_late { u64::MAX } else { plan.allowances.of(run.ahead.purpose) };
            match upload.advance(allowance).await {
                Ok(sent) => {
                    all.bytes += sent.bytes;
                    all.parcel_bytes += sent.parcel_bytes;
                    if let Some(done) = sent.done {
                        let mut shipped = self.shipped();
                        shipped.orphans.insert(done.parcel.run, done);
                        shipped.ahead_failures = 0;
                        run.upload = None;
                    }
                }
                Err(error) => {
                    let mut shipped = self.shipped();
                    shipped.ahead_failures += 1;
                    // This checkpoint does not need it, and the next one begins anew. But it must not fail for ever unseen.
                    if error.kind() != ErrorKind::Retry || shipped.ahead_failures >= AHEAD_FAILURES_MAX {
                        return Err(error);
                    }
                    tracing::warn!(%error, failures = shipped.ahead_failures, "an upload ahead failed and begins anew");
                }
            }
        }
        Ok(all)
    }

    /// Looks whether what was uploaded is there, and has its length: a claim tells of nothing else.
    async fn look_at(&self, uploads: &[ClaimedRun]) -> Result<()> {
        let look = |run: ClaimedRun| async move {
            let name = ObjectName::Parcel(self.job.clone(), run.parcel);
            if is_there(&self.repo, &name, run.parcel_bytes).await? {
                return Ok(());
            }
            Err(self.repo.missing(&name, "it was uploaded a moment ago; is this object store consistent?"))
        };
        futures_util::stream::iter(uploads.iter().copied().map(look))
            .buffer_unordered(LOOKS_AT_ONCE)
            .try_collect()
            .await
    }

    /// Those of some uploads of no checkpoint that may be used again: named in a lease, and then found to be there and young.
    async fn young(&self, orphans: Vec<ClaimedRun>, barrier: &Barrier) -> Result<Vec<ClaimedRun>> {
        if orphans.is_empty() {
            return Ok(orphans);
        }
        let parcels = orphans.iter().map(|run| run.parcel).collect();
        let holder = self.name.as_str();
        let lease = HeldLease::make(&self.repo, &self.job, holder, barrier.checkpoint, parcels).await?;
        let written_ms = lease.written_ms;
        self.shipped().leases.push((barrier.checkpoint, lease));
        let mut young = Vec::new();
        for run in orphans {
            let meta = self.repo.head(&ObjectName::Parcel(self.job.clone(), run.parcel)).await?;
            if meta.is_some_and(|meta| {
                meta.bytes == run.parcel_bytes && meta.modified_ms.saturating_add(self.options.reuse_ms) > written_ms
            }) {
                young.push(run);
            }
        }
        Ok(young)
    }

    async fn claim(
        &self,
        stacks: &FrozenStacks,
        state: ShippedState,
        barrier: &Barrier,
        timings: Timings,
        attachment: serde_json::Value,
    ) -> Result<ClaimRef> {
        let place: BTreeMap<RunId, u32> = state.runs.keys().copied().zip(0..).collect();
        let slice = |slice: &PlanSlice| ClaimedSlice { run: place[&slice.run], bytes: slice.bytes };
        let stack = |stack: &PlanStack| ClaimedStack::new(&stack.range, stack.slices.iter().map(slice).collect());
        let claim = Claim {
            job: self.job.clone(),
            checkpoint: barrier.checkpoint,
            worker: self.name.clone(),
            attempt: Attempt(self.repo.ambient().random()),
            groups: self.groups,
            clocks: Claim::clock_readings(stacks.clocks()),
            stacks: state.stacks.iter().map(stack).collect(),
            runs: state.runs.values().copied().collect(),
            timings,
            attachment,
        };
        let reference = write_claim(&self.repo, &claim).await?;
        self.shipped().claimed.insert(barrier.checkpoint, state);
        Ok(reference)
    }

    /// Says that a checkpoint exists: later ones are built upon it, and nothing before it is needed any more. Gives the seal
    /// that the store may [release](bedload_lsm::Store::release).
    pub async fn confirmed(&self, checkpoint: CheckpointId) -> Option<u64> {
        let seal = {
            let mut shipped = self.shipped();
            let state = shipped.claimed.get(&checkpoint);
            let (runs, seal): (BTreeSet<RunId>, _) = (
                state.into_iter().flat_map(|state| state.runs.keys()).copied().collect(),
                state.map(|state| state.seal),
            );
            shipped.claimed.retain(|claimed, _| *claimed >= checkpoint);
            shipped.orphans.retain(|run, _| !runs.contains(run));
            seal
        };
        if let Some(pool) = &self.pool {
            // What stays is removed the next time.
            pool.keep_only(checkpoint).ok();
        }
        self.end_leases(checkpoint).await;
        seal
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

/// A frozen state as the plan sees it.
struct LocalState {
    tiles: Vec<PlanStack>,
    /// The deltas since the base; `None` when there is no base, or they are not all here.
    deltas: Option<Vec<PlanDelta>>,
    runs: BTreeMap<RunId, RunRef>,
}

impl LocalState {
    fn new(stacks: &FrozenStacks, groups: KeyGroups, base: Option<&ShippedState>) -> LocalState {
        let keys = groups.keys();
        let mut runs = BTreeMap::new();
        let mut tiles = Vec::new();
        for tile in stacks.tiles() {
            let range = tile.range.intersect(&keys);
            if range.is_empty() {
                continue;
            }
            runs.extend(tile.slices.iter().map(|slice| (slice.run.id(), slice.run.clone())));
            let slice = |slice: &FrozenSlice| PlanSlice {
                run: slice.run.id(),
                first: *slice.seals.start(),
                last: *slice.seals.end(),
                bytes: slice.bytes,
            };
            tiles.push(PlanStack { range, slices: tile.slices.iter().map(slice).collect() });
        }
        let deltas = base.and_then(|base| stacks.deltas_since(base.seal)).map(|mut deltas| {
            if is_seeded(Bug::DeltaLost) {
                deltas.pop();
            }
            let delta = |delta: &bedload_lsm::Delta| {
                let touched = tiles.iter().enumerate();
                PlanDelta {
                    run: delta.run.id(),
                    first: *delta.seals.start(),
                    last: *delta.seals.end(),
                    tiles: touched.filter_map(|(at, tile)| Some((at, delta.run.bytes_in(&tile.range)?))).collect(),
                }
            };
            runs.extend(deltas.iter().map(|delta| (delta.run.id(), delta.run.clone())));
            deltas.iter().map(delta).collect()
        });
        LocalState { tiles, deltas, runs }
    }

    /// The runs of the local stacks.
    fn tile_runs(&self) -> impl Iterator<Item = &RunRef> {
        let runs: BTreeSet<RunId> = self.tiles.iter().flat_map(|tile| &tile.slices).map(|slice| slice.run).collect();
        self.runs.iter().filter(move |(id, _)| runs.contains(id)).map(|(_, run)| run)
    }

    /// What is written down of a copy on this machine.
    fn copy(&self, job: &JobName, checkpoint: CheckpointId, claim: &ClaimRef, boot: String) -> LocalCopy {
        let runs: Vec<LocalRun> = self
            .tile_runs()
            .map(|run| LocalRun { run: RunName(run.id()), bytes: run.bytes(), digest: Hex(*run.digest()) })
            .collect();
        let place: BTreeMap<RunId, u32> = runs.iter().map(|run| run.run.0).zip(0..).collect();
        let slice = |slice: &PlanSlice| ClaimedSlice { run: place[&slice.run], bytes: slice.bytes };
        let filled = self.tiles.iter().filter(|tile| !tile.slices.is_empty());
        let stacks =
            filled.map(|tile| ClaimedStack::new(&tile.range, tile.slices.iter().map(slice).collect())).collect();
        LocalCopy { job: job.clone(), checkpoint, claim: claim.digest, groups: claim.groups, boot, runs, stacks }
    }

    fn plan(
        &self,
        base: Option<&ShippedState>,
        known: &BTreeMap<RunId, ClaimedRun>,
        ahead: &[AheadRun],
        checkpoints_ahead: u64,
        options: &ShipOptions,
    ) -> ShipPlan {
        let bytes = |run: RunId| {
            self.runs.get(&run).map(RunRef::bytes).or_else(|| known.get(&run).map(|run| run.bytes)).unwrap_or(0)
        };
        let ahead: Vec<Ahead> = ahead.iter().map(|run| run.ahead.clone()).collect();
        plan_shipping(&ShipInputs {
            tiles: &self.tiles,
            base: base.and_then(|base| Some((&base.stacks[..], self.deltas.as_deref()?))),
            run_bytes: &bytes,
            is_shipped: &|run| known.contains_key(&run),
            ahead: &ahead,
            checkpoints_ahead,
            policy: &options.policy,
        })
    }
}
