//! The one error of this crate: a kind that names the caller's duty, a place, what was found, what to do.
//!
//! An [`Error`] is one pointer wide and cheap to clone, so that a failed flush can be told to everybody who waits for
//! it. Building one allocates; nothing on a hot path builds one to throw it away.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, where, and what to do about it.
///
/// ```
/// use bedload_lsm::{ErrorKind, Store};
///
/// let error = Store::options().open("/proc/self/none").unwrap_err();
/// assert_ne!(error.kind(), ErrorKind::Bug);
/// println!("{error}"); // names the directory, what was found, and what to do
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    place: Option<Place>,
    message: String,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What the caller has to do.
///
/// ```
/// use bedload_lsm::{ErrorKind, Store};
///
/// # let directory = tempfile::tempdir().unwrap();
/// let _first = Store::options().open(directory.path())?;
/// let error = Store::options().open(directory.path()).unwrap_err();
/// let duty = match error.kind() {
///     ErrorKind::Retry | ErrorKind::Full => "wait, then call again",
///     ErrorKind::Damaged | ErrorKind::Closed => "restore from the last checkpoint",
///     ErrorKind::Fenced => "end the other process, or end this one",
///     _ => "tell a person: the call or its input is wrong, or there is a defect",
/// };
/// assert_eq!(duty, "end the other process, or end this one");
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Passing trouble: the same call may succeed later.
    Retry,
    /// The call, its options or its input are wrong: change them.
    Fix,
    /// What was named does not exist: name something else.
    Missing,
    /// Who is running this may not: give credentials, or rights.
    Denied,
    /// No room: disk or memory budget; goes away by itself when space returns.
    Full,
    /// Bytes on disk are not what was written: restore from a checkpoint.
    Damaged,
    /// Another process owns what this one wanted.
    Fenced,
    /// The store is closed or read-only after an earlier failure, which the message names.
    Closed,
    /// A defect of this crate: please report it.
    Bug,
}

/// Where it happened: a file or directory and, inside a file, the byte.
///
/// ```
/// use bedload_lsm::{ErrorKind, Store};
///
/// # let directory = tempfile::tempdir().unwrap();
/// std::fs::write(directory.path().join("VERSION"), "not a version")?;
/// let error = Store::options().open(directory.path()).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Damaged);
/// let place = error.place().expect("damage has a place");
/// assert!(place.path.ends_with("VERSION") && place.offset.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file or directory.
    pub path: PathBuf,
    /// The byte in the file, where one is known.
    pub offset: Option<u64>,
}

impl Error {
    /// Makes an error of `kind` from a message that says what was found, what was expected, and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Arc::new(Inner { kind, place: None, message: message.into(), cause: None }))
    }

    /// Makes an error about bytes at a place.
    pub fn at(kind: ErrorKind, path: impl Into<PathBuf>, offset: Option<u64>, message: impl Into<String>) -> Error {
        let place = Some(Place { path: path.into(), offset });
        Error(Arc::new(Inner { kind, place, message: message.into(), cause: None }))
    }

    /// Makes a `Damaged` error: `what` says what was found and what was expected.
    pub fn damaged(path: impl Into<PathBuf>, offset: u64, what: impl fmt::Display) -> Error {
        let message = format!("{what}; the file is damaged: restore from the last checkpoint");
        Error::at(ErrorKind::Damaged, path, Some(offset), message)
    }

    /// Makes an error from a failed operation of the operating system; the kind follows from the cause.
    pub fn io(operation: &str, path: impl AsRef<Path>, cause: io::Error) -> Error {
        let (kind, advice) = match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (ErrorKind::Full, "free space on this disk"),
            io::ErrorKind::NotFound => (ErrorKind::Fix, "does the path exist?"),
            io::ErrorKind::PermissionDenied => (ErrorKind::Denied, "may this user read and write here?"),
            io::ErrorKind::AlreadyExists => (ErrorKind::Fix, "the name is taken"),
            io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                (ErrorKind::Retry, "try again")
            }
            _ => (ErrorKind::Retry, "see the kernel log for the disk's health"),
        };
        Error(Arc::new(Inner {
            kind,
            place: Some(Place { path: path.as_ref().to_owned(), offset: None }),
            message: format!("{operation}: {cause}; {advice}"),
            cause: Some(Box::new(cause)),
        }))
    }

    /// Keeps kind and place, puts `context` in front of the message, and names `self` as the cause.
    pub fn context(self, context: impl fmt::Display) -> Error {
        Error(Arc::new(Inner {
            kind: self.kind(),
            place: self.0.place.clone(),
            message: format!("{context}: {}", self.0.message),
            cause: Some(Box::new(self)),
        }))
    }

    /// The caller's duty.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Where it happened.
    pub fn place(&self) -> Option<&Place> {
        self.0.place.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.place {
            Some(Place { path, offset: Some(offset) }) => {
                write!(out, "{} at byte {offset}: {}", path.display(), self.0.message)
            }
            Some(Place { path, offset: None }) => write!(out, "{}: {}", path.display(), self.0.message),
            None => out.write_str(&self.0.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_where_what_and_what_to_do() {
        let error = Error::damaged("/s/a.run", 81_920, "block checksum 9f3a01c2, expected 11ab34f0");
        assert_eq!(
            error.to_string(),
            "/s/a.run at byte 81920: block checksum 9f3a01c2, expected 11ab34f0; the file is damaged: restore from the \
             last checkpoint"
        );
        assert_eq!(error.kind(), ErrorKind::Damaged);
    }

    #[test]
    fn a_full_disk_is_full_and_keeps_its_cause() {
        let error = Error::io("append", "/s/a.run", io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(error.kind(), ErrorKind::Full);
        assert!(std::error::Error::source(&error).is_some());
    }

    #[test]
    fn an_error_is_one_pointer() {
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }
}
