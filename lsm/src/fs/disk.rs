//! The real disk, by the system calls of Linux.
//!
//! | operation | system calls |
//! |---|---|
//! | create | `open(O_CREAT, O_EXCL, O_APPEND, O_NOFOLLOW)`, `fchmod` 0600 |
//! | append, sync | `write`, `fdatasync` |
//! | create sparse | the same without `O_APPEND`, `ftruncate`; then `pwrite` and `pread` |
//! | open sparse | `open(O_NOFOLLOW)`; then `pwrite` and `pread` |
//! | open | `open(O_NOFOLLOW)`, then `mmap` or one `pread` for each read |
//! | create_dir | for each missing one `mkdir`, `chmod` 0700, and `fsync` of its parent |
//! | sync_dir | `fsync` of the directory |
//! | lock | `flock`, which unlike a record lock refuses a second descriptor of the same process too |
//! | look at lock | `read` of the file and of `/proc/locks` |
//!
//! Invariants: * modes are 0600 and 0700 whatever the umask;
//!             * the last component of a file's name is never followed when it is a symbolic link (a directory may be one: an
//!               operator's way to another disk);
//!             * after a failed append or sync the file answers nothing but errors.
//!
//! Closing: `close` has something to tell only where the file system has a flush of its own (NFS, FUSE), and those are refused
//! by default; a local disk has told everything in `fdatasync`. Safe code cannot see the result of `close`, so `finish` does
//! not report it.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::checks::{Abandoned, check_range, lock_is_held};
use super::holder;
use super::mmap::MappedSource;
use super::{Appender, FileInfo, Fs, FsKind, FsLock, LockInfo, ReadMode, Source, Space, SparseFile};
use crate::error::{Error, ErrorKind, Result};

const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;
/// How much of a held lock's text an error quotes.
const OWNER_BYTES_MAX: u64 = 1024;

/// The real disk. From any thread; takes no lock and keeps no state.
///
/// ```
/// use bedload_lsm::fs::{DiskFs, Fs};
///
/// let space = DiskFs.space(&std::env::temp_dir())?;
/// assert!(space.free_bytes <= space.total_bytes);
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFs;

impl Fs for DiskFs {
    fn create_new(&self, path: &Path) -> Result<Box<dyn Appender>> {
        let mut options = OpenOptions::new();
        options.append(true).create_new(true);
        let file = open_private(&mut options, path).map_err(|cause| open_failed("create", path, cause))?;
        Ok(Box::new(DiskAppender { file, path: path.to_owned(), abandoned: Abandoned::default() }))
    }

    fn create_sparse(&self, path: &Path, bytes: u64) -> Result<Arc<dyn SparseFile>> {
        let failed = |cause| open_failed("create", path, cause);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let file = open_private(&mut options, path).map_err(failed)?;
        file.set_len(bytes).map_err(failed)?;
        Ok(Arc::new(DiskSparseFile { file, bytes, path: path.to_owned() }))
    }

    fn open_sparse(&self, path: &Path) -> Result<Arc<dyn SparseFile>> {
        let failed = |cause| open_failed("open", path, cause);
        let file = OpenOptions::new().read(true).write(true).custom_flags(no_follow()).open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        Ok(Arc::new(DiskSparseFile { file, bytes, path: path.to_owned() }))
    }

