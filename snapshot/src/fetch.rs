//! Gets claims and runs out of a repo: pieces of a parcel, checked one by one, and whole runs into the local pool.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use tracing::Instrument;

use crate::error::{Error, ErrorKind, Result, damaged};
use crate::key_group::KeyGroups;
use crate::local::LocalPool;
use crate::manifest::{Claim, ClaimRef, ClaimedRun, Completion, Hex, digest_of, read};
use crate::names::{CheckpointId, JobName, ObjectName};
use crate::parcel::{CHUNK_BYTES, ParcelFlaw, ParcelTable, chunk_count, tail_bytes};
use crate::repo::Repo;

/// How many chunks are fetched in one request: 4 MiB of the run.
const CHUNKS_AT_ONCE: u64 = 64;

/// How many claims are read at once.
const CLAIMS_AT_ONCE: usize = 16;

/// How many requests for one run are on their way at once.
const REQUESTS_AT_ONCE: usize = 4;

/// How far a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyProgress {
    /// Bytes of parcels that are on their way, or there.
    pub bytes: u64,
    /// Bytes of parcels that have to be copied.
    pub all_bytes: u64,
}

/// Reads a claim of a checkpoint that exists.
///
/// # Errors
/// `Damaged` when it is missing, or is not what names it.
pub(crate) async fn read_claim(
    repo: &Repo,
    job: &JobName,
    checkpoint: CheckpointId,
    wanted: &ClaimRef,
) -> Result<Claim> {
    let found = find_claim(repo, job, checkpoint, wanted).await?;
    found.ok_or_else(|| {
        let name = ObjectName::Claim(job.clone(), checkpoint, wanted.worker.clone(), wanted.attempt);
        lost(repo, &name, checkpoint, format_args!("the claim of worker {}", wanted.worker))
    })
}

/// The error for a part of a checkpoint that is gone.
fn lost(repo: &Repo, name: &ObjectName, checkpoint: CheckpointId, what: impl fmt::Display) -> Error {
    let advice = "restore from another checkpoint, or bring it back from a copy";
    repo.missing(name, &format!("{what}, a part of checkpoint {checkpoint}; {advice}"))
}

/// The error for a parcel of a checkpoint that is gone.
pub(crate) fn lost_parcel(repo: &Repo, name: &ObjectName, checkpoint: CheckpointId) -> Error {
    lost(repo, name, checkpoint, "a shipped run")
}

/// Looks whether a parcel of so many bytes is there.
///
/// # Errors
/// `Damaged` when it has another length.
pub(crate) async fn is_there(repo: &Repo, name: &ObjectName, bytes: u64) -> Result<bool> {
    match repo.head(name).await? {
        None => Ok(false),
        Some(meta) if meta.bytes == bytes => Ok(true),
        Some(meta) => Err(damaged(&repo.place(name), None, format_args!("{} bytes, expected {bytes}", meta.bytes))),
    }
}

/// Reads a claim and compares it with what names it; `None` when it is not there.
pub(crate) async fn find_claim(
    repo: &Repo,
    job: &JobName,
    checkpoint: CheckpointId,
    wanted: &ClaimRef,
) -> Result<Option<Claim>> {
    let name = ObjectName::Claim(job.clone(), checkpoint, wanted.worker.clone(), wanted.attempt);
    let place = repo.place(&name);
    let check = |bytes: &Bytes| {
        let found = digest_of(bytes);
        if bytes.len() as u64 != wanted.bytes || found != wanted.digest {
            let what = format_args!(
                "claim of {} bytes with digest {found}, expected {} bytes with {}",
                bytes.len(),
                wanted.bytes,
                wanted.digest
            );
            return Err(damaged(&place, None, what));
        }
        let claim: Claim = read(bytes, &place)?;
        let told = (&claim.job, claim.checkpoint, &claim.worker, claim.attempt, claim.groups);
        if told != (job, checkpoint, &wanted.worker, wanted.attempt, wanted.groups) {
            return Err(damaged(&place, None, "the claim of something else"));
        }
        Ok(claim)
    };
    let found = repo.read_checked(&name, check).await?;
    Ok(found.map(|(claim, _)| claim))
}

/// Reads the claims of a checkpoint that exists which cover some of `groups`, in the order of their key groups.
///
/// # Errors
/// As [`read_claim`].
pub(crate) async fn read_claims(
    repo: &Repo,
    job: &JobName,
    completion: &Completion,
    groups: KeyGroups,
) -> Result<Vec<Claim>> {
    let checkpoint = completion.checkpoint;
    let wanted: Vec<ClaimRef> =
        completion.claims.iter().filter(|claim| claim.groups.overlaps(groups)).cloned().collect();
    let read = |claim: ClaimRef| async move { read_claim(repo, job, checkpoint, &claim).await };
    futures_util::stream::iter(wanted.into_iter().map(read)).buffered(CLAIMS_AT_ONCE).try_collect().await
}

