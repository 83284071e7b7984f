//! Runs and checkpoints on this machine, beside the working state: what was fetched, and copies of what was shipped.
//!
//! ```text
//! <directory>/<run>.run                        a complete run: fetched, or a hard link to a run of the store
//! <directory>/<run>.unfinished                 a run on its way
//! <directory>/<epoch>-<number>-<claim>.json    a copy of a claim of a checkpoint: which runs, in which stacks
//! ```
//!
//! A file is written under an unfinished name and gets the run's name when its length and digest agree. Copies cost links, and the
//! space of runs that the store has merged away since. Nothing is synced: a copy says at which start of the machine it was made,
//! and after another one each run is compared with its digest before it is used. One process owns a pool; its files are
//! immutable. From any thread.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bedload_lsm::fs::{Appender, Fs, ReadMode, SparseFile};
use bedload_lsm::{RunId, RunRef};

use crate::error::Result;
use crate::manifest::{Digest, Hex, LocalCopy, LocalRun, MANIFEST_BYTES_MAX, read, write};
use crate::names::CheckpointId;

/// Bytes that are hashed at once.
const PIECE_BYTES: usize = 1 << 20;

/// Runs and checkpoints on this machine. On the device of the working directory, so that a store can link them.
#[derive(Clone, Debug)]
pub struct LocalPool {
    fs: Arc<dyn Fs>,
    directory: PathBuf,
}

impl LocalPool {
    /// Opens the pool in `directory`, creating it when it does not exist; removes what was left unfinished, and runs that no copy
    /// of a checkpoint names.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(fs: Arc<dyn Fs>, directory: impl AsRef<Path>) -> Result<LocalPool> {
        let directory = directory.as_ref().to_owned();
        fs.create_dir(&directory)?;
        let pool = LocalPool { fs, directory };
        for file in pool.fs.read_dir(&pool.directory)? {
            if file.name.ends_with(".unfinished") {
                pool.fs.remove(&pool.directory.join(&file.name))?;
            }
        }
        pool.sweep()?;
        Ok(pool)
    }

    /// The file of a run, whether it is there or not.
    pub fn path(&self, run: RunId) -> PathBuf {
        self.directory.join(run.file_name())
    }

    /// Whether a run's file is here, with its length.
    fn holds(&self, run: &LocalRun) -> Result<bool> {
        let name = run.run.0.file_name();
        Ok(self.fs.read_dir(&self.directory)?.iter().any(|file| file.name == name && file.bytes == run.bytes))
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
        self.settle(run)
    }

    /// Starts a run's file that is filled in any order.
    pub(crate) fn create_sparse(&self, run: RunId, bytes: u64) -> Result<Arc<dyn SparseFile>> {
        let path = self.unfinished(run);
        self.fs.remove(&path)?;
        self.fs.create_sparse(&path, bytes)
    }

    /// Gives a file that was filled its name.
    pub(crate) fn settle(&self, run: RunId) -> Result<()> {
        self.fs.rename(&self.unfinished(run), &self.path(run))
    }

    /// Removes what was started.
    pub(crate) fn abandon(&self, run: RunId) -> Result<()> {
        self.fs.remove(&self.unfinished(run))
    }

    /// The file of a run that is not complete.
    pub(crate) fn unfinished(&self, run: RunId) -> PathBuf {
        self.directory.join(format!("{run}.unfinished"))
    }

    /// Links the files of runs into the pool, those that are not in it yet; false when one of them has no file.
    pub(crate) fn link<'a>(&self, runs: impl Iterator<Item = &'a RunRef>) -> Result<bool> {
        let names: BTreeSet<String> = self.fs.read_dir(&self.directory)?.into_iter().map(|file| file.name).collect();
        for run in runs {
            let Some(path) = run.path() else { return Ok(false) };
            if !names.contains(&run.id().file_name()) {
                self.fs.hard_link(path, &self.path(run.id()))?;
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

    /// Removes runs that no copy names; who has opened or linked them keeps them.
    pub(crate) fn sweep(&self) -> Result<()> {
        let mut named = BTreeSet::new();
        for (_, name) in self.copies()? {
            let copy = self.read_copy(&name)?;
            named.extend(copy.into_iter().flat_map(|copy| copy.runs).map(|run| run.run.0));
        }
        for file in self.fs.read_dir(&self.directory)? {
            let is_stray = RunId::from_file_name(&file.name).is_some_and(|run| !named.contains(&run));
            if is_stray {
                self.fs.remove(&self.directory.join(&file.name))?;
            }
        }
        Ok(())
    }

    fn copies(&self) -> Result<Vec<(CheckpointId, String)>> {
        let parse = |name: String| {
            let (checkpoint, _) = name.strip_suffix(".json")?.rsplit_once('-')?;
            Some((checkpoint.parse().ok()?, name))
        };
        Ok(self.fs.read_dir(&self.directory)?.into_iter().filter_map(|file| parse(file.name)).collect())
    }

    /// Reads a copy; one that is damaged, as after a power loss, is none.
    fn read_copy(&self, name: &str) -> Result<Option<LocalCopy>> {
        let path = self.directory.join(name);
        let files = self.fs.read_dir(&self.directory)?;
        let Some(file) = files.iter().find(|file| file.name == name) else { return Ok(None) };
        if file.bytes > MANIFEST_BYTES_MAX {
            return Ok(None);
        }
        let source = self.fs.open(&path, ReadMode::Pread)?;
        let mut bytes = vec![0; usize::try_from(source.bytes()).unwrap_or(0)];
        source.read_exact_at(&mut bytes, 0)?;
        Ok(read(&bytes, &path.to_string_lossy()).ok())
    }
}

/// The file of a copy.
fn copy_name(checkpoint: CheckpointId, claim: Digest) -> String {
    let head: String = claim.0[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{checkpoint}-{head}.json")
}

/// Whether the files of a copy are whole if they are there: they are not synced, and the system keeps them for as long as it runs.
fn is_sure(copy: &LocalCopy, boot: &str) -> bool {
    !boot.is_empty() && copy.boot == boot
}
