//! Everything the store does on a local disk, behind one object-safe trait.
//!
//! Files are created new, written by append only, and immutable once finished. Making a name durable is an operation of its
//! own ([`Fs::sync_dir`]), so that a test can see it missing.
//!
//! | implementation | what for |
//! |---|---|
//! | [`DiskFs`] | the real disk, read by pread or through memory maps ([`ReadMode`]) |
//! | `MemoryFs` | tests (feature `testing`): keeps unsynced bytes and unsynced directory entries apart, makes crash images |
//! | `FaultFs` | tests (feature `testing`): wraps another, fails or cuts the n-th operation, flips bits, logs what was done |

mod checks;
#[cfg(test)]
mod conformance;
mod disk;
#[cfg(any(test, feature = "testing"))]
mod fault;
mod holder;
#[cfg(any(test, feature = "testing"))]
mod memory;
mod mmap;

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::error::Result;

pub use self::disk::DiskFs;
#[cfg(any(test, feature = "testing"))]
pub use self::fault::{BitFlip, Fault, FaultFs, FaultPlan, FaultWhen};
pub use self::holder::LockInfo;
#[cfg(any(test, feature = "testing"))]
pub use self::memory::MemoryFs;

/// How the bytes of finished files are read.
///
/// ```
/// use bedload_lsm::Store;
/// use bedload_lsm::fs::ReadMode;
///
/// # let directory = tempfile::tempdir().unwrap();
/// // A disk that fails now and then: better an error than the end of the process.
/// let store = Store::options().read_mode(ReadMode::Pread).open(directory.path())?;
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ReadMode {
    /// Through a shared memory map: no copy, no system call. Nobody may change the files of a store while it is open: not the
    /// same user by another program, not root. A file that is cut short behind the store's back, or a disk error, ends the
    /// process (SIGBUS); its state comes back from the last checkpoint.
    #[default]
    Mmap,
    /// By positioned reads into the block cache: disk errors are errors.
    Pread,
}

/// A local file system. Errors name the path and the operation.
///
/// ```
/// use bedload_lsm::fs::{DiskFs, Fs, ReadMode};
///
/// # let directory = tempfile::tempdir().unwrap();
/// /// Publishes a file as the store does: its bytes, then its name.
/// fn publish(fs: &dyn Fs, directory: &std::path::Path, bytes: &[u8]) -> bedload_lsm::Result<()> {
///     let (unfinished, name) = (directory.join("plan.new"), directory.join("plan"));
///     let mut file = fs.create_new(&unfinished)?;
///     file.append(bytes)?;
///     file.sync_data()?;
///     file.finish()?;
///     fs.rename(&unfinished, &name)?;
///     fs.sync_dir(directory)
/// }
///
/// publish(&DiskFs, directory.path(), b"90 gates")?;
/// let source = DiskFs.open(&directory.path().join("plan"), ReadMode::Pread)?;
/// let mut gates = [0; 2];
/// source.read_exact_at(&mut gates, 0)?;
/// assert_eq!((&gates, source.bytes()), (b"90", 8));
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
pub trait Fs: Send + Sync + fmt::Debug {
    /// Creates a file (mode 0600) that must not exist yet.
    ///
    /// # Errors
    /// `Fix` when the name is taken, `Full` when the disk is.
    fn create_new(&self, path: &Path) -> Result<Box<dyn Appender>>;

    /// Creates a file (mode 0600) of `bytes` zeros that is filled in any order, and takes room only for what was. It must not
    /// exist yet.
    ///
    /// # Errors
    /// `Fix` when the name is taken, `Full` when the disk is.
    fn create_sparse(&self, path: &Path, bytes: u64) -> Result<Arc<dyn SparseFile>>;

    /// Opens a file that [`Fs::create_sparse`] has made, to go on filling it. Follows no symbolic link.
    ///
    /// # Errors
    /// `Fix` when there is none.
    fn open_sparse(&self, path: &Path) -> Result<Arc<dyn SparseFile>>;

    /// Opens a finished file for reading. Follows no symbolic link.
    fn open(&self, path: &Path, mode: ReadMode) -> Result<Arc<dyn Source>>;

    /// Gives a finished file a second name that must not exist yet, on the same device.
    fn hard_link(&self, from: &Path, to: &Path) -> Result<()>;

    /// Renames a file, replacing what has the name `to`.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes a file's name; success when there is none.
    fn remove(&self, path: &Path) -> Result<()>;

    /// The files of a directory, without its subdirectories, in the order of their names.
    fn read_dir(&self, path: &Path) -> Result<Vec<FileInfo>>;

