//! Looks whether a checkpoint is whole, as thoroughly as asked.

use futures_util::{StreamExt, TryStreamExt};

use crate::chain::Chain;
use crate::error::{Error, ErrorKind, Result, damaged};
use crate::fetch::{ShippedRun, read_claim};
use crate::key_group::KeyGroups;
use crate::manifest::{ClaimedRun, Completion, Hex};
use crate::names::{CheckpointId, JobName, ObjectName};
use crate::parcel::chunk_count;
use crate::repo::Repo;
use crate::restore_plan::RestorePlan;

/// How many runs are looked at, at once.
const RUNS_AT_ONCE: usize = 8;

/// How many chunks are read in one request: 4 MiB of a run.
const CHUNKS_AT_ONCE: u64 = 64;

/// How thoroughly a checkpoint is looked at; each level does what those before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VerifyLevel {
    /// Its claims are there, are what the completion names, and cover every key group.
    Manifests,
    /// Each parcel is there and has its length.
    Lengths,
    /// Each parcel's table and one of its chunks, at random, are sound.
    Samples,
    /// Every byte is what was shipped. Reads all parcels.
    Everything,
}

/// What a verification saw.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// How many claims.
    pub claims: usize,
    /// How many parcels.
    pub parcels: usize,
    /// Bytes of parcels that were read.
    pub bytes_read: u64,
    /// What is wrong, one for each object.
    pub faults: Vec<Error>,
}

/// Looks whether `checkpoint` of `job` is whole. Goes on behind what is wrong, to tell all of it.
///
/// # Errors
/// Those of the requests; `Fix` when there is no such checkpoint. What is wrong with the checkpoint is no error: see
/// [`Verified::faults`].
pub async fn verify(repo: &Repo, job: &JobName, checkpoint: CheckpointId, level: VerifyLevel) -> Result<Verified> {
    let chain = Chain::read(repo, job).await?;
    let slot = chain.state().find(checkpoint).ok_or_else(|| {
        Error::new(ErrorKind::Fix, format!("job {job}: checkpoint {checkpoint} does not exist; list those that do"))
    })?;
    verify_completion(repo, job, &chain.state().live()[&slot], level).await
}

async fn verify_completion(
    repo: &Repo,
    job: &JobName,
    completion: &Completion,
    level: VerifyLevel,
) -> Result<Verified> {
    let mut verified = Verified::default();
    let mut claims = Vec::new();
    for claim in &completion.claims {
        match read_claim(repo, job, completion.checkpoint, claim).await {
            Ok(claim) => claims.push(claim),
            Err(error) => verified.note(error)?,
        }
    }
    verified.claims = claims.len();
    if !verified.faults.is_empty() {
        return Ok(verified);
    }
    let plan = match RestorePlan::new(&claims, KeyGroups::all(completion.key_groups)) {
        Ok(plan) => plan,
        Err(error) => {
            verified.faults.push(error);
            return Ok(verified);
        }
    };
    verified.parcels = plan.runs.len();
    if level == VerifyLevel::Manifests {
        return Ok(verified);
    }
    let looks = plan.runs.iter().map(|run| async move { Ok::<_, Error>(verify_run(repo, job, run, level).await) });
    let mut looks = futures_util::stream::iter(looks).buffer_unordered(RUNS_AT_ONCE);
    while let Some(looked) = looks.try_next().await? {
        match looked {
            Ok(bytes) => verified.bytes_read += bytes,
            Err(error) => verified.note(error)?,
        }
    }
    Ok(verified)
}

impl Verified {
    /// Keeps what is wrong with the checkpoint; hands on what is wrong with the network.
    fn note(&mut self, error: Error) -> Result<()> {
        if error.kind() == ErrorKind::Retry {
            return Err(error);
        }
        self.faults.push(error);
        Ok(())
    }
}

/// Looks at one run; gives how many bytes of its parcel were read.
async fn verify_run(repo: &Repo, job: &JobName, run: &ClaimedRun, level: VerifyLevel) -> Result<u64> {
    let name = ObjectName::Parcel(job.clone(), run.parcel);
    let meta = repo.head(&name).await?.ok_or_else(|| repo.missing(&name, "a checkpoint that exists names it"))?;
    if meta.bytes != run.parcel_bytes {
        let what = format_args!("{} bytes, expected {}", meta.bytes, run.parcel_bytes);
        return Err(damaged(&repo.place(&name), None, what));
    }
    if level == VerifyLevel::Lengths {
        return Ok(0);
    }
    let shipped = ShippedRun::open(repo, job, run).await?;
    let count = chunk_count(run.bytes);
    if level == VerifyLevel::Samples {
        let chunk = repo.ambient().random() % count;
        shipped.chunks(chunk..chunk + 1).await?;
        return Ok(shipped.stored_bytes(chunk..chunk + 1));
    }
    let mut hasher = blake3::Hasher::new();
    let mut first = 0;
    while first < count {
        let end = count.min(first + CHUNKS_AT_ONCE);
        hasher.update(&shipped.chunks(first..end).await?);
        first = end;
    }
    let found = Hex(*hasher.finalize().as_bytes());
    if found != run.digest {
        let what = format_args!("run with digest {found}, expected {}", run.digest);
        return Err(damaged(&repo.place(&name), None, what));
    }
    Ok(run.parcel_bytes)
}