    fn open(&self, path: &Path, mode: ReadMode) -> Result<Arc<dyn Source>> {
        let failed = |cause| open_failed("open", path, cause);
        let file = OpenOptions::new().read(true).custom_flags(no_follow()).open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(Error::at(ErrorKind::Fix, path, None, "open: not a file; name a file"));
        }
        Ok(match mode {
            ReadMode::Mmap => Arc::new(MappedSource::new(&file, path)?),
            ReadMode::Pread => Arc::new(PreadSource { file, bytes: metadata.len(), path: path.to_owned() }),
        })
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        rustix::fs::link(from, to).map_err(|cause| Error::io("link", to, cause.into()))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        rustix::fs::rename(from, to).map_err(|cause| Error::io("rename", from, cause.into()))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        match rustix::fs::unlink(path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(cause) => Err(Error::io("remove", path, cause.into())),
        }
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<FileInfo>> {
        let failed = |cause| Error::io("list", path, cause);
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            match entry.metadata() {
                Ok(metadata) if metadata.is_file() => files.push(FileInfo { name, bytes: metadata.len() }),
                Ok(_) => {}
                // Removed since the directory was read.
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(cause) => return Err(Error::io("list", entry.path(), cause)),
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    fn file_bytes(&self, path: &Path) -> Result<Option<u64>> {
        match path.symlink_metadata() {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(Error::io("look at", path, cause)),
        }
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        let missing: Vec<&Path> =
            path.ancestors().take_while(|at| !at.as_os_str().is_empty() && !at.is_dir()).collect();
        for directory in missing.into_iter().rev() {
            create_one_dir(directory).map_err(|cause| Error::io("create directory", directory, cause))?;
            self.sync_dir(parent(directory))?;
        }
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        let directory = OpenOptions::new().read(true).custom_flags(OFlags::DIRECTORY.bits().cast_signed()).open(path);
        directory.and_then(|directory| directory.sync_all()).map_err(|cause| Error::io("sync directory", path, cause))
    }

    fn lock(&self, path: &Path, owner: &str) -> Result<Box<dyn FsLock>> {
        let failed = |cause| open_failed("lock", path, cause);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = open_private(&mut options, path).map_err(failed)?;
        match rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut holder = Vec::new();
                // The holder wrote its name when it got the lock.
                let written = file.metadata().and_then(|metadata| metadata.modified()).map_err(failed)?;
                file.take(OWNER_BYTES_MAX).read_to_end(&mut holder).map_err(failed)?;
                let holder = String::from_utf8_lossy(&holder);
                let holder = if holder.trim().is_empty() { "another process" } else { holder.trim() };
                return Err(lock_is_held(path, &format!("{holder} since {}", utc(written))));
            }
            Err(cause) => return Err(failed(cause.into())),
        }
        file.set_len(0).and_then(|()| file.write_all(owner.as_bytes())).map_err(failed)?;
        Ok(Box::new(DiskLock { _file: file }))
    }

    fn look_at_lock(&self, path: &Path) -> Result<Option<LockInfo>> {
        holder::look(path)
    }

    fn space(&self, path: &Path) -> Result<Space> {
        let found = rustix::fs::statvfs(path).map_err(|cause| Error::io("ask for free space", path, cause.into()))?;
        Ok(Space {
            free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
            total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        })
    }

    fn kind(&self, path: &Path) -> Result<FsKind> {
        let found = rustix::fs::statfs(path)
            .map_err(|cause| Error::io("ask for the kind of file system", path, cause.into()))?;
        // The field is signed on some machines; magic numbers have 32 bits on all.
        Ok(kind_of_magic(found.f_type as u32))
    }
}

/// A file that is being written.
struct DiskAppender {
    file: File,
    path: PathBuf,
    abandoned: Abandoned,
}

impl Appender for DiskAppender {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.abandoned.check("append", &self.path)?;
        let result = self.file.write_all(bytes).map_err(|cause| Error::io("append", &self.path, cause));
        self.abandoned.note(result)
    }

    fn sync_data(&mut self) -> Result<()> {
        self.abandoned.check("sync", &self.path)?;
        let result = self.file.sync_data().map_err(|cause| Error::io("sync", &self.path, cause));
        self.abandoned.note(result)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.abandoned.check("finish", &self.path)
    }
}

/// A file that is filled in any order.
#[derive(Debug)]
struct DiskSparseFile {
    file: File,
    bytes: u64,
    path: PathBuf,
}

impl SparseFile for DiskSparseFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        check_range(&self.path, self.bytes, offset, bytes.len())?;
        self.file.write_all_at(bytes, offset).map_err(|cause| Error::io("write", &self.path, cause))
    }

    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> Result<()> {
        check_range(&self.path, self.bytes, offset, into.len())?;
        self.file.read_exact_at(into, offset).map_err(|cause| Error::io("read", &self.path, cause))
    }

    fn sync_data(&self) -> Result<()> {
        self.file.sync_data().map_err(|cause| Error::io("sync", &self.path, cause))
    }
}

/// A finished file, read by `pread`.
#[derive(Debug)]
struct PreadSource {
    file: File,
    bytes: u64,
    path: PathBuf,
}

