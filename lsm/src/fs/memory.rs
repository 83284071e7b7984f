//! A disk in memory that knows what a power loss would leave of it.
//!
//! It fails like the real disk (name taken, directory missing, no space) and keeps apart what a process sees and what is
//! durable: bytes become durable by [`Appender::sync_data`], names by [`Fs::sync_dir`], and new directories at once, as on the
//! real one. [`MemoryFs::crash_image`] draws a disk as a power loss may leave it; [`MemoryFs::before_mutations`] tells a test
//! every moment where the outcome may change.
//!
//! ```text
//! store --> MemoryFs --(before each change)--> hook: crash_image() --> another MemoryFs --> open a store, compare
//! ```
//!
//! Paths are absolute; relative ones start at the root, and `..` is refused.

mod crash;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use rustix::io::Errno;

use self::state::{Disk, InodeId};
use super::checks::{Abandoned, check_range, file_name, lock_is_held};
use super::{Appender, FileInfo, Fs, FsKind, FsLock, ReadMode, Source, Space, SparseFile};
use crate::error::{Error, Result};

/// The size of a disk without a limit.
const UNLIMITED_BYTES: u64 = 1 << 50;

type Hook = Box<dyn FnMut(&MemoryFs, &str) + Send>;

/// A disk in memory; a clone is another handle on the same disk.
///
/// From any thread. One lock on the disk, held for one operation and never while the hook runs; the hook has a lock of its own,
/// taken before, so that it runs once at a time.
///
/// ```
/// use bedload_lsm::fs::{Fs, MemoryFs};
/// use std::path::Path;
///
/// let disk = MemoryFs::new();
/// disk.create_new(Path::new("/a"))?.finish()?;
/// let mut always_old = || 1;
/// assert!(disk.crash_image(&mut always_old).paths().is_empty()); // nobody called sync_dir
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone)]
pub struct MemoryFs {
    shared: Arc<Shared>,
}

struct Shared {
    disk: Mutex<Disk>,
    hook: Mutex<Option<Hook>>,
    /// Who runs the hook: its own changes are not told to it.
    in_hook: Mutex<Option<ThreadId>>,
}

impl Default for MemoryFs {
    fn default() -> MemoryFs {
        MemoryFs::new()
    }
}

impl MemoryFs {
    /// Makes an empty disk with a root directory and no limit.
    pub fn new() -> MemoryFs {
        MemoryFs::from_disk(Disk::new())
    }

    /// Makes an empty disk with room for `bytes`.
    pub fn with_capacity(bytes: u64) -> MemoryFs {
        let disk = MemoryFs::new();
        disk.set_free_bytes(Some(bytes));
        disk
    }

    fn from_disk(disk: Disk) -> MemoryFs {
        MemoryFs {
            shared: Arc::new(Shared { disk: Mutex::new(disk), hook: Mutex::new(None), in_hook: Mutex::new(None) }),
        }
    }

    /// Sets what can still be appended; `None` lifts the limit. At 0 no file can be created either.
    ///
    /// An append that does not fit writes what fits and fails with `Full`. A file gives its bytes back when its last name is
    /// removed and nobody writes it.
    pub fn set_free_bytes(&self, free: Option<u64>) {
        self.disk().free_bytes = free;
    }

    /// Sets what [`Fs::kind`] answers; `Local` at first.
    pub fn set_kind(&self, kind: FsKind) {
        self.disk().kind = kind;
    }

    /// Calls `hook` before every change, with what is about to be done (the words of `FaultFs::log`, but each append on its own);
    /// `None` ends it.
    ///
    /// The hook may use the disk; its own changes are not told to it. It must not set another hook.
    pub fn before_mutations(&self, hook: Option<Hook>) {
        *lock(&self.shared.hook) = hook;
    }

    /// Draws a disk as a power loss at this moment may leave it. The same numbers give the same image.
    ///
    /// Synced bytes and synced names survive; the rest is old, new, cut, zero or garbage. In the image everything is durable
    /// and no lock held.
    pub fn crash_image(&self, random: &mut dyn FnMut() -> u64) -> MemoryFs {
        MemoryFs::from_disk(crash::image(&self.disk(), random))
    }

    /// Copies the disk as a killed process leaves it: all that was done is there, no lock is held, and what was not durable
    /// still is not.
    pub fn process_crash_image(&self) -> MemoryFs {
        MemoryFs::from_disk(crash::process_image(&self.disk()))
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// `Fix` when there is none.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Vec<u8>> {
        let path = path.as_ref();
        let mut disk = self.disk();
        let inode = disk.find(path).map_err(|errno| failed("read", path, errno))?;
        Ok(disk.inode(inode).content.to_vec())
    }

