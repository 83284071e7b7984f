//! Brings key groups of a checkpoint into a store: fetch, verify, adopt.

use std::collections::BTreeMap;
use std::sync::Arc;

use bedload_lsm::{AdoptedRun, AdoptedSource, AdoptedStack, RunId, Store};
use futures_util::{StreamExt, TryStreamExt};
use tracing::Instrument;

use crate::chain::Chain;
use crate::chosen::{Start, choose};
use crate::error::{Error, Result};
use crate::fetch::{ShippedRun, fetch_run, off_thread};
use crate::gather::{Gathered, gather};
use crate::key_group::KeyGroups;
use crate::lazy::{Fetcher, LazyRun, LazySource};
use crate::lease::HeldLease;
use crate::local::LocalPool;
use crate::manifest::{ClaimedRun, ClaimedSlice, ClaimedStack, Completion, LocalCopy};
use crate::names::{CheckpointId, JobName};
use crate::parcel::chunk_count;
use crate::partial::PartialFile;
use crate::repo::Repo;
use crate::restore_plan::{PlannedStack, RestorePlan};
use crate::ship::ShippedState;
use crate::ship_plan::{PlanSlice, PlanStack};

/// How many runs are prepared at once for being read before they are here.
const PREPARED_AT_ONCE: usize = 32;

/// How many chunks at the end of a run are fetched at once: its directory is there.
const LAST_CHUNKS: u64 = 2;

/// What is to be restored, and how.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// Which checkpoint.
    pub start: Start,
    /// Which of its key groups.
    pub groups: KeyGroups,
    /// Who restores, for people: worker, process, host.
    pub holder: String,
    /// How many runs are fetched at once; 4 suits most networks.
    pub runs_at_once: usize,
}

/// Key groups of a checkpoint, to be adopted by a store: complete on this machine, or fetched as they are read.
#[derive(Debug)]
pub struct Restored {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// What was taken from it.
    pub plan: RestorePlan,
    /// Bytes that were fetched.
    pub fetched_bytes: u64,
    /// How many runs were here already.
    pub local_runs: usize,
    pool: LocalPool,
    /// Copies on this machine of claims of the plan, by claim: their stacks are adopted in the place of the shipped ones.
    copies: BTreeMap<usize, LocalCopy>,
    /// Runs that are fetched as they are read, by name.
    lazy: BTreeMap<RunId, Arc<LazyRun>>,
}

/// Fetches key groups of a checkpoint of `job` into `pool`, as `options` tell. `None` for [`Start::LatestOrEmpty`] where there is none.
///
/// A lease keeps the checkpoint for as long as this takes.
///
/// # Errors
/// `Missing` when the checkpoint does not exist; `Fix` when it does not cover the key groups; `Damaged` when an object is missing or is not what was
/// shipped; those of the requests and of the disk.
pub async fn restore(
    repo: &Repo,
    job: &JobName,
    options: &RestoreOptions,
    pool: &LocalPool,
) -> Result<Option<Restored>> {
    let mut chain = Chain::read(repo, job).await?;
    let Some(reading) = choose(repo, &chain, options.start).await? else { return Ok(None) };
    let completion = reading.completion.clone();
    let lease = HeldLease::read(&mut chain, repo, &options.holder, reading).await?;
    let span = tracing::info_span!("restore", %job, checkpoint = %completion.checkpoint, groups = %options.groups);
    let restored = fetch(repo, job, &completion, options, pool).instrument(span.clone()).await;
    if let Ok(restored) = &restored {
        let Restored { fetched_bytes, local_runs, plan, .. } = restored;
        span.in_scope(|| tracing::info!(fetched_bytes, local_runs, runs = plan.runs.len(), "restored"));
    }
    // One that stays is declared void by a person or the next coordinator.
    lease.end().await.ok();
    restored.map(Some)
}

async fn fetch(
    repo: &Repo,
    job: &JobName,
    completion: &Completion,
    options: &RestoreOptions,
    pool: &LocalPool,
) -> Result<Restored> {
    let Gathered { plan, copies, missing, .. } = gather(repo, job, completion, options.groups, pool).await?;
    let checkpoint = completion.checkpoint;
    let fetch = |run: ClaimedRun| async move { fetch_run(repo, job, checkpoint, &run, pool).await };
    futures_util::stream::iter(missing.clone().into_iter().map(fetch))
        .buffer_unordered(options.runs_at_once.max(1))
        .try_collect::<()>()
        .await?;
    Ok(Restored {
        checkpoint: completion.checkpoint,
        fetched_bytes: missing.iter().map(|run| run.parcel_bytes).sum(),
        local_runs: plan.runs.len() - missing.len(),
        plan,
        pool: pool.clone(),
        copies,
        lazy: BTreeMap::new(),
    })
}