impl Source for PreadSource {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> Result<()> {
        check_range(&self.path, self.bytes, offset, into.len())?;
        self.file.read_exact_at(into, offset).map_err(|cause| match cause.kind() {
            io::ErrorKind::UnexpectedEof => {
                let expected = self.bytes;
                Error::damaged(
                    &self.path,
                    offset,
                    format_args!("the file was cut while open, expected {expected} bytes"),
                )
            }
            _ => Error::io("read", &self.path, cause),
        })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// Closing the descriptor gives the lock back, as does the end of the process.
#[derive(Debug)]
struct DiskLock {
    _file: File,
}

impl FsLock for DiskLock {}

fn no_follow() -> i32 {
    OFlags::NOFOLLOW.bits().cast_signed()
}

/// Opens a file that may be new and is closed to other users, also under a umask that takes rights from its owner.
fn open_private(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.mode(FILE_MODE).custom_flags(no_follow()).open(path)?;
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    Ok(file)
}

fn open_failed(operation: &str, path: &Path, cause: io::Error) -> Error {
    if cause.raw_os_error() == Some(Errno::LOOP.raw_os_error()) {
        let message = format!("{operation}: found a symbolic link, expected a file; the store follows none: remove it");
        return Error::at(ErrorKind::Fix, path, None, message);
    }
    Error::io(operation, path, cause)
}

/// Creates a directory that is closed to other users; success when somebody else was faster.
fn create_one_dir(path: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Ok(()) => std::fs::set_permissions(path, Permissions::from_mode(DIRECTORY_MODE)),
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(cause) => Err(cause),
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Maps the magic number of `statfs` (linux/magic.h and statfs(2)) to what a store cares about.
fn kind_of_magic(magic: u32) -> FsKind {
    let (remote, name) = match magic {
        0x0000_6969 => (true, "nfs"),
        0x0000_517b => (true, "smb"),
        0xfe53_4d42 => (true, "smb2"),
        0xff53_4d42 => (true, "cifs"),
        0x6573_5546 => (true, "fuse"),
        0x0102_1997 => (true, "9p"),
        0x00c3_6400 => (true, "ceph"),
        0x0bd0_0bd0 => (true, "lustre"),
        0x5346_414f | 0x6b41_4653 => (true, "afs"),
        0x7375_7245 => (true, "coda"),
        0x0000_564c => (true, "ncp"),
        0x0116_1970 => (true, "gfs2"),
        0x7461_636f => (true, "ocfs2"),
        0x4750_4653 => (true, "gpfs"),
        0x1983_0326 => (true, "beegfs"),
        0x2003_0528 => (true, "orangefs"),
        0xaad7_aaea => (true, "panfs"),
        0x786f_4256 => (true, "vboxsf"),
        0xbacb_acbc => (true, "vmhgfs"),
        0x0102_1994 => (false, "tmpfs"),
        0x8584_58f6 => (false, "ramfs"),
        0x794c_7630 => (false, "overlayfs"),
        0x6175_6673 => (false, "aufs"),
        _ => return FsKind::Local,
    };
    if remote { FsKind::Remote(name.to_owned()) } else { FsKind::Doubtful(name.to_owned()) }
}

/// A time as `2026-11-24 12:04:11 UTC`; days become a date as in Howard Hinnant's "chrono-compatible date algorithms".
fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Years are counted from the first of March, so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    #[test]
    fn magic_numbers_tell_remote_doubtful_and_local() {
        assert_eq!(kind_of_magic(0x6969), FsKind::Remote("nfs".to_owned()));
        assert_eq!(kind_of_magic(0x6573_5546), FsKind::Remote("fuse".to_owned()));
        assert_eq!(kind_of_magic(0xff53_4d42), FsKind::Remote("cifs".to_owned()));
        assert_eq!(kind_of_magic(0x0102_1997), FsKind::Remote("9p".to_owned()));
        assert_eq!(kind_of_magic(0x0102_1994), FsKind::Doubtful("tmpfs".to_owned()));
        assert_eq!(kind_of_magic(0x794c_7630), FsKind::Doubtful("overlayfs".to_owned()));
        for local in [0xef53, 0x5846_5342, 0x9123_683e, 0x2fc1_2fc1, 0xf2f5_2010] {
            assert_eq!(kind_of_magic(local), FsKind::Local, "ext4, xfs, btrfs, zfs, f2fs");
        }
    }

    #[test]
    fn the_kind_of_a_pseudo_file_system_is_read_without_error() {
        DiskFs.kind(Path::new("/proc")).unwrap();
        assert_eq!(DiskFs.kind(Path::new("/proc/none")).unwrap_err().kind(), ErrorKind::Fix);
    }

    /// The umask belongs to the whole process, so that the check runs in children of their own.
    #[test]
    fn modes_do_not_depend_on_the_umask() {
        if let Some(root) = std::env::var_os("BEDLOAD_TEST_UMASK_ROOT") {
            return check_modes(Path::new(&root));
        }
        for umask in ["000", "022", "277"] {
            let root = tempfile::tempdir().unwrap();
            let output = Command::new("sh")
                .arg("-c")
                .arg(format!("umask {umask} && exec \"$0\" --exact fs::disk::tests::modes_do_not_depend_on_the_umask"))
                .arg(std::env::current_exe().unwrap())
                .env("BEDLOAD_TEST_UMASK_ROOT", root.path())
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("1 passed"), "umask {umask}: {text}");
        }
    }