    /// Replaces the bytes of a file, or makes it, as if it had always been so: all is durable, under each of the file's names.
    /// Sources that are open keep what they had. The hook is not called.
    ///
    /// # Errors
    /// `Fix` when the directory is missing or the path is one.
    pub fn write(&self, path: impl AsRef<Path>, bytes: impl Into<Vec<u8>>) -> Result<()> {
        let path = path.as_ref();
        let failed = |errno| failed("write", path, errno);
        let mut disk = self.disk();
        let inode = match disk.find(path) {
            Err(Errno::NOENT) => disk.create(path),
            found => found,
        }
        .map_err(failed)?;
        disk.replace(inode, bytes.into());
        let inode = disk.inode(inode);
        inode.synced_bytes = inode.content.len();
        disk.settle(path).map_err(failed)
    }

    /// All files, in the order of their paths.
    pub fn paths(&self) -> Vec<PathBuf> {
        let disk = self.disk();
        let files = disk.directories.iter().flat_map(|(path, at)| at.entries.keys().map(move |name| path.join(name)));
        let mut paths: Vec<PathBuf> = files.collect();
        paths.sort();
        paths
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        lock(&self.shared.disk)
    }

    /// Tells the hook what is about to be done, without a lock on the disk.
    fn before(&self, operation: impl FnOnce() -> String) {
        let this_thread = std::thread::current().id();
        if *lock(&self.shared.in_hook) == Some(this_thread) {
            return;
        }
        let mut hook = lock(&self.shared.hook);
        if let Some(hook) = hook.as_mut() {
            *lock(&self.shared.in_hook) = Some(this_thread);
            hook(self, &operation());
            *lock(&self.shared.in_hook) = None;
        }
    }
}

impl fmt::Debug for MemoryFs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("MemoryFs").field(&self.paths()).finish()
    }
}

impl Fs for MemoryFs {
    fn create_new(&self, path: &Path) -> Result<Box<dyn Appender>> {
        self.before(|| format!("create {}", file_name(path)));
        let mut disk = self.disk();
        if disk.free_bytes == Some(0) {
            return Err(failed("create", path, Errno::NOSPC));
        }
        let inode = disk.create(path).map_err(|errno| failed("create", path, errno))?;
        disk.inode(inode).writers += 1;
        Ok(Box::new(MemoryAppender { fs: self.clone(), inode, path: path.to_owned(), abandoned: Abandoned::default() }))
    }

    fn create_sparse(&self, path: &Path, bytes: u64) -> Result<Arc<dyn SparseFile>> {
        self.before(|| format!("create {}", file_name(path)));
        let failed = |errno| failed("create", path, errno);
        let mut disk = self.disk();
        let inode = disk.create(path).map_err(failed)?;
        disk.inode(inode).writers += 1;
        let file = MemoryAppender { fs: self.clone(), inode, path: path.to_owned(), abandoned: Abandoned::default() };
        // Room is taken at once: this disk has no holes.
        let length = usize::try_from(bytes).map_err(|_| failed(Errno::NOSPC))?;
        disk.append(inode, &vec![0; length]).map_err(failed)?;
        Ok(Arc::new(MemorySparseFile { file }))
    }

    fn open_sparse(&self, path: &Path) -> Result<Arc<dyn SparseFile>> {
        let mut disk = self.disk();
        let inode = disk.find(path).map_err(|errno| failed("open", path, errno))?;
        disk.inode(inode).writers += 1;
        let file = MemoryAppender { fs: self.clone(), inode, path: path.to_owned(), abandoned: Abandoned::default() };
        Ok(Arc::new(MemorySparseFile { file }))
    }

    fn open(&self, path: &Path, mode: ReadMode) -> Result<Arc<dyn Source>> {
        let mut disk = self.disk();
        let inode = disk.find(path).map_err(|errno| failed("open", path, errno))?;
        let content = Arc::clone(&disk.inode(inode).content);
        Ok(Arc::new(MemorySource { content, mapped: mode == ReadMode::Mmap, path: path.to_owned() }))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        self.before(|| format!("link {} {}", file_name(from), file_name(to)));
        self.disk().link(from, to).map_err(|errno| failed("link", to, errno))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.before(|| format!("rename {} {}", file_name(from), file_name(to)));
        self.disk().rename(from, to).map_err(|errno| failed("rename", from, errno))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.before(|| format!("remove {}", file_name(path)));
        match self.disk().remove(path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed("remove", path, errno)),
        }
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<FileInfo>> {
        let files = self.disk().list(path).map_err(|errno| failed("list", path, errno))?;
        Ok(files.into_iter().map(|(name, bytes)| FileInfo { name, bytes }).collect())
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        self.before(|| "create_dir .".to_owned());
        self.disk().create_dir(path).map_err(|errno| failed("create directory", path, errno))
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.before(|| "sync_dir .".to_owned());
        self.disk().sync_dir(path).map_err(|errno| failed("sync directory", path, errno))
    }

    fn lock(&self, path: &Path, owner: &str) -> Result<Box<dyn FsLock>> {
        let failed = |errno| failed("lock", path, errno);
        let mut disk = self.disk();
        let inode = match disk.find(path) {
            Err(Errno::NOENT) => disk.create(path),
            found => found,
        }
        .map_err(failed)?;
        if !disk.locked.insert(inode) {
            return Err(lock_is_held(path, &String::from_utf8_lossy(&disk.inode(inode).content)));
        }
        disk.replace(inode, owner.into());
        Ok(Box::new(MemoryLock { fs: self.clone(), inode, path: path.to_owned() }))
    }