    /// How long a file is; `None` when there is none of this name, in a directory that exists. A default lists the directory: who has many
    /// files to ask for needs a better one.
    fn file_bytes(&self, path: &Path) -> Result<Option<u64>> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let files = self.read_dir(path.parent().unwrap_or(Path::new("")))?;
        Ok(files.into_iter().find(|file| file.name == name).map(|file| file.bytes))
    }

    /// Creates a directory and its missing parents, all with mode 0700 whatever the umask; success when it exists. One that
    /// exists keeps the mode it has, also when others may enter it: what keeps them from the store's files then is the mode
    /// 0600 of each. The new directories are durable (not so the names that are put into them).
    fn create_dir(&self, path: &Path) -> Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> Result<()>;

    /// Takes the lock file at `path` and writes `owner` into it; gives it back when the guard is dropped or the process dies.
    ///
    /// # Errors
    /// `Fenced` when somebody holds it, also this very process; the message quotes what the holder wrote.
    fn lock(&self, path: &Path, owner: &str) -> Result<Box<dyn FsLock>>;

    /// Looks at the lock file at `path` without taking it; none when there is no such file. Whether it is held is unknown to a file
    /// system that cannot see that.
    ///
    /// # Errors
    /// Those of the disk.
    fn look_at_lock(&self, path: &Path) -> Result<Option<LockInfo>> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let is_there = self.read_dir(parent)?.iter().any(|file| path.file_name() == Some(file.name.as_ref()));
        Ok(is_there.then(LockInfo::default))
    }

    /// Room on the device that holds `path`.
    fn space(&self, path: &Path) -> Result<Space>;

    /// What kind of file system holds `path`.
    fn kind(&self, path: &Path) -> Result<FsKind>;
}

/// A file while it is written.
///
/// After its first error it is abandoned: every further call fails with `Closed` and does nothing.
///
/// See [`Fs`] for an example.
pub trait Appender: Send {
    /// Appends all of `bytes`. After an error the file must be abandoned: part of them may be there.
    fn append(&mut self, bytes: &[u8]) -> Result<()>;

    /// Makes all that was appended durable (not the file's name). After an error the file must be abandoned.
    fn sync_data(&mut self) -> Result<()>;

    /// Closes the file; it is immutable from here on.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// A file that is filled in any order, and read meanwhile: what arrives from elsewhere piece by piece.
///
/// ```
/// use bedload_lsm::fs::{DiskFs, Fs};
///
/// # let directory = tempfile::tempdir().unwrap();
/// let file = DiskFs.create_sparse(&directory.path().join("plan"), 8)?;
/// file.write_at(b"gates", 3)?;
/// let mut bytes = [0; 8];
/// file.read_exact_at(&mut bytes, 0)?;
/// assert_eq!(&bytes, b"\0\0\0gates");
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
pub trait SparseFile: Send + Sync + fmt::Debug {
    /// Puts `bytes` at `offset`; they must lie inside the file.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()>;

    /// Fills `into` from `offset` on; what was not written is zero.
    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> Result<()>;

    /// Makes all that was written durable (not the file's name). After an error the file must be abandoned.
    fn sync_data(&self) -> Result<()>;
}

/// The bytes of a finished file, wherever they are.
///
/// A local file is complete. The run of a lazy restore is not: it is fetched as [`Source::ensure`] asks for it.
///
/// The run of a lazy restore, fetched as a whole at the first touch (a real one keeps what it has fetched piece by piece):
///
/// ```
/// use std::ops::Range;
/// use std::path::{Path, PathBuf};
/// use std::sync::{Arc, OnceLock};
/// use bedload_lsm::fs::Source;
/// use bedload_lsm::{AdoptedRun, AdoptedSource, AdoptedStack, Error, KeyRange, Result, Store};
///
/// # let directory = tempfile::tempdir().unwrap();
/// #[derive(Debug)]
/// struct Remote {
///     path: PathBuf,
///     bytes: u64,
///     fetched: OnceLock<Vec<u8>>,
/// }
///
/// impl Source for Remote {
///     fn bytes(&self) -> u64 {
///         self.bytes
///     }
///
///     fn ensure(&self, _range: Range<u64>) -> Result<()> {
///         if self.fetched.get().is_none() {
///             let bytes = std::fs::read(&self.path).map_err(|cause| Error::io("fetch", &self.path, cause))?;
///             self.fetched.get_or_init(|| bytes);
///         }
///         Ok(())
///     }
///
///     fn read_exact_at(&self, into: &mut [u8], offset: u64) -> Result<()> {
///         let fetched = self.fetched.get().map_or(&[][..], |bytes| bytes);
///         let wanted = fetched.get(offset as usize..).and_then(|rest| rest.get(..into.len()));
///         let wanted = wanted.ok_or_else(|| Error::damaged(&self.path, offset, "shorter than it was"))?;
///         into.copy_from_slice(wanted);
///         Ok(())
///     }
///
///     fn is_complete(&self) -> bool {
///         self.fetched.get().is_some()
///     }
///
///     fn path(&self) -> &Path {
///         &self.path
///     }
/// }
///
/// let mut old = Store::options().open(directory.path().join("old"))?;
/// old.put(b"ely", b"Ely")?;
/// let frozen = old.freeze()?.wait()?;
/// let run = frozen.tiles().next().expect("tiles cover every key").slices[0].run.clone();
///
/// let path = run.path().expect("it is a file of the old store").to_owned();
/// let remote = Arc::new(Remote { path, bytes: run.bytes(), fetched: OnceLock::new() });
/// let source = AdoptedSource::Lazy(remote.clone());
/// let adopted = AdoptedRun { id: run.id(), bytes: run.bytes(), digest: *run.digest(), source };
/// let stack = AdoptedStack { range: KeyRange::all(), runs: vec![adopted] };
/// let mut new = Store::options().open(directory.path().join("new"))?;
/// new.adopt(&[stack], frozen.clocks())?;
/// assert_eq!(new.get(b"ely")?.as_deref(), Some(&b"Ely"[..]));
/// new.close()?;
///
/// // Until a merge has rewritten it, a later open must be given the source again.
/// let id = run.id();
/// let find = move |wanted| (wanted == id).then(|| remote.clone() as Arc<dyn Source>);
/// let new = Store::options().sources(find).open(directory.path().join("new"))?;
/// assert!(new.get(b"ely")?.is_some());
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
pub trait Source: Send + Sync + fmt::Debug {
    /// The length of the whole file, in bytes.
    fn bytes(&self) -> u64;

