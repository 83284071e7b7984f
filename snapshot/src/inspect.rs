//! Asks about checkpoints without changing anything: what differs between two, and what each worker of another number of them needs.

use std::collections::BTreeMap;

use bedload_lsm::RunId;

use crate::chain::Chain;
use crate::chosen::{Start, choose};
use crate::diff::Difference;
use crate::error::{Error, ErrorKind, Result};
use crate::fetch::{off_thread, read_claims};
use crate::gather::{Gathered, gather};
use crate::key_group::KeyGroups;
use crate::local::LocalPool;
use crate::manifest::{Claim, Lease, LocalRun};
use crate::names::{CheckpointId, Folder, JobName, LeaseId, ObjectName};
use crate::repo::Repo;
use crate::rescale_plan::{Cuts, RescalePlan};
use crate::restore_plan::RestorePlan;

/// The names of the jobs in `repo`, in their order. Folders among them that are named like none are passed over: they are of somebody else.
///
/// # Errors
/// Those of the requests.
pub async fn jobs(repo: &Repo) -> Result<Vec<JobName>> {
    Ok(repo.job_folders().await?.iter().filter_map(|folder| JobName::new(folder).ok()).collect())
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

/// A lease that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundLease {
    /// Its name.
    pub id: LeaseId,
    /// What it says.
    pub lease: Lease,
    /// When it was written, in milliseconds since 1970, by the store's clock.
    pub written_ms: u64,
    /// Whether it keeps nothing any more: it was declared void, or is of a checkpoint that was in the making under an earlier coordinator.
    pub is_over: bool,
}

/// Lists the leases of a job: who reads or makes which checkpoint. One whose holder has died stays until somebody
/// [declares it void](Chain::void), and keeps what it names.
///
/// # Errors
/// Those of the requests; `Damaged` when a lease cannot be read.
pub async fn leases(repo: &Repo, chain: &Chain) -> Result<Vec<FoundLease>> {
    let job = chain.job();
    let mut found = Vec::new();
    for (name, lease, written_ms) in repo.read_folder::<Lease>(&Folder::Leases.path(job)).await? {
        let ObjectName::Lease(_, id) = name else { continue };
        let is_of_earlier = lease.making.is_some_and(|making| making.epoch < chain.state().epoch());
        found.push(FoundLease { id, is_over: is_of_earlier || chain.state().is_void(id), lease, written_ms });
    }
    found.sort_by_key(|found| found.written_ms);
    Ok(found)
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

/// What a restore would take, and from where.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedRestore {
    /// Which checkpoint.
    pub checkpoint: CheckpointId,
    /// What is taken.
    pub plan: RestorePlan,
    /// Runs that would be fetched.
    pub fetch_runs: usize,
    /// Bytes of their parcels.
    pub fetch_bytes: u64,
}

/// Says what a restore of `groups` would take of a checkpoint of `job`, and what of it would be fetched, where `pool` has the rest. `None`
/// for [`Start::LatestOrEmpty`] where there is no checkpoint.
///
/// Runs in the pool that no copy vouches for are read and compared, as a restore does.
///
/// # Errors
/// As [`claims`]; `Fix` when the checkpoint does not cover the key groups; those of the disk.
pub async fn plan_restore(
    repo: &Repo,
    job: &JobName,
    start: Start,
    groups: KeyGroups,
    pool: Option<&LocalPool>,
) -> Result<Option<PlannedRestore>> {
    let chain = Chain::read(repo, job).await?;
    let Some(found) = choose(repo, &chain, start).await? else { return Ok(None) };
    let completion = &found.completion;
    let (plan, missing) = match pool {
        Some(pool) => {
            let Gathered { plan, missing, .. } = gather(repo, job, completion, groups, pool).await?;
            (plan, missing)
        }
        None => {
            let plan = RestorePlan::new(&read_claims(repo, job, completion, groups).await?, groups)?;
            let missing = plan.runs.clone();
            (plan, missing)
        }
    };
    let fetch_bytes = missing.iter().fold(0, |sum: u64, run| sum.saturating_add(run.parcel_bytes));
    Ok(Some(PlannedRestore { checkpoint: completion.checkpoint, plan, fetch_runs: missing.len(), fetch_bytes }))
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
