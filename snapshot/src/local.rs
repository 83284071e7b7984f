//! Complete runs on this machine, beside the working state: what was fetched.
//!
//! A file is written under an unfinished name and gets the run's name when its length and digest agree. One process owns a
//! pool; its files are immutable. From any thread.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bedload_lsm::RunId;
use bedload_lsm::fs::{Appender, Fs, SparseFile};

use crate::error::Result;
use crate::manifest::ClaimedRun;

/// Complete runs on this machine. On the device of the working directory, so that a store can link them.
#[derive(Clone, Debug)]
pub struct LocalPool {
    fs: Arc<dyn Fs>,
    directory: PathBuf,
}

impl LocalPool {
    /// Opens the pool in `directory`, creating it when it does not exist; removes what was left unfinished.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(fs: Arc<dyn Fs>, directory: impl AsRef<Path>) -> Result<LocalPool> {
        let directory = directory.as_ref().to_owned();
        fs.create_dir(&directory)?;
        for file in fs.read_dir(&directory)? {
            if file.name.ends_with(".unfinished") {
                fs.remove(&directory.join(&file.name))?;
            }
        }
        Ok(LocalPool { fs, directory })
    }

    /// The file of a run, whether it is there or not.
    pub fn path(&self, run: RunId) -> PathBuf {
        self.directory.join(run.file_name())
    }

    /// Whether the run's file is here, with its length.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn holds(&self, run: &ClaimedRun) -> Result<bool> {
        let name = run.parcel.run.file_name();
        Ok(self.fs.read_dir(&self.directory)?.iter().any(|file| file.name == name && file.bytes == run.bytes))
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

    /// Removes a run's file; what a store has linked stays there.
    pub(crate) fn remove(&self, run: RunId) -> Result<()> {
        self.fs.remove(&self.path(run))
    }

    /// The file of a run that is not complete.
    pub(crate) fn unfinished(&self, run: RunId) -> PathBuf {
        self.directory.join(format!("{run}.unfinished"))
    }
}
