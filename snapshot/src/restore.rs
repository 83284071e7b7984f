//! Brings key groups of a checkpoint into a store: fetch, verify, adopt.

use std::collections::BTreeMap;
use std::sync::Arc;

use bedload_lsm::{AdoptedRun, AdoptedSource, AdoptedStack, RunId, Store};
use futures_util::{StreamExt, TryStreamExt};

use crate::chain::Chain;
use crate::error::{Error, ErrorKind, Result};
use crate::fetch::{ShippedRun, fetch_run, read_claim};
use crate::key_group::KeyGroups;
use crate::lazy::{Fetcher, LazyRun, LazySource};
use crate::lease::HeldLease;
use crate::local::LocalPool;
use crate::manifest::{ClaimedRun, Completion, LiveCompletion};
use crate::names::{CheckpointId, JobName};
use crate::parcel::chunk_count;
use crate::repo::Repo;
use crate::restore_plan::{PlannedStack, RestorePlan};
use crate::ship::ShippedState;
use crate::ship_plan::{PlanSlice, PlanStack};

/// How many claims are read at once.
const CLAIMS_AT_ONCE: usize = 16;

/// How many runs are prepared at once for being read before they are here.
const PREPARED_AT_ONCE: usize = 16;

/// How many chunks at the end of a run are fetched at once: its directory is there.
const LAST_CHUNKS: u64 = 2;

/// Which checkpoint is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The newest one; an error when there is none.
    Latest,
    /// The newest one, or none: a job that never completed a checkpoint starts empty, and so does one whose name is misspelt.
    LatestOrEmpty,
    /// This one.
    At(CheckpointId),
}

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
    /// Runs that are fetched as they are read, by name.
    lazy: BTreeMap<RunId, Arc<LazyRun>>,
}

/// Fetches key groups of a checkpoint of `job` into `pool`, as `options` tell. `None` for [`Start::LatestOrEmpty`] where there is none.
///
/// A lease keeps the checkpoint for as long as this takes.
///
/// # Errors
/// `Fix` when the checkpoint does not exist or does not cover the key groups; `Damaged` when an object is missing or is not what was
/// shipped; those of the requests and of the disk.
pub async fn restore(
    repo: &Repo,
    job: &JobName,
    options: &RestoreOptions,
    pool: &LocalPool,
) -> Result<Option<Restored>> {
    let mut chain = Chain::read(repo, job).await?;
    let Some((slot, completion)) = choose(repo, &chain, options.start)? else { return Ok(None) };
    let reading = LiveCompletion { slot, completion: completion.clone() };
    let lease = HeldLease::read(&mut chain, repo, &options.holder, reading).await?;
    let restored = fetch(repo, job, &completion, options, pool).await;
    // One that stays is declared void by a person or the next coordinator.
    lease.end().await.ok();
    restored.map(Some)
}

fn choose(repo: &Repo, chain: &Chain, start: Start) -> Result<Option<(u64, Completion)>> {
    let state = chain.state();
    let found = match start {
        Start::Latest | Start::LatestOrEmpty => state.newest().map(|(slot, _)| slot),
        Start::At(checkpoint) => state.find(checkpoint),
    };
    if let Some(slot) = found {
        return Ok(Some((slot, state.live()[&slot].clone())));
    }
    let message = match start {
        Start::LatestOrEmpty => return Ok(None),
        Start::Latest => {
            "no checkpoint exists; is this the right job? to begin without one, start with latest-or-empty".into()
        }
        Start::At(checkpoint) => {
            let known: Vec<String> =
                state.live().values().rev().take(5).map(|live| live.checkpoint.to_string()).collect();
            format!("checkpoint {checkpoint} does not exist; the newest are: {}", known.join(", "))
        }
    };
    Err(Error::at(ErrorKind::Fix, format!("{repo}/jobs/{}", chain.job()), None, message))
}

async fn fetch(
    repo: &Repo,
    job: &JobName,
    completion: &Completion,
    options: &RestoreOptions,
    pool: &LocalPool,
) -> Result<Restored> {
    let plan = read_plan(repo, job, completion, options.groups).await?;
    let mut missing: Vec<ClaimedRun> = Vec::new();
    for run in &plan.runs {
        if !pool.holds(run)? {
            missing.push(*run);
        }
    }
    let fetches = missing.iter().map(|run| fetch_run(repo, job, run, pool));
    futures_util::stream::iter(fetches).buffer_unordered(options.runs_at_once.max(1)).try_collect::<()>().await?;
    Ok(Restored {
        checkpoint: completion.checkpoint,
        fetched_bytes: missing.iter().map(|run| run.parcel_bytes).sum(),
        local_runs: plan.runs.len() - missing.len(),
        plan,
        pool: pool.clone(),
        lazy: BTreeMap::new(),
    })
}

