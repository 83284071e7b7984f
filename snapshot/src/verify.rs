//! Looks whether checkpoints are whole, as thoroughly as asked, and tells of each damage what it costs.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt;

use crate::chain::Chain;
use crate::chosen::{Start, choose};
use crate::error::{Error, ErrorKind, Result};
use crate::fetch::{ShippedRun, is_there, lost_parcel, read_claim};
use crate::key_group::KeyGroups;
use crate::manifest::{Claim, ClaimedRun, Completion};
use crate::names::{CheckpointId, Folder, JobName, ObjectName, ParcelName};
use crate::parcel::chunk_count;
use crate::pins::pins;
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
    /// Each parcel's table is sound, and so is this part of its chunks, in percent: at least one, at random.
    Samples(u8),
    /// Every byte is what was shipped, by the digests of runs and parcels. Reads all parcels.
    Everything,
}

/// What a verification saw.
#[derive(Debug, Default)]
pub struct Verified {
    /// How many checkpoints.
    pub checkpoints: usize,
    /// How many claims.
    pub claims: usize,
    /// How many parcels; one that several checkpoints have is looked at once.
    pub parcels: usize,
    /// Bytes of parcels that were read.
    pub bytes_read: u64,
    /// What is wrong, one for each object.
    pub faults: Vec<Fault>,
    /// Objects that are named like nothing of ours: nobody reads them, and nothing deletes them. Paths below the root of the repo.
    pub unknown: Vec<String>,
}

/// Something that is wrong.
#[derive(Debug)]
pub struct Fault {
    /// What, and where.
    pub error: Error,
    /// What it costs.
    pub cost: Cost,
}

/// What a damage costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cost {
    /// These key groups of these checkpoints cannot be restored.
    Groups(Vec<(CheckpointId, Vec<KeyGroups>)>),
    /// No checkpoint of the job can be found, and none completed.
    Job,
    /// Garbage is not collected, and what expired is not deleted. Checkpoints are whole.
    Collection,
}

/// How far a verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyProgress {
    /// Parcels that were looked at.
    pub parcels: usize,
    /// Parcels to look at.
    pub all_parcels: usize,
    /// Bytes of parcels that were read.
    pub bytes_read: u64,
}

/// Looks whether `checkpoint` of `job` is whole; it may be one that only a pin keeps. Goes on behind what is wrong, to tell all of it.
///
/// # Errors
/// Those of the requests; `Missing` when there is no such checkpoint. What is wrong with the checkpoint is no error: see
/// [`Verified::faults`].
pub async fn verify(repo: &Repo, job: &JobName, checkpoint: CheckpointId, level: VerifyLevel) -> Result<Verified> {
    let chain = Chain::read(repo, job).await?;
    let mut verified = Verified::default();
    let Some(found) = choose(repo, &chain, Start::At(checkpoint)).await? else { return Ok(verified) };
    verify_all(repo, job, &[found.completion], level, &mut verified, &|_| ()).await?;
    verified.forget_expired(repo, job).await?;
    Ok(verified)
}

/// Looks at everything that a job holds: its chain, its pins, and each checkpoint that exists or that a pin keeps. `progress` is told
/// behind each parcel.
///
/// # Errors
/// Those of the requests. What is wrong with the job is no error: see [`Verified::faults`]. What is missing of a checkpoint that has expired
/// meanwhile is neither.
pub async fn verify_job(
    repo: &Repo,
    job: &JobName,
    level: VerifyLevel,
    progress: &(dyn Fn(VerifyProgress) + Sync),
) -> Result<Verified> {
    let mut verified = Verified::default();
    for object in repo.list(&Folder::Job.path(job), None).await? {
        if ObjectName::parse(&object.path).is_none() {
            verified.unknown.push(object.path);
        }
    }
    let mut completions: BTreeMap<u64, Completion> = BTreeMap::new();
    match Chain::read(repo, job).await {
        Ok(chain) => completions.extend(chain.state().live().clone()),
        Err(error) => verified.note(error, Cost::Job)?,
    }
    match pins(repo, job).await {
        Ok(pins) => {
            completions.extend(pins.into_iter().map(|(_, pin)| (pin.checkpoint.slot, pin.checkpoint.completion)));
        }
        Err(error) => verified.note(error, Cost::Collection)?,
    }
    let completions: Vec<Completion> = completions.into_values().collect();
    verify_all(repo, job, &completions, level, &mut verified, progress).await?;
    verified.forget_expired(repo, job).await?;
    Ok(verified)
}

async fn verify_all(
    repo: &Repo,
    job: &JobName,
    completions: &[Completion],
    level: VerifyLevel,
    verified: &mut Verified,
    progress: &(dyn Fn(VerifyProgress) + Sync),
) -> Result<()> {
    // Who needs a parcel, by its name: not by that of its run, since two claims may name two parcels of one run.
    let mut needed: BTreeMap<ParcelName, Needed> = BTreeMap::new();
    for completion in completions {
        verified.checkpoints += 1;
        let claims = whole_claims(repo, job, completion, verified).await?;
        verified.claims += claims.len();
        for claim in &claims {
            for (place, run) in claim.runs.iter().enumerate() {
                let needed = needed.entry(run.parcel).or_insert_with(|| Needed { run: *run, by: BTreeMap::new() });
                needed.by.entry(completion.checkpoint).or_default().extend(groups_of(claim, place));
            }
        }
    }
    verified.parcels = needed.len();
    if level == VerifyLevel::Manifests {
        return Ok(());
    }
    let look = |needed: Needed| async move {
        let checkpoint = *needed.by.keys().next_back().expect("what nobody needs is not looked at");
        let looked = verify_run(repo, job, checkpoint, &needed.run, level).await;
        (needed, looked)
    };
    let mut looks = futures_util::stream::iter(needed.into_values().map(look)).buffer_unordered(RUNS_AT_ONCE);
    let mut parcels = 0;
    while let Some((needed, looked)) = looks.next().await {
        match looked {
            Ok(bytes) => verified.bytes_read += bytes,
            Err(error) => verified.note(error, needed.cost())?,
        }
        parcels += 1;
        progress(VerifyProgress { parcels, all_parcels: verified.parcels, bytes_read: verified.bytes_read });
    }
    Ok(())
}

