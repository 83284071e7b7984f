//! Sends runs into a repo: compressed on threads for blocking work, several at once, in memory of a few MiB each.

use std::collections::BTreeMap;
use std::sync::Arc;

use bedload_lsm::fs::{Fs, ReadMode, Source};
use bedload_lsm::{RunId, RunRef};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use tracing::Instrument;

use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{Claim, ClaimRef, ClaimedRun, Hex, digest_of};
use crate::names::{JobName, ObjectName, ParcelName, Upload};
use crate::parcel::{CHUNK_BYTES, ParcelEncoder};
use crate::repo::{OpenUpload, Published, Repo, Uploaded};
use crate::ship_plan::{PlanStack, ShipPolicy};

/// Bytes of a run that are read and compressed in one go.
const BATCH_BYTES: u64 = 1 << 20;

/// How runs are sent.
#[derive(Clone, Debug)]
pub struct ShipOptions {
    /// How many runs are on their way at once (default 4).
    pub runs_at_once: usize,
    /// The level of zstd (default 1). Higher ones take more processor time for a few percent less.
    pub level: i32,
    /// What is uploaded as a whole, and when.
    pub policy: ShipPolicy,
    /// For how long uploads of a checkpoint that was given up are used again, in milliseconds (default 12 h): half of the grace
    /// time of the collector, at most.
    pub reuse_ms: u64,
}

impl Default for ShipOptions {
    fn default() -> ShipOptions {
        ShipOptions { runs_at_once: 4, level: 1, policy: ShipPolicy::default(), reuse_ms: 12 * 3600 * 1000 }
    }
}

/// What a checkpoint of a worker consists of in the repo, as seals of its store: what the next one is built upon.
#[derive(Clone, Debug)]
pub struct ShippedState {
    /// The seal of the store that it shows.
    pub(crate) seal: u64,
    /// Its stacks, in key order.
    pub(crate) stacks: Vec<PlanStack>,
    /// The runs of its stacks.
    pub(crate) runs: BTreeMap<RunId, ClaimedRun>,
}

impl ShippedState {
    /// The state of `stacks`, whose runs are `known`.
    pub(crate) fn new(seal: u64, stacks: Vec<PlanStack>, known: &BTreeMap<RunId, ClaimedRun>) -> ShippedState {
        let used = stacks.iter().flat_map(|stack| &stack.slices).map(|slice| slice.run);
        let runs = used.map(|run| (run, known[&run])).collect();
        ShippedState { seal, stacks, runs }
    }
}

/// Writes a claim; gives what a completion says of it.
///
/// # Errors
/// Those of the requests.
pub(crate) async fn write_claim(repo: &Repo, claim: &Claim) -> Result<ClaimRef> {
    let (worker, attempt) = (claim.worker.clone(), claim.attempt);
    let name = ObjectName::Claim(claim.job.clone(), claim.checkpoint, worker.clone(), attempt);
    let (published, bytes) = repo.publish(&name, claim).await?;
    if published != Published::Ours {
        let message = "another claim has the name of this attempt; please report this";
        return Err(Error::at(ErrorKind::Bug, repo.place(&name), None, message));
    }
    Ok(ClaimRef { worker, attempt, groups: claim.groups, bytes: bytes.len() as u64, digest: digest_of(&bytes) })
}

/// Uploads `runs`, each under a new name, and tells `done` of each that is in the repo; gives them in the same order.
///
/// # Errors
/// Those of the requests; `Damaged` when a local file is not what was written. Some of the runs may be in the repo then.
pub(crate) async fn upload_runs(
    repo: &Repo,
    job: &JobName,
    fs: &Arc<dyn Fs>,
    runs: &[RunRef],
    options: &ShipOptions,
    done: impl Fn(ClaimedRun) + Sync,
) -> Result<Vec<ClaimedRun>> {
    let done = &done;
    let upload = |run: RunRef| async move {
        let span = tracing::debug_span!("ship_run", run = %run.id(), bytes = run.bytes());
        let uploaded = upload_run(repo, job, fs, &run, options.level).instrument(span).await?;
        tracing::debug!(run = %run.id(), parcel_bytes = uploaded.parcel_bytes, "uploaded a run");
        done(uploaded);
        Ok(uploaded)
    };
    let runs: Vec<RunRef> = runs.to_vec();
    let uploads = runs.into_iter().map(upload);
    futures_util::stream::iter(uploads).buffered(options.runs_at_once.max(1)).try_collect().await
}

/// Where a run's bytes are.
fn source_of(fs: &Arc<dyn Fs>, run: &RunRef) -> Result<Arc<dyn Source>> {
    match run.path() {
        Some(path) => Ok(fs.open(path, ReadMode::Pread)?),
        // It came with a lazy restore, and what it was restored from has expired: its lease keeps it while it is fetched.
        None => Ok(Arc::clone(run.source())),
    }
}

/// The name of a new upload of a run.
fn new_name(repo: &Repo, run: &RunRef) -> ParcelName {
    ParcelName { run: run.id(), upload: Upload(repo.ambient().random() as u32) }
}

fn claimed(run: &RunRef, parcel: ParcelName, uploaded: Uploaded) -> ClaimedRun {
    ClaimedRun {
        parcel,
        bytes: run.bytes(),
        digest: Hex(*run.digest()),
        parcel_bytes: uploaded.bytes,
        parcel_digest: uploaded.digest,
    }
}