/// Prepares key groups of a checkpoint to be read before they are here: reads manifests, and of each missing run its chunk
/// table and last chunks. The rest is fetched by `fetcher` as it is read, and in the background, once the store has
/// [adopted](Restored::adopt) it. `None` for [`Start::LatestOrEmpty`] where there is no checkpoint.
///
/// The lease ends with the last chunk. `done` hears of that, or of why it failed: reads go on asking then.
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
    let Some((slot, completion)) = choose(repo, &chain, options.start)? else { return Ok(None) };
    let reading = LiveCompletion { slot, completion: completion.clone() };
    let lease = HeldLease::read(&mut chain, repo, &options.holder, reading).await?;
    match prepare(repo, job, &completion, options, pool, fetcher).await {
        Ok(restored) => {
            let runs = restored.lazy.values().cloned().collect();
            let handle = fetcher.handle().clone();
            fetcher.fetch_rest(runs, move |result| {
                handle.spawn(async move {
                    // One that stays is declared void by a person or the next coordinator.
                    lease.end().await.ok();
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
    let plan = read_plan(repo, job, completion, options.groups).await?;
    let mut missing: Vec<ClaimedRun> = Vec::new();
    for run in &plan.runs {
        if !pool.holds(run)? {
            missing.push(*run);
        }
    }
    let prepare = |run: ClaimedRun| async move {
        let shipped = ShippedRun::open(repo, job, &run).await?;
        let lazy = fetcher.lazy_run(&run, shipped, pool)?;
        // Footer and directory: the store reads them first.
        let count = chunk_count(run.bytes);
        lazy.bring(count.saturating_sub(LAST_CHUNKS)..count).await?;
        Ok::<_, Error>((run.parcel.run, lazy))
    };
    let prepared = futures_util::stream::iter(missing.into_iter().map(prepare));
    let lazy: BTreeMap<RunId, Arc<LazyRun>> = prepared.buffer_unordered(PREPARED_AT_ONCE).try_collect().await?;
    Ok(Restored {
        checkpoint: completion.checkpoint,
        fetched_bytes: 0,
        local_runs: plan.runs.len() - lazy.len(),
        plan,
        pool: pool.clone(),
        lazy,
    })
}

async fn read_plan(repo: &Repo, job: &JobName, completion: &Completion, groups: KeyGroups) -> Result<RestorePlan> {
    let wanted = completion.claims.iter().filter(|claim| claim.groups.overlaps(groups));
    let claims = wanted.map(|claim| read_claim(repo, job, completion.checkpoint, claim));
    let claims: Vec<_> = futures_util::stream::iter(claims).buffered(CLAIMS_AT_ONCE).try_collect().await?;
    RestorePlan::new(&claims, groups)
}

impl Restored {
    /// Gives the runs to `store`, which must hold nothing of these key groups, and freezes it: from here on its deltas are kept
    /// for the next checkpoint. Reads footers and directories; writes no entry. Gives what a worker is told by
    /// [`Worker::restored`](crate::Worker::restored).
    ///
    /// # Errors
    /// Those of [`Store::adopt`].
    pub fn adopt(&self, store: &mut Store) -> Result<ShippedState> {
        let run = |index: &usize| {
            let run = &self.plan.runs[*index];
            let source = match self.lazy.get(&run.parcel.run) {
                Some(lazy) => AdoptedSource::Lazy(Arc::new(LazySource(Arc::clone(lazy)))),
                None => AdoptedSource::File(self.pool.path(run.parcel.run)),
            };
            AdoptedRun { id: run.parcel.run, bytes: run.bytes, digest: run.digest.0, source }
        };
        let stack = |stack: &PlannedStack| AdoptedStack {
            range: stack.range.clone(),
            runs: stack.runs.iter().map(run).collect(),
        };
        let stacks: Vec<AdoptedStack> = self.plan.stacks.iter().map(stack).collect();
        let oldest = store.adopt(&stacks, &self.plan.clocks)?;
        let seal = store.freeze()?.seal();
        for run in self.plan.runs.iter().filter(|run| !self.lazy.contains_key(&run.parcel.run)) {
            self.pool.remove(run.parcel.run)?;
        }
        let slice = |((index, bytes), seal): ((&usize, &u64), u64)| {
            let run = self.plan.runs[*index].parcel.run;
            PlanSlice { run, first: seal, last: seal, bytes: *bytes }
        };
        let stack = |stack: &PlannedStack| {
            let oldest_first = stack.runs.iter().zip(&stack.bytes).rev().zip(oldest..);
            let mut slices: Vec<PlanSlice> = oldest_first.map(slice).collect();
            slices.reverse();
            PlanStack { range: stack.range.clone(), slices }
        };
        let known = self.plan.runs.iter().map(|run| (run.parcel.run, *run)).collect();
        Ok(ShippedState::new(seal, self.plan.stacks.iter().map(stack).collect(), &known))
    }
}
