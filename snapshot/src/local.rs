//! Runs and checkpoints on this machine, beside the working state: what was fetched, and copies of what was shipped.
//!
//! ```text
//! <directory>/<run>.run                        a complete run: fetched, or a hard link to a run of the store
//! <directory>/<run>.unfinished                 a run on its way, from its start to its end
//! <directory>/<run>.partial                    a run that is fetched as it is read, and beside it `.arrived`: see `partial`
//! <directory>/<epoch>-<number>-<claim>.json    a copy of a claim of a checkpoint: which runs, in which stacks
//! ```
//!
//! A file is written under another name and gets the run's name when its length and digest agree. Copies cost links, and the
//! space of runs that the store has merged away since. Nothing is synced: a copy says at which start of the machine it was made,
//! and after another one each run is compared with its digest before it is used. One process owns a pool; its complete files are
//! immutable. From any thread.
//!
//! What an earlier process has fetched stays until a store has adopted what it was restored from, or a checkpoint is confirmed:
//! a restore after a crash fetches only what is missing. A run that is fetched as it is read is *held* meanwhile, and stays.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bedload_lsm::fs::{Appender, Fs, ReadMode};
use bedload_lsm::{RunId, RunRef};

use crate::error::Result;
use crate::manifest::{Digest, Hex, LocalCopy, LocalRun, MANIFEST_BYTES_MAX, read, write};
use crate::names::CheckpointId;

/// Bytes that are hashed at once.
const PIECE_BYTES: usize = 1 << 20;

/// How the name of a file ends that is written from its start to its end.
pub(crate) const UNFINISHED: &str = ".unfinished";

/// How the name of a run's file ends that is filled in any order.
pub(crate) const PARTIAL: &str = ".partial";

/// How the name of the file ends that tells what of that one is here.
pub(crate) const ARRIVED: &str = ".arrived";

/// Runs and checkpoints on this machine. On the device of the working directory, so that a store can link them.
#[derive(Clone, Debug)]
pub struct LocalPool {
    fs: Arc<dyn Fs>,
    directory: PathBuf,
    held: Arc<Mutex<HeldRuns>>,
}

/// How often each run is held.
type HeldRuns = BTreeMap<RunId, usize>;

/// Keeps the files of a run for as long as this lives.
pub(crate) struct Held {
    run: RunId,
    held: Arc<Mutex<HeldRuns>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.get_mut(&self.run).expect("it was counted when this was made");
        *count -= 1;
        if *count == 0 {
            held.remove(&self.run);
        }
    }
}

