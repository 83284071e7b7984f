//! Read-modify-write in one descent.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::Store;
use super::write::check_lengths;
use crate::codec::hash32;
use crate::entry::{Clocks, Entry, Expiry, Kind};
use crate::error::Result;
use crate::memtable::{Memtable, Place};
use crate::view::Search;

/// The value of one key inside [`Store::update`]: to look at, change in place, replace or remove.
///
/// ```
/// # let directory = tempfile::tempdir().unwrap();
/// let mut store = bedload_lsm::Store::options().open(directory.path())?;
/// store.put(b"counter", &7u64.to_le_bytes())?;
/// store.update(b"counter", |slot| {
///     let counter = slot.value_mut().expect("it was just put");
///     let next = u64::from_le_bytes((&*counter).try_into().unwrap()) + 1;
///     counter.copy_from_slice(&next.to_le_bytes());
/// })?;
/// assert_eq!(store.get(b"counter")?.as_deref(), Some(&8u64.to_le_bytes()[..]));
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
pub struct Slot<'a> {
    now: Now<'a>,
    expiry: Option<Expiry>,
    /// What is to be written, when it is not in place.
    staged: &'a mut Vec<u8>,
    change: Change,
}

/// The value before the update.
enum Now<'a> {
    Absent,
    /// In the active memtable: changed where it lies.
    Mine(&'a mut [u8]),
    /// Anywhere else: copied before it changes.
    Older(&'a [u8]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    InPlace { bytes: usize },
    Staged,
    Deleted,
}

impl Slot<'_> {
    /// The value, or `None` when there is none (any more).
    pub fn value(&self) -> Option<&[u8]> {
        match (self.change, &self.now) {
            (Change::Deleted, _) => None,
            (Change::Staged, _) => Some(self.staged),
            (_, Now::Absent) => None,
            (_, Now::Mine(value)) => Some(value),
            (_, Now::Older(value)) => Some(value),
        }
    }

    /// The value, to be changed without changing its length. A value that is not in the active memtable is copied once.
    pub fn value_mut(&mut self) -> Option<&mut [u8]> {
        match (self.change, &mut self.now) {
            (Change::Deleted, _) => None,
            (Change::Staged, _) => Some(self.staged),
            (_, Now::Absent) => None,
            (_, Now::Mine(value)) => {
                self.change = Change::InPlace { bytes: value.len() };
                Some(value)
            }
            (_, Now::Older(value)) => {
                self.staged.clear();
                self.staged.extend_from_slice(value);
                self.change = Change::Staged;
                Some(self.staged)
            }
        }
    }

    /// The value as a vector, to be changed in any way; empty when there was none.
    pub fn value_vec(&mut self) -> &mut Vec<u8> {
        if self.change != Change::Staged {
            self.staged.clear();
            if self.change != Change::Deleted {
                match &self.now {
                    Now::Absent => {}
                    Now::Mine(value) => self.staged.extend_from_slice(value),
                    Now::Older(value) => self.staged.extend_from_slice(value),
                }
            }
            self.change = Change::Staged;
        }
        self.staged
    }

    /// Replaces the value. In place when it lies in the active memtable and has that length.
    pub fn put(&mut self, value: &[u8]) {
        if let (Now::Mine(now), Change::None | Change::InPlace { .. }) = (&mut self.now, self.change)
            && now.len() == value.len()
        {
            now.copy_from_slice(value);
            self.change = Change::InPlace { bytes: value.len() };
            return;
        }
        self.staged.clear();
        self.staged.extend_from_slice(value);
        self.change = Change::Staged;
    }

    /// Removes the value.
    pub fn delete(&mut self) {
        self.change = Change::Deleted;
    }

    /// When the value ends.
    pub fn expiry(&self) -> Option<Expiry> {
        self.expiry
    }

    /// Sets when the value ends; it counts as changed then.
    pub fn set_expiry(&mut self, expiry: Option<Expiry>) {
        if self.expiry != expiry && self.value().is_some() {
            self.value_vec();
            self.expiry = expiry;
        }
    }
}