    /// Fills `into` from `offset` on.
    ///
    /// # Errors
    /// `Damaged` when the file ends before that.
    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> Result<()>;

    /// The whole file as memory, where it is mapped.
    fn mapped(&self) -> Option<&[u8]> {
        None
    }

    /// Blocks until the bytes of `range` are here. Costs one atomic test once the file is complete.
    fn ensure(&self, range: Range<u64>) -> Result<()> {
        let _: Range<u64> = range;
        Ok(())
    }

    /// Says that the bytes of `range` will be read soon: those that must come from the disk come together, while the caller
    /// goes on. Does nothing where that brings nothing.
    fn will_need(&self, range: Range<u64>) {
        let _: Range<u64> = range;
    }

    /// Whether every byte is here: background work takes such files first.
    fn is_complete(&self) -> bool {
        true
    }

    /// Where the bytes are, for error messages.
    fn path(&self) -> &Path;
}

/// A held lock.
///
/// ```
/// use bedload_lsm::ErrorKind;
/// use bedload_lsm::fs::{DiskFs, Fs};
///
/// # let directory = tempfile::tempdir().unwrap();
/// let path = directory.path().join("LOCK");
/// let held = DiskFs.lock(&path, "process 1")?;
/// let error = DiskFs.lock(&path, "process 2").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Fenced);
/// drop(held); // gives it back
/// DiskFs.lock(&path, "process 2")?;
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
pub trait FsLock: Send + Sync + fmt::Debug {}

/// A file of a directory.
///
/// ```
/// use bedload_lsm::Store;
/// use bedload_lsm::fs::{DiskFs, Fs};
///
/// # let directory = tempfile::tempdir().unwrap();
/// Store::options().open(directory.path())?.close()?;
/// let files = DiskFs.read_dir(directory.path())?;
/// let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
/// assert_eq!(names, ["LOCK", "VERSION"]);
/// assert!(files.iter().all(|file| file.bytes > 0));
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Its name in the directory. Names that are not UTF-8 are left out of listings.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// Room on a device.
///
/// ```
/// use bedload_lsm::fs::{DiskFs, Fs};
///
/// # let directory = tempfile::tempdir().unwrap();
/// let space = DiskFs.space(directory.path())?;
/// if space.free_bytes < space.total_bytes / 10 {
///     println!("less than a tenth of the disk is free");
/// }
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What this user can still write.
    pub free_bytes: u64,
    /// The size of the device.
    pub total_bytes: u64,
}

/// A kind of file system, as far as a store cares.
///
/// ```
/// use bedload_lsm::fs::{DiskFs, Fs, FsKind};
///
/// # let directory = tempfile::tempdir().unwrap();
/// match DiskFs.kind(directory.path())? {
///     FsKind::Local => {}
///     FsKind::Doubtful(name) => println!("on {name}: Store::warning tells so"),
///     FsKind::Remote(name) => println!("on {name}: Store::open refuses it unless it is allowed"),
/// }
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FsKind {
    /// A local disk.
    Local,
    /// Reached over a network or through FUSE; the name says which: too slow, and its locks and mappings cannot be relied on.
    Remote(String),
    /// Works, but is slower or smaller than it looks (tmpfs, overlay).
    Doubtful(String),
}
