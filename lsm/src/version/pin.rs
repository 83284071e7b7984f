//! Keeps the files of runs for as long as anything can reach them, and then deletes them: the only place that does.
//!
//! Whoever needs a run holds an `Arc<RunFile>`: versions, views, frozen checkpoints, unreleased deltas, running merges.
//! [`Pins`] holds one of its own for every file in the directory. A run that nobody else holds can be reached by nobody any
//! more, because new references are only ever cloned from existing ones (or under the lock of `Pins`); [`Pins::collect`] deletes its
//! file.
//!
//! Thread rule: any thread may drop a reference (nothing is deleted there); `collect` runs on workers and at close, after
//! the version that no longer names a run has been made durable.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use crate::codec::RunId;
use crate::error::Result;
use crate::fs::Fs;
use crate::run::Run;
use crate::sync::{Mutex, MutexGuard, seeded_bug};

/// A run and where its file is.
pub(crate) struct RunFile {
    run: Run,
    /// The local file; `None` while the run is read from a foreign source.
    pub path: Option<PathBuf>,
    /// BLAKE3 of the whole file.
    pub digest: [u8; 32],
}

impl RunFile {
    /// A run with its place.
    pub fn new(run: Run, path: Option<PathBuf>, digest: [u8; 32]) -> RunFile {
        RunFile { run, path, digest }
    }
}

impl Deref for RunFile {
    type Target = Run;

    fn deref(&self) -> &Run {
        &self.run
    }
}

impl fmt::Debug for RunFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.run.id(), out)
    }
}

/// Every run whose file this store owns.
#[derive(Default)]
pub(crate) struct Pins {
    files: Mutex<BTreeMap<RunId, Arc<RunFile>>>,
}

impl Pins {
    /// Takes over the deletion of a run's file. Before anything else can hold it.
    pub fn register(&self, run: &Arc<RunFile>) {
        let before = self.lock().insert(run.id(), Arc::clone(run));
        assert!(before.is_none(), "names of runs are never reused");
    }

    /// Deletes the file of every run that nobody else holds.
    ///
    /// # Errors
    /// The first that occurred; the run concerned is tried again at the next call.
    pub fn collect(&self, fs: &dyn Fs) -> Result<usize> {
        let mut files = self.lock();
        // Ours is one; with the seeded bug, another holder is overlooked.
        let holders = 1 + usize::from(seeded_bug());
        let unreachable: Vec<RunId> =
            files.iter().filter(|(_, run)| Arc::strong_count(run) <= holders).map(|(id, _)| *id).collect();
        let mut deleted = 0;
        for id in unreachable {
            let run = files.remove(&id).expect("listed just above, under the same lock");
            if let Some(path) = &run.path
                && let Err(error) = fs.remove(path)
            {
                files.insert(id, run);
                return Err(error);
            }
            deleted += 1;
        }
        Ok(deleted)
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.lock().values().map(|run| run.bytes()).sum()
    }

    /// How many files there are.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// The run of this name, pinned for the caller.
    pub fn find(&self, id: RunId) -> Option<Arc<RunFile>> {
        self.lock().get(&id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RunId, Arc<RunFile>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes what a dead process left in a directory: runs that no version names, and unfinished versions.
pub(crate) fn remove_orphans(fs: &dyn Fs, directory: &Path, is_named: impl Fn(RunId) -> bool) -> Result<usize> {
    let mut removed = 0;
    for file in fs.read_dir(directory)? {
        let orphan_run = RunId::from_file_name(&file.name).is_some_and(|id| !is_named(id));
        if orphan_run || file.name == super::manifest::UNFINISHED_FILE {
            fs.remove(&directory.join(&file.name))?;
            removed += 1;
        }
    }
    Ok(removed)
}
