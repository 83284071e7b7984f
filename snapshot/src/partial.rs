//! The file of a run that arrives in any order. What of it is here is known after a restart too.
//!
//! ```text
//! <run>.partial    the run, with holes
//! <run>.arrived    u64 chunk, u32 CRC-32    of each chunk that was written, in the order of their arrival
//!                  …
//! ```
//!
//! A record is appended when its chunk has been written. Neither file is synced, and nothing depends on which of them a power
//! loss spares: a chunk counts as here at the next start only when its bytes have the CRC of its record, which is seeded with
//! the run's name and the chunk's number. What is left of a cut record, and what makes no sense, counts for nothing. When all
//! chunks are here, the digest of the whole decides; when that does not agree the records are removed, so that the next start
//! fetches all of it anew.
//!
//! Numbers are little-endian. From any thread; one lock, held while records are appended.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bedload_lsm::RunId;
use bedload_lsm::fs::{Appender, SparseFile};

use crate::error::{Error, Result};
use crate::local::{Held, LocalPool};
use crate::manifest::{Digest, Hex};
use crate::parcel::{CHUNK_BYTES, checksum, chunk_count, chunk_range};

const RECORD_BYTES: usize = 12;

/// How often a chunk may have arrived: two restores of one process may fill one file.
const ARRIVALS_MAX: u64 = 8;

/// CRCs of chunks, by chunk.
pub(crate) type Records = BTreeMap<u64, u32>;

/// A run's file that is being filled.
pub(crate) struct PartialFile {
    run: RunId,
    bytes: u64,
    path: PathBuf,
    file: Arc<dyn SparseFile>,
    /// None behind a failure: what arrives then is fetched again after a restart.
    arrived: Mutex<Option<Box<dyn Appender>>>,
    pool: LocalPool,
    _held: Held,
}

impl PartialFile {
    /// Opens the file of a run of `bytes`, which is not complete in `pool`; gives the chunks that are here. Reads those.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn open(pool: &LocalPool, run: RunId, bytes: u64) -> Result<(PartialFile, Vec<u64>)> {
        let held = pool.hold(run);
        // Whoever needs it has seen that it is not whole.
        pool.fs().remove(&pool.path(run))?;
        let (file, records) = match reopen(pool, run, bytes) {
            Ok(Some(found)) => found,
            // What can not be read is fetched again.
            Ok(None) | Err(_) => {
                let path = pool.partial(run);
                pool.fs().remove(&path)?;
                (pool.fs().create_sparse(&path, bytes)?, Records::new())
            }
        };
        let arrived = start_records(pool, run, &records);
        let here = records.into_keys().collect();
        let (path, pool) = (pool.partial(run), pool.clone());
        Ok((PartialFile { run, bytes, path, file, arrived: Mutex::new(arrived), pool, _held: held }, here))
    }

    /// Where it is, for error messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills `into` from `offset` on.
    pub fn read_exact_at(&self, into: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(into, offset)
    }

    /// Puts some chunks into the file; they are here from now on.
    ///
    /// # Errors
    /// Those of the disk; none of the chunks is here then.
    pub fn write(&self, chunks: Range<u64>, bytes: &[u8]) -> Result<()> {
        self.file.write_at(bytes, chunks.start * CHUNK_BYTES)?;
        let pieces = chunks.zip(bytes.chunks(CHUNK_BYTES as usize));
        let records: Vec<u8> =
            pieces.flat_map(|(chunk, piece)| record(chunk, checksum(self.run, chunk, piece))).collect();
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        if arrived.as_mut().is_some_and(|file| file.append(&records).is_err()) {
            *arrived = None;
        }
        Ok(())
    }

    /// Compares the digest of the whole, makes it durable, and gives the file its name.
    ///
    /// # Errors
    /// `Damaged` when it is another one; those of the disk, and whether it is durable can not be found out a second time then.
    pub fn settle(&self, digest: Digest) -> Result<()> {
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; CHUNK_BYTES as usize];
        for chunk in 0..chunk_count(self.bytes) {
            let range = chunk_range(self.bytes, chunk);
            let part = &mut buffer[..(range.end - range.start) as usize];
            self.file.read_exact_at(part, range.start)?;
            hasher.update(part);
        }
        let found = Hex(*hasher.finalize().as_bytes());
        if found != digest {
            self.pool.fs().remove(&self.pool.arrived(self.run))?;
            return Err(Error::damaged(&self.path, 0, format_args!("digest {found}, expected {digest}")));
        }
        self.file.sync_data()?;
        self.pool.settle(self.run, self.bytes)
    }
}

