//! Copies a checkpoint into another repo, or under another job, where it stands by itself: a backup, a move, a job to try things with.
//!
//! ```text
//!   source                                          target
//!   lease on the checkpoint
//!   claims
//!                                                   fence: an epoch of its own
//!   parcels, piece by piece, each checked ────────► parcels under new names
//!                                                   claims that name them
//!                                                   completion
//! ```
//!
//! Parcels are copied as they are: nothing is decompressed and no entry is read. A run that the newest checkpoint of the target has
//! already is not copied again, so that repeated copies send what is new.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bedload_lsm::RunId;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};

use crate::chain::Chain;
use crate::checkpoint::{Barrier, Epoch};
use crate::chosen::{Start, choose};
use crate::error::{Error, ErrorKind, Result, damaged};
use crate::fetch::{CopyProgress, ShippedRun, read_claims};
use crate::key_group::KeyGroups;
use crate::lease::HeldLease;
use crate::manifest::{Claim, ClaimRef, ClaimedRun, Completion, LiveCompletion};
use crate::names::{Attempt, CheckpointId, JobName, ObjectName, ParcelName, Upload};
use crate::parcel::chunk_count;
use crate::repo::Repo;
use crate::ship::write_claim;

/// How many chunks are copied in one piece: at most 4 MiB.
const CHUNKS_AT_ONCE: u64 = 64;

/// What is copied, and how.
#[derive(Clone, Debug)]
pub struct CopyOptions {
    /// Which checkpoint.
    pub start: Start,
    /// Whether the target may have checkpoints already.
    pub into: CopyInto,
    /// Who copies, for people: command, process, host.
    pub holder: String,
    /// How many runs are copied at once; 4 suits most networks. Each takes some 40 MiB of memory.
    pub runs_at_once: usize,
}

/// Whether the target of a copy may have checkpoints already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CopyInto {
    /// It is a job that nothing is known of yet (default).
    #[default]
    NewJob,
    /// It may have checkpoints: the copy becomes its newest one. A coordinator that runs there completes nothing any more.
    AnyJob,
}

/// A checkpoint that was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The one that was read.
    pub source: CheckpointId,
    /// The one that came to be.
    pub checkpoint: CheckpointId,
    /// Runs that were copied.
    pub copied_runs: usize,
    /// The bytes of their parcels.
    pub copied_bytes: u64,
    /// Runs that the target had.
    pub shared_runs: usize,
    /// The bytes of their parcels.
    pub shared_bytes: u64,
}

/// Copies a checkpoint of `job` in `source` to `target_job` in `target`; `None` for [`Start::LatestOrEmpty`] where there is none.
/// `progress` is told behind each piece of a few MiB.
///
/// A lease keeps the checkpoint for as long as this takes. Nothing exists in the target before all of it does.
///
/// # Errors
/// `Missing` when the checkpoint does not exist; `Fix` when the target has checkpoints and may not; `Damaged` when an object is missing or is
/// not what was shipped; `Fenced` when something else began to write the target's job; those of the requests.
pub async fn copy(
    (source, job): (&Repo, &JobName),
    (target, target_job): (&Repo, &JobName),
    options: &CopyOptions,
    progress: &(dyn Fn(CopyProgress) + Sync),
) -> Result<Option<Copied>> {
    let mut chain = Chain::read(source, job).await?;
    let Some(reading) = choose(source, &chain, options.start).await? else { return Ok(None) };
    let completion = reading.completion.clone();
    let lease = HeldLease::read(&mut chain, source, &options.holder, reading).await?;
    let source = Source { repo: source, job, completion: &completion };
    let copied = copy_leased(&source, target, target_job, options, progress).await;
    // One that stays is declared void by a person.
    lease.end().await.ok();
    copied.map(Some)
}

struct Source<'a> {
    repo: &'a Repo,
    job: &'a JobName,
    completion: &'a Completion,
}

