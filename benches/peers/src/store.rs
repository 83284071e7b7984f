//! What a stream operator needs of its state: the one face behind which every store is measured.
//!
//! A [`Store`] is an open store; all work happens in *turns* ([`Turn`]) of some thousand operations. A B-tree with transactions
//! keeps one write transaction for the length of a turn, as its developers advise; for the others a turn is nothing
//! but a borrow. Workloads are generic over the store, so calls are resolved when compiling and cost no store a virtual call.
//!
//! Values are lent to closures and not returned, so that a store that can lend its bytes is not charged for a copy, and one
//! that cannot is.
//!
//! Left out on purpose: durability between checkpoints. An operator replays its input after a crash, so every store runs
//! with the weakest durability it offers until it is asked for a checkpoint.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::data::{Key, State};

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where its files go. Exists when the store is opened.
    pub directory: PathBuf,
    /// What it may hold in memory: write buffers and caches together.
    pub memory_bytes: usize,
    /// What it will hold.
    pub state: State,
    /// Which of its set-ups, for a store that has several.
    #[cfg_attr(not(feature = "rocksdb"), expect(dead_code, reason = "only RocksDB has several"))]
    pub variant: u8,
}

impl Setup {
    /// The same for another directory.
    pub fn at(&self, directory: impl Into<PathBuf>) -> Setup {
        Setup { directory: directory.into(), ..self.clone() }
    }
}

/// Operations that a store may commit together. Keys and values are those of [`crate::data`].
pub trait Turn {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Lends the value to `read`; `None` when there is none.
    fn get<T>(&mut self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>>;

    /// Lends the values that there are, with their places among `keys`, by the store's own batched read where it has one.
    fn get_many(&mut self, keys: &[Key], mut read: impl FnMut(usize, &[u8])) -> Result<()> {
        for (place, key) in keys.iter().enumerate() {
            self.get(key, |value| read(place, value))?;
        }
        Ok(())
    }

    /// Reads a value, changes it without changing its length, writes it; false when there is none.
    fn update(&mut self, key: &[u8], change: impl FnOnce(&mut [u8])) -> Result<bool>;

    fn delete(&mut self, key: &[u8]) -> Result<()>;

    /// Adds an element at the end of a list.
    fn append(&mut self, key: &[u8], element: &[u8]) -> Result<()>;

    /// Lends the elements of a list, in their order and in one piece or several, and removes the list.
    fn take_list(&mut self, key: &[u8], read: impl FnMut(&[u8])) -> Result<()>;

    /// Lends every entry whose key starts with `prefix`, in order.
    fn scan_prefix(&mut self, prefix: &[u8], each: impl FnMut(&[u8], &[u8])) -> Result<()>;

    /// Lends the keys of a timer queue below `until`, in order, and removes them. `behind` is where the last call ended: no
    /// key of the queue is smaller.
    fn pop_due(&mut self, queue: &[u8], behind: &[u8], until: &[u8], take: impl FnMut(&[u8])) -> Result<()>;

    /// Lends every entry of the half-open range, in any order.
    fn scan_range(&mut self, start: &[u8], end: Option<&[u8]>, each: impl FnMut(&[u8], &[u8])) -> Result<()>;
}

/// What is left of a checkpoint when the writer may go on: may run on any thread.
pub type Rest<T> = Box<dyn FnOnce() -> Result<T> + Send>;

/// A finished checkpoint.
pub trait Image: Send + 'static {
    /// Bytes that the store itself would ship when the checkpoint before is known, if it can tell better than by new files.
    fn shipped_bytes(&self) -> Option<u64> {
        None
    }
}

/// What a checkpoint sent to where checkpoints are kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shipped {
    /// Bytes sent, as they are sent: compressed, where the store does that.
    pub sent_bytes: u64,
    /// The same before any compression, where the store can tell.
    pub raw_bytes: Option<u64>,
    /// Bytes of all that the checkpoint needs there.
    pub held_bytes: u64,
}

