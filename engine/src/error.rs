//! The error of all crates of the family: its kind is the caller's duty, its place a path or an address.

pub use bedload_snapshot::{Error, ErrorKind, Place, Result};

/// An error of how this crate is used.
pub(crate) fn fix(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Fix, message)
}
