//! Looks whether a checkpoint is whole, as thoroughly as asked.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt};

use crate::chain::Chain;
use crate::error::{Error, ErrorKind, Result};
use crate::fetch::{ShippedRun, is_there, lost_parcel, read_claim};
use crate::key_group::KeyGroups;
use crate::manifest::{ClaimedRun, Completion};
use crate::names::{CheckpointId, JobName, ObjectName, ParcelName};
use crate::parcel::chunk_count;
use crate::repo::Repo;
use crate::restore_plan::RestorePlan;

/// How many runs are looked at, at once.
const RUNS_AT_ONCE: usize = 8;

/// How thoroughly a checkpoint is looked at; each level does what those before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VerifyLevel {
    /// Its claims are there, are what the completion names, and cover every key group.
    Manifests,
    /// Each parcel is there and has its length.
    Lengths,
    /// Each parcel's table and one of its chunks, at random, are sound.
    Samples,
    /// Every byte is what was shipped, by the digests of runs and parcels. Reads all parcels.
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
/// Those of the requests; `Missing` when there is no such checkpoint. What is wrong with the checkpoint is no error: see
/// [`Verified::faults`].
pub async fn verify(repo: &Repo, job: &JobName, checkpoint: CheckpointId, level: VerifyLevel) -> Result<Verified> {
    let chain = Chain::read(repo, job).await?;
    let slot = chain.state().find(checkpoint).ok_or_else(|| {
        Error::new(ErrorKind::Missing, format!("job {job}: checkpoint {checkpoint} does not exist; list those that do"))
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
    if let Err(error) = RestorePlan::new(&claims, KeyGroups::all(completion.key_groups)) {
        verified.faults.push(error);
        return Ok(verified);
    }
    // Not those of the plan: two claims may name two parcels of one run.
    let parcels: BTreeMap<ParcelName, ClaimedRun> =
        claims.iter().flat_map(|claim| &claim.runs).map(|run| (run.parcel, *run)).collect();
    verified.parcels = parcels.len();
    if level == VerifyLevel::Manifests {
        return Ok(verified);
    }
    let checkpoint = completion.checkpoint;
    let look = |run: ClaimedRun| async move { Ok::<_, Error>(verify_run(repo, job, checkpoint, &run, level).await) };
    let looks = parcels.into_values().map(look);
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
async fn verify_run(
    repo: &Repo,
    job: &JobName,
    checkpoint: CheckpointId,
    run: &ClaimedRun,
    level: VerifyLevel,
) -> Result<u64> {
    let name = ObjectName::Parcel(job.clone(), run.parcel);
    if !is_there(repo, &name, run.parcel_bytes).await? {
        return Err(lost_parcel(repo, &name, checkpoint));
    }
    if level == VerifyLevel::Lengths {
        return Ok(0);
    }
    let shipped = ShippedRun::open(repo, job, checkpoint, run).await?;
    if level == VerifyLevel::Samples {
        let chunk = repo.ambient().random() % chunk_count(run.bytes);
        shipped.chunks(chunk..chunk + 1).await?;
        return Ok(shipped.stored_bytes(chunk..chunk + 1));
    }
    shipped.verify(run).await?;
    Ok(run.parcel_bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bedload_lsm::RunId;
    use bytes::Bytes;

    use super::*;
    use crate::manifest::{Claim, ClaimRef, ClaimedSlice, ClaimedStack, Digest, Fence, Hex, Timings, digest_of};
    use crate::names::{Attempt, LeaseId, Upload, WorkerName};
    use crate::parcel::ParcelEncoder;
    use crate::repo::RepoOptions;
    use crate::testing::FaultStore;

    /// Verifies a checkpoint of one run whose claim tells of a parcel with this digest, or with the right one.
    async fn verify_one(level: VerifyLevel, parcel_digest: Option<Digest>) -> Verified {
        let repo = RepoOptions::default().open_store(Arc::new(FaultStore::default()), "memory://").await.unwrap();
        let (job, worker) = (JobName::new("job").unwrap(), WorkerName::new("w-0").unwrap());
        let groups = KeyGroups::all(1);
        let raw = [7; 100];
        let parcel = ParcelName { run: RunId { opening: 1, sequence: 1 }, upload: Upload(1) };
        let mut encoder = ParcelEncoder::new(parcel.run, 1);
        let mut bytes = Vec::new();
        encoder.push(&raw, &mut bytes);
        bytes.extend(encoder.finish());
        let bytes = Bytes::from(bytes);
        repo.publish_once(&ObjectName::Parcel(job.clone(), parcel), &bytes).await.unwrap();
        let run = ClaimedRun {
            parcel,
            bytes: raw.len() as u64,
            digest: digest_of(&raw),
            parcel_bytes: bytes.len() as u64,
            parcel_digest: parcel_digest.unwrap_or_else(|| digest_of(&bytes)),
        };
        let mut chain = Chain::read(&repo, &job).await.unwrap();
        let fence = Fence { holder: "test".into(), started_at_ms: 0 };
        let checkpoint = CheckpointId { epoch: chain.fence(fence).await.unwrap(), number: 1 };
        let attempt = Attempt(1);
        let claim = Claim {
            job: job.clone(),
            checkpoint,
            worker: worker.clone(),
            attempt,
            groups,
            clocks: Vec::new(),
            runs: vec![run],
            stacks: vec![ClaimedStack::new(&groups.keys(), vec![ClaimedSlice { run: 0, bytes: 100 }])],
            timings: Timings::default(),
            attachment: serde_json::Value::Null,
        };
        let name = ObjectName::Claim(job.clone(), checkpoint, worker.clone(), attempt);
        let (_, claim) = repo.publish(&name, &claim).await.unwrap();
        let claim = ClaimRef { worker, attempt, groups, bytes: claim.len() as u64, digest: digest_of(&claim) };
        let completion = Completion {
            checkpoint,
            key_groups: 1,
            claims: vec![claim],
            base: None,
            lease: LeaseId(1),
            completed_at_ms: 0,
        };
        chain.complete(completion).await.unwrap();
        verify(&repo, &job, checkpoint, level).await.unwrap()
    }

    /// Nobody ever compared what a claim tells of a parcel's digest.
    #[tokio::test]
    async fn everything_includes_the_digest_of_the_parcel() {
        let whole = verify_one(VerifyLevel::Everything, None).await;
        assert!(whole.faults.is_empty() && whole.bytes_read > 64, "{whole:?}");
        let wrong = Some(Hex([1; 32]));
        assert!(verify_one(VerifyLevel::Samples, wrong).await.faults.is_empty(), "a sample does not tell");
        let found = verify_one(VerifyLevel::Everything, wrong).await;
        let [fault] = &found.faults[..] else { panic!("one fault: {found:?}") };
        assert_eq!(fault.kind(), ErrorKind::Damaged);
        assert!(fault.to_string().contains("parcel with digest "), "{fault}");
    }
}