/// Chunks of a run that were fetched with something else.
pub(crate) struct FetchedChunks {
    pub chunks: Range<u64>,
    /// The bytes of the run that they are.
    pub bytes: Vec<u8>,
}

/// A shipped run whose chunk table was read: any part of it can be fetched.
#[derive(Clone, Debug)]
pub(crate) struct ShippedRun {
    repo: Repo,
    name: ObjectName,
    /// Which checkpoint it is read for, to be told where it is missing.
    checkpoint: CheckpointId,
    table: ParcelTable,
}

impl ShippedRun {
    /// Reads the table of a shipped run of `checkpoint`.
    ///
    /// # Errors
    /// `Damaged` when the parcel is missing, or is not what the claim tells.
    pub async fn open(repo: &Repo, job: &JobName, checkpoint: CheckpointId, run: &ClaimedRun) -> Result<ShippedRun> {
        ShippedRun::open_with_last(repo, job, checkpoint, run, 0).await.map(|(shipped, _)| shipped)
    }

    /// As [`ShippedRun::open`], and with the same request the last `count` chunks, as long as they are stored in no more bytes than
    /// such chunks of this parcel usually are.
    ///
    /// # Errors
    /// As [`ShippedRun::open`].
    pub async fn open_with_last(
        repo: &Repo,
        job: &JobName,
        checkpoint: CheckpointId,
        run: &ClaimedRun,
        count: u64,
    ) -> Result<(ShippedRun, Option<FetchedChunks>)> {
        let name = ObjectName::Parcel(job.clone(), run.parcel);
        let tail = tail_bytes(run.bytes);
        let Some(table_at) = run.parcel_bytes.checked_sub(tail).filter(|_| run.bytes > 0) else {
            let what = format_args!("parcel of {} bytes for a run of {}", run.parcel_bytes, run.bytes);
            return Err(damaged(&repo.place(&name), None, what));
        };
        let last = chunk_count(run.bytes).saturating_sub(count)..chunk_count(run.bytes);
        let start = table_at - usual_bytes(run, table_at, &last).min(table_at);
        let read = |bytes: Bytes| {
            let table_in = (table_at - start) as usize;
            let table = ParcelTable::read(&bytes[table_in..], run.parcel.run, run.bytes, run.parcel_bytes)?;
            let Some(skipped) = table.span(last.clone()).start.checked_sub(start).filter(|_| !last.is_empty()) else {
                return Ok((table, None));
            };
            let chunks = table.decode_all(last.clone(), &bytes.slice(skipped as usize..table_in))?;
            Ok((table, Some(FetchedChunks { chunks: last.clone(), bytes: chunks })))
        };
        let (table, fetched) = fetch_checked(repo, &name, checkpoint, start..run.parcel_bytes, read).await?;
        Ok((ShippedRun { repo: repo.clone(), name, checkpoint, table }, fetched))
    }

    /// The repo that it lies in.
    pub fn repo(&self) -> &Repo {
        &self.repo
    }

    /// The bytes of some chunks as they are stored.
    pub fn stored_bytes(&self, chunks: Range<u64>) -> u64 {
        let span = self.table.span(chunks);
        span.end - span.start
    }

    /// Fetches some chunks as they are stored; compares their checksums and does not decompress them.
    ///
    /// # Errors
    /// `Damaged` when they are not what was shipped, twice.
    pub async fn stored(&self, chunks: Range<u64>) -> Result<Bytes> {
        let span = self.table.span(chunks.clone());
        let check = |stored: Bytes| self.table.check_all(chunks.clone(), &stored).map(|()| stored);
        fetch_checked(&self.repo, &self.name, self.checkpoint, span, check).await
    }

    /// Fetches what stands behind the chunks: table and footer.
    ///
    /// # Errors
    /// `Damaged` when they are not what was shipped, twice.
    pub async fn tail(&self) -> Result<Bytes> {
        let (start, end) = (self.table.end(), self.table.end() + tail_bytes(self.table.bytes()));
        let check = |tail: Bytes| ParcelTable::read(&tail, self.table.run(), self.table.bytes(), end).map(|_| tail);
        fetch_checked(&self.repo, &self.name, self.checkpoint, start..end, check).await
    }

    /// Fetches some chunks; gives the run's bytes.
    ///
    /// # Errors
    /// `Damaged` when they are not what was shipped, twice.
    pub async fn chunks(&self, chunks: Range<u64>) -> Result<Vec<u8>> {
        self.decoded(chunks).await.map(|(bytes, _)| bytes)
    }

    /// Fetches some chunks; gives the run's bytes, and the parcel's.
    async fn decoded(&self, chunks: Range<u64>) -> Result<(Vec<u8>, Bytes)> {
        let span = self.table.span(chunks.clone());
        let decode = |stored: Bytes| Ok((self.table.decode_all(chunks.clone(), &stored)?, stored));
        fetch_checked(&self.repo, &self.name, self.checkpoint, span, decode).await
    }