/// Reads the claims of a checkpoint, and looks whether they fit each other; gives those that are whole.
async fn whole_claims(
    repo: &Repo,
    job: &JobName,
    completion: &Completion,
    verified: &mut Verified,
) -> Result<Vec<Claim>> {
    let checkpoint = completion.checkpoint;
    let mut claims = Vec::new();
    for claim in &completion.claims {
        match read_claim(repo, job, checkpoint, claim).await {
            Ok(claim) => claims.push(claim),
            Err(error) => verified.note(error, Cost::Groups(vec![(checkpoint, vec![claim.groups])]))?,
        }
    }
    let all = KeyGroups::all(completion.key_groups);
    if claims.len() == completion.claims.len()
        && let Err(error) = RestorePlan::new(&claims, all)
    {
        verified.note(error, Cost::Groups(vec![(checkpoint, vec![all])]))?;
    }
    Ok(claims)
}

/// A parcel, and who needs it.
struct Needed {
    run: ClaimedRun,
    /// By checkpoint, the key groups.
    by: BTreeMap<CheckpointId, BTreeSet<KeyGroups>>,
}

impl Needed {
    fn cost(&self) -> Cost {
        let joined = |groups: &BTreeSet<KeyGroups>| {
            let mut joined: Vec<KeyGroups> = Vec::new();
            for groups in groups {
                match joined.last_mut() {
                    Some(last) if u32::from(groups.first) <= u32::from(last.last) + 1 => {
                        last.last = last.last.max(groups.last);
                    }
                    _ => joined.push(*groups),
                }
            }
            joined
        };
        Cost::Groups(self.by.iter().map(|(checkpoint, groups)| (*checkpoint, joined(groups))).collect())
    }
}

/// The key groups in which a claim needs the run at this place of its list.
fn groups_of(claim: &Claim, place: usize) -> impl Iterator<Item = KeyGroups> {
    let stacks = claim.stacks.iter().filter(move |stack| stack.slices.iter().any(|slice| slice.run as usize == place));
    stacks.filter_map(|stack| claim.groups.touched_by(&stack.range()))
}

impl Verified {
    /// Forgets what is wrong with checkpoints that neither exist nor are pinned any more: their objects may have been collected meanwhile.
    async fn forget_expired(&mut self, repo: &Repo, job: &JobName) -> Result<()> {
        if !self.faults.iter().any(|fault| matches!(fault.cost, Cost::Groups(_))) {
            return Ok(());
        }
        // Where these cannot be read, that was told already, and nothing is forgotten.
        let (chain, pins) = match (Chain::read(repo, job).await, pins(repo, job).await) {
            (Ok(chain), Ok(pins)) => (chain, pins),
            (Err(error), _) | (_, Err(error)) if error.kind() != ErrorKind::Damaged => return Err(error),
            _ => return Ok(()),
        };
        let mut existing: BTreeSet<CheckpointId> = chain.state().live().values().map(|live| live.checkpoint).collect();
        existing.extend(pins.into_iter().map(|(_, pin)| pin.checkpoint.completion.checkpoint));
        self.faults.retain_mut(|fault| match &mut fault.cost {
            Cost::Groups(hit) => {
                hit.retain(|(checkpoint, _)| existing.contains(checkpoint));
                !hit.is_empty()
            }
            Cost::Job | Cost::Collection => true,
        });
        Ok(())
    }

    /// Keeps what is wrong with the repo; hands on what is wrong with the network, or with rights.
    fn note(&mut self, error: Error, cost: Cost) -> Result<()> {
        if matches!(error.kind(), ErrorKind::Retry | ErrorKind::Denied) {
            return Err(error);
        }
        self.faults.push(Fault { error, cost });
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
    if let VerifyLevel::Samples(percent) = level {
        let count = chunk_count(run.bytes);
        let (mut bytes, wanted) = (0, (count * u64::from(percent.min(100))).div_ceil(100).max(1));
        for sample in 0..wanted {
            // One of each of so many parts of the run.
            let (start, end) = (count * sample / wanted, count * (sample + 1) / wanted);
            let chunk = start + repo.ambient().random() % (end - start);
            shipped.chunks(chunk..chunk + 1).await?;
            bytes += shipped.stored_bytes(chunk..chunk + 1);
        }
        return Ok(bytes);
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
        assert!(verify_one(VerifyLevel::Samples(100), wrong).await.faults.is_empty(), "a sample does not tell");
        let found = verify_one(VerifyLevel::Everything, wrong).await;
        let [fault] = &found.faults[..] else { panic!("one fault: {found:?}") };
        assert_eq!(fault.error.kind(), ErrorKind::Damaged);
        assert!(fault.error.to_string().contains("parcel with digest "), "{}", fault.error);
        let checkpoint = CheckpointId { epoch: 1, number: 1 };
        assert_eq!(fault.cost, Cost::Groups(vec![(checkpoint, vec![KeyGroups { first: 0, last: 0 }])]));
    }
}
