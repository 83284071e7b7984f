//! Opens a store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Store;
use super::env::Env;
use crate::codec::RunId;
use crate::error::{Error, ErrorKind, Result};
use crate::fold::{NoRules, Rules};
use crate::fs::{ReadMode, Source};
use crate::key::{KeyShape, PointKeys};
use crate::options::{Durability, Tuning};

/// Finds the source of a run that was adopted lazily and is not a file of the store.
pub(super) type FindSource = dyn Fn(RunId) -> Option<Arc<dyn Source>>;

/// How a store is opened; the defaults suit a plain map on a local disk.
///
/// ```
/// use bedload_lsm::{Durability, ScannedKeys, Store};
///
/// # let directory = tempfile::tempdir().unwrap();
/// let store = Store::options()
///     .memory(64 << 20)
///     .shape(ScannedKeys)
///     .durability(Durability::Synced)
///     .open(directory.path())?;
/// store.close()?;
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
pub struct StoreOptions {
    pub(super) env: Option<Env>,
    pub(super) memory: Option<usize>,
    pub(super) shape: Arc<dyn KeyShape>,
    pub(super) rules: Arc<dyn Rules>,
    pub(super) tuning: Tuning,
    pub(super) durability: Durability,
    pub(super) read_mode: ReadMode,
    pub(super) more_directories: Vec<PathBuf>,
    pub(super) allow_remote: bool,
    pub(super) sources: Option<Box<FindSource>>,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            env: None,
            memory: None,
            shape: Arc::new(PointKeys),
            rules: Arc::new(NoRules),
            tuning: Tuning::default(),
            durability: Durability::default(),
            read_mode: ReadMode::default(),
            more_directories: Vec::new(),
            allow_remote: false,
            sources: None,
        }
    }
}

impl StoreOptions {
    /// Shares what `env` holds with other stores. Without it the store gets an environment of its own.
    pub fn env(mut self, env: &Env) -> StoreOptions {
        self.env = Some(env.clone());
        self
    }

    /// Bytes for memtables and block cache (default 256 MiB). Not together with [`StoreOptions::env`], which has the budget.
    pub fn memory(mut self, bytes: usize) -> StoreOptions {
        self.memory = Some(bytes);
        self
    }

    /// The shape of the keys (default [`PointKeys`]).
    pub fn shape(mut self, shape: impl KeyShape) -> StoreOptions {
        self.shape = Arc::new(shape);
        self
    }

    /// The merge rules (default [`NoRules`]).
    pub fn rules(mut self, rules: impl Rules) -> StoreOptions {
        self.rules = Arc::new(rules);
        self
    }

    /// The knobs; see [`Tuning`]. Its `merge_bytes_per_second` not together with [`StoreOptions::env`], which has the rate.
    pub fn tuning(mut self, tuning: Tuning) -> StoreOptions {
        self.tuning = tuning;
        self
    }

    /// What the store itself makes durable (default: nothing; checkpoints do).
    pub fn durability(mut self, durability: Durability) -> StoreOptions {
        self.durability = durability;
        self
    }

    /// How runs are read (default: memory maps).
    pub fn read_mode(mut self, mode: ReadMode) -> StoreOptions {
        self.read_mode = mode;
        self
    }

    /// Another working directory, on another device: runs are spread by free space. The same ones at each open.
    pub fn directory(mut self, directory: impl AsRef<Path>) -> StoreOptions {
        self.more_directories.push(directory.as_ref().to_owned());
        self
    }

    /// Accepts a working directory on a network or FUSE file system, which is refused otherwise: it is slow, and neither its
    /// locks nor its mappings can be relied on.
    pub fn allow_remote_directory(mut self) -> StoreOptions {
        self.allow_remote = true;
        self
    }

    /// Finds the sources of lazily adopted runs that are not files of the store yet.
    pub fn sources(mut self, find: impl Fn(RunId) -> Option<Arc<dyn Source>> + 'static) -> StoreOptions {
        self.sources = Some(Box::new(find));
        self
    }

    /// Opens the store in `directory`, creating both when they do not exist.
    ///
    /// Finds the state of the last flush; what was written behind it, without a [`Store::close`] or a flush since, is gone.
    /// Reads the version and the footer and directory of each run: some ms for a few hundred runs.
    ///
    /// # Errors
    /// `Fenced` when another process (or another store of this one) has the directory; `Fix` for settings out of range, for a
    /// directory on a remote file system, and for a shape other than the store was written with; `Damaged` with the place when
    /// files are not what they were.
    pub fn open(self, directory: impl AsRef<Path>) -> Result<Store> {
        self.tuning.check().map_err(|message| Error::new(ErrorKind::Fix, message))?;
        if self.env.is_some() && self.memory.is_some() {
            let message = "memory is set for the store and by its Env: leave it to the Env";
            return Err(Error::new(ErrorKind::Fix, message));
        }
        if self.env.is_some() && self.tuning.merge_bytes_per_second != 0 {
            let message = "tuning.merge_bytes_per_second is set for the store and by its Env: leave it to the Env";
            return Err(Error::new(ErrorKind::Fix, message));
        }
        Store::open(directory.as_ref(), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_environment_has_is_not_set_for_a_store() {
        let env = Env::builder().threads(0).build().unwrap();
        let tuning = Tuning { merge_bytes_per_second: 1, ..Tuning::default() };
        for options in [Store::options().tuning(tuning), Store::options().memory(1 << 20)] {
            let error = options.env(&env).open("is refused before it is created").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Fix);
            assert!(error.to_string().ends_with("leave it to the Env"), "{error}");
        }
    }
}