impl Store {
    /// Reads the value of `key`, lets `change` look at it and change it, and writes what was changed: nothing, when nothing
    /// was. One probe when the key is in the active memtable, and no copy while its length stays.
    ///
    /// The expiry stays as it was, unless [`Slot::set_expiry`] changes it; a new value has none.
    ///
    /// # Errors
    /// As [`Store::get`] and [`Store::put_until`]. Nothing was written then but what [`Slot::value_mut`] had changed in place.
    ///
    /// # Panics
    /// When `change` does. The value may be half-written then, so the store refuses all further writes.
    #[inline]
    pub fn update<T>(&mut self, key: &[u8], change: impl FnOnce(&mut Slot<'_>) -> T) -> Result<T> {
        self.update_seen(key, None, change)
    }

    /// As [`Store::update`], for a reader whose clocks these are: see [`Store::get_by`]. What has ended keeps its end, unless
    /// [`Slot::set_expiry`] changes it.
    ///
    /// # Errors
    /// As [`Store::update`].
    ///
    /// # Panics
    /// As [`Store::update`].
    pub fn update_by<T>(&mut self, key: &[u8], clocks: &Clocks, change: impl FnOnce(&mut Slot<'_>) -> T) -> Result<T> {
        self.update_seen(key, Some(clocks), change)
    }

    /// With the clocks of the reader, or the store's.
    fn update_seen<T>(
        &mut self,
        key: &[u8],
        clocks: Option<&Clocks>,
        change: impl FnOnce(&mut Slot<'_>) -> T,
    ) -> Result<T> {
        check_lengths(key, 0)?;
        self.prepare(0)?;
        let hash = hash32(key);
        let mut staged = std::mem::take(&mut self.scratch);
        let mine = self.active.find(hash, key);
        let offered = self.offer(mine, (hash, key), clocks, &mut staged, change);
        let result = offered.and_then(|(result, change, expiry)| {
            match change {
                Change::None => {}
                Change::InPlace { bytes } => self.written_bytes += (key.len() + bytes) as u64,
                Change::Staged => self.write_staged(mine.is_none(), hash, key, Entry::value(&staged, expiry))?,
                Change::Deleted => self.delete(key)?,
            }
            Ok(result)
        });
        self.scratch = staged;
        result
    }

    /// Lets `change` see and change the value of `key`; what it did besides changing it in place is told.
    fn offer<T>(
        &mut self,
        mine: Option<Place>,
        (hash, key): (u32, &[u8]),
        clocks: Option<&Clocks>,
        staged: &mut Vec<u8>,
        change: impl FnOnce(&mut Slot<'_>) -> T,
    ) -> Result<(T, Change, Option<Expiry>)> {
        let clocks = clocks.unwrap_or(&self.clocks);
        let mine = mine.map(|place| (place, self.active.entry_at(place)));
        let older;
        let (now, expiry) = match mine {
            Some((_, entry)) if entry.kind == Kind::Tombstone || entry.expired(clocks) => (Now::Absent, None),
            Some((place, entry)) if entry.kind == Kind::Value => {
                let expiry = entry.expiry;
                (Now::Mine(self.active.value_mut(place)), expiry)
            }
            _ => {
                older = match mine {
                    Some(_) => self.search(hash, key, clocks)?,
                    None => self.search_older(hash, key, Search::new(&*self.core.rules, clocks))?,
                };
                match &older {
                    Some(found) => (Now::Older(&found.value), found.expiry),
                    None => (Now::Absent, None),
                }
            }
        };
        let mut slot = Slot { now, expiry, staged, change: Change::None };
        match catch_unwind(AssertUnwindSafe(|| change(&mut slot))) {
            Ok(result) => Ok((result, slot.change, slot.expiry)),
            Err(panic) => {
                (self.torn, self.halted) = (true, true);
                resume_unwind(panic)
            }
        }
    }

    fn write_staged(&mut self, is_new: bool, hash: u32, key: &[u8], entry: Entry<'_>) -> Result<()> {
        check_lengths(key, entry.value.len())?;
        self.check_form(key, entry.value)?;
        if let Some(expiry) = entry.expiry {
            self.check_expiry(key, expiry)?;
        }
        self.reserve(Memtable::record_bytes(key.len(), entry.value.len()))?;
        if is_new { self.insert_new(hash, key, entry) } else { self.insert(hash, key, entry) }
    }
}