    fn space(&self, path: &Path) -> Result<Space> {
        let mut disk = self.disk();
        disk.check_exists(path).map_err(|errno| failed("ask for free space", path, errno))?;
        let used_bytes: u64 =
            disk.inodes.values().filter(|inode| !inode.is_unlinked).map(|inode| inode.content.len() as u64).sum();
        let free_bytes = disk.free_bytes.unwrap_or(UNLIMITED_BYTES);
        Ok(Space { free_bytes, total_bytes: free_bytes.saturating_add(used_bytes) })
    }

    fn kind(&self, path: &Path) -> Result<FsKind> {
        let mut disk = self.disk();
        disk.check_exists(path).map_err(|errno| failed("ask for the kind of file system", path, errno))?;
        Ok(disk.kind.clone())
    }
}

/// A file that is being written.
struct MemoryAppender {
    fs: MemoryFs,
    inode: InodeId,
    path: PathBuf,
    abandoned: Abandoned,
}

impl Appender for MemoryAppender {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.abandoned.check("append", &self.path)?;
        self.fs.before(|| format!("append {} {}", file_name(&self.path), bytes.len()));
        let result = self.fs.disk().append(self.inode, bytes).map_err(|errno| failed("append", &self.path, errno));
        self.abandoned.note(result)
    }

    fn sync_data(&mut self) -> Result<()> {
        self.abandoned.check("sync", &self.path)?;
        self.fs.before(|| format!("sync {}", file_name(&self.path)));
        let mut disk = self.fs.disk();
        let inode = disk.inode(self.inode);
        inode.synced_bytes = inode.content.len();
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.abandoned.check("finish", &self.path)?;
        self.fs.before(|| format!("finish {}", file_name(&self.path)));
        Ok(())
    }
}

impl Drop for MemoryAppender {
    fn drop(&mut self) {
        let mut disk = self.fs.disk();
        disk.inode(self.inode).writers -= 1;
        disk.sweep();
    }
}

/// A file that is filled in any order. After a power loss all of it is in doubt that was not synced since its last change.
struct MemorySparseFile {
    file: MemoryAppender,
}

impl fmt::Debug for MemorySparseFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "MemorySparseFile({})", self.file.path.display())
    }
}

impl SparseFile for MemorySparseFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let path = &self.file.path;
        self.file.fs.before(|| format!("write {} {}", file_name(path), bytes.len()));
        let mut disk = self.file.fs.disk();
        let inode = disk.inode(self.file.inode);
        check_range(path, inode.content.len() as u64, offset, bytes.len())?;
        let start = usize::try_from(offset).expect("an offset inside a vector fits an address");
        Arc::make_mut(&mut inode.content)[start..start + bytes.len()].copy_from_slice(bytes);
        inode.synced_bytes = 0;
        Ok(())
    }

    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> Result<()> {
        let content = Arc::clone(&self.file.fs.disk().inode(self.file.inode).content);
        MemorySource { content, mapped: false, path: self.file.path.clone() }.read_exact_at(into, offset)
    }

    fn sync_data(&self) -> Result<()> {
        self.file.fs.before(|| format!("sync {}", file_name(&self.file.path)));
        let mut disk = self.file.fs.disk();
        let inode = disk.inode(self.file.inode);
        inode.synced_bytes = inode.content.len();
        Ok(())
    }
}

/// The bytes of a file as they were when it was opened.
struct MemorySource {
    content: Arc<Vec<u8>>,
    mapped: bool,
    path: PathBuf,
}

impl fmt::Debug for MemorySource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "MemorySource({}, {} bytes)", self.path.display(), self.content.len())
    }
}

impl Source for MemorySource {
    fn bytes(&self) -> u64 {
        self.content.len() as u64
    }

    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> Result<()> {
        check_range(&self.path, self.bytes(), offset, into.len())?;
        let start = usize::try_from(offset).expect("an offset inside a vector fits an address");
        into.copy_from_slice(&self.content[start..start + into.len()]);
        Ok(())
    }

    fn mapped(&self) -> Option<&[u8]> {
        self.mapped.then_some(self.content.as_slice())
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// Gives the lock back when dropped.
#[derive(Debug)]
struct MemoryLock {
    fs: MemoryFs,
    inode: InodeId,
    path: PathBuf,
}

impl FsLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut disk = self.fs.disk();
        let held = disk.locked.remove(&self.inode);
        assert!(held, "the lock at {} was held until here", self.path.display());
        disk.sweep();
    }
}

fn failed(operation: &str, path: &Path, errno: Errno) -> Error {
    Error::io(operation, path, errno.into())
}

/// A panic in a test's hook must not hide behind a poisoned lock: no operation leaves the disk half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