async fn copy_leased(
    source: &Source<'_>,
    target: &Repo,
    job: &JobName,
    options: &CopyOptions,
    progress: &(dyn Fn(CopyProgress) + Sync),
) -> Result<Copied> {
    let all = KeyGroups::all(source.completion.key_groups);
    let claims = read_claims(source.repo, source.job, source.completion, all).await?;
    let before = Chain::read(target, job).await?;
    if options.into == CopyInto::NewJob && before.state().next_slot() > 1 {
        let message = "this job exists already; copy to another name, or allow the copy to become its newest checkpoint \
                       (a coordinator that runs there completes nothing any more)";
        return Err(Error::at(ErrorKind::Fix, format!("{target}/jobs/{job}"), None, message));
    }
    let mut epoch = Epoch::start(target, job, source.completion.key_groups, &options.holder).await?;
    let newest = epoch.state().newest().map(|(slot, newest)| LiveCompletion { slot, completion: newest.clone() });
    let mut shared = BTreeMap::new();
    if let Some(LiveCompletion { completion, .. }) = newest {
        // What it has stays for as long as the copy is built upon it.
        epoch.build_upon(completion.checkpoint)?;
        for claim in read_claims(target, job, &completion, all).await? {
            shared.extend(claim.runs.into_iter().map(|run| (run.parcel.run, run)));
        }
    }
    let barrier = epoch.begin().await?;
    if barrier.base.is_none() {
        shared.clear();
    }
    match copy_objects(source, target, job, &barrier, &claims, shared, options, progress).await {
        Ok((references, copied)) => {
            epoch.complete(&barrier, references).await?;
            Ok(copied)
        }
        Err(error) => {
            epoch.abort(&barrier).await;
            Err(error)
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of one copy, each of another kind")]
async fn copy_objects(
    source: &Source<'_>,
    target: &Repo,
    job: &JobName,
    barrier: &Barrier,
    claims: &[Claim],
    mut there: BTreeMap<RunId, ClaimedRun>,
    options: &CopyOptions,
    progress: &(dyn Fn(CopyProgress) + Sync),
) -> Result<(Vec<ClaimRef>, Copied)> {
    let runs: BTreeMap<RunId, ClaimedRun> =
        claims.iter().flat_map(|claim| &claim.runs).map(|run| (run.parcel.run, *run)).collect();
    let is_there = |run: &ClaimedRun, there: &BTreeMap<RunId, ClaimedRun>| {
        there.get(&run.parcel.run).is_some_and(|other| (other.bytes, other.digest) == (run.bytes, run.digest))
    };
    let (shared, lacking): (Vec<ClaimedRun>, Vec<ClaimedRun>) =
        runs.into_values().partition(|run| is_there(run, &there));
    let sum = |runs: &[ClaimedRun]| runs.iter().map(|run| run.parcel_bytes).sum::<u64>();
    let copied = Copied {
        source: source.completion.checkpoint,
        checkpoint: barrier.checkpoint,
        copied_runs: lacking.len(),
        copied_bytes: sum(&lacking),
        shared_runs: shared.len(),
        shared_bytes: sum(&shared),
    };
    let done = AtomicU64::new(0);
    let tell = |bytes: u64| {
        let bytes = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        progress(CopyProgress { bytes, all_bytes: copied.copied_bytes });
    };
    let tell = &tell;
    let copy = |run: ClaimedRun| async move { copy_run(source, target, job, &run, tell).await };
    let copies = lacking.into_iter().map(copy);
    let new: Vec<ClaimedRun> =
        futures_util::stream::iter(copies).buffer_unordered(options.runs_at_once.max(1)).try_collect().await?;
    there.extend(new.into_iter().map(|run| (run.parcel.run, run)));
    let mut references = Vec::new();
    for claim in claims {
        let claim = Claim {
            job: job.clone(),
            checkpoint: barrier.checkpoint,
            attempt: Attempt(target.ambient().random()),
            runs: claim.runs.iter().map(|run| there[&run.parcel.run]).collect(),
            ..claim.clone()
        };
        references.push(write_claim(target, &claim).await?);
    }
    Ok((references, copied))
}

/// Copies a parcel under a new name.
async fn copy_run(
    source: &Source<'_>,
    target: &Repo,
    job: &JobName,
    run: &ClaimedRun,
    tell: &(dyn Fn(u64) + Sync),
) -> Result<ClaimedRun> {
    let shipped = ShippedRun::open(source.repo, source.job, source.completion.checkpoint, run).await?;
    let count = chunk_count(run.bytes);
    let parcel = ParcelName { run: run.parcel.run, upload: Upload(target.ambient().random() as u32) };
    let name = ObjectName::Parcel(job.clone(), parcel);
    let shipped = &shipped;
    let pieces = || {
        let pieces =
            futures_util::stream::iter((0..count).step_by(CHUNKS_AT_ONCE as usize)).then(move |first| async move {
                let piece = shipped.stored(first..count.min(first + CHUNKS_AT_ONCE)).await?;
                tell(piece.len() as u64);
                Ok::<Bytes, Error>(piece)
            });
        pieces.chain(futures_util::stream::once(shipped.tail())).boxed()
    };
    let uploaded = target.upload(&name, pieces).await?;
    if (uploaded.bytes, uploaded.digest) != (run.parcel_bytes, run.parcel_digest) {
        let what = format_args!(
            "parcel of {} bytes with digest {}, expected {} bytes with {}",
            uploaded.bytes, uploaded.digest, run.parcel_bytes, run.parcel_digest
        );
        let place = source.repo.place(&ObjectName::Parcel(source.job.clone(), run.parcel));
        return Err(damaged(&place, None, what));
    }
    Ok(ClaimedRun { parcel, ..*run })
}
