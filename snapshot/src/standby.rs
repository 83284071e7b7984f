//! Follows a job's checkpoints and keeps a copy of the newest one on this machine, so that a worker can be taken over at once.
//!
//! Each new checkpoint costs the download of what it does not share with the one before. A restore from the same pool finds the copy
//! and fetches nothing but manifests, or, when a newer checkpoint has come since, only what is new in that.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};

use crate::chain::Chain;
use crate::chosen::{Start, choose};
use crate::error::{Error, ErrorKind, Result};
use crate::fetch::{CopyProgress, fetch_run, off_thread};
use crate::gather::{Gathered, gather};
use crate::key_group::KeyGroups;
use crate::lease::HeldLease;
use crate::local::LocalPool;
use crate::manifest::{Claim, ClaimRef, ClaimedRun, ClaimedStack, Completion, LiveCompletion, LocalCopy, LocalRun};
use crate::names::{CheckpointId, JobName, RunName};
use crate::repo::Repo;

/// Keeps a copy of the newest checkpoint of some key groups. One task has it, and it has the pool until it is dropped.
#[derive(Debug)]
pub struct Standby {
    repo: Repo,
    job: JobName,
    groups: KeyGroups,
    pool: LocalPool,
    holder: String,
    runs_at_once: usize,
    chain: Option<Chain>,
    held: Option<CheckpointId>,
}

/// A checkpoint that was followed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed {
    /// Which it is.
    pub checkpoint: CheckpointId,
    /// Runs that were fetched.
    pub fetched_runs: usize,
    /// The bytes of their parcels.
    pub fetched_bytes: u64,
    /// Runs that were here.
    pub local_runs: usize,
}

impl Standby {
    /// For `groups` of `job`. `holder` tells people who reads the checkpoints; `runs_at_once` are fetched at once.
    pub fn new(
        repo: &Repo,
        job: &JobName,
        groups: KeyGroups,
        pool: &LocalPool,
        holder: &str,
        runs_at_once: usize,
    ) -> Standby {
        Standby {
            repo: repo.clone(),
            job: job.clone(),
            groups,
            pool: pool.clone(),
            holder: holder.to_owned(),
            runs_at_once: runs_at_once.max(1),
            chain: None,
            held: None,
        }
    }

    /// The checkpoint that is here.
    pub fn held(&self) -> Option<CheckpointId> {
        self.held
    }

    /// Looks for a newer checkpoint, and copies it; `None` when there is none. The copy before stays until this one is whole.
    ///
    /// # Errors
    /// Those of the requests and of the disk; `Damaged` when an object is missing or is not what was shipped. It may be tried again.
    pub async fn follow(&mut self) -> Result<Option<Followed>> {
        let chain = match self.chain.take() {
            Some(mut chain) => {
                chain.catch_up().await?;
                chain
            }
            None => Chain::read(&self.repo, &self.job).await?,
        };
        let newest = chain.state().newest().map(|(slot, newest)| LiveCompletion { slot, completion: newest.clone() });
        let Some(newest) = newest.filter(|newest| Some(newest.completion.checkpoint) != self.held) else {
            self.chain = Some(chain);
            return Ok(None);
        };
        self.copy_leased(chain, newest, &|_| ()).await.map(Some)
    }

    /// Copies a checkpoint, be it new or old; `None` for [`Start::LatestOrEmpty`] where there is none. `progress` is told behind each run.
    /// Any other copy is given up once this one is whole.
    ///
    /// # Errors
    /// As [`Standby::follow`]; `Missing` when the checkpoint does not exist.
    pub async fn take(&mut self, start: Start, progress: &(dyn Fn(CopyProgress) + Sync)) -> Result<Option<Followed>> {
        let chain = Chain::read(&self.repo, &self.job).await?;
        match choose(&self.repo, &chain, start).await? {
            None => Ok(None),
            Some(found) => self.copy_leased(chain, found, progress).await.map(Some),
        }
    }

