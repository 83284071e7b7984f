//! What every implementation of [`Fs`](super::Fs) checks and says alike, so that tests in memory see the disk's errors.

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

/// Checks that `length` bytes from `offset` on lie inside a file of `bytes`.
///
/// # Errors
/// `Damaged`: whoever reads knows the length from a checksummed place, so a shorter file has lost bytes.
pub(super) fn check_range(path: &Path, bytes: u64, offset: u64, length: usize) -> Result<()> {
    match offset.checked_add(length as u64) {
        Some(end) if end <= bytes => Ok(()),
        _ => Err(Error::damaged(
            path,
            offset,
            format_args!("found a file of {bytes} bytes, expected {length} bytes here"),
        )),
    }
}

/// The error of whoever comes second to the lock at `path`, in which the first wrote `owner`.
pub(super) fn lock_is_held(path: &Path, owner: &str) -> Error {
    let directory = path.parent().unwrap_or(path).display();
    let owner = match owner.trim() {
        "" => "another process",
        owner => owner,
    };
    Error::new(
        ErrorKind::Fenced,
        format!("directory {directory}: locked by {owner}; one process owns a store: is the old task still running?"),
    )
}

/// The last part of a path, as operation texts show it.
#[cfg(any(test, feature = "testing"))]
pub(super) fn file_name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy()
}

/// Remembers that writing a file failed, after which nobody may go on with it.
///
/// After a failed sync Linux marks the pages clean, so that a second try "succeeds" over lost bytes (Rebello et al.,
/// ATC'20); after a failed append nobody knows how much arrived.
#[derive(Debug, Default)]
pub(super) struct Abandoned(bool);

impl Abandoned {
    /// Refuses `operation` once an earlier one failed.
    pub(super) fn check(&self, operation: &str, path: &Path) -> Result<()> {
        if self.0 {
            let message =
                format!("{operation}: an earlier write or sync of this file failed; write it anew, under another name");
            return Err(Error::at(ErrorKind::Closed, path, None, message));
        }
        Ok(())
    }

    /// Passes `result` on and remembers when it is an error.
    pub(super) fn note<T>(&mut self, result: Result<T>) -> Result<T> {
        self.0 |= result.is_err();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_inside_the_file_and_do_not_overflow() {
        let path = Path::new("/s/a.run");
        assert!(check_range(path, 10, 4, 6).is_ok());
        assert!(check_range(path, 0, 0, 0).is_ok());
        assert_eq!(check_range(path, 10, u64::MAX, 2).unwrap_err().kind(), ErrorKind::Damaged);
        assert_eq!(
            check_range(path, 10, 4, 7).unwrap_err().to_string(),
            "/s/a.run at byte 4: found a file of 10 bytes, expected 7 bytes here; the file is damaged: restore from the last \
             checkpoint"
        );
    }

    #[test]
    fn a_held_lock_names_its_holder() {
        let path = Path::new("/var/state/op-3/LOCK");
        assert_eq!(
            lock_is_held(path, "process 4121 on host a since 12:04:11\n").to_string(),
            "directory /var/state/op-3: locked by process 4121 on host a since 12:04:11; one process owns a store: is the old \
             task still running?"
        );
        assert!(lock_is_held(path, "").to_string().contains("locked by another process;"));
    }

    #[test]
    fn a_file_is_abandoned_from_its_first_error_on() {
        let path = Path::new("/s/a.run");
        let mut abandoned = Abandoned::default();
        abandoned.note(Ok(())).unwrap();
        assert!(abandoned.check("sync", path).is_ok());
        assert!(abandoned.note::<()>(Err(Error::new(ErrorKind::Retry, "append: EIO"))).is_err());
        assert_eq!(abandoned.check("sync", path).unwrap_err().kind(), ErrorKind::Closed);
    }
}