/// The file that an earlier process has left, and of each chunk that is in it its CRC.
fn reopen(pool: &LocalPool, run: RunId, bytes: u64) -> Result<Option<(Arc<dyn SparseFile>, Records)>> {
    let told_max = chunk_count(bytes) * RECORD_BYTES as u64 * ARRIVALS_MAX;
    let Some(told) = pool.read_arrived(run, bytes, told_max)? else { return Ok(None) };
    let file = pool.fs().open_sparse(&pool.partial(run))?;
    let mut here = Records::new();
    let mut buffer = vec![0; CHUNK_BYTES as usize];
    for (chunk, crc) in read_records(&told, chunk_count(bytes)) {
        let range = chunk_range(bytes, chunk);
        let part = &mut buffer[..(range.end - range.start) as usize];
        file.read_exact_at(part, range.start)?;
        if checksum(run, chunk, part) == crc {
            here.insert(chunk, crc);
        }
    }
    Ok(Some((file, here)))
}

/// Begins the records anew, with those of `known`; none when that fails, which costs a later start and nothing else.
fn start_records(pool: &LocalPool, run: RunId, known: &Records) -> Option<Box<dyn Appender>> {
    let (path, unfinished) = (pool.arrived(run), pool.unfinished_arrived(run));
    let start = || {
        pool.fs().remove(&unfinished)?;
        let mut file = pool.fs().create_new(&unfinished)?;
        let records: Vec<u8> = known.iter().flat_map(|(chunk, crc)| record(*chunk, *crc)).collect();
        file.append(&records)?;
        pool.fs().rename(&unfinished, &path)?;
        Ok::<_, Error>(file)
    };
    start().ok()
}

fn record(chunk: u64, crc: u32) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[..8].copy_from_slice(&chunk.to_le_bytes());
    record[8..].copy_from_slice(&crc.to_le_bytes());
    record
}

/// What records tell of a run of `count` chunks; the later one counts. Pure.
pub(crate) fn read_records(told: &[u8], count: u64) -> Records {
    let (records, _) = told.as_chunks::<RECORD_BYTES>();
    let read = |record: &[u8; RECORD_BYTES]| {
        let chunk = u64::from_le_bytes(record[..8].try_into().expect("eight bytes"));
        (chunk, u32::from_le_bytes(record[8..].try_into().expect("four bytes")))
    };
    records.iter().map(read).filter(|(chunk, _)| *chunk < count).collect()
}

#[cfg(test)]
mod tests {
    use bedload_lsm::fs::{Fault, FaultFs, FaultPlan, FaultWhen, MemoryFs};

    use super::*;
    use crate::manifest::digest_of;

    const RUN: RunId = RunId { opening: 7, sequence: 3 };
    const CHUNK: usize = CHUNK_BYTES as usize;

    fn sample() -> Vec<u8> {
        (0..3 * CHUNK + 100).map(|index| ((index * index) >> 7) as u8).collect()
    }

    fn open(disk: &MemoryFs) -> (LocalPool, PartialFile, Vec<u64>) {
        let pool = LocalPool::open(Arc::new(disk.clone()), "/local").unwrap();
        let (file, here) = PartialFile::open(&pool, RUN, sample().len() as u64).unwrap();
        (pool, file, here)
    }

