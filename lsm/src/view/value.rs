//! A value as a reader sees it.

use std::fmt;
use std::ops::Deref;

use crate::run::RunBytes;

/// The bytes of a value: borrowed from a memtable or a mapped run, kept alive in the block cache, or folded on the way.
///
/// ```
/// # let directory = tempfile::tempdir().unwrap();
/// let mut store = bedload_lsm::Store::options().open(directory.path())?;
/// store.put(b"plane", b"N725MQ")?;
/// let value = store.get(b"plane")?.expect("it was just put");
/// assert_eq!(&*value, b"N725MQ");
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone)]
pub struct ValueRef<'a>(Bytes<'a>);

#[derive(Clone)]
enum Bytes<'a> {
    Run(RunBytes<'a>),
    Borrowed(&'a [u8]),
    Owned(Vec<u8>),
}

impl<'a> ValueRef<'a> {
    pub(crate) fn borrowed(bytes: &'a [u8]) -> ValueRef<'a> {
        ValueRef(Bytes::Borrowed(bytes))
    }

    pub(crate) fn owned(bytes: Vec<u8>) -> ValueRef<'a> {
        ValueRef(Bytes::Owned(bytes))
    }

    pub(crate) fn from_run(bytes: RunBytes<'a>) -> ValueRef<'a> {
        ValueRef(Bytes::Run(bytes))
    }

    /// The bytes as a vector; copies unless the value was folded.
    pub fn into_vec(self) -> Vec<u8> {
        match self.0 {
            Bytes::Owned(bytes) => bytes,
            other => ValueRef(other).to_vec(),
        }
    }
}

impl Deref for ValueRef<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Run(bytes) => bytes.as_slice(),
            Bytes::Borrowed(bytes) => bytes,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for ValueRef<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for ValueRef<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "b\"{}\"", self.escape_ascii())
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for ValueRef<'_> {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}