async fn upload_run(repo: &Repo, job: &JobName, fs: &Arc<dyn Fs>, run: &RunRef, level: i32) -> Result<ClaimedRun> {
    let source = source_of(fs, run)?;
    let parcel = new_name(repo, run);
    let name = ObjectName::Parcel(job.clone(), parcel);
    let uploaded = repo
        .upload(&name, || {
            let batches = Batches::new(run.id(), *run.digest(), Arc::clone(&source), level);
            futures_util::stream::try_unfold(Some(batches), |batches| async {
                match batches {
                    None => Ok(None),
                    Some(batches) => batches.next_off_thread(BATCH_BYTES).await.map(Some),
                }
            })
            .boxed()
        })
        .await?;
    Ok(claimed(run, parcel, uploaded))
}

/// A run that is sent piece by piece, over several checkpoints.
pub(crate) struct RunUpload {
    run: RunRef,
    parcel: ParcelName,
    upload: OpenUpload,
    /// When it began.
    pub began_ms: u64,
    /// `None` behind the last piece, and behind a piece that failed or was cancelled.
    batches: Option<Batches>,
}

/// What a step of such an upload did.
#[derive(Default)]
pub(crate) struct Sent {
    /// Bytes of the run that were sent.
    pub bytes: u64,
    /// What they became.
    pub parcel_bytes: u64,
    /// The run, when all of it is in the repo.
    pub done: Option<ClaimedRun>,
}

impl RunUpload {
    /// Begins to send a run.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn new(repo: &Repo, job: &JobName, fs: &Arc<dyn Fs>, run: &RunRef, level: i32) -> Result<RunUpload> {
        let parcel = new_name(repo, run);
        let batches = Some(Batches::new(run.id(), *run.digest(), source_of(fs, run)?, level));
        let upload = repo.open_upload(&ObjectName::Parcel(job.clone(), parcel));
        Ok(RunUpload { run: run.clone(), parcel, upload, began_ms: repo.ambient().now_ms(), batches })
    }

    /// Sends `allowance` bytes more of the run, to the next full chunk.
    ///
    /// # Errors
    /// Those of the requests; `Damaged` when the local file is not what was written. The upload is of no use then.
    pub async fn advance(&mut self, allowance: u64) -> Result<Sent> {
        let sent = self.send(allowance).await;
        if sent.is_err() {
            self.batches = None;
        }
        sent
    }

    async fn send(&mut self, allowance: u64) -> Result<Sent> {
        let mut sent = Sent::default();
        while sent.bytes < allowance
            && let Some(batches) = self.batches.take()
        {
            let before = batches.offset;
            let (piece, rest) = batches.next_off_thread(BATCH_BYTES.min(allowance - sent.bytes)).await?;
            self.upload.push(&piece).await?;
            sent.parcel_bytes += piece.len() as u64;
            sent.bytes += rest.as_ref().map_or(self.run.bytes(), |rest| rest.offset) - before;
            if rest.is_none() {
                let uploaded = self.upload.finish().await?;
                sent.done = Some(claimed(&self.run, self.parcel, uploaded));
            }
            self.batches = rest;
        }
        if sent.done.is_none() {
            self.upload.settle(0).await?;
        }
        Ok(sent)
    }

    /// Whether a step failed or was cancelled: the rest can not be sent.
    pub fn is_broken(&self) -> bool {
        self.batches.is_none()
    }
}

/// A run on its way to be a parcel.
struct Batches {
    source: Arc<dyn Source>,
    digest: [u8; 32],
    hasher: blake3::Hasher,
    encoder: ParcelEncoder,
    offset: u64,
}

impl Batches {
    fn new(run: RunId, digest: [u8; 32], source: Arc<dyn Source>, level: i32) -> Batches {
        Batches { source, digest, hasher: blake3::Hasher::new(), encoder: ParcelEncoder::new(run, level), offset: 0 }
    }

    /// The next piece of the parcel, of `most` bytes of the run to the next full chunk, and what is left; reading and compressing
    /// block, so they do it elsewhere.
    async fn next_off_thread(self, most: u64) -> Result<(Bytes, Option<Batches>)> {
        let next = tokio::task::spawn_blocking(move || self.next(most)).await;
        next.map_err(|cause| Error::new(ErrorKind::Bug, format!("compressing a run: {cause}")))?
    }

    fn next(mut self, most: u64) -> Result<(Bytes, Option<Batches>)> {
        let bytes = self.source.bytes();
        let mut out = Vec::new();
        let mut chunk = vec![0; CHUNK_BYTES as usize];
        let end = bytes.min(self.offset + most.next_multiple_of(CHUNK_BYTES));
        self.source.ensure(self.offset..end)?;
        while self.offset < end {
            let length = (bytes - self.offset).min(CHUNK_BYTES) as usize;
            self.source.read_exact_at(&mut chunk[..length], self.offset)?;
            self.hasher.update(&chunk[..length]);
            self.encoder.push(&chunk[..length], &mut out);
            self.offset += length as u64;
        }
        if self.offset < bytes {
            return Ok((out.into(), Some(self)));
        }
        // A damaged run must not become the only copy.
        let found = *self.hasher.finalize().as_bytes();
        if found != self.digest {
            let what = format_args!("digest {}, expected {}", Hex(found), Hex(self.digest));
            return Err(Error::damaged(self.source.path(), 0, what));
        }
        out.extend(self.encoder.finish());
        Ok((out.into(), None))
    }
}