    fn check_modes(root: &Path) {
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let directory = root.join("outer").join("inner");
        DiskFs.create_dir(&directory).unwrap();
        let open = root.join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
        DiskFs.create_dir(&open).unwrap();
        assert_eq!(mode(&open), 0o755, "a directory that exists keeps its mode");
        DiskFs.create_new(&directory.join("a")).unwrap().finish().unwrap();
        let _lock = DiskFs.lock(&directory.join("LOCK"), "me").unwrap();
        assert_eq!(mode(&root.join("outer")), 0o700);
        assert_eq!(mode(&directory), 0o700);
        assert_eq!(mode(&directory.join("a")), 0o600);
        assert_eq!(mode(&directory.join("LOCK")), 0o600);
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let (target, link) = (root.path().join("target"), root.path().join("link"));
        DiskFs.create_new(&target).unwrap().finish().unwrap();
        symlink(&target, &link).unwrap();
        for mode in [ReadMode::Mmap, ReadMode::Pread] {
            let error = DiskFs.open(&link, mode).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Fix);
            assert!(error.to_string().contains("found a symbolic link"), "{error}");
        }
        assert!(DiskFs.lock(&link, "me").is_err());
        assert_eq!(DiskFs.create_new(&link).err().unwrap().kind(), ErrorKind::Fix);
        let dangling = root.path().join("dangling");
        symlink(root.path().join("elsewhere"), &dangling).unwrap();
        assert!(DiskFs.create_new(&dangling).is_err());
        assert!(DiskFs.lock(&dangling, "me").is_err());
        let names: Vec<String> = DiskFs.read_dir(root.path()).unwrap().into_iter().map(|file| file.name).collect();
        assert_eq!(names, ["target"]);
    }

    #[test]
    fn a_file_cut_while_open_is_damaged_when_read_by_pread() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        let mut appender = DiskFs.create_new(&path).unwrap();
        appender.append(b"0123456789").unwrap();
        appender.finish().unwrap();
        let source = DiskFs.open(&path, ReadMode::Pread).unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(4).unwrap();
        assert_eq!(source.read_exact_at(&mut [0; 6], 4).unwrap_err().kind(), ErrorKind::Damaged);
    }

    #[test]
    fn a_time_is_a_date_and_an_hour() {
        let at = |seconds| utc(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(at(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(at(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(at(1_795_521_851), "2026-11-24 12:04:11 UTC");
    }

    #[test]
    fn a_lock_taken_anew_names_its_new_holder_only() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("LOCK");
        let holder = DiskFs.lock(&path, "process 1, a rather long text").unwrap();
        drop(holder);
        let _next = DiskFs.lock(&path, "process 2").unwrap();
        let error = DiskFs.lock(&path, "process 3").unwrap_err().to_string();
        assert!(error.contains(": locked by process 2 since 20") && error.contains(" UTC; one process"), "{error}");
    }
}
