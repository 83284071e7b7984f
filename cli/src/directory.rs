//! The directory of a worker, as commands use it while no worker runs there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bedload::{Error, ErrorKind, Result};
use bedload_lsm::fs::{DiskFs, Fs, FsLock};
use bedload_snapshot::LocalPool;

/// Who holds the lock, for whoever comes second.
const OWNER: &str = "bedload, the command";

/// A worker's directory that this process has, as a worker has it.
pub struct Directory {
    path: PathBuf,
    pool: LocalPool,
    _lock: Box<dyn FsLock>,
}

impl Directory {
    /// Takes it, creating it when it does not exist.
    ///
    /// # Errors
    /// `Fenced` when a worker runs there; those of the file system.
    pub fn take(path: &Path) -> Result<Directory> {
        DiskFs.create_dir(path)?;
        let lock = DiskFs.lock(&path.join("LOCK"), OWNER)?;
        let pool = LocalPool::open(Arc::new(DiskFs), path.join("local"))?;
        Ok(Directory { path: path.to_owned(), pool, _lock: lock })
    }

    /// What a worker has left in a directory, to be looked at: nothing there is changed. `None` when there is nothing.
    ///
    /// # Errors
    /// `Fenced` when a worker runs there; those of the file system.
    pub fn look(path: &Path) -> Result<Option<LocalPool>> {
        let local = path.join("local");
        if !local.is_dir() {
            return Ok(None);
        }
        if DiskFs.look_at_lock(&path.join("LOCK"))?.is_some_and(|lock| lock.is_held == Some(true)) {
            // Its own error tells who that is; nobody else gets the lock.
            DiskFs.lock(&path.join("LOCK"), OWNER)?;
        }
        Ok(Some(LocalPool::look(Arc::new(DiskFs), local)))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Empties the folder of working state, as a worker does that starts; gives where it is.
    ///
    /// # Errors
    /// `Fix` when it holds something and no lock of a store, its first file: it is somebody else's. Those of the file system.
    pub fn empty_state(&self) -> Result<PathBuf> {
        let state = self.path.join("state");
        DiskFs.create_dir(&state)?;
        let files = DiskFs.read_dir(&state)?;
        if !files.is_empty() && files.iter().all(|file| file.name != "LOCK") {
            let message = "a worker's state would be kept here, and no worker has left what is in it: give a directory of its own";
            return Err(Error::at(ErrorKind::Fix, state, None, message));
        }
        for file in files {
            DiskFs.remove(&state.join(&file.name))?;
        }
        Ok(state)
    }

    /// The runs and copies of checkpoints in it.
    pub fn pool(&self) -> &LocalPool {
        &self.pool
    }
}