    /// Reads all of it, and compares the digests of the run and of the parcel with those of `run`, for which it was opened.
    ///
    /// # Errors
    /// `Damaged` when a byte is not what was shipped.
    pub async fn verify(&self, run: &ClaimedRun) -> Result<()> {
        let (mut raw, mut parcel) = (blake3::Hasher::new(), blake3::Hasher::new());
        let count = chunk_count(run.bytes);
        for first in (0..count).step_by(CHUNKS_AT_ONCE as usize) {
            let (bytes, stored) = self.decoded(first..count.min(first + CHUNKS_AT_ONCE)).await?;
            raw.update(&bytes);
            parcel.update(&stored);
        }
        parcel.update(&self.tail().await?);
        for (what, hasher, expected) in [("run", raw, run.digest), ("parcel", parcel, run.parcel_digest)] {
            let found = Hex(*hasher.finalize().as_bytes());
            if found != expected {
                let what = format_args!("{what} with digest {found}, expected {expected}");
                return Err(damaged(&self.repo.place(&self.name), None, what));
            }
        }
        Ok(())
    }
}

/// In how many bytes of a parcel chunks of a run usually are stored: as its others, and a quarter, since a run ends with its directory,
/// which is hard to compress.
fn usual_bytes(run: &ClaimedRun, stored_bytes: u64, chunks: &Range<u64>) -> u64 {
    let chunk_bytes = (stored_bytes / chunk_count(run.bytes).max(1)).clamp(4 << 10, CHUNK_BYTES);
    (chunks.end - chunks.start) * chunk_bytes * 5 / 4
}

/// Reads a range and has it checked; what does not pass is read once more.
async fn fetch_checked<T>(
    repo: &Repo,
    name: &ObjectName,
    checkpoint: CheckpointId,
    range: Range<u64>,
    check: impl Fn(Bytes) -> Result<T, ParcelFlaw>,
) -> Result<T> {
    let mut last = None;
    for _ in 0..2 {
        let bytes = repo.read_range(name, range.clone()).await?;
        let bytes = bytes.ok_or_else(|| lost_parcel(repo, name, checkpoint))?;
        match check(bytes) {
            Ok(value) => return Ok(value),
            Err(flaw) => {
                tracing::warn!(object = %repo.place(name), offset = flaw.offset, "{}; it is read once more", flaw.what);
                last = Some(flaw);
            }
        }
    }
    let flaw = last.expect("a check has failed");
    Err(damaged(&repo.place(name), Some(flaw.offset), flaw.what))
}

/// Fetches a whole run of `checkpoint` into the pool, verifies its digest, and gives it its name.
///
/// # Errors
/// Those of the requests and of the disk; `Damaged` when it is not what was shipped. Nothing stays in the pool then.
pub(crate) async fn fetch_run(
    repo: &Repo,
    job: &JobName,
    checkpoint: CheckpointId,
    run: &ClaimedRun,
    pool: &LocalPool,
) -> Result<()> {
    let span = tracing::debug_span!("fetch_run", run = %run.parcel.run, bytes = run.bytes);
    let shipped = ShippedRun::open(repo, job, checkpoint, run).instrument(span.clone()).await?;
    let done = write_run(shipped, run, pool).instrument(span).await;
    if done.is_err() {
        // The next opening of the pool removes it as well.
        pool.abandon(run.parcel.run).ok();
    }
    done
}

async fn write_run(shipped: ShippedRun, run: &ClaimedRun, pool: &LocalPool) -> Result<()> {
    let count = chunk_count(run.bytes);
    let pieces = (0..count).step_by(CHUNKS_AT_ONCE as usize).map(|first| {
        let shipped = shipped.clone();
        async move { shipped.chunks(first..count.min(first + CHUNKS_AT_ONCE)).await }
    });
    let mut pieces = futures_util::stream::iter(pieces).buffered(REQUESTS_AT_ONCE);
    let id = run.parcel.run;
    let mut writing = (pool.create(id)?, blake3::Hasher::new());
    while let Some(piece) = pieces.try_next().await? {
        let write = move || {
            let (mut file, mut hasher) = writing;
            hasher.update(&piece);
            file.append(&piece).map(|()| (file, hasher))
        };
        writing = off_thread(write).await?;
    }
    let (file, hasher) = writing;
    let found = Hex(*hasher.finalize().as_bytes());
    if found != run.digest {
        let what = format_args!("run with digest {found}, expected {}", run.digest);
        return Err(damaged(&shipped.repo.place(&shipped.name), None, what));
    }
    let pool = pool.clone();
    off_thread(move || pool.finish(id, file)).await
}

/// Does what blocks on a thread for that.
pub(crate) async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|cause| Error::new(ErrorKind::Bug, format!("work off the runtime: {cause}")))?
}