/// A store as a state backend. One thread at a time.
pub trait Store: Sized + 'static {
    type Turn<'a>: Turn
    where
        Self: 'a;
    type Image: Image;

    /// Whether there is anything on disk: without, nothing can be checkpointed or opened again.
    const HAS_FILES: bool = true;
    /// Whether keys have an order: without, there are no prefixes to scan and no first timer.
    const HAS_ORDER: bool = true;
    /// Whether a copy of its directory, made while it is closed, is the same store; where not, each run fills anew.
    const CAN_BE_COPIED: bool = true;

    /// Opens what is in the directory, or an empty store.
    fn open(setup: &Setup) -> Result<Self>;

    /// Runs operations; what a store must do at their end (a commit) is part of it.
    fn turn<T>(&mut self, work: impl FnOnce(&mut Self::Turn<'_>) -> Result<T>) -> Result<T>;

    /// The synchronous part of a checkpoint into the directory `into`, which does not exist yet. All that was written before
    /// belongs to it, and nothing written later.
    fn checkpoint(&mut self, into: &Path) -> Result<Rest<Self::Image>>;

    /// The checkpoint is known to be safe: what was kept only for it can go.
    fn confirm(&mut self, image: &Self::Image) -> Result<()> {
        let _: &Self::Image = image;
        Ok(())
    }

    /// Takes a checkpoint and ships it, as the next one behind those that were shipped before. `None` when this store's checkpoints
    /// are directories whose new files are shipped.
    fn ship(&mut self) -> Result<Option<Shipped>> {
        Ok(None)
    }

    /// Flushes, and waits until background work has come to rest.
    fn settle(&mut self) -> Result<()>;

    fn close(self) -> Result<()>;

    /// Opens a store from a checkpoint, for one half of the key groups ([`crate::data::half_of_groups`]): the other half is
    /// not to be seen in it.
    fn open_half(image: &Self::Image, half: usize, setup: &Setup) -> Result<Self>;

    /// Opens one store from the checkpoints of two halves.
    fn merge(images: &[Self::Image; 2], whole: &Setup) -> Result<Self>;

    /// Whether a file never changes once written: copies of a directory may share it by hard link.
    fn is_immutable(file: &Path) -> bool {
        let _: &Path = file;
        false
    }
}

/// For stores that cannot be checkpointed.
impl Image for () {}

/// For stores whose checkpoint is a directory.
impl Image for PathBuf {}

/// For stores whose checkpoint is a directory to open.
impl Image for (PathBuf, Setup) {}

/// Says that a store has no such thing.
pub fn unsupported<T>(what: &str) -> Result<T> {
    bail!("{what} is not a thing this store does")
}

/// Opens a half by reading a checkpoint and writing its rows into a new store: what is left without better means.
pub fn open_half_by_copying<S: Store>(image: &Setup, half: usize, setup: &Setup) -> Result<S> {
    let (mut source, mut target) = (S::open(image)?, S::open(setup)?);
    copy_half(&mut source, &mut target, half)?;
    source.close()?;
    Ok(target)
}

/// Merges by opening a copy of one half and writing the rows of the other into it.
pub fn merge_by_copying<S: Store>(mut whole: S, other: &Setup, half: usize) -> Result<S> {
    let mut other = S::open(other)?;
    copy_half(&mut other, &mut whole, half)?;
    other.close()?;
    Ok(whole)
}

/// Copies the rows of one half of the key groups.
pub fn copy_half<S: Store>(source: &mut S, target: &mut S, half: usize) -> Result<()> {
    let (start, end) = crate::data::half_of_groups(half);
    source.turn(|from| {
        target.turn(|to| {
            let mut failure = Ok(());
            from.scan_range(&start, end.as_deref(), |key, value| {
                if failure.is_ok() {
                    failure = to.put(key, value);
                }
            })?;
            failure
        })
    })
}
