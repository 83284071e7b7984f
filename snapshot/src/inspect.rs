//! Asks about checkpoints without changing anything: what differs between two, and what each worker of another number of them needs.

use std::collections::BTreeMap;

use bedload_lsm::RunId;

use crate::chain::Chain;
use crate::chosen::{Start, choose};
use crate::diff::Difference;
use crate::error::{Error, ErrorKind, Result};
use crate::fetch::{off_thread, read_claims};
use crate::key_group::KeyGroups;
use crate::local::LocalPool;
use crate::manifest::{Claim, LocalRun};
use crate::names::{CheckpointId, JobName};
use crate::repo::Repo;
use crate::rescale_plan::{Cuts, RescalePlan};

/// The names of the jobs in `repo`, in their order.
///
/// # Errors
/// Those of the requests; `Fix` when a folder among those of jobs is named like none.
pub async fn jobs(repo: &Repo) -> Result<Vec<JobName>> {
    repo.job_folders().await?.iter().map(|folder| JobName::new(folder)).collect()
}

/// Reads what `checkpoint` of `job` consists of: the claims of its workers, in the order of their key groups.
///
/// # Errors
/// `Missing` when it does not exist; `Damaged` when a claim is missing or is not what was written; those of the requests.
pub async fn claims(repo: &Repo, job: &JobName, checkpoint: CheckpointId) -> Result<Vec<Claim>> {
    let chain = Chain::read(repo, job).await?;
    let found = choose(repo, &chain, Start::At(checkpoint)).await?.ok_or_else(|| {
        Error::new(
            ErrorKind::Bug,
            format!("job {job}: checkpoint {checkpoint} was looked for in vain, without an error"),
        )
    })?;
    read_claims(repo, job, &found.completion, KeyGroups::all(found.completion.key_groups)).await
}

/// Tells what two checkpoints share, and what only one of them has. They may be of two jobs.
///
/// # Errors
/// As [`claims`].
pub async fn diff(
    repo: &Repo,
    (first_job, first): (&JobName, CheckpointId),
    (second_job, second): (&JobName, CheckpointId),
) -> Result<Difference> {
    let first = claims(repo, first_job, first).await?;
    let second = claims(repo, second_job, second).await?;
    Ok(Difference::new(&first, &second))
}

/// Says what each of `workers` would take of a checkpoint of `job`; runs that `pool` has count as local. `None` for
/// [`Start::LatestOrEmpty`] where there is no checkpoint.
///
/// # Errors
/// As [`claims`]; `Fix` when there are more workers than key groups; those of the disk.
pub async fn plan_rescale(
    repo: &Repo,
    job: &JobName,
    start: Start,
    workers: u32,
    cuts: Cuts,
    pool: Option<&LocalPool>,
) -> Result<Option<RescalePlan>> {
    let chain = Chain::read(repo, job).await?;
    let Some(found) = choose(repo, &chain, start).await? else { return Ok(None) };
    let key_groups = found.completion.key_groups;
    let claims = read_claims(repo, job, &found.completion, KeyGroups::all(key_groups)).await?;
    let mut local: BTreeMap<RunId, LocalRun> = BTreeMap::new();
    if let Some(pool) = pool {
        let (pool, boot) = (pool.clone(), repo.ambient().boot());
        local = off_thread(move || pool.sure_runs(&boot)).await?;
    }
    let is_local = |run: &crate::manifest::ClaimedRun| {
        local.get(&run.parcel.run).is_some_and(|file| (file.bytes, file.digest) == (run.bytes, run.digest))
    };
    RescalePlan::new(&claims, key_groups, workers, cuts, is_local).map(Some)
}