    async fn copy_leased(
        &mut self,
        mut chain: Chain,
        live: LiveCompletion,
        progress: &(dyn Fn(CopyProgress) + Sync),
    ) -> Result<Followed> {
        let completion = live.completion.clone();
        let lease = HeldLease::read(&mut chain, &self.repo, &self.holder, live).await?;
        self.chain = Some(chain);
        let copied = self.copy(&completion, progress).await;
        // One that stays is declared void by a person.
        lease.end().await.ok();
        let followed = copied?;
        self.held = Some(completion.checkpoint);
        Ok(followed)
    }

    /// Follows for ever: looks each `every`, and tells of what was copied and of what failed. Failures that trying again cannot mend
    /// are given back.
    pub async fn keep_following(&mut self, every: Duration, mut heard: impl FnMut(Result<Followed>)) -> Error {
        loop {
            match self.follow().await {
                Ok(None) => {}
                Ok(Some(followed)) => heard(Ok(followed)),
                Err(error) if matches!(error.kind(), ErrorKind::Retry | ErrorKind::Full) => heard(Err(error)),
                Err(error) => return error,
            }
            self.repo.ambient().sleep(every).await;
        }
    }

    async fn copy(&self, completion: &Completion, progress: &(dyn Fn(CopyProgress) + Sync)) -> Result<Followed> {
        let gathered = gather(&self.repo, &self.job, completion, self.groups, &self.pool).await?;
        let Gathered { claims, plan, copies, missing } = gathered;
        let checkpoint = completion.checkpoint;
        let fetch = |run: ClaimedRun| async move {
            fetch_run(&self.repo, &self.job, checkpoint, &run, &self.pool).await.map(|()| run.parcel_bytes)
        };
        let (mut bytes, all_bytes) = (0, missing.iter().map(|run| run.parcel_bytes).sum());
        let mut fetches =
            futures_util::stream::iter(missing.clone().into_iter().map(fetch)).buffer_unordered(self.runs_at_once);
        while let Some(fetched) = fetches.try_next().await? {
            bytes += fetched;
            progress(CopyProgress { bytes, all_bytes });
        }
        drop(fetches);
        for (number, (claim_ref, claim)) in claims.iter().enumerate() {
            if !copies.contains_key(&number) {
                let copy = self.written(completion.checkpoint, claim_ref, claim);
                let (pool, nonce) = (self.pool.clone(), self.repo.ambient().random());
                off_thread(move || pool.keep(&copy, nonce)).await?;
            }
        }
        let (pool, checkpoint) = (self.pool.clone(), completion.checkpoint);
        off_thread(move || pool.keep_only(checkpoint)).await?;
        Ok(Followed {
            checkpoint: completion.checkpoint,
            fetched_runs: missing.len(),
            fetched_bytes: bytes,
            local_runs: plan.runs.len() - missing.len(),
        })
    }

    /// What is written down of a claim whose runs are here: the part of it that these key groups need.
    fn written(&self, checkpoint: CheckpointId, claim_ref: &ClaimRef, claim: &Claim) -> LocalCopy {
        let groups = claim.groups.intersect(self.groups).expect("the claim covers some of the key groups");
        let keys = groups.keys();
        let mut runs: Vec<LocalRun> = Vec::new();
        let mut places = vec![None; claim.runs.len()];
        let mut stacks = Vec::new();
        for stack in &claim.stacks {
            let range = stack.range().intersect(&keys);
            if range.is_empty() || stack.slices.is_empty() {
                continue;
            }
            let mut slices = stack.slices.clone();
            for slice in &mut slices {
                let run = &claim.runs[slice.run as usize];
                slice.run = *places[slice.run as usize].get_or_insert_with(|| {
                    runs.push(LocalRun { run: RunName(run.parcel.run), bytes: run.bytes, digest: run.digest });
                    runs.len() as u32 - 1
                });
            }
            stacks.push(ClaimedStack::new(&range, slices));
        }
        let boot = self.repo.ambient().boot();
        LocalCopy { job: self.job.clone(), checkpoint, claim: claim_ref.digest, groups, boot, runs, stacks }
    }
}