/// Prepares key groups of a checkpoint to be read before they are here: reads manifests, and of each missing run its chunk
/// table and last chunks. The rest is fetched by `fetcher` as it is read, and in the background, once the store has
/// [adopted](Restored::adopt) it. `None` for [`Start::LatestOrEmpty`] where there is no checkpoint. Chunks that an earlier process
/// has fetched into `pool` are read and compared with their checksums, and not fetched again.
///
/// The lease ends with the last chunk. `done` hears of that, or of why the background gave up: reads go on asking then, and the
/// lease stays until [`Fetcher::end`], or to be declared void when the store was given up without that. It gives up for what is wrong with an object or the disk;
/// trouble that may pass it sits out, which [`Progress`](crate::Progress) tells.
///
/// # Errors
/// As [`restore`].
pub async fn restore_lazily(
    repo: &Repo,
    job: &JobName,
    options: &RestoreOptions,
    pool: &LocalPool,
    fetcher: &Fetcher,
    done: impl FnOnce(Result<()>) + Send + 'static,
) -> Result<Option<Restored>> {
    let mut chain = Chain::read(repo, job).await?;
    let Some(reading) = choose(repo, &chain, options.start).await? else { return Ok(None) };
    let completion = reading.completion.clone();
    let lease = HeldLease::read(&mut chain, repo, &options.holder, reading).await?;
    let span =
        tracing::info_span!("restore_lazily", %job, checkpoint = %completion.checkpoint, groups = %options.groups);
    match prepare(repo, job, &completion, options, pool, fetcher).instrument(span.clone()).await {
        Ok(restored) => {
            let (lazy_runs, local_runs) = (restored.lazy.len(), restored.local_runs);
            span.in_scope(|| tracing::info!(lazy_runs, local_runs, "ready to be read; the rest is fetched beside"));
            let runs = restored.lazy.values().cloned().collect();
            let (handle, lease) = (fetcher.handle().clone(), fetcher.hold(lease));
            let background = span.clone();
            fetcher.fetch_rest(runs, span, move |result| {
                background.in_scope(|| match &result {
                    Ok(()) => tracing::info!("all of it is here"),
                    Err(error) => tracing::error!(%error, "the background gave up; what is read is still asked for"),
                });
                handle.spawn(async move {
                    // As long as something is missing, nothing else keeps it: the lease stays, until the fetcher is ended or a person
                    // voids it.
                    if result.is_ok() {
                        lease.end().await;
                    }
                    done(result);
                });
            });
            Ok(Some(restored))
        }
        Err(error) => {
            lease.end().await.ok();
            Err(error)
        }
    }
}

async fn prepare(
    repo: &Repo,
    job: &JobName,
    completion: &Completion,
    options: &RestoreOptions,
    pool: &LocalPool,
    fetcher: &Fetcher,
) -> Result<Restored> {
    let Gathered { plan, copies, missing, .. } = gather(repo, job, completion, options.groups, pool).await?;
    // Before the requests, which so come in one order.
    let files = open_files(missing, pool).await?;
    let prepare = |(run, file, here): Opened| async move {
        // Footer and directory: the store reads them first.
        let count = chunk_count(run.bytes);
        let last = count.saturating_sub(LAST_CHUNKS)..count;
        let missing = if last.clone().all(|chunk| here.contains(&chunk)) { 0 } else { LAST_CHUNKS };
        let (shipped, fetched) = ShippedRun::open_with_last(repo, job, completion.checkpoint, &run, missing).await?;
        let lazy = fetcher.lazy_run(&run, shipped, file, here);
        lazy.bring(last, fetched).await?;
        Ok::<_, Error>((run.parcel.run, lazy))
    };
    let prepared = futures_util::stream::iter(files.into_iter().map(prepare));
    let lazy: BTreeMap<RunId, Arc<LazyRun>> = prepared.buffer_unordered(PREPARED_AT_ONCE).try_collect().await?;
    Ok(Restored {
        checkpoint: completion.checkpoint,
        fetched_bytes: 0,
        local_runs: plan.runs.len() - lazy.len(),
        plan,
        pool: pool.clone(),
        copies,
        lazy,
    })
}

