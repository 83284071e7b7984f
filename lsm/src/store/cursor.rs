//! A place in a range that survives writes.

use super::Store;
use crate::error::{Error, ErrorKind, Result};
use crate::key::KeyRange;

/// How many entries a cursor reads ahead, while nobody writes in between.
const AHEAD: usize = 32;
/// And bytes of these, beside the first.
const AHEAD_BYTES: usize = 64 << 10;

/// A detached cursor: it borrows no store, so the store can be written to between two steps.
///
/// Each step goes to the first key behind the last one *as the store is then*: keys inserted behind it are met, keys removed
/// are not. While only [`Store::remove_at`] writes, entries are read some at a time; any other write makes the next step
/// seek.
///
/// ```
/// # let directory = tempfile::tempdir().unwrap();
/// let mut store = bedload_lsm::Store::options().open(directory.path())?;
/// for key in ["stop1", "stop2", "stop3"] {
///     store.put(key.as_bytes(), b"")?;
/// }
/// let mut cursor = store.cursor("stop".as_bytes()..);
/// while let Some((key, _)) = cursor.next(&store)? {
///     if key != b"stop2" {
///         store.remove_at(&mut cursor)?;
///     }
/// }
/// assert_eq!(store.scan(..)?.count(), 1);
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Cursor {
    range: KeyRange,
    /// The store's count of writes when `ahead` was read.
    stamp: u64,
    /// Keys and values read ahead, one behind the other.
    bytes: Vec<u8>,
    /// Ends of key and value in `bytes`, for each entry.
    ahead: Vec<(usize, usize)>,
    /// How many of `ahead` were handed out.
    given: usize,
    /// The key handed out last.
    at: Option<Vec<u8>>,
}

impl Store {
    /// A cursor before the first key of `range`.
    pub fn cursor(&self, range: impl Into<KeyRange>) -> Cursor {
        Cursor { range: range.into(), stamp: 0, bytes: Vec::new(), ahead: Vec::new(), given: 0, at: None }
    }

    /// Removes the key that the cursor stands at; the cursor goes on behind it.
    ///
    /// # Errors
    /// As [`Store::delete`]; `Fix` when it stands at no key.
    pub fn remove_at(&mut self, cursor: &mut Cursor) -> Result<()> {
        let Some(key) = &cursor.at else {
            return Err(Error::new(ErrorKind::Fix, "the cursor stands at no key: call next first, remove once"));
        };
        let (before, generation) = (self.stamp, self.generation);
        self.delete(key)?;
        cursor.range.start.clone_from(key);
        cursor.range.start.push(0);
        cursor.at = None;
        // What was read ahead lies behind the removed key and is still right, unless something else happened.
        if cursor.stamp == before && self.generation == generation {
            cursor.stamp = self.stamp;
        }
        Ok(())
    }
}

impl Cursor {
    /// Goes to the first key that is not smaller than `key` (and inside the range) at the next step.
    pub fn seek(&mut self, key: &[u8]) {
        self.range.start = key.to_vec();
        self.forget();
        self.at = None;
    }

    /// The next key and value, lent until the next call.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn next(&mut self, store: &Store) -> Result<Option<(&[u8], &[u8])>> {
        if self.given == self.ahead.len() || self.stamp != store.stamp {
            self.read_ahead(store)?;
        }
        let Some(&(key_end, value_end)) = self.ahead.get(self.given) else {
            self.at = None;
            return Ok(None);
        };
        let start = if self.given == 0 { 0 } else { self.ahead[self.given - 1].1 };
        self.given += 1;
        let (key, value) = (&self.bytes[start..key_end], &self.bytes[key_end..value_end]);
        let at = self.at.get_or_insert_default();
        at.clear();
        at.extend_from_slice(key);
        Ok(Some((key, value)))
    }

    fn read_ahead(&mut self, store: &Store) -> Result<()> {
        if let Some(at) = &self.at {
            self.range.start.clone_from(at);
            self.range.start.push(0);
        }
        // A store that is written to between steps would throw away what was read ahead.
        let count = if self.stamp == store.stamp || self.ahead.is_empty() { AHEAD } else { 1 };
        self.forget();
        self.stamp = store.stamp;
        let mut scan = store.scan(self.range.clone())?;
        while self.ahead.len() < count
            && self.bytes.len() < AHEAD_BYTES
            && let Some((key, value)) = scan.next_entry()?
        {
            self.bytes.extend_from_slice(key);
            let key_end = self.bytes.len();
            self.bytes.extend_from_slice(value);
            self.ahead.push((key_end, self.bytes.len()));
        }
        Ok(())
    }

    fn forget(&mut self) {
        self.bytes.clear();
        self.ahead.clear();
        self.given = 0;
    }
}