impl LocalPool {
    /// Opens the pool in `directory`, creating it when it does not exist. What an earlier process has fetched is used again by the
    /// next restore.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(fs: Arc<dyn Fs>, directory: impl AsRef<Path>) -> Result<LocalPool> {
        let directory = directory.as_ref().to_owned();
        fs.create_dir(&directory)?;
        let pool = LocalPool { fs, directory, held: Arc::default() };
        for file in pool.fs.read_dir(&pool.directory)? {
            if file.name.ends_with(UNFINISHED) {
                pool.fs.remove(&pool.directory.join(&file.name))?;
            }
        }
        Ok(pool)
    }

    /// The pool in `directory`, which is there, to be asked what it has: nothing in it is changed.
    pub fn look(fs: Arc<dyn Fs>, directory: impl AsRef<Path>) -> LocalPool {
        LocalPool { fs, directory: directory.as_ref().to_owned(), held: Arc::default() }
    }

    /// The disk that it lies on.
    pub(crate) fn fs(&self) -> &dyn Fs {
        &*self.fs
    }

    /// Keeps the files of a run.
    pub(crate) fn hold(&self, run: RunId) -> Held {
        *self.held_runs().entry(run).or_default() += 1;
        Held { run, held: Arc::clone(&self.held) }
    }

    fn held_runs(&self) -> MutexGuard<'_, HeldRuns> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of a run, whether it is there or not.
    pub fn path(&self, run: RunId) -> PathBuf {
        self.directory.join(run.file_name())
    }

    /// Whether a run's file is here, with its length.
    fn holds(&self, run: &LocalRun) -> Result<bool> {
        self.has(&self.path(run.run.0), run.bytes)
    }

    fn has(&self, path: &Path, bytes: u64) -> Result<bool> {
        Ok(self.fs.file_bytes(path)? == Some(bytes))
    }

    /// Whether a run's file is here, and is what it was: reads all of it.
    pub(crate) fn holds_whole(&self, run: &LocalRun) -> Result<bool> {
        if !self.holds(run)? {
            return Ok(false);
        }
        let source = self.fs.open(&self.path(run.run.0), ReadMode::Pread)?;
        let mut hasher = blake3::Hasher::new();
        let mut piece = vec![0; PIECE_BYTES];
        let mut offset = 0;
        while offset < source.bytes() {
            let length = usize::try_from(source.bytes() - offset).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            source.read_exact_at(&mut piece[..length], offset)?;
            hasher.update(&piece[..length]);
            offset += length as u64;
        }
        Ok(Hex(*hasher.finalize().as_bytes()) == run.digest)
    }

    /// Starts a run's file.
    pub(crate) fn create(&self, run: RunId) -> Result<Box<dyn Appender>> {
        let path = self.unfinished(run);
        self.fs.remove(&path)?;
        self.fs.create_new(&path)
    }

    /// Gives the file that was started its name.
    pub(crate) fn finish(&self, run: RunId, file: Box<dyn Appender>) -> Result<()> {
        file.finish()?;
        self.fs.rename(&self.unfinished(run), &self.path(run))
    }

    /// Gives a file that was filled in any order its name.
    pub(crate) fn settle(&self, run: RunId, bytes: u64) -> Result<()> {
        if let Err(error) = self.fs.rename(&self.partial(run), &self.path(run)) {
            // A restore before this one may have been at it still, on the same file.
            if !self.has(&self.path(run), bytes)? {
                return Err(error);
            }
        }
        self.fs.remove(&self.arrived(run))
    }

    /// What is written down of the chunks of a run of `bytes` that has been fetched in part, in at most `told_max` bytes; `None`
    /// when there is no such file.
    pub(crate) fn read_arrived(&self, run: RunId, bytes: u64, told_max: u64) -> Result<Option<Vec<u8>>> {
        let is_here = self.has(&self.partial(run), bytes)?;
        if is_here { self.read_file(&self.arrived(run), told_max) } else { Ok(None) }
    }

    /// Removes what was started.
    pub(crate) fn abandon(&self, run: RunId) -> Result<()> {
        self.fs.remove(&self.unfinished(run))
    }

    fn unfinished(&self, run: RunId) -> PathBuf {
        self.directory.join(format!("{run}{UNFINISHED}"))
    }

    /// The file of a run that is filled in any order.
    pub(crate) fn partial(&self, run: RunId) -> PathBuf {
        self.directory.join(format!("{run}{PARTIAL}"))
    }

    /// What is known of that file.
    pub(crate) fn arrived(&self, run: RunId) -> PathBuf {
        self.directory.join(format!("{run}{ARRIVED}"))
    }

    /// The same while it is begun anew.
    pub(crate) fn unfinished_arrived(&self, run: RunId) -> PathBuf {
        self.directory.join(format!("{run}{ARRIVED}{UNFINISHED}"))
    }

    /// Links the files of runs into the pool, those that are not in it yet; false when one of them has no file.
    pub(crate) fn link<'a>(&self, runs: impl Iterator<Item = &'a RunRef>) -> Result<bool> {
        let names: BTreeSet<String> = self.fs.read_dir(&self.directory)?.into_iter().map(|file| file.name).collect();
        for run in runs {
            let is_here = names.contains(&run.id().file_name());
            match run.path() {
                Some(path) if !is_here => self.fs.hard_link(path, &self.path(run.id()))?,
                // One that was fetched as it was read is here when all of it has been fetched.
                None if !is_here || !run.source().is_complete() => return Ok(false),
                _ => {}
            }
        }
        Ok(true)
    }

    /// Writes down a copy whose runs are here.
    pub(crate) fn keep(&self, copy: &LocalCopy, nonce: u64) -> Result<()> {
        let path = self.directory.join(copy_name(copy.checkpoint, copy.claim));
        let unfinished = path.with_extension("unfinished");
        self.fs.remove(&unfinished)?;
        let mut file = self.fs.create_new(&unfinished)?;
        file.append(&write(copy, nonce))?;
        file.finish()?;
        self.fs.rename(&unfinished, &path)
    }

    /// The copy of the claim with this digest, if there is one that is whole. `boot` is the present start of the machine: when
    /// the copy is from an earlier one, every run is compared with its digest. Damaged copies are none.
    pub(crate) fn find(&self, checkpoint: CheckpointId, claim: Digest, boot: &str) -> Result<Option<LocalCopy>> {
        let Some(copy) = self.read_copy(&copy_name(checkpoint, claim))? else { return Ok(None) };
        if copy.claim != claim {
            return Ok(None);
        }
        let is_sure = is_sure(&copy, boot);
        for run in &copy.runs {
            let is_here = if is_sure { self.holds(run)? } else { self.holds_whole(run)? };
            if !is_here {
                return Ok(None);
            }
        }
        Ok(Some(copy))
    }

    /// The runs that copies name which were made since `boot`, the present start of the machine: they need not be compared with their
    /// digests.
    pub(crate) fn sure_runs(&self, boot: &str) -> Result<BTreeMap<RunId, LocalRun>> {
        let mut sure = BTreeMap::new();
        for (_, name) in self.copies()? {
            let copy = self.read_copy(&name)?.filter(|copy| is_sure(copy, boot));
            sure.extend(copy.into_iter().flat_map(|copy| copy.runs).map(|run| (run.run.0, run)));
        }
        let bytes: BTreeMap<String, u64> =
            self.fs.read_dir(&self.directory)?.into_iter().map(|file| (file.name, file.bytes)).collect();
        sure.retain(|run, named| bytes.get(&run.file_name()) == Some(&named.bytes));
        Ok(sure)
    }

    /// Forgets all copies but those of `checkpoint`, and runs that they do not name.
    pub(crate) fn keep_only(&self, checkpoint: CheckpointId) -> Result<()> {
        for (other, name) in self.copies()? {
            if other != checkpoint {
                self.fs.remove(&self.directory.join(name))?;
            }
        }
        self.sweep()
    }

    /// Removes runs that no copy names and nobody holds, complete or not; who has opened or linked them keeps them.
    pub(crate) fn sweep(&self) -> Result<()> {
        let mut named = BTreeSet::new();
        for (_, name) in self.copies()? {
            let copy = self.read_copy(&name)?;
            named.extend(copy.into_iter().flat_map(|copy| copy.runs).map(|run| run.run.0));
        }
        for file in self.fs.read_dir(&self.directory)? {
            let partial = file.name.strip_suffix(PARTIAL).or_else(|| file.name.strip_suffix(ARRIVED));
            let partial = partial.and_then(|name| name.parse().ok());
            let whole = RunId::from_file_name(&file.name).filter(|run| !named.contains(run));
            if partial.or(whole).is_some_and(|run| !self.held_runs().contains_key(&run)) {
                self.fs.remove(&self.directory.join(&file.name))?;
            }
        }
        Ok(())
    }

    fn copies(&self) -> Result<Vec<(CheckpointId, String)>> {
        let parse = |name: String| Some((copy_checkpoint(&name)?, name));
        Ok(self.fs.read_dir(&self.directory)?.into_iter().filter_map(|file| parse(file.name)).collect())
    }

    /// Reads a copy; one that is damaged, as after a power loss, is none.
    fn read_copy(&self, name: &str) -> Result<Option<LocalCopy>> {
        let path = self.directory.join(name);
        let bytes = self.read_file(&path, MANIFEST_BYTES_MAX)?;
        Ok(bytes.and_then(|bytes| read(&bytes, &path.to_string_lossy()).ok()))
    }

    /// Reads a file of the pool of at most `bytes_max`; `None` when there is none.
    fn read_file(&self, path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>> {
        if self.fs.file_bytes(path)?.is_none_or(|bytes| bytes > bytes_max) {
            return Ok(None);
        }
        let source = self.fs.open(path, ReadMode::Pread)?;
        let mut bytes = vec![0; usize::try_from(source.bytes()).unwrap_or(0)];
        source.read_exact_at(&mut bytes, 0)?;
        Ok(Some(bytes))
    }
}

/// The file of a copy.
fn copy_name(checkpoint: CheckpointId, claim: Digest) -> String {
    let head: String = claim.0[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{checkpoint}-{head}.json")
}

/// The checkpoint of the copy with this file name; none when it is no copy's.
pub(crate) fn copy_checkpoint(name: &str) -> Option<CheckpointId> {
    let (checkpoint, _) = name.strip_suffix(".json")?.rsplit_once('-')?;
    checkpoint.parse().ok()
}

/// Whether the files of a copy are whole if they are there: they are not synced, and the system keeps them for as long as it runs.
fn is_sure(copy: &LocalCopy, boot: &str) -> bool {
    !boot.is_empty() && copy.boot == boot
}