    fn names(disk: &MemoryFs) -> Vec<String> {
        disk.paths().iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn chunks_that_arrived_are_here_after_restarts() {
        let (disk, raw) = (MemoryFs::new(), sample());
        let (_, file, here) = open(&disk);
        assert!(here.is_empty());
        file.write(2..4, &raw[2 * CHUNK..]).unwrap();
        let (_, file, here) = open(&disk);
        assert_eq!(here, [2, 3]);
        file.write(0..1, &raw[..CHUNK]).unwrap();
        let (pool, file, here) = open(&disk);
        assert_eq!(here, [0, 2, 3]);
        file.write(1..2, &raw[CHUNK..2 * CHUNK]).unwrap();
        file.settle(digest_of(&raw)).unwrap();
        assert_eq!(names(&disk), [format!("/local/{RUN}.run")]);
        assert_eq!(disk.read(pool.path(RUN)).unwrap(), raw);
    }

    #[test]
    fn what_the_records_do_not_vouch_for_is_not_here() {
        let (disk, raw) = (MemoryFs::new(), sample());
        let (pool, file, _) = open(&disk);
        file.write(0..4, &raw).unwrap();
        drop(file);
        let (partial, arrived) = (pool.partial(RUN), pool.arrived(RUN));
        let (bytes, records) = (disk.read(&partial).unwrap(), disk.read(&arrived).unwrap());
        for cut in 0..records.len() {
            disk.write(&arrived, &records[..cut]).unwrap();
            assert_eq!(open(&disk).2.len(), cut / RECORD_BYTES);
        }
        for (index, mask) in (0..records.len()).flat_map(|index| [(index, 1), (index, 0x80)]) {
            let mut flipped = records.clone();
            flipped[index] ^= mask;
            disk.write(&arrived, flipped).unwrap();
            // A record that names another chunk costs that one too.
            assert!([2, 3].contains(&open(&disk).2.len()), "byte {index}");
        }
        disk.write(&arrived, &records[..]).unwrap();
        let mut zeros = bytes.clone();
        zeros[CHUNK..2 * CHUNK].fill(0);
        disk.write(&partial, zeros).unwrap();
        assert_eq!(open(&disk).2, [0, 2, 3]);
        // Another length: nothing of it is believed.
        disk.write(&partial, &bytes[..CHUNK]).unwrap();
        disk.write(&arrived, &records[..]).unwrap();
        assert!(open(&disk).2.is_empty());
    }

    #[test]
    fn what_can_not_be_read_is_fetched_again() {
        let (disk, raw) = (MemoryFs::new(), sample());
        let (_, file, _) = open(&disk);
        file.write(0..4, &raw).unwrap();
        let failing = FaultFs::new(Arc::new(disk.clone()));
        let pool = LocalPool::open(Arc::new(failing.clone()), "/local").unwrap();
        // The records can be read, the run can not.
        failing.set_plan(Some(FaultPlan { fault: Fault::ShortRead, when: FaultWhen::Nth(1) }));
        let (file, here) = PartialFile::open(&pool, RUN, raw.len() as u64).unwrap();
        assert_eq!((failing.injected(), here.len()), (1, 0));
        file.write(0..4, &raw).unwrap();
        file.settle(digest_of(&raw)).unwrap();
    }

    /// Else each start would find the same chunks with the same CRCs, and fail at the same digest.
    #[test]
    fn a_wrong_whole_is_fetched_anew() {
        let (disk, raw) = (MemoryFs::new(), sample());
        let (_, file, _) = open(&disk);
        file.write(0..4, &raw).unwrap();
        let error = file.settle(digest_of(b"another run")).unwrap_err();
        assert!(error.to_string().contains(".partial") && error.to_string().contains(", expected "), "{error}");
        assert!(open(&disk).2.is_empty());
    }

    /// The task starts again in its process, while threads of its former start are about to end: both fill one file.
    #[test]
    fn two_restores_may_settle_one_file() {
        let (disk, raw) = (MemoryFs::new(), sample());
        let (_, former, _) = open(&disk);
        former.write(0..3, &raw[..3 * CHUNK]).unwrap();
        let (_, latter, here) = open(&disk);
        assert_eq!(here, [0, 1, 2]);
        former.write(3..4, &raw[3 * CHUNK..]).unwrap();
        former.settle(digest_of(&raw)).unwrap();
        latter.write(3..4, &raw[3 * CHUNK..]).unwrap();
        latter.settle(digest_of(&raw)).unwrap();
        assert_eq!(names(&disk), [format!("/local/{RUN}.run")]);
    }

    #[test]
    fn a_disk_without_room_for_records_fills_the_run_all_the_same() {
        let (disk, raw) = (MemoryFs::new(), sample());
        let (_, file, _) = open(&disk);
        disk.set_free_bytes(Some(5));
        file.write(0..4, &raw).unwrap();
        disk.set_free_bytes(None);
        assert!(open(&disk).2.is_empty(), "what arrived then is fetched again");
        file.settle(digest_of(&raw)).unwrap();
    }
}
