//! A place in a range that survives writes.

use std::borrow::Cow;

use super::Store;
use crate::entry::Clocks;
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
#[derive(Clone, Debug, Default)]
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
    /// Whether the range has nothing behind `ahead`.
    is_last: bool,
    /// The key handed out last, while the cursor stands at it.
    at: Vec<u8>,
    is_at: bool,
    /// The reader's clocks, where they are not the store's.
    clocks: Option<Clocks>,
}

impl Store {
    /// A cursor before the first key of `range`.
    pub fn cursor(&self, range: impl Into<KeyRange>) -> Cursor {
        Cursor { range: range.into(), ..Cursor::default() }
    }

    /// Removes the key that the cursor stands at; the cursor goes on behind it.
    ///
    /// # Errors
    /// As [`Store::delete`]; `Fix` when it stands at no key.
    pub fn remove_at(&mut self, cursor: &mut Cursor) -> Result<()> {
        if !cursor.is_at {
            return Err(Error::new(ErrorKind::Fix, "the cursor stands at no key: call next first, remove once"));
        }
        let (before, generation) = (self.stamp, self.generation);
        self.delete(&cursor.at)?;
        cursor.pass();
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
        self.range.start.clear();
        self.range.start.extend_from_slice(key);
        self.forget();
        self.is_at = false;
    }

    /// Goes before the first key that starts with `prefix`, and shows only those; for a reader whose clocks these are (see
    /// [`Store::get_by`]), or the store's. Keeps its memory: for who walks over many small ranges.
    pub fn restart(&mut self, prefix: &[u8], clocks: Option<&Clocks>) {
        self.range.set_prefix(prefix);
        self.forget();
        self.is_at = false;
        self.clocks = clocks.copied();
    }

    /// The next key and value, lent until the next call.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn next(&mut self, store: &Store) -> Result<Option<(&[u8], &[u8])>> {
        let is_over = self.is_last && self.given > 0;
        if self.stamp != store.stamp || (self.given == self.ahead.len() && !is_over) {
            self.read_ahead(store)?;
        }
        let Some(&(key_end, value_end)) = self.ahead.get(self.given) else {
            self.pass();
            return Ok(None);
        };
        let start = if self.given == 0 { 0 } else { self.ahead[self.given - 1].1 };
        self.given += 1;
        let (key, value) = (&self.bytes[start..key_end], &self.bytes[key_end..value_end]);
        self.at.clear();
        self.at.extend_from_slice(key);
        self.is_at = true;
        Ok(Some((key, value)))
    }

    fn read_ahead(&mut self, store: &Store) -> Result<()> {
        if self.is_at {
            self.start_behind();
        }
        // A store that is written to between steps would throw away what was read ahead.
        let count = if self.stamp == store.stamp || self.ahead.is_empty() { AHEAD } else { 1 };
        self.forget();
        self.stamp = store.stamp;
        let clocks = self.clocks.as_ref().unwrap_or(store.clocks());
        let mut scan = store.scan_within(Cow::Borrowed(&self.range), clocks);
        while self.ahead.len() < count && self.bytes.len() < AHEAD_BYTES {
            let Some((key, value)) = scan.next_entry()? else {
                self.is_last = true;
                break;
            };
            self.bytes.extend_from_slice(key);
            let key_end = self.bytes.len();
            self.bytes.extend_from_slice(value);
            self.ahead.push((key_end, self.bytes.len()));
        }
        Ok(())
    }

    /// Leaves the key that it stands at: the range goes on behind it.
    fn pass(&mut self) {
        if std::mem::take(&mut self.is_at) {
            self.start_behind();
        }
    }

    fn start_behind(&mut self) {
        self.range.start.clone_from(&self.at);
        self.range.start.push(0);
    }

    fn forget(&mut self) {
        self.bytes.clear();
        self.ahead.clear();
        self.given = 0;
        self.is_last = false;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fs::MemoryFs;
    use crate::store::Env;

    fn keys(cursor: &mut Cursor, store: &Store) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        while let Some((key, _)) = cursor.next(store).unwrap() {
            keys.push(key.to_vec());
        }
        keys
    }

    #[test]
    fn what_is_put_behind_the_end_is_met_and_nothing_is_shown_twice() {
        let env = Env::builder().fs(Arc::new(MemoryFs::new())).threads(0).build().unwrap();
        let mut store = Store::options().env(&env).open("/store").unwrap();
        for key in ["map1", "map2", "other"] {
            store.put(key.as_bytes(), b"").unwrap();
        }
        let mut cursor = store.cursor(KeyRange::prefix(b"map"));
        assert_eq!(keys(&mut cursor, &store), [b"map1", b"map2"]);
        assert!(keys(&mut cursor, &store).is_empty());
        assert!(store.remove_at(&mut cursor).is_err(), "it stands at no key");
        store.put(b"map3", b"").unwrap();
        store.put(b"map0", b"").unwrap();
        assert_eq!(keys(&mut cursor, &store), [b"map3"]);
        // While only it removes, it reads nothing again; what others put on the way is met.
        cursor.restart(b"map", None);
        for key in [b"map0", b"map1", b"map2", b"map3"] {
            assert_eq!(cursor.next(&store).unwrap().unwrap().0, key);
            store.remove_at(&mut cursor).unwrap();
        }
        store.put(b"map9", b"").unwrap();
        assert_eq!(keys(&mut cursor, &store), [b"map9"]);
        assert_eq!(store.scan(..).unwrap().count(), 2);
    }
}
