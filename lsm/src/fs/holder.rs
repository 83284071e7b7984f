//! Looks whether a lock file is held, without taking it: whoever takes a lock to try it out, even for a moment and shared, makes the owner's
//! opening fail when that comes just then. Linux lists all locks in `/proc/locks`, but leaves out those of processes that the reader cannot
//! see: they have another namespace of process ids.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::OFlags;

use crate::error::{Error, Result};

/// How much of a lock file's text is told.
const OWNER_BYTES_MAX: u64 = 1024;
/// The name of the namespace in which every process is seen (`PROC_PID_INIT_INO` of Linux).
const FIRST_NAMESPACE: &str = "pid:[4026531836]";

/// What can be seen of a lock file from outside.
///
/// ```
/// use bedload_lsm::fs::{DiskFs, Fs};
///
/// # let directory = tempfile::tempdir().unwrap();
/// let path = directory.path().join("LOCK");
/// let held = DiskFs.lock(&path, "process 1")?;
/// let seen = DiskFs.look_at_lock(&path)?.expect("there is a file");
/// assert_eq!(seen.owner.as_deref(), Some("process 1"));
/// assert_ne!(seen.is_held, Some(false));
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockInfo {
    /// Whether somebody holds it; none where that cannot be seen.
    pub is_held: Option<bool>,
    /// The process that holds it.
    pub process: Option<u32>,
    /// What the last one who took it wrote; it stays when the lock is given back.
    pub owner: Option<String>,
    /// When that was, in milliseconds since 1970.
    pub taken_at_ms: Option<u64>,
}

/// Looks at the lock file at `path`; none when there is no such file.
pub(super) fn look(path: &Path) -> Result<Option<LockInfo>> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(Error::io("look at the lock", path, cause)),
    };
    let taken = metadata.modified().ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    let owner = read_owner(path);
    let (process, is_held) = match std::fs::read_to_string("/proc/locks") {
        Err(_) => (None, None),
        Ok(locks) => match holder(&locks, metadata.dev(), metadata.ino(), owner.as_deref()) {
            Some(process) => (Some(process), Some(true)),
            None if sees_every_process() => (None, Some(false)),
            None => (None, None),
        },
    };
    let taken_at_ms = taken.map(|since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    Ok(Some(LockInfo { is_held, process, owner, taken_at_ms }))
}

/// The text of a lock file, where this user may read it.
fn read_owner(path: &Path) -> Option<String> {
    let file: File =
        OpenOptions::new().read(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path).ok()?;
    let mut text = Vec::new();
    file.take(OWNER_BYTES_MAX).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn sees_every_process() -> bool {
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|namespace| namespace.as_os_str() == FIRST_NAMESPACE)
}

/// The process that holds a `flock` on a file, as the lines of `/proc/locks` tell. Some file systems (btrfs, overlay) show another device there
/// than to `stat`: then the process must be the one that the file's text names.
fn holder(locks: &str, device: u64, inode: u64, owner: Option<&str>) -> Option<u32> {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let names =
        |process: u32| owner.is_some_and(|owner| owner.split_whitespace().any(|word| word.parse() == Ok(process)));
    locks.lines().find_map(|line| {
        // 1: FLOCK  ADVISORY  WRITE 10712 fe:00:10010675 0 EOF
        let mut words = line.split_whitespace().skip(1);
        // Behind `->` stand those that wait.
        let ("FLOCK", _, _) = (words.next()?, words.next()?, words.next()?) else { return None };
        let process = words.next()?.parse().ok()?;
        let mut file = words.next()?.split(':');
        let found = (u32::from_str_radix(file.next()?, 16).ok()?, u32::from_str_radix(file.next()?, 16).ok()?);
        let is_inode = file.next()?.parse() == Ok(inode);
        (is_inode && (found == (major, minor) || names(process))).then_some(process)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{DiskFs, Fs};

    const LOCKS: &str = "1: POSIX  ADVISORY  WRITE 7 fe:00:1001 0 EOF\n2: FLOCK  ADVISORY  WRITE 812 fe:00:1002 0 EOF\n\
                         2: -> FLOCK  ADVISORY  WRITE 813 fe:00:1003 0 EOF\n3: FLOCK  ADVISORY  READ 9 00:2a:1004 0 EOF\n";

    #[test]
    fn the_list_of_locks_names_who_holds_a_file() {
        let device = rustix::fs::makedev(0xfe, 0);
        assert_eq!(holder(LOCKS, device, 1002, None), Some(812));
        assert_eq!(holder(LOCKS, device, 1001, None), None, "that is another kind of lock");
        assert_eq!(holder(LOCKS, device, 1003, None), None, "that one waits");
        assert_eq!(holder(LOCKS, device, 1004, None), None, "that is a file of another device");
        assert_eq!(holder(LOCKS, device, 1004, Some("process 9 on host a")), Some(9));
    }

    #[test]
    fn a_look_takes_nothing_and_tells_the_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("LOCK");
        assert_eq!(DiskFs.look_at_lock(&path).unwrap(), None);
        let held = DiskFs.lock(&path, "process 1 on host a").unwrap();
        let seen = DiskFs.look_at_lock(&path).unwrap().unwrap();
        assert_eq!(seen.owner.as_deref(), Some("process 1 on host a"));
        assert!(seen.taken_at_ms.is_some());
        if Path::new("/proc/locks").exists() {
            assert_eq!((seen.is_held, seen.process), (Some(true), Some(std::process::id())));
        }
        drop(held);
        let seen = DiskFs.look_at_lock(&path).unwrap().unwrap();
        assert_ne!(seen.is_held, Some(true));
        assert_eq!(seen.owner.as_deref(), Some("process 1 on host a"), "what was written stays");
        DiskFs.lock(&path, "process 2").unwrap();
    }
}
