//! The directory of a worker, as commands use it while no worker runs there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bedload::Result;
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

    /// Takes it when a worker has been there; `None`, and nothing is created, when none has.
    ///
    /// # Errors
    /// As [`Directory::take`].
    pub fn take_used(path: &Path) -> Result<Option<Directory>> {
        if path.join("LOCK").exists() { Directory::take(path).map(Some) } else { Ok(None) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The runs and copies of checkpoints in it.
    pub fn pool(&self) -> &LocalPool {
        &self.pool
    }
}