/// A run, its file, and the chunks that are here.
type Opened = (ClaimedRun, PartialFile, Vec<u64>);

/// Opens the files of runs, from what an earlier process has left of them in `pool` on.
async fn open_files(runs: Vec<ClaimedRun>, pool: &LocalPool) -> Result<Vec<Opened>> {
    let pool = pool.clone();
    let open = move |run: ClaimedRun| {
        let (file, here) = PartialFile::open(&pool, run.parcel.run, run.bytes)?;
        Ok((run, file, here))
    };
    off_thread(move || runs.into_iter().map(open).collect()).await
}

impl Restored {
    /// Gives the runs to `store`, which must hold nothing of these key groups, and freezes it: from here on its deltas are kept
    /// for the next checkpoint. Reads footers and directories; writes no entry. Gives what a worker is told by
    /// [`Worker::restored`](crate::Worker::restored).
    ///
    /// # Errors
    /// Those of [`Store::adopt`].
    pub fn adopt(&self, store: &mut Store) -> Result<ShippedState> {
        let mut stacks: Vec<AdoptedStack> = self.shipped_stacks().map(|stack| self.adopted(stack)).collect();
        stacks.extend(self.copies.values().flat_map(|copy| self.adopted_copy(copy)));
        let deepest = stacks.iter().map(|stack| stack.runs.len() as u64).max().unwrap_or(0);
        let oldest = store.adopt(&stacks, &self.plan.clocks)?;
        let seal = store.freeze()?.seal();
        self.pool.sweep()?;
        let newest = (oldest + deepest).saturating_sub(1);
        let stack = |stack: &PlannedStack| {
            let is_copied = self.copies.contains_key(&stack.claim);
            let slices = stack.runs.iter().zip(&stack.bytes).rev().zip(oldest..).map(|((index, bytes), seal)| {
                // Shipped and copied slices do not cover the same seals one by one, but all together.
                let (first, last) = if is_copied { (oldest, newest) } else { (seal, seal) };
                PlanSlice { run: self.plan.runs[*index].parcel.run, first, last, bytes: *bytes }
            });
            let mut slices: Vec<PlanSlice> = slices.collect();
            slices.reverse();
            PlanStack { range: stack.range.clone(), slices }
        };
        let known = self.plan.runs.iter().map(|run| (run.parcel.run, *run)).collect();
        Ok(ShippedState::new(seal, self.plan.stacks.iter().map(stack).collect(), &known))
    }

    /// How many of the claims were taken from copies on this machine.
    pub fn copied_claims(&self) -> usize {
        self.copies.len()
    }

    /// The stacks of claims that are not copied here.
    fn shipped_stacks(&self) -> impl Iterator<Item = &PlannedStack> {
        self.plan.stacks.iter().filter(|stack| !self.copies.contains_key(&stack.claim))
    }

    fn adopted(&self, stack: &PlannedStack) -> AdoptedStack {
        let run = |index: &usize| {
            let run = &self.plan.runs[*index];
            let source = match self.lazy.get(&run.parcel.run) {
                Some(lazy) => AdoptedSource::Lazy(Arc::new(LazySource(Arc::clone(lazy)))),
                None => AdoptedSource::File(self.pool.path(run.parcel.run)),
            };
            AdoptedRun { id: run.parcel.run, bytes: run.bytes, digest: run.digest.0, source }
        };
        AdoptedStack { range: stack.range.clone(), runs: stack.runs.iter().map(run).collect() }
    }

    /// The stacks of a copy, clipped to what is wanted.
    fn adopted_copy(&self, copy: &LocalCopy) -> Vec<AdoptedStack> {
        let keys = self.plan.groups.keys();
        let run = |slice: &ClaimedSlice| {
            let run = copy.runs[slice.run as usize];
            let source = AdoptedSource::File(self.pool.path(run.run.0));
            AdoptedRun { id: run.run.0, bytes: run.bytes, digest: run.digest.0, source }
        };
        let stack = |stack: &ClaimedStack| AdoptedStack {
            range: stack.range().intersect(&keys),
            runs: stack.slices.iter().map(run).collect(),
        };
        copy.stacks.iter().map(stack).filter(|stack| !stack.range.is_empty()).collect()
    }
}
